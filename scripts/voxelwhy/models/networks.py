"""Networks by name."""

from __future__ import annotations

import inspect

from torch import nn

from voxelwhy.errors import ConfigError
from voxelwhy.models.layers import smallest_axis
from voxelwhy.registry import NETWORKS, load


def build_network(name, spatial_shape, **options) -> nn.Module:
    """The network `name` for images (batch, channels, *spatial_shape), freshly initialised from torch's global seed.

    Parameters
    ----------
    name : one of `voxelwhy.registry.NETWORKS`.
    spatial_shape : voxels along each axis.
    options : `channels`, `n_classes`, `dropout`.

    Raises
    ------
    ConfigError : an unknown network or option.
    ModelError : a grid that is too small (it names the smallest that works).
    """
    module = load(NETWORKS, name, "network")
    parameters = inspect.signature(module.build).parameters.values()
    allowed = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    for option in options:
        if option not in allowed:
            raise ConfigError(f"the network {name} has no such option", found=option, allowed=allowed)
    return module.build(tuple(int(length) for length in spatial_shape), **options)


def smallest_grid(name) -> tuple[int, int, int]:
    """The smallest cube of voxels that the network `name` works on, computed from its layers."""
    module = load(NETWORKS, name, "network")
    return (smallest_axis(module.convolutions().values()),) * 3
