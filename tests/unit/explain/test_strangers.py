"""Networks and images as people bring them: each gives the map of its plain counterpart, or a refusal in words."""

from __future__ import annotations

import logging
import textwrap

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from voxelwhy import (
    area_occlusion,
    grad_cam,
    guided_backprop,
    input_x_gradient,
    integrated_gradients,
    occlusion,
    registry,
    sensitivity_analysis,
    smoothgrad,
)
from voxelwhy.errors import ModelError, ShapeError

SHAPE = (12, 10, 8)
WINDOWS = {"size": 4, "stride": 4, "positive_only": False, "target_class": 1}
GRADIENTS = (sensitivity_analysis, guided_backprop, input_x_gradient, smoothgrad, integrated_gradients, grad_cam)


class Net(nn.Module):
    """A small network; `change` is applied to its input."""

    def __init__(self, change=lambda x, _: x, n_logits=2):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.second, self.dense = nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 4, 3), nn.Linear(4, n_logits)
        self.change = change

    def forward(self, x):
        x = self.conv(self.change(x, self)).relu()
        return self.dense(self.second(x).relu().mean((2, 3, 4)))


@pytest.fixture
def image():
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


def alone(net, image):
    """The map by windows, one image at a time, written out."""
    with torch.no_grad():
        whole = net(image[None, None]).softmax(1)[0, 1]
        values = np.zeros([-(-n // 4) for n in image.shape])
        for place in np.ndindex(*values.shape):
            blanked = image.clone()
            blanked[tuple(slice(max(0, 4 * k - 2), 4 * k + 2) for k in place)] = 0
            values[place] = float(whole - net(blanked[None, None]).softmax(1)[0, 1])
    return values


MIXING = {
    "z-score of the whole tensor": lambda x, _: (x - x.mean()) / x.std(),
    "division by the maximum": lambda x, _: x / x.abs().max(),
    "batch norm in training mode": lambda x, _: F.batch_norm(x, None, None, training=True),
    "mean over the batch": lambda x, _: x - x.mean(0, keepdim=True) + x.mean(),
}


@pytest.mark.parametrize("change", MIXING.values(), ids=MIXING)
@pytest.mark.parametrize("engine", ["plain", "auto"])
def test_windows_of_one_batch_do_not_change_each_other(image, change, engine, caplog):
    net = Net(change).eval()
    if change is MIXING["mean over the batch"]:  # alone an image is its mean: it has a map, the same everywhere
        assert np.abs(alone(net, image)).max() < 0.1
    with caplog.at_level(logging.WARNING):
        found = occlusion(net, image, resize=False, engine=engine, **WINDOWS)
    np.testing.assert_allclose(found, alone(net, image), atol=1e-6)
    assert "mixes the images of a batch" in caplog.text
    with pytest.raises(ModelError, match=r"depend on the other images|over all images"):
        occlusion(net, image, resize=False, engine="incremental", **WINDOWS)
    steps = [integrated_gradients(net, image, target_class=1, n_steps=8, batch_size=size) for size in (1, 4)]
    np.testing.assert_allclose(*steps, atol=1e-7)


def test_images_that_are_separate_run_in_batches_and_nothing_is_said(image, caplog):
    net, sizes = Net().eval(), []
    net.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    found = occlusion(net, image, resize=False, engine="plain", **WINDOWS)
    np.testing.assert_allclose(found, alone(net, image), atol=1e-6)
    assert sizes.count(2) > found.size // 2 and not caplog.text


CASTS = {
    "float": lambda x, _: x.float(),
    "to": lambda x, net: x.to(net.dense.weight.device),
    "type": lambda x, _: x.type(torch.float32),
    "as_tensor": lambda x, net: torch.as_tensor(x, dtype=net.dense.weight.dtype),
    "there and back": lambda x, _: x.double().float(),
}


@pytest.mark.parametrize("change", CASTS.values(), ids=CASTS)
def test_casts_change_nothing(image, change):
    want = occlusion(Net().eval(), image, engine="plain", **WINDOWS)
    for engine in ("plain", "incremental"):
        np.testing.assert_allclose(occlusion(Net(change).eval(), image, engine=engine, **WINDOWS), want, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [lambda x, _: x - x[x > 0].mean(), lambda x, _: x * (2 if x.sum() > 0 else 1), lambda x, _: x + len(x.unique())],
)
def test_what_depends_on_values_is_run_whole(image, change, monkeypatch):
    from voxelwhy.explain._shared import blanking

    monkeypatch.setattr(blanking, "WORTH_IT", 0)
    net = Net(change).eval()
    np.testing.assert_allclose(occlusion(net, image, resize=False, **WINDOWS), alone(net, image), atol=1e-6)


@pytest.mark.parametrize("method", [*GRADIENTS, occlusion])
def test_dropout_that_stays_on_is_refused(image, method):
    net = Net(lambda x, _: F.dropout(x, 0.5))
    net.dropout = nn.Dropout(0.5)
    with pytest.raises(ModelError, match=r"different logits for the same image.*stays on.*dropout"):
        method(net.eval(), image, target_class=1)


@pytest.mark.parametrize("method", [*GRADIENTS, occlusion])
def test_a_logit_without_axes_is_a_logit(image, method):
    class Squeezed(Net):
        def forward(self, x):
            return super().forward(x).squeeze()

    plain, squeezed = Net(n_logits=1).eval(), Squeezed(n_logits=1).eval()
    more = {"size": 4, "stride": 4, "engine": "plain"} if method is occlusion else {}
    np.testing.assert_allclose(
        method(squeezed, image, target_class=1, **more), method(plain, image, target_class=1, **more), atol=1e-7
    )


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda net: torch.compile(net, backend="eager")])
def test_wrappers_keep_the_fast_engine(image, wrap):
    net = Net().eval()
    want = occlusion(net, image, engine="incremental", **WINDOWS)
    assert np.array_equal(occlusion(wrap(net).eval(), image, engine="incremental", **WINDOWS), want)


def test_a_network_of_any_number_of_inputs_is_followed(image):
    class Several(Net):
        def forward(self, *inputs):
            return super().forward(inputs[0])

    found = occlusion(Several().eval(), image, engine="incremental", **WINDOWS)
    np.testing.assert_allclose(found, occlusion(Net().eval(), image, engine="plain", **WINDOWS), atol=1e-6)


class Named(torch.Tensor):
    """A subclass, as MONAI's MetaTensor."""


@pytest.mark.parametrize("method", [*GRADIENTS, occlusion])
def test_a_tensor_of_a_subclass_is_a_tensor(image, method):
    net = Net().eval()
    more = {"size": 4, "stride": 4} if method is occlusion else {}
    found = method(net, image.as_subclass(Named), target_class=1, **more)
    assert np.array_equal(found, method(net, image, target_class=1, **more))


def test_a_series_over_time_is_refused_and_a_list_of_volumes_is_a_batch(image):
    net, affine = Net().eval(), np.eye(4)
    volumes = [nib.Nifti1Image((image * k).numpy(), affine) for k in (1, 2, 3)]
    series = nib.Nifti1Image(np.stack([np.asarray(one.dataobj) for one in volumes], axis=-1), affine)
    with pytest.raises(ShapeError, match=r"\(12, 10, 8, 3\), whose last axis is time.*slicer"):
        sensitivity_analysis(net, series)
    assert sensitivity_analysis(net, volumes).shape == (3, *SHAPE)
    single = nib.Nifti1Image(np.asarray(series.dataobj)[..., :1], affine)
    assert np.array_equal(sensitivity_analysis(net, single), sensitivity_analysis(net, volumes[0]))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda a: [a.numpy(), a.numpy()[:-1]], r"different shapes: \(11, 10, 8\), \(12, 10, 8\)"),
        (lambda a: [a, a[:-1]], "different shapes"),
        (lambda a: [nib.Nifti1Image(v.numpy(), np.eye(4)) for v in (a, a[:-1])], "different shapes"),
        (lambda a: np.zeros((0, 1, *SHAPE), np.float32), r"no image: the shape is \(0, 1, 12, 10, 8\)"),
        (lambda a: {"image": a, "label": 1}, r'keys image, label.*sample\["image"\]'),
        (lambda a: [], "no image|not an array"),
    ],
)
def test_what_is_no_image_is_refused_in_words(image, make, match):
    with pytest.raises(ShapeError, match=match):
        sensitivity_analysis(Net().eval(), make(image))


def test_an_atlas_may_be_a_nibabel_image_of_the_same_space(image):
    net, scan = Net().eval(), nib.Nifti1Image(image.numpy(), np.eye(4))
    labels = np.arange(image.numel()).reshape(SHAPE) // 100
    want = area_occlusion(net, scan, labels, positive_only=False)
    atlas = nib.Nifti1Image(labels.astype(np.int16), np.eye(4))
    assert np.array_equal(area_occlusion(net, scan, atlas, positive_only=False), want)
    assert np.array_equal(area_occlusion(net, image, atlas, positive_only=False), want)
    masks = [nib.Nifti1Image((labels == k).astype(np.uint8), np.eye(4)) for k in range(1, labels.max() + 1)]
    np.testing.assert_allclose(area_occlusion(net, scan, masks, positive_only=False), want, atol=1e-7)
    with pytest.raises(ShapeError, match=r"the atlas has the affine .*nothing is resampled"):
        area_occlusion(net, scan, nib.Nifti1Image(labels.astype(np.int16), np.diag([2, 1, 1, 1])))


def test_a_baseline_may_be_what_an_image_may_be(image):
    net, mirror = Net().eval(), image.numpy()[::-1]
    forms = [
        mirror.copy(),
        mirror,
        mirror.astype(">f4"),
        nib.Nifti1Image(mirror.copy(), np.eye(4)),
        torch.tensor(mirror.copy()),
    ]
    maps = [integrated_gradients(net, image, 1, baseline=form, n_steps=4) for form in forms]
    for other in maps[1:]:
        assert np.array_equal(other, maps[0])


class OfImageAndAge(nn.Module):
    """A network that also reads a number for each image."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv3d(1, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten())
        self.classes = nn.Linear(4, 2)

    def forward(self, image, age):
        return self.classes(torch.cat([self.features(image), age], dim=1))


@pytest.mark.parametrize("method", sorted(registry.METHODS))
def test_a_second_input_is_refused_with_a_network_that_fixes_it(method):
    """The lines of the message, filled in, are a network that can be explained."""
    torch.manual_seed(0)
    model, scan = OfImageAndAge().eval(), torch.randn(8, 8, 8)
    explain = registry.load(registry.METHODS, method, "method").__dict__[method]
    options = {"area_masks": np.repeat(np.arange(1, 3), 256).reshape(8, 8, 8)} if method == "area_occlusion" else {}
    options |= {"size": 4, "stride": 4} if method == "occlusion" else {}
    options |= {"positive_only": False} if "occlusion" in method else {}
    with pytest.raises(ModelError, match=r"needs more than an image.*'age'") as refused:
        explain(model, scan, **options)
    lines = str(refused.value).partition("\n\n")[2].replace("age=...", "age=torch.full((len(image), 1), 0.7)")
    names = {"torch": torch}
    exec(textwrap.dedent(lines), names)
    found = explain(names["OfTheImage"](model).eval(), scan, **options)
    assert found.shape == (8, 8, 8) and found.any()
