"""Distances and rank correlations of mean maps against figures computed by hand and by scipy."""

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from voxelwhy.errors import InputError, ShapeError
from voxelwhy.evaluation.agreement import compare_maps
from voxelwhy.io.tables import AGREEMENT, write_table

CLASSES = {"positive": "AD", "negative": "CN"}
GROUPS = ("AD", "CN", "all")
N_REGIONS = 7


@pytest.fixture
def mask():
    mask = np.zeros((3, 4, 5), bool)
    mask[1:, 1:, 1:4] = True
    return mask


@pytest.fixture
def maps(mask, rng):
    return {m: {g: rng.normal(size=mask.shape) for g in GROUPS} for m in ("one", "two", "three")}


@pytest.fixture
def enrichment(maps, rng):
    return {m: {g: rng.gamma(1, 1, N_REGIONS) for g in GROUPS} for m in maps}


def row(frame, **wanted):
    for name, value in wanted.items():
        frame = frame[frame[name] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_distances_are_those_computed_by_hand():
    mask = np.array([[[True, True, False]]])
    maps = {"m": {"AD": np.array([[[3.0, 1.0, 99.0]]]), "CN": np.array([[[0.0, -5.0, -99.0]]])}}
    regions = {"m": {"AD": [2.0, 1.0, 0.5], "CN": [0.5, 1.0, 2.0]}}
    frame = compare_maps(maps, mask, regions, classes=CLASSES, raw=maps)
    assert row(frame, scaling="raw")["distance"] == pytest.approx(np.hypot(3, 6))
    # Scaled: (0.75, 0.25) and (0, -1); the voxel outside the mask is ignored.
    assert row(frame, scaling="scaled")["distance"] == pytest.approx(np.hypot(0.75, 1.25))
    assert row(frame, scaling="raw")["spearman"] == pytest.approx(1)
    assert row(frame, over="regions")["spearman"] == pytest.approx(-1)
    assert row(frame, over="regions")["n"] == 3 and row(frame, scaling="scaled")["n"] == 2


def test_every_pair_and_group_is_there_and_follows_the_schema(maps, enrichment, mask, tmp_path):
    frame = compare_maps(maps, mask, enrichment, classes=CLASSES)
    write_table(frame, tmp_path / "agreement.tsv", AGREEMENT)
    assert len(frame) == 3 * 2 + 3 * 3 * 2
    voxels, regions = (frame[frame["over"] == unit] for unit in ("voxels", "regions"))
    assert set(voxels["n"]) == {int(mask.sum())} and set(regions["n"]) == {N_REGIONS}
    assert regions["distance"].isna().all() and set(regions["scaling"]) == {"enrichment"}
    one, two = (maps[name]["all"][mask] for name in ("one", "two"))
    names = {"comparison": "methods", "group": "all", "first": "one", "second": "two"}
    found = row(frame, **names, over="voxels")
    assert found["spearman"] == pytest.approx(np.corrcoef(rankdata(one), rankdata(two))[0, 1], abs=1e-12)
    expected = np.sqrt(((one / np.abs(one).sum() - two / np.abs(two).sum()) ** 2).sum())
    assert found["distance"] == pytest.approx(expected, abs=1e-12)
    expected = spearmanr(enrichment["one"]["all"], enrichment["two"]["all"]).statistic
    assert row(frame, **names, over="regions")["spearman"] == pytest.approx(expected, abs=1e-12)


def test_raw_maps_are_compared_only_where_one_network_explains_all_scans(maps, enrichment, mask):
    """Means of raw maps of several networks are those of the network with the largest gradients."""
    without = compare_maps(maps, mask, enrichment, classes=CLASSES)
    assert "raw" not in set(without["scaling"])
    raw = {m: {g: 1e3 * values for g, values in groups.items()} for m, groups in maps.items()}
    given = compare_maps(maps, mask, enrichment, classes=CLASSES, raw=raw)
    assert given[given["scaling"] != "raw"].reset_index(drop=True).equals(without)
    own = row(given, scaling="raw", first="one")
    assert own["distance"] == pytest.approx(1e3 * np.linalg.norm((maps["one"]["AD"] - maps["one"]["CN"])[mask]))


def test_the_mean_of_scaled_maps_is_not_that_of_the_network_with_the_largest_gradients():
    """Two networks, the second with gradients a hundred times as large, agree with another method in rank order. By
    hand: scaled, the mean is (0.5, 0.5); raw, it is almost the map of the second network alone."""
    first, second = np.array([0.8, 0.2]), 100 * np.array([0.2, 0.8])
    scaled = np.mean([values / values.sum() for values in (first, second)], axis=0)
    raw = np.mean([first, second], axis=0) / np.mean([first, second], axis=0).sum()
    mask, even = np.ones((2, 1, 1), bool), np.full((2, 1, 1), 0.5)
    regions = {"AD": [1.0, 2.0], "CN": [1.0, 2.0]}

    def distance(values):
        maps = {"a": {group: values.reshape(2, 1, 1) for group in regions}, "b": dict.fromkeys(regions, even)}
        frame = compare_maps(maps, mask, {"a": regions, "b": regions}, classes=CLASSES)
        return row(frame, comparison="methods", group="AD", over="voxels")["distance"]

    assert distance(scaled) == pytest.approx(0)
    assert distance(raw) == pytest.approx(np.hypot(*(raw - 0.5))) and distance(raw) > 0.4


def test_units_do_not_matter_between_methods(maps, enrichment, mask):
    frame = compare_maps(maps, mask, enrichment, classes=CLASSES)
    maps["two"] = {group: 1e-9 * values for group, values in maps["two"].items()}
    other = compare_maps(maps, mask, enrichment, classes=CLASSES)
    np.testing.assert_allclose(other["distance"], frame["distance"], rtol=1e-12)


def test_an_empty_map_has_no_scaled_distance(maps, enrichment, mask):
    maps["one"]["AD"] = np.zeros(mask.shape)
    enrichment["one"]["AD"] = np.full(N_REGIONS, np.nan)
    frame = compare_maps(maps, mask, enrichment, classes=CLASSES, raw=maps)
    scaled = row(frame, comparison="classes", first="one", scaling="scaled")
    assert np.isnan(scaled["distance"]) and np.isnan(scaled["spearman"])
    assert np.isfinite(row(frame, comparison="classes", first="one", scaling="raw")["distance"])
    regions = row(frame, comparison="classes", first="one", scaling="enrichment")
    assert regions["n"] == 0 and np.isnan(regions["spearman"])


def test_regions_without_enrichment_in_one_of_both_are_left_out(maps, enrichment, mask):
    enrichment["one"]["AD"][2], enrichment["one"]["CN"][5] = np.nan, np.nan
    found = row(
        compare_maps(maps, mask, enrichment, classes=CLASSES), over="regions", comparison="classes", first="one"
    )
    kept = [0, 1, 3, 4, 6]
    expected = spearmanr(enrichment["one"]["AD"][kept], enrichment["one"]["CN"][kept]).statistic
    assert found["n"] == 5 and found["spearman"] == pytest.approx(expected)


def test_a_constant_map_has_no_rank_correlation(maps, enrichment, mask):
    enrichment["two"]["AD"] = np.ones(N_REGIONS)
    frame = compare_maps(maps, mask, enrichment, classes=CLASSES)
    assert np.isnan(row(frame, over="regions", comparison="classes", first="two")["spearman"])


def test_refuses_another_grid_and_a_missing_class(maps, enrichment, mask):
    with pytest.raises(ShapeError, match=r"mean map AD of one has shape \(2, 2, 2\)"):
        compare_maps({"one": maps["one"] | {"AD": np.zeros((2, 2, 2))}}, mask, enrichment, classes=CLASSES)
    with pytest.raises(InputError, match="no mean map of a class"):
        compare_maps({"one": {"AD": maps["one"]["AD"]}}, mask, enrichment, classes=CLASSES)
