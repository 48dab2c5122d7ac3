"""What a network says of an image with parts of it changed, by computing again only what each change reaches."""

from __future__ import annotations

import logging
import math

import numpy as np
import torch

from voxelwhy.incremental.gathering import complete, crop, gather
from voxelwhy.incremental.graph import NotExportable, evaluate, operator_name
from voxelwhy.incremental.known import followed
from voxelwhy.incremental.plan import Plan, alike, last_uses
from voxelwhy.incremental.steps import SameCell, Step, Windowed, grid_of

log = logging.getLogger(__name__)

#: Extra memory, bytes: the layers of the image itself and the parts at work together.
MAX_BYTES = 2_000_000_000
#: Parts at work together make no tensor larger than this, on a CPU: malloc asks the system for each larger one anew,
#: and its fresh pages cost more than the arithmetic on them. A GPU wants more to be busy.
LARGEST = {"cpu": 24_000_000}
LARGEST_ELSEWHERE = 256_000_000
FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}


class Incremental:
    """Logits of one image with parts of it replaced by a value.

    Each layer of the image is computed once. A part of the image that changes is followed through the layers as a box
    of cells, of the same extent for all parts of a batch: at each convolution or pool the box's input is gathered from
    the layer of the image with the changed cells over it. From where an operator needs everything (the dense layers,
    a global mean) the layers are completed, and the network runs on as usual.

    Parameters
    ----------
    model : torch.nn.Module in eval mode
    batch : tensor (1, channels, *spatial), on the model's device
    max_bytes : extra memory, at most: the layers of the image, and as many parts at once as fit beside them

    Attributes
    ----------
    whole : logits of the image as it is, (1, classes)
    multiply_adds, full_multiply_adds : of the last call, all parts in sum, and as many times the whole image's

    Raises
    ------
    NotExportable : the network cannot be followed.
    """

    def __init__(self, model, batch, max_bytes=MAX_BYTES):
        self.graph, self.steps = followed(model, batch)
        if grid_of(self.graph.image) is None or self.graph.output not in self.graph.dependent:
            raise NotExportable("its output does not depend on a grid")
        self.max_bytes, self.axes = max_bytes, batch.ndim - 2
        self.last_use = last_uses(self.steps, self.graph.output)
        self.fixed = {}  # values that depend on neither the image nor their number
        self.base = {}
        self.whole = self._run_image(batch)
        self.multiply_adds = self.full_multiply_adds = 0

    def __call__(self, lo, hi, masks, value, batch_size=None, progress=iter):
        """Logits (n_parts, classes) of the image with each part set to `value`.

        Parameters
        ----------
        lo, hi : integer arrays (n_parts, axes): the box of each part, within the image
        masks : for each part None, or a boolean array of its box: the voxels that change
        batch_size : parts at once; None is as many as `max_bytes` allows and are of use
        progress : wraps the list of batches
        """
        lo, hi = np.asarray(lo), np.asarray(hi)
        logits = self.whole.new_empty((len(lo), self.whole.shape[1]))
        self.multiply_adds = self.full_multiply_adds = 0
        batches = []
        for group in alike(lo, hi):
            plan = Plan(self.graph, self.steps, lo[group], hi[group])
            self.multiply_adds += plan.multiply_adds * len(group)
            self.full_multiply_adds += plan.full_multiply_adds * len(group)
            size = batch_size or self._batch_size(plan)
            batches += [(plan, group, slice(start, start + size)) for start in range(0, len(group), size)]
        self._say(batches, len(lo))
        for plan, group, some in progress(batches):
            numbers = group[some]
            changed = self._change(plan, some, lo[numbers], hi[numbers], [masks[n] for n in numbers], value)
            logits[torch.as_tensor(numbers, device=logits.device)] = self._run(plan, some, changed)
        return logits

    def _batch_size(self, plan):
        held = sum(t.numel() * t.element_size() for t in self.base.values())
        largest = LARGEST.get(self.whole.device.type, LARGEST_ELSEWHERE)
        room = (self.max_bytes - held) // plan.bytes_each
        return int(max(1, min(room, max(2, largest // plan.bytes_largest))))

    # ------------------------------------------------------------------ the image itself

    def _run_image(self, batch):
        """Run the image through all steps; keep the layers that a gather will read."""
        kept = {node for step in self.steps if not _passes_on(step) for node in step.inputs} | {self.graph.image}
        values = {self.graph.image: batch.contiguous(memory_format=FORMATS[self.axes])}
        self._fix()
        value_of = self._reader(values, self._of_size(1))
        for step in self.steps:
            values[step.node] = step.whole(value_of)
            for node in step.inputs:
                if self.last_use[node] is step and grid_of(node) is not None and node in kept:
                    self.base[node] = values[node]
                if self.last_use.get(node) is step:
                    del values[node]
        return values[self.graph.output]

    def _fix(self):
        """Compute once what depends on weights alone."""
        for node in self.graph.nodes:
            sources = node.all_input_nodes
            if node not in self.graph.dependent and all(s in self.fixed or s in self.graph.constants for s in sources):
                self.fixed[node] = evaluate(node, lambda s: self.fixed.get(s, self.graph.constants.get(s)))

    def _of_size(self, count):
        """What depends on how many images there are: sizes, and tensors that are expanded to them."""
        values = {}

        def value_of(node):
            return next(known[node] for known in (values, self.fixed, self.graph.constants) if node in known)

        for node in self.graph.nodes:
            if node in self.graph.dependent or node in self.fixed:
                continue
            values[node] = count if operator_name(node) == "sym_size" else evaluate(node, value_of)
        return values

    def _reader(self, values, sized):
        places = (values, sized, self.fixed, self.graph.constants)
        return lambda node: next(known[node] for known in places if node in known)

    # ------------------------------------------------------------------ parts of it

    def _change(self, plan, some, lo, hi, masks, value):
        """The image in the boxes of some parts, each with its part set to `value`."""
        boxes, image = plan.boxes[self.graph.image].of(some), self.base[self.graph.image]
        cells = crop(image, boxes)
        for one, start, first, last, mask in zip(cells, boxes.lo, lo, hi, masks, strict=True):
            inside = one[(slice(None), *(slice(a - s, b - s) for a, b, s in zip(first, last, start, strict=True)))]
            if mask is None:
                inside.fill_(value)
            else:
                inside.masked_fill_(torch.as_tensor(mask, device=one.device), value)
        return cells

    def _run(self, plan, some, changed):
        """Logits of one batch of parts."""
        values, sized = {self.graph.image: changed}, self._of_size(len(changed))
        for step in self.steps:
            boxes = plan.boxes.get(step.node)
            if boxes is None:
                values[step.node] = self._run_whole(step, plan, some, values, sized)
            elif isinstance(step, Windowed):
                values[step.node] = self._run_window(step, plan, some, values, boxes.of(some))
            else:
                values[step.node] = self._run_cells(step, plan, some, values, sized, boxes.of(some))
            for node in step.inputs:
                if self.last_use.get(node) is step:
                    del values[node]
        return values[self.graph.output]

    def _run_window(self, step, plan, some, values, boxes):
        source = step.inputs[0]
        start, size = step.window.needed(boxes)
        cells = self._gather(source, plan.boxes[source].of(some), values[source], start, size, step.fill)
        return step.on(cells, boxes)

    def _run_cells(self, step, plan, some, values, sized, boxes):
        inside = {node: self._within(node, plan, some, values, boxes) for node in set(step.inputs)}
        known = self._reader({}, sized)
        grid = grid_of(step.node)

        def value_of(node):
            if node in inside:
                return inside[node]
            value = known(node)
            return crop(value, boxes) if _has_grid(value, grid) and _is_cellwise(step) else value

        return evaluate(step.node, value_of)

    def _within(self, node, plan, some, values, boxes):
        """A layer's values in `boxes`, which hold those in which it changed."""
        return self._gather(node, plan.boxes[node].of(some), values[node], boxes.lo, boxes.extent, 0.0)

    def _gather(self, node, own, changed, start, size, fill):
        if own.extent == size and np.array_equal(own.lo, start):
            return changed
        return gather(self.base.get(node), changed, own, start, size, fill)

    def _run_whole(self, step, plan, some, values, sized):
        completed = {}
        for node in set(step.inputs):
            if not plan.is_whole(node):
                completed[node] = complete(self.base[node], values[node], plan.boxes[node].of(some))
        return step.whole(self._reader(completed | {n: v for n, v in values.items() if n not in completed}, sized))

    # ------------------------------------------------------------------ what a person is told

    def _say(self, batches, count):
        if not batches or not log.isEnabledFor(logging.INFO):
            return
        gain = self.full_multiply_adds / max(1, self.multiply_adds)
        log.info(
            "%d parts in %d batches; multiply-adds allow %.1f times the speed of whole images",
            count,
            len(batches),
            gain,
        )
        end = self._end_of_locality(batches[0][0])
        if end:
            log.info("%s", end)

    def _end_of_locality(self, plan):
        """A sentence where whole layers are computed before the grid ends, and why."""
        after = [step for step in self.steps if step.node not in plan.boxes]
        convolutions = [step for step in after if isinstance(step, Windowed) and step.multiplications]
        cause = next((step for step in after if type(step) is Step), None)
        if not convolutions or cause is None:
            return ""
        return (
            f"from {self.graph.module_of(cause.node)} on ({operator_name(cause.node)}) whole layers are computed: "
            f"{len(convolutions)} convolution(s)"
        )


def _passes_on(step):
    """Whether a step never gathers: it works on the changed cells as they are."""
    return isinstance(step, SameCell) and len(set(step.inputs)) == 1


def _is_cellwise(step):
    tags = getattr(step.node.target, "tags", ())
    return torch.Tag.pointwise in tags or operator_name(step.node) == "cat"


def _has_grid(value, grid):
    """Whether a tensor that does not depend on the image has values of its own along the grid."""
    if not isinstance(value, torch.Tensor):
        return False
    spatial = value.shape[-len(grid) :]
    return math.prod(spatial) > 1
