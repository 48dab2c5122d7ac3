"""A network with one logit as one of two classes: probabilities, loss, and every explanation."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from helpers.heatmap_cases import CONV, NORM, POOL, SHAPES, assert_same, picture
from voxelwhy.errors import ModelError
from voxelwhy.explain.area_occlusion import area_occlusion
from voxelwhy.explain.grad_cam import grad_cam
from voxelwhy.explain.guided_backprop import guided_backprop
from voxelwhy.explain.occlusion import occlusion
from voxelwhy.explain.sensitivity_analysis import sensitivity_analysis
from voxelwhy.networks.ensemble import two_logits

LABELS = np.indices(SHAPES[3])[0] // 4
METHODS = {
    sensitivity_analysis: {},
    guided_backprop: {},
    occlusion: {"size": 4, "stride": 3, "positive_only": False},
    area_occlusion: {"area_masks": LABELS, "positive_only": False},
    grad_cam: {},
}


def one_logit(activation=nn.ReLU):
    """A network with one logit that is not sure of the picture."""
    torch.manual_seed(8)
    layers = nn.Sequential(
        CONV[3](1, 5, 3), NORM[3](5), activation(), POOL[3](2), CONV[3](5, 6, 3), activation(), nn.Flatten(),
        nn.LazyLinear(1),
    )  # fmt: skip
    layers(torch.zeros(2, 1, *SHAPES[3]))
    nn.init.normal_(layers[-1].weight)
    layers.double().eval()
    with torch.no_grad():
        layers[-1].bias += 0.4 - layers(picture(3)[None])[0]
    return layers


def explicit(net):
    """The same with two logits: half the weights of the last layer, once negative and once positive."""
    last = nn.Linear(net[-1].in_features, 2).double()
    with torch.no_grad():
        last.weight.copy_(torch.cat([-net[-1].weight, net[-1].weight]) / 2)
        last.bias.copy_(torch.cat([-net[-1].bias, net[-1].bias]) / 2)
    return nn.Sequential(*net[:-1], last).eval()


def test_the_softmax_of_the_two_logits_is_the_sigmoid_of_the_one():
    z = torch.linspace(-30, 30, 13, dtype=torch.float64)[:, None]
    positive = 1 / (1 + torch.exp(-z[:, 0]))
    expected = torch.stack([torch.exp(-z[:, 0]) * positive, positive], dim=1)
    torch.testing.assert_close(two_logits(z).softmax(1), expected, rtol=1e-12, atol=0)
    kept = torch.randn(4, 2)
    assert two_logits(kept) is kept


def test_their_cross_entropy_and_its_gradient_are_those_of_the_binary_one():
    z = torch.tensor([[-40.0], [-2.0], [0.5], [3.0], [60.0]], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([1, 0, 1, 0, 0])
    loss = cross_entropy(two_logits(z), y, reduction="sum")
    values, wrong_way = z.detach().numpy()[:, 0], 1 - 2 * y.numpy()
    np.testing.assert_allclose(loss.item(), np.logaddexp(0, wrong_way * values).sum(), rtol=1e-12)
    (gradient,) = torch.autograd.grad(loss, z)
    np.testing.assert_allclose(gradient.numpy()[:, 0], 1 / (1 + np.exp(-values)) - y.numpy(), atol=1e-12)


@pytest.mark.parametrize("output", ["probability", "logit"])
@pytest.mark.parametrize("target", [0, 1, None])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_every_method_explains_it_as_a_network_with_two_logits(method, target, output):
    net, options = one_logit(), {"target_class": target, "apply_softmax": output == "probability", "device": "cpu"}
    wanted = method(explicit(net), picture(3), **METHODS[method], **options)
    if output == "logit":
        wanted = wanted * 2  # -z/2 and z/2 there, here -z and z
    assert_same(method(net, picture(3), **METHODS[method], **options), wanted, least=1e-4)
    flat = nn.Sequential(net, nn.Flatten(0)).eval()  # (n,) in the place of (n, 1)
    assert_same(method(flat, picture(3), **METHODS[method], **options), wanted, least=1e-4)


def test_the_classes_are_explained_with_opposite_sign():
    maps = [
        occlusion(one_logit(), picture(3), **METHODS[occlusion], target_class=target, device="cpu") for target in (0, 1)
    ]
    assert_same(maps[0], -maps[1], least=1e-3)


def test_guided_backpropagation_refuses_elu_and_the_others_take_it():
    net = one_logit(nn.ELU)
    with pytest.raises(ModelError, match="the network uses ELU"):
        guided_backprop(net, picture(3), device="cpu")
    for method in set(METHODS) - {guided_backprop}:
        found = method(net, picture(3), **METHODS[method], device="cpu")
        assert_same(found, method(explicit(net), picture(3), **METHODS[method], device="cpu"), least=1e-4)


def test_there_are_two_classes_and_no_third():
    with pytest.raises(ModelError, match="classes 0 to 1"):
        sensitivity_analysis(one_logit(), picture(3), target_class=2)
