"""Networks as people have them elsewhere, small and in plain torch: ResNets in 2D and 3D, an EfficientNet."""

import torch
from torch import nn
from torch.nn import functional as F

CONV, NORM = {2: nn.Conv2d, 3: nn.Conv3d}, {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
POOL, MEAN = {2: nn.MaxPool2d, 3: nn.MaxPool3d}, {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut (He et al. 2016)."""

    def __init__(self, axes, before, width, stride):
        super().__init__()
        self.conv1 = CONV[axes](before, width, 3, stride, 1, bias=False)
        self.bn1 = NORM[axes](width)
        self.conv2 = CONV[axes](width, width, 3, 1, 1, bias=False)
        self.bn2 = NORM[axes](width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or before != width:
            self.downsample = nn.Sequential(CONV[axes](before, width, 1, stride, bias=False), NORM[axes](width))

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += shortcut
        return self.relu(out)


class ResNet(nn.Module):
    """ResNet-18 with a stem of 7 and stride 2: `widths` (64, 128, 256, 512) is the published one."""

    def __init__(self, axes, widths=(64, 128, 256, 512), channels=1, n_classes=2):
        super().__init__()
        self.stem = nn.Sequential(
            CONV[axes](channels, widths[0], 7, 2, 3, bias=False),
            NORM[axes](widths[0]), nn.ReLU(inplace=True), POOL[axes](3, 2, 1),
        )  # fmt: skip
        blocks, before = [], widths[0]
        for number, width in enumerate(widths):
            blocks += [BasicBlock(axes, before, width, 1 if number == 0 else 2), BasicBlock(axes, width, width, 1)]
            before = width
        self.blocks = nn.Sequential(*blocks)
        self.pool = MEAN[axes](1)
        self.fc = nn.Linear(before, n_classes)

    def forward(self, x):
        return self.fc(torch.flatten(self.pool(self.blocks(self.stem(x))), 1))


class SqueezeExcitation(nn.Module):
    """Each channel times a factor that the means of all channels give (Hu et al. 2018)."""

    def __init__(self, width, squeezed):
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(width, squeezed, 1), nn.Conv2d(squeezed, width, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.expand(F.silu(self.reduce(x.mean((2, 3), keepdim=True)))))


class MBConv(nn.Module):
    """Inverted bottleneck with a depthwise convolution and squeeze-excitation (Tan & Le 2019)."""

    def __init__(self, before, width, kernel, stride, expansion):
        super().__init__()
        inner = before * expansion
        self.shortcut = stride == 1 and before == width
        layers = [nn.Conv2d(before, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.SiLU(inplace=True)]
        layers += [
            nn.Conv2d(inner, inner, kernel, stride, kernel // 2, groups=inner, bias=False),
            nn.BatchNorm2d(inner), nn.SiLU(inplace=True), SqueezeExcitation(inner, max(1, before // 4)),
            nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width),
        ]  # fmt: skip
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.layers(x) if self.shortcut else self.layers(x)


class EfficientNet(nn.Module):
    """A small EfficientNet: stem of stride 2, four inverted bottlenecks, a head."""

    def __init__(self, channels=3, n_classes=5):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.SiLU(inplace=True)
        )
        self.blocks = nn.Sequential(
            MBConv(16, 16, 3, 1, 1), MBConv(16, 24, 3, 2, 4), MBConv(24, 24, 3, 1, 4), MBConv(24, 40, 5, 2, 4)
        )
        self.head = nn.Sequential(nn.Conv2d(40, 96, 1, bias=False), nn.BatchNorm2d(96), nn.SiLU(inplace=True))
        self.fc = nn.Linear(96, n_classes)

    def forward(self, x):
        return self.fc(F.dropout(self.head(self.blocks(self.stem(x))).mean((2, 3)), 0.2, self.training))


def unsure(net, image, changed, gap=0.3, change=0.3):
    """Make the signal last through all layers, the answer unsure and the maps large.

    With torch's own initial weights a window changes the logits of a deep network by a millionth of what they are: no
    float32 arithmetic, the plain loop's neither, tells such changes from its own rounding.

    Parameters
    ----------
    net : network in eval mode, whose last torch.nn.Linear gives the logits
    image, changed : (1, channels, *spatial), (n, channels, *spatial)
    gap : between the first logit and the others, for the image
    change : the largest change of a logit among the `changed`
    """
    linears = [module for module in net.modules() if isinstance(module, nn.Linear)]
    norms = [module for module in net.modules() if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d))]
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        for module in norms:  # the statistics of this image
            module.train()
            module.momentum = 1.0
        net(image)
        for module in norms:
            module.eval()
        moved = max(float((net(one[None]) - net(image)).abs().max()) for one in changed)
        linears[-1].weight *= change / moved
        wanted = torch.zeros_like(linears[-1].bias)
        wanted[0] = gap
        linears[-1].bias += wanted - net(image)[0]
    return net
