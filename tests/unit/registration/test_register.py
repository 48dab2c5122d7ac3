"""Registration against direct ANTs calls, known transforms and known deformations; failures as results."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path

import ants
import nibabel as nib
import numpy as np
import pytest
from nilearn.datasets import load_mni152_template
from scipy.ndimage import gaussian_filter

from helpers.moved_scans import TRUE_AFFINE, moved_scan
from helpers.templates import template_on
from voxelwhy.errors import ConfigError, ShapeError
from voxelwhy.io.images import Grid, hash_voxels, read_json, save_image
from voxelwhy.registration.ants import correct_bias, jacobian, register, script_arguments, to_ants
from voxelwhy.registration.register import register_scan
from voxelwhy.registration.store import register_shared
from voxelwhy.registration.template import make_template

LINEAR = (
    " --metric MI[f,m,1,32,Regular,0.25] --convergence [1000x500x250x0,1e-6,10] --shrink-factors 8x4x2x1"
    " --smoothing-sigmas 3x2x1x0vox"
)


@pytest.fixture(scope="module")
def template():
    """The template at 5 mm: registration takes half a second there."""
    return template_on(5)


@pytest.fixture(scope="module")
def folder(template, tmp_path_factory):
    """A folder with template.nii.gz, mask.nii.gz and scan.nii.gz, the template moved by `TRUE_AFFINE`."""
    folder = tmp_path_factory.mktemp("registration")
    nib.save(template[0], folder / "template.nii.gz")
    nib.save(template[1], folder / "mask.nii.gz")
    data, affine = moved_scan(TRUE_AFFINE)
    save_image(folder / "scan.nii.gz", data, affine)
    return folder


def error_at_corners(mat_path, affine, mask):
    """Largest distance, mm, between ANTs' affine and the true one at the corners of the brain's bounding box."""
    transform = ants.read_transform(str(mat_path))
    inside = np.argwhere(np.asarray(mask.dataobj) > 0)
    ends = nib.affines.apply_affine(mask.affine, [inside.min(axis=0), inside.max(axis=0)])
    corners = np.array([[ends[i][0], ends[j][1], ends[k][2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    flip = np.array([-1, -1, 1])  # ITK's axes point left and back
    found = np.array([transform.apply_to_point(list(corner * flip)) for corner in corners]) * flip
    return np.linalg.norm(found - nib.affines.apply_affine(affine, corners), axis=1).max()


def run(folder, out, scan="scan.nii.gz", **settings):
    settings = {"transform": "affine", "n4": False} | settings
    register = register_shared if settings["transform"] == "none" else register_scan
    return register(folder / scan, folder / "template.nii.gz", folder / "mask.nii.gz", settings, out, scan_id="s1")


def test_the_template_on_the_grid_of_spm_and_fsl_is_a_part_of_that_on_the_papers():
    """At 3 mm the voxels of the one are voxels of the other, from the third on along each axis."""
    inner = tuple(slice(2, 2 + n) for n in Grid.mni(3).shape)
    for small, large in zip(make_template(3, "mni"), make_template(3, "icbm"), strict=True):
        assert Grid.of(small).same(Grid.mni(3)) and Grid.of(large).same(Grid.icbm(3))
        np.testing.assert_allclose(small.get_fdata(), large.get_fdata()[inner], atol=1e-6)
        assert np.count_nonzero(small.dataobj) == np.count_nonzero(large.dataobj) > 60_000


def test_template_is_the_block_mean_of_the_fine_one():
    t1, mask = make_template(3)
    assert Grid.of(t1).same(Grid.icbm(3)) and Grid.of(mask).same(Grid.icbm(3))
    inside, values = np.asarray(mask.dataobj) > 0, t1.get_fdata()
    assert mask.get_data_dtype() == np.uint8 and set(np.unique(mask.dataobj)) == {0, 1}
    assert (values[~inside] == 0).all() and values[inside].min() > 0.05
    assert inside.sum() * 27 == pytest.approx(1.883e6, rel=0.005)
    # The voxel centres of the 3 mm grid are voxel centres of the 1 mm template: means of 3 x 3 x 3 are exact.
    fine = load_mni152_template(resolution=1)
    padded = np.pad(fine.get_fdata(), 20)
    centres = np.rint(nib.affines.apply_affine(np.linalg.inv(fine.affine), Grid.icbm(3).affine[:3, 3])).astype(int) + 20
    near = [
        padded[tuple(slice(c + d - 1, c + d - 1 + 3 * n, 3) for c, d, n in zip(centres, shift, t1.shape, strict=True))]
        for shift in np.ndindex(3, 3, 3)
    ]
    block, point = np.mean(near, axis=0), near[13]
    ours = np.sqrt(np.mean((values - block)[inside] ** 2))
    assert ours < 0.5 * np.sqrt(np.mean((point - block)[inside] ** 2))
    assert np.corrcoef(values[inside], block[inside])[0, 1] > 0.98


def test_template_refuses_other_resolutions():
    with pytest.raises(ConfigError, match=r"0\.5 to 10 mm"):
        make_template(0.2)


def test_arguments_are_those_of_the_script():
    head = (
        "--random-seed 1 --dimensionality 3 --float 0 --collapse-output-transforms 1 --output o --interpolation Linear"
        " --use-histogram-matching 0 --winsorize-image-intensities [0.005,0.995] --initial-moving-transform [f,m,1]"
    )
    syn = (
        " --transform SyN[0.2,3,0] --metric MI[f,m,1,32] --convergence [100x70x50x0,1e-6,10]"
        " --shrink-factors 8x4x2x1 --smoothing-sigmas 3x2x1x0vox"
    )
    rigid, affine = f" --transform Rigid[0.1]{LINEAR}", f" --transform Affine[0.1]{LINEAR}"
    by_correlation = syn.replace("MI[f,m,1,32]", "CC[f,m,1,2]")
    for transform, wanted in (
        ("rigid", rigid),
        ("affine", rigid + affine),
        ("syn_quick", rigid + affine + syn),
        ("syn_cc", rigid + affine + by_correlation),
    ):
        assert script_arguments("f", "m", transform, "o") == (head + wanted).split()
    large = " ".join(script_arguments("f", "m", "syn_quick", "o", large=True))
    assert large.count("12x8x4x2 --smoothing-sigmas 4x3x2x1vox") == 2
    assert large.endswith("[100x100x70x50x0,1e-6,10] --shrink-factors 10x6x4x2x1 --smoothing-sigmas 5x3x2x1x0vox")
    with pytest.raises(ConfigError, match="rigid, affine, syn_quick"):
        script_arguments("f", "m", "elastic", "o")


@pytest.mark.parametrize(("transform", "kind"), [("affine", "[a]"), ("syn_quick", "[s]"), ("syn_cc", "Repro[s]")])
def test_equals_antsregistration_on_files(folder, tmp_path, transform, kind, monkeypatch):
    fixed, moving = str(folder / "template.nii.gz"), str(folder / "scan.nii.gz")
    arguments = script_arguments(fixed, moving, transform, f"[{tmp_path}/x,{tmp_path}/warped.nii.gz]")
    assert ants.registration(arguments, None) == 0
    direct = nib.load(tmp_path / "warped.nii.gz").get_fdata()
    quality = run(folder, tmp_path / "ours", transform=transform)
    ours = nib.load(tmp_path / "ours" / "t1.nii").get_fdata()
    assert direct.max() > 500
    assert np.abs(ours - direct).max() <= quality["int16_error_bound"] + 0.02
    # antspyx builds the script's call anew, without winsorizing: near, not equal; and seeds from the clock by itself.
    monkeypatch.setattr(ants.config, "_random_seed", 1)
    images = ants.image_read(fixed), ants.image_read(moving)
    theirs = ants.registration(*images, f"antsRegistrationSyNQuick{kind}", singleprecision=False)["warpedmovout"]
    assert np.corrcoef(ours.ravel(), theirs.numpy().ravel())[0, 1] > 0.99


def test_recovers_a_known_affine(folder, template, tmp_path):
    run(folder, tmp_path, transform="affine", keep_transforms=True)
    assert error_at_corners(tmp_path / "transforms" / "affine.mat", np.eye(4), template[1]) > 15
    assert error_at_corners(tmp_path / "transforms" / "affine.mat", TRUE_AFFINE, template[1]) < 2


def test_recovers_a_known_rigid_motion(folder, template, tmp_path):
    motion = TRUE_AFFINE.copy()
    motion[:3, :3] = TRUE_AFFINE[:3, :3] @ np.diag([1 / 1.06, 1 / 0.95, 1 / 1.03])
    save_image(tmp_path / "scan.nii.gz", *moved_scan(motion))
    run(folder, tmp_path, scan=tmp_path / "scan.nii.gz", transform="rigid", keep_transforms=True)
    assert error_at_corners(tmp_path / "transforms" / "affine.mat", motion, template[1]) < 2


def test_jacobian_is_the_volume_relative_to_the_template(tmp_path):
    # Half of the volume around one point is gone in the scan: the warp's Jacobian must be below 1 there, not above.
    centre, sigma = np.array([30.0, -24.0, 8.0]), 22.0

    def shrink(points):
        away = points - centre
        return -0.2 * away * np.exp(-(away**2).sum(-1, keepdims=True) / (2 * sigma**2))

    t1, mask = template_on(4)
    data, grid = moved_scan(np.eye(4), displacement=shrink)
    moving = nib.Nifti1Image(data.astype(np.float32), grid)
    register(to_ants(t1), to_ants(moving), "syn_quick", f"{tmp_path}/x")
    found = np.log(jacobian(to_ants(t1), tmp_path / "x1Warp.nii.gz"))
    points = np.stack(np.meshgrid(*map(np.arange, t1.shape), indexing="ij"), axis=-1) @ t1.affine[:3, :3]
    points = points + t1.affine[:3, 3]
    step = 1e-3
    columns = [
        (points + e + shrink(points + e) - points + e - shrink(points - e)) / (2 * step) for e in step * np.eye(3)
    ]
    true = np.log(np.linalg.det(np.stack(columns, axis=-1)))
    core = (np.linalg.norm(points - centre, axis=-1) < 12) & (np.asarray(mask.dataobj) > 0)
    near = (np.linalg.norm(points - centre, axis=-1) < 60) & (np.asarray(mask.dataobj) > 0)
    assert true[core].mean() < -0.45
    # The mutual information of a smooth template recovers a part of it; the wrong direction would give the other sign.
    assert found[core].mean() < -0.12
    assert np.corrcoef(found[near], true[near])[0, 1] > 0.75


def test_writes_what_it_promises(folder, template, tmp_path):
    quality = run(folder, tmp_path, transform="syn_quick", keep_transforms=True)
    assert quality == read_json(tmp_path / "quality.json")
    assert quality["status"] == "ok" and quality["reason"] is None
    assert quality["correlation_brain"] > 0.9 and quality["mask_dice"] > 0.9
    assert 0 < quality["jacobian_min"] < 1 < quality["jacobian_max"]
    assert quality["voxel_hash"] == hash_voxels(nib.load(folder / "scan.nii.gz").get_fdata())
    assert quality["versions"]["antspyx"].count(".") >= 2
    image = nib.load(tmp_path / "t1.nii")
    assert Grid.of(image).same(Grid.of(template[0])) and image.get_data_dtype() == np.int16
    assert isinstance(image.dataobj.get_unscaled(), np.memmap)
    assert {path.name for path in (tmp_path / "transforms").iterdir()} == {
        "affine.mat",
        "warp.nii.gz",
        "inverse_warp.nii.gz",
    }
    warped = ants.apply_transforms(
        ants.image_read(str(folder / "template.nii.gz")),
        ants.image_read(str(folder / "scan.nii.gz")),
        [str(tmp_path / "transforms" / name) for name in ("warp.nii.gz", "affine.mat")],
    ).numpy()
    assert np.abs(image.get_fdata() - warped).max() <= quality["int16_error_bound"] + 0.02
    picture = (tmp_path / "check.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and 10_000 < len(picture) < 150_000


def test_the_same_scan_twice_gives_the_same_bytes(folder, tmp_path):
    for name in ("first", "second"):
        run(folder, tmp_path / name, transform="syn_quick", n4=True, keep_transforms=True)
    first = sorted(path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*") if path.is_file())
    assert len(first) == 6
    for name in first:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name


def test_stored_orientation_moves_no_anatomy(folder, tmp_path):
    """ANTs sees a scan as it is stored, and its optimiser ends elsewhere by a fraction of a voxel; sides stay sides."""
    scan = nib.load(folder / "scan.nii.gz")
    brighter_right = scan.get_fdata() * np.linspace(0.7, 1.3, scan.shape[0])[:, None, None]
    scan = nib.Nifti1Image(brighter_right, scan.affine)
    nib.save(scan, tmp_path / "ras.nii.gz")
    run(folder, tmp_path / "ras", scan=tmp_path / "ras.nii.gz")
    turned = scan.as_reoriented(nib.orientations.axcodes2ornt(("L", "P", "I")))
    nib.save(turned, tmp_path / "lpi.nii.gz")
    run(folder, tmp_path / "lpi", scan=tmp_path / "lpi.nii.gz")
    assert nib.aff2axcodes(nib.load(tmp_path / "lpi.nii.gz").affine) == ("L", "P", "I")
    ras, lpi = (nib.load(tmp_path / name / "t1.nii").get_fdata() for name in ("ras", "lpi"))
    assert np.corrcoef(ras.ravel(), ras[::-1].ravel())[0, 1] < 0.99
    assert np.corrcoef(ras.ravel(), lpi.ravel())[0, 1] > 0.9995
    assert np.abs(ras - lpi).max() < 0.1 * ras.max()


def test_n4_treats_an_image_with_negative_values_as_the_same_image_above_zero(rng):
    shape = (24, 24, 24)
    places = np.indices(shape)
    brain = ((places - 12) ** 2).sum(axis=0) < 100
    values = np.where(brain, 500 * (1 + 0.02 * (places[0] - 12)), 0).astype(np.float32)
    wanted = correct_bias(ants.from_numpy(values, spacing=(4, 4, 4))).numpy()
    assert wanted[brain].std() < 0.7 * values[brain].std()
    found = correct_bias(ants.from_numpy(values - 300, spacing=(4, 4, 4))).numpy()
    np.testing.assert_allclose(found, wanted - 300, atol=0.05)


def test_n4_removes_a_bias_field(folder, tmp_path):
    scan = nib.load(folder / "scan.nii.gz")
    across = np.linspace(-1, 1, scan.shape[0])[:, None, None]
    save_image(tmp_path / "biased.nii.gz", scan.get_fdata() * np.exp(0.8 * across), scan.affine)
    plain, corrected = (
        run(folder, tmp_path / f"n4-{n4}", scan=tmp_path / "biased.nii.gz", n4=n4) for n4 in (False, True)
    )
    clean = run(folder, tmp_path / "clean")
    assert plain["correlation_brain"] < clean["correlation_brain"] - 0.1
    lost, left = (clean["correlation_brain"] - quality["correlation_brain"] for quality in (plain, corrected))
    assert left < 0.3 * lost
    assert corrected["n4"] is True


def bad_scans(scan):
    data, sheared = scan.get_fdata(), scan.affine.copy()
    sheared[0, 1] = 3
    return {
        "shear": ("registration failed: ", nib.Nifti1Image(data, sheared)),
        "four": ("the image is not one 3-D volume", nib.Nifti1Image(np.stack([data, data], -1), scan.affine)),
        "zero": ("the image is zero everywhere", nib.Nifti1Image(np.zeros((9, 9, 9)), scan.affine)),
    }


@pytest.mark.parametrize("name", ["shear", "four", "zero", "truncated", "missing"])
def test_a_bad_scan_is_a_result(folder, tmp_path, name):
    path = tmp_path / "bad.nii.gz"
    if name == "truncated":
        whole = (folder / "scan.nii.gz").read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        reason = "the image cannot be read"
    elif name == "missing":
        reason = "the image does not exist"
    else:
        reason, image = bad_scans(nib.load(folder / "scan.nii.gz"))[name]
        nib.save(image, path)
    quality = run(folder, tmp_path / "out", scan=path)
    assert quality["status"] == "failed" and quality["reason"].startswith(reason)
    assert quality == read_json(tmp_path / "out" / "quality.json")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"quality.json", "check.png"}
    assert quality["correlation_brain"] is None
    assert (quality["voxel_hash"] is not None) == (name == "shear")


def test_a_full_disk_is_no_fault_of_the_scan(folder, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("voxelwhy.registration.ants.ants.registration", full)
    with pytest.raises(OSError, match="No space left"):
        run(folder, tmp_path)
    assert not (tmp_path / "quality.json").exists()


def test_what_ants_raises_is_a_result(folder, tmp_path, monkeypatch):
    def give_up(*args):
        raise RuntimeError("Registration failed with error code 1")

    monkeypatch.setattr("voxelwhy.registration.ants.ants.registration", give_up)
    quality = run(folder, tmp_path)
    assert quality["reason"] == "registration failed: Registration failed with error code 1"
    assert not (tmp_path / "t1.nii").exists()


def test_a_scan_that_is_no_brain_is_a_result(folder, tmp_path, rng):
    scan = nib.load(folder / "scan.nii.gz")
    noise = rng.uniform(0, 500, scan.shape) * (scan.get_fdata() > 0)
    save_image(tmp_path / "noise.nii.gz", noise, scan.affine)
    quality = run(folder, tmp_path / "out", scan=tmp_path / "noise.nii.gz", transform="rigid")
    assert re.match(r"the image shows no anatomy: neighbouring voxels correlate at -?0\.0", quality["reason"])
    assert quality["voxel_hash"] is None and not (tmp_path / "out" / "t1.nii").exists()


def test_a_scan_that_was_placed_wrongly_has_its_figure_and_its_picture(folder, tmp_path, rng):
    """Whether a correlation is too low is for the selection to say: the picture must show it."""
    scan = nib.load(folder / "scan.nii.gz")
    clouds = gaussian_filter(rng.normal(size=scan.shape), 2.5)
    clouds = (300 + 100 * clouds / clouds.std()) * (scan.get_fdata() > 0)
    save_image(tmp_path / "clouds.nii.gz", np.maximum(clouds, 0), scan.affine)
    quality = run(folder, tmp_path / "out", scan=tmp_path / "clouds.nii.gz", transform="rigid")
    assert quality["status"] == "ok" and quality["correlation_brain"] < 0.35
    assert (tmp_path / "out" / "t1.nii").exists() and (tmp_path / "out" / "check.png").stat().st_size > 10_000


def test_a_scan_on_the_grid_is_taken_as_it_is(folder, template, tmp_path):
    on_grid = nib.Nifti1Image(300 * template[0].get_fdata(dtype=np.float32), template[0].affine)
    wanted = nib.orientations.ornt_transform(nib.io_orientation(on_grid.affine), nib.orientations.axcodes2ornt("LPS"))
    nib.save(on_grid.as_reoriented(wanted), tmp_path / "warped.nii.gz")
    quality = run(folder, tmp_path / "out", scan=tmp_path / "warped.nii.gz", transform="none", keep_transforms=True)
    assert quality["status"] == "ok" and quality["transform"] == "none"
    assert quality["correlation_brain"] == pytest.approx(1) and quality["mask_dice"] > 0.95
    assert quality["jacobian_min"] is None
    image = nib.load(tmp_path / "out" / "t1.nii")
    assert Grid.of(image).same(Grid.of(template[0]))
    assert np.abs(image.get_fdata() - on_grid.get_fdata()).max() <= quality["int16_error_bound"]
    assert not (tmp_path / "out" / "transforms").exists()


def test_a_scan_off_the_grid_is_a_result_with_both_grids(folder, tmp_path):
    quality = run(folder, tmp_path / "out", transform="none")
    assert quality["status"] == "failed"
    assert quality["reason"] == (
        "the scan is not on the study's grid: shape (54, 65, 55), origin [-108.0, -148.0, -90.0] mm, voxels [4.0, 4.0, "
        "4.0] mm; the study's: shape (39, 46, 39), origin [-95.0, -130.5, -77.0] mm, voxels [5.0, 5.0, 5.0] mm"
    )


def test_faults_of_the_study_are_errors(folder, tmp_path):
    with pytest.raises(ConfigError, match="rigid, affine, syn_quick"):
        run(folder, tmp_path, transform="syn")
    with pytest.raises(ShapeError, match="not on the study's grid"):
        register_scan(
            folder / "scan.nii.gz",
            folder / "template.nii.gz",
            folder / "scan.nii.gz",
            {"transform": "affine"},
            tmp_path,
            scan_id="s1",
        )


def test_a_zero_byte_gzip_is_a_result(folder, tmp_path):
    (tmp_path / "empty.nii.gz").write_bytes(gzip.compress(b""))
    assert run(folder, tmp_path / "out", scan=tmp_path / "empty.nii.gz")["reason"].startswith(
        "the image cannot be read: "
    )


@pytest.mark.slow
@pytest.mark.skipif("VOXELWHY_REAL_SCANS" not in os.environ, reason="VOXELWHY_REAL_SCANS names no folder")
def test_a_real_scan(tmp_path):
    scans = sorted(Path(os.environ["VOXELWHY_REAL_SCANS"]).rglob("*T1w.nii*"))
    for image, name in zip(template_on(4), ("template", "mask"), strict=True):
        nib.save(image, tmp_path / f"{name}.nii.gz")
    quality = run(tmp_path, tmp_path / "out", scan=scans[0])
    assert quality["status"] == "ok"
    assert quality["correlation_brain"] > 0.3 and quality["mask_dice"] > 0.85
