"""A small network with padding: it works on the coarse grids that the paper's network cannot take."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from voxelwhy.networks.layers import flat_size

CHANNELS = (8, 16, 32, 64)


def convolutions(channels=1) -> OrderedDict:
    """The four blocks: convolution (3, padding 1), batch normalisation, ReLU, max-pool 2."""
    layers = OrderedDict()
    for number, width in enumerate(CHANNELS, start=1):
        layers[f"Conv_{number}"] = nn.Conv3d(channels, width, kernel_size=3, padding=1)
        layers[f"Conv_{number}_bn"] = nn.BatchNorm3d(width)
        layers[f"Conv_{number}_relu"] = nn.ReLU()
        layers[f"Conv_{number}_mp"] = nn.MaxPool3d(2)
        channels = width
    return layers


def build(spatial_shape, *, channels=1, n_classes=2, dropout=0.8) -> nn.Sequential:
    """The small network for images (batch, channels, *spatial_shape); it gives `n_classes` logits.

    The paper's channels and kernels (Rieke et al. 2018), but with padding, pools of 2 and one dense layer of 64.

    Raises
    ------
    ModelError : a grid that is too small (it names the smallest that works), or not 3D.
    """
    layers = convolutions(channels)
    inputs = flat_size("small", layers, spatial_shape, CHANNELS[-1])
    layers["flatten"] = nn.Flatten()
    layers["dense_1"] = nn.Linear(inputs, 64)
    layers["dense_1_relu"] = nn.ReLU()
    layers["dropout"] = nn.Dropout(dropout)
    layers["dense_2"] = nn.Linear(64, n_classes)
    return nn.Sequential(layers)
