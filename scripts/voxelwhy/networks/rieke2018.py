"""The network of Rieke et al. 2018, section 2.2 (arXiv 1808.02874)."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from voxelwhy.networks.layers import flat_size

CHANNELS = (8, 16, 32, 64)
POOLS = (2, 3, 2, 3)


def convolutions(channels=1) -> OrderedDict:
    """The four blocks: convolution (size 3, no padding), batch normalisation, ReLU, max-pool."""
    layers = OrderedDict()
    for number, (width, pool) in enumerate(zip(CHANNELS, POOLS, strict=True), start=1):
        layers[f"Conv_{number}"] = nn.Conv3d(channels, width, kernel_size=3)
        layers[f"Conv_{number}_bn"] = nn.BatchNorm3d(width)
        layers[f"Conv_{number}_relu"] = nn.ReLU()
        layers[f"Conv_{number}_mp"] = nn.MaxPool3d(pool)
        channels = width
    return layers


def build(spatial_shape, *, channels=1, n_classes=2, dropout=0.8) -> nn.Sequential:
    """The paper's network for images (batch, channels, *spatial_shape); it returns `n_classes` logits.

    The size of the dense part depends on the grid: 5,120 inputs for 193 x 229 x 193. Dropout precedes the dense part,
    as in the published code.

    Raises
    ------
    ModelError : the grid is too small (the message names the smallest possible one) or not 3D.

    References
    ----------
    Rieke et al. 2018, Visualizing Convolutional Networks for MRI-based Diagnosis of Alzheimer's Disease.
    """
    layers = convolutions(channels)
    inputs = flat_size("rieke2018", layers, spatial_shape, CHANNELS[-1])
    layers["flatten"] = nn.Flatten()
    layers["dropout"] = nn.Dropout(dropout)
    layers["dense_1"] = nn.Linear(inputs, 128)
    layers["dense_1_relu"] = nn.ReLU()
    layers["dense_2"] = nn.Linear(128, 64)
    layers["dense_2_relu"] = nn.ReLU()
    layers["dense_3"] = nn.Linear(64, n_classes)
    return nn.Sequential(layers)
