"""The cost of changing parts of the image, in integers only: boxes on each layer, multiply-adds, live bytes."""

from __future__ import annotations

import math

import numpy as np
import torch

from voxelwhy.explain.incremental.boxes import Boxes, around, union
from voxelwhy.explain.incremental.steps import Convolution, MaxPool, SameCell, Windowed, channels_of, grid_of

#: To save a gather, a convolution before a pool may compute up to this many times its own cells.
WIDENED = 1.2
#: Fixed cost of a batch, in multiply-adds per convolution: 8 ms in the paper's network on two cores.
BESIDE = 25_000_000


class Plan:
    """How changes in several parts of the image, run as one batch, propagate through the network.

    Parameters
    ----------
    graph : Graph
    steps : list of Step, in order
    lo, hi : (n_parts, axes), the box of each part, in voxels

    Attributes
    ----------
    boxes : dict of fx.Node to Boxes; nodes that are missing are computed as whole layers
    multiply_adds : multiply-adds of the convolutions for one part
    full_multiply_adds : the same for one whole image
    bytes_each : peak memory of one part
    bytes_largest : size of the largest tensor of one part
    """

    def __init__(self, graph, steps, lo, hi):
        self.graph = graph
        self.makers = {step.node: step for step in steps}
        self.boxes = {graph.image: around(lo, hi, grid_of(graph.image))}
        for step in steps:
            boxes = self.reach(step)
            if boxes is not None:
                self.boxes[step.node] = boxes
                self._widen(step, boxes)
        self.multiply_adds = self.full_multiply_adds = self.bytes_each = self.bytes_largest = 0
        self._count(steps)

    def reach(self, step) -> Boxes | None:
        """The boxes in which the output of a step may change; None if it is computed as a whole layer."""
        if not isinstance(step, (SameCell, Windowed)) or not all(node in self.boxes for node in step.inputs):
            return None
        boxes = [self.boxes[node] for node in step.inputs]
        if any(one.whole for one in boxes):
            return None
        if isinstance(step, Windowed):
            return step.window.reached(boxes[0], grid_of(step.node))
        return union(boxes)

    def _widen(self, step, boxes):
        """Compute the input that a window needs, if that is cheaper than to gather it from the layer of the image.

        This holds for the image itself, which only has to be cropped, and for a pool with non-overlapping windows: the
        layer before it, which is large, then need not be kept or copied.
        """
        if not isinstance(step, Windowed):
            return
        chain, start = [step.inputs[0]], step.inputs[0]
        while isinstance(self.makers.get(start), SameCell) and len(self.makers[start].inputs) == 1:
            start = self.makers[start].inputs[0]
            chain.append(start)
        side_by_side = all(k <= s for k, s in zip(step.window.kernel, step.window.stride, strict=True))
        if any(len(node.users) != 1 for node in chain) or not (start is self.graph.image or side_by_side):
            return
        if start is not self.graph.image and not isinstance(self.makers[start], Convolution):
            return
        first, size = step.window.needed(boxes)
        own = self.boxes[start]
        needed = around(first, first + np.array(size), own.length)
        if start is self.graph.image:
            needed = union([own, needed])
        elif needed.cells > WIDENED * own.cells:
            return
        self.boxes |= dict.fromkeys(chain, needed._replace(first=own.first, last=own.last))

    def is_whole(self, node) -> bool:
        """Whether a node holds the values of its whole layer."""
        return node not in self.boxes or self.boxes[node].whole

    def _count(self, steps):
        """Count multiply-adds and live memory, step by step."""
        last_use = last_uses(steps, self.graph.output)
        alive = {self.graph.image: _bytes(self.graph.image, self.boxes[self.graph.image])}
        for step in steps:
            boxes = self.boxes.get(step.node)
            alive[step.node] = _bytes(step.node, boxes)
            gathered = self._gathered(step, boxes)
            self.bytes_each = max(self.bytes_each, sum(alive.values()) + gathered + _beside(step, boxes))
            self.bytes_largest = max(self.bytes_largest, alive[step.node], gathered)
            for node in [node for node in alive if last_use.get(node) is step]:
                del alive[node]
            if isinstance(step, Windowed) and step.multiplications:
                cells = math.prod(grid_of(step.node))
                self.full_multiply_adds += cells * step.multiplications
                self.multiply_adds += (cells if boxes is None else boxes.cells) * step.multiplications

    def _gathered(self, step, boxes):
        """Bytes that a step gathers from its inputs while it runs."""
        if boxes is None:
            return sum(_bytes(node, None) for node in step.inputs if not self.is_whole(node))
        if isinstance(step, Windowed):
            return math.prod(step.window.needed(boxes)[1]) * _cell_bytes(step.inputs[0])
        return sum(boxes.cells * _cell_bytes(node) for node in step.inputs) if len(step.inputs) > 1 else 0


def last_uses(steps, output) -> dict:
    """The last step that reads each node; the output is never freed."""
    return {node: step for step in steps for node in step.inputs if node is not output}


def spans(graph, steps, lo, hi) -> list[tuple[np.ndarray, int]]:
    """For each convolution, the extents of the parts' own boxes (n_parts, axes), and its multiplications per cell."""
    plan = Plan(graph, steps, lo, hi)
    found = []
    for step in steps:
        if isinstance(step, Windowed) and step.multiplications and step.node in plan.boxes:
            boxes = plan.boxes[step.node]
            found.append((boxes.last - boxes.first, step.multiplications))
    return found


def alike(lo, hi, layers=(), waste=1.1, beside=BESIDE) -> list[np.ndarray]:
    """Group parts of similar extents, so that one extent per group wastes little computation.

    Parameters
    ----------
    lo, hi : (n_parts, axes)
    layers : see `spans`; if empty, the cost of a part is its number of voxels
    waste : upper limit of the cost of a group with boxes of its largest extents, relative to the cost of the parts' own
        boxes. Groups that cost less together than apart are merged even beyond this limit
    `beside` : fixed cost of a group per layer, however small the group is

    Returns
    -------
    groups : list of arrays with the indices of the parts
    """
    layers = list(layers) or [(np.asarray(hi) - lo, 1)]
    extents = np.stack([extent for extent, _ in layers], axis=1)  # (n_parts, layers, axes)
    weights = np.array([float(weight) for _, weight in layers])
    kinds, kind_of = np.unique(extents.reshape(len(extents), -1), axis=0, return_inverse=True)
    kind_of, kinds = kind_of.ravel(), kinds.reshape(len(kinds), *extents.shape[1:])
    counts, costs = np.bincount(kind_of), kinds.prod(axis=2) @ weights
    largest, sums, members = np.zeros((0, *kinds.shape[1:]), dtype=kinds.dtype), np.zeros((0, 2)), []
    for kind in np.argsort(-costs, kind="stable"):  # each kind joins the group in which it wastes least
        # The number of parts and their own cost, including those of this kind.
        own = sums + np.array([counts[kind], costs[kind] * counts[kind]])
        together = np.maximum(largest, kinds[kind])
        ratio = together.prod(axis=2) @ weights * own[:, 0] / own[:, 1]
        best = int(ratio.argmin()) if len(ratio) else 0
        if len(ratio) and ratio[best] <= waste:
            largest[best], sums[best] = together[best], own[best]
            members[best].append(kind)
        else:
            largest = np.concatenate([largest, kinds[kind][None]])
            sums = np.concatenate([sums, [[counts[kind], costs[kind] * counts[kind]]]])
            members.append([kind])
    groups = _merged(largest, sums[:, 0], weights, beside * len(layers))
    return [np.flatnonzero(np.isin(kind_of, [kind for n in group for kind in members[n]])) for group in groups]


def _merged(extents, counts, weights, beside):
    """The groups to merge, as lists of their indices: pairs are merged in turn, the most profitable pair first."""
    extents, counts = extents.copy(), counts.copy()
    costs = counts * (extents.prod(axis=2) @ weights)
    groups = {n: [n] for n in range(len(counts))}

    def saved(one):
        together = np.maximum(extents, extents[one]).prod(axis=2) @ weights
        gain = beside + costs + costs[one] - (counts + counts[one]) * together
        gain[[n for n in range(len(counts)) if n == one or n not in groups]] = -np.inf
        return gain

    gains = np.array([saved(one) for one in groups])
    while gains.max() > 0:
        one, other = np.unravel_index(gains.argmax(), gains.shape)
        groups[one] += groups.pop(other)
        extents[one] = np.maximum(extents[one], extents[other])
        counts[one] += counts[other]
        costs[one] = counts[one] * (extents[one].prod(axis=1) @ weights)
        gains[other] = gains[:, other] = -np.inf
        gains[one] = gains[:, one] = saved(one)
    return list(groups.values())


def image_bytes(graph, steps, kept) -> int:
    """Peak memory while the image itself runs, with the layers in `kept` staying until the end."""
    last_use, alive, most = last_uses(steps, graph.output), {graph.image: _bytes(graph.image, None)}, 0
    for step in steps:
        alive[step.node] = _bytes(step.node, None)
        most = max(most, sum(alive.values()) + _beside(step, None))
        for node in [node for node in alive if last_use.get(node) is step and node not in kept]:
            del alive[node]
    return most


def _beside(step, boxes):
    """Bytes that an operator returns in addition to its output: the indices of a max-pool, eight bytes each."""
    if not isinstance(step, MaxPool):
        return 0
    cells = math.prod(grid_of(step.node)) if boxes is None else boxes.cells
    return 8 * channels_of(step.node) * cells


def readable(graph, steps) -> set:
    """The nodes from whose layer of the image a gather may read, for any choice of parts."""
    local, read = {graph.image}, {graph.image}
    for step in steps:
        if isinstance(step, (SameCell, Windowed)) and local.issuperset(step.inputs):
            local.add(step.node)
        if not isinstance(step, SameCell) or len(set(step.inputs)) > 1:
            read |= set(step.inputs)
    return local & read


def _cell_bytes(node):
    value = node.meta["val"]
    value = value[0] if isinstance(value, (list, tuple)) else value
    return channels_of(node) * value.element_size()


def _bytes(node, boxes):
    """Bytes of a node's value for one image: in its box, or of the whole layer if `boxes` is None."""
    if boxes is not None:
        return boxes.cells * _cell_bytes(node)
    values = node.meta.get("val")
    values = values if isinstance(values, (list, tuple)) else [values]
    return sum(_bytes_of_one(value) for value in values if isinstance(value, torch.Tensor))


def _bytes_of_one(value):
    # The graph was exported for two images; their number may appear anywhere in the shape.
    images = 2 if any(not isinstance(n, int) for n in value.shape) else 1
    return -(-math.prod(int(n) for n in value.shape) * value.element_size() // images)
