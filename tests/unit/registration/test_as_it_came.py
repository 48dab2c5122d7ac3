"""Scans that others have registered: taken over as they came, with their faults found and without ANTs."""

from __future__ import annotations

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from helpers.paths import ROOT
from helpers.templates import template_on
from voxelwhy.errors import ShapeError
from voxelwhy.io.images import Grid, hash_voxels
from voxelwhy.registration.as_it_came import make_registration
from voxelwhy.registration.store import register_shared

NONE = {"transform": "none", "n4": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """template.nii.gz and mask.nii.gz at 5 mm."""
    folder = tmp_path_factory.mktemp("template")
    for name, image in zip(("template", "mask"), template_on(5), strict=True):
        nib.save(image, folder / f"{name}.nii.gz")
    return folder


def values_and_brain():
    template, mask = template_on(5)
    return 1000 * template.get_fdata(dtype=np.float32), np.asarray(mask.dataobj) > 0


def take(folder, out, values, *, affine=None, **settings):
    template = template_on(5)[0]
    scan = out.with_name(f"{out.name}.nii.gz")
    nib.save(nib.Nifti1Image(values.astype(np.float32), template.affine if affine is None else affine), scan)
    paths = scan, folder / "template.nii.gz", folder / "mask.nii.gz"
    return register_shared(*paths, NONE | settings, out, scan_id="s1")


def test_voxels_without_a_value_outside_the_brain_become_zero(folder, tmp_path):
    """As SPM writes them where a scan has no data."""
    values, brain = values_and_brain()
    quality = take(folder, tmp_path / "out", np.where(brain, values, np.nan))
    assert quality["status"] == "ok" and quality["voxels_without_value"] == 0
    found = nib.load(tmp_path / "out" / "t1.nii").get_fdata()
    assert np.abs(found - np.where(brain, values, 0)).max() <= quality["int16_error_bound"]
    assert quality["correlation_brain"] == pytest.approx(1, abs=1e-6)
    assert quality["t1_hash"] == hash_voxels(np.where(brain, values, 0))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_some_missing_voxels_of_the_brain_are_counted_and_many_are_a_failure(folder, tmp_path, value):
    values, brain = values_and_brain()
    lowest = np.argwhere(brain)[np.argsort(np.argwhere(brain)[:, 2], kind="stable")]
    few, many = int(0.04 * len(lowest)), int(0.06 * len(lowest))
    values[tuple(lowest[:few].T)] = value
    quality = take(folder, tmp_path / "few", values)
    assert quality["status"] == "ok" and quality["voxels_without_value"] == few
    assert (nib.load(tmp_path / "few" / "t1.nii").get_fdata()[tuple(lowest[:few].T)] == 0).all()
    values[tuple(lowest[:many].T)] = value
    quality = take(folder, tmp_path / "many", values)
    assert quality["reason"] == (
        f"the scan has no value in part of the brain: {many} of {len(lowest)} voxels are NaN or infinite"
    )
    assert not (tmp_path / "many" / "t1.nii").exists() and quality["correlation_brain"] is None


def test_a_map_of_grey_matter_is_not_judged_as_a_t1(folder, tmp_path):
    """Sparse, in part constant, and without a skull: as a T1-weighted scan it is refused."""
    values, brain = values_and_brain()
    tissue = np.where(brain & (values > 600), 1.0, 0.0)
    assert take(folder, tmp_path / "t1", tissue)["reason"].startswith("the image holds labels or a mask")
    quality = take(folder, tmp_path / "gm", tissue, modality="gm")
    assert quality["status"] == "ok" and quality["modality"] == "gm"
    assert quality["correlation_brain"] is None and quality["mask_dice"] is None and quality["skull_stripped"] is None
    assert (tmp_path / "gm" / "check.png").stat().st_size > 5000


def test_a_head_stays_a_head(folder, tmp_path):
    values, brain = values_and_brain()
    around = sum(np.meshgrid(*(np.linspace(0, 100, n) for n in values.shape), indexing="ij"))
    head = np.where(brain, values, 300 + around)
    head[:2], head[-2:], head[:, :2], head[:, -2:] = 0, 0, 0, 0
    quality = take(folder, tmp_path / "out", head)
    assert quality["status"] == "ok" and quality["brain_cm3"] is None
    assert np.abs(nib.load(tmp_path / "out" / "t1.nii").get_fdata() - head).max() <= quality["int16_error_bound"]
    assert quality["correlation_brain"] == pytest.approx(1, abs=1e-6) and quality["mask_dice"] < 0.8
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"t1.nii", "quality.json", "check.png"}


def test_an_empty_brain_is_a_failure(folder, tmp_path):
    values, brain = values_and_brain()
    quality = take(folder, tmp_path / "out", np.where(brain, 0, values + 5), modality="pet")
    assert quality["reason"].startswith("the scan does not overlap the template's brain")


def test_a_twentieth_of_a_voxel_is_rounding_and_more_is_another_grid(folder, tmp_path):
    values, _ = values_and_brain()
    near, far = template_on(5)[0].affine.copy(), template_on(5)[0].affine.copy()
    near[0, 3] += 0.2
    far[0, 3] += 0.3
    assert take(folder, tmp_path / "near", values, affine=near)["status"] == "ok"
    assert Grid.of(tmp_path / "near" / "t1.nii").same(Grid.of(template_on(5)[0]))
    assert take(folder, tmp_path / "far", values, affine=far)["reason"].startswith(
        "the scan is not on the study's grid"
    )


def test_a_mask_on_another_grid_is_an_error(folder, tmp_path):
    nib.save(template_on(6)[1], tmp_path / "mask.nii.gz")
    with pytest.raises(ShapeError, match="the brain mask is not on the study's grid"):
        make_registration(
            folder / "template.nii.gz", folder / "template.nii.gz", tmp_path / "mask.nii.gz", NONE, tmp_path
        )


def test_a_batch_is_taken_over_without_importing_ants(folder, tmp_path):
    values, _ = values_and_brain()
    affine = template_on(5)[0].affine
    for name in ("one", "two"):
        nib.save(nib.Nifti1Image(values, affine), tmp_path / f"{name}.nii.gz")
    script = """
import sys
from voxelwhy.registration.batch_registration import register_batch
from voxelwhy.registration.selection import select_scans
folder, out = sys.argv[1:]
scans = {name: f"{out}/{name}.nii.gz" for name in ("one", "two")}
images = f"{folder}/template.nii.gz", f"{folder}/mask.nii.gz"
manifest = register_batch(scans, *images, {"transform": "none", "n4": False}, f"{out}/registered")
assert list(manifest["status"]) == ["ok", "ok"]
assert "ants" not in sys.modules and "torch" not in sys.modules
"""
    command = [sys.executable, "-c", script, folder, tmp_path]
    done = subprocess.run(command, cwd=ROOT / "scripts", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
