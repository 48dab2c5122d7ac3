"""Whole networks in float32: the incremental engine and the plain loop say the same of every window."""

import numpy as np
import pytest
import torch

from helpers.networks_elsewhere import EfficientNet, ResNet, unsure
from voxelwhy.explain.incremental.engine import Incremental
from voxelwhy.networks import compact, korolev2017, rieke2018, sfcn

N_WINDOWS, SIZE = 6, 20
#: The smallest grids on which the paper's networks work, others with an average-pool first or a mean at the end, and
#: networks from elsewhere.
CASES = {
    "rieke2018": (lambda: rieke2018.build((78,) * 3), (1, 78, 78, 78)),
    "korolev2017": (lambda: korolev2017.build((124,) * 3), (1, 124, 124, 124)),
    "compact": (lambda: compact.build((61, 72, 64), first_pool=2), (1, 61, 72, 64)),
    "sfcn": (lambda: sfcn.build((61, 72, 64)), (1, 61, 72, 64)),
    "resnet_3d": (lambda: ResNet(3, (16, 24, 32, 48)), (1, 72, 80, 64)),
    "resnet_2d": (lambda: ResNet(2, (32, 48, 64, 96), channels=3, n_classes=4), (3, 160, 140)),
    "efficientnet": (EfficientNet, (3, 128, 112)),
}


def probabilities(logits):
    logits = logits.double()
    if logits.shape[1] == 1:
        return torch.cat([(-logits).sigmoid(), logits.sigmoid()], dim=1)
    return logits.softmax(dim=1)


def windows(shape):
    """Boxes along the diagonal, clipped at the border as those of occlusion."""
    centres = np.linspace(np.zeros(len(shape)), np.array(shape) - 1, N_WINDOWS).astype(int)
    return np.maximum(centres - SIZE // 2, 0), np.minimum(centres + SIZE // 2, shape)


def blanked(image, lo, hi):
    copies = image.repeat(len(lo), *[1] * (image.ndim - 1))
    for copy, first, last in zip(copies, lo, hi, strict=True):
        copy[(slice(None), *(slice(a, b) for a, b in zip(first, last, strict=True)))] = 0
    return copies


@pytest.mark.parametrize("name", CASES)
def test_float32_equals_the_plain_loop(name):
    build, shape = CASES[name]
    torch.manual_seed(1)
    net = build().eval()
    image = torch.randn(1, *shape, generator=torch.Generator().manual_seed(2)) + 0.5
    lo, hi = windows(shape[1:])
    copies = blanked(image, lo, hi)
    unsure(net, image, copies[2:4])
    with torch.inference_mode():
        wanted = torch.cat([net(one[None]) for one in copies])
        engine = Incremental(net, image)
        found = engine(lo, hi, [None] * len(lo), 0.0)
        wanted, found = (probabilities(logits) for logits in (wanted, found))
        whole = probabilities(net(image)), probabilities(engine.whole)
    assert float((found - wanted).abs().max()) <= 1e-5
    maps = [whole[0] - wanted, whole[1] - found]
    largest = float(maps[0].abs().max())
    assert largest >= 0.01
    assert float((maps[0] - maps[1]).abs().max()) <= 1e-3 * largest
