"""Build networks by name."""

from __future__ import annotations

import inspect

from torch import nn

from voxelwhy.errors import ConfigError, ModelError
from voxelwhy.networks.layers import smallest_axis, smallest_tried_axis
from voxelwhy.networks.own_network import is_own, own_network
from voxelwhy.registry import NETWORKS, load


def build_network(name, spatial_shape, *, image_channels=1, **options) -> nn.Module:
    """The network `name` for images (batch, image_channels, *spatial_shape), initialised from torch's global seed.

    Parameters
    ----------
    name : one of `voxelwhy.registry.NETWORKS`, or `module:factory` for your own network (see `own_network`).
    spatial_shape : voxels along each axis.
    image_channels : channels of its images; your own network is tested on an image with as many channels.
    options : `channels`, `n_classes` and `dropout`, or the options of your own factory.

    Raises
    ------
    ConfigError : the network or an option is unknown.
    ModelError : the grid is too small (the message names the smallest possible one), the network needs MONAI, which is
        not installed, or as in `own_network`.
    """
    if is_own(name):
        return own_network(name, tuple(int(length) for length in spatial_shape), options, image_channels)
    module = _module(name)
    parameters = inspect.signature(module.build).parameters.values()
    allowed = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    options = ({"channels": image_channels} if image_channels != 1 else {}) | options
    for option in options:
        if option not in allowed:
            raise ConfigError(f"the network {name} does not have this option", found=option, allowed=allowed)
    return module.build(tuple(int(length) for length in spatial_shape), **options)


def network_options(training) -> dict:
    """Options of the network in the training settings: those of your own network, or else dropout and first pool."""
    if is_own(training["network"]):
        return training["options"]
    return {name: training[name] for name in ("dropout", "first_pool") if name in training}


def smallest_grid(name) -> tuple[int, int, int]:
    """The smallest cube of voxels on which the network `name` works, computed from the network itself."""
    module = _module(name)
    if hasattr(module, "convolutions"):  # sequential layers: arithmetic is sufficient
        return (smallest_axis(module.convolutions().values()),) * 3
    return (smallest_tried_axis(module.network),) * 3


def _module(name):
    try:
        return load(NETWORKS, name, "network")
    except ModuleNotFoundError as error:
        if error.name != "monai":
            raise
        raise ModelError(
            f"the network {name} is built by monai, which is not installed: pip install 'voxelwhy[monai]'"
        ) from error
