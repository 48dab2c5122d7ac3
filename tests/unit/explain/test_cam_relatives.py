"""Grad-CAM++ against third derivatives by torch, guided Grad-CAM against Captum and its two factors."""

import numpy as np
import pytest
import torch
from captum.attr import GuidedGradCam
from torch import nn

from helpers.heatmap_cases import CONV, SHAPES, Guided, assert_same, network, picture
from voxelwhy.errors import ConfigError, ModelError
from voxelwhy.explain.grad_cam import grad_cam
from voxelwhy.explain.grad_cam_plusplus import grad_cam_plusplus
from voxelwhy.explain.guided_grad_cam import guided_grad_cam

each_case = pytest.mark.parametrize("ndim", [2, 3])
each_output = pytest.mark.parametrize("apply_softmax", [True, False], ids=["probability", "logit"])

# ------------------------------------------------------------------ Grad-CAM++


def derivatives(function, cells):
    """First, second and third derivative of a number with respect to each cell by itself."""
    found = [torch.zeros_like(cells) for _ in range(3)]
    for index in np.ndindex(*cells.shape):
        value, at = cells[index].clone().requires_grad_(), cells.clone()
        at[index] = value
        result = function(at)
        for order in range(3):
            result = torch.autograd.grad(result, value, create_graph=True)[0]
            found[order][index] = result.detach()
    return found


def plusplus_by_definition(cells, function):
    """Equations 10 to 14 of the paper, with the derivatives of exp(y) as torch finds them."""
    first, second, third = derivatives(lambda at: function(at).exp(), cells)
    axes = tuple(range(2, cells.ndim))
    below = 2 * second + cells.sum(dim=axes, keepdim=True) * third
    alpha = torch.where(second == 0, 0.0, second / torch.where(below == 0, 1.0, below))
    weights = (alpha * first.relu()).sum(dim=axes, keepdim=True)
    return (weights * cells).sum(dim=1)[0].relu()


class Headed(nn.Module):
    """A convolution and its ReLU, then a head of dense layers and one more ReLU: y is linear in pieces."""

    def __init__(self, ndim, logits=3):
        super().__init__()
        torch.manual_seed(9)
        self.body = nn.Sequential(CONV[ndim](1, 3, 3, stride=4), nn.ReLU())
        cells = self.body(picture(ndim, torch.float32)[None])
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(cells.numel(), 7), nn.ReLU(), nn.Linear(7, logits))
        self.double().eval()
        with torch.no_grad():
            self.body[0].weight *= 3
            self.body[0].bias.fill_(0.5)
            self.head[1].weight *= 2

    def forward(self, image):
        return self.head(self.body(image))


@each_case
@pytest.mark.parametrize("target", [0, 1, 2])
def test_grad_cam_plusplus_is_the_papers_formula_with_derivatives_by_torch(ndim, target):
    net, image = Headed(ndim), picture(ndim)
    with torch.no_grad():
        cells = net.body(image[None])
        logit = float(net(image[None])[0, target])
    wanted = plusplus_by_definition(cells, lambda at: net.head(at)[0, target]).numpy() / np.exp(logit)
    options = {"target_class": target, "last_conv_layer": "body.1", "resize": False, "apply_softmax": False}
    found = grad_cam_plusplus(net, image, **options)
    assert_same(found, wanted)
    with torch.no_grad():
        before = net.body[0](image[None])
    assert before.min() < 0 < before.sum(dim=tuple(range(2, ndim + 2))).min()
    wanted = plusplus_by_definition(before, lambda at: net.head(at.relu())[0, target]).numpy() / np.exp(logit)
    assert_same(grad_cam_plusplus(net, image, **options | {"last_conv_layer": None}), wanted)


@each_case
@pytest.mark.parametrize("logits", [3, 1], ids=["softmax", "one logit"])
@pytest.mark.parametrize("target", [0, 1])
def test_of_the_probability_it_is_the_formula_with_its_logarithm_taken_as_linear(ndim, logits, target):
    net, image = Headed(ndim, logits), picture(ndim)
    cells = net.body(image[None]).detach().requires_grad_()
    if logits == 1:
        probability = torch.sigmoid(net.head(cells)[0, 0] * (2 * target - 1))
    else:
        probability = net.head(cells).softmax(dim=1)[0, target]
    slope = torch.autograd.grad(probability.log(), cells)[0]
    at = cells.detach()
    linear = plusplus_by_definition(at, lambda now: probability.detach().log() + (slope * (now - at)).sum())
    found = grad_cam_plusplus(net, image, target_class=target, last_conv_layer="body.1", resize=False)
    assert_same(found, linear.numpy(), least=1e-3)


def test_a_channel_that_adds_up_to_less_than_nothing_has_no_pole():
    """2 + A g = 0 for the formula as it stands; the naive map is not finite."""
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Flatten(), nn.Linear(4, 2)).double().eval()
    with torch.no_grad():
        net[0].weight.fill_(1.0)
        net[2].weight[1] = torch.tensor([0.5, 0.5, 0.5, 0.5])
    image = np.array([[[-9.0, 1.0], [2.0, 2.0]]])  # adds up to -4
    found = grad_cam_plusplus(net, image, target_class=1, apply_softmax=False)
    slope, total = 0.5, image.sum()
    assert 2 * slope**2 + total * slope**3 == 0
    np.testing.assert_allclose(found, np.maximum(image[0], 0) * 4 * slope / 2)


def test_grad_cam_plusplus_weighs_a_small_place_more_than_grad_cam_does():
    """The reason for which it was made: two things of the class in one image, one of them small."""
    net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(200, 2)).double().eval()
    image = torch.zeros(1, 10, 10, dtype=torch.float64)
    image[0, 1:7, 1:7], image[0, 8:, 8:] = 1.0, -1.0  # large for the first channel, small for the second
    with torch.no_grad():
        net[0].weight[:] = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
        net[3].weight[1] = 0.2
    options = {"target_class": 1, "apply_softmax": False, "last_conv_layer": "1", "resize": False}
    plain, plusplus = grad_cam(net, image, **options), grad_cam_plusplus(net, image, **options)
    assert plain[9, 9] / plain[3, 3] == pytest.approx(1)
    assert plusplus[9, 9] / plusplus[3, 3] == pytest.approx((2 + 36 * 0.2) / (2 + 4 * 0.2))


@each_output
def test_a_sure_network_gives_no_overflow(apply_softmax):
    net, image = network(2), picture(2)
    with torch.no_grad():
        net[7].bias += torch.tensor([0.0, 1e3, 0.0])
    found = grad_cam_plusplus(net, image, target_class=1, apply_softmax=apply_softmax)
    assert np.isfinite(found).all() and (found.max() > 0) == (not apply_softmax)


# ------------------------------------------------------------------ guided Grad-CAM


@each_case
@each_output
def test_guided_grad_cam_is_captums(ndim, apply_softmax):
    net, image = network(ndim), picture(ndim)
    chain = nn.Sequential(net, nn.Softmax(dim=1)).eval() if apply_softmax else net
    options = {"target_class": 2, "apply_softmax": apply_softmax}
    # Grad-CAM of the first convolution has a cell for almost every voxel; Captum wants as many as the image has.
    net[0].padding, net[7] = (1,) * ndim, nn.Linear(6 * int(np.prod([n // 2 for n in SHAPES[ndim]])), 3)
    torch.manual_seed(1)
    nn.init.normal_(net[7].weight)
    net.double().eval()
    with torch.no_grad():
        net[7].bias -= net(image[None])[0]  # an even answer: a sure one has hardly any gradient
    wanted = GuidedGradCam(chain, net[0]).attribute(image[None], target=2)[0, 0].detach().numpy()
    found = guided_grad_cam(net, image, postprocess=None, last_conv_layer="0", **options)
    scale = 1 / np.abs(wanted).max()
    assert np.abs(wanted).max() > 1e-6
    assert_same(scale * found, scale * wanted)
    found = guided_grad_cam(net, image, last_conv_layer="0", interpolation="nearest", **options)
    assert_same(scale * found, scale * np.abs(wanted))
    found = guided_grad_cam(net, image, last_conv_layer="0", postprocess="square", **options)
    assert_same(scale**2 * found, scale**2 * wanted**2)


@each_case
@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_guided_grad_cam_is_the_product_of_its_factors(ndim, interpolation):
    net, image = network(ndim, channels=2), picture(ndim, channels=2)
    twin = network(ndim, channels=2)
    twin[2] = twin[5] = GuidedReLU()
    leaf = image[None].clone().requires_grad_()
    fine = torch.autograd.grad(twin.eval()(leaf).softmax(dim=1)[0, 1], leaf)[0][0].numpy()
    parts = fine * grad_cam(net, image, target_class=1, interpolation=interpolation)
    options = {"target_class": 1, "interpolation": interpolation}
    scale = 1 / np.abs(parts).max()
    assert_same(scale * guided_grad_cam(net, image, postprocess=None, **options), scale * parts.sum(axis=0))
    assert_same(scale * guided_grad_cam(net, image, **options), scale * np.abs(parts).max(axis=0))
    found = guided_grad_cam(net, image, postprocess="square", **options)
    assert_same(scale**2 * found, scale**2 * (parts**2).sum(axis=0))


class GuidedReLU(nn.Module):
    def forward(self, values):
        return Guided.apply(values)


def test_without_a_target_both_factors_are_of_the_predicted_class():
    net, image = network(3), picture(3)
    predicted = int(net(image[None]).argmax())
    assert np.array_equal(guided_grad_cam(net, image), guided_grad_cam(net, image, target_class=predicted))


def test_what_either_factor_refuses_is_refused():
    net, image = network(2), picture(2)
    with pytest.raises(ConfigError, match="no such postprocess"):
        guided_grad_cam(net, image, postprocess="relu")
    with pytest.raises(ModelError, match="no layer 'features'"):
        guided_grad_cam(net, image, last_conv_layer="features")
    net[2] = nn.ELU().eval()
    with pytest.raises(ModelError, match="guided backpropagation is defined for ReLU; the network uses ELU"):
        guided_grad_cam(net, image)
    for method in (guided_grad_cam, grad_cam_plusplus):
        with pytest.raises(ConfigError, match="no such interpolation"):
            method(net, image, interpolation="cubic")
