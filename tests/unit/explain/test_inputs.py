"""Images as people have them: one or a batch, with or without channels, first or last, numpy, torch or nibabel."""

import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

import voxelwhy
from helpers.heatmap_cases import SHAPES, assert_same, linear, network, picture
from voxelwhy.errors import ConfigError, InputError, ModelError, ShapeError
from voxelwhy.explain._shared.inputs import read_images
from voxelwhy.explain.occlusion import occlusion
from voxelwhy.explain.sensitivity_analysis import sensitivity_analysis


def convolution(ndim, channels):
    return {2: nn.Conv2d, 3: nn.Conv3d}[ndim](channels, 2, 3).eval()


@pytest.mark.parametrize(
    ("ndim", "channels", "shape", "read_as", "is_batch"),
    [
        (3, 1, (7, 8, 9), (1, 1, 7, 8, 9), False),
        (3, 1, (1, 7, 8, 9), (1, 1, 7, 8, 9), False),
        (3, 1, (4, 7, 8, 9), (4, 1, 7, 8, 9), True),
        (3, 1, (4, 1, 7, 8, 9), (4, 1, 7, 8, 9), True),
        (3, 1, (4, 7, 8, 9, 1), (4, 1, 7, 8, 9), True),
        (3, 2, (2, 7, 8, 9), (1, 2, 7, 8, 9), False),
        (3, 2, (7, 8, 9, 2), (1, 2, 7, 8, 9), False),
        (3, 2, (4, 2, 7, 8, 9), (4, 2, 7, 8, 9), True),
        (2, 3, (3, 7, 8), (1, 3, 7, 8), False),
        (2, 3, (7, 8, 3), (1, 3, 7, 8), False),
        (2, 3, (4, 7, 8, 3), (4, 3, 7, 8), True),
        (2, 1, (7, 8), (1, 1, 7, 8), False),
        (2, 1, (4, 7, 8), (4, 1, 7, 8), True),
    ],
)
def test_a_shape_is_read_by_the_first_convolution(ndim, channels, shape, read_as, is_batch):
    values = np.arange(np.prod(shape), dtype=float).reshape(shape)
    images, batch = read_images(values, convolution(ndim, channels))
    assert (tuple(images.shape), batch) == (read_as, is_batch)
    moved = values if shape[-1] != channels or shape[0] == channels else np.moveaxis(values, -1, 1 if batch else 0)
    assert np.array_equal(images.numpy().ravel(), moved.ravel())
    assert torch.equal(read_images(torch.from_numpy(values), convolution(ndim, channels))[0], images)


@pytest.mark.parametrize(
    ("ndim", "channels", "shape", "readings"),
    [
        (2, 3, (3, 8, 3), "channels first or one image, channels last"),
        (2, 3, (4, 3, 8, 3), "a batch, channels first or a batch, channels last"),
        (3, 1, (5, 8, 9, 1), "one image, channels last or a batch of 5 images without channels"),
    ],
)
def test_a_shape_with_two_readings_is_refused_naming_both(ndim, channels, shape, readings):
    with pytest.raises(ShapeError, match=rf"is ambiguous .*{readings}"):
        read_images(np.ones(shape), convolution(ndim, channels))


def test_a_shape_without_a_reading_says_what_is_wanted():
    with pytest.raises(
        ShapeError, match=r"takes 2 channel\(s\) and 3 spatial axes: \(2, x, y, z\) or \(n, 2, x, y, z\)"
    ):
        read_images(np.ones((3, 8, 9, 10)), convolution(3, 2))


def test_the_convolution_that_runs_first_need_not_be_the_first_of_the_model():
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.second, self.first, self.dense = nn.Conv2d(4, 2, 3), nn.Conv2d(1, 4, 3), nn.Linear(2, 2)

        def forward(self, image):
            return self.dense(self.second(self.first(image)).mean(dim=(2, 3)))

    assert sensitivity_analysis(Turned().eval(), np.random.default_rng(1).normal(size=(12, 9))).shape == (12, 9)


def test_nibabel_images_have_their_channels_last():
    values = np.random.default_rng(3).normal(size=(7, 8, 9, 2)).astype(np.float32)
    image = nib.Nifti1Image(values, np.eye(4))
    read, batch = read_images(image, convolution(3, 2))
    assert not batch and np.array_equal(read[0].numpy(), np.moveaxis(values, -1, 0))
    vector = nib.Nifti1Image(values[:, :, :, None], np.eye(4))
    assert torch.equal(read_images(vector, convolution(3, 2))[0], read)
    one = nib.Nifti1Image(values[..., :1], np.eye(4))  # the trailing axis of one that writers leave
    assert read_images(one, convolution(3, 1))[0].shape == (1, 1, 7, 8, 9)
    flat = nib.Nifti1Image(values[:, :, :1, 0], np.eye(4))
    assert read_images(flat, convolution(2, 1))[0].shape == (1, 1, 7, 8)
    both, batch = read_images([image, image], convolution(3, 2))
    assert batch and both.shape == (2, 2, 7, 8, 9)
    whole = nib.Nifti1Image(picture(3)[0].numpy(), np.eye(4))
    net = network(3, torch.float32)
    assert_same(sensitivity_analysis(net, whole), sensitivity_analysis(net, picture(3, torch.float32)), torch.float32)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, ">f4", ">i2", np.float16, bool])
def test_every_type_of_number_is_read(dtype):
    values = (picture(2)[0].numpy() > 0).astype(dtype)
    net = network(2, torch.float32)
    assert np.array_equal(sensitivity_analysis(net, values), sensitivity_analysis(net, values.astype(np.float64)))


def test_each_image_of_a_batch_is_explained_by_itself():
    net, images = network(2), torch.stack([picture(2), -picture(2), picture(2) * 0.3])
    found = sensitivity_analysis(net, images)
    assert found.shape == (3, *SHAPES[2])
    for one, image in zip(found, images, strict=True):
        assert np.array_equal(one, sensitivity_analysis(net, image))
    each = sensitivity_analysis(net, images, target_class=[2, None, 1])
    assert np.array_equal(each[0], sensitivity_analysis(net, images[0], target_class=2))
    assert np.array_equal(each[1], found[1])
    assert sensitivity_analysis(net, images[:1]).shape == (1, *SHAPES[2])
    assert np.array_equal(sensitivity_analysis(net, list(images)), found)
    with pytest.raises(ModelError, match="2 classes for 3 images"):
        sensitivity_analysis(net, images, target_class=[0, 1])


def test_without_convolution_the_channels_come_first():
    net, _ = linear(3)
    assert sensitivity_analysis(net, picture(3)).shape == SHAPES[3]
    with pytest.raises(ShapeError, match="no convolution that would tell the axes apart"):
        sensitivity_analysis(net, picture(3)[None])


def test_three_d_is_checked_against_the_model():
    net, image = network(2), picture(2)
    options = {"size": 6, "stride": 5}
    assert np.array_equal(occlusion(net, image, three_d=False, **options), occlusion(net, image, **options))
    with pytest.raises(ShapeError, match="three_d is True, but the model's first convolution has 2 spatial axes"):
        occlusion(net, image, three_d=True, **options)


def test_arguments_stand_in_the_order_of_the_original_package():
    net, image = network(2), picture(2)
    found = sensitivity_analysis(net, image, 1, "square", False, False, False)
    named = sensitivity_analysis(net, image, target_class=1, postprocess="square", apply_softmax=False)
    assert np.array_equal(found, named)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_a_gpu_is_the_same_on_the_cpu_with_a_warning():
    net, image = network(2), picture(2)
    with pytest.warns(UserWarning, match="no CUDA device"):
        found = sensitivity_analysis(net, image, cuda=True)
    assert np.array_equal(found, sensitivity_analysis(net, image, cuda=False))
    with pytest.raises(InputError, match="no such device"):
        sensitivity_analysis(net, image, device="cuda")
    with pytest.raises(ConfigError, match="both"):
        sensitivity_analysis(net, image, device="cpu", cuda=True)


def test_verbose_says_what_was_predicted(capsys):
    net, image = network(2), picture(2)
    sensitivity_analysis(net, image, target_class=0)
    assert capsys.readouterr() == ("", "")
    sensitivity_analysis(net, image, target_class=0, verbose=True)
    with torch.no_grad():
        sure = float(net(image[None]).softmax(1)[0, 1])
    assert capsys.readouterr().out == f"predicted class 1, probability {sure:.4f}; class 0 is explained\n"
    sensitivity_analysis(net, image)
    assert capsys.readouterr().out == ""


def test_probabilities_in_the_place_of_logits_are_noticed():
    net, image = nn.Sequential(network(2), nn.Softmax(dim=1)).eval(), picture(2)
    with pytest.warns(UserWarning, match="probabilities already"):
        sensitivity_analysis(net, image)
    found = sensitivity_analysis(net, image, apply_softmax=False)
    assert_same(found, sensitivity_analysis(network(2), image), least=1e-4)


def test_every_name_of_the_package_can_be_imported_and_no_other():
    for name in voxelwhy.__all__:
        assert getattr(voxelwhy, name) is not None
    assert set(voxelwhy.__all__) <= set(dir(voxelwhy))
    with pytest.raises(AttributeError, match="no attribute 'sensitivity'"):
        voxelwhy.sensitivity  # noqa: B018


def test_the_import_is_light():
    code = (
        "import sys, torch, time; start = time.process_time(); from voxelwhy import *; from voxelwhy import occlusion; "
        "took = time.process_time() - start; "
        "heavy = {'snakemake', 'ants', 'nilearn', 'pandas', 'matplotlib', 'nibabel', 'sklearn', 'captum'}; "
        "print(sorted(heavy & set(sys.modules)), took)"
    )
    there = os.environ | {"PYTHONPATH": str(Path(voxelwhy.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=there)
    loaded, took = done.stdout.strip().rsplit(" ", 1)
    assert loaded == "[]"
    assert float(took) < 1.0
