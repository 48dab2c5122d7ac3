"""TorchScript files: traced, scripted or frozen, explained as the network itself where that can be done."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from helpers.heatmap_cases import assert_same, network, picture
from voxelwhy.errors import InputError, ModelError
from voxelwhy.explain.area_occlusion import area_occlusion
from voxelwhy.explain.grad_cam import grad_cam
from voxelwhy.explain.guided_backprop import guided_backprop
from voxelwhy.explain.input_x_gradient import input_x_gradient
from voxelwhy.explain.integrated_gradients import integrated_gradients
from voxelwhy.explain.occlusion import occlusion
from voxelwhy.explain.sensitivity_analysis import sensitivity_analysis
from voxelwhy.explain.smoothgrad import smoothgrad
from voxelwhy.networks.files.load_network import load_network
from voxelwhy.networks.files.torchscript import load_torchscript

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
WAYS = {
    "traced": lambda net, image: torch.jit.trace(net, image),
    "scripted": lambda net, image: torch.jit.script(net),
    "frozen": lambda net, image: torch.jit.freeze(torch.jit.script(net)),
}
QUARTERS = np.kron([[1, 2], [3, 4]], np.ones((10, 8), int))[:19]


def saved(path, net, way="traced", shape=None):
    example = picture(2)[None] if shape is None else torch.zeros(shape, dtype=torch.float64)
    torch.jit.save(WAYS[way](net, example), path)
    return str(path)


@pytest.fixture(params=list(WAYS))
def both(request, tmp_path):
    net = network(2)
    return net, load_torchscript(saved(tmp_path / "net.pt", net, request.param)), request.param


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (sensitivity_analysis, {}),
        (input_x_gradient, {}),
        (integrated_gradients, {"n_steps": 8}),
        (smoothgrad, {"n_samples": 4}),
        (occlusion, {"size": 6, "stride": 5}),
        (area_occlusion, {"area_masks": QUARTERS}),
    ],
)
def test_what_needs_no_look_inside_gives_the_same_map(both, method, options):
    net, script, _ = both
    image = picture(2)
    found, wanted = (method(model, image, target_class=1, **options) for model in (script, net))
    assert_same(found, wanted, least=1e-3)


@pytest.mark.parametrize("method", [guided_backprop, grad_cam])
def test_what_needs_the_operators_refuses(both, method):
    _, script, _ = both
    with pytest.raises(ModelError, match=r"cannot reach the (ReLUs|layers) of a TorchScript model"):
        method(script, picture(2), 1)


def test_the_shape_of_images_is_found_but_for_frozen_files(both):
    net, script, way = both
    image = picture(2)[0]
    if way == "frozen":
        with pytest.raises(ValueError, match="no convolution that would tell the axes apart"):
            sensitivity_analysis(script, image, 1)
        return
    assert_same(sensitivity_analysis(script, image, 1), sensitivity_analysis(net, image, 1), least=1e-3)


def test_a_3d_network_and_the_one_door(tmp_path):
    net, image = network(3), picture(3)
    model = load_network(saved(tmp_path / "any.name", net, shape=(1, *image.shape)))
    assert_same(sensitivity_analysis(model, image, 1), sensitivity_analysis(net, image, 1), least=1e-3)


@pytest.mark.parametrize("part", [nn.Dropout(0.5), nn.BatchNorm2d(1)])
def test_a_network_traced_in_training_mode_is_refused(tmp_path, part):
    net = nn.Sequential(part, nn.Flatten(), nn.Linear(19 * 16, 2)).double().train()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of what is random
        torch.jit.save(torch.jit.trace(net, picture(2)[None], check_trace=False), tmp_path / "net.pt")
    with pytest.raises(ModelError, match=r"training mode \((dropout|batch_norm)\), and stays in it: call model.eval"):
        load_torchscript(tmp_path / "net.pt")


def test_a_scripted_network_in_training_mode_is_put_into_eval_mode(tmp_path):
    net = nn.Sequential(nn.Dropout(0.5), nn.Flatten(), nn.Linear(19 * 16, 2)).double().train()
    torch.jit.save(torch.jit.script(net), tmp_path / "net.pt")
    image = picture(2)
    assert torch.equal(load_torchscript(tmp_path / "net.pt")(image[None]), net.eval()(image[None]))


def test_what_is_no_torchscript_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such model file"):
        load_torchscript(tmp_path / "none.pt")
    torch.save(network(2).state_dict(), tmp_path / "net.pt")
    with pytest.raises(ModelError, match=r"net\.pt is not a TorchScript file"):
        load_torchscript(tmp_path / "net.pt")
