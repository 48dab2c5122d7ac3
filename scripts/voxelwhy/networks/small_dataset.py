"""The network for a small dataset from the code published with Rieke et al. 2018."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from voxelwhy.networks.layers import flat_size

CHANNELS = 64
POOLS = (3, 3, None, 3)


def convolutions(channels=1) -> OrderedDict:
    """The four blocks: convolution (size 3, no padding, 64 channels), ELU and, but for the third, max-pool (size 3)."""
    layers = OrderedDict()
    for number, pool in enumerate(POOLS, start=1):
        layers[f"Conv_{number}"] = nn.Conv3d(channels, CHANNELS, kernel_size=3)
        layers[f"Conv_{number}_elu"] = nn.ELU()
        if pool:
            layers[f"Conv_{number}_mp"] = nn.MaxPool3d(pool)
        channels = CHANNELS
    return layers


def build(spatial_shape, *, channels=1, dropout=0.0) -> nn.Sequential:
    """The small-dataset network for images (batch, channels, *spatial_shape); it returns one logit, (batch, 1).

    The size of the dense layer depends on the grid: 128 inputs for 91 x 109 x 91. The published network has no dropout;
    if requested, it precedes the dense layer. Guided backpropagation refuses this network, because it has no ReLU.

    Raises
    ------
    ModelError : the grid is too small (the message names the smallest possible one) or not 3D.

    References
    ----------
    Rieke et al. 2018, Visualizing Convolutional Networks for MRI-based Diagnosis of Alzheimer's Disease (its code).
    """
    layers = convolutions(channels)
    inputs = flat_size("small_dataset", layers, spatial_shape, CHANNELS)
    layers["flatten"] = nn.Flatten()
    layers["dropout"] = nn.Dropout(dropout)
    layers["dense_1"] = nn.Linear(inputs, 1)
    return nn.Sequential(layers)
