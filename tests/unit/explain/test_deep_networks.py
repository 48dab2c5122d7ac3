"""Every explanation method on SFCN, ResNet-18 and DenseNet-121: sums, concatenations, ReLUs in place, a mean."""

import copy
import functools

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation, InputXGradient, IntegratedGradients, LayerGradCam, Saliency
from torch import nn

from helpers.heatmap_cases import Guided, assert_same
from helpers.networks_elsewhere import unsure
from voxelwhy.explain.area_occlusion import area_occlusion
from voxelwhy.explain.grad_cam import grad_cam
from voxelwhy.explain.grad_cam_plusplus import grad_cam_plusplus
from voxelwhy.explain.guided_backprop import guided_backprop
from voxelwhy.explain.guided_grad_cam import guided_grad_cam
from voxelwhy.explain.input_x_gradient import input_x_gradient
from voxelwhy.explain.integrated_gradients import integrated_gradients
from voxelwhy.explain.lrp import lrp
from voxelwhy.explain.occlusion import occlusion
from voxelwhy.explain.sensitivity_analysis import sensitivity_analysis
from voxelwhy.explain.smoothgrad import smoothgrad
from voxelwhy.networks.build import build_network
from voxelwhy.networks.layers import in_channels_last

#: On these grids ResNet-18 ends in 2 x 2 x 2 cells, and SFCN and DenseNet-121 in one: their last convolution that has
#: places lies before the last block.
SHAPES = {"sfcn": (33, 35, 34), "resnet18": (33, 35, 34), "densenet121": (33, 36, 34)}
CHANNELS = 2
LAST = {"sfcn": "Conv_5", "resnet18": "layer4.1.conv2", "densenet121": "features.transition3.conv"}
#: Behind a ReLU, where branches meet if there are any: of values below 0 Grad-CAM++, whose weights are all positive,
#: leaves nothing.
MET = {"sfcn": "Conv_5_relu", "resnet18": "layer4", "densenet121": "features.transition3.relu"}
SIZE, STRIDE = 20, (14, 40, 40)  # three windows, at one corner

pytestmark = pytest.mark.slow
each_network = pytest.mark.parametrize("name", SHAPES)


@functools.cache
def ready(name):
    """The network on a grid near its smallest, unsure of its answer, and an image."""
    torch.manual_seed(5)
    net = build_network(name, SHAPES[name], channels=CHANNELS).double().eval()
    image = torch.randn(CHANNELS, *SHAPES[name], generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    changed = image[None].clone()
    changed[..., 8:24, 8:24, 8:24] = 0
    # Normalised over two scans: of one that ends in a single cell there is no spread.
    return unsure(net, torch.stack([image, image.flip(1)]), changed), image


def probability(net):
    return lambda batch: net(batch).softmax(dim=1)


@each_network
def test_gradients_are_captums(name):
    net, image = ready(name)
    batch, of_class = image[None].clone().requires_grad_(), probability(net)
    wanted = Saliency(of_class).attribute(batch, target=0)[0].amax(0).numpy()
    assert_same(sensitivity_analysis(net, image, target_class=0), wanted, least=1e-6)
    wanted = InputXGradient(of_class).attribute(batch, target=0)[0].sum(0).detach().numpy()
    assert_same(input_x_gradient(net, image, target_class=0), wanted, least=1e-6)
    wanted = IntegratedGradients(of_class).attribute(batch, target=0, n_steps=2, method="gausslegendre")[0].sum(0)
    assert_same(integrated_gradients(net, image, target_class=0, n_steps=2), wanted.detach().numpy(), least=1e-6)


@each_network
def test_smoothgrad_is_the_mean_of_gradients_of_noisy_images(name):
    net, image = ready(name)
    spread, gradients = 0.1 * float(image.max() - image.min()), []
    torch.manual_seed(4)
    for _ in range(2):
        leaf = (image[None] + torch.normal(0.0, torch.full(image[None].shape, spread))).requires_grad_()
        gradients.append(torch.autograd.grad(probability(net)(leaf)[0, 0], leaf)[0][0])
    wanted = torch.stack(gradients).mean(0).abs().amax(0).numpy()
    assert_same(smoothgrad(net, image, target_class=0, n_samples=2, noise=0.1, seed=4), wanted, least=1e-6)


class GuidedReLU(nn.Module):
    def forward(self, values):
        return Guided.apply(values)


def guided_by_definition(net, image):
    """The gradient of the network with each of its ReLU modules replaced by the definition."""
    net = copy.deepcopy(net)
    for module in list(net.modules()):
        for child, layer in module.named_children():
            if isinstance(layer, nn.ReLU):
                setattr(module, child, GuidedReLU())
    leaf = image[None].clone().requires_grad_()
    return torch.autograd.grad(net(leaf)[0, 0], leaf)[0][0]


@each_network
def test_guided_backprop_is_the_definition_and_guided_grad_cam_its_product(name):
    net, image = ready(name)
    wanted = guided_by_definition(net, image)
    options = {"target_class": 0, "apply_softmax": False, "postprocess": None}
    found = guided_backprop(net, image, **options)
    assert_same(found, wanted.sum(0).numpy(), least=1e-4)
    plain = sensitivity_analysis(net, image, **options)
    assert np.abs(found - plain).max() > 0.1 * np.abs(plain).max()
    cells = grad_cam(net, image, target_class=0, apply_softmax=False)
    assert_same(guided_grad_cam(net, image, **options), found * cells, least=1e-8)


@each_network
def test_occlusion_is_the_plain_loop_and_area_occlusion_captums(name):
    net, image = ready(name)
    options = {"target_class": 0, "positive_only": False}
    windows = {"size": SIZE, "stride": STRIDE, "resize": False, "occlusion_value": 0.3}
    maps = {engine: occlusion(net, image, engine=engine, **windows, **options) for engine in ("plain", "incremental")}
    before, wanted = float(probability(net)(image[None])[0, 0].detach()), np.zeros(maps["plain"].shape)
    for place in np.ndindex(wanted.shape):
        centres = np.multiply(place, STRIDE)
        box = (slice(max(0, c - SIZE // 2), c + SIZE // 2) for c in centres)
        blank = image.clone()
        blank[(slice(None), *box)] = 0.3
        wanted[place] = before - float(probability(net)(blank[None])[0, 0].detach())
    for found in maps.values():
        assert_same(found, wanted, least=1e-3)

    areas = np.indices(SHAPES[name])[0] // 18
    wanted = FeatureAblation(probability(net)).attribute(
        image[None], target=0, feature_mask=torch.from_numpy(areas)[None, None]
    )[0, 0]  # fmt: skip
    for engine in ("plain", "incremental"):
        found = area_occlusion(net, image, areas + 1, engine=engine, **options)
        assert_same(found, wanted.detach().numpy(), least=1e-3)


@each_network
def test_grad_cam_is_captums(name):
    net, image = ready(name)
    copied = copy.deepcopy(net)
    batch = image[None].clone().requires_grad_()
    wanted = LayerGradCam(copied, copied.get_submodule(LAST[name])).attribute(batch, target=0)
    assert np.prod(wanted.shape[2:]) == 8
    found = grad_cam(net, image, target_class=0, apply_softmax=False, resize=False)
    assert_same(found, wanted[0, 0].relu().detach().numpy(), least=1e-3)
    assert grad_cam(net, image).shape == SHAPES[name]  # the places of its cells are known through all layers


@each_network
def test_grad_cam_plusplus_is_its_closed_form(name):
    net, image = ready(name)
    kept = []
    handle = net.get_submodule(MET[name]).register_forward_hook(
        lambda module, inputs, output: kept.append(output) or output.clone()
    )
    logit = net(image[None].clone().requires_grad_())[0, 0]
    handle.remove()
    cells, gradient = kept[0], torch.autograd.grad(logit, kept[0])[0]
    # With y linear in pieces, exp(y) has the derivatives exp(y) g, exp(y) g^2, exp(y) g^3, and exp(y) cancels.
    below = 2 * gradient**2 + cells.sum((2, 3, 4), keepdim=True) * gradient**3
    alpha = torch.where(gradient > 0, gradient**2 / torch.where(gradient > 0, below, 1.0), 0.0)
    weights = (alpha * gradient).sum((2, 3, 4), keepdim=True)
    wanted = (weights * cells).sum(1)[0].detach().numpy()
    options = {"target_class": 0, "apply_softmax": False, "last_conv_layer": MET[name]}
    assert_same(grad_cam_plusplus(net, image, resize=False, **options), wanted, least=1e-3)
    assert grad_cam_plusplus(net, image, **options).shape == SHAPES[name]


@each_network
def test_lrp_is_input_x_gradient_for_epsilon_0_and_conserves_relevance(name):
    net, image = ready(name)
    wanted = input_x_gradient(net, image, target_class=0, apply_softmax=False)
    assert_same(lrp(net, image, target_class=0, epsilon=1e-15), wanted, least=1e-6)
    net = copy.deepcopy(net)
    with torch.no_grad():
        for layer in net.modules():
            if getattr(layer, "bias", None) is not None:  # biases would take a share
                layer.bias.zero_()
            if isinstance(layer, nn.BatchNorm3d):
                layer.running_mean.zero_()
        logit = float(net(image[None])[0, 0])
    found = lrp(net, image, target_class=0, rule="alpha_beta", alpha=1.0)
    assert abs(logit) > 1e-3
    assert found.sum() == pytest.approx(logit, rel=1e-8)


@each_network
def test_the_layout_in_memory_changes_no_map(name):
    net, image = ready(name)
    last = copy.deepcopy(net).to(memory_format=torch.channels_last_3d)
    wanted = sensitivity_analysis(net, image, target_class=0)
    assert_same(sensitivity_analysis(last, image, target_class=0), wanted, least=1e-6)
    chosen = in_channels_last(copy.deepcopy(net))
    kept = {m.weight.is_contiguous() for m in chosen.modules() if isinstance(m, nn.Conv3d) and m.kernel_size[0] == 3}
    assert kept == {name == "densenet121"}
