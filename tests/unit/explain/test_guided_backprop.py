"""Guided backpropagation, however the ReLU is written; each case beside the naive way, which fails on it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import GuidedBackprop
from torch import nn
from torch.utils.checkpoint import checkpoint

from helpers.heatmap_cases import Guided
from voxelwhy.errors import ModelError
from voxelwhy.explain.guided_backprop import guided_backprop
from voxelwhy.explain.sensitivity_analysis import sensitivity_analysis

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
SHAPES = {2: (12, 10), 3: (9, 8, 10)}


class GuidedTop(torch.autograd.Function):
    """`Guided` for a ReLU with a top: the gradient passes where the input lies between both ends."""

    @staticmethod
    def forward(ctx, values, top):
        ctx.save_for_backward(values)
        ctx.top = top
        return values.clamp(0, top)

    @staticmethod
    def backward(ctx, gradient):
        values = ctx.saved_tensors[0]
        return gradient * (gradient > 0) * (values > 0) * (values < ctx.top), None


class Net(nn.Module):
    """Two convolutions and a dense layer, with a rectifier of one's choice after each."""

    def __init__(self, ndim, rectify, dtype=torch.float64):
        super().__init__()
        torch.manual_seed(11)
        self.one, self.two = CONV[ndim](1, 4, 3), CONV[ndim](4, 6, 3)
        self.dense = nn.Linear(6 * int(np.prod([n - 4 for n in SHAPES[ndim]])), 8)
        self.head = nn.Linear(8, 3)
        for layer in (self.one, self.two, self.dense, self.head):
            nn.init.normal_(layer.weight, std=0.3)
        self.rectify = rectify
        self.to(dtype).eval()

    def forward(self, image):
        values = self.rectify(self.one(image))
        values = self.rectify(self.two(values))
        return self.head(self.rectify(self.dense(values.flatten(1))))


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.ModuleList([nn.Sequential(nn.Sequential(nn.ReLU()))])

    def forward(self, values):
        return self.inner[0](values)


class OwnReLU(nn.ReLU):
    """A class of another name."""


SPELLINGS = {
    "module, nested": Nested(),
    "module, used three times": nn.ReLU(),
    "module, in place": nn.ReLU(inplace=True),
    "subclass": OwnReLU(),
    "F.relu": F.relu,
    "F.relu in place": lambda values: F.relu(values, inplace=True),
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "Tensor.relu": lambda values: values.relu(),
    "Tensor.relu_": lambda values: values.relu_(),
    "F.threshold": lambda values: F.threshold(values, 0, 0),
    "clamp": lambda values: values.clamp(min=0),
    "clamp in place": lambda values: values.clamp_(0),
    "torch.clamp": lambda values: torch.clamp(values, min=torch.zeros((), dtype=values.dtype)),
    "clamp_min": lambda values: torch.clamp_min(values, 0.0),
    "operator clamp": lambda values: torch.ops.aten.clamp.default(values, 0),
}
WITH_TOP = {
    "nn.ReLU6": (nn.ReLU6(), 6.0),
    "nn.ReLU6 in place": (nn.ReLU6(inplace=True), 6.0),
    "F.relu6": (F.relu6, 6.0),
    "F.relu6 in place": (lambda values: F.relu6(values, inplace=True), 6.0),
    "nn.Hardtanh": (nn.Hardtanh(0, 3), 3.0),
    "operator hardtanh": (lambda values: torch.ops.aten.hardtanh.default(values, 0.0, 6.0), 6.0),
    "clamp": (lambda values: values.clamp(0, 6), 6.0),
    "clamp in place": (lambda values: values.clamp_(min=0, max=6), 6.0),
    "torch.clip": (lambda values: torch.clip(values, 0, 4.5), 4.5),
    "clamp between tensors": (lambda values: torch.clamp(values, torch.tensor(0.0), torch.tensor(6.0)), 6.0),
    "operator clamp": (lambda values: torch.ops.aten.clamp.default(values, 0, 6), 6.0),
}


def picture(ndim, dtype=torch.float64):
    return torch.randn(1, *SHAPES[ndim], generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(dtype)


def by_definition(ndim, target=1, dtype=torch.float64):
    return gradient(Net(ndim, Guided.apply, dtype), picture(ndim, dtype), target)


def gradient(net, image, target):
    leaf = image[None].clone().requires_grad_()
    return torch.autograd.grad(net(leaf)[0, target], leaf)[0][0, 0].numpy()


def naive(net, image, target):
    """The published way: backward hooks on the direct children that are nn.ReLU."""
    handles = [
        child.register_full_backward_hook(lambda module, before, after: (before[0].clamp(min=0),))
        for child in net.children()
        if type(child) is nn.ReLU and not child.inplace  # torch refuses the hook on an in-place module
    ]
    leaf = image[None].clone().requires_grad_()
    found = torch.autograd.grad(net(leaf)[0, target], leaf)[0][0, 0].numpy()
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_relu_is_guided(ndim, dtype, spelling):
    net = Net(ndim, SPELLINGS[spelling], dtype)
    wanted = by_definition(ndim, dtype=dtype)
    found = guided_backprop(net, picture(ndim, dtype), target_class=1, postprocess=None, apply_softmax=False)
    top = np.abs(wanted).max()
    assert top > 0.1
    assert np.abs(found - wanted).max() <= {torch.float64: 1e-8, torch.float32: 1e-3}[dtype] * top
    plain = sensitivity_analysis(net, picture(ndim, dtype), target_class=1, postprocess=None, apply_softmax=False)
    assert np.abs(plain - wanted).max() > 0.1 * top
    if spelling != "module, used three times":  # hooks of today's torch get this one right
        assert np.abs(naive(net, picture(ndim, dtype), 1) - wanted).max() > 0.1 * top


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("spelling", WITH_TOP)
def test_a_relu_with_a_top_is_guided_at_both_ends(ndim, spelling):
    rectify, top = WITH_TOP[spelling]
    image = 4 * picture(ndim)

    def net(rectify):
        made = Net(ndim, rectify)
        with torch.no_grad():
            made.one.weight *= np.sqrt(3.0) ** (3 - ndim)  # for fewer voxels under a kernel
            made.dense.weight *= 0.1  # its values would lie above the top
            made.head.weight *= 10
        return made

    wanted, open_above = (
        gradient(net(lambda values, end=end: GuidedTop.apply(values, end)), image, 1) for end in (top, np.inf)
    )
    first = net(rectify).one(image[None])
    assert min((first < 0).sum(), (first > top).sum(), ((first > 0) & (first < top)).sum()) > first.numel() / 20
    found = guided_backprop(net(rectify), image, target_class=1, postprocess=None, apply_softmax=False)
    largest = np.abs(wanted).max()
    assert largest > 0.1
    assert np.abs(found - wanted).max() <= 1e-8 * largest
    # Three naive ways: hooks on nn.ReLU, the plain gradient, guided at the lower end only.
    for other in (
        naive(net(rectify), image, 1),
        gradient(net(rectify), image, 1),
        open_above,
    ):
        assert np.abs(other - wanted).max() > 0.1 * largest


class Wrapped(nn.Module):
    """A network that calls another in some way of its own."""

    def __init__(self, net, call):
        super().__init__()
        self.net, self.call = net, call
        for module in self.modules():
            module.training = False  # not eval(), which an exported network does not have

    def forward(self, image):
        return self.call(self.net, image)


def compiled(net):
    """By torch's own compiler up to the code that it would write, and run once, so that this lies in its cache."""
    compiled = torch.compile(net, backend="aot_eager")
    compiled(picture(2)[None].requires_grad_())
    return compiled


WRAPPINGS = {
    "checkpoint": lambda net: Wrapped(net, lambda inner, image: checkpoint(inner, image, use_reentrant=False)),
    "data parallel": lambda net: nn.DataParallel(net).eval(),
    "compiled": compiled,
    "compiled within": lambda net: Wrapped(compiled(net), lambda inner, image: inner(image) * 1),
    "exported": lambda net: Wrapped(
        torch.export.export(net, (picture(2)[None],)).module(), lambda inner, image: inner(image)
    ),
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("spelling", ["F.relu", "module, in place", "clamp", "clamp in place"])
@pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch.export with itself
def test_wrapped_networks_are_guided(wrapping, spelling):
    found, wanted = (
        guided_backprop(net, picture(2), target_class=1, postprocess=None, apply_softmax=False)
        for net in (WRAPPINGS[wrapping](Net(2, SPELLINGS[spelling])), Net(2, F.relu))
    )
    assert np.abs(wanted - by_definition(2)).max() <= 1e-8 * np.abs(wanted).max()
    assert np.abs(found - wanted).max() <= 1e-8 * np.abs(wanted).max()


def test_a_reentrant_checkpoint_is_refused():
    net = Wrapped(Net(2, F.relu), lambda inner, image: checkpoint(inner, image, use_reentrant=True))
    with pytest.raises(ModelError, match=r"gradient of the network cannot be computed: .*use_reentrant"):
        guided_backprop(net, picture(2))


def test_mixed_precision_is_guided():
    def mixed(net, image):
        with torch.autocast("cpu", torch.bfloat16):
            return net(image)

    image = picture(2, torch.float32)
    leaf = image[None].requires_grad_()
    wanted = torch.autograd.grad(mixed(Net(2, Guided.apply, torch.float32), leaf)[0, 1], leaf)[0][0, 0].numpy()
    net = Wrapped(Net(2, F.relu, torch.float32), mixed)
    found = guided_backprop(net, image, target_class=1, postprocess=None, apply_softmax=False)
    assert np.abs(wanted).max() > 0.1
    assert np.abs(found - wanted).max() <= 1e-3 * np.abs(wanted).max()


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("apply_softmax", [True, False])
def test_separate_modules_agree_with_captum(ndim, apply_softmax):
    torch.manual_seed(4)
    inner = Net(ndim, nn.ReLU())
    layers = [inner.one, nn.ReLU(), inner.two, nn.ReLU(), nn.Flatten(), inner.dense, nn.ReLU(), inner.head]
    net = nn.Sequential(*layers).eval()
    with torch.no_grad():
        inner.head.weight *= 4
        inner.head.bias -= net(picture(ndim)[None])[0]  # an even answer: a sure one has hardly any gradient
    chain = nn.Sequential(net, nn.Softmax(dim=1)).eval() if apply_softmax else net
    wanted = GuidedBackprop(chain).attribute(picture(ndim)[None], target=0)[0, 0].detach().numpy()
    options = {"target_class": 0, "apply_softmax": apply_softmax}
    found = guided_backprop(net, picture(ndim), postprocess=None, **options)
    assert np.abs(wanted).max() > 0.01
    assert np.abs(found - wanted).max() <= 1e-8 * np.abs(wanted).max()
    assert np.array_equal(guided_backprop(net, picture(ndim), **options), np.abs(found))
    assert np.array_equal(guided_backprop(net, picture(ndim), postprocess="square", **options), found**2)


def test_a_residual_block_is_guided():
    """Two paths meet before the rectifier."""

    class Residual(nn.Module):
        def __init__(self, rectify):
            super().__init__()
            torch.manual_seed(1)
            self.conv, self.head = nn.Conv2d(1, 1, 3, padding=1), nn.Linear(120, 2)
            nn.init.normal_(self.head.weight)
            self.rectify = rectify
            self.double().eval()

        def forward(self, image):
            values = self.rectify(self.conv(image) + image)
            return self.head(self.rectify(self.conv(values) - values).flatten(1))

    image = picture(2)[None].requires_grad_()
    wanted = torch.autograd.grad(Residual(Guided.apply)(image)[0, 0], image)[0][0, 0].numpy()
    found = guided_backprop(Residual(F.relu), picture(2), target_class=0, postprocess=None, apply_softmax=False)
    assert np.abs(wanted).max() > 0.1
    assert np.abs(found - wanted).max() <= 1e-8 * np.abs(wanted).max()


@pytest.mark.parametrize(
    ("rectify", "name"),
    [
        (nn.Hardtanh(), "Hardtanh"),
        (lambda values: F.hardtanh_(values, -2, 2), "Hardtanh"),
        (nn.ELU(), "ELU"),
        (F.elu_, "ELU"),
        (nn.SELU(), "SELU"),
        (nn.CELU(), "CELU"),
        (nn.LeakyReLU(0.1), "LeakyReLU"),
        (nn.LeakyReLU(0.1, inplace=True), "LeakyReLU"),
        (nn.RReLU(), "RReLU"),
        (nn.PReLU(), "PReLU"),
        (nn.GELU(), "GELU"),
        (nn.SiLU(), "SiLU"),
        (nn.Mish(), "Mish"),
        (nn.Softplus(), "Softplus"),
        (nn.Hardswish(), "Hardswish"),
        (nn.Threshold(0.5, 0), "Threshold"),
        (lambda values: torch.clamp(values, torch.zeros(values.shape[-1], dtype=values.dtype)), "clamp at 0"),
        (lambda values: values.clamp(torch.zeros_like(values), values.amax() / 2), "clamp at 0"),
        (lambda values: torch.maximum(values, torch.zeros((), dtype=values.dtype)), "maximum with 0"),
    ],
)
def test_other_rectifiers_are_refused_by_name(rectify, name):
    for chosen in (rectify, lambda values: torch.relu(rectify(values))):  # beside a ReLU as well
        net = Net(2, chosen)
        if isinstance(rectify, nn.Module):
            rectify.double().eval()
        with pytest.raises(ModelError, match=f"defined for ReLU; the network uses .*{name}"):
            guided_backprop(net, picture(2))


def test_a_network_without_any_relu_is_refused():
    for rectify in (nn.Identity(), torch.tanh, torch.sigmoid):
        with pytest.raises(ModelError, match="there is none between image and output"):
            guided_backprop(Net(2, rectify), picture(2))


def test_a_clamp_that_is_no_rectifier_is_let_through():
    def guarded(values):
        values = torch.relu(values) / torch.relu(values).sum().clamp(min=1e-6)
        return values[torch.arange(-1, len(values) - 1).clamp(0, 5)]

    found = guided_backprop(Net(2, guarded), picture(2))
    assert np.isfinite(found).all() and found.max() > 0


def test_torchscript_is_refused():
    net = torch.jit.trace(Net(2, torch.relu), picture(2)[None])
    with pytest.raises(ModelError, match="TorchScript"):
        guided_backprop(net.eval(), picture(2))
