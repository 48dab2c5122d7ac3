"""Boxes of cells on the grid of a layer: which cells a change reaches, and which are needed to compute them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

#: A box of at least this fraction of its layer is not worth gathering: the whole layer is computed instead.
NEARLY_WHOLE = 0.7


class Boxes(NamedTuple):
    """One box per part of the image, all of the same extent, on a layer of `length` cells along each axis.

    Because they share one extent, the boxes can run as one batch. The extent is that of the largest box; boxes that
    would leave the layer are moved inward. A box larger than needed is still exact. The next layers are reached from
    each part's own box, [first, last), so that this rounding up does not accumulate. Outside that own box, the cells
    equal those of the image.
    """

    lo: np.ndarray  # (n_parts, axes)
    extent: tuple[int, ...]
    length: tuple[int, ...]
    first: np.ndarray  # (n_parts, axes)
    last: np.ndarray  # (n_parts, axes)

    @property
    def whole(self) -> bool:
        """Whether each box covers the whole layer."""
        return self.extent == self.length

    @property
    def cells(self) -> int:
        """Number of cells in one box."""
        return math.prod(self.extent)

    def of(self, parts: slice) -> Boxes:
        """The boxes of some of the parts."""
        return self._replace(lo=self.lo[parts], first=self.first[parts], last=self.last[parts])


class Window(NamedTuple):
    """The input window of an output cell of a convolution or pool: options along each axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    def reached(self, boxes: Boxes, length) -> Boxes:
        """The output cells, on a layer of `length` cells, that may change if the input changes in `boxes`."""
        span = (np.array(self.kernel) - 1) * self.dilation
        lo = -(-(boxes.first + self.padding - span) // self.stride)
        hi = (boxes.last - 1 + self.padding) // self.stride + 1
        return around(lo, hi, length)

    def needed(self, boxes: Boxes) -> tuple[np.ndarray, tuple[int, ...]]:
        """First input cell for each output box (it may lie before the layer), and number of cells along each axis."""
        start = boxes.lo * self.stride - self.padding
        each = zip(boxes.extent, self.kernel, self.stride, self.dilation, strict=True)
        return start, tuple((extent - 1) * s + (k - 1) * d + 1 for extent, k, s, d in each)


def around(lo, hi, length) -> Boxes:
    """Boxes inside the layer, of one extent that covers each [lo, hi); the whole layer if they cover most of it."""
    length = np.array(length)
    lo = np.clip(lo, 0, length - 1)
    hi = np.clip(hi, lo + 1, length)
    extent = (hi - lo).max(axis=0)
    if extent.prod() >= NEARLY_WHOLE * length.prod():
        extent = length
    return Boxes(np.minimum(lo, length - extent), tuple(extent.tolist()), tuple(length.tolist()), lo, hi)


def union(several: list[Boxes]) -> Boxes:
    """For each part, the bounding box of its boxes on several layers of the same grid."""
    first = np.min([boxes.first for boxes in several], axis=0)
    last = np.max([boxes.last for boxes in several], axis=0)
    return around(first, last, several[0].length)
