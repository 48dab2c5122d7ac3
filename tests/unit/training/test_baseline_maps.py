"""Maps of the baseline: patterns worked out by hand, maps and enrichment compared with plain loops over folds."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from voxelwhy.io.images import save_image
from voxelwhy.io.tables import BASELINE_RELEVANCE, read_table, write_table
from voxelwhy.splits.permute import permute_diagnoses
from voxelwhy.training.baseline import explain_baseline, predict_baseline
from voxelwhy.training.baseline_maps import (
    BrainRegions,
    baseline_enrichment,
    load_baseline_maps,
    map_card,
    mean_over_folds,
    pattern_coefficients,
)
from voxelwhy.training.region_baseline import RegionBaseline

ESTIMATORS = {"logistic_regression": LogisticRegression(max_iter=5000), "linear_svm": SVC(kernel="linear")}


def test_a_suppressor_has_a_large_weight_and_no_pattern():
    """x1 is signal plus noise and x2 the noise alone, without correlation: w = (1, -1) leaves the signal."""
    signal, noise = np.array([1.0, 1, -1, -1]), np.array([3.0, -3, 3, -3])
    features = np.stack([signal + noise, noise], axis=1)
    weights = np.array([1.0, -1])
    pattern = features.T @ pattern_coefficients(features @ weights)
    # Cov(x1, signal) / Var(signal) = 1, Cov(x2, signal) / Var(signal) = 0.
    np.testing.assert_allclose(pattern, [1, 0], atol=1e-15)


def test_the_pattern_is_that_of_covariance_matrices(rng):
    features, weights = rng.normal(size=(30, 5)) @ rng.normal(size=(5, 5)), rng.normal(size=5)
    covariance = np.cov(features, rowvar=False)
    expected = covariance @ weights / (weights @ covariance @ weights)
    coefficients = pattern_coefficients(features @ weights + 7)
    np.testing.assert_allclose(features.T @ coefficients, expected, rtol=1e-10)
    np.testing.assert_array_equal(pattern_coefficients(np.full(30, 2.0)), np.zeros(30))


def test_the_fitted_suppressor_is_seen_in_the_weights_alone(rng):
    """The same as a study would have it: noise, and the diagnosis in one region under twice as much of that noise."""
    n = 400
    positive = np.arange(n) % 2 == 1
    noise = np.repeat(rng.normal(size=n // 2), 2)  # the same in both classes
    features = pd.DataFrame({"disease": positive + 2 * noise, "suppressor": noise}, index=[f"s{i}" for i in range(n)])
    known = pd.DataFrame({"scan_id": features.index})
    weights, pattern = np.abs(RegionBaseline(features, "linear_svm").fit(known, positive).coefficients())
    assert weights[1] > 0.9 * weights[0]
    assert pattern[1] < 0.1 * pattern[0]


@pytest.fixture
def regions(small_cohort):
    """Three regions in slabs of the brain; the fourth has no voxel inside it, and part of the brain has no region."""
    brain = np.asarray(small_cohort[0].dataobj) > 0
    labels = np.zeros(brain.shape, dtype=int)
    labels[1:5], labels[5:12], labels[12:17] = 7, 3, 5
    labels[0] = 9
    return BrainRegions(brain, labels, [7, 3, 5, 9])


@pytest.fixture
def features(small_cohort, rng):
    """Four features in each of two channels; the second feature of the first channel follows the diagnosis."""
    scans = sorted(small_cohort[2]["scan_id"].unique())
    table = pd.DataFrame(rng.normal(size=(len(scans), 8)), index=scans)
    table[1] += 2 * (np.arange(len(scans)) % 2)
    return table


@pytest.fixture
def subjects(small_cohort):
    return pd.DataFrame({"age": np.nan, "sex": None}, index=sorted(small_cohort[2]["subject_id"].unique()))


def by_hand(folds, features, regions, kind):
    """Mean over folds of the scaled maps (weights, pattern), painted voxel by voxel."""
    maps = np.zeros((2, *regions.brain.shape))
    for fold in (0, 1):
        known = folds[(folds["fold"] == fold) & (folds["side"] != "test")]
        x = features.loc[known["scan_id"]].to_numpy()
        z = (x - x.mean(0)) / x.std(0)
        weights = ESTIMATORS[kind].fit(z, known["label"] == "AD").coef_[0]
        covariance = np.cov(z, rowvar=False)
        for map_, values in zip(maps, (weights, covariance @ weights / (weights @ covariance @ weights)), strict=True):
            by_region = np.abs(values).reshape(2, 4).sum(0)
            painted = np.zeros(regions.brain.shape)
            for region, value in zip(regions.region_ids, by_region, strict=True):
                painted[(regions.labels == region) & regions.brain] = value
            map_ += painted / painted.sum() / 2
    return maps


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_maps_and_enrichment_by_hand(small_cohort, classes, features, regions, subjects, kind):
    folds = small_cohort[2]
    baseline = RegionBaseline(features, kind, regions)
    maps, relevance = explain_baseline(folds, subjects, baseline, classes=classes, n_draws=2)
    assert list(maps) == ["weights", "pattern"]
    for draw in range(3):
        drawn = folds if draw == 0 else permute_diagnoses(folds, subjects, draw=draw)
        expected = by_hand(drawn, features, regions, kind)
        for name, map_ in zip(maps, expected, strict=True):
            if draw == 0:
                np.testing.assert_allclose(maps[name], map_, rtol=1e-4)
                assert maps[name].sum() == pytest.approx(1)
            rows = relevance[(relevance["draw"] == draw) & (relevance["map"] == name)]
            assert list(rows["region_id"]) == [7, 3, 5, 9]
            shares = [map_[regions.labels == region].sum() for region in (7, 3, 5)]
            sizes = [(regions.brain & (regions.labels == region)).sum() for region in (7, 3, 5)]
            expected_enrichment = np.array(shares) / (np.array(sizes) / regions.brain.sum())
            np.testing.assert_allclose(rows["enrichment"][:3], expected_enrichment, rtol=1e-4)
            assert np.isnan(rows["enrichment"].iloc[3])
    first = relevance[relevance["draw"] == 0].drop(columns="draw")
    assert not np.allclose(first["enrichment"], relevance.loc[relevance["draw"] == 1, "enrichment"], equal_nan=True)


def test_a_flat_map_has_an_enrichment_of_1(regions):
    flat = regions.of_voxels.sum(axis=0) / regions.brain.sum()
    np.testing.assert_allclose(regions.enrichment(np.asarray(flat)[0])[:3], 1)


def test_a_fold_without_a_map_does_not_count():
    """The second of two folds of the second draw has no weights; the third draw has none at all."""
    values = np.array([[[[1.0, 3]], [[2, 2]]], [[[1, 3]], [[0, 0]]], [[[0, 0]], [[0, 0]]]])
    found = mean_over_folds(values, values.sum(-1))
    np.testing.assert_allclose(found[:2], [[[0.375, 0.625]], [[0.25, 0.75]]])
    assert np.isnan(found[2]).all()


def test_permuted_diagnoses_of_one_class_give_no_map(small_cohort, classes, features, regions, subjects, monkeypatch):
    folds = small_cohort[2]

    def all_patients_but_those_tested(folds, subjects, *, draw):
        return folds.assign(label=np.where(folds["side"] == "test", "CN", "AD"))

    monkeypatch.setattr("voxelwhy.training.baseline.permute_diagnoses", all_patients_but_those_tested)
    baseline = RegionBaseline(features, "linear_svm", regions)
    _, relevance = explain_baseline(folds, subjects, baseline, classes=classes, n_draws=1)
    assert relevance.loc[relevance["draw"] == 1, "enrichment"].isna().all()
    assert relevance.loc[relevance["draw"] == 0, "enrichment"].notna().sum() == 6


def test_what_is_stored_is_loaded_as_the_map_of_a_method(small_cohort, classes, features, regions, subjects, tmp_path):
    mask, _, folds = small_cohort
    baseline = RegionBaseline(features, "linear_svm", regions)
    maps, relevance = explain_baseline(folds, subjects, baseline, classes=classes, n_draws=2)
    paths = [tmp_path / f"{kind}.nii.gz" for kind in maps]
    for path, (kind, values) in zip(paths, maps.items(), strict=True):
        save_image(path, values, mask.affine, map_card(kind, {"kind": "linear_svm"}, folds, ["t1"], {}))
    loaded = load_baseline_maps(paths)
    assert list(loaded) == ["baseline_weights", "baseline_pattern"]
    np.testing.assert_allclose(loaded["baseline_pattern"], maps["pattern"], rtol=1e-6)
    write_table(relevance, tmp_path / "relevance.tsv", BASELINE_RELEVANCE)
    own, draws = baseline_enrichment(read_table(tmp_path / "relevance.tsv", BASELINE_RELEVANCE))
    assert draws["baseline_pattern"].shape == (2, 4) and list(own) == list(draws) == list(loaded)
    true = relevance[(relevance["draw"] == 0) & (relevance["map"] == "weights")]
    np.testing.assert_allclose(own["baseline_weights"].loc[true["region_id"]], true["enrichment"])
    expected = relevance[(relevance["draw"] == 2) & (relevance["map"] == "pattern") & (relevance["region_id"] == 3)]
    assert draws["baseline_pattern"].loc[2, 3] == pytest.approx(expected["enrichment"].item())


def test_test_scans_change_no_map(small_cohort, classes, features, regions, subjects):
    """Predictions and maps of a fold depend on its training and validation scans alone."""
    folds = small_cohort[2]
    folds = folds[folds["fold"] == 0]
    tested = folds.loc[folds["side"] == "test", "scan_id"]
    other = features.copy()
    other.loc[tested] = 100.0
    found = [
        explain_baseline(folds, subjects, RegionBaseline(f, "linear_svm", regions), classes=classes, n_draws=0)
        for f in (features, other)
    ]
    np.testing.assert_array_equal(found[0][0]["weights"], found[1][0]["weights"])
    margins = [predict_baseline(folds, RegionBaseline(f, "linear_svm"), classes=classes) for f in (features, other)]
    assert not np.allclose(margins[0]["logit_positive"], margins[1]["logit_positive"])


def test_the_card_counts_the_scans_that_it_is_fitted_on(small_cohort):
    folds = small_cohort[2]
    card = map_card("weights", {"kind": "voxelwise", "smoothing_mm": 8}, folds, ["t1"], {"numpy": "2"})
    known = {scan for _, rows in folds.groupby("fold") for scan in rows.loc[rows["side"] != "test", "scan_id"]}
    assert (card["n_scans"], card["n_subjects"], card["n_folds"]) == (len(known), len(known), 2)
    only = map_card("weights", {"kind": "voxelwise"}, folds[folds["fold"] == 0], ["t1"], {})
    assert only["n_scans"] == 12 < card["n_scans"]
