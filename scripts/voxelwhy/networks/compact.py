"""A compact network for few scans: an average-pool to cells of 6 to 8 mm, three blocks, and one linear layer."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from voxelwhy.networks.layers import blocks, flat_size

CHANNELS = (8, 16, 32)


def convolutions(channels=1, first_pool=1) -> OrderedDict:
    """The first pool and the three blocks."""
    pool = OrderedDict(first_pool=nn.AvgPool3d(first_pool)) if first_pool > 1 else OrderedDict()
    return pool | blocks(channels, CHANNELS)


def build(spatial_shape, *, channels=1, n_classes=2, dropout=0.5, first_pool=1) -> nn.Sequential:
    """The compact network for images (batch, channels, *spatial_shape); it returns `n_classes` logits.

    Scans of tens or hundreds of people do not determine the weights of a dense layer on a fine grid. The average-pool
    therefore comes first: it keeps the volume of atrophied tissue and discards the detail below its size.

    Parameters
    ----------
    first_pool : voxels along each axis that are averaged first; 1 for none.

    Raises
    ------
    ModelError : the grid is too small (the message names the smallest possible one) or not 3D.
    """
    layers = convolutions(channels, first_pool)
    inputs = flat_size("compact", layers, spatial_shape, CHANNELS[-1])
    layers["flatten"] = nn.Flatten()
    layers["dropout"] = nn.Dropout(dropout)
    layers["dense"] = nn.Linear(inputs, n_classes)
    return nn.Sequential(layers)
