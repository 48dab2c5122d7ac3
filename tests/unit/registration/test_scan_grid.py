"""The grid of a study of scans that others have registered, found from headers; template and atlas brought to it."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from nilearn.image import resample_img

from helpers.templates import template_on
from voxelwhy.errors import ConfigError, InputError
from voxelwhy.io.images import Grid
from voxelwhy.regions.atlases import atlas_on_grid, load_atlas
from voxelwhy.registration.scan_grid import find_grid
from voxelwhy.registration.template import make_template, require_brain

#: Shape and affine as programs write them: SPM and FSL with x to the left, CAT12 and clinica, fMRIPrep.
GRIDS = {
    "spm": ((79, 95, 79), [-2, 2, 2], [78, -112, -70], 2),
    "fsl": ((91, 109, 91), [-2, 2, 2], [90, -126, -72], 2),
    "cat12": ((121, 145, 121), [1.5, 1.5, 1.5], [-90, -126, -72], 1.5),
    "caps": ((169, 208, 179), [1, 1, 1], [-84, -121, -72], 1),
    "fmriprep": ((193, 229, 193), [1, 1, 1], [-96, -132, -78], 1),
}


def header(folder, name, shape, edges, origin):
    """A scan of zeros but for one voxel, of which only the header matters."""
    affine = np.diag([*edges, 1.0])
    affine[:3, 3] = origin
    data = np.zeros(shape, np.uint8)
    data[0, 0, 0] = 1
    nib.save(nib.Nifti1Image(data, affine), folder / name)
    return folder / name


@pytest.mark.parametrize("program", GRIDS)
def test_the_grids_of_the_programs_are_found(tmp_path, program):
    shape, edges, origin, size = GRIDS[program]
    paths = {name: header(tmp_path, f"{name}.nii.gz", shape, edges, origin) for name in ("one", "two")}
    grid, first = find_grid(paths, size)
    upright = nib.as_closest_canonical(nib.load(paths["one"]))
    assert first == "one" and grid.shape == upright.shape == shape
    np.testing.assert_allclose(grid.affine, upright.affine)
    assert (np.diag(grid.affine)[:3] == size).all()
    assert grid.affine[0, 3] == min(origin[0], origin[0] + edges[0] * (shape[0] - 1))


@pytest.mark.parametrize("axes", ["LPS", "SAR", "IPL", "ALS"])
def test_the_grid_does_not_depend_on_how_voxels_are_stored(tmp_path, axes):
    image = nib.load(header(tmp_path, "ras.nii", (20, 24, 22), [6, 6, 6], [-57, -84, -60]))
    wanted = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes))
    nib.save(image.as_reoriented(wanted), tmp_path / "other.nii")
    grid, _ = find_grid({"ras": tmp_path / "ras.nii", "other": tmp_path / "other.nii"}, 6)
    assert grid.same(Grid.of(image))


def test_digits_that_programs_round_do_not_make_another_grid(tmp_path):
    paths = {"a": header(tmp_path, "a.nii", (20, 24, 22), [6, 6, 6], [-57, -84, -60])}
    paths["b"] = header(tmp_path, "b.nii", (20, 24, 22), [6.00005, 6, 6], [-57.001, -84, -60])
    assert find_grid(paths, 6)[1] == "a"
    paths["c"] = header(tmp_path, "c.nii", (20, 24, 22), [6, 6, 6], [-56, -84, -60])
    with pytest.raises(InputError) as refused:
        find_grid(paths, 6)
    assert refused.value.problem.startswith("the scans are not on one grid: 1 of 3 differ from the first one")
    assert "a: shape (20, 24, 22), origin [-57.0" in refused.value.found
    assert "c: shape (20, 24, 22), origin [-56.0" in refused.value.found


def test_scans_of_two_shapes_are_both_named(tmp_path):
    paths = {"first": header(tmp_path, "a.nii", (20, 24, 22), [6, 6, 6], [-57, -84, -60])}
    paths["second"] = header(tmp_path, "b.nii", (22, 24, 22), [6, 6, 6], [-57, -84, -60])
    with pytest.raises(InputError, match=r"first: shape \(20, 24, 22\).*second: shape \(22, 24, 22\)"):
        find_grid(paths, 6)


def test_what_cannot_be_the_grid_of_a_study(tmp_path):
    good = header(tmp_path, "good.nii", (20, 24, 22), [6, 6, 6], [-57, -84, -60])
    with pytest.raises(ConfigError, match=r"set registration\.resolution_mm: 6"):
        find_grid({"s": good}, 2)
    with pytest.raises(ConfigError, match=r"not cubes[\s\S]*6 x 6 x 5 mm"):
        find_grid({"s": header(tmp_path, "oblong.nii", (20, 24, 22), [6, 6, 5], [-57, -84, -60])}, 6)
    turned = nib.load(good)
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    nib.save(nib.Nifti1Image(np.asarray(turned.dataobj), rotation @ turned.affine), tmp_path / "turned.nii")
    with pytest.raises(ConfigError, match=r"rotated[\s\S]*MNI space"):
        find_grid({"s": tmp_path / "turned.nii"}, 6)


def test_a_scan_that_cannot_be_read_does_not_decide(tmp_path, caplog):
    (tmp_path / "broken.nii").write_bytes(b"no image")
    paths = {"broken": tmp_path / "broken.nii"}
    with pytest.raises(InputError, match="no scan can be read"):
        find_grid(paths, 6)
    paths["good"] = header(tmp_path, "good.nii", (20, 24, 22), [6, 6, 6], [-57, -84, -60])
    assert find_grid(paths, 6)[1] == "good"
    assert "broken.nii cannot be read" in caplog.text


def test_the_template_and_an_atlas_on_the_grid_of_spm(tmp_path):
    shape, edges, origin, size = GRIDS["spm"]
    grid, _ = find_grid({"s": header(tmp_path, "s.nii", shape, edges, origin)}, size)
    t1, mask = make_template(size, grid)
    assert Grid.of(t1).same(grid) and Grid.of(mask).same(grid)
    require_brain(mask)
    # Where the voxels of two grids coincide, so do their templates: SPM's lie 12 mm inside those of FSL.
    other, _ = make_template(size, "mni")
    offset = np.rint((grid.affine[:3, 3] - other.affine[:3, 3]) / size).astype(int)
    part = tuple(slice(o, o + n) for o, n in zip(offset, shape, strict=True))
    assert (offset == [6, 7, 1]).all()
    np.testing.assert_allclose(t1.get_fdata(), other.get_fdata()[part], atol=1e-6)
    atlas = load_atlas({"name": "AAL"})
    labels, regions = atlas_on_grid(atlas, grid)
    image = nib.Nifti1Image(np.asarray(atlas.image.dataobj), atlas.image.affine)
    direct = resample_img(
        image, grid.affine, grid.shape, interpolation="nearest", copy_header=True, force_resample=True
    )
    np.testing.assert_array_equal(labels, np.asarray(direct.dataobj))
    assert len(regions) == 116


def test_a_grid_beside_the_brain_is_refused_and_a_cut_one_is_reported(caplog):
    t1, mask = template_on(6)
    affine = t1.affine.copy()
    affine[2, 3] += 90
    with pytest.raises(InputError, match="does not hold the brain"):
        require_brain(make_template(6, Grid(t1.shape, affine))[1])
    affine[2, 3] -= 45
    require_brain(make_template(6, Grid(t1.shape, affine))[1])
    assert "of the template's brain lie outside the grid" in caplog.text
    caplog.clear()
    require_brain(mask)
    assert not caplog.text
