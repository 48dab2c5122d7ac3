"""Gather cells for many boxes at once, from the layer of the image overlaid with changed cells."""

from __future__ import annotations

from itertools import repeat

import numpy as np
import torch

from voxelwhy.explain.incremental.boxes import Boxes

FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def crop(layer, boxes: Boxes) -> torch.Tensor:
    """Crop each box from one layer: (n, channels, *extent). The layer may lack axes before those of the grid."""
    axes = len(boxes.extent)
    layer = layer[(None,) * max(0, axes + 2 - layer.ndim)]
    shape = (len(boxes.lo), layer.shape[1], *_broadcast(layer, boxes))
    cells = torch.empty(shape, dtype=layer.dtype, device=layer.device, memory_format=FORMATS[len(shape)])
    into, out_of = _array(cells), _array(layer)
    for number, lo in enumerate(boxes.lo.tolist()):
        one = out_of[number if layer.shape[0] > 1 else 0]
        spots = [
            slice(None) if one.shape[1 + axis] == 1 < boxes.length[axis] else slice(a, a + n)
            for axis, (a, n) in enumerate(zip(lo, boxes.extent, strict=True))
        ]
        into[number] = one[(slice(None), *spots)]
    return cells


def gather(layer, changed, boxes: Boxes, start, size, fill) -> torch.Tensor:
    """Cells from `start` on, `size` along each axis: changed ones, those of the layer, and `fill` beyond the border.

    Parameters
    ----------
    layer : (1, channels, *length), the layer of the image
    changed : (n, channels, *boxes.extent), the cells that replace it in `boxes`
    start : (n, axes), may lie before the layer
    size : cells along each axis, may reach beyond the layer
    """
    cells = _empty(changed, size)
    inside = _meet(start, size, 0, boxes.length)
    over = _meet(start, size, boxes.lo, boxes.extent)
    beyond = ((inside[1] - inside[0]) < size).any(axis=1)
    alone = ((over[0] == inside[0]) & (over[1] == inside[1])).all(axis=1)
    into, layer, changed = (_array(tensor) for tensor in (cells, layer, changed))
    spots = (_spots(inside, start), _spots(inside, 0), _spots(over, start), _spots(over, boxes.lo))
    for number, (spot, origin, over_spot, own) in enumerate(zip(*spots, strict=True)):
        if beyond[number]:
            into[number][...] = fill
        if not alone[number]:
            into[number][spot] = layer[0][origin]
        into[number][over_spot] = changed[number][own]
    return cells


def complete(layer, changed, boxes: Boxes) -> torch.Tensor:
    """The whole layer for each box, with the changed cells inserted."""
    cells = _empty(changed, boxes.length)
    cells.copy_(layer.expand_as(cells))
    into, own = _array(cells), _array(changed)
    for number, spot in enumerate(_spots((boxes.lo, boxes.lo + boxes.extent), 0)):
        into[number][spot] = own[number]
    return cells


def fill_part(cells, mask, value):
    """Set cells (channels, *box) to a number or to a tensor of their shape; with a mask, only where that is True."""
    if mask is None:
        cells.copy_(value) if isinstance(value, torch.Tensor) else cells.fill_(value)
        return
    mask = torch.as_tensor(mask, device=cells.device)
    if isinstance(value, torch.Tensor):
        cells.copy_(torch.where(mask, value, cells))
    else:
        cells.masked_fill_(mask, value)


def _meet(start, size, lo, extent):
    """First cell and end of the intersection of both boxes of each part; equal if the intersection is empty."""
    first = np.maximum(start, lo)
    return first, np.maximum(first, np.minimum(start + size, np.add(lo, extent)))


def _spots(cells, lo):
    """Slices of the cells, for all channels, relative to boxes that start at `lo`; one box at a time.

    Thousands of slices held at once would start the garbage collector, which takes as long as the copies.
    """
    along = map(slice, *((end - lo).ravel().tolist() for end in cells))
    return zip(repeat(slice(None)), *[along] * cells[0].shape[1], strict=False)


def _array(tensor):
    """The same memory as a numpy array if possible: numpy copies small boxes in a fifth of the time."""
    if tensor is None or tensor.device.type != "cpu" or tensor.dtype == torch.bfloat16:
        return tensor
    return tensor.detach().numpy()


def _empty(like, size):
    shape = (*like.shape[:2], *size)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=FORMATS[len(shape)])


def _broadcast(layer, boxes):
    """The extent of a crop; it is 1 along an axis where the layer has a single value to broadcast."""
    lengths = layer.shape[-len(boxes.extent) :]
    return [1 if n == 1 < full else size for n, full, size in zip(lengths, boxes.length, boxes.extent, strict=True)]
