"""What all explanation methods have in common: they leave the model as it was, and refuse what cannot work."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from helpers.heatmap_cases import SHAPES, assert_same, linear, network, picture
from voxelwhy.errors import ConfigError, InputError, ModelError, ShapeError
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

METHODS = {
    "sensitivity_analysis": sensitivity_analysis,
    "guided_backprop": guided_backprop,
    "occlusion": lambda net, image, **options: occlusion(net, image, size=6, stride=5, positive_only=False, **options),
    "area_occlusion": lambda net, image, **options: area_occlusion(
        net,
        image,
        np.arange(np.prod(np.shape(image)[1:])).reshape(np.shape(image)[1:]) // 50 + 1,
        positive_only=False,
        **options,
    ),
    "grad_cam": grad_cam,
    "guided_grad_cam": guided_grad_cam,
    "grad_cam_plusplus": grad_cam_plusplus,
    "input_x_gradient": input_x_gradient,
    "integrated_gradients": partial(integrated_gradients, n_steps=6),
    "smoothgrad": partial(smoothgrad, n_samples=3, noise=0.02),
    "lrp": lrp,
}
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())


@each_method
@pytest.mark.parametrize("ndim", [2, 3])
def test_the_model_is_left_as_it_was(method, ndim):
    net, image = network(ndim), picture(ndim)
    net[0].weight.requires_grad_(False)
    net[4].weight.grad = torch.full_like(net[4].weight, 7.0)
    state = {key: value.clone() for key, value in net.state_dict().items()}
    before = image.clone()
    first, second = (method(net, image) for _ in range(2))
    assert np.array_equal(first, second) and first.shape == SHAPES[ndim]
    assert torch.equal(image, before) and not image.requires_grad
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert not any(module.training for module in net.modules())
    for name, parameter in net.named_parameters():
        assert parameter.requires_grad == (name != "0.weight")
        assert parameter.grad is None or (name == "4.weight" and bool((parameter.grad == 7).all()))
    for module in net.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks and not module._backward_hooks


@each_method
def test_hooks_are_gone_after_an_error_too(method):
    net = network(2)
    with pytest.raises(ModelError, match="classes 0 to 2"):
        method(net, picture(2), target_class=3)
    assert not any(module._forward_hooks or module._backward_hooks for module in net.modules())


@each_method
def test_no_target_is_the_predicted_class_and_arrays_are_as_good_as_tensors(method):
    net, image = network(3, torch.float32), picture(3, torch.float32)
    predicted = int(net(image[None]).argmax())
    found = method(net, image)
    assert np.array_equal(found, method(net, image.numpy().tolist(), target_class=np.int64(predicted)))
    assert not np.array_equal(found, method(net, image, target_class=(predicted + 1) % 3))
    with torch.inference_mode():
        assert np.array_equal(found, method(net, image))


@each_method
def test_a_network_that_writes_into_its_input_harms_nobody(method):
    inner, image = network(2), picture(2)
    net = nn.Sequential(nn.ReLU(inplace=True), inner).eval()
    twin = nn.Sequential(nn.ReLU(), inner).eval()
    before = image.clone()
    each = [{"target_class": target, "apply_softmax": False} for target in range(3)]
    maps = [np.stack([method(model, image, **options) for options in each]) for model in (net, twin)]
    assert_same(*maps)
    assert torch.equal(image, before)


@each_method
@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda net, image: (net.train(), image), ModelError, "training mode"),
        (lambda net, image: (net[1].train() and net, image), ModelError, r"training mode \(1\)"),
        (lambda net, image: (net, image[0, 0]), ShapeError, r"\(1, x, y\) or \(n, 1, x, y\) is expected"),
        (lambda net, image: (net, image[None, None]), ShapeError, "2 spatial axes"),
        (lambda net, image: (net, image.repeat(2, 1, 1)[None]), ShapeError, r"shape \(1, 2, 19, 16\)"),
        (lambda net, image: (net, image[0, :, :, None].repeat(3, 1, 1)[:, :1].mT), ShapeError, "ambiguous"),
        (lambda net, image: (net, image[:, :5, :5]), ShapeError, r"cannot take an image of shape \(1, 5, 5\)"),
        (lambda net, image: (net, image / 0), ShapeError, "NaN or infinite"),
        (lambda net, image: (net, image.to(torch.complex128)), ShapeError, "complex"),
        (lambda net, image: (net, "scan"), ShapeError, "not an array of numbers"),
        (lambda net, image: (net.forward, image), ModelError, "torch.nn.Module is expected"),
        (lambda net, image: (net[:6].eval(), image), ModelError, r"shape \(1, 6, 8, 7\)|shape \(2, 6, 8, 7\)"),
        (lambda net, image: (nn.Sequential(net, nn.Unflatten(1, (3, 1))).eval(), image), ModelError, "are expected"),
        (
            lambda net, image: (net[7].bias.data.fill_(np.nan) is None or net, image),
            ModelError,
            "NaN or infinite logits",
        ),
    ],
)
def test_what_cannot_work_is_refused(method, change, error, words):
    net, image = change(network(2), picture(2))
    with pytest.raises(error, match=words):
        if isinstance(image, str) and method is METHODS["area_occlusion"]:
            area_occlusion(net, image, np.ones((3, 3)))
        else:
            method(net, image)


@pytest.mark.parametrize("target", [-1, 3, 1.5, "AD"])
def test_a_target_that_does_not_exist_is_refused(target):
    with pytest.raises(ModelError, match="target_class is"):
        sensitivity_analysis(network(2), picture(2), target_class=target)


def test_options_out_of_range_are_refused():
    net, image = network(2), picture(2)
    with pytest.raises(ConfigError, match="no such postprocess"):
        sensitivity_analysis(net, image, postprocess="relu")
    bad = [{"size": 1}, {"size": (4, 4, 4)}, {"size": 4.5}, {"stride": 0}, {"batch_size": 0}]
    for options in [*bad, {"occlusion_value": np.nan}, {"occlusion_value": "zero"}]:
        with pytest.raises(ConfigError):
            occlusion(net, image, **options)
    with pytest.raises(ModelError, match="no layer 'features'; it has: 0, 1, 2"):
        grad_cam(net, image, last_conv_layer="features")
    with pytest.raises(ModelError, match="spatial axes is expected"):
        grad_cam(net, image, last_conv_layer="7")
    with pytest.raises(ModelError, match="needs a convolution"):
        grad_cam(linear(2)[0], image)
    with pytest.raises(ModelError, match="no gradient with respect to the image"):
        constant = linear(2)[0]
        constant[1].weight.data.zero_()
        sensitivity_analysis(nn.Sequential(constant, Detached()).eval(), image)


class Detached(nn.Module):
    def forward(self, logits):
        return logits.detach()


def test_areas_that_do_not_fit_are_refused():
    net, image = network(2), picture(2)
    with pytest.raises(ShapeError, match=r"label image has shape \(19, 15\), the image \(19, 16\)"):
        area_occlusion(net, image, np.ones((19, 15)))
    with pytest.raises(ShapeError, match=r"area mask 1 has shape \(3, 3\)"):
        area_occlusion(net, image, [np.ones((19, 16)), np.ones((3, 3))])
    with pytest.raises(InputError, match="not binary"):
        area_occlusion(net, image, [np.full((19, 16), 0.5)])
    for labels in (np.full((19, 16), -1), np.full((19, 16), 0.5), np.full((19, 16), np.nan)):
        with pytest.raises(InputError, match="whole numbers"):
            area_occlusion(net, image, labels)
    for nothing in (np.zeros((19, 16)), []):
        with pytest.raises(InputError, match="no area to blank"):
            area_occlusion(net, image, nothing)


@each_method
def test_bfloat16_models_give_float32_maps(method):
    net, image = network(2, torch.float32), picture(2, torch.float32)
    wanted = method(net, image)
    found = method(net.to(torch.bfloat16), image)
    assert found.dtype == np.float32
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.8
