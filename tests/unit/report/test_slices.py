"""Where slices lie, which way they are turned, and how maps are scaled and interpolated over the anatomy."""

import numpy as np
import pytest
from scipy import ndimage

from voxelwhy.errors import InputError
from voxelwhy.io.images import save_image
from voxelwhy.report.figures import relevance, slices


def test_slices_lie_and_are_labelled_where_the_affine_says(brain):
    grid = brain["grid"]
    x_of = grid.affine[:3, 3] + np.diag(grid.affine)[:3] * 10
    for axis, millimetres in enumerate(x_of):
        assert slices.slice_index(grid.affine, axis, millimetres + 2.9, grid.shape[axis]) == 10
        assert slices.slice_label(grid.affine, axis, 10) == f"{'xyz'[axis]} = {millimetres:g} mm"
    with pytest.raises(InputError, match="outside the image along y"):
        slices.slice_index(grid.affine, 1, 500, grid.shape[1])


def test_the_labels_stand_in_the_figure(brain, tmp_path):
    maps = {"occlusion": brain["paths"]["occlusion"]}
    options = {
        "group": "AD",
        "n_subjects": 1,
        "n_scans": 1,
        "settings": {"methods": {"occlusion": {}}},
        "simulated": False,
    }
    relevance.draw_group_maps(maps, brain["paths"]["t1"], tmp_path / "m", slices_mm=(-29, 2), **options)
    text = (tmp_path / "m.svg").read_text(encoding="utf-8")
    # The 6 mm grid has slices at -30 and 0 mm: what is drawn is what is written.
    assert ">y = -30 mm<" in text and ">y = 0 mm<" in text and "-29 mm" not in text


def test_left_is_left_and_up_is_up():
    data = np.zeros((4, 3, 5))
    data[0, 1, 4] = 1  # left, superior
    assert slices.take_slice(data, 1, 1)[0, 0] == 1
    assert slices.take_slice(data, 1, 1).shape == (5, 4)


def test_an_image_stored_the_other_way_round_is_drawn_alike(brain, tmp_path):
    data, affine = slices.load_canonical(brain["paths"]["occlusion"])
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = data.shape[0] - 1
    save_image(tmp_path / "las.nii.gz", data[::-1], affine @ flip)
    turned, turned_affine = slices.load_canonical(tmp_path / "las.nii.gz")
    np.testing.assert_array_equal(turned, data)
    np.testing.assert_allclose(turned_affine, affine)


def test_the_scale_leaves_the_anatomy_visible():
    values = np.random.default_rng(0).normal(size=(20, 20, 20))
    scale = slices.colour_scale(values, np.ones_like(values, bool))
    assert (values > scale.low).mean() == pytest.approx(0.10, abs=0.01)
    assert (values > scale.high).mean() == pytest.approx(0.002, abs=0.001)
    assert slices.colour_scale(-np.abs(values), np.ones_like(values, bool)) is None
    # One constant patch, as area occlusion gives it: shown whole.
    patch = np.zeros((10, 10, 10))
    patch[:4] = 0.5
    assert slices.colour_scale(patch, np.ones_like(patch, bool)) == slices.Scale(0.0, 0.5)


def test_a_map_on_another_grid_is_interpolated_at_the_points_of_the_template(tmp_path):
    """Against scipy at the millimetres of each voxel; a map on the same grid is not touched."""
    coarse, fine = np.diag([4.0, 4, 4, 1]), np.diag([1.0, 1, 1, 1])
    coarse[:3, 3], fine[:3, 3] = (-10, -8, -6), (-9, -7, -5)
    values, shape = np.random.default_rng(1).random((7, 6, 5)).astype(np.float32), (20, 18, 14)
    save_image(tmp_path / "map.nii.gz", values, coarse)
    where = (np.indices(shape).reshape(3, -1) + fine[:3, 3:] - coarse[:3, 3:]) / 4
    expected = ndimage.map_coordinates(values, where, order=1, mode="constant").reshape(shape)
    np.testing.assert_allclose(slices.on_grid(tmp_path / "map.nii.gz", shape, fine), expected, atol=1e-5)
    assert np.array_equal(slices.on_grid(tmp_path / "map.nii.gz", values.shape, coarse), values)
