"""Intervals of proportions, AUCs and differences against closed forms, published examples and brute force."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from voxelwhy.evaluation.intervals import (
    auc_interval,
    difference_interval,
    effective_subjects,
    mean_of_two_interval,
    paired_proportions_interval,
    proportion_interval,
)

Z = stats.norm.ppf(0.975)


def test_the_effective_number_of_subjects_falls_with_unequal_numbers_of_scans():
    assert effective_subjects(["a", "b", "c"]) == 3
    assert effective_subjects(np.repeat(["a", "b", "c"], 7)) == 3  # copies tell nothing new
    assert effective_subjects(["a", "b", "b", "b"]) == pytest.approx(16 / 10)
    assert effective_subjects([]) == 0


@pytest.mark.parametrize(("share", "n"), [(0.0, 18), (0.5, 18), (1.0, 18), (0.83, 37.5), (1.0, 3)])
def test_a_proportion_has_the_limits_at_which_its_score_test_rejects(share, n):
    low, high = proportion_interval(share, n)
    for limit in (low, high):
        if 0 < limit < 1:
            assert abs(share - limit) / np.sqrt(limit * (1 - limit) / n) == pytest.approx(Z)
    assert low <= share <= high and (low == 0) == (share == 0) and (high == 1) == (share == 1)


def test_a_share_of_one_keeps_an_interval_where_the_bootstrap_has_none():
    """All of 18 right: every resample is right too, so the percentile bootstrap gives 1 to 1."""
    low, high = proportion_interval(1.0, 18)
    assert low == pytest.approx(18 / (18 + Z**2)) and high == 1
    assert np.isnan(proportion_interval(np.nan, 0)).all()


def test_balanced_accuracy_is_newcombes_interval_of_a_difference():
    """Sensitivity + specificity - 1 is sensitivity minus the false positive rate, whose interval statsmodels has."""
    for hits, rejections in ((15, 18), (11, 9), (18, 18), (0, 7)):
        estimates = [(k / 18, *proportion_confint(k, 18, method="wilson")) for k in (hits, rejections)]
        theirs = confint_proportions_2indep(hits, 18, 18 - rejections, 18, method="newcomb", compare="diff")
        np.testing.assert_allclose(mean_of_two_interval(*estimates), (1 + np.array(theirs)) / 2, atol=1e-12)


@pytest.mark.parametrize(
    ("table", "published"),
    [
        ((59, 6, 16, 80), (-0.1186, -0.0046)),  # Cavo 2012, in Fagerland et al. 2017, Contingency Tables, chapter 8
        ((1, 1, 7, 12), (-0.507, -0.026)),  # Bentur 2009, in Fagerland et al. 2014
        ((14, 5, 0, 22), (0.011, 0.226)),  # Altman et al. 2000, Statistics with Confidence, table 6.2
    ],
)
def test_a_paired_difference_has_the_published_limits(table, published):
    np.testing.assert_allclose(paired_proportions_interval(*table), published, atol=5e-4)


def test_two_models_that_are_always_right_have_a_difference_with_an_interval():
    low, high = paired_proportions_interval(18, 0, 0, 0)
    assert low == pytest.approx(-high) and -1 < low < 0
    assert np.isnan(paired_proportions_interval(0, 0, 0, 0)).all()


def test_a_perfect_correlation_of_two_estimates_leaves_the_difference_of_their_distances():
    low, high = difference_interval((0.8, 0.7, 0.85), (0.6, 0.5, 0.7), 1.0)
    assert (low, high) == pytest.approx((0.2 - abs(0.1 - 0.1), 0.2 + abs(0.05 - 0.1)))
    low, high = difference_interval((0.8, 0.7, 0.85), (0.6, 0.5, 0.7), 0.0)
    assert (low, high) == pytest.approx((0.2 - np.hypot(0.1, 0.1), 0.2 + np.hypot(0.05, 0.1)))


def variance_by_hand(t, m, n):
    """Hanley & McNeil's variance for exponential scores, with the mean of m and n in the place of each (Newcombe)."""
    q1, q2, number = t / (2 - t), 2 * t**2 / (1 + t), (m + n) / 2
    return (t * (1 - t) + (number - 1) * (q1 - t**2 + q2 - t**2)) / (m * n)


@pytest.mark.parametrize(("m", "n"), [(18, 18), (30, 12)])
@pytest.mark.parametrize("auc", [0.0, 0.3, 0.75, 0.98, 1.0])
@pytest.mark.parametrize("factor", [None, 0.4, 2.0])
def test_an_auc_has_the_values_that_a_grid_of_tests_does_not_reject(auc, m, n, factor):
    if factor is None or auc in (0.0, 1.0):
        variance, ratio = np.nan, 1.0
    else:
        variance, ratio = factor * variance_by_hand(auc, m, n), factor
    overlap = 4 * auc * (1 - auc) * min(m, n)
    weight = overlap / (overlap + 5)
    grid = np.linspace(0, 1, 200_001)
    kept = np.abs(auc - grid) <= Z * np.sqrt(variance_by_hand(grid, m, n).clip(0) * (weight * ratio + 1 - weight))
    kept |= np.abs(grid - auc) < 1e-9
    low, high = auc_interval(auc, variance, m, n)
    assert (low, high) == pytest.approx((grid[kept].min(), grid[kept].max()), abs=1e-5)


def test_perfect_separation_is_not_certainty():
    """The percentile bootstrap of a perfectly separated sample, and DeLong's variance, give 1 to 1."""
    low, high = auc_interval(1.0, 0.0, 18, 18)
    assert 0.8 < low < 0.95 and high == 1
    assert auc_interval(0.0, 0.0, 18, 18) == pytest.approx((0, 1 - low))
    wider, _ = auc_interval(1.0, 0.0, 9, 9)
    assert wider < low


def test_in_large_samples_the_interval_is_delongs():
    auc, variance = 0.8, 2e-5
    low, high = auc_interval(auc, variance, 20_000, 5_000)
    half = Z * np.sqrt(variance)
    assert (low, high) == pytest.approx((auc - half, auc + half), rel=2e-3)
    assert np.isnan(auc_interval([np.nan, 0.7], [0.01, 0.01], [3, 0], [0, 3])).all()
