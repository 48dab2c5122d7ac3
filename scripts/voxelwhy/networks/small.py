"""A small network with padding, for coarse grids that are too small for the paper's network."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from voxelwhy.networks.layers import blocks, flat_size

CHANNELS = (8, 16, 32, 64)


def convolutions(channels=1) -> OrderedDict:
    """The four blocks: convolution (size 3, padding 1), batch normalisation, ReLU, max-pool of size 2."""
    return blocks(channels, CHANNELS)


def build(spatial_shape, *, channels=1, n_classes=2, dropout=0.8) -> nn.Sequential:
    """The small network for images (batch, channels, *spatial_shape); it returns `n_classes` logits.

    It has the channels and kernels of Rieke et al. 2018, but padding, pools of size 2 and one dense layer of 64 units.

    Raises
    ------
    ModelError : the grid is too small (the message names the smallest possible one) or not 3D.
    """
    layers = convolutions(channels)
    inputs = flat_size("small", layers, spatial_shape, CHANNELS[-1])
    layers["flatten"] = nn.Flatten()
    layers["dense_1"] = nn.Linear(inputs, 64)
    layers["dense_1_relu"] = nn.ReLU()
    layers["dropout"] = nn.Dropout(dropout)
    layers["dense_2"] = nn.Linear(64, n_classes)
    return nn.Sequential(layers)
