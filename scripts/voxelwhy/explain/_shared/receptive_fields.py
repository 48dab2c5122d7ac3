"""Where the receptive fields of a layer's cells are centred in the image, derived from the operators that ran."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

MAX_POOLS = {f"max_pool{n}d{ending}" for n in (1, 2, 3) for ending in ("", "_with_indices")}
MEAN_POOLS = {f"avg_pool{n}d" for n in (1, 2, 3)}
ADAPTIVE_POOLS = {f"{kind}{n}d" for n in (1, 2, 3) for kind in ("_adaptive_avg_pool", "adaptive_max_pool")}
PADS = {"constant_pad_nd"} | {f"{kind}_pad{n}d" for n in (1, 2, 3) for kind in ("reflection", "replication")}
MOVES = {"permute", "transpose", "t", "flip", "roll", "rot90", "movedim"}  # may keep the shape, but move the cells


class Field(NamedTuple):
    """Receptive fields along each axis: centre of the first cell and step from cell to cell, in voxels."""

    first: tuple[float, ...]
    step: tuple[float, ...]

    def centres(self, cells) -> list[np.ndarray]:
        """Centres of the cells along each axis, for a layer of shape `cells`."""
        return [
            first + step * np.arange(count) for first, step, count in zip(self.first, self.step, cells, strict=True)
        ]

    def through(self, kernel, stride, padding, dilation):
        """The fields after a convolution or pool; each option is one number, or one per axis."""
        axes = len(self.first)
        kernel, stride, padding, dilation = (_each(value, axes) for value in (kernel, stride, padding, dilation))
        first = (
            start + step * ((k - 1) * d / 2 - p)
            for start, step, k, p, d in zip(self.first, self.step, kernel, padding, dilation, strict=True)
        )
        return Field(tuple(first), tuple(step * s for step, s in zip(self.step, stride, strict=True)))


def _each(value, axes):
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return values * axes if len(values) == 1 else values


class ReceptiveFields(TorchDispatchMode):
    """Follows the receptive fields from the image through every operator that runs.

    Operators that do not change the grid (activations, normalisation, sums, concatenation) pass them on; if branches
    with different centres meet, the centres are averaged. After an operator that may move cells (upsampling,
    permutation, attention over flattened voxels) they are unknown, and `of` returns None.
    """

    def __init__(self, batch):
        super().__init__()
        axes = batch.ndim - 2
        self.fields = WeakTensorKeyDictionary()
        self.fields[batch] = Field(first=(0.0,) * axes, step=(1.0,) * axes)

    def of(self, tensor) -> Field | None:
        """The receptive fields of the cells of `tensor`, or None if they are unknown."""
        return self.fields.get(tensor)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        output = result[0] if isinstance(result, (list, tuple)) and result else result
        if isinstance(output, torch.Tensor):
            field = self._after(func.overloadpacket.__name__.removesuffix("_"), args, output)
            if field is not None:
                self.fields[output] = field
        return result

    def _after(self, name, args, output):
        tensors = [t for arg in args for t in (arg if isinstance(arg, (list, tuple)) else [arg])]
        inputs = [t for t in tensors if isinstance(t, torch.Tensor) and self.of(t) is not None]
        if not inputs or name in MOVES or (name == "convolution" and args[6]):  # 6: transposed
            return None
        known = _changed_grid(name, args, self.of(inputs[0]))
        if known is not None:
            return known
        grid = output.shape[2:]
        fields = [self.of(t) for t in inputs if t.shape[2:] == grid and t.ndim == output.ndim]
        if not fields or any(other.step != fields[0].step for other in fields):
            return None
        return Field(tuple(np.mean([other.first for other in fields], axis=0).tolist()), fields[0].step)


def _changed_grid(name, args, field):
    """The fields after an operator that changes the grid in a known way; None for all others."""
    if name == "convolution":  # input, weight, bias, stride, padding, dilation, transposed, …
        return field.through(args[1].shape[2:], *args[3:6])
    if name in MAX_POOLS | MEAN_POOLS:  # input, kernel, stride = kernel, padding = 0, then (max) dilation = 1
        kernel = args[1]
        stride = args[2] if len(args) > 2 and args[2] else kernel
        padding = args[3] if len(args) > 3 else 0
        dilation = args[4] if len(args) > 4 and name in MAX_POOLS else 1
        return field.through(kernel, stride, padding, dilation)
    if name in ADAPTIVE_POOLS:
        lengths, cells = args[0].shape[2:], _each(args[1], len(field.first))
        if any(length % count for length, count in zip(lengths, cells, strict=True)):
            return None  # cells of unequal size
        kernel = [length // count for length, count in zip(lengths, cells, strict=True)]
        return field.through(kernel, kernel, 0, 1)
    if name in PADS:  # before and after, from the last axis backwards
        axes = len(field.first)
        before = [*args[1][::2], *[0] * axes][:axes][::-1]
        return field.through(1, 1, before, 1)
    return None
