"""Images that follow from a registration: their convention, and that no grey matter is lost on the way."""

import os

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from helpers.templates import template_on
from voxelwhy.errors import ConfigError
from voxelwhy.io.images import Grid, hash_voxels, read_json, save_image
from voxelwhy.registration.ants import ants, register, to_ants
from voxelwhy.registration.maps import LEAST_JACOBIAN, make_maps, segment_grey_matter
from voxelwhy.registration.register import register_scan

CENTRE_MM, SIGMA_MM = np.array([28.0, -26.0, 0.0]), 20.0
MAPS = ["log_jacobian", "grey_matter_modulated"]


@pytest.fixture(scope="module")
def template():
    return template_on(4)


@pytest.fixture(scope="module")
def scan(template):
    """The template, around one point half as large as it was, and a twelfth longer along each axis as a whole."""
    t1 = template_on(3)[0]
    shape, affine = (82, 98, 82), np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = -122, -164, -110
    points = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) @ affine[:3, :3] + affine[:3, 3]
    wanted = points / 1.08
    points = wanted
    for _ in range(30):  # fixed point of x = y - u(x)
        away = points - CENTRE_MM
        points = wanted + 0.2 * away * np.exp(-(away**2).sum(-1, keepdims=True) / (2 * SIGMA_MM**2))
    voxels = np.moveaxis(points - t1.affine[:3, 3], -1, 0) / 3
    return nib.Nifti1Image((700 * map_coordinates(t1.get_fdata(), voxels, order=1)).astype(np.float32), affine)


@pytest.fixture(scope="module")
def made(template, scan, tmp_path_factory):
    """The maps of the scan after SyN by local correlation, and what they were made of."""
    prefix = f"{tmp_path_factory.mktemp('maps')}/"
    fixed, moving = to_ants(template[0]), to_ants(scan)
    register(fixed, moving, "syn_cc", prefix)
    return make_maps(MAPS, scan, moving, fixed, template[1], prefix), moving, prefix


@pytest.mark.slow
def test_log_jacobian_is_negative_where_volume_was_lost_and_knows_no_head_size(template, made):
    found, inside = made[0]["log_jacobian"], np.asarray(template[1].dataobj) > 0
    index = np.stack(np.nonzero(inside), axis=-1)
    distance = np.linalg.norm(nib.affines.apply_affine(template[0].affine, index) - CENTRE_MM, axis=1)
    values = found[inside]
    # Three axes at 0.8 are 0.51 of the volume at the centre: -0.67, of which a registration at 4 mm finds most.
    assert -0.75 < values[distance < 8].mean() < -0.35
    assert abs(values[distance > 60].mean()) < 0.03  # log(1.08 ** 3) = 0.23 is head size, and left out
    assert not found[~inside].any()


@pytest.mark.slow
def test_modulated_grey_matter_adds_up_to_that_of_the_scan(template, made):
    """Independent of any map: the volume in the scan's own space, over that of the head relative to the template."""
    maps, moving, prefix = made
    inside = moving.new_image_like((moving.numpy() > 0).astype("float32"))
    own = segment_grey_matter(moving, inside, os.path.dirname(prefix)).numpy().sum() * np.prod(moving.spacing)
    affine = ants.read_transform(f"{prefix}0GenericAffine.mat").parameters[:9].reshape(3, 3)
    expected = own / np.linalg.det(affine)
    found = maps["grey_matter_modulated"].sum() * 4**3
    assert np.linalg.det(affine) == pytest.approx(1.08**3, rel=0.05)
    assert found == pytest.approx(expected, rel=0.08)


def test_grey_matter_is_the_middle_class_of_three(rng, tmp_path):
    """Shells of three intensities with noise: the share of each voxel is known."""
    index = np.indices((40, 40, 40)) - 19.5
    radius = np.sqrt((index**2).sum(0))
    truth = np.digitize(radius, [8, 13, 17])
    values = np.array([900.0, 550.0, 250.0, 0.0])[truth]
    values = np.where(truth < 3, values + rng.normal(0, 25, values.shape), 0).astype(np.float32)
    image = ants.from_numpy(values)
    found = segment_grey_matter(image, image.new_image_like((truth < 3).astype("float32")), tmp_path).numpy()
    grey = found > 0.5
    assert 2 * (grey & (truth == 1)).sum() / (grey.sum() + (truth == 1).sum()) > 0.97


@pytest.mark.slow
def test_a_fold_has_a_logarithm(template, scan, made, monkeypatch):
    monkeypatch.setattr("voxelwhy.registration.maps.jacobian", lambda *a: np.full(template[0].shape, -0.3))
    found = make_maps(MAPS[:1], scan, made[1], to_ants(template[0]), template[1], made[2])["log_jacobian"]
    assert found.min() == pytest.approx(np.log(LEAST_JACOBIAN))


@pytest.mark.slow
def test_a_registered_scan_has_its_maps_beside_it(template, scan, tmp_path):
    for name, image in (("template", template[0]), ("mask", template[1])):
        nib.save(image, tmp_path / f"{name}.nii.gz")
    save_image(tmp_path / "scan.nii.gz", np.asarray(scan.dataobj), scan.affine)
    paths = [tmp_path / f"{name}.nii.gz" for name in ("scan", "template", "mask")]
    settings = {"transform": "syn_quick", "n4": False, "maps": MAPS}
    quality = register_scan(*paths, settings, tmp_path / "out", scan_id="s1")
    assert quality == read_json(tmp_path / "out" / "quality.json")
    assert sorted(quality["maps"]) == sorted(MAPS)
    for name in MAPS:
        image = nib.load(tmp_path / "out" / f"{name}.nii")
        assert Grid.of(image).same(Grid.of(template[0])) and image.get_data_dtype() == np.int16
        assert isinstance(image.dataobj.get_unscaled(), np.memmap)
        assert 0 < quality["maps"][name]["int16_error_bound"] < 1e-4
    assert np.log(quality["jacobian_min"]) == pytest.approx(
        nib.load(tmp_path / "out" / "log_jacobian.nii").get_fdata().min(), abs=1e-3
    )
    again = register_scan(*paths, settings, tmp_path / "again", scan_id="s1")
    assert again == quality
    for name in ("t1", *MAPS):
        assert (tmp_path / "out" / f"{name}.nii").read_bytes() == (tmp_path / "again" / f"{name}.nii").read_bytes()
    assert len({entry["hash"] for entry in quality["maps"].values()} | {quality["t1_hash"]}) == 3
    assert quality["t1_hash"] != hash_voxels(nib.load(tmp_path / "out" / "log_jacobian.nii").get_fdata())


@pytest.mark.parametrize("transform", ["rigid", "affine", "none"])
def test_what_deforms_nothing_has_no_maps(tmp_path, transform):
    with pytest.raises(ConfigError, match="only a deformable registration gives maps"):
        register_scan("scan", "template", "mask", {"transform": transform, "maps": MAPS}, tmp_path, scan_id="s")
