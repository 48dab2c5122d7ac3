"""LRP beside a plain loop over contributions, closed forms, Captum where it has rules, and the naive ways that fail."""

import copy
import gc
import weakref
from contextlib import ExitStack

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import LRP as CaptumLRP
from captum.attr._utils.lrp_rules import EpsilonRule
from torch import nn

from helpers.heatmap_cases import CONV, SHAPES, assert_same, network, picture
from helpers.lrp_cases import RULES, each_case, each_rule, little, relevance_by_loop, residual
from voxelwhy.explain._shared import lrp_layers
from voxelwhy.explain.incremental import known
from voxelwhy.explain.input_x_gradient import input_x_gradient
from voxelwhy.explain.lrp import lrp


def maps_of(net, image, targets, **options):
    """The map of each of several classes."""
    return lrp(net, torch.stack([image] * len(targets)), target_class=targets, **options)


# ------------------------------------------------------------------ the plain loop


@each_rule
@each_case
@pytest.mark.parametrize("bias", [True, False])
def test_the_map_is_that_of_a_loop_over_contributions(options, ndim, bias):
    net, image, layers = little(ndim, bias)
    logits = net(image[None])[0]
    assert logits.min() < 0 < logits.max()  # both signs of what is explained
    for target, found in enumerate(maps_of(net, image, [0, 1, 2], **options)):
        assert_same(found, relevance_by_loop(layers, image, target, options), least=1e-4)


@each_rule
def test_scaling_and_sums_outside_of_folds_are_rules_of_their_own(options):
    """Normalisation before the convolution, a constant factor, a bias by hand, a product by a matrix."""

    class Affine(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(1)
            self.conv = nn.Conv2d(1, 2, 3)
            self.register_buffer("matrix", torch.randn(2 * 16, 3))

        def forward(self, x):
            y = F.relu(self.conv(self.norm(x)))
            return ((0.1 - y / 3) * 2).reshape(len(x), -1) @ self.matrix

    torch.manual_seed(2)
    net = Affine().double().eval()
    nn.init.uniform_(net.norm.weight, 1.0, 2.0)
    nn.init.normal_(net.norm.bias, std=0.4)
    image = torch.randn(1, 6, 6, dtype=torch.float64)
    layers = [
        ("linear", net.norm), ("linear", net.conv), ("relu", F.relu), ("linear", lambda x: x / 3),
        ("linear", lambda x: 0.1 - x), ("linear", lambda x: 2 * x), ("linear", lambda x: x.reshape(1, -1) @ net.matrix),
    ]  # fmt: skip
    assert_same(lrp(net, image, target_class=1, **options), relevance_by_loop(layers, image, 1, options))


def test_normalisation_is_folded_only_where_nothing_else_reads_the_convolution():
    """With a second reader the convolution has relevance of its own: two rules, one after the other."""

    class Read(nn.Module):
        def __init__(self, twice):
            super().__init__()
            self.conv, self.norm, self.dense = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(32, 2)
            self.twice = twice

        def forward(self, x):
            y = self.conv(x)
            z = self.norm(y)
            return self.dense((z + 0 * y if self.twice else z).flatten(1))

    torch.manual_seed(3)
    once, twice = Read(False).double().eval(), Read(True).double().eval()
    nn.init.normal_(once.norm.bias, std=1.0)
    nn.init.normal_(once.norm.running_mean, std=1.0)
    twice.load_state_dict(once.state_dict())
    image = torch.randn(1, 6, 6, dtype=torch.float64)
    for options in ({"rule": "epsilon", "epsilon": 0.3}, {"rule": "alpha_beta"}):
        start = ("linear", lambda x: once.dense(x.flatten(1)))
        folded = relevance_by_loop([("linear", nn.Sequential(once.conv, once.norm)), start], image, 0, options)
        apart = relevance_by_loop([("linear", once.conv), ("linear", once.norm), start], image, 0, options)
        assert np.abs(folded - apart).max() > 0.1 * np.abs(folded).max()
        assert_same(lrp(once, image, target_class=0, **options), folded)
        found = lrp(twice, image, target_class=0, **options)
        if options["rule"] == "alpha_beta":  # the sum with 0 has contributions of one sign: it hands all to z
            assert_same(found, apart)
        else:
            assert np.abs(found - folded).max() > 0.1 * np.abs(folded).max()


# ------------------------------------------------------------------ closed forms


@each_case
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_epsilon_near_0_is_input_x_gradient_on_a_relu_network(ndim, dtype):
    net, image = network(ndim, dtype, channels=2), picture(ndim, dtype, channels=2)
    for target, found in enumerate(maps_of(net, image, [0, 1], epsilon=1e-12)):  # the logit of class 2 is 0
        assert_same(found, input_x_gradient(net, image, target_class=target, apply_softmax=False), dtype)


@each_rule
@each_case
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_relevance_adds_up_to_the_logit_without_biases(options, ndim, dtype):
    if options.get("epsilon", 0) > 1e-6:
        options = {**options, "epsilon": 1e-12}
    net, image = residual(ndim, dtype), picture(ndim, dtype)
    logits = net(image[None])[0].detach()
    allowed = {torch.float64: 1e-8, torch.float32: 1e-5}[dtype]
    for logit, found in zip(logits, maps_of(net, image, [0, 1, 2], **options), strict=True):
        assert abs(logit) > 0.05
        scale = max(float(abs(logit)), float(np.abs(found).sum()))
        assert abs(found.sum(dtype=float) - float(logit)) <= allowed * scale


@each_case
def test_a_large_epsilon_takes_relevance(ndim):
    net, image = residual(ndim), picture(ndim)
    logit = float(net(image[None])[0, 1].detach())
    left = [abs(lrp(net, image, target_class=1, epsilon=epsilon).sum()) for epsilon in (1e-9, 0.1, 1.0)]
    assert left[0] == pytest.approx(abs(logit), rel=1e-6)
    assert left[0] > 1.02 * left[1] > 1.02 * left[2]


def test_one_logit_is_a_network_of_two():
    """Class 1 is z and class 0 is -z, in a map as in the logits, whatever the rule."""
    net, image = network(2), picture(2)
    weights, bias = net[7].weight.detach().clone(), net[7].bias.detach().clone()

    def head(weight, shift):
        dense = nn.Linear(weight.shape[1], len(weight)).double()
        dense.load_state_dict({"weight": weight, "bias": shift})
        return nn.Sequential(*net[:7], dense).eval()

    one = head(weights[:1], bias[:1])
    two = head(torch.cat([-weights[:1], weights[:1]]), torch.cat([-bias[:1], bias[:1]]))
    for options in (RULES[1], RULES[2]):
        for apply_softmax in (False, True):
            options = {**options, "apply_softmax": apply_softmax}
            maps = zip(*(maps_of(net, image, [0, 1], **options) for net in (one, two)), strict=True)
            for target, (found, wanted) in enumerate(maps):
                if apply_softmax:  # sigmoid(z) against softmax of -z and z, which is sigmoid(2 z)
                    z = float(one(image[None]).detach()) * (1 if target else -1)
                    wanted = wanted * (1 + np.exp(-2 * z)) / (1 + np.exp(-z))
                assert_same(found, wanted)


@each_rule
def test_softmax_starts_from_the_probability_with_the_sign_of_the_logit(options):
    net, image = network(3), picture(3)
    with torch.no_grad():
        net[7].bias -= 0.5  # logits of both signs, the same probabilities
    logits = net(image[None])[0].detach()
    assert logits.min() < -0.05 and logits.max() > 0.1
    both = zip(*(maps_of(net, image, [0, 1, 2], apply_softmax=on, **options) for on in (False, True)), strict=True)
    for target, (plain, found) in enumerate(both):
        assert_same(found, plain * float(logits.softmax(0)[target] / logits[target].abs()), least=1e-3)


def test_what_speaks_for_a_class_is_positive_also_where_its_logit_is_negative():
    dense = nn.Linear(4, 2, bias=False).double()
    dense.weight.data = torch.tensor([[1.0, -2.0, 0.5, -3.0], [0.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    net = nn.Sequential(nn.Flatten(), dense).eval()
    image = torch.ones(1, 2, 2, dtype=torch.float64)
    # z = 1.5 - 5 = -3.5: alpha = 2 on what is negative, beta = 1 on what is positive.
    found = lrp(net, image, target_class=0, rule="alpha_beta")
    assert np.allclose(found, [[3.5 * 1 / 1.5, -7 * 2 / 5], [3.5 * 0.5 / 1.5, -7 * 3 / 5]], rtol=1e-12)
    # Contributions of one sign only: they get the whole, and not alpha times it.
    assert np.allclose(lrp(net, image, target_class=1, rule="alpha_beta"), [[0, 1], [1, 1]], rtol=1e-12)


# ------------------------------------------------------------------ Captum


@each_case
@pytest.mark.parametrize("epsilon", [1e-9, 1e-2])
def test_epsilon_is_captums_where_captum_has_the_rule(ndim, epsilon):
    """A chain of modules; Captum lacks rules of 3D layers, which are given, and treats a pool as a linear layer too."""
    torch.manual_seed(4)
    mean = {2: nn.AvgPool2d, 3: nn.AvgPool3d}[ndim](2)
    net = nn.Sequential(
        CONV[ndim](1, 4, 3), nn.ReLU(), mean, CONV[ndim](4, 5, 2, padding=1), nn.Tanh(), nn.Flatten(), nn.LazyLinear(3)
    )
    net(torch.zeros(1, 1, *SHAPES[ndim]))
    net.double().eval()
    image = picture(ndim)
    found = lrp(net, image, target_class=2, epsilon=epsilon)
    for layer in net:
        if not isinstance(layer, (nn.ReLU, nn.Tanh)):
            layer.rule = EpsilonRule(epsilon if not isinstance(layer, nn.Flatten) else 1e-300)
    wanted = CaptumLRP(net).attribute(image[None].clone().requires_grad_(), target=2)[0, 0].detach().numpy()
    assert_same(found, wanted, least=1e-4)


# ------------------------------------------------------------------ the naive ways


class Functional(nn.Module):
    """What hooks on modules do not see: a functional activation that is no ReLU, and a sum."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.dense = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 2)

    def forward(self, x):
        y = torch.tanh(self.first(x))
        return self.dense((torch.tanh(self.second(y)) + y).mean((2, 3)))


def hooked(net, image, target, epsilon):
    """LRP by hooks on modules: the gradient between them, the rule within, as packages do it."""
    with ExitStack() as stack:
        for layer in (
            module for module in net.modules() if hasattr(module, "weight") or "Pool" in type(module).__name__
        ):

            def forward(module, inputs, output):
                x = inputs[0].detach().requires_grad_()
                module.lrp_x = x
                module.lrp_z = module._forward_again(x)
                return output

            def backward(module, before, after):
                z = module.lrp_z
                ratio = after[0] / (z + epsilon * torch.where(z >= 0, 1.0, -1.0)).detach()
                (gradient,) = torch.autograd.grad(z, module.lrp_x, ratio)
                return (gradient * module.lrp_x.detach(),)

            layer._forward_again = type(layer).forward.__get__(layer)
            stack.callback(layer.register_forward_hook(forward).remove)
            stack.callback(layer.register_full_backward_hook(backward).remove)
        leaf = image[None].clone().requires_grad_()
        score = net(leaf)[0, target]
        (found,) = torch.autograd.grad(score, leaf, score.detach())
    return found[0].sum(0).detach().numpy()


def test_hooks_on_modules_miss_functional_activations_and_sums():
    torch.manual_seed(5)
    net, image, epsilon = Functional().double().eval(), picture(2), 1e-6
    chain = nn.Sequential(net.first, net.second, nn.AdaptiveAvgPool2d(1), nn.Flatten(), net.dense).eval()
    assert_same(lrp(chain, image, target_class=0, epsilon=epsilon), hooked(chain, image, 0, epsilon), least=1e-4)
    found, naive = lrp(net, image, target_class=0, epsilon=epsilon), hooked(net, image, 0, epsilon)
    assert np.abs(found - naive).max() > 0.1 * np.abs(found).max()


@each_case
def test_batch_normalisation_ignored_is_another_map(ndim):
    """Relevance handed through the normalisation as through an activation: then its shift takes no share."""
    net, image, layers = little(ndim, bias=True)
    for options in ({"rule": "epsilon", "epsilon": 1e-9}, {"rule": "alpha_beta"}):
        found = lrp(net, image, target_class=0, **options)
        ignored = relevance_by_loop([("linear", net[0]), ("relu", net[1]), *layers[1:]], image, 0, options)
        assert np.abs(ignored - found).max() > 0.1 * np.abs(found).max()


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("dims", [2, 3])
def test_padding_by_the_image_itself_passes_relevance_to_where_it_was_read(mode, dims):
    """Without biases, the map sums to the logit, and approaches that of input x gradient."""
    torch.manual_seed(0)
    convolution = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
    layers = [convolution(2, 3, 3, padding=1, padding_mode=mode, bias=False), nn.ReLU(), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(3 * 6**dims, 2, bias=False)).eval()
    scan = torch.randn(2, *[6] * dims)
    logit = float(model(scan[None])[0, 1].detach())
    for options in ({}, {"rule": "alpha_beta"}):
        found = lrp(model, scan, target_class=1, **options)
        assert found.sum() == pytest.approx(logit, rel=1e-3)
    exact = input_x_gradient(model, scan, target_class=1, apply_softmax=False)
    np.testing.assert_allclose(lrp(model, scan, target_class=1), exact, rtol=1e-2, atol=1e-3 * np.abs(exact).max())


class Switched(nn.Module):
    """An attribute that no repr shows decides on the sign of the logits."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 16, 2))
        self.negative = False

    def forward(self, image):
        return -self.layers(image) if self.negative else self.layers(image)


def test_a_network_is_exported_once_and_again_when_more_than_its_weights_has_changed(monkeypatch):
    exports, export = [], lrp_layers.exported_graph
    monkeypatch.setattr(lrp_layers, "exported_graph", lambda *given: exports.append(1) or export(*given))
    monkeypatch.setattr(known, "_SHARED", {})
    torch.manual_seed(0)
    net, image = Switched().eval(), np.random.default_rng(0).normal(size=(6, 6)).astype(np.float32)

    def maps(network):
        return [lrp(network, image, 1, rule=rule) for rule in ("epsilon", "alpha_beta")]

    before = maps(net)
    np.testing.assert_array_equal(maps(net), before)
    assert len(exports) == 1
    changes = (
        (lambda net: net.layers[0].weight.copy_(2 * net.layers[0].weight), 1),
        (lambda net: net.layers.__setitem__(1, nn.LeakyReLU(0.5).eval()), 2),
        (lambda net: setattr(net, "negative", True), 3),
        (lambda net: net.load_state_dict(Switched().state_dict()), 3),
    )
    for change, n in changes:
        with torch.no_grad():
            change(net)
        found = maps(net)
        assert len(exports) == n
        np.testing.assert_array_equal(found, maps(copy.deepcopy(net)))
        assert len(exports) == n, "the copy differs in nothing"
        known._SHARED.clear()
        np.testing.assert_array_equal(found, maps(copy.deepcopy(net)))
        exports.pop()
    assert lrp(net, np.zeros((6, 6), np.float32), 1).shape == (6, 6) and len(exports) == 3
    gone = weakref.ref(net), weakref.ref(net.layers[0].weight)
    del net
    gc.collect()
    assert [one() for one in gone] == [None, None]
