"""The plain network of Korolev et al. 2017 (arXiv 1701.06643), as Rieke et al. 2018 built it for their larger grid."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from voxelwhy.networks.layers import flat_size

CHANNELS = (8, 16, 32, 64)
DEPTHS = (2, 2, 3, 4)
POOLS = (2, 2, 2, 3)


def convolutions(channels=1) -> OrderedDict:
    """The four groups: convolutions (size 3, no padding), each with ReLU, then batch normalisation and max-pool."""
    layers = OrderedDict()
    number = 0
    for group, (width, depth, pool) in enumerate(zip(CHANNELS, DEPTHS, POOLS, strict=True), start=1):
        for _ in range(depth):
            number += 1
            layers[f"Conv_{number}"] = nn.Conv3d(channels, width, kernel_size=3)
            layers[f"Conv_{number}_relu"] = nn.ReLU()
            channels = width
        layers[f"Group_{group}_bn"] = nn.BatchNorm3d(width)
        layers[f"Group_{group}_mp"] = nn.MaxPool3d(pool)
    return layers


def build(spatial_shape, *, channels=1, dropout=0.7) -> nn.Sequential:
    """The network of Korolev et al. for images (batch, channels, *spatial_shape); it returns one logit, (batch, 1).

    The size of the dense part depends on the grid: 2,880 inputs for 193 x 229 x 193. As in Rieke et al. 2018, the last
    pool has size 3 and the last layer one logit; in Korolev et al., size 2 and two logits.

    Raises
    ------
    ModelError : the grid is too small (the message names the smallest possible one) or not 3D.

    References
    ----------
    Korolev et al. 2017, Residual and plain convolutional neural networks for 3D brain MRI classification.
    """
    layers = convolutions(channels)
    inputs = flat_size("korolev2017", layers, spatial_shape, CHANNELS[-1])
    layers["flatten"] = nn.Flatten()
    layers["dense_1"] = nn.Linear(inputs, 128)
    layers["dense_1_relu"] = nn.ReLU()
    layers["dropout"] = nn.Dropout(dropout)
    layers["dense_2"] = nn.Linear(128, 64)
    layers["dense_2_relu"] = nn.ReLU()
    layers["dense_3"] = nn.Linear(64, 1)
    return nn.Sequential(layers)
