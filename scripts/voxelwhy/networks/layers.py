"""Arithmetic on the layers of a network: its output grid, and the smallest possible input grid."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable

import torch
from torch import nn

from voxelwhy.errors import ModelError

LARGEST_TRIED = 2048  # voxels per axis, more than any scanner produces


def blocks(channels, widths) -> OrderedDict:
    """One block for each width: convolution (size 3, padding 1), batch normalisation, ReLU, max-pool of size 2."""
    layers = OrderedDict()
    for number, width in enumerate(widths, start=1):
        layers[f"Conv_{number}"] = nn.Conv3d(channels, width, kernel_size=3, padding=1)
        layers[f"Conv_{number}_bn"] = nn.BatchNorm3d(width)
        layers[f"Conv_{number}_relu"] = nn.ReLU()
        layers[f"Conv_{number}_mp"] = nn.MaxPool3d(2)
        channels = width
    return layers


def _three(value):
    """One number per axis, in whichever form the layer stores it."""
    return value if isinstance(value, tuple) else (value,) * 3


def grid_after(layers: Iterable[nn.Module], spatial_shape) -> tuple[int, ...]:
    """Shape of the output grid of `layers`; an axis is 0 if a kernel does not fit.

    Only layers with a kernel, convolutions and pools, change the grid.
    """
    shape = tuple(int(length) for length in spatial_shape)
    for layer in layers:
        if hasattr(layer, "kernel_size"):
            # An average-pool has no dilation.
            options = (_three(getattr(layer, name, 1)) for name in ("kernel_size", "stride", "padding", "dilation"))
            shape = tuple(
                max(0, (length + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1)
                for length, kernel, stride, padding, dilation in zip(shape, *options, strict=True)
            )
    return shape


def smallest_axis(layers: Iterable[nn.Module]) -> int:
    """The fewest voxels per axis with which `layers` have a non-empty output."""
    layers = list(layers)
    for length in range(1, LARGEST_TRIED):
        if min(grid_after(layers, (length,) * 3)) > 0:
            return length
    raise ModelError(f"the output of the network is empty even for a grid of {LARGEST_TRIED} voxels per axis")


def flat_size(name, convolutions: OrderedDict, spatial_shape, channels) -> int:
    """Number of inputs of the first dense layer: `channels` times the output grid of the convolutions.

    Raises
    ------
    ModelError : the grid does not have three axes, or is too small (the message names the smallest possible one).
    """
    _require_three(name, spatial_shape)
    left = grid_after(convolutions.values(), spatial_shape)
    if min(left) < 1:
        raise _too_small(name, spatial_shape, smallest_axis(convolutions.values()), "nothing is left after")
    return channels * math.prod(left)


def require_grid(name, network: Callable[[], nn.Module], spatial_shape):
    """Refuse a grid that is too small for a network that ends in a mean over its cells; see `takes_grid`.

    Raises
    ------
    ModelError : the grid does not have three axes, or is too small (the message names the smallest possible one).
    """
    _require_three(name, spatial_shape)
    if not takes_grid(_on_meta(network), spatial_shape):
        raise _too_small(name, spatial_shape, smallest_tried_axis(network), "an axis is used up before")


def smallest_tried_axis(network: Callable[[], nn.Module]) -> int:
    """The fewest voxels per axis of a cube on which the network from `network()` works; see `takes_grid`."""
    net, too_few, enough = _on_meta(network), 0, 1
    while not takes_grid(net, (enough,) * 3):
        too_few, enough = enough, 2 * enough
        if enough > LARGEST_TRIED:
            raise ModelError(f"the network does not even work on a grid of {LARGEST_TRIED} voxels per axis")
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if takes_grid(net, (middle,) * 3) else (middle, enough)
    return enough


def takes_grid(net: nn.Module, spatial_shape) -> bool:
    """Whether a network trains on a grid, tested with two scans on torch's meta device, which computes nothing.

    With padding, every kernel fits even a single voxel. Therefore each layer with a stride must also have more than one
    input cell along each axis: otherwise it would coarsen nothing and see little but padding.
    """
    starved = []

    def look(layer, inputs):
        lengths = inputs[0].shape[2:]
        starved.extend(n for n, stride in zip(lengths, _three(layer.stride), strict=True) if n <= 1 < stride)

    layers = [layer for layer in net.modules() if hasattr(layer, "kernel_size")]
    handles = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        net.train()(torch.empty(2, next(net.parameters()).shape[1], *spatial_shape, device="meta"))
    except RuntimeError:  # a kernel does not fit
        return False
    finally:
        for handle in handles:
            handle.remove()
    return not starved


def takes_lone_scan(model: nn.Module, images_shape) -> bool:
    """Whether a training step works with a single scan, images of shape (1, *images_shape[1:]).

    It does not if batch normalisation receives one value per channel: torch refuses it, since it has no variance.
    """
    try:
        copy.deepcopy(model).to("meta").train()(torch.empty(1, *images_shape[1:], device="meta"))
    except ValueError:
        return False
    except RuntimeError:  # an operator of a user's network needs real data, so this cannot be tested
        return True
    return True


def _on_meta(network):
    with torch.device("meta"):
        return network()


def _require_three(name, spatial_shape):
    if len(spatial_shape) != 3:
        raise ModelError(
            f"{name} is a 3D network: the grid has {len(spatial_shape)} axes {tuple(spatial_shape)}; 3 are expected"
        )


def _too_small(name, spatial_shape, least, reason):
    return ModelError(
        f"{name} cannot work on a grid of {' x '.join(map(str, spatial_shape))} voxels: {reason} its last layer. The "
        f"smallest possible grid is {least} x {least} x {least}; use a finer resolution_mm or another network"
    )


def in_channels_last(model: nn.Module) -> nn.Module:
    """The model with its 3D weights channels last in memory: up to twice as fast on the CPU (not measured on a GPU).

    A model that also has 2D convolutions is returned unchanged, and so is one with `channels_last = False`, which marks
    networks that were measured to be slower that way.
    """
    slower = not all(getattr(part, "channels_last", True) for part in model.modules())
    if slower or any(weight.ndim == 4 for weight in model.parameters()):
        return model
    return model.to(memory_format=torch.channels_last_3d)
