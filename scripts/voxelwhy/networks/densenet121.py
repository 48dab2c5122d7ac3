"""A 3D DenseNet-121: Huang et al. 2017 with kernels of three axes, built by MONAI."""

from __future__ import annotations

from monai.networks.nets.densenet import DenseNet

from voxelwhy.networks.layers import require_grid

DEPTHS = (6, 12, 24, 16)
GROWTH = 32


def network(*, channels=1, n_classes=2, dropout=0.0) -> DenseNet:
    """The network for images (batch, channels, x, y, z) of any grid that it takes."""
    net = DenseNet(
        spatial_dims=3,
        in_channels=channels,
        out_channels=n_classes,
        init_features=2 * GROWTH,
        growth_rate=GROWTH,
        block_config=DEPTHS,
        dropout_prob=dropout,
    )
    # A training step in float32 takes a tenth longer channels last (in bfloat16 a tenth less); ResNet-18 gains from it
    # on fine grids and loses on coarse ones.
    net.channels_last = False
    return net


def build(spatial_shape, *, channels=1, n_classes=2, dropout=0.0) -> DenseNet:
    """DenseNet-121 for images (batch, channels, *spatial_shape); it gives `n_classes` logits.

    Its weights do not depend on the grid: the last layer's cells are averaged. The paper's network on large data has no
    dropout; where it is asked for, it lies after each convolution of 3, as in the paper's on small data (0.2 there),
    and takes whole channels.

    Raises
    ------
    ModelError : a grid that is too small (it names the smallest that works), or not 3D.

    References
    ----------
    Huang et al. 2017, Densely Connected Convolutional Networks.
    """
    require_grid("densenet121", network, spatial_shape)
    return network(channels=channels, n_classes=n_classes, dropout=dropout)
