"""What a network says of an image with parts of it changed, by computing again only what each change reaches."""

from __future__ import annotations

import logging
import math

import numpy as np
import torch

from voxelwhy.explain.incremental.gathering import FORMATS, complete, crop, gather
from voxelwhy.explain.incremental.graph import NotExportable, evaluate, module_of, operator_name
from voxelwhy.explain.incremental.known import followed
from voxelwhy.explain.incremental.plan import Plan, alike, image_bytes, last_uses, readable, spans
from voxelwhy.explain.incremental.steps import Step, Windowed, grid_of

log = logging.getLogger(__name__)

#: Extra memory, bytes: the layers of the image itself and the parts at work together.
MAX_BYTES = 2_000_000_000
#: Parts at work together make no tensor larger than this, on a CPU: malloc asks the system for each larger one anew,
#: and its fresh pages cost more than the arithmetic on them. A GPU wants more to be busy.
LARGEST = {"cpu": 12_000_000}
LARGEST_ELSEWHERE = 256_000_000


class TooLarge(NotExportable):
    """A network of which the layers of an image, and one part beside them, take more memory than is allowed."""


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
    max_bytes : extra memory, at most: the layers of the image, and as many parts at once as fit beside them; without
        what an operator takes for itself while it runs

    Attributes
    ----------
    whole : logits of the image as it is, (1, classes)
    multiply_adds, full_multiply_adds : of the last call, all parts in sum, and as many times the whole image's

    Raises
    ------
    NotExportable : the network cannot be followed; TooLarge, here or in the call, where `max_bytes` does not do.
    """

    def __init__(self, model, batch, max_bytes=MAX_BYTES):
        self.graph, self.steps = followed(model, batch)
        if grid_of(self.graph.image) is None or self.graph.output not in self.graph.dependent:
            raise NotExportable("its output does not depend on a grid")
        self.max_bytes = max_bytes
        self.last_use = last_uses(self.steps, self.graph.output)
        self.base = {}
        self.whole = self._run_image(batch)
        self.multiply_adds = self.full_multiply_adds = 0

    def __call__(self, lo, hi, masks, value, batch_size=None, progress=iter):
        """Logits (n_parts, classes) of the image with each part set to `value`.

        Parameters
        ----------
        lo, hi : integer arrays (n_parts, axes): the box of each part, within the image
        masks : for each part None, or a boolean array of its box: the voxels that change
        batch_size : parts at once, at most; None is as many as are of use. `max_bytes` bounds it in any case
        progress : wraps the list of batches
        """
        lo, hi = np.asarray(lo), np.asarray(hi)
        logits = self.whole.new_empty((len(lo), self.whole.shape[1]))
        self.multiply_adds = self.full_multiply_adds = 0
        batches = []
        for plan, group in self.plans(lo, hi):
            self.multiply_adds += plan.multiply_adds * len(group)
            self.full_multiply_adds += plan.full_multiply_adds * len(group)
            size = self._batch_size(plan, batch_size, logits.nbytes)
            batches += [(plan, group, slice(start, start + size)) for start in range(0, len(group), size)]
        self._say(batches, len(lo))
        for plan, group, some in progress(batches):
            numbers = group[some]
            blank = [masks[n] for n in numbers]
            values = {self.graph.image: self._change(plan, some, lo[numbers], hi[numbers], blank, value)}
            logits[torch.as_tensor(numbers, device=logits.device)] = self._replayed(plan, some, values, len(numbers))
        return logits

    def plans(self, lo, hi) -> list[tuple[Plan, np.ndarray]]:
        """The plans by which parts in these boxes run, each with the numbers of its parts."""
        groups = alike(lo, hi, spans(self.graph, self.steps, lo, hi))
        return [(Plan(self.graph, self.steps, lo[group], hi[group]), group) for group in groups]

    def _batch_size(self, plan, wanted, held):
        held += sum(layer.nbytes for layer in self.base.values())
        self._check_room(held + plan.bytes_each)
        largest = LARGEST.get(self.whole.device.type, LARGEST_ELSEWHERE)
        room = (self.max_bytes - held) // plan.bytes_each
        return int(min(room, wanted or max(2, largest // plan.bytes_largest)))

    def _check_room(self, needed):
        if needed > self.max_bytes:
            raise TooLarge(f"its layers take {needed / 1e9:.3g} GB, max_bytes allows {self.max_bytes / 1e9:.3g} GB")

    # ------------------------------------------------------------------ the image itself

    def _run_image(self, batch):
        """Run the image through all steps; keep the layers that a gather will read."""
        kept = readable(self.graph, self.steps)
        self._check_room(image_bytes(self.graph, self.steps, kept))
        values = {self.graph.image: batch.contiguous(memory_format=FORMATS[batch.ndim])}
        value_of = self._reader(values, self._of_size(1))
        for step in self.steps:
            values[step.node] = step.whole(value_of)
            for node in step.inputs:
                if self.last_use[node] is step and node in kept:
                    self.base[node] = values[node]
                if self.last_use.get(node) is step:
                    del values[node]
        return _rows(values[self.graph.output], 1)

    def _of_size(self, count):
        """What depends on how many images there are: sizes, and tensors that are expanded to them."""
        values = {}

        def value_of(node):
            return next(known[node] for known in (values, self.graph.constants) if node in known)

        for node in self.graph.nodes:
            if node in self.graph.dependent or node in self.graph.constants:
                continue
            values[node] = count if operator_name(node) == "sym_size" else evaluate(node, value_of)
        return values

    def _reader(self, values, sized):
        places = (values, sized, self.graph.constants)
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

    def _replayed(self, plan, some, values, count):
        try:
            return self._run(plan, some, values, count)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise NotExportable(f"its graph does not run for {count} image(s): {error}") from error

    def _run(self, plan, some, values, count):
        """Logits of one batch of parts, from their `values` of the image; each value is let go after its last use."""
        sized = self._of_size(count)
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
        return _rows(values[self.graph.output], count)

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
        """A sentence where an operator needs a whole layer before the last convolution, and which."""
        numbers = {step: number for number, step in enumerate(self.steps)}
        ends = (step for step in self.steps if type(step) is Step and not all(map(plan.is_whole, step.inputs)))
        end = next(ends, None)
        convolutions = [step for step in self.steps if isinstance(step, Windowed) and step.multiplications]
        after = sum(end is not None and numbers[step] > numbers[end] for step in convolutions)
        if not after:
            return ""
        return (
            f"{module_of(end.node) or 'the network'} ({operator_name(end.node)}) needs a whole layer: from there on "
            f"whole layers are computed: {after} convolution(s) of {len(convolutions)}"
        )


def _is_cellwise(step):
    tags = getattr(step.node.target, "tags", ())
    return torch.Tag.pointwise in tags or operator_name(step.node) == "cat"


def _has_grid(value, grid):
    """Whether a tensor that does not depend on the image has values of its own along the grid."""
    if not isinstance(value, torch.Tensor):
        return False
    spatial = value.shape[-len(grid) :]
    return math.prod(spatial) > 1


def _rows(logits, count):
    """Logits as (n, classes): a network may give one number for each image."""
    if logits.ndim not in (1, 2) or len(logits) != count:
        raise NotExportable(f"its output for {count} image(s) has the shape {tuple(logits.shape)}")
    return logits.reshape(count, -1)
