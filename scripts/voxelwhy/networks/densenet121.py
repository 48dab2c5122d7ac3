"""A 3D DenseNet-121: the network of Huang et al. 2017 with 3D kernels, built by MONAI."""

from __future__ import annotations

from monai.networks.nets.densenet import DenseNet

from voxelwhy.networks.layers import require_grid

DEPTHS = (6, 12, 24, 16)
GROWTH = 32


def network(*, channels=1, n_classes=2, dropout=0.0) -> DenseNet:
    """The network for images (batch, channels, x, y, z) on any grid that is large enough."""
    net = DenseNet(
        spatial_dims=3,
        in_channels=channels,
        out_channels=n_classes,
        init_features=2 * GROWTH,
        growth_rate=GROWTH,
        block_config=DEPTHS,
        dropout_prob=dropout,
    )
    # With channels last, a training step takes a tenth longer in float32 (a tenth less in bfloat16). ResNet-18 is
    # faster that way on fine grids and slower on coarse ones.
    net.channels_last = False
    return net


def build(spatial_shape, *, channels=1, n_classes=2, dropout=0.0) -> DenseNet:
    """DenseNet-121 for images (batch, channels, *spatial_shape); it returns `n_classes` logits.

    Its weights do not depend on the grid, because the cells of the last layer are averaged. In the paper, only the
    networks for small datasets have dropout (0.2). If requested, it follows each convolution of size 3, as there, and
    drops whole channels.

    Raises
    ------
    ModelError : the grid is too small (the message names the smallest possible one) or not 3D.

    References
    ----------
    Huang et al. 2017, Densely Connected Convolutional Networks.
    """
    require_grid("densenet121", network, spatial_shape)
    return network(channels=channels, n_classes=n_classes, dropout=dropout)
