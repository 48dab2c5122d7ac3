"""Reading, writing and hashing of images, and the grids they lie on."""

from __future__ import annotations

import gzip
import hashlib

import nibabel as nib
import numpy as np
import pytest

from voxelwhy.errors import InputError, ShapeError
from voxelwhy.io.images import Grid, hash_voxels, read_json, read_volume, save_image, save_int16, sidecar_of, write_json


@pytest.fixture
def data(rng):
    return rng.normal(100, 20, (5, 6, 7)).astype(np.float32)


def saved(path, data, affine=None):
    nib.save(nib.Nifti1Image(data, np.diag([2.0, 2, 2, 1]) if affine is None else affine), path)
    return path


def test_the_paper_grid():
    grid = Grid.icbm(1)
    assert grid.shape == (193, 229, 193)
    assert grid.affine[:3, 3].tolist() == [-96, -132, -78]
    for resolution in (2, 3, 4, 6):
        other = Grid.icbm(resolution)
        centre = nib.affines.apply_affine(other.affine, (np.array(other.shape) - 1) / 2)
        assert np.allclose(centre, [0, -18, 18])
        assert (np.array(other.shape) * resolution >= grid.shape).all()
        assert other.voxel_mm3 == pytest.approx(resolution**3)


def test_the_grid_of_spm_and_fsl():
    for resolution, shape in ((1, (181, 217, 181)), (2, (91, 109, 91)), (3, (61, 73, 61)), (4, (46, 55, 46))):
        grid = Grid.mni(resolution)
        assert grid.shape == shape
        assert grid.affine.tolist() == [
            [resolution, 0, 0, -90], [0, resolution, 0, -126], [0, 0, resolution, -72], [0, 0, 0, 1]
        ]  # fmt: skip
        assert nib.affines.apply_affine(grid.affine, np.array(shape) - 1).tolist() == [90, 90, 108]
    beyond = nib.affines.apply_affine(Grid.mni(2.5).affine, np.array(Grid.mni(2.5).shape) - 1) - [90, 90, 108]
    assert beyond.tolist() == [0, 1.5, 0]


def test_a_grid_has_a_name_in_the_config():
    assert Grid.named("icbm", 3).same(Grid.icbm(3))
    assert Grid.named("mni", 3).same(Grid.mni(3))
    assert not Grid.named("mni", 3).same(Grid.icbm(3))


def test_grids_are_compared_by_shape_and_affine():
    grid, moved = Grid.icbm(4), Grid.icbm(4).affine.copy()
    moved[0, 3] += 1
    assert grid.same(Grid(grid.shape, grid.affine + 1e-5))
    assert not grid.same(Grid(grid.shape, moved))
    with pytest.raises(ShapeError, match=r"mask.*origin \[-95\.0, .*expected.*origin \[-96\.0, "):
        grid.require(Grid(grid.shape, moved), "the mask")


def test_values_come_back(tmp_path, data):
    image = read_volume(saved(tmp_path / "a.nii.gz", data))
    assert image.get_data_dtype() == np.float32
    assert np.array_equal(np.asarray(image.dataobj), data)


def test_one_volume_of_four_axes_is_a_volume(tmp_path, data):
    image = read_volume(saved(tmp_path / "a.nii.gz", data[..., None]))
    assert image.shape == data.shape


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: np.stack([data, data], axis=-1), r"not one 3-D volume[\s\S]*\(5, 6, 7, 2\)"),
        (lambda data: data * 0, "zero everywhere"),
        (lambda data: np.where(data > 120, np.nan, data), "holds NaN or infinity"),
        (lambda data: np.where(data > 120, np.inf, data), "holds NaN or infinity"),
    ],
)
def test_refuses_values(tmp_path, data, change, message):
    path = saved(tmp_path / "bad.nii.gz", change(data))
    with pytest.raises(InputError, match=message) as error:
        read_volume(path)
    assert "bad.nii.gz" in str(error.value)


def test_says_how_many_voxels_are_nan(tmp_path, data):
    data[0, 0, :3] = np.nan
    with pytest.raises(InputError, match="3 voxels"):
        read_volume(saved(tmp_path / "nan.nii", data))


@pytest.mark.parametrize("kind", ["empty", "empty_gzip", "truncated", "text", "missing"])
def test_refuses_files(tmp_path, data, kind):
    path = tmp_path / "scan.nii.gz"
    whole = saved(tmp_path / "whole.nii.gz", data).read_bytes()
    contents = {
        "empty": b"",
        "empty_gzip": gzip.compress(b""),
        "truncated": whole[: len(whole) // 2],
        "text": b"not an image",
    }
    if kind in contents:
        path.write_bytes(contents[kind])
    message = {"empty": "is empty", "missing": "does not exist"}.get(kind, "cannot be read")
    with pytest.raises(InputError, match=message):
        read_volume(path)


def test_refuses_a_singular_affine(tmp_path, data):
    affine = np.diag([2.0, 2, 2, 1])
    affine[2] = affine[1]
    image = nib.Nifti1Image(data, np.eye(4))
    image.set_sform(affine, 1)
    nib.save(image, tmp_path / "flat.nii")
    with pytest.raises(InputError, match="cannot be inverted"):
        read_volume(tmp_path / "flat.nii")


def test_refuses_an_affine_that_holds_nan(tmp_path, data):
    image = nib.Nifti1Image(data, np.diag([2.0, 2, 2, 1]))
    image.set_sform(image.affine, 1)
    nib.save(image, tmp_path / "nan.nii")
    with open(tmp_path / "nan.nii", "r+b") as file:
        file.seek(312)  # srow_z, by the NIfTI-1 standard
        file.write(np.full(4, np.nan, "<f4").tobytes())
    with pytest.raises(InputError, match="cannot be inverted"):
        read_volume(tmp_path / "nan.nii")


@pytest.mark.parametrize("axes", ["LPS", "PIR", "ASL"])
def test_unusual_orientations_become_ras(tmp_path, data, axes):
    affine = np.diag([2.0, 3, 4, 1])
    affine[:3, 3] = -5, -6, -7
    plain = nib.Nifti1Image(data, affine)
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(tuple(axes))
    )
    turned = plain.as_reoriented(turn)
    assert nib.aff2axcodes(turned.affine) == tuple(axes)
    nib.save(turned, tmp_path / "turned.nii")
    image = read_volume(tmp_path / "turned.nii")
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    assert np.allclose(image.affine, affine)
    assert np.array_equal(np.asarray(image.dataobj), data)
    stored = read_volume(tmp_path / "turned.nii", reorient=False)
    assert np.array_equal(np.asarray(stored.dataobj), np.asarray(turned.dataobj))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 3e5])
def test_int16_error_stays_below_its_bound(tmp_path, rng, scale):
    data = rng.normal(0, scale, (20, 20, 20))
    bound = save_int16(tmp_path / "a.nii", data, np.eye(4))
    image = nib.load(tmp_path / "a.nii")
    worst = np.abs(image.get_fdata() - data).max()
    assert image.get_data_dtype() == np.int16
    assert 0.9 * bound < worst <= bound
    assert bound == pytest.approx(np.abs(data).max() / 32767 / 2, rel=0.01)


def test_int16_of_an_empty_image(tmp_path):
    save_int16(tmp_path / "a.nii", np.zeros((3, 3, 3)), np.eye(4))
    assert (nib.load(tmp_path / "a.nii").get_fdata() == 0).all()


def test_images_keep_their_affine_and_sidecar(tmp_path, data):
    affine = Grid.icbm(3).affine
    save_image(tmp_path / "map.nii.gz", data.astype(float), affine, {"method": "occlusion", "n": 3})
    image = nib.load(tmp_path / "map.nii.gz")
    assert image.get_data_dtype() == np.float32
    assert np.array_equal(image.affine, affine) and image.header.get_xyzt_units()[0] == "mm"
    assert sidecar_of(tmp_path / "map.nii.gz") == tmp_path / "map.json"
    assert read_json(tmp_path / "map.json") == {"method": "occlusion", "n": 3}


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"r": float("nan")})


def test_a_new_header_does_not_change_the_hash(tmp_path, data):
    first = read_volume(saved(tmp_path / "a.nii.gz", data), reorient=False)
    other = nib.Nifti1Image(data, np.diag([-1.0, 1, 1, 1]))
    other.header["descrip"] = b"another scanner"
    nib.save(other, tmp_path / "b.nii")
    second = read_volume(tmp_path / "b.nii", reorient=False)
    assert hash_voxels(first.dataobj) == hash_voxels(second.dataobj)
    assert hash_voxels(data) == hashlib.sha256(b"(5, 6, 7)" + data.tobytes()).hexdigest()


def test_the_hash_sees_values_and_shape(data):
    changed = data.copy()
    changed[0, 0, 0] += 1
    assert len({hash_voxels(data), hash_voxels(changed), hash_voxels(data.reshape(6, 5, 7))}) == 3
    assert hash_voxels(data) == hash_voxels(np.asfortranarray(data))
