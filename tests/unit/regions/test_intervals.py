"""Intervals of means against a numerical inverse of Hall's transformation, and where they are left out."""

import numpy as np
import pytest
from scipy import optimize, stats

from voxelwhy.regions.intervals import mean_interval


def by_hand(values):
    """Solve g(t) = ±t₀.₉₇₅ for t by root finding, with the skewness from its definition."""
    n, mean, sd = len(values), np.mean(values), np.std(values, ddof=1)
    third = np.mean((values - mean) ** 3) / np.std(values) ** 3
    skewness = third * np.sqrt(n * (n - 1)) / (n - 2)

    def transformed(t):
        root = np.sqrt(n)
        return t + skewness * t**2 / (3 * root) + skewness**2 * t**3 / (27 * n) + skewness / (6 * root)

    ends = [
        optimize.brentq(lambda t, sign=sign: transformed(t) - sign * stats.t.ppf(0.975, n - 1), -50, 50)
        for sign in (1, -1)
    ]
    return [mean - t * sd / np.sqrt(n) for t in ends]


@pytest.mark.parametrize("n", [8, 18])
def test_limits_are_those_of_halls_transformation(n, rng):
    values = np.column_stack([rng.lognormal(0, 1, n), rng.normal(0, 1, n), -rng.gamma(1, 2, n)])
    mean, low, high = mean_interval(values)
    for column in range(3):
        expected = by_hand(values[:, column])
        assert (low[column], high[column]) == pytest.approx(
            (max(expected[0], 0) if column == 0 else expected[0], expected[1])
        )
        assert low[column] < mean[column] < high[column]


def test_symmetric_values_have_students_interval():
    values = np.array([-3.0, -2, -1, -0.5, 0.5, 1, 2, 3]) + 10
    _, low, high = mean_interval(values[:, None])
    assert (low[0], high[0]) == pytest.approx(stats.t.interval(0.95, 7, loc=10, scale=stats.sem(values)))


def test_skewed_values_reach_further_to_their_tail():
    """Seven subjects near 1 and one at 9: the bootstrap never sees the tail that the population has."""
    values = np.array([0.8, 0.9, 1.0, 1.1, 1.2, 1.0, 0.9, 9.0])
    (mean,), (low,), (high,) = mean_interval(values[:, None])
    student = stats.t.interval(0.95, 7, loc=mean, scale=stats.sem(values))
    drawn = np.random.default_rng(0).choice(values, (2000, 8)).mean(axis=1)
    assert student[0] < 0 < low < mean  # a mean share cannot be negative
    assert high > student[1] > np.percentile(drawn, 97.5)


def test_unknown_values_are_left_out_and_few_subjects_have_no_interval(rng):
    values = rng.gamma(2, 1, (9, 3))
    values[0, 1], values[:2, 2] = np.nan, np.nan
    mean, low, high = mean_interval(values)
    for column, own in ((0, values[:, 0]), (1, values[1:, 1])):
        single = mean_interval(own[:, None])
        assert (mean[column], low[column], high[column]) == pytest.approx(tuple(float(end[0]) for end in single))
    assert mean[2] == pytest.approx(values[2:, 2].mean()) and np.isnan([low[2], high[2]]).all()
    assert np.isnan(mean_interval(np.full((9, 1), np.nan))).all()


def test_equal_values_have_an_interval_of_one_point_and_zeros_stay_at_zero():
    mean, low, high = mean_interval(np.column_stack([np.full(8, 0.25), np.zeros(8), [0.8, *[0.0] * 7]]))
    assert mean.tolist() == pytest.approx([0.25, 0, 0.1])
    assert low.tolist() == pytest.approx([0.25, 0, 0])
    assert high[:2].tolist() == pytest.approx([0.25, 0]) and high[2] > 0.5
