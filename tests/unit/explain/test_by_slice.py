"""A 2D network on a 3D scan: the maps of the slices, stacked."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

from voxelwhy import area_occlusion, by_slice, grad_cam, occlusion, sensitivity_analysis
from voxelwhy.errors import ConfigError, ShapeError

WINDOWS = {"size": 4, "stride": 2, "positive_only": False}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(36, 2)]
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def scan():
    return torch.randn(9, 8, 7, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("method", "options"), [(sensitivity_analysis, {}), (occlusion, WINDOWS), (grad_cam, {})])
def test_each_slice_has_the_map_that_it_has_by_itself(model, scan, axis, method, options):
    found = by_slice(method, model, scan, axis=axis, target_class=1, **options)
    assert found.shape == scan.shape
    for number in range(scan.shape[axis]):
        own = method(model, scan.select(axis, number), target_class=1, **options)
        np.testing.assert_allclose(np.take(found, number, axis), own, rtol=1e-4, atol=1e-6)


def test_arrays_and_nibabel_images_are_cut_alike(model, scan):
    wanted = by_slice(sensitivity_analysis, model, scan, axis=1)
    for image in (scan.numpy(), nib.Nifti1Image(scan.numpy(), np.eye(4))):
        np.testing.assert_array_equal(by_slice(sensitivity_analysis, model, image, axis=1), wanted)


@pytest.mark.parametrize("kind", ["labels", "masks", "nibabel"])
def test_areas_are_cut_like_the_scan(model, scan, kind):
    labels = np.zeros(scan.shape, np.int16)
    labels[1:4, 2:6, 0:5], labels[5:8, 2:6, 2:5] = 1, 2  # none in the last two slices along z
    given = {"labels": labels, "masks": [labels == 1, labels == 2], "nibabel": nib.Nifti1Image(labels, np.eye(4))}[kind]
    found = by_slice(area_occlusion, model, scan, axis=2, area_masks=given, positive_only=False, target_class=0)
    assert (found[..., 5:] == 0).all() and (found[labels == 0] == 0).all()
    for number in range(5):
        whole, blanked = (
            model(one[None, None]).softmax(1)[0, 0] for one in _both(scan[..., number], labels[..., number] == 1)
        )
        assert found[2, 3, number] == pytest.approx(float((whole - blanked).detach()), abs=1e-6)


def _both(image, area):
    blanked = image.clone()
    blanked[torch.from_numpy(area)] = 0
    return image, blanked


def test_what_cannot_be_cut(model, scan):
    with pytest.raises(ConfigError, match="no such axis"):
        by_slice(occlusion, model, scan, axis=3)
    with pytest.raises(ShapeError, match=r"\(8, 7\); one scan of three axes"):
        by_slice(occlusion, model, scan[0], axis=0)
    with pytest.raises(ShapeError, match="the network is 3D"):
        by_slice(occlusion, nn.Sequential(nn.Conv3d(1, 1, 1)).eval(), scan, axis=0)
    with pytest.raises(ConfigError, match="resize=False"):
        by_slice(grad_cam, model, scan, axis=0, resize=False)
    with pytest.raises(ShapeError, match="do not have the shape of the scan"):
        by_slice(area_occlusion, model, scan, axis=0, area_masks=np.ones((8, 8, 7)))
