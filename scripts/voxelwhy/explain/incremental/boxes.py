"""Boxes of cells on the grid of a layer: which are reached by a change, and which are needed to compute them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

#: A box of this part of its layer or more is not worth the gathering: the whole layer is computed.
NEARLY_WHOLE = 0.7


class Boxes(NamedTuple):
    """One box for each part of the image, all of one extent, on a layer of `length` cells along each axis.

    One extent for all is what lets them run as one batch. Each is the largest, moved inward where it would leave the
    layer: a box that is too big is still exact. Further layers are reached from each part's own box, [first, last):
    beyond that the cells are those of the image, and what was rounded up here is not rounded up again there.
    """

    lo: np.ndarray  # (n_parts, axes)
    extent: tuple[int, ...]
    length: tuple[int, ...]
    first: np.ndarray  # (n_parts, axes)
    last: np.ndarray  # (n_parts, axes)

    @property
    def whole(self) -> bool:
        """Whether each box is the whole layer."""
        return self.extent == self.length

    @property
    def cells(self) -> int:
        """Cells of one box."""
        return math.prod(self.extent)

    def of(self, parts: slice) -> Boxes:
        """The boxes of some of the parts."""
        return self._replace(lo=self.lo[parts], first=self.first[parts], last=self.last[parts])


class Window(NamedTuple):
    """What an output cell of a convolution or pool sees of its input: options along each axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    def reached(self, boxes: Boxes, length) -> Boxes:
        """The output cells, on a layer of that `length`, whose value may change when the input changes in `boxes`."""
        span = (np.array(self.kernel) - 1) * self.dilation
        lo = -(-(boxes.first + self.padding - span) // self.stride)
        hi = (boxes.last - 1 + self.padding) // self.stride + 1
        return around(lo, hi, length)

    def needed(self, boxes: Boxes) -> tuple[np.ndarray, tuple[int, ...]]:
        """First input cell (may lie before the layer) for each output box, and how many cells along each axis."""
        start = boxes.lo * self.stride - self.padding
        each = zip(boxes.extent, self.kernel, self.stride, self.dilation, strict=True)
        return start, tuple((extent - 1) * s + (k - 1) * d + 1 for extent, k, s, d in each)


def around(lo, hi, length) -> Boxes:
    """Boxes of the one extent that holds each [lo, hi), inside the layer; the whole layer where that is most of it."""
    length = np.array(length)
    lo = np.clip(lo, 0, length - 1)
    hi = np.clip(hi, lo + 1, length)
    extent = (hi - lo).max(axis=0)
    if extent.prod() >= NEARLY_WHOLE * length.prod():
        extent = length
    return Boxes(np.minimum(lo, length - extent), tuple(extent.tolist()), tuple(length.tolist()), lo, hi)


def union(several: list[Boxes]) -> Boxes:
    """For each part the box around its boxes, which lie on layers of the same grid."""
    first = np.min([boxes.first for boxes in several], axis=0)
    last = np.max([boxes.last for boxes in several], axis=0)
    return around(first, last, several[0].length)
