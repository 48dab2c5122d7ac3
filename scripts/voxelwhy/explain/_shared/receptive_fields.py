"""Where the receptive fields of a layer's cells are centred in the image, derived from the operators that ran."""

from __future__ import annotations

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from voxelwhy.explain._shared.cell_numbers import (
    PRODUCTS,
    REORDERING,
    SCATTERING,
    Field,
    Lost,
    Numbers,
    as_field,
    contract,
    number_cells,
    per_axis,
    reorder,
    tensors_in,
)

MAX_POOLS = {f"max_pool{n}d{ending}" for n in (1, 2, 3) for ending in ("", "_with_indices")}
MEAN_POOLS = {f"avg_pool{n}d" for n in (1, 2, 3)}
ADAPTIVE_POOLS = {f"{kind}{n}d" for n in (1, 2, 3) for kind in ("_adaptive_avg_pool", "adaptive_max_pool")}
PADS = {"constant_pad_nd"} | {f"{kind}_pad{n}d" for n in (1, 2, 3) for kind in ("reflection", "replication")}
CHANGING = {"convolution"} | MAX_POOLS | MEAN_POOLS | ADAPTIVE_POOLS | PADS
UPSAMPLING = {"nearest", "linear", "bilinear", "trilinear", "bicubic"}
#: Operators in which an element of the output belongs to the cell of the same element of the input.
IN_PLACE = {
    "native_layer_norm", "native_group_norm", "native_batch_norm", "_native_batch_norm_legit", "cudnn_batch_norm",
    "_native_batch_norm_legit_no_training", "_softmax", "_safe_softmax", "_log_softmax", "clone", "detach", "alias",
    "_batch_norm_no_update", "_to_copy", "copy", "lift_fresh", "native_dropout", "contiguous", "_prelu_kernel",
}  # fmt: skip
REDUCTIONS = {"mean", "sum", "amax", "amin", "max", "min", "var", "std", "logsumexp", "linalg_vector_norm"}
UNKNOWN = "an operator that is not followed"
ATTENTION = "_scaled_dot_product"


class ReceptiveFields(TorchDispatchMode):
    """Follows the receptive fields from the image through every operator that runs.

    Operators that do not change the grid (activations, normalisation, sums, concatenation) pass them on; if branches
    with different centres meet, the centres are averaged. Where cells are reordered (channels last, windows, tokens,
    shuffled channels), each element carries the number of its cell until they lie in a grid again. A product of layers
    (attention) belongs to the cell of its query.

    Behind an operator that is not followed, the cells are taken to lie on a regular grid over the image, and
    `Field.assumed` names it. Where the image was moved (flipped, rolled without the way back, resampled, its axes
    swapped), no place is claimed.
    """

    @classmethod
    def _should_skip_dynamo(cls):
        return False  # otherwise each operator would pass through torch.compile, whose import takes a second

    def __init__(self, batch):
        super().__init__()
        self.shape = tuple(batch.shape[2:])
        self.places = _Places()
        self.places[batch] = Field(first=(0.0,) * len(self.shape), step=(1.0,) * len(self.shape))
        self.circular = _CircularPads(self)

    def __enter__(self):
        self.circular.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.circular.__exit__(*error)

    def of(self, tensor) -> Field | None:
        """The receptive fields of the cells of `tensor`, (images, channels, *cells), or None if they are unknown."""
        place, axes = self.grid_of(tensor)
        return place if isinstance(place, Field) and axes[0] == 2 else None

    def grid_of(self, tensor) -> tuple[Field | Lost, tuple[int, ...]]:
        """Like `of`, or why they are unknown; and which axes of the tensor are those of the image."""
        place, axes = self.places.get(tensor, Lost(UNKNOWN, False)), tuple(range(2, 2 + len(self.shape)))
        if isinstance(place, Numbers):
            found = as_field(place)
            place, axes = found if not isinstance(found, Lost) else (found, axes)
        if isinstance(place, Lost) and not place.moved:
            place = _regular(tensor, self.shape, place.operator) or place
        return place, axes

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        outputs = list(result) if isinstance(result, (list, tuple)) else [result]
        if isinstance(outputs[0], torch.Tensor) if outputs else False:
            places = self._after(func, func.overloadpacket.__name__.removesuffix("_"), args, kwargs or {}, outputs)
            for output, place in zip(outputs, places, strict=False):
                if place is not None:
                    self.places[output] = place
        return result

    def _after(self, func, name, args, kwargs, outputs):
        """The place of each output of an operator; None of what does not depend on the image."""
        inputs = [tensor for tensor in tensors_in(args) if tensor in self.places]
        output = outputs[0]
        if not inputs:
            return []
        follows = name in IN_PLACE or torch.Tag.pointwise in func.tags
        if follows and len(inputs) == 1 and inputs[0].shape == output.shape:
            place = self.places[inputs[0]]  # an activation or a normalisation: most operators by far
            if isinstance(place, Field):
                return [place]
        if name.startswith(SCATTERING):
            return [Lost(name, True)] * len(outputs)
        if name in CHANGING or name.startswith("upsample"):
            found = self._changed_grid(name, args, output)
            if found is not None:
                return [found]
        if name in REORDERING:
            return self._reordered(func, name, args, kwargs, inputs, outputs)
        if name in PRODUCTS or name.startswith(ATTENTION):
            return [self._product(name, args, output)]
        if name in REDUCTIONS:
            return [self._reduced(name, args, inputs[0], output)]
        return [self._merged(inputs[-1:] if name == "copy" else inputs, output, "" if follows else name)]

    # ------------------------------------------------------------------ kinds of operators

    def _changed_grid(self, name, args, output):
        """The place after a convolution, pool, padding or upsampling; None for one along other axes."""
        if args[0] not in self.places or args[0].ndim != output.ndim or output.ndim != len(self.shape) + 2:
            return None
        field, axes = self.grid_of(args[0])
        if isinstance(field, Lost) or axes[0] != 2:
            lost = field if isinstance(field, Lost) else Lost(name, False)
            return None if name == "constant_pad_nd" else lost  # windows, or channels last: the numbers are padded
        return changed_grid(name, args, field, output) or Lost(name, False)

    def _reordered(self, func, name, args, kwargs, inputs, outputs):
        place = self.places[inputs[0]]
        if isinstance(place, Field) and all(isinstance(self.places[one], Field) for one in inputs):
            # A concatenation or selection of channels, and what leaves the layer as it is.
            same = all(one.shape[2:] == outputs[0].shape[2:] and one.ndim == outputs[0].ndim for one in inputs)
            if same and name in ("cat", "slice", "split", "split_with_sizes", "chunk", "narrow"):
                return [self._merged(inputs, one, "") for one in outputs]
        lost = [one for one in map(self.places.get, inputs) if isinstance(one, Lost)]
        if lost:
            return [max(lost, key=lambda one: one.moved)] * len(outputs)
        found = reorder(func, name, args, kwargs, self._numbers)
        return [found] * len(outputs) if isinstance(found, Lost) else found

    def _numbers(self, tensor):
        place = self.places.get(tensor)
        return number_cells(place, tensor) if isinstance(place, Field) else place

    def _product(self, name, args, output):
        """Each row of a product belongs to the cell of the row of its first factor, or of the column of its second."""
        first = PRODUCTS.get(name, 0)
        factors = args[first : first + 2]
        known = [self.places.get(factor) for factor in factors]
        lost = [place for place in known if isinstance(place, Lost)]
        if lost:
            return max(lost, key=lambda one: one.moved)
        side = 0 if known[0] is not None else 1
        numbers = self._numbers(factors[side])
        if numbers is None:
            return None
        if known[0] is not None and known[1] is not None:  # attention: the query's cell, whatever it reads
            numbers = numbers._replace(field=numbers.field._replace(assumed=numbers.field.assumed or "attention"))
        return contract(numbers, numbers.number.ndim - 1 - side, output.shape, name)

    def _reduced(self, name, args, tensor, output):
        """Means, sums and maxima along axes; what is left without an axis of the grid is a number for the image."""
        place, axes = self.places[tensor], args[1] if len(args) > 1 else None
        kept = output.ndim == tensor.ndim and axes is not None
        if isinstance(place, Field):
            return place if kept and output.shape[2:] == tensor.shape[2:] else Lost(name, False)
        if isinstance(place, Lost) or not kept:
            return place if isinstance(place, Lost) else Lost(name, False)
        for axis in [axes] if isinstance(axes, int) else axes:
            shape = list(place.number.shape)
            shape[axis] = 1
            place = contract(place, axis % tensor.ndim, shape, name)
            if isinstance(place, Lost):
                return place
        return place

    def _merged(self, inputs, output, unfollowed):
        """The place of a layer computed from others of its shape, or broadcast to it."""
        same = [one for one in inputs if one.shape == output.shape]
        same = same or [one for one in inputs if one.ndim == output.ndim and one.shape[2:] == output.shape[2:]]
        places = [self.places[one] for one in same]
        if places and not unfollowed and isinstance(places[0], Field) and all(one == places[0] for one in places):
            return places[0]
        moved = next((one for one in places if isinstance(one, Lost) and one.moved), None)
        known = [(one, place) for one, place in zip(same, places, strict=True) if not isinstance(place, Lost)]
        if moved or not known:
            return moved or next(
                (one for one in map(self.places.get, inputs) if isinstance(one, Lost)), Lost(unfollowed, False)
            )
        if any(isinstance(place, Numbers) for _, place in known):
            numbers = [self._numbers(one) for one, _ in known]
            one = numbers[0]
            if all(other.cells == one.cells and other.field[:2] == one.field[:2] for other in numbers) and all(
                torch.equal(*torch.broadcast_tensors(other.number, one.number)) for other in numbers[1:]
            ):
                assumed = next((other.field.assumed for other in numbers if other.field.assumed), unfollowed)
                number = one.number.expand(output.shape) if one.number.ndim == output.ndim else one.number
                return one._replace(number=number, field=one.field._replace(assumed=assumed))
        fields = [self.grid_of(one) for one, _ in known]
        for field, axes in fields:
            if isinstance(field, Lost) or axes[0] != 2:
                return field if isinstance(field, Lost) else Lost(unfollowed, False)
        return _mean([field for field, _ in fields], unfollowed)


class _Places:
    """The places of tensors, kept with each tensor itself, so that they go when it goes.

    A WeakTensorKeyDictionary does the same, and takes a third of the time of Grad-CAM in a deep network.
    """

    def get(self, tensor, default=None):
        owner, place = getattr(tensor, "_voxelwhy_place", (None, None))
        return place if owner is self else default

    def __contains__(self, tensor):
        return self.get(tensor) is not None

    def __getitem__(self, tensor):
        return self.get(tensor)

    def __setitem__(self, tensor, place):
        tensor._voxelwhy_place = self, place


class _CircularPads(TorchFunctionMode):
    """Sees circular padding as one operation: below, it is a row of copies into an empty tensor."""

    def __init__(self, fields):
        super().__init__()
        self.fields = fields

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if (
            getattr(func, "__name__", "") == "pad"
            and kwargs.get("mode", args[2] if len(args) > 2 else "") == "circular"
        ):
            field = self.fields.of(args[0]) if args[0] in self.fields.places else None
            pad = kwargs.get("pad", args[1] if len(args) > 1 else None)
            if field is not None and pad is not None:
                self.fields.places[result] = changed_grid("constant_pad_nd", (args[0], list(pad)), field, result)
        return result


# ------------------------------------------------------------------ fields


def _mean(fields, unfollowed):
    """The mean of the fields of branches that meet; lost if their steps differ."""
    if any(other.step != fields[0].step for other in fields):
        return Lost(unfollowed, False)
    assumed = next((field.assumed for field in fields if field.assumed), unfollowed)
    if all(other.first == fields[0].first for other in fields):
        return fields[0]._replace(assumed=assumed)
    return Field(tuple(np.mean([field.first for field in fields], axis=0).tolist()), fields[0].step, assumed)


def _regular(tensor, shape, operator):
    """The fields of a regular grid over the image, if the cells of a layer can be one."""
    cells = tensor.shape[2:]
    if tensor.ndim != len(shape) + 2 or any(n > length for n, length in zip(cells, shape, strict=True)):
        return None
    steps = [length / n for n, length in zip(cells, shape, strict=True)]
    whole = all(length % n == 0 for n, length in zip(cells, shape, strict=True))
    alike = any(
        all(length // step <= n <= -(-length // step) for n, length in zip(cells, shape, strict=True)) for step in steps
    )
    return Field(tuple((step - 1) / 2 for step in steps), tuple(steps), operator) if whole or alike else None


def changed_grid(name, args, field, output):
    """The fields after an operator that changes the grid in a known way; None for all others."""
    if name == "convolution":  # input, weight, bias, stride, padding, dilation, transposed, …
        options = (args[1].shape[2:], *args[3:6])
        return _transposed(field, *options) if args[6] else field.through(*options)
    if name in MAX_POOLS | MEAN_POOLS:  # input, kernel, stride = kernel, padding = 0, then (max) dilation = 1
        kernel = args[1]
        stride = args[2] if len(args) > 2 and args[2] else kernel
        padding = args[3] if len(args) > 3 else 0
        dilation = args[4] if len(args) > 4 and name in MAX_POOLS else 1
        return field.through(kernel, stride, padding, dilation)
    lengths, cells = args[0].shape[2:], output.shape[2:]
    if name in ADAPTIVE_POOLS:
        if any(length % count for length, count in zip(lengths, cells, strict=True)):
            return None  # cells of unequal size
        kernel = [length // count for length, count in zip(lengths, cells, strict=True)]
        return field.through(kernel, kernel, 0, 1)
    if name in PADS:  # before and after, from the last axis backwards
        axes = len(field.first)
        before = [*args[1][::2], *[0] * axes][:axes][::-1]
        return field.through(1, 1, before, 1)
    return _upsampled(name, args, field, lengths, cells)


def _transposed(field, kernel, stride, padding, dilation):
    """The fields after a transposed convolution: the middle of the cells that reach each of its own."""
    axes = len(field.first)
    kernel, stride, padding, dilation = (per_axis(value, axes) for value in (kernel, stride, padding, dilation))
    first = (
        start + step * (p - (k - 1) * d / 2) / s
        for start, step, k, s, p, d in zip(field.first, field.step, kernel, stride, padding, dilation, strict=True)
    )
    step = tuple(step / s for step, s in zip(field.step, stride, strict=True))
    return Field(tuple(first), step, field.assumed)


def _upsampled(name, args, field, lengths, cells):
    """The fields after an interpolation between cells, whose corners (align_corners) or outer faces coincide."""
    if not any(name.removeprefix("upsample_").rstrip("123d") == kind for kind in UPSAMPLING):
        return None
    corners = len(args) > 2 and args[2] is True
    first, step = [], []
    for start, each, length, count in zip(field.first, field.step, lengths, cells, strict=True):
        ratio = (length - 1) / max(1, count - 1) if corners else length / count
        first.append(start if corners else start + each * (ratio - 1) / 2)
        step.append(each * ratio)
    return Field(tuple(first), tuple(step), field.assumed)
