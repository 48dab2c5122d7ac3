"""Arithmetic on the layers of a network: what grid comes out, and the smallest grid that can go in."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable

import torch
from torch import nn

from voxelwhy.errors import ModelError

LARGEST_TRIED = 2048  # voxels an axis; nothing larger was ever scanned


def _three(value):
    """One number for each axis, however the layer has it."""
    return value if isinstance(value, tuple) else (value,) * 3


def grid_after(layers: Iterable[nn.Module], spatial_shape) -> tuple[int, ...]:
    """Shape of the grid that leaves `layers`; an axis is 0 where a kernel no longer fits.

    Only convolutions and pools, the layers that have a kernel, change a grid.
    """
    shape = tuple(int(length) for length in spatial_shape)
    for layer in layers:
        if hasattr(layer, "kernel_size"):
            options = (_three(getattr(layer, name)) for name in ("kernel_size", "stride", "padding", "dilation"))
            shape = tuple(
                max(0, (length + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1)
                for length, kernel, stride, padding, dilation in zip(shape, *options, strict=True)
            )
    return shape


def smallest_axis(layers: Iterable[nn.Module]) -> int:
    """The fewest voxels an axis with which something is left after `layers`."""
    layers = list(layers)
    for length in range(1, LARGEST_TRIED):
        if min(grid_after(layers, (length,) * 3)) > 0:
            return length
    raise ModelError(f"the network leaves nothing even of a grid of {LARGEST_TRIED} voxels an axis")


def flat_size(name, convolutions: OrderedDict, spatial_shape, channels) -> int:
    """Number of inputs to the first dense layer: `channels` times the grid that the convolutions leave.

    Raises
    ------
    ModelError : not three axes, or a grid of which nothing is left; it names the smallest that works.
    """
    if len(spatial_shape) != 3:
        raise ModelError(
            f"{name} is a 3D network: the grid has {len(spatial_shape)} axes {tuple(spatial_shape)}, 3 wanted"
        )
    left = grid_after(convolutions.values(), spatial_shape)
    if min(left) < 1:
        least = smallest_axis(convolutions.values())
        raise ModelError(
            f"{name} cannot work on a grid of {' x '.join(map(str, spatial_shape))} voxels: nothing is left after its "
            f"last layer. The smallest grid that works is {least} x {least} x {least}; use a finer resolution_mm or "
            "another network"
        )
    return channels * math.prod(left)


def in_channels_last(model: nn.Module) -> nn.Module:
    """The model with its 3-D weights channels last in memory: about half the time of a 3-D convolution on the CPU
    (not measured on a GPU).

    A model that has 2-D convolutions too is left as it is.
    """
    if any(weight.ndim == 4 for weight in model.parameters()):
        return model
    return model.to(memory_format=torch.channels_last_3d)
