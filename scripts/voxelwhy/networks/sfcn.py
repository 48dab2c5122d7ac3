"""The simple fully convolutional network (SFCN) of Peng et al. 2021: a few blocks, then a mean over all cells."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from voxelwhy.networks.layers import blocks, require_grid

CHANNELS = (32, 64, 128, 256, 256)
CHANNELS_OF_THE_LAST_BLOCK = 64


def network(*, channels=1, n_classes=2, dropout=0.5) -> nn.Sequential:
    """The network for images (batch, channels, x, y, z) on any grid that is large enough.

    The paper pools before the ReLU; these blocks pool after it. Values and gradients are the same, because the ReLU
    never decreases: the largest value of a window stays the largest.
    """
    layers = blocks(channels, CHANNELS)
    layers |= OrderedDict(
        Conv_6=nn.Conv3d(CHANNELS[-1], CHANNELS_OF_THE_LAST_BLOCK, kernel_size=1),
        Conv_6_bn=nn.BatchNorm3d(CHANNELS_OF_THE_LAST_BLOCK),
        Conv_6_relu=nn.ReLU(),
        mean=nn.AdaptiveAvgPool3d(1),
        flatten=nn.Flatten(),
        dropout=nn.Dropout(dropout),
        # The paper writes it as a convolution of size 1; on a single cell the two are the same.
        dense=nn.Linear(CHANNELS_OF_THE_LAST_BLOCK, n_classes),
    )
    return nn.Sequential(layers)


def build(spatial_shape, *, channels=1, n_classes=2, dropout=0.5) -> nn.Sequential:
    """SFCN for images (batch, channels, *spatial_shape); it returns `n_classes` logits.

    Its weights do not depend on the grid, because the cells of the last block are averaged. The paper predicts age in
    40 intervals; only the last layer differs.

    Raises
    ------
    ModelError : the grid is too small (the message names the smallest possible one) or not 3D.

    References
    ----------
    Peng et al. 2021, Accurate brain age prediction with lightweight deep neural networks.
    """
    require_grid("sfcn", network, spatial_shape)
    return network(channels=channels, n_classes=n_classes, dropout=dropout)
