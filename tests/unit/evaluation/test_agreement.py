"""Distances and rank correlations of mean maps against figures worked out by hand."""

import numpy as np
import pytest
from scipy.stats import rankdata

from voxelwhy.errors import InputError, ShapeError
from voxelwhy.evaluation.agreement import compare_maps
from voxelwhy.io.tables import AGREEMENT, write_table

CLASSES = {"positive": "AD", "negative": "CN"}


@pytest.fixture
def mask():
    mask = np.zeros((3, 4, 5), bool)
    mask[1:, 1:, 1:4] = True
    return mask


@pytest.fixture
def maps(mask):
    rng = np.random.default_rng(0)
    return {m: {g: rng.normal(size=mask.shape) for g in ("AD", "CN", "all")} for m in ("one", "two", "three")}


def row(frame, **wanted):
    for name, value in wanted.items():
        frame = frame[frame[name] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_distances_are_those_worked_out_by_hand():
    mask = np.array([[[True, True, False]]])
    maps = {"m": {"AD": np.array([[[3.0, 1.0, 99.0]]]), "CN": np.array([[[0.0, -5.0, -99.0]]])}}
    frame = compare_maps(maps, mask, classes=CLASSES)
    assert row(frame, scaling="raw")["distance"] == pytest.approx(np.hypot(3, 6))
    # Scaled: (0.75, 0.25) and (0, -1); the voxel outside the mask plays no part.
    assert row(frame, scaling="scaled")["distance"] == pytest.approx(np.hypot(0.75, 1.25))
    assert row(frame, scaling="raw")["spearman"] == pytest.approx(1)


def test_every_pair_and_group_is_there_and_follows_the_schema(maps, mask, tmp_path):
    frame = compare_maps(maps, mask, classes=CLASSES)
    write_table(frame, tmp_path / "agreement.tsv", AGREEMENT)
    assert len(frame) == 3 * 2 + 3 * 3
    assert set(frame["n_voxels"]) == {int(mask.sum())}
    one, two = (maps[name]["all"][mask] for name in ("one", "two"))
    found = row(frame, comparison="methods", group="all", first="one", second="two")
    assert found["spearman"] == pytest.approx(np.corrcoef(rankdata(one), rankdata(two))[0, 1], abs=1e-12)
    expected = np.sqrt(((one / np.abs(one).sum() - two / np.abs(two).sum()) ** 2).sum())
    assert found["distance"] == pytest.approx(expected, abs=1e-12)


def test_units_do_not_matter_between_methods(maps, mask):
    frame = compare_maps(maps, mask, classes=CLASSES)
    maps["two"] = {group: 1e-9 * values for group, values in maps["two"].items()}
    other = compare_maps(maps, mask, classes=CLASSES)
    between = frame["comparison"] == "methods"
    np.testing.assert_allclose(other.loc[between, "distance"], frame.loc[between, "distance"], rtol=1e-12)


def test_an_empty_map_has_no_scaled_distance(maps, mask):
    maps["one"]["AD"] = np.zeros(mask.shape)
    frame = compare_maps(maps, mask, classes=CLASSES)
    scaled = row(frame, comparison="classes", first="one", scaling="scaled")
    assert np.isnan(scaled["distance"]) and np.isnan(scaled["spearman"])
    assert np.isfinite(row(frame, comparison="classes", first="one", scaling="raw")["distance"])


def test_refuses_another_grid_and_a_missing_class(maps, mask):
    with pytest.raises(ShapeError, match=r"mean map AD of one has shape \(2, 2, 2\)"):
        compare_maps({"one": maps["one"] | {"AD": np.zeros((2, 2, 2))}}, mask, classes=CLASSES)
    with pytest.raises(InputError, match="no mean map of a class"):
        compare_maps({"one": {"AD": maps["one"]["AD"]}}, mask, classes=CLASSES)
