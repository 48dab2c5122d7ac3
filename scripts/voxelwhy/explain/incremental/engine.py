"""Logits of an image with parts of it changed: only what each change reaches is recomputed."""

from __future__ import annotations

import logging
import math

import numpy as np
import torch

from voxelwhy.explain.incremental.gathering import FORMATS, complete, crop, fill_part, gather
from voxelwhy.explain.incremental.graph import NotExportable, evaluate, module_of, operator_name
from voxelwhy.explain.incremental.known import followed
from voxelwhy.explain.incremental.plan import Plan, alike, image_bytes, last_uses, readable, spans
from voxelwhy.explain.incremental.steps import Step, Windowed, grid_of

log = logging.getLogger(__name__)

#: Extra memory in bytes: the layers of the image itself and the parts of one batch.
MAX_BYTES = 2_000_000_000
#: The parts of one batch make no tensor larger than this on a CPU: malloc requests larger ones from the system each
#: time, and the fresh pages cost more than the arithmetic on them. A GPU needs more to be busy.
LARGEST = {"cpu": 12_000_000}
LARGEST_ELSEWHERE = 256_000_000


#: Plans of single parts that are kept with a graph: about 10 kB and a millisecond each.
MOST_PLANS = 2_000


class TooLarge(NotExportable):
    """The layers of an image together with a single part take more memory than `max_bytes` allows."""


class Incremental:
    """Logits of one image with parts of it replaced by a value.

    Each layer of the image is computed once. A change in a part of the image is followed through the layers as a box of
    cells, of the same extent for all parts of a batch. At each convolution or pool, the input of the box is gathered
    from the layer of the image, overlaid with the changed cells. Once an operator needs the whole layer (a dense layer,
    a global mean), the layers are completed, and the rest of the network runs as usual.

    Parameters
    ----------
    model : torch.nn.Module in eval mode
    batch : tensor (1, channels, *spatial), on the model's device
    max_bytes : upper limit of the extra memory: the layers of the image, and as many parts per batch as fit in the
        rest. The working memory of single operators is not included

    Attributes
    ----------
    whole : logits of the unchanged image, (1, classes)
    multiply_adds, full_multiply_adds : multiply-adds of the last call, summed over all parts: those computed, and those
        that whole images would take

    Raises
    ------
    NotExportable : torch.export cannot follow the network. TooLarge, also raised by calls, if `max_bytes` is too small.
    """

    def __init__(self, model, batch, max_bytes=MAX_BYTES):
        self.graph, self.steps = followed(model, batch)
        if grid_of(self.graph.image) is None or self.graph.output not in self.graph.dependent:
            raise NotExportable("its output does not depend on a grid")
        self.max_bytes = max_bytes
        self.last_use = last_uses(self.steps, self.graph.output)
        self.base = {}
        try:
            self.whole = self._run_image(batch)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, TypeError, IndexError) as error:
            raise NotExportable(f"its graph does not run: {error}") from error
        self.multiply_adds = self.full_multiply_adds = 0

    def __call__(self, lo, hi, masks, value, batch_size=None, progress=iter):
        """Logits (n_parts, classes) of the image with each part set to `value`.

        Parameters
        ----------
        lo, hi : integer arrays (n_parts, axes): the box of each part, inside the image
        masks : for each part None, or a boolean array of the shape of its box: the voxels that change
        batch_size : maximum number of parts per batch; None chooses a suitable number. `max_bytes` always limits it
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

    def move(self, plan, lo, hi, mask, value) -> torch.Tensor:
        """Logits (1, classes) of the image with one part replaced, which from then on is the image.

        All kept layers take over the cells that changed. They must be the engine's own (see `own_layers`). Each cell
        is computed from its present input, so that rounding errors do not add up over many calls.

        Parameters
        ----------
        plan : Plan of this one part
        lo, hi : integer arrays (1, axes): its box
        mask : None, or a boolean array of the shape of the box: the voxels that change
        value : what they become: a number, or a tensor (channels, *box)
        """
        values = {self.graph.image: self._change(plan, slice(0, 1), lo, hi, [mask], value)}
        self._take_over(self.graph.image, plan, values)
        return self._replayed(plan, slice(0, 1), values, 1, self._take_over)

    def plan_of(self, lo, hi) -> Plan:
        """The plan of one part in this box, (1, axes); cached with the graph, since images share an atlas."""
        key, known = (lo.tobytes(), hi.tobytes()), self.graph.plans
        if key not in known:
            if len(known) >= MOST_PLANS:
                known.clear()
            known[key] = Plan(self.graph, self.steps, lo, hi)
        return known[key]

    def own_layers(self, copies=1, others=0):
        """Copy the kept layers, which may share memory with the batch and with each other.

        Raises
        ------
        TooLarge : `copies` of them, and `others` bytes, are more than `max_bytes`.
        """
        self._check_room(copies * sum(layer.nbytes for layer in self.base.values()) + others)
        for node, layer in self.base.items():
            self.base[node] = layer.clone()

    def _take_over(self, node, plan, values):
        if node in self.base:
            boxes, layer = plan.boxes.get(node), self.base[node]
            if boxes is not None:
                spots = zip(boxes.lo[0].tolist(), boxes.extent, strict=True)
                layer = layer[(..., *(slice(start, start + cells) for start, cells in spots))]
            layer.copy_(values[node])

    def plans(self, lo, hi) -> list[tuple[Plan, np.ndarray]]:
        """The plans for parts in these boxes, each with the indices of its parts."""
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
            raise TooLarge(f"its layers take {needed / 1e9:.3g} GB, but max_bytes allows {self.max_bytes / 1e9:.3g} GB")

    # ------------------------------------------------------------------ the image itself

    def _run_image(self, batch):
        """Run the image through all steps, and keep the layers that will be gathered from."""
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
        """Values that depend on the number of images: sizes, and tensors that are expanded to them."""
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

        def value_of(node):
            for known in places:
                if node in known:
                    return known[node]
            raise NotExportable(f"its graph reads {node}, which depends on the values of the image in another way")

        return value_of

    # ------------------------------------------------------------------ its parts

    def _change(self, plan, some, lo, hi, masks, value):
        """Crops of the image, one box per part, each with its part set to `value`."""
        boxes, image = plan.boxes[self.graph.image].of(some), self.base[self.graph.image]
        cells = crop(image, boxes)
        for one, start, first, last, mask in zip(cells, boxes.lo, lo, hi, masks, strict=True):
            inside = one[(slice(None), *(slice(a - s, b - s) for a, b, s in zip(first, last, start, strict=True)))]
            fill_part(inside, mask, value)
        return cells

    def _replayed(self, plan, some, values, count, take=None):
        try:
            return self._run(plan, some, values, count, take)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise NotExportable(f"its graph does not run with {count} image(s): {error}") from error

    def _run(self, plan, some, values, count, take):
        """Logits of one batch of parts, from the changed crops in `values`; each value is freed after its last use.

        `take`, if there is one, is called with each node, the plan and the values, once that of the node is known.
        """
        sized = self._of_size(count)
        for step in self.steps:
            boxes = plan.boxes.get(step.node)
            if boxes is None:
                values[step.node] = self._run_whole(step, plan, some, values, sized)
            elif isinstance(step, Windowed):
                values[step.node] = self._run_window(step, plan, some, values, boxes.of(some))
            else:
                values[step.node] = self._run_cells(step, plan, some, values, sized, boxes.of(some))
            if take:
                take(step.node, plan, values)
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
        """The values of a layer in `boxes`, which contain the boxes in which it changed."""
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

    # ------------------------------------------------------------------ log messages

    def _say(self, batches, count):
        if not batches or not log.isEnabledFor(logging.INFO):
            return
        gain = self.full_multiply_adds / max(1, self.multiply_adds)
        log.info(
            "%d parts in %d batches; by multiply-adds, up to %.1f times as fast as whole images",
            count,
            len(batches),
            gain,
        )
        end = self._end_of_locality(batches[0][0])
        if end:
            log.info("%s", end)

    def _end_of_locality(self, plan):
        """A sentence about the operator that needs a whole layer before the last convolution; "" if there is none."""
        numbers = {step: number for number, step in enumerate(self.steps)}
        ends = (step for step in self.steps if type(step) is Step and not all(map(plan.is_whole, step.inputs)))
        end = next(ends, None)
        convolutions = [step for step in self.steps if isinstance(step, Windowed) and step.multiplications]
        after = sum(end is not None and numbers[step] > numbers[end] for step in convolutions)
        if not after:
            return ""
        return (
            f"{module_of(end.node) or 'the network'} ({operator_name(end.node)}) needs a whole layer: {after} of "
            f"{len(convolutions)} convolution(s) come after it and are computed on whole layers"
        )


def _is_cellwise(step):
    tags = getattr(step.node.target, "tags", ())
    return torch.Tag.pointwise in tags or operator_name(step.node) == "cat"


def _has_grid(value, grid):
    """Whether a tensor that does not depend on the image varies along the grid."""
    if not isinstance(value, torch.Tensor):
        return False
    spatial = value.shape[-len(grid) :]
    return math.prod(spatial) > 1


def _rows(logits, count):
    """Logits as (n, classes); a network may return a single number per image."""
    if logits.ndim not in (1, 2) or len(logits) != count:
        raise NotExportable(f"its output for {count} image(s) has shape {tuple(logits.shape)}")
    return logits.reshape(count, -1)
