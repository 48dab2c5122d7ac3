"""What a change of parts of the image costs, in integers alone: boxes on each layer, multiply-adds, live bytes."""

from __future__ import annotations

import math

import numpy as np

from voxelwhy.incremental.boxes import Boxes, around, union
from voxelwhy.incremental.steps import Convolution, SameCell, Windowed, channels_of, grid_of

#: Of a convolution before a pool, so many times the cells are computed at most to spare a gather.
WIDENED = 1.2


class Plan:
    """How the changes of some parts of the image, run as one batch, go through the network.

    Parameters
    ----------
    graph : Graph
    steps : list of Step, in order
    lo, hi : (n_parts, axes), the box of each part in voxels

    Attributes
    ----------
    boxes : dict of fx.Node to Boxes; a node that is not there is computed as a whole
    multiply_adds : of one part, in convolutions
    full_multiply_adds : of one image
    bytes_each : the most that is alive at once for one part
    bytes_largest : the largest tensor of one part
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
        """The boxes in which the step's output may change; None where it is computed as a whole."""
        if not isinstance(step, (SameCell, Windowed)) or not all(node in self.boxes for node in step.inputs):
            return None
        boxes = [self.boxes[node] for node in step.inputs]
        if any(one.whole for one in boxes):
            return None
        if isinstance(step, Windowed):
            return step.window.reached(boxes[0], grid_of(step.node))
        return union(boxes)

    def _widen(self, step, boxes):
        """Let what a window needs be computed, where that is cheaper than to gather it from the layer of the image.

        So it is for the image itself, which need only be cropped, and for a pool whose windows stand side by side: the
        layer before it, its largest, is then neither kept nor copied.
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
        self.boxes |= dict.fromkeys(chain, needed)

    def is_whole(self, node) -> bool:
        """Whether the values of a node are those of the whole layer."""
        return node not in self.boxes or self.boxes[node].whole

    def _count(self, steps):
        """Multiply-adds, and what is alive at once, step by step."""
        last_use = last_uses(steps, self.graph.output)
        alive = {self.graph.image: _bytes(self.graph.image, self.boxes[self.graph.image])}
        for step in steps:
            boxes = self.boxes.get(step.node)
            alive[step.node] = _bytes(step.node, boxes)
            gathered = self._gathered(step, boxes)
            self.bytes_each = max(self.bytes_each, sum(alive.values()) + gathered)
            self.bytes_largest = max(self.bytes_largest, alive[step.node], gathered)
            for node in [node for node in alive if last_use.get(node) is step]:
                del alive[node]
            if isinstance(step, Windowed) and step.multiplications:
                cells = math.prod(grid_of(step.node))
                self.full_multiply_adds += cells * step.multiplications
                self.multiply_adds += (cells if boxes is None else boxes.cells) * step.multiplications

    def _gathered(self, step, boxes):
        """Bytes that are made of the step's inputs for the time of the step."""
        if boxes is None:
            return sum(_bytes(node, None) for node in step.inputs if not self.is_whole(node))
        if isinstance(step, Windowed):
            return math.prod(step.window.needed(boxes)[1]) * _cell_bytes(step.inputs[0])
        return sum(boxes.cells * _cell_bytes(node) for node in step.inputs) if len(step.inputs) > 1 else 0


def last_uses(steps, output) -> dict:
    """The last step that reads each node; the output is never let go."""
    return {node: step for step in steps for node in step.inputs if node is not output}


def alike(lo, hi, waste=1.15) -> list[np.ndarray]:
    """The parts in groups of similar extent: in none do boxes of the largest extent hold over `waste` times the voxels.

    Parameters
    ----------
    lo, hi : (n_parts, axes)

    Returns
    -------
    groups : list of arrays of the parts' numbers
    """
    extents = hi - lo
    order = np.lexsort((*extents.T, extents.prod(axis=1)))[::-1]
    groups, largest, own = [], None, 0
    for number in order:
        grown = extents[number] if largest is None else np.maximum(largest, extents[number])
        volume = int(extents[number].prod())
        if groups and grown.prod() * (len(groups[-1]) + 1) <= waste * (own + volume):
            groups[-1].append(number)
            largest, own = grown, own + volume
        else:
            groups.append([number])
            largest, own = extents[number], volume
    return [np.sort(group) for group in groups]


def _cell_bytes(node):
    value = node.meta["val"]
    value = value[0] if isinstance(value, (list, tuple)) else value
    return channels_of(node) * value.element_size()


def _bytes(node, boxes):
    value = node.meta.get("val")
    value = value[0] if isinstance(value, (list, tuple)) else value
    if boxes is not None:
        return boxes.cells * _cell_bytes(node)
    return math.prod(int(n) for n in value.shape[1:]) * value.element_size() if hasattr(value, "shape") else 0
