"""A 3D ResNet-18: the network of He et al. 2016 with 3D kernels, built by MONAI."""

from __future__ import annotations

from monai.networks.nets.resnet import ResNet
from torch import nn

from voxelwhy.networks.layers import require_grid

LAYERS = (2, 2, 2, 2)
CHANNELS = (64, 128, 256, 512)


def network(*, channels=1, n_classes=2) -> ResNet:
    """The network without dropout, for images (batch, channels, x, y, z) on any grid that is large enough.

    The stem is the published one, a convolution of size 7 with stride 2 (MONAI's default stride of 1 is five times the
    work). Shortcuts that change the size are convolutions of size 1, without bias because batch normalisation follows.
    MONAI's other kind of shortcut, without weights, passes no gradient.
    """
    return ResNet(
        "basic",
        list(LAYERS),
        list(CHANNELS),
        spatial_dims=3,
        n_input_channels=channels,
        conv1_t_size=7,
        conv1_t_stride=2,
        shortcut_type="B",
        bias_downsample=False,
        num_classes=n_classes,
    )


def build(spatial_shape, *, channels=1, n_classes=2, dropout=0.0) -> ResNet:
    """ResNet-18 for images (batch, channels, *spatial_shape); it returns `n_classes` logits.

    Its weights do not depend on the grid, because the cells of the last layer are averaged. The paper has no dropout;
    if requested, it precedes the dense layer, as in the other networks.

    Raises
    ------
    ModelError : the grid is too small (the message names the smallest possible one) or not 3D.

    References
    ----------
    He et al. 2016, Deep Residual Learning for Image Recognition.
    """
    require_grid("resnet18", network, spatial_shape)
    net = network(channels=channels, n_classes=n_classes)
    # Combined with the pooling, which has no weights, so that all weights keep the names that MONAI gives them.
    net.avgpool = nn.Sequential(net.avgpool, nn.Dropout(dropout))
    return net
