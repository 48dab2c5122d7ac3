"""LRP beside a plain loop over contributions, closed forms, Captum where it has rules, and the naive ways that fail."""

from contextlib import ExitStack

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import LRP as CaptumLRP
from captum.attr._utils.lrp_rules import EpsilonRule
from heatmap_cases import CONV, NORM, POOL, SHAPES, assert_same, network, picture
from torch import nn

from voxelwhy.errors import ConfigError, ModelError, ShapeError
from voxelwhy.heatmaps.input_x_gradient import input_x_gradient
from voxelwhy.heatmaps.lrp import lrp

RULES = [
    {"rule": "epsilon", "epsilon": 1e-9},
    {"rule": "epsilon", "epsilon": 0.05},
    {"rule": "alpha_beta"},
    {"rule": "alpha_beta", "alpha": 1.0},
    {"rule": "alpha_beta", "alpha": 1.5, "beta": 0.5},
]
each_rule = pytest.mark.parametrize("options", RULES, ids=lambda o: "-".join(map(str, o.values())))
each_case = pytest.mark.parametrize("ndim", [2, 3])


def maps_of(net, image, targets, **options):
    """The map of each of several classes."""
    return lrp(net, torch.stack([image] * len(targets)), target_class=targets, **options)


# ------------------------------------------------------------------ the plain loop


def matrix_of(function, shape):
    """The linear function as a matrix, one column for each input, and its value at 0."""
    with torch.no_grad():
        bias = function(torch.zeros(1, *shape, dtype=torch.float64))
        units = torch.eye(int(np.prod(shape)), dtype=torch.float64)
        columns = [(function(unit.reshape(1, *shape)) - bias).flatten() for unit in units]
    return torch.stack(columns, 1).numpy(), bias.flatten().numpy()


def shares_by_loop(matrix, bias, x, relevance, rule="epsilon", epsilon=1e-6, alpha=2.0, beta=None):
    """Bach et al. 2015, equations 58 and 60, output by output: every contribution x_i w_ij by itself."""
    beta = alpha - 1 if beta is None else beta
    found = np.zeros_like(x)
    for row, shift, amount in zip(matrix, bias, relevance, strict=True):
        contributions = row * x
        z = contributions.sum() + shift
        if rule == "epsilon":
            found += contributions / (z + (epsilon if z >= 0 else -epsilon)) * amount
            continue
        same = contributions * np.sign(contributions) == contributions * (1 if z >= 0 else -1)  # the sign of z
        own, other = np.where(same, contributions, 0), np.where(same, 0, contributions)
        own_bias, other_bias = (shift, 0) if (shift >= 0) == (z >= 0) else (0, shift)
        own_sum, other_sum = own.sum() + own_bias, other.sum() + other_bias
        if own_sum and other_sum:
            found += (alpha * own / own_sum - beta * other / other_sum) * amount
        elif own_sum:
            found += own / own_sum * amount
    return found


def relevance_by_loop(layers, image, target, options):
    """LRP of a chain of layers: ("linear", f), ("relu", f) or ("max", f), each a function of a batch."""
    values = [image[None]]
    for _, function in layers:
        values.append(function(values[-1]).detach())
    logits = values[-1].flatten().detach().numpy()
    relevance = np.where(np.arange(len(logits)) == target, logits, 0)
    for (kind, function), x in zip(reversed(layers), reversed(values[:-1]), strict=True):
        if kind == "linear":
            matrix, bias = matrix_of(function, x.shape[1:])
            relevance = shares_by_loop(matrix, bias, x.flatten().detach().numpy(), relevance, **options)
        elif kind == "max":
            marked = torch.arange(1.0, x.numel() + 1, dtype=torch.float64).reshape(x.shape)
            taken = np.zeros(x.numel())
            largest = function(x).flatten()
            for number, window in enumerate(windows_of(marked, x)):
                best = max(window, key=lambda place: float(x.flatten()[place]))
                assert x.flatten()[best] == largest[number]
                taken[best] += relevance[number]
            relevance = taken
    return relevance.reshape(image.shape).sum(axis=0)


def windows_of(marked, x):
    """Flat places of the inputs of each cell of a max-pool of 2, in the order of its outputs."""
    grid = [length // 2 for length in x.shape[2:]]
    for channel in range(x.shape[1]):
        for cell in np.ndindex(*grid):
            box = tuple(slice(2 * c, 2 * c + 2) for c in cell)
            yield [int(place) - 1 for place in marked[(0, channel, *box)].flatten()]


def little(ndim, bias):
    """A chain small enough for the loop: signed image, stride, padding, batch normalisation, pools of both kinds."""
    torch.manual_seed(11)
    shape = {2: (9, 8), 3: (6, 5, 6)}[ndim]
    conv = CONV[ndim](2, 3, 3, padding=1, bias=bias)
    norm = NORM[ndim](3)
    nn.init.uniform_(norm.weight, -1.0, 2.0)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    if bias:
        nn.init.normal_(norm.bias, std=0.3)
        nn.init.normal_(norm.running_mean, std=0.3)
    second = CONV[ndim](3, 4, 2, stride=2, padding=1, bias=bias)
    mean = {2: nn.AvgPool2d, 3: nn.AvgPool3d}[ndim](2)
    net = nn.Sequential(
        conv, norm, nn.ReLU(), POOL[ndim](2), second, nn.LeakyReLU(0.2), mean, nn.Flatten(), nn.LazyLinear(3, bias=bias)
    )
    net.double().eval()
    image = torch.randn(2, *shape, dtype=torch.float64)
    with torch.no_grad():  # logits of both signs, and no map close to 0
        net(image[None])
        net[8].weight.copy_(4 * torch.randn_like(net[8].weight))
        net[8].weight[0] *= -net(image[None])[0, 0].sign()
        net[8].weight[1] *= net(image[None])[0, 1].sign()
    layers = [
        ("linear", nn.Sequential(conv, norm)), ("relu", net[2]), ("max", net[3]), ("linear", second),
        ("relu", net[5]), ("linear", mean), ("linear", nn.Sequential(nn.Flatten(), net[8])),
    ]  # fmt: skip
    return net, image, layers


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


class Residual(nn.Module):
    """All that LRP conserves relevance through, written as people write it, and without biases."""

    def __init__(self, ndim):
        super().__init__()
        self.ndim = ndim
        self.first = CONV[ndim](1, 4, 3, padding=1, bias=False)
        self.norm = NORM[ndim](4)
        self.twice = CONV[ndim](4, 4, 3, padding=1, groups=2, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.5)
        self.dense = nn.Linear(8, 3, bias=False)

    def forward(self, x):
        pool, mean = (F.max_pool2d, F.avg_pool2d) if self.ndim == 2 else (F.max_pool3d, F.avg_pool3d)
        y = torch.relu(self.norm(self.first(x)))
        y = self.relu(self.twice(y)) + y
        y += self.twice(F.pad(pool(y, 3, stride=1), [1, 1] * self.ndim))
        y = torch.cat([mean(y, 2), pool(y, 2)], dim=1).mul(1.5).relu_()
        y = y.transpose(2, 3).permute(0, 1, *range(self.ndim + 1, 1, -1))
        return self.dense(self.dropout(y.flatten(2).mean(-1).squeeze().unsqueeze(0)))


def residual(ndim, dtype=torch.float64):
    torch.manual_seed(8)
    net = Residual(ndim)
    nn.init.uniform_(net.norm.weight, 0.5, 2.0)
    nn.init.uniform_(net.norm.running_var, 0.5, 2.0)
    nn.init.normal_(net.dense.weight, std=2.0)
    return net.to(dtype).eval()


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


# ------------------------------------------------------------------ networks of other people


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
        ({"rule": "gamma"}, "no such rule of LRP"),
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
