"""Which engine `auto` takes: what parts spare is estimated as the plan counts it, and compared with torch.export."""

from __future__ import annotations

import sys
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from helpers.block_networks import Dense, Excited, Residual, head
from voxelwhy import occlusion
from voxelwhy.explain._shared import blanking
from voxelwhy.explain._shared.prepare import expected, expecting
from voxelwhy.explain.incremental import known, worth
from voxelwhy.explain.incremental.engine import Incremental

SIDE = 24


def plain(norm):
    layers = [nn.Conv3d(1, 8, 3, padding=1), norm(8), nn.ReLU(), nn.MaxPool3d(2)]
    return [*layers, nn.Conv3d(8, 8, 3, padding=1), norm(8), nn.ReLU(), nn.AvgPool3d(2), nn.Conv3d(8, 8, 3), *head(8)]


NETWORKS = {
    "plain": lambda: plain(nn.BatchNorm3d),
    "group normalisation": lambda: plain(lambda channels: nn.GroupNorm(2, channels)),
    "residual": lambda: [nn.Conv3d(1, 4, 3, padding=1), Residual(4, 8, 2), Residual(8, 8, 1), *head(8)],
    "dense": lambda: [nn.Conv3d(1, 4, 3, padding=1), Dense(4, 4, 3), nn.AvgPool3d(2), Dense(16, 4, 2), *head(24)],
    "squeeze and excitation": lambda: [nn.Conv3d(1, 4, 4, 4), *[Excited(4) for _ in range(8)], *head(4)],
    "padded apart": lambda: [
        nn.ConstantPad3d((2, 1, 0, 3, 1, 1), 0.0),
        nn.Conv3d(1, 4, 3, (2, 1, 2), 0, (1, 2, 1)),
        *head(4),
    ],
}


def build(name):
    torch.manual_seed(4)
    return nn.Sequential(*NETWORKS[name]()).eval()


@pytest.fixture
def batch():
    return torch.randn(1, 1, SIDE, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def windows(size=6, stride=6):
    along = [(max(0, c - size // 2), min(SIDE, c + size // 2)) for c in range(0, SIDE, stride)]
    boxes = np.array(list(product(along, along, along)))
    return boxes[:, :, 0], boxes[:, :, 1]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_estimate_counts_what_the_plan_of_the_engine_counts(name, batch):
    """By the graph of torch.export, with the boxes of each part by itself (a plan pads them to one extent)."""
    net, (lo, hi) = build(name), windows()
    work = worth.work_of(net, batch, lo, hi)
    with torch.inference_mode():
        engine = Incremental(net, batch)
        alone = [engine.plans(lo[n : n + 1], hi[n : n + 1])[0][0] for n in range(len(lo))]
    dense = sum(layer.weight.numel() for layer in net.modules() if isinstance(layer, nn.Linear))
    assert work.whole[0] - dense == alone[0].full_multiply_adds
    planned = np.mean([plan.multiply_adds for plan in alone])
    # A plan may widen boxes a little where that saves a copy (plan.WIDENED), and never computes less.
    assert 0.8 * planned <= work.reached[0] - dense <= planned * (1 + 1e-9)


@pytest.mark.parametrize(("name", "taken"), [("plain", True), ("residual", True), ("dense", True)])
def test_what_spares_much_is_followed_for_many_images(name, taken, batch):
    assert worth.is_worth_following(build(name), batch, *windows(), images=1000) is taken


@pytest.mark.parametrize("name", ["group normalisation", "squeeze and excitation"])
def test_what_spares_little_is_never_followed(name, batch, monkeypatch):
    net, image = build(name), batch[0, 0]
    assert not worth.is_worth_following(net, batch, *windows(), images=10**6)
    monkeypatch.setattr(blanking, "WORTH_IT", 0)
    monkeypatch.setattr(known, "export", lambda *_: pytest.fail("torch.export followed the network"))
    options = {"size": 6, "stride": 6, "positive_only": False}
    assert np.array_equal(occlusion(net, image, 1, **options), occlusion(net, image, 1, engine="plain", **options))


def test_a_network_is_followed_once_it_pays_for_all_images_and_kept(batch, monkeypatch):
    net, parts, exports = build("plain"), windows(), []
    assert not worth.is_worth_following(net, batch, *parts, images=1)  # a quick network, and torch.export takes longer
    assert worth.is_worth_following(net, batch, *parts, images=1000)
    export = known.export
    monkeypatch.setattr(known, "export", lambda *given: exports.append(1) or export(*given))
    monkeypatch.setattr(blanking, "WORTH_IT", 0)
    known.forget(net)
    options = {"size": 6, "stride": 6, "positive_only": False}
    alone = occlusion(net, batch[0, 0], 1, **options)
    assert not exports and np.array_equal(alone, occlusion(net, batch[0, 0], 1, engine="plain", **options))
    for _ in range(2):
        with expecting(1000):
            many = occlusion(net, batch[0, 0], 1, **options)
        assert len(exports) == 1
    assert np.array_equal(many, occlusion(net, batch[0, 0], 1, engine="incremental", **options))
    assert expected() == 1
    assert worth.is_worth_following(net, batch, *parts, images=1)  # it is known now
    with torch.no_grad():
        net[0].weight.mul_(1.5)
    assert not worth.is_worth_following(net, batch, *parts, images=1)  # and no longer: a weight changed


def test_calls_one_after_the_other_add_up_until_the_network_is_followed(batch, monkeypatch):
    """No later than what was missed so far has reached what torch.export takes."""
    net, (lo, hi), exports, export = build("plain"), windows(), [], known.export
    monkeypatch.setattr(known, "export", lambda *given: exports.append(1) or export(*given))
    monkeypatch.setattr(blanking, "WORTH_IT", 0)
    monkeypatch.setattr(worth, "EXPORT_EACH", 0.0)
    monkeypatch.setattr(worth, "IMPORT", 0.0)
    monkeypatch.setattr(worth, "EXPORT", 2.5 * worth._spared(worth.work_of(net, batch, lo, hi), batch, len(lo)))
    known.forget(net)
    followed = []
    for _ in range(4):
        occlusion(net, batch[0, 0], 1, size=6, stride=6, positive_only=False)
        followed.append(len(exports))
    assert followed == [0, 0, 1, 1]


def test_the_import_of_torch_export_counts_where_it_is_still_to_come(batch, monkeypatch):
    net, parts = build("dense"), windows()

    loaded = next(n for n in range(1, 10**5) if worth.is_worth_following(net, batch, *parts, images=n))
    monkeypatch.delitem(sys.modules, "torch._dynamo")
    unloaded = next(n for n in range(1, 10**5) if worth.is_worth_following(net, batch, *parts, images=n))
    work = worth.work_of(net, batch, *parts)
    export = worth.EXPORT + worth.EXPORT_EACH * work.operators
    assert loaded / unloaded == pytest.approx(export / (export + worth.IMPORT), abs=1 / loaded)


def test_a_network_that_cannot_be_followed_is_tried_once(batch, monkeypatch):
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = build("plain")

        def forward(self, image):
            return self.net(image if float(image.sum()) > -1e9 else -image)

    net, exports, export = Branching().eval(), [], known.export
    monkeypatch.setattr(known, "export", lambda *given: exports.append(1) or export(*given))
    monkeypatch.setattr(blanking, "WORTH_IT", 0)
    for _ in range(3):
        with expecting(1000):
            found = occlusion(net, batch[0, 0], 1, size=6, stride=6, positive_only=False)
    assert len(exports) == 1
    wanted = occlusion(net.net, batch[0, 0], 1, size=6, stride=6, positive_only=False, engine="plain")
    np.testing.assert_allclose(found, wanted, atol=1e-6)
