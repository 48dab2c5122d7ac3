"""The explanation methods against Captum, plain loops and closed forms, in 2D and 3D."""

from functools import partial

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation, LayerGradCam, Saliency
from scipy.interpolate import RegularGridInterpolator
from torch import nn

from helpers.heatmap_cases import SHAPES, assert_same, linear, network, picture
from voxelwhy.explain import area_occlusion as of_areas
from voxelwhy.explain import occlusion as of_windows
from voxelwhy.explain._shared.prepare import images_are_separate
from voxelwhy.explain.grad_cam import grad_cam
from voxelwhy.explain.sensitivity_analysis import sensitivity_analysis

occlusion = partial(of_windows.occlusion, positive_only=False)
area_occlusion = partial(of_areas.area_occlusion, positive_only=False)

each_case = pytest.mark.parametrize("ndim", [2, 3])
each_dtype = pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
each_output = pytest.mark.parametrize("apply_softmax", [True, False], ids=["probability", "logit"])


def with_output(net, apply_softmax):
    return nn.Sequential(net, nn.Softmax(dim=1)) if apply_softmax else net


def score(net, image, target, apply_softmax):
    with torch.no_grad():
        return float(with_output(net, apply_softmax)(image[None])[0, target])


# ------------------------------------------------------------------ sensitivity analysis


@each_case
@each_dtype
@each_output
def test_sensitivity_analysis_is_captums_saliency(ndim, dtype, apply_softmax):
    net, image = network(ndim, dtype), picture(ndim, dtype)
    wanted = (
        Saliency(with_output(net, apply_softmax))
        .attribute(image[None].clone().requires_grad_(), target=1, abs=False)[0, 0]
        .numpy()
    )
    options = {"target_class": 1, "apply_softmax": apply_softmax}
    assert_same(sensitivity_analysis(net, image, postprocess=None, **options), wanted, dtype)
    assert_same(sensitivity_analysis(net, image, **options), np.abs(wanted), dtype)
    assert_same(sensitivity_analysis(net, image, postprocess="square", **options), wanted**2, dtype, least=1e-3)


@each_case
def test_sensitivity_analysis_of_a_linear_model_is_its_weights(ndim):
    net, weights = linear(ndim)
    found = sensitivity_analysis(net, picture(ndim), target_class=2, postprocess=None, apply_softmax=False)
    assert_same(found, weights[2])


def test_channels_become_one_map():
    net, image = network(2, channels=2), picture(2, channels=2)
    wanted = Saliency(net).attribute(image[None].clone().requires_grad_(), target=0, abs=False)[0].numpy()
    options = {"target_class": 0, "apply_softmax": False}
    assert_same(sensitivity_analysis(net, image, **options), np.abs(wanted).max(axis=0))
    assert_same(sensitivity_analysis(net, image, postprocess="square", **options), (wanted**2).sum(axis=0), least=1e-3)
    assert_same(sensitivity_analysis(net, image, postprocess=None, **options), wanted.sum(axis=0))


def test_a_sure_float32_network_still_has_a_gradient():
    net, weights = linear(2)
    image, contrast = picture(2), weights[0] - weights[1]
    with torch.no_grad():
        net[1].bias.copy_(torch.tensor([21.0, 0.0, -100.0]))
        gap = float(net(image[None])[0] @ torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64))
        assert torch.softmax(net.float()(image[None].float()), 1)[0, 0] == 1.0
    found = sensitivity_analysis(net, image, target_class=0, postprocess=None)
    wanted = np.exp(-gap) * contrast  # p (1 - p) times the gradient of the gap
    assert_same(found * np.float32(1e9), wanted * 1e9, torch.float32)


# ------------------------------------------------------------------ occlusion


def plain_occlusion(net, image, target, size, stride, value, apply_softmax):
    """One window after the other, as the published code lays them."""
    shape = image.shape[1:]
    whole = score(net, image, target, apply_softmax)
    grids = [range(0, length, step) for length, step in zip(shape, stride, strict=True)]
    drops = np.zeros([len(grid) for grid in grids])
    for index in np.ndindex(drops.shape):
        blanked = image.clone()
        box = [slice(max(0, g[i] - s // 2), g[i] + s // 2) for g, i, s in zip(grids, index, size, strict=True)]
        blanked[(slice(None), *box)] = value
        drops[index] = whole - score(net, blanked, target, apply_softmax)
    return drops


@each_case
@each_dtype
@each_output
def test_occlusion_is_the_plain_loop(ndim, dtype, apply_softmax):
    net, image = network(ndim, dtype), picture(ndim, dtype)
    size, stride = (8, 6, 4)[:ndim], (4, 3, 5)[:ndim]
    wanted = plain_occlusion(net, image, 1, size, stride, 0.5, apply_softmax)
    options = {
        "target_class": 1,
        "size": size,
        "stride": stride,
        "occlusion_value": 0.5,
        "apply_softmax": apply_softmax,
    }
    assert_same(occlusion(net, image, resize=False, **options), wanted, dtype)
    assert wanted.min() < 0 < wanted.max()  # the sign is kept
    # Drawn: windows centred at 0, s, 2s … of which the border cuts off a part.
    centres = []
    for length, step, width in zip(image.shape[1:], stride, size, strict=True):
        ends = [(max(0, c - width // 2), min(length, c + width // 2) - 1) for c in range(0, length, step)]
        centres.append([(low + high) / 2 for low, high in ends])
    assert_same(occlusion(net, image, **options), interpolated(wanted, centres, image.shape[1:]), dtype)


@each_case
def test_positive_only_makes_negative_relevance_zero_as_the_original_does(ndim):
    net, image = network(ndim), picture(ndim)
    blocks = np.ravel_multi_index(np.indices(image.shape[1:]) // 4, [5] * ndim) + 1
    windows = {"size": 4, "stride": 4, "resize": False}
    for method, arguments in ((occlusion, windows), (area_occlusion, {"area_masks": blocks})):
        signed = method(net, image, target_class=1, **arguments)
        assert signed.min() < -1e-3 and signed.max() > 1e-3
        assert np.array_equal(method.func(net, image, target_class=1, **arguments), np.maximum(signed, 0))


def interpolated(values, centres, shape):
    """scipy's linear interpolation, the nearest value outside."""
    places = [np.clip(np.arange(n), c[0], c[-1]) for n, c in zip(shape, centres, strict=True)]
    return RegularGridInterpolator(centres, values)(np.stack(np.meshgrid(*places, indexing="ij"), axis=-1))


@each_case
def test_occlusion_with_windows_side_by_side_is_captums_feature_ablation(ndim):
    net, image = network(ndim), picture(ndim)
    number = np.stack(np.indices(image.shape[1:]) + 2) // 4  # windows [c - 2, c + 2) with c = 0, 4, 8 …
    cells = tuple(-(-length // 4) for length in image.shape[1:])
    inside = np.all([n < c for n, c in zip(number, cells, strict=True)], axis=0)  # the end that no window reaches
    flat = np.where(inside, np.ravel_multi_index(np.where(inside, number, 0), cells) + 1, 0)
    attributed = (
        FeatureAblation(net)
        .attribute(image[None], target=2, baselines=-0.3, feature_mask=torch.from_numpy(flat)[None, None])[0, 0]
        .numpy()
    )
    found = occlusion(
        net, image, target_class=2, size=4, stride=4, occlusion_value=-0.3, resize=False, apply_softmax=False
    )
    assert_same(found.ravel()[flat[inside] - 1], attributed[inside])


@each_case
def test_occlusion_of_a_linear_model_is_the_sum_over_the_window(ndim):
    net, weights = linear(ndim)
    image = picture(ndim)
    found = occlusion(
        net, image, target_class=0, size=6, stride=5, resize=False, occlusion_value=2, apply_softmax=False
    )
    for index in np.ndindex(found.shape):
        box = tuple(slice(max(0, 5 * i - 3), 5 * i + 3) for i in index)
        assert found[index] == pytest.approx((weights[0] * (image[0].numpy() - 2))[box].sum(), abs=1e-10)
    assert np.abs(found).max() > 0.1


@pytest.mark.parametrize("method", ["occlusion", "area_occlusion"])
def test_the_batch_size_changes_nothing_and_memory_does_not_grow(method):
    net, image, places, batches = network(3), picture(3), set(), []
    images_are_separate(net, image[None])  # tried once for a network

    def note(module, inputs):
        places.add(inputs[0].data_ptr())
        batches.append(len(inputs[0]))

    handle = net.register_forward_pre_hook(note)
    labels = np.arange(image[0].numel()).reshape(SHAPES[3]) // 40
    maps = []
    for size in (1, 2, 7, 50):
        places.clear(), batches.clear()
        if method == "occlusion":
            maps.append(occlusion(net, image, size=4, stride=4, batch_size=size))
            n_parts = 4 * 3 * 3
        else:
            maps.append(area_occlusion(net, image, labels, batch_size=size))
            n_parts = labels.max()
        assert len(places) == 1 and set(batches) == {size}  # one buffer, whatever the number of parts
        assert len(batches) == 1 + -(-n_parts // size)
    handle.remove()
    for other in maps[1:]:
        assert_same(other, maps[0], least=1e-3)


@each_case
def test_what_changes_nothing_costs_nothing(ndim):
    net, image = network(ndim), picture(ndim)
    image[:, 6:] = 0  # all but the start of the first axis is blank already
    images_are_separate(net, image[None])  # tried once for a network
    runs = []
    handle = net.register_forward_pre_hook(lambda module, inputs: runs.append(1))
    found = occlusion(net, image, size=4, stride=4, resize=False, batch_size=1)
    reached = found[:2]  # windows [0, 2), [2, 6); then [6, 10) …
    assert len(runs) == 1 + reached.size
    assert (found[2:] == 0).all() and np.abs(reached).min() > 0
    runs.clear()
    labels = np.zeros(SHAPES[ndim], int)
    labels[0], labels[8] = 7, 9
    drawn = area_occlusion(net, image, labels, batch_size=1)
    handle.remove()
    assert len(runs) == 2 and (drawn[8] == 0).all() and abs(drawn[0]).min() > 0


# ------------------------------------------------------------------ area occlusion


def areas(ndim):
    """Three labels, not connected and not boxes, of odd numbers; 0 between them."""
    field = np.sin(np.indices(SHAPES[ndim]).sum(axis=0) * 0.9 + np.arange(SHAPES[ndim][-1]) ** 2 * 0.1)
    return np.select([field > 0.6, field < -0.5, np.abs(field) < 0.3], [2001, 12, 9170], 0)


@each_case
@each_dtype
@each_output
def test_area_occlusion_is_captums_feature_ablation(ndim, dtype, apply_softmax):
    net, image, labels = network(ndim, dtype), picture(ndim, dtype), areas(ndim)
    ranks = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
    wanted = (
        FeatureAblation(with_output(net, apply_softmax))
        .attribute(image[None], target=0, baselines=0.25, feature_mask=torch.from_numpy(ranks)[None, None])[0, 0]
        .numpy()
    )
    wanted[labels == 0] = 0
    options = {"target_class": 0, "occlusion_value": 0.25, "apply_softmax": apply_softmax}
    assert_same(area_occlusion(net, image, labels, **options), wanted, dtype)
    masks = [labels == name for name in (12, 2001, 9170)]
    assert_same(area_occlusion(net, image, masks, **options), wanted, dtype)
    assert_same(area_occlusion(net, image, np.stack(masks).astype(float), **options), wanted, dtype)
    assert_same(area_occlusion(net, image, torch.from_numpy(labels.astype(np.int16)), **options), wanted, dtype)


@each_case
def test_area_occlusion_of_a_linear_model_is_the_sum_over_the_area(ndim):
    net, weights = linear(ndim)
    image, labels = picture(ndim), areas(ndim)
    found = area_occlusion(net, image, labels, target_class=1, apply_softmax=False)
    for name in (12, 2001, 9170):
        inside = labels == name
        assert found[inside] == pytest.approx((weights[1] * image[0].numpy())[inside].sum(), abs=1e-10)
    assert np.abs(found).max() > 0.1 and (found[labels == 0] == 0).all()


def test_areas_without_background_and_empty_masks():
    net, image = network(2), picture(2)
    half = np.ones(SHAPES[2], int)
    half[:, 8:] = 2
    masks = [half == 1, np.zeros_like(half), half == 2]
    assert_same(area_occlusion(net, image, half), area_occlusion(net, image, masks))


# ------------------------------------------------------------------ Grad-CAM


@each_case
@each_dtype
@each_output
def test_grad_cam_is_captums_layer_grad_cam(ndim, dtype, apply_softmax):
    net, image = network(ndim, dtype), picture(ndim, dtype)
    chain = with_output(net, apply_softmax)
    zeros = []
    for layer in (0, 4):
        captum = LayerGradCam(chain, net[layer])
        wanted = captum.attribute(image[None], target=2, relu_attributions=True)[0, 0].detach().numpy()
        scale = 1e3  # Grad-CAM averages the gradient over all cells: its values are small by nature
        options = {"target_class": 2, "apply_softmax": apply_softmax, "resize": False}
        found = grad_cam(net, image, last_conv_layer=net[layer], **options)
        assert_same(found * scale, wanted * scale, dtype, least=1.0)
        zeros.append((found == 0).any())
        assert (found >= 0).all()
        if layer == 4:
            assert np.array_equal(found, grad_cam(net, image, **options))  # the convolution that runs last
        assert np.array_equal(found, grad_cam(net, image, last_conv_layer=str(layer), **options))
    assert any(zeros)  # cells that speak against the class are there, and are dropped


@each_case
def test_grad_cam_is_drawn_at_the_centres_of_the_receptive_fields(ndim):
    net, image = network(ndim), picture(ndim)
    cells = grad_cam(net, image, target_class=2, resize=False)
    centres = [1.5 + 2 * np.arange(count) for count in cells.shape]  # conv 3: 1; pool 2: +0.5; conv with padding: same
    wanted = interpolated(cells, centres, image.shape[1:])
    assert_same(grad_cam(net, image, target_class=2) * 1e3, wanted * 1e3)


class OutOfOrder(nn.Module):
    """The convolution that is registered last runs first; the real last one runs twice."""

    def __init__(self):
        super().__init__()
        self.last = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)
        self.first = nn.Conv2d(1, 4, 3)

    def forward(self, image):
        once = torch.relu(self.last(torch.relu(self.first(image))))
        return self.head(torch.relu_(self.last(once)).mean(dim=(2, 3)))


def test_grad_cam_takes_the_last_convolution_in_the_order_of_execution():
    torch.manual_seed(2)
    net, image = OutOfOrder().double().eval(), picture(2)
    nn.init.uniform_(net.head.weight, 0.1, 1.0)
    with torch.no_grad():
        once = torch.relu(net.last(torch.relu(net.first(image[None]))))
        activation = net.last(once)
        weights = ((activation > 0).double() / activation[0, 0].numel() * net.head.weight[1, :, None, None]).mean(
            dim=(2, 3)
        )
        wanted = (weights[..., None, None] * activation).sum(dim=1)[0].relu().numpy()
    found = grad_cam(net, image, target_class=1, resize=False, apply_softmax=False)
    assert_same(found * 1e3, wanted * 1e3)


def test_every_window_of_the_paper_is_there():
    """40/20 on 193 x 229 x 193: 10 x 12 x 10 windows; here at a tenth of the size."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(20 * 23 * 20, 2)).eval()
    found = occlusion(net, np.ones((1, 20, 23, 20)), size=4, stride=2, resize=False)
    assert found.shape == (10, 12, 10) and found.size == 1200
