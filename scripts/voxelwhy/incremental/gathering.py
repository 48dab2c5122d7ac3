"""Cells of a layer, for many boxes at once: out of the layer of the image, with changed cells over it."""

from __future__ import annotations

import torch

from voxelwhy.incremental.boxes import Boxes

FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def crop(layer, boxes: Boxes) -> torch.Tensor:
    """Each box out of one layer: (n, channels, *extent). The layer may lack axes before those of the grid."""
    axes = len(boxes.extent)
    layer = layer[(None,) * max(0, axes + 2 - layer.ndim)]
    cells = layer.new_empty((len(boxes.lo), layer.shape[1], *(_broadcast(layer, boxes))))
    for number, lo in enumerate(boxes.lo.tolist()):
        one = layer[number if layer.shape[0] > 1 else 0]
        spots = [
            slice(None) if one.shape[1 + axis] == 1 < boxes.length[axis] else slice(a, a + n)
            for axis, (a, n) in enumerate(zip(lo, boxes.extent, strict=True))
        ]
        cells[number].copy_(one[(slice(None), *spots)])
    return _last(cells)


def gather(layer, changed, boxes: Boxes, start, size, fill) -> torch.Tensor:
    """The cells from `start` on, `size` of them along each axis: changed ones, the layer's, beyond the border `fill`.

    Parameters
    ----------
    layer : (1, channels, *length), of the image
    changed : (n, channels, *boxes.extent), which replaces it in `boxes`
    start : (n, axes), may lie before the layer
    size : cells along each axis, may reach beyond it
    """
    cells = _empty(changed, size)
    for number, (first, own) in enumerate(zip(start.tolist(), boxes.lo.tolist(), strict=True)):
        one = cells[number]
        inside = _overlap(first, size, [0] * len(first), boxes.length)
        if any(cut[0].start or cut[0].stop < n for cut, n in zip(inside, size, strict=True)):
            one.fill_(fill)
        over = _overlap(first, size, own, boxes.extent)
        if [cut[0] for cut in over] != [cut[0] for cut in inside]:
            _copy(one, layer[0], inside)
        _copy(one, changed[number], over)
    return cells


def complete(layer, changed, boxes: Boxes) -> torch.Tensor:
    """The whole layer for each box, with the changed cells in it."""
    cells = _empty(changed, boxes.length)
    cells.copy_(layer.expand_as(cells))
    for one, own, lo in zip(cells, changed, boxes.lo.tolist(), strict=True):
        one[(slice(None), *(slice(a, a + n) for a, n in zip(lo, boxes.extent, strict=True)))].copy_(own)
    return cells


def _overlap(first, size, other, extent):
    """Along each axis, where [first, first + size) and [other, other + extent) meet: within the one, and the other."""
    found = []
    for a, n, b, m in zip(first, size, other, extent, strict=True):
        low, high = max(a, b), max(min(a + n, b + m), max(a, b))
        found.append((slice(low - a, high - a), slice(low - b, high - b)))
    return found


def _copy(target, source, overlap):
    into = target[(slice(None), *(cut[0] for cut in overlap))]
    if into.numel():
        into.copy_(source[(slice(None), *(cut[1] for cut in overlap))])


def _empty(like, size):
    shape = (*like.shape[:2], *size)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=FORMATS[len(shape)])


def _last(cells):
    return cells.contiguous(memory_format=FORMATS[cells.ndim])


def _broadcast(layer, boxes):
    """The extent of a crop; an axis along which the layer has one value keeps it."""
    lengths = layer.shape[-len(boxes.extent) :]
    return [1 if n == 1 < full else size for n, full, size in zip(lengths, boxes.length, boxes.extent, strict=True)]
