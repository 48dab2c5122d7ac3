"""A compact network for few scans: an average-pool to cells of 6 to 8 mm, three blocks, and one linear layer."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from voxelwhy.networks.layers import flat_size

CHANNELS = (8, 16, 32)


def convolutions(channels=1, first_pool=1) -> OrderedDict:
    """The first pool and the blocks: convolution (size 3, padding 1), batch normalisation, ReLU, max-pool of size 2."""
    layers = OrderedDict()
    if first_pool > 1:
        layers["first_pool"] = nn.AvgPool3d(first_pool)
    for number, width in enumerate(CHANNELS, start=1):
        layers[f"Conv_{number}"] = nn.Conv3d(channels, width, kernel_size=3, padding=1)
        layers[f"Conv_{number}_bn"] = nn.BatchNorm3d(width)
        layers[f"Conv_{number}_relu"] = nn.ReLU()
        layers[f"Conv_{number}_mp"] = nn.MaxPool3d(2)
        channels = width
    return layers


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
