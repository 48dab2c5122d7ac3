"""LRP on networks of other people: every activation, other layers, and what is refused."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.heatmap_cases import assert_same, network, picture
from helpers.lrp_cases import RULES, each_case, relevance_by_loop, residual
from helpers.networks_elsewhere import unsure
from voxelwhy.errors import ConfigError, ModelError, ShapeError
from voxelwhy.explain.lrp import lrp
from voxelwhy.networks import compact, sfcn


class Activated(nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.conv, self.dense = nn.Conv2d(1, 3, 3, bias=False), nn.Linear(3 * 36, 2, bias=False)
        self.activation = activation

    def forward(self, x):
        return self.dense(self.activation(self.conv(x)).flatten(1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_activation_passes_relevance(dtype):
    activations = [
        F.relu, F.relu6, F.leaky_relu, F.elu, F.celu, F.selu, F.gelu, F.silu, F.mish, F.hardswish, F.hardtanh,
        torch.tanh, lambda x: x.clamp(-0.5, 0.7), lambda x: x.clamp(min=0), lambda x: F.threshold(x, 0.1, 0.0),
        lambda x: F.prelu(x, torch.full((3,), 0.3, dtype=x.dtype)), torch.sigmoid, F.softplus, F.hardsigmoid,
    ]  # fmt: skip
    image = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for number, activation in enumerate(activations):
        torch.manual_seed(number)
        net, options = Activated(activation).double().eval(), RULES[1 + number % 4]
        chain = [("linear", net.conv), ("relu", activation), ("linear", lambda x, net=net: net.dense(x.flatten(1)))]
        wanted = relevance_by_loop(chain, image, 1, options)
        found = lrp(net.to(dtype), image.to(dtype), target_class=1, **options)
        assert_same(found, wanted, dtype, least=1e-4)


@pytest.mark.parametrize("options", [RULES[1], RULES[2]])
def test_the_compact_network_has_the_relevance_of_the_plain_loop(options):
    """Its average-pool comes before the first convolution: the relevance of a cell is divided by the voxels' share."""
    torch.manual_seed(5)
    net = compact.build((16, 16, 16), first_pool=2).double().eval()
    for layer in net:
        if isinstance(layer, nn.BatchNorm3d):
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
            nn.init.uniform_(layer.running_var, 0.1, 2.0)
    layers = [("linear", net.first_pool)]
    for k in (1, 2, 3):
        conv, norm, relu, pool = (getattr(net, f"Conv_{k}{part}") for part in ("", "_bn", "_relu", "_mp"))
        layers += [("linear", nn.Sequential(conv, norm)), ("relu", relu), ("max", pool)]
    layers.append(("linear", nn.Sequential(net.flatten, net.dense)))
    image = torch.randn(1, 16, 16, 16, dtype=torch.float64)
    found = lrp(net, image, target_class=1, **options)
    assert_same(found, relevance_by_loop(layers, image, 1, options), least=1e-4)


@pytest.mark.parametrize("options", [RULES[1], RULES[2]])
def test_sfcn_has_the_relevance_of_the_plain_loop(options, monkeypatch):
    """Narrow and with three of its five equal blocks, because the loop visits every weight of every cell."""
    monkeypatch.setattr(sfcn, "CHANNELS", (2, 3, 4))
    monkeypatch.setattr(sfcn, "CHANNELS_OF_THE_LAST_BLOCK", 3)
    torch.manual_seed(5)
    net = sfcn.build((8, 17, 8)).double().eval()
    image = torch.randn(1, 8, 17, 8, dtype=torch.float64)
    unsure(net, torch.stack([image, image.flip(1)]), image[None].flip(2))
    layers = []
    for k in (1, 2, 3):
        conv, norm, relu, pool = (getattr(net, f"Conv_{k}{part}") for part in ("", "_bn", "_relu", "_mp"))
        layers += [("linear", nn.Sequential(conv, norm)), ("relu", relu), ("max", pool)]
    layers += [("linear", nn.Sequential(net.Conv_6, net.Conv_6_bn)), ("relu", net.Conv_6_relu)]
    layers += [("linear", net.mean), ("linear", nn.Sequential(net.flatten, net.dense))]
    found = lrp(net, image, target_class=0, **options)
    assert_same(found, relevance_by_loop(layers, image, 0, options), least=1e-4)


def test_a_transposed_convolution_and_dense_layers_are_folded_too():
    torch.manual_seed(1)
    up, norm = nn.ConvTranspose2d(2, 4, 3, stride=2, groups=2), nn.BatchNorm2d(4)
    dense, last = nn.Linear(4 * 81, 5), nn.BatchNorm1d(5)
    for layer in (norm, last):
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
        nn.init.uniform_(layer.running_var, 0.5, 2.0)
    net = nn.Sequential(up, norm, nn.ReLU(), nn.Flatten(), dense, last).double().eval()
    image = torch.randn(2, 4, 4, dtype=torch.float64)
    layers = [
        ("linear", nn.Sequential(up, norm)),
        ("relu", F.relu),
        ("linear", nn.Sequential(nn.Flatten(), dense, last)),
    ]
    for options in (RULES[1], RULES[2]):
        assert_same(
            lrp(net, image, target_class=3, **options), relevance_by_loop(layers, image, 3, options), least=1e-4
        )


class Named(nn.Module):
    """A small network with one part that is to be refused."""

    def __init__(self, part):
        super().__init__()
        self.conv, self.part, self.dense = nn.Conv2d(1, 2, 3), part, nn.Linear(2, 2)

    def forward(self, x):
        return self.dense(self.part(self.conv(x)).mean((2, 3)))


class Gate(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x.mean((2, 3), keepdim=True))


class Softmax(nn.Module):
    def forward(self, x):
        return x.softmax(1)


class Power(nn.Module):
    def forward(self, x):
        return x**2


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (nn.InstanceNorm2d(2), "in module part"),
        (nn.GroupNorm(1, 2), r"native_group_norm \(in module part\)"),
        (Gate(), r"mul \(in module part\)"),
        (Softmax(), r"_softmax \(in module part\)"),
        (Power(), r"pow \(in module part\)"),
    ],
)
def test_what_has_no_rule_is_refused_by_name(part, name):
    net = Named(part).double().eval()
    with pytest.raises(ModelError, match=f"LRP has no rule for .*{name}"):
        lrp(net, picture(2))


def test_what_cannot_be_followed_is_refused():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = nn.Conv2d(1, 2, 3)

        def forward(self, x):
            y = self.dense(x).mean((2, 3))
            return y if float(y.sum()) > 0 else -y

    image = picture(2)
    with pytest.raises(ModelError, match=r"torch\.export, which cannot follow"):
        lrp(Branches().double().eval(), image)
    with pytest.raises(ModelError, match="TorchScript"):
        lrp(torch.jit.trace(network(2), image[None]), image)
    with pytest.raises(ShapeError, match="cannot take an image of shape"):
        lrp(network(2), image[:, :9])
    constant = Named(nn.Identity()).double().eval()
    constant.forward = lambda x: torch.ones(len(x), 2, dtype=torch.float64)
    with pytest.raises(ModelError, match="does not depend on the image"):
        lrp(constant, image)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "gamma"}, "no such LRP rule"),
        ({"epsilon": 0}, "epsilon of LRP"),
        ({"epsilon": float("nan")}, "epsilon of LRP"),
        ({"epsilon": "small"}, "epsilon of LRP"),
        ({"rule": "alpha_beta", "alpha": 2, "beta": 2}, "would not conserve relevance"),
        ({"rule": "alpha_beta", "alpha": 0.5}, "would not conserve relevance"),
        ({"rule": "alpha_beta", "alpha": None}, "would not conserve relevance"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        lrp(network(2), picture(2), **options)


@each_case
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_same_again_and_only_the_positive_part(ndim, dtype):
    net, image = network(ndim, dtype), picture(ndim, dtype)
    for options in (RULES[1], RULES[2]):
        found = lrp(net, image, **options)
        assert found.min() < 0 < found.max()
        assert np.array_equal(found, lrp(net, image, **options))
        assert np.array_equal(lrp(net, image, positive_only=True, **options), np.maximum(found, 0))


def test_the_amounts_are_told(capsys):
    net, image = residual(2), picture(2)
    lrp(net, image, verbose=True)
    told = capsys.readouterr().out
    start, end = (
        float(word) for word in (told.split("relevance of ")[1].split()[0], told.split("logit, ")[1].split()[0])
    )
    assert start == pytest.approx(end, rel=1e-4) and abs(start) > 1
