"""Guided backpropagation, however the ReLU is written; each case beside the naive way, which fails on it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import GuidedBackprop
from torch import nn

from voxelwhy.errors import ModelError
from voxelwhy.heatmaps.guided_backprop import guided_backprop
from voxelwhy.heatmaps.sensitivity_analysis import sensitivity_analysis

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
SHAPES = {2: (12, 10), 3: (9, 8, 10)}


class Guided(torch.autograd.Function):
    """The definition, Springenberg et al. 2015: the gradient passes where input and gradient are positive."""

    @staticmethod
    def forward(ctx, values):
        ctx.save_for_backward(values)
        return values.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (gradient > 0) * (ctx.saved_tensors[0] > 0)


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
}


def picture(ndim, dtype=torch.float64):
    return torch.randn(1, *SHAPES[ndim], generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(dtype)


def by_definition(ndim, target=1, dtype=torch.float64):
    image = picture(ndim, dtype)[None].requires_grad_()
    logits = Net(ndim, Guided.apply, dtype)(image)
    return torch.autograd.grad(logits[0, target], image)[0][0, 0].numpy()


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
        (nn.ReLU6(), "ReLU6"),
        (nn.ReLU6(inplace=True), "ReLU6"),
        (F.relu6, "ReLU6"),
        (nn.Hardtanh(0, 1), "Hardtanh"),
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
        (lambda values: values.clamp(min=0), "clamp at 0"),
        (lambda values: values.clamp(0, 3), "clamp at 0"),
        (lambda values: values.clamp_(min=0), "clamp at 0"),
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
    net = Net(2, lambda values: torch.relu(values) / torch.relu(values).sum().clamp(min=1e-6))
    assert np.isfinite(guided_backprop(net, picture(2))).all()


def test_torchscript_is_refused():
    net = torch.jit.trace(Net(2, torch.relu), picture(2)[None])
    with pytest.raises(ModelError, match="TorchScript"):
        guided_backprop(net.eval(), picture(2))
