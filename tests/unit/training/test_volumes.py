"""Reading, cropping and normalising registered scans, against plain numpy on whole arrays."""

import nibabel as nib
import numpy as np
import pytest

from voxelwhy.errors import ConfigError, ShapeError
from voxelwhy.io.images import Grid
from voxelwhy.training.volumes import LEAST_SPREAD, Normaliser, Volumes, brain_box


def whole_arrays(paths, brain):
    return np.stack([np.where(brain, nib.load(p).get_fdata(), 0) for p in paths])


@pytest.mark.parametrize("crop", ["none", "brain"])
def test_volumes_are_the_masked_scans(small_cohort, crop):
    mask, paths, _ = small_cohort
    brain = np.asarray(mask.dataobj) > 0
    volumes = Volumes(paths.values(), brain, crop=crop)
    expected = whole_arrays(paths.values(), brain)
    box = np.s_[1:19, 2:19, 1:18] if crop == "brain" else np.s_[:, :, :]
    assert volumes.shape == expected[0][box].shape
    for index in (0, 7, 15):
        np.testing.assert_allclose(volumes[index], expected[index][None][:, *box], rtol=1e-6)
        np.testing.assert_allclose(volumes.uncrop(volumes[index][0]), expected[index], rtol=1e-6)


def test_scan_on_another_grid_is_refused(small_cohort):
    mask, paths, _ = small_cohort
    moved = Grid(mask.shape, mask.affine + np.eye(4) * 0.5)
    with pytest.raises(ShapeError, match=r"not on the study's grid: shape \(20, 20, 20\)"):
        Volumes(paths.values(), np.asarray(mask.dataobj) > 0, grid=moved)[0]


def test_brain_box_is_the_smallest(rng):
    mask = np.zeros((9, 8, 7), bool)
    mask[2, 3, 1] = mask[6, 4, 5] = True
    assert brain_box(mask) == np.s_[2:7, 3:5, 1:6]


def test_voxelwise_is_the_z_score_over_training_scans(small_cohort):
    mask, paths, _ = small_cohort
    brain = np.asarray(mask.dataobj) > 0
    volumes, training = Volumes(paths.values(), brain), [0, 1, 2, 5, 8, 13]
    normaliser = Normaliser.fit("voxelwise", volumes, training)
    known = whole_arrays(paths.values(), brain)[training]
    expected = np.where(brain, (known[2] - known.mean(0)) / np.where(brain, known.std(0), 1), 0)
    np.testing.assert_allclose(normaliser(volumes[2], brain)[0], expected, atol=2e-4)
    assert np.abs(expected).max() > 1


def test_voxelwise_sd_divides_by_the_spread_and_takes_no_mean_off(small_cohort):
    mask, paths, _ = small_cohort
    brain = np.asarray(mask.dataobj) > 0
    volumes, training = Volumes(paths.values(), brain), [0, 1, 2, 5, 8, 13]
    normaliser = Normaliser.fit("voxelwise_sd", volumes, training)
    whole = whole_arrays(paths.values(), brain)
    expected = np.where(brain, whole[3] / np.where(brain, whole[training].std(0), 1), 0)
    found = normaliser(volumes[3], brain)[0]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert expected[brain].min() > 1
    assert normaliser.mean is None


def test_a_voxel_without_spread_becomes_zero(tmp_path, rng):
    paths = []
    for number in range(5):
        data = rng.normal(100, 10, (6, 6, 6)).astype(np.float32)
        data[3, 3, 3] = 50 + 1e-3 * number
        paths.append(tmp_path / f"{number}.nii")
        nib.save(nib.Nifti1Image(data, np.eye(4)), paths[-1])
    volumes = Volumes(paths, np.ones((6, 6, 6), bool))
    for kind in ("voxelwise", "voxelwise_sd"):
        normalised = Normaliser.fit(kind, volumes, range(5))(volumes[4], volumes.mask)[0]
        assert normalised[3, 3, 3] == 0
        assert np.count_nonzero(normalised) == 6**3 - 1
    assert 1e-3 * np.sqrt(2) < LEAST_SPREAD * 10  # the planted spread lies below the limit, the others above


def test_test_scans_do_not_touch_the_normalisation(small_cohort):
    mask, paths, _ = small_cohort
    brain = np.asarray(mask.dataobj) > 0
    before = Normaliser.fit("voxelwise", Volumes(paths.values(), brain), [0, 1, 2])
    changed = nib.load(paths["scan09"])
    nib.save(nib.Nifti1Image(changed.get_fdata() * 7, changed.affine), paths["scan09"])
    after = Normaliser.fit("voxelwise", Volumes(paths.values(), brain), [0, 1, 2])
    np.testing.assert_array_equal(before.mean, after.mean)
    np.testing.assert_array_equal(before.scale, after.scale)


def test_scan_normalisation_is_per_scan(small_cohort):
    mask, paths, _ = small_cohort
    brain = np.asarray(mask.dataobj) > 0
    volumes = Volumes(paths.values(), brain)
    scan = Normaliser.fit("scan", volumes, [0])(volumes[4], brain)[0]
    assert abs(scan[brain].mean()) < 1e-5
    assert abs(scan[brain].std() - 1) < 1e-5
    assert not scan[~brain].any()


@pytest.mark.parametrize("kind", ["voxelwise", "voxelwise_sd", "scan", "none"])
def test_channels_are_read_and_normalised_each_by_itself(small_cohort, tmp_path, kind):
    """Each channel of a scan is what a study of that channel alone would see."""
    mask, paths, _ = small_cohort
    brain = np.asarray(mask.dataobj) > 0
    beside = []
    for number, path in enumerate(paths.values()):
        image, folder = nib.load(path), tmp_path / f"scan_{number}"
        folder.mkdir()
        nib.save(image, folder / "t1.nii")
        nib.save(nib.Nifti1Image(-0.01 * image.get_fdata()[::-1] ** 2, image.affine), folder / "log_jacobian.nii")
        beside.append(folder / "t1.nii")
    both = Volumes(beside, brain, crop="brain", channels=["t1", "log_jacobian"])
    single = [Volumes(beside, brain, crop="brain", channels=[channel]) for channel in both.channels]
    assert both[3].shape == (2, *both.shape)
    assert not np.array_equal(both[3][0], both[3][1])
    training = [0, 1, 4, 9, 12]
    found = Normaliser.fit(kind, both, training)(both[3], both.mask)
    assert found.dtype == np.float32
    for number, volumes in enumerate(single):
        alone = Normaliser.fit(kind, volumes, training)(volumes[3], volumes.mask)
        np.testing.assert_array_equal(found[number], alone[0])


def test_unknown_normalisation_is_named(small_cohort):
    mask, paths, _ = small_cohort
    with pytest.raises(ConfigError, match="'zscore'"):
        Normaliser.fit("zscore", Volumes(paths.values(), np.asarray(mask.dataobj) > 0), [0])
