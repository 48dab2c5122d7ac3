"""Windows on a lattice: those of the original package, the part of them that a slow peer runs, maps drawn from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np


@dataclass(frozen=True)
class Lattice:
    """Windows of `size` voxels centred at 0, stride, 2 · stride … along each axis of `shape`, clipped at the border.

    In an image with a border of `size // 2` voxels before, and as many as needed after, none of them is clipped: there
    they begin at 0, stride, 2 · stride …, as those of Captum do.
    """

    shape: tuple[int, ...]
    size: int
    stride: int

    @property
    def counts(self) -> tuple[int, ...]:
        """Windows along each axis."""
        return tuple(math.ceil(length / self.stride) for length in self.shape)

    @property
    def padded_shape(self) -> tuple[int, ...]:
        """Shape of the image with its border."""
        return tuple((count - 1) * self.stride + self.size for count in self.counts)

    @property
    def inside(self) -> tuple[slice, ...]:
        """Where the image lies within its border."""
        return tuple(slice(self.size // 2, self.size // 2 + length) for length in self.shape)

    def all(self) -> list[range]:
        """Every window, by number along each axis."""
        return [range(count) for count in self.counts]

    def some(self, per_axis) -> list[range]:
        """`per_axis` windows along each axis, evenly spaced about the middle and none of them clipped.

        They leave no gap, which Captum does not allow.
        """
        chosen = []
        for count, length in zip(self.counts, self.shape, strict=True):
            whole = [
                n for n in range(count) if self.size // 2 <= n * self.stride <= length - (self.size - self.size // 2)
            ]
            step = max(1, min((len(whole) - 1) // per_axis, self.size // self.stride))
            first = whole[(len(whole) - 1 - step * (per_axis - 1)) // 2]
            chosen.append(range(first, first + step * per_axis, step))
        return chosen

    def block(self, numbers) -> tuple[slice, ...]:
        """The part of the image with border that the windows `numbers` span."""
        return tuple(slice(n[0] * self.stride, n[-1] * self.stride + self.size) for n in numbers)

    def boxes(self, numbers) -> list[tuple[slice, ...]]:
        """Each of the windows `numbers` in the image without border."""
        axes = []
        for axis, length in zip(numbers, self.shape, strict=True):
            starts = [n * self.stride - self.size // 2 for n in axis]
            axes.append([slice(max(0, start), min(length, start + self.size)) for start in starts])
        return list(product(*axes))


def mean_over_windows(values, boxes, shape) -> np.ndarray:
    """The mean, at each voxel, of the values of the windows that cover it; 0 where none does."""
    total, count = np.zeros(shape), np.zeros(shape)
    for value, box in zip(np.ravel(values), boxes, strict=True):
        total[box] += value
        count[box] += 1
    return np.divide(total, count, out=np.zeros(shape), where=count > 0)


def picked(values, numbers) -> np.ndarray:
    """The values of the windows `numbers` from those of all windows, in the order of `Lattice.boxes`."""
    return np.asarray(values)[np.ix_(*numbers)].ravel()


def n_windows(numbers) -> int:
    """How many windows that are."""
    return math.prod(len(axis) for axis in numbers)
