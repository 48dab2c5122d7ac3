"""What must hold for every method of the registry: properties, and each of the added methods against a reference."""

import inspect

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient, IntegratedGradients
from torch import nn

import voxelwhy
from helpers.heatmap_cases import CONV, POOL, assert_same, network, picture
from voxelwhy.errors import ConfigError, ShapeError
from voxelwhy.explain import integrated_gradients as integrated
from voxelwhy.explain._shared.prepare import images_are_separate
from voxelwhy.explain.input_x_gradient import input_x_gradient
from voxelwhy.explain.integrated_gradients import integrated_gradients
from voxelwhy.explain.smoothgrad import smoothgrad
from voxelwhy.registry import METHODS, load

#: 3 x 3 pools and windows of 6 lie on these sizes without a remainder, so that a flip moves every cell onto another.
EXACT = {2: (18, 24), 3: (18, 12, 24)}
OPTIONS = {
    "occlusion": {"size": 6, "stride": 3},
    "integrated_gradients": {"n_steps": 8},
    "smoothgrad": {"n_samples": 4, "noise": 0.05},
}
#: Windows centred at 0, stride … and noise that is drawn in order lie otherwise in a flipped image.
NOT_EQUIVARIANT = {"occlusion", "smoothgrad"}

each_method = pytest.mark.parametrize("name", METHODS)
each_case = pytest.mark.parametrize("ndim", [2, 3])


def explain(name, net, image, **options):
    function = getattr(load(METHODS, name, "method"), name)
    if name == "area_occlusion":
        blocks = np.indices(image.shape[-net[0].weight.ndim + 2 :]) // 6
        options["area_masks"] = np.ravel_multi_index(blocks, [4] * len(blocks)) + 1
    return function(net, image, **OPTIONS.get(name, {}), **options)


def pooled(ndim, dtype=torch.float64, bias=True):
    """Padded convolutions and pools that leave no remainder, then a dense layer."""
    torch.manual_seed(6)
    cells = int(np.prod([length // 6 for length in EXACT[ndim]]))
    net = nn.Sequential(
        CONV[ndim](1, 4, 3, padding=1, bias=bias), nn.ReLU(), POOL[ndim](2),
        CONV[ndim](4, 6, 3, padding=1, bias=bias), nn.ReLU(), POOL[ndim](3),
        nn.Flatten(), nn.Linear(6 * cells, 3, bias=bias),
    )  # fmt: skip
    nn.init.normal_(net[7].weight, std=0.3)
    return net.to(dtype).eval()


def image_of(ndim, dtype=torch.float64):
    return torch.randn(1, *EXACT[ndim], generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def flipped_network(net, axis, ndim):
    """The network that sees in a mirror what `net` sees: kernels and the cells before the dense layer flipped."""
    turned = pooled(ndim)
    turned.load_state_dict(net.state_dict())
    cells = [length // 6 for length in EXACT[ndim]]
    with torch.no_grad():
        for layer in (turned[0], turned[3]):
            layer.weight.copy_(layer.weight.flip(axis + 2))
        dense = turned[7].weight.reshape(3, 6, *cells).flip(axis + 2)
        turned[7].weight.copy_(dense.reshape(3, -1))
    return turned


@each_method
@each_case
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_shape_type_and_the_same_again(name, ndim, dtype):
    net, image = pooled(ndim, dtype), image_of(ndim, dtype)
    torch.manual_seed(1)
    found = explain(name, net, image)
    torch.manual_seed(2)  # no method may draw from the caller's generator
    state = torch.get_rng_state()
    assert np.array_equal(found, explain(name, net, image))
    assert torch.equal(torch.get_rng_state(), state)
    assert found.shape == EXACT[ndim]
    assert found.dtype == (np.float64 if dtype == torch.float64 else np.float32)
    assert np.isfinite(found).all() and np.abs(found).max() > 0


@each_method
@each_case
def test_a_batch_is_its_images_one_by_one(name, ndim):
    net, image = pooled(ndim), image_of(ndim)
    both = explain(name, net, torch.stack([image, -image]))
    assert np.array_equal(both, np.stack([explain(name, net, image), explain(name, net, -image)]))


@each_method
@each_case
def test_the_model_is_left_as_it_was(name, ndim):
    net, image = pooled(ndim), image_of(ndim)
    net[0].weight.requires_grad_(False)
    net[3].weight.grad = torch.full_like(net[3].weight, 7.0)
    calls = []
    handle = net[3].register_forward_hook(lambda *_: calls.append(1))
    state = {key: value.clone() for key, value in net.state_dict().items()}
    before = image.clone()
    explain(name, net, image)
    assert calls or name in ("occlusion", "area_occlusion", "lrp")  # these run the graph, not the modules
    handle.remove()
    assert torch.equal(image, before) and not image.requires_grad and image.grad is None
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert not any(module.training for module in net.modules())
    assert [name for name, p in net.named_parameters() if not p.requires_grad] == ["0.weight"]
    assert [name for name, p in net.named_parameters() if p.grad is not None] == ["3.weight"]
    assert bool((net[3].weight.grad == 7).all())
    for module in net.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks and not module._backward_hooks


@pytest.mark.parametrize("name", [name for name in METHODS if name not in NOT_EQUIVARIANT])
@each_case
def test_a_flipped_image_has_the_flipped_map(name, ndim):
    net, image = pooled(ndim), image_of(ndim)
    for axis in range(ndim):
        turned = flipped_network(net, axis, ndim)
        found = explain(name, turned, image.flip(axis + 1))
        assert_same(np.flip(found, axis), explain(name, net, image), least=1e-9)


@each_case
def test_occlusion_of_a_flipped_image_is_that_of_the_flipped_windows(ndim):
    """Windows of 6 centred at 0, 6, 12 … leave the last three voxels out: with those two margins blank, all flips."""
    net, image = pooled(ndim), image_of(ndim)
    options = {"target_class": 0, "size": 6, "stride": 3, "resize": False, "positive_only": False}
    found = voxelwhy.occlusion(net, image, **options)
    for axis in range(ndim):
        turned = voxelwhy.occlusion(flipped_network(net, axis, ndim), image.flip(axis + 1), **options)
        # The window at c is [c - 3, c + 3): its mirror image is that at length - c, and 0 has none.
        inner = [slice(1, None) if k == axis else slice(None) for k in range(ndim)]
        assert_same(np.flip(turned[tuple(inner)], axis), found[tuple(inner)], least=1e-6)


def blob_network(ndim):
    """Class 1 is a bright blob, wherever it is: a smoothing convolution, ReLU above a threshold, a sum."""
    net = pooled(ndim)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net[0].weight[0] = 1.0
        net[0].bias[0] = -3.0
        net[3].weight[0, 0] = 0.2
        net[7].weight[1] = 0.02
    return net


@each_method
@each_case
def test_a_planted_blob_is_found(name, ndim):
    """The map's weight lies where the blob is, in whichever corner of the image it lies."""
    net = blob_network(ndim)
    generator = torch.Generator().manual_seed(4)
    for corner in (0, 1):
        image = 0.1 * torch.rand(1, *EXACT[ndim], generator=generator, dtype=torch.float64)
        middle = [length // 4 if corner == 0 else length - length // 4 for length in EXACT[ndim]]
        blob = tuple(slice(m - 2, m + 2) for m in middle)
        image[(0, *blob)] += 1.0
        found = np.maximum(explain(name, net, image, target_class=1, apply_softmax=False), 0)
        weights = found / found.sum()
        centre = [
            float((weights.sum(axis=tuple(k for k in range(ndim) if k != axis)) * np.arange(length)).sum())
            for axis, length in enumerate(EXACT[ndim])
        ]
        assert np.abs(np.subtract(centre, middle)).max() < 3.0  # half a cell of the last layer
        near = tuple(slice(max(0, m - 7), m + 7) for m in middle)
        assert weights[near].sum() > 0.8


@each_method
def test_every_method_takes_the_arguments_of_all(name):
    found = inspect.signature(getattr(load(METHODS, name, "method"), name)).parameters
    assert list(found)[:2] == ["model", "image"]
    assert {"target_class", "apply_softmax", "cuda", "verbose", "device"} <= set(found)
    assert found["device"].kind is inspect.Parameter.KEYWORD_ONLY
    assert name in voxelwhy.__all__


# ------------------------------------------------------------------ input x gradient


@each_case
@pytest.mark.parametrize("apply_softmax", [True, False])
def test_input_x_gradient_is_captums(ndim, apply_softmax):
    net, image = network(ndim), picture(ndim)
    chain = nn.Sequential(net, nn.Softmax(dim=1)).eval() if apply_softmax else net
    wanted = InputXGradient(chain).attribute(image[None].clone().requires_grad_(), target=1)[0, 0].detach().numpy()
    found = input_x_gradient(net, image, target_class=1, apply_softmax=apply_softmax)
    assert_same(found, wanted)
    assert found.min() < 0
    kept = input_x_gradient(net, image, target_class=1, apply_softmax=apply_softmax, positive_only=True)
    assert np.array_equal(kept, np.maximum(found, 0))


# ------------------------------------------------------------------ integrated gradients


@each_case
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("apply_softmax", [True, False])
def test_integrated_gradients_are_complete(ndim, dtype, apply_softmax):
    """They add up to the difference of the scores: 1 % at 64 steps."""
    net, image = network(ndim, dtype), picture(ndim, dtype)
    chain = nn.Sequential(net, nn.Softmax(dim=1)).eval() if apply_softmax else net
    for baseline in (0.0, 0.1 * torch.randn(image.shape, generator=torch.Generator().manual_seed(9))):
        found = integrated_gradients(net, image, target_class=1, apply_softmax=apply_softmax, baseline=baseline)
        start = torch.as_tensor(baseline, dtype=dtype).expand_as(image)
        with torch.no_grad():
            scores = chain(torch.stack([image, start]))[:, 1]
        difference = float(scores[0] - scores[1])
        assert abs(difference) > 0.05
        assert abs(found.sum(dtype=float) - difference) <= 0.01 * abs(difference)


def test_integrated_gradients_are_the_plain_sum():
    net, image = network(2), picture(2)
    places, weights = np.polynomial.legendre.leggauss(7)
    wanted = 0
    for place, weight in zip((1 + places) / 2, weights / 2, strict=True):
        leaf = (0.5 + place * (image - 0.5))[None].requires_grad_()
        (gradient,) = torch.autograd.grad(net(leaf).softmax(1)[0, 2], leaf)
        wanted = wanted + weight * gradient[0, 0].numpy() * (image[0].numpy() - 0.5)
    found = integrated_gradients(net, image, target_class=2, n_steps=7, baseline=0.5)
    assert np.abs(found - wanted).max() <= 1e-6 * np.abs(wanted).max()  # Captum's weights are float32
    several = integrated_gradients(net, image, target_class=2, n_steps=7, baseline=0.5, batch_size=3)
    assert_same(several, found)
    chain = nn.Sequential(net, nn.Softmax(dim=1)).eval()
    captums = IntegratedGradients(chain).attribute(image[None], baselines=0.5, target=2, n_steps=7)[0, 0]
    assert_same(found, captums.detach().numpy())


def test_steps_run_together_as_far_as_their_layers_fit(monkeypatch):
    net, image, sizes = network(2), picture(2), []
    options = {"target_class": 2, "n_steps": 7}

    def found(**more):
        sizes.clear()
        handle = net.register_forward_pre_hook(lambda layer, inputs: sizes.append(len(inputs[0])))
        try:
            return integrated_gradients(net, image, **options, **more)
        finally:
            handle.remove()

    images_are_separate(net, image[None])  # tried once for a network
    together = found()
    assert sizes == [1, 4, 3]
    alone = found(batch_size=1)
    assert sizes == [1] * 8
    assert_same(together, alone)
    # Convolution, normalisation, ReLU and pool each keep about one layer of 5 x 17 x 14 values of 8 bytes.
    for layers, least, most in ((2, 1, 1), (12, 2, 4)):
        monkeypatch.setitem(integrated.TOGETHER, "cpu", (layers * 5 * 17 * 14 * 8, 100))
        found()
        assert least <= max(sizes) <= most

    class Mixing(nn.Module):
        def forward(self, values):
            return net((values - values.mean()) / values.std())

    mixing = Mixing().eval()
    assert_same(
        integrated_gradients(mixing, image, **options), integrated_gradients(mixing, image, batch_size=1, **options)
    )


def test_integrated_gradients_of_another_baseline_of_the_wrong_shape_is_refused():
    net, image = network(2), picture(2)
    with pytest.raises(ShapeError, match=r"baseline has shape \(3, 3\), the image \(1, 19, 16\)"):
        integrated_gradients(net, image, baseline=np.zeros((3, 3)))
    with pytest.raises(ShapeError, match="neither a number nor an image"):
        integrated_gradients(net, image, baseline="black")
    for options in ({"n_steps": 1}, {"n_steps": 2.5}, {"batch_size": 0}):
        with pytest.raises(ConfigError, match="whole number"):
            integrated_gradients(net, image, **options)


# ------------------------------------------------------------------ SmoothGrad


@each_case
def test_smoothgrad_is_the_mean_of_noisy_gradients(ndim):
    net, image = network(ndim), picture(ndim)
    found = smoothgrad(net, image, target_class=1, n_samples=5, noise=0.1, seed=3, postprocess=None)
    torch.manual_seed(3)
    spread = 0.1 * float(image.max() - image.min())
    gradients = []
    for _ in range(5):
        noise = torch.normal(0.0, torch.full(image[None].shape, spread))  # Captum draws in float32
        leaf = (image[None] + noise).requires_grad_()
        gradients.append(torch.autograd.grad(net(leaf).softmax(1)[0, 1], leaf)[0][0, 0].numpy())
    assert_same(found, np.mean(gradients, axis=0))
    options = {"target_class": 1, "n_samples": 5, "noise": 0.1, "seed": 3}
    assert np.array_equal(smoothgrad(net, image, **options), np.abs(found))
    assert np.array_equal(smoothgrad(net, image, postprocess="square", **options), found**2)
    assert not np.array_equal(smoothgrad(net, image, **options | {"seed": 4}), np.abs(found))


def test_smoothgrad_of_one_seed_is_the_same_in_any_order_of_memory():
    net, image = network(3), picture(3).numpy()
    found = smoothgrad(net, image, n_samples=3, target_class=1)
    assert np.array_equal(smoothgrad(net, np.asfortranarray(image), n_samples=3, target_class=1), found)


def test_smoothgrad_without_noise_is_the_gradient():
    net, image = network(2), picture(2)
    assert_same(smoothgrad(net, image, noise=0, n_samples=3), voxelwhy.sensitivity_analysis(net, image))
    for options in ({"noise": -1}, {"noise": np.nan}, {"n_samples": 0}, {"seed": 1.5}, {"postprocess": "relu"}):
        with pytest.raises(ConfigError):
            smoothgrad(net, image, **options)
