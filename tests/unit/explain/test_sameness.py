"""Networks that differ in their weights alone share one export: the same maps to the last bit, and no others share."""

import copy
import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

from helpers.block_networks import Dense, Residual, head
from helpers.networks_elsewhere import ResNet
from voxelwhy.explain._shared import lrp_layers
from voxelwhy.explain.incremental import known
from voxelwhy.explain.incremental.sameness import structure_of
from voxelwhy.explain.lrp import lrp
from voxelwhy.explain.occlusion import occlusion
from voxelwhy.networks.build import build_network

SIDE = 16
FACTOR = 1.0


class Baked(nn.Module):
    """Constants of every kind: in the code, from attributes, from buffers, folded from weights."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv3d(1, 4, 3, bias=False), nn.BatchNorm3d(4)
        self.dense, self.slope = nn.Linear(4, 2), nn.Parameter(torch.rand(4))
        self.register_buffer("shift", torch.randn(4, 1, 1, 1), persistent=False)
        self.scales = [1.0, 2.0, 0.5, 3.0]

    def forward(self, image):
        scale = (
            torch.tensor(self.scales).reshape(-1, 1, 1, 1) * torch.tensor([1.0, -1.0, 2.0, 1.5])[:, None, None, None]
        )
        found = F.prelu(self.norm(self.conv(image)) * scale + self.shift.exp(), self.slope)
        return self.dense(found.mean((2, 3, 4))) - self.dense.weight.sum()


class Tied(nn.Module):
    """Two layers of one shape, whose weights may be one and the same."""

    def __init__(self, tied):
        super().__init__()
        self.one, self.two = nn.Conv3d(1, 1, 3, padding=1), nn.Conv3d(1, 1, 3, padding=1)
        if tied:
            self.two.weight = self.one.weight
        self.rest = nn.Sequential(*head(1))

    def forward(self, image):
        return self.rest(self.two(self.one(image).relu()))


ALIKE = {
    "compact": lambda: build_network("compact", (SIDE,) * 3, first_pool=2),
    "constants": Baked,
    "tied weights": lambda: Tied(True),
    "residual": lambda: nn.Sequential(nn.Conv3d(1, 4, 3), Residual(4, 8, 2), *head(8)),
    "dense": lambda: nn.Sequential(nn.Conv3d(1, 4, 3), Dense(4, 4, 2), *head(12)),
    "ResNet": lambda: ResNet(3, widths=(4, 8)),
}


def made(make, seed):
    """A network with weights and running statistics of its own."""
    torch.manual_seed(seed)
    net = make()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm3d):
            nn.init.normal_(layer.running_mean, std=0.2)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.uniform_(layer.weight, 0.5, 2.0)
    return net.eval()


@pytest.fixture(autouse=True)
def exports(monkeypatch):
    """One entry for each call of torch.export; nothing is shared before."""
    calls, export = [], torch.export.export
    monkeypatch.setattr(torch.export, "export", lambda *a, **k: calls.append(1) or export(*a, **k))
    monkeypatch.setattr(known, "_SHARED", {})
    return calls


def maps_of(net):
    """By LRP with both rules, and by the incremental engine."""
    image = np.random.default_rng(1).normal(size=(SIDE,) * 3).astype(np.float32)
    windows = {"size": 6, "stride": 5, "positive_only": False, "engine": "incremental"}
    return [*(lrp(net, image, 1, rule=rule) for rule in ("epsilon", "alpha_beta")), occlusion(net, image, 1, **windows)]


def alone(net):
    """The maps of a copy that shares nothing."""
    known._SHARED.clear()
    return maps_of(copy.deepcopy(net))


@pytest.mark.parametrize("name", ALIKE)
def test_networks_of_one_architecture_share_and_maps_are_equal_bit_by_bit(name, exports):
    nets = [made(ALIKE[name], seed) for seed in (1, 2, 3)]
    shared = [maps_of(net) for net in nets]
    assert len(exports) == 2, "once for LRP and once for windows"
    assert not np.allclose(shared[0][0], shared[1][0]) and np.abs(shared[1][2]).max() > 1e-6
    for net, found in zip(nets, shared, strict=True):
        for one, own in zip(found, alone(net), strict=True):
            np.testing.assert_array_equal(one, own)
    assert len(exports) == 8


class Free(nn.Module):
    """Forward reads whatever attribute a test sets."""

    exponent = 1

    def __init__(self, **attributes):
        super().__init__()
        self.net = nn.Sequential(nn.Conv3d(1, 2, 3), nn.ReLU(), *head(2))
        self.act, self.factor, self.constant = F.relu, 1.0, 0.0
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, image):
        constant = torch.as_tensor(self.constant, dtype=torch.float32)
        return self.act(self.scaled(self.net(image)) + 3) + constant

    def scaled(self, logits):
        return logits * self.factor * FACTOR * self.exponent


def scaled_by(factor):
    return lambda logits: logits * factor


def strided(net):
    net.net[0].weight = nn.Parameter(net.net[0].weight.detach().to(memory_format=torch.channels_last_3d))
    return net


#: Two networks of which the second does something else, or is built so that nothing proves that it does not.
UNLIKE = {
    "a number": (Free, lambda: Free(factor=-2.0)),
    "the sign of zero": (lambda: Free(constant=0.0), lambda: Free(constant=-0.0)),
    "the type of a number": (lambda: Free(constant=1), lambda: Free(constant=True)),
    "a function": (Free, lambda: Free(act=torch.tanh)),
    "options of a function": (
        lambda: Free(act=functools.partial(F.leaky_relu, negative_slope=0.1)),
        lambda: Free(act=functools.partial(F.leaky_relu, negative_slope=0.5)),
    ),
    "a closure": (lambda: Free(act=scaled_by(2)), lambda: Free(act=scaled_by(3))),
    "a tensor in the graph": (
        lambda: Free(constant=torch.tensor([1.0, 2.0])),
        lambda: Free(constant=torch.tensor([1.0, -2.0])),
    ),
    "an array": (lambda: Free(constant=np.ones(2)), lambda: Free(constant=np.array([1.0, -2.0]))),
    "tied weights": (lambda: Tied(True), lambda: Tied(False)),
    "untied weights": (lambda: Tied(False), lambda: Tied(True)),
    "a layer's option": (
        lambda: nn.Sequential(nn.AvgPool3d(3, 2, 1), nn.Conv3d(1, 2, 3), *head(2)),
        lambda: nn.Sequential(nn.AvgPool3d(3, 2, 1, count_include_pad=False), nn.Conv3d(1, 2, 3), *head(2)),
    ),
    "a forward of its own": (Free, lambda: Free(forward=lambda image: torch.ones(len(image), 2))),
    "memory": (Free, lambda: strided(Free())),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_networks_that_differ_in_more_than_weights_do_not_share(name):
    one, other = (made(make, 1) for make in UNLIKE[name])
    assert structure_of(one) is None or structure_of(one) != structure_of(other)


@pytest.mark.parametrize("name", ["a number", "a tensor in the graph", "tied weights", "a layer's option"])
def test_the_windows_of_networks_that_do_not_share_are_their_own(name, exports):
    found = [windows_of(made(make, 1)) for make in UNLIKE[name]]
    assert len(exports) == 2
    assert not np.allclose(*found)


def windows_of(net):
    image = np.random.default_rng(1).normal(size=(SIDE,) * 3).astype(np.float32)
    options = {"size": 6, "stride": 5, "positive_only": False, "apply_softmax": False}
    found = occlusion(net, image, 1, engine="incremental", **options)
    np.testing.assert_allclose(found, occlusion(net, image, 1, engine="plain", **options), atol=1e-6)
    return found


def test_what_code_reads_at_the_time_counts(monkeypatch):
    before = structure_of(Free())
    assert before is not None and before == structure_of(Free()), "it can be proven"
    for place, name, value in (
        (Free, "exponent", 2),
        (Free, "scaled", lambda self, logits: -logits),
        (Free, "forward", lambda self, image: self.net(image)),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(place, name, value)
            assert structure_of(Free()) != before
    with monkeypatch.context() as patched:
        patched.setitem(globals(), "FACTOR", 2.0)
        assert structure_of(Free()) != before
        patched.setitem(globals(), "FACTOR", torch.tensor(2.0))
        assert structure_of(Free()) is None
    assert structure_of(Free()) == before


def test_where_nothing_is_proven_nothing_is_described():
    def spoilt(spoil):
        net = Free()
        spoil(net)
        return structure_of(net)

    def hooked(net):
        net.net[0].register_forward_pre_hook(lambda layer, inputs: None)

    def attributed(net):
        net.net[0].weight.factor = 2

    def closed(net):
        net.act = scaled_by(2)

    spoils = hooked, attributed, closed, lambda net: parametrizations.weight_norm(net.net[0])
    assert [spoilt(spoil) for spoil in spoils] == [None] * len(spoils)
    with torch.nn.modules.module.register_module_forward_hook(lambda *given: None):
        assert structure_of(Free()) is None
    assert structure_of(Free()) is not None


def test_the_logits_are_compared_all_the_same(monkeypatch):
    """Should a description ever be too short, the graph of another network gives other logits and is not used."""
    monkeypatch.setattr(known, "structure_of", lambda model: "all alike")
    torch.manual_seed(0)
    nets = [made(functools.partial(Free, factor=factor, act=nn.Identity()), 1) for factor in (1.0, -2.0)]
    for net in nets:
        found = maps_of(net)
        with monkeypatch.context() as patched:
            patched.setattr(known, "structure_of", lambda model: None)
            for one, own in zip(found, alone(net), strict=True):
                np.testing.assert_array_equal(one, own)


def test_shared_programs_hold_no_weights_and_only_a_few_are_kept():
    for channels in range(1, known.MOST_SHARED + 3):
        net = nn.Sequential(nn.Conv3d(1, channels, 3), *head(channels)).eval()
        lrp_layers.followed_steps(net, torch.zeros(1, 1, SIDE, SIDE, SIDE))
    assert len(known._SHARED) == known.MOST_SHARED
    assert all(program.is_own and not program.constants for program in known._SHARED.values())
