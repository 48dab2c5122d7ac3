"""The planted loss and its shams, measured through the deformation of label images and by their Jacobians."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from voxelwhy.cohort.simulation.constants import REGIONS
from voxelwhy.cohort.simulation.deform import flow_jacobian, grid_points, sample
from voxelwhy.errors import ConfigError
from voxelwhy.evaluation.planted.flows import Flow, draw_sham, largest_change, plan_loss, rms_displacement
from voxelwhy.evaluation.planted.native import Registered, deform, deform_scan, source_points
from voxelwhy.io.images import Grid
from voxelwhy.registration.ants import ants, register, to_ants
from voxelwhy.registration.register import TRANSFORMS

#: A head that is turned, larger, and away from the origin: template mm to scan mm (RAS+).
TURNED = np.array([[1.05, -0.12, 0.05, 7.0], [0.11, 1.08, -0.2, -4.0], [-0.03, 0.21, 0.96, 11.0], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def loss():
    return plan_loss({"hippocampus": -0.25, "amygdala": -0.2})


@pytest.fixture(scope="module")
def shams(loss):
    return [draw_sham(loss, np.random.default_rng(number)) for number in range(3)]


def known(folder, matrix):
    """A registration whose affine is known, as ANTs writes it (in LPS)."""
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    own = flip @ matrix @ flip
    transform = ants.create_ants_transform(
        transform_type="AffineTransform", dimension=3, matrix=own[:3, :3], translation=own[:3, 3]
    )
    ants.write_transform(transform, str(folder / "affine.mat"))
    return Registered(folder)


def carried(loss, region, matrix, voxel_mm=0.9):
    """A region of the template as an image of the turned head, with voxels of another size and orientation."""
    shape = (130, 90, 80)
    affine = np.diag([-voxel_mm, voxel_mm, voxel_mm, 1.0])  # x runs to the left, as in many files
    affine[:3, 3] = (matrix @ [0, -20, -14, 1])[:3] - affine[:3, :3] @ (np.array(shape) / 2)
    index = np.indices(shape).reshape(3, -1)
    points = affine[:3, :3] @ index + affine[:3, 3:]
    back = np.linalg.inv(matrix)
    template = back[:3, :3] @ points + back[:3, 3:]
    values = sample(loss.regions[region], loss.brain.grid, template, mode="constant")
    return values.reshape(shape), affine


@pytest.mark.parametrize(("region", "change"), [("hippocampus_left", -0.25), ("amygdala_right", -0.2)])
def test_the_volume_of_a_region_in_a_turned_head_changes_as_intended(loss, tmp_path, region, change):
    """Its label image is deformed as the scan is, so the sum over the scan's own voxels is its volume."""
    label, affine = carried(loss, region, TURNED)
    deformed = deform(label, affine, loss.flow, known(tmp_path, TURNED))
    assert deformed.sum() / label.sum() == pytest.approx(1 + change, rel=0.02)


def test_a_sham_changes_no_volume_in_a_turned_head(loss, shams, tmp_path):
    label, affine = carried(loss, "hippocampus_left", TURNED)
    deformed = deform(label, affine, shams[0], known(tmp_path, TURNED))
    assert np.abs(deformed - label).max() > 0.2, "but it moves the region"
    assert deformed.sum() / label.sum() == pytest.approx(1, abs=0.005)


def test_shams_are_as_strong_as_the_loss_and_have_no_net_loss(loss, shams):
    inside = loss.brain.inside
    for sham in shams:
        assert rms_displacement(sham, loss.brain) == pytest.approx(loss.rms_mm, rel=1e-3)
        assert largest_change(sham, loss) < 0.005 < 0.19 < largest_change(loss.flow, loss)
        jacobian = flow_jacobian(sham.velocity, sham.grid, loss.brain.grid, inside)[inside]
        assert np.log(jacobian).std() < 0.02 * np.log(loss.jacobian[inside]).std()
    assert not np.allclose(shams[0].velocity, shams[1].velocity)


def test_shams_move_tissue_where_the_loss_does(loss, shams):
    """So that scans with the loss and with a sham are smoothed by interpolation in the same places."""
    inside = loss.brain.inside
    lengths = [np.sqrt((flow.velocity**2).sum(axis=0))[inside] for flow in (loss.flow, *shams)]
    near = lengths[0] > np.percentile(lengths[0], 95)
    for own in lengths[1:]:
        assert np.corrcoef(lengths[0], own)[0, 1] > 0.5
        assert 0.5 < np.sqrt((own[near] ** 2).mean() / (lengths[0][near] ** 2).mean()) < 1.5


def test_the_whole_disease_is_planted_unless_regions_are_named():
    loss = plan_loss()
    assert set(loss.wanted) == {f"{name}_{side}" for name in REGIONS for side in ("left", "right")}
    for name, wanted in loss.wanted.items():
        assert loss.achieved[name] == pytest.approx(wanted, abs=0.002)


@pytest.mark.parametrize("changes", [{"hippocampo": -0.1}, {"ventricles": 0.5}])
def test_what_is_no_loss_is_refused(changes):
    with pytest.raises(ConfigError, match=r"region(.|\n)*hippocampus, amygdala"):
        plan_loss(changes)


def still(loss):
    return Flow(np.zeros_like(loss.flow.velocity), loss.flow.grid)


def write_scan(path, values, affine, *, scaling=None):
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"of a scanner"
    if scaling:
        image.header.set_slope_inter(*scaling)
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))


def anatomy(loss, voxel_mm=3):
    """The template as a scan in its own place: int16 on a coarse grid."""
    grid = Grid.icbm(voxel_mm)
    values = sample(loss.brain.template, loss.brain.fine, grid_points(grid), mode="constant")
    return np.rint(600 * values).reshape(grid.shape).astype(np.int16), grid.affine


@pytest.mark.parametrize("scaling", [None, (0.5, 10.0)])
def test_a_scan_that_does_not_move_comes_back_byte_for_byte(loss, tmp_path, scaling):
    write_scan(tmp_path / "scan.nii.gz", *anatomy(loss), scaling=scaling)
    deform_scan(tmp_path / "scan.nii.gz", tmp_path / "out.nii.gz", still(loss), Registered())
    assert (tmp_path / "out.nii.gz").read_bytes() == (tmp_path / "scan.nii.gz").read_bytes()


def test_a_scan_is_interpolated_once_from_its_own_values(loss, tmp_path):
    """Each voxel is a linear interpolation of the original at its source, rounded; header and affine are kept."""
    values, affine = anatomy(loss)
    write_scan(tmp_path / "scan.nii.gz", values, affine, scaling=(0.5, 10.0))
    deform_scan(tmp_path / "scan.nii.gz", tmp_path / "out.nii.gz", loss.flow, Registered())
    before, after = nib.load(tmp_path / "scan.nii.gz"), nib.load(tmp_path / "out.nii.gz")
    assert after.header.binaryblock == before.header.binaryblock and np.array_equal(after.affine, before.affine)
    found, grid = after.dataobj.get_unscaled(), Grid.icbm(3)
    points = grid_points(grid)
    sources = source_points(loss.flow, Registered(), points)
    expected = np.rint(sample(values.astype(np.float32), grid, sources)).reshape(values.shape)
    assert np.abs(found - expected).max() <= 1  # float32 here, float64 there
    assert (found != values).sum() > 1000
    assert np.array_equal(found[~loss_box(grid)], values[~loss_box(grid)])


def loss_box(grid):
    """Voxels within the working grid of the flows, generously."""
    points = grid_points(grid).reshape(3, *grid.shape)
    return (np.abs(points[0]) < 90) & (points[1] > -125) & (points[1] < 90) & (points[2] > -85) & (points[2] < 100)


@pytest.fixture(scope="module")
def warped(tmp_path_factory, loss):
    """A scan with the anatomy of another person, registered to the template by a deformation."""
    folder = tmp_path_factory.mktemp("warped")
    grid = Grid.icbm(4)
    template = sample(loss.brain.template, loss.brain.fine, grid_points(grid), mode="constant").reshape(grid.shape)
    sham = draw_sham(loss, np.random.default_rng(9))
    person = Flow(4 * sham.velocity, sham.grid)
    back = np.linalg.inv(TURNED)
    points = person.sources((back[:3, :3] @ grid_points(grid) + back[:3, 3:]).astype(np.float32))
    scan = sample(loss.brain.template, loss.brain.fine, points, mode="constant").reshape(grid.shape)
    fixed, moving = (to_ants(nib.Nifti1Image(values, grid.affine)) for values in (template, scan))
    image = register(fixed, moving, "syn_quick", f"{folder}/")
    for theirs, ours in TRANSFORMS.items():
        (folder / theirs).rename(folder / ours)
    return Registered(folder), scan, grid, image.numpy()


def test_points_are_mapped_as_the_registration_maps_the_image(warped, loss):
    """The scan, sampled where the points of the template lie in it, is the registered image."""
    registered, scan, grid, image = warped
    points = grid_points(grid)
    found = sample(scan, grid, registered.to_scan(points), mode="constant").reshape(grid.shape)
    np.testing.assert_allclose(found, image, atol=2e-3)
    inside = sample(loss.brain.template_mask, loss.brain.fine, points, mode="constant") > 0.5
    there_and_back = registered.to_template(registered.to_scan(points[:, inside])) - points[:, inside]
    assert np.sqrt((there_and_back**2).sum(axis=0).mean()) < 0.5
    moved = np.linalg.norm(registered.to_scan(points[:, inside]) - points[:, inside], axis=0)
    assert moved.mean() > 5, "the maps are not the identity"


def test_the_error_of_the_inverse_warp_moves_nothing(warped, loss):
    registered, _, grid, _ = warped
    points = grid_points(grid).astype(np.float64)
    assert np.array_equal(source_points(still(loss), registered, points), points)


@pytest.mark.skipif("VOXELWHY_REAL_SCANS" not in os.environ, reason="VOXELWHY_REAL_SCANS names no folder")
def test_a_real_scan_keeps_its_grid_and_loses_what_is_planted(loss, tmp_path):
    """Its hippocampus, as the registration finds it, loses a quarter in the scan's own space."""
    path = sorted(Path(os.environ["VOXELWHY_REAL_SCANS"]).rglob("*T1w.nii*"))[0]
    scan, grid = nib.load(path), Grid.icbm(4)
    template = sample(loss.brain.template, loss.brain.fine, grid_points(grid), mode="constant").reshape(grid.shape)
    fixed, moving = to_ants(nib.Nifti1Image(template, grid.affine)), to_ants(scan)
    register(fixed, moving, "affine", f"{tmp_path}/")
    (tmp_path / "0GenericAffine.mat").rename(tmp_path / "affine.mat")
    registered = Registered(tmp_path)
    deform_scan(path, tmp_path / "out.nii.gz", loss.flow, registered)
    out = nib.load(tmp_path / "out.nii.gz")
    assert out.shape == scan.shape and np.array_equal(out.affine, scan.affine)
    assert out.header["datatype"] == scan.header["datatype"]
    changed = np.asarray(out.dataobj) != np.asarray(scan.dataobj)
    assert 0.005 < changed.mean() < 0.5
    centre = registered.to_scan(np.array([[-28.0], [-20.0], [-14.0]]))
    corner = np.rint(np.linalg.inv(scan.affine) @ [*centre[:, 0], 1])[:3] - 40
    affine, shape = scan.affine @ nib.affines.from_matvec(np.eye(3), corner), (80, 80, 80)
    at = registered.to_template(affine[:3, :3] @ np.indices(shape).reshape(3, -1) + affine[:3, 3:])
    label = sample(loss.regions["hippocampus_left"], loss.brain.grid, at, mode="constant").reshape(shape)
    deformed = deform(label, affine, loss.flow, registered)
    assert deformed.sum() / label.sum() == pytest.approx(0.75, rel=0.02)
