"""Which voxels a network sees: the brain, grey and white matter, or a file, against plain numpy."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from nilearn.datasets import load_mni152_gm_template, load_mni152_wm_template

from helpers.templates import template_on
from voxelwhy.errors import InputError, ShapeError
from voxelwhy.io.images import Grid
from voxelwhy.registration.template import make_template
from voxelwhy.training.network_mask import make_network_mask


@pytest.fixture(scope="module")
def brain():
    """The brain on the 3 mm grid of SPM and FSL."""
    return template_on(3, "mni")[1]


def test_the_brain_is_the_brain(brain):
    mask = make_network_mask("brain", brain)
    np.testing.assert_array_equal(mask.dataobj, brain.dataobj)
    assert Grid.of(mask).same(Grid.of(brain)) and mask.get_data_dtype() == np.uint8


def test_grey_and_white_matter_at_1_mm_is_what_the_maps_say():
    """Every voxel centre of the 1 mm grid is one of the template's: there is nothing to interpolate."""
    brain = make_template(1, "mni")[1]
    seen = np.asarray(make_network_mask("grey_white", brain).dataobj) > 0
    tissue = [load(resolution=1) for load in (load_mni152_gm_template, load_mni152_wm_template)]
    sums = np.sum([np.pad(image.get_fdata(), 20) for image in tissue], axis=0)
    first = np.rint(brain.affine[:3, 3] - tissue[0].affine[:3, 3]).astype(int) + 20
    expected = sums[tuple(slice(a, a + n) for a, n in zip(first, seen.shape, strict=True))]
    clear = np.abs(expected - 0.5) > 1e-3
    np.testing.assert_array_equal(seen[clear], expected[clear] > 0.5)
    assert clear.mean() > 0.999
    assert seen.sum() == pytest.approx(1_729_575, rel=2e-3)
    assert not seen[np.asarray(brain.dataobj) == 0].any()


def test_grey_and_white_matter_on_a_coarse_grid_keeps_its_volume_and_leaves_the_ventricles_out(brain):
    seen = np.asarray(make_network_mask("grey_white", brain).dataobj) > 0
    inside = np.asarray(brain.dataobj) > 0
    assert not seen[~inside].any()
    assert 0.85 < seen.sum() / inside.sum() < 0.97

    def at(*millimetres):
        return tuple(np.rint(nib.affines.apply_affine(np.linalg.inv(brain.affine), millimetres)).astype(int))

    assert not seen[at(-18, -36, 21)] and inside[at(-18, -36, 21)]  # the left lateral ventricle
    assert seen[at(-27, -21, -15)]  # the left hippocampus
    assert seen[at(-27, -27, 27)]  # white matter


@pytest.fixture
def own(brain, tmp_path):
    """Write a mask of one's own and give its path."""

    def write(values=(0, 1), affine=None, flip=False, shape=None):
        data = np.zeros(shape or brain.shape, np.int16) + values[0]
        data[10:30, 20:40, 15:35] = values[1]
        image = nib.Nifti1Image(data, brain.affine if affine is None else affine)
        nib.save(image.as_reoriented([[0, -1], [1, 1], [2, 1]]) if flip else image, tmp_path / "mine.nii.gz")
        return str(tmp_path / "mine.nii.gz")

    return write


@pytest.mark.parametrize("options", [{}, {"values": (0, 255)}, {"flip": True}])
def test_a_mask_of_ones_own_is_taken_as_it_is(brain, own, options):
    mask = make_network_mask(own(**options), brain)
    expected = np.zeros(brain.shape)
    expected[10:30, 20:40, 15:35] = 1
    np.testing.assert_array_equal(mask.dataobj, expected)
    assert Grid.of(mask).same(Grid.of(brain))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (
            {"shape": (61, 73, 60)},
            r"mine.nii.gz is not on the study's grid: shape \(61, 73, 60\).*shape \(61, 73, 61\)",
        ),
        ({"affine": np.diag([3.0, 3, 3, 1])}, r"origin \[0.0, 0.0, 0.0\].*expected.*origin \[-90.0, -126.0, -72.0\]"),
    ],
)
def test_a_mask_on_another_grid_is_refused_with_both(brain, own, options, match):
    with pytest.raises(ShapeError, match=match):
        make_network_mask(own(**options), brain)


@pytest.mark.parametrize(("values", "found"), [((1, 2), "2 different values from 1 to 2"), ((-1, 0), "from -1 to 0")])
def test_what_is_no_mask_is_refused(brain, own, values, found):
    with pytest.raises(InputError, match=rf"mask is not binary\n.*mine.nii.gz\n.*{found}"):
        make_network_mask(own(values=values), brain)


def test_a_missing_or_empty_mask_is_named(brain, own):
    with pytest.raises(InputError, match="zero everywhere"):
        make_network_mask(own(values=(0, 0)), brain)
    with pytest.raises(InputError, match=r"does not exist\n.*nowhere.nii"):
        make_network_mask("nowhere.nii", brain)
