"""The networks of the bench's table of architectures: those of MONAI, and others written here in plain torch."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import nn

from helpers.block_networks import head


class VisionTransformer(nn.Module):
    """A small ViT: patches, a class token, blocks of attention (Dosovitskiy et al. 2021)."""

    def __init__(self, side, patch=8, width=192, depth=6, heads=3):
        super().__init__()
        self.patches = nn.Conv3d(1, width, patch, patch)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.places = nn.Parameter(torch.randn(1, (side // patch) ** 3 + 1, width) * 0.02)
        block = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, 2)

    def forward(self, image):
        """Logits from the class token."""
        tokens = self.patches(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(image.shape[0], -1, -1), tokens], dim=1) + self.places
        return self.head(self.blocks(tokens)[:, 0])


class Inverted(nn.Module):
    """An inverted bottleneck of MobileNetV3 (Howard et al. 2019)."""

    def __init__(self, before, kernel, inner, width, excited, act, stride):
        super().__init__()
        self.shortcut = stride == 1 and before == width
        self.widen = nn.Sequential(nn.Conv2d(before, inner, 1, bias=False), nn.BatchNorm2d(inner), act(inplace=True))
        depthwise = nn.Conv2d(inner, inner, kernel, stride, kernel // 2, groups=inner, bias=False)
        self.across = nn.Sequential(depthwise, nn.BatchNorm2d(inner), act(inplace=True))
        squeezed = max(8, (inner // 4 + 4) // 8 * 8)
        self.excite = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(inner, squeezed, 1), nn.ReLU(), nn.Conv2d(squeezed, inner, 1),
            nn.Hardsigmoid(),
        ) if excited else None  # fmt: skip
        self.narrow = nn.Sequential(nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, values):
        """The block, with its shortcut where shapes allow one."""
        found = self.across(self.widen(values))
        found = self.narrow(found if self.excite is None else found * self.excite(found))
        return values + found if self.shortcut else found


def mobilenet_v3(side):
    """MobileNetV3 small."""
    relu, swish = nn.ReLU, nn.Hardswish
    rows = [
        (3, 16, 16, True, relu, 2), (3, 72, 24, False, relu, 2), (3, 88, 24, False, relu, 1),
        (5, 96, 40, True, swish, 2), (5, 240, 40, True, swish, 1), (5, 240, 40, True, swish, 1),
        (5, 120, 48, True, swish, 1), (5, 144, 48, True, swish, 1), (5, 288, 96, True, swish, 2),
        (5, 576, 96, True, swish, 1), (5, 576, 96, True, swish, 1),
    ]  # fmt: skip
    layers = [nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), swish(inplace=True)]
    before = 16
    for row in rows:
        layers.append(Inverted(before, *row))
        before = row[2]
    last = [nn.Conv2d(before, 576, 1, bias=False), nn.BatchNorm2d(576), swish(inplace=True), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers, *last, nn.Flatten(), nn.Linear(576, 1024), swish(inplace=True), nn.Linear(1024, 2))


class Encoder(nn.Module):
    """The encoder of MONAI's SwinUNETR as a classifier: the mean of its last stage, and a dense layer."""

    def __init__(self, axes, channels, width, depths, patch):
        super().__init__()
        from monai.networks.nets import swin_unetr

        _without_einops(swin_unetr)
        self.encoder = swin_unetr.SwinTransformer(
            channels, width, (7,) * axes, (patch,) * axes, depths, (3, 6, 12, 24), spatial_dims=axes, drop_path_rate=0.0
        )
        self.head = nn.Linear(16 * width, 2)

    def forward(self, image):
        """Logits of the last stage."""
        return self.head(self.encoder(image)[-1].flatten(2).mean(2))


def _without_einops(module):
    """MONAI's encoder only swaps axes with einops, which need not be installed for that."""

    def rearrange(values, pattern):
        before, after = (side.split() for side in pattern.split("->"))
        return values.permute([before.index(name) for name in after])

    module.rearrange = rearrange


def group_norm(side):
    """Three convolutions with group normalisation."""
    layers, before = [], 1
    for width in (16, 32, 64):
        layers += [nn.Conv3d(before, width, 3, padding=1), nn.GroupNorm(4, width), nn.ReLU(), nn.MaxPool3d(2)]
        before = width
    return nn.Sequential(*layers, *head(before))


def _monai(name, axes, *args, **options):
    def make(side):
        from monai.networks import nets

        return getattr(nets, name)(*args, spatial_dims=axes, **options)

    return make


ONE, THREE = {"in_channels": 1, "num_classes": 2}, {"in_channels": 3, "num_classes": 2, "pretrained": False}
#: By name: how many axes an image has, and the network for images with so many voxels along each.
NETWORKS = {
    "resnet18": SimpleNamespace(axes=3, make=_monai("resnet18", 3, n_input_channels=1, num_classes=2)),
    "densenet121": SimpleNamespace(axes=3, make=_monai("DenseNet121", 3, in_channels=1, out_channels=2)),
    "efficientnet_b0": SimpleNamespace(
        axes=3, make=_monai("EfficientNetBN", 3, "efficientnet-b0", pretrained=False, **ONE)
    ),
    "seresnet50": SimpleNamespace(axes=3, make=_monai("SEResNet50", 3, **ONE)),
    "vit": SimpleNamespace(axes=3, make=VisionTransformer),
    "group_norm": SimpleNamespace(axes=3, make=group_norm),
    "swin_unetr": SimpleNamespace(axes=3, make=lambda side: Encoder(3, 1, 24, (2, 2, 2, 2), 2)),
    "mobilenet_v3": SimpleNamespace(axes=2, make=mobilenet_v3),
    "efficientnet_b0_2d": SimpleNamespace(axes=2, make=_monai("EfficientNetBN", 2, "efficientnet-b0", **THREE)),
    "swin_t": SimpleNamespace(axes=2, make=lambda side: Encoder(2, 3, 96, (2, 2, 6, 2), 4)),
}
#: Voxels along each axis, by the number of axes.
SIDES = {3: (32, 96), 2: (224,)}
