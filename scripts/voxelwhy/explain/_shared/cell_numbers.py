"""Follow cells through operators that reorder them: each element of a tensor carries the number of its cell."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch.utils._pytree import tree_map

#: Operators whose output holds elements of their inputs, in another order or shape; they run on the numbers, too.
REORDERING = {
    "view", "_unsafe_view", "reshape", "_reshape_alias", "permute", "transpose", "t", "movedim", "flip", "roll",
    "rot90", "slice", "select", "narrow", "index", "index_select", "unsqueeze", "squeeze", "expand", "repeat", "cat",
    "stack", "split", "split_with_sizes", "chunk", "unbind", "unfold", "constant_pad_nd", "pixel_shuffle",
    "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle",
}  # fmt: skip
#: Those that can move the image itself; a message names them before others.
MOVING = ("flip", "roll", "rot90", "index", "index_select")
#: Operators behind which a cell may come from anywhere.
SCATTERING = ("grid_sampler", "gather", "take", "sort", "scatter", "index_put")
#: Products of matrices, with the position of the first factor among their arguments.
PRODUCTS = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1}
#: Number of an element that belongs to no cell, as in padding.
NOWHERE = -1


class Field(NamedTuple):
    """Receptive fields along each axis: centre of the first cell and step from cell to cell, in voxels.

    `assumed` names the operator whose receptive fields are not followed, so that the centres are those of a regular
    grid; "" if they are exact.
    """

    first: tuple[float, ...]
    step: tuple[float, ...]
    assumed: str = ""

    def centres(self, cells) -> list[np.ndarray]:
        """Centres of the cells along each axis, for a layer of shape `cells`."""
        return [
            first + step * np.arange(count) for first, step, count in zip(self.first, self.step, cells, strict=True)
        ]

    def through(self, kernel, stride, padding, dilation):
        """The fields after a convolution or pool; each option is one number, or one per axis."""
        axes = len(self.first)
        kernel, stride, padding, dilation = (per_axis(value, axes) for value in (kernel, stride, padding, dilation))
        first = (
            start + step * ((k - 1) * d / 2 - p)
            for start, step, k, p, d in zip(self.first, self.step, kernel, padding, dilation, strict=True)
        )
        return Field(tuple(first), tuple(step * s for step, s in zip(self.step, stride, strict=True)), self.assumed)


def per_axis(value, axes) -> list:
    """An option of a layer, one number or one per axis, as a list."""
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return values * axes if len(values) == 1 else values


class Lost(NamedTuple):
    """Cells without a known place: the operator behind which it is lost, and whether that one moved the image."""

    operator: str
    moved: bool


class Numbers(NamedTuple):
    """Elements whose cells are known, in any order.

    number : int32 tensor of the shape of the layer: for each element the number of its cell in the grid `cells`, whose
        centres `field` gives; -1 for padding
    seen : names of the operators that reordered the elements
    """

    number: torch.Tensor
    field: Field
    cells: tuple[int, ...]
    seen: tuple[str, ...] = ()


def number_cells(field, tensor) -> Numbers:
    """Numbers for a layer (images, channels, *cells); the memory is that of one channel."""
    cells = tuple(tensor.shape[2:])
    number = torch.arange(int(np.prod(cells)), dtype=torch.int32, device=tensor.device)
    return Numbers(number.reshape(1, 1, *cells).expand(tensor.shape), field, cells)


def reorder(func, name, args, kwargs, numbers_of) -> list[Numbers] | Lost:
    """The numbers of each output of an operator that reorders elements.

    Parameters
    ----------
    numbers_of : function of a tensor that returns its Numbers, or None
    """
    found = [numbers_of(tensor) for tensor in tensors_in(args)]
    known = next(one for one in found if one is not None)
    if any(one is not None and (one.field, one.cells) != (known.field, known.cells) for one in found):
        return Lost(name, False)

    def numbered(value):
        if not isinstance(value, torch.Tensor):
            return value
        numbers = numbers_of(value)
        if numbers is not None:
            return numbers.number
        # An index stays what it is; a tensor to join with others has no cells.
        return value if name in ("index", "index_select") else torch.full_like(value, NOWHERE, dtype=torch.int32)

    call = torch.reshape if name in ("view", "_unsafe_view") else func  # the numbers may lie in memory in another way
    inputs = tree_map(numbered, tuple(args))
    inputs = (*inputs[:2], NOWHERE, *inputs[3:]) if name == "constant_pad_nd" else inputs
    result = call(*inputs, **kwargs)
    seen = (*(one for one in known.seen if one != name), name)
    return [known._replace(number=one, seen=seen) for one in ([result] if isinstance(result, torch.Tensor) else result)]


def tensors_in(args) -> list[torch.Tensor]:
    """The tensors among the arguments of an operator, also those in lists."""
    flat = [value for arg in args for value in (arg if isinstance(arg, (list, tuple)) else [arg])]
    return [value for value in flat if isinstance(value, torch.Tensor)]


def contract(numbers, axis, shape, name) -> Numbers | Lost:
    """The numbers after a sum along one axis of the elements: each result belongs to the mean of its cells.

    Parameters
    ----------
    axis : of the sum
    shape : of the result, to which the rows (without that axis, in its place one element) are expanded
    """
    number = numbers.number
    rows = number.narrow(axis, 0, 1)
    if bool((number == rows).all()):
        return numbers._replace(number=rows.expand(shape))
    inside = number != NOWHERE
    counts = inside.sum(axis, keepdim=True)
    if not bool(counts.all()):
        return Lost(name, False)
    merged, first, step, cells = torch.zeros_like(rows), [], [], []
    for place, start, each in zip(_places(number, numbers.cells), numbers.field.first, numbers.field.step, strict=True):
        means = (place * inside).sum(axis, keepdim=True) / counts
        values = means.unique().cpu().double().numpy()
        gap = float(np.median(np.diff(values))) if len(values) > 1 else 0.0
        regular = np.abs(values - values[0] - gap * np.arange(len(values))).max() <= gap / 2
        if gap == 0 or not regular:  # all cells in one, or an irregular selection
            return Lost(name, False)
        first.append(start + each * float(values[0]))
        step.append(each * gap)
        cells.append(len(values))
        merged = merged * len(values) + ((means - float(values[0])) / gap).round().int()
    field = Field(tuple(first), tuple(step), numbers.field.assumed)
    return Numbers(merged.expand(shape), field, tuple(cells), numbers.seen)


def as_field(numbers) -> tuple[Field, tuple[int, ...]] | Lost:
    """The receptive fields of a layer, and which of its axes are those of the image; Lost where the grid is another.

    Fields are those along the axes of the layer. They are (2, 3, 4) for a layer (images, channels, *cells), and (1, 2,
    3) with channels last.
    """
    number, axes = numbers.number, len(numbers.cells)
    if number.ndim != axes + 2:
        return Lost(_mover(numbers), False)
    if bool((number == NOWHERE).any()):
        return Lost("constant_pad_nd", False)
    for start in (2, 1):
        field = _lattice(numbers, start)
        if field is not None:
            return field, tuple(range(start, start + axes))
    return Lost(_mover(numbers), True)


def _lattice(numbers, start):
    """The receptive fields, if the grid begins at axis `start` and its cells follow each other in equal steps."""
    number, axes = numbers.number, len(numbers.cells)
    others = [axis for axis in range(number.ndim) if not start <= axis < start + axes]
    grid = number
    for axis in others:
        grid = grid.narrow(axis, 0, 1)
    if not bool((number == grid).all()):
        return None
    grid = grid.reshape(number.shape[start : start + axes])
    expected, first, step = torch.zeros_like(grid), [], []
    for axis, place in enumerate(_places(grid, numbers.cells)):
        line = place[tuple(slice(None) if other == axis else 0 for other in range(axes))]
        values, counts = line.unique_consecutive(return_counts=True)
        gaps, times = values.diff().unique(), int(counts[0])
        if len(gaps) > 1 or bool((gaps <= 0).any()) or bool((counts != times).any()) or (times > 1 and not len(gaps)):
            return None
        shape = [len(line) if other == axis else 1 for other in range(axes)]
        expected = expected * numbers.cells[axis] + line.reshape(shape)
        each = numbers.field.step[axis]
        gap = each * (int(gaps[0]) if len(gaps) else 1)
        # Cells that are repeated lie around the place of the one.
        first.append(numbers.field.first[axis] + each * int(values[0]) - gap * (times - 1) / (2 * times))
        step.append(gap / times)
    if not bool((grid == expected).all()):
        return None
    return Field(tuple(first), tuple(step), numbers.field.assumed)


def _places(number, cells):
    """The position of each number along each axis of its grid."""
    places, rest = [], number
    for count in reversed(cells):
        places.append(rest % count)
        rest = rest // count
    return places[::-1]


def _mover(numbers):
    return next((one for one in numbers.seen if one in MOVING), numbers.seen[-1] if numbers.seen else "")
