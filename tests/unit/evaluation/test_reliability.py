"""ICC(2,1) against the worked example of its paper and statsmodels; intervals over subjects and trainings."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from voxelwhy.evaluation.intervals import student_interval
from voxelwhy.evaluation.reliability import icc_agreement, icc_interval, jackknife_interval

#: Table 2 of Shrout & Fleiss (1979): six targets, four judges.
SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)


def normal(rng, *shape):
    return rng.normal(size=shape)


def skewed(rng, *shape):
    """Log-normal with σ = 0.8, of mean 0 and variance 1."""
    values = rng.lognormal(0, 0.8, size=shape)
    return (values - np.exp(0.32)) / np.sqrt((np.exp(0.64) - 1) * np.exp(0.64))


def drawn(rng, *, subjects, trainings, folds, variances, family=normal, studies=1000):
    """Studies of the same model side by side, as regions: (subjects, trainings, studies) of each fold."""
    of_subject, of_training, error = np.sqrt(variances)
    return [
        of_subject * family(rng, subjects, 1, studies)
        + of_training * normal(rng, 1, trainings, studies)
        + error * family(rng, subjects, trainings, studies)
        for _ in range(folds)
    ]


def covered(blocks, truth):
    _, low, high = icc_interval(blocks)
    return ((low <= truth) & (truth <= high)).mean()


def test_the_worked_example_of_shrout_and_fleiss():
    (value,), (low,), (high,) = icc_interval([SHROUT_FLEISS[:, :, None]])
    assert round(value, 2) == 0.29 and value == pytest.approx(0.28976, abs=1e-5)
    assert low < value < high


def test_mean_squares_are_those_of_statsmodels(rng):
    blocks = [rng.normal(size=(7, 4, 1)) + rng.normal(size=(7, 1, 1)) + rng.normal(size=(1, 4, 1)) for _ in range(2)]
    squares, free = np.zeros(3), np.zeros(3)
    for block in blocks:
        rows = [(f"s{s}", f"t{t}", block[s, t, 0]) for s in range(7) for t in range(4)]
        table = anova_lm(ols("y ~ C(s) + C(t)", pd.DataFrame(rows, columns=["s", "t", "y"])).fit())
        squares, free = squares + table["sum_sq"].to_numpy(), free + table["df"].to_numpy()
    between, judges, error = squares / free
    # The formula of the paper, with n = 7 targets and k = 4 judges in each fold.
    expected = (between - error) / (between + 3 * error + 4 * (judges - error) / 7)
    assert icc_agreement(blocks)[0] == pytest.approx(expected)


def test_differences_between_folds_do_not_count(rng):
    blocks = drawn(rng, subjects=6, trainings=3, folds=2, variances=(1, 0.2, 0.5), studies=3)
    moved = [blocks[0], blocks[1] + 100]
    for found, expected in zip(icc_interval(moved), icc_interval(blocks), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_equal_trainings_give_one_and_unrelated_ones_zero(rng):
    same = np.repeat(rng.normal(size=(8, 1, 2)), 4, axis=1)
    np.testing.assert_allclose(icc_interval([same, same + 1]), 1.0)
    value, low, high = icc_interval([rng.normal(size=(16, 5, 400)) for _ in range(3)])
    assert abs(value.mean()) < 0.01 and ((low <= 0) & (high >= 0)).mean() > 0.94
    assert np.isnan(icc_agreement([np.ones((4, 3, 1))])).all()
    assert np.isnan(icc_agreement([rng.normal(size=(4, 1, 1))])).all(), "one training"


@pytest.mark.parametrize(
    ("family", "variances", "least", "most"),
    [(normal, (1, 0.3, 0.7), 0.94, 0.98), (normal, (1, 0.1, 4), 0.94, 0.995), (skewed, (1, 0.3, 0.7), 0.82, 0.92)],
)
def test_coverage_over_subjects_and_trainings(rng, family, variances, least, most):
    """Three folds of 16 subjects, five trainings each. Heavy tails are a problem (docs/trust/statistics.md)."""
    blocks = drawn(rng, subjects=16, trainings=5, folds=3, variances=variances, family=family)
    assert least < covered(blocks, variances[0] / sum(variances)) < most


def test_with_two_trainings_the_interval_is_that_of_the_subjects(rng):
    blocks = drawn(rng, subjects=8, trainings=2, folds=2, variances=(1, 0.5, 0.5), studies=1)
    without = [
        np.stack([icc_agreement([np.delete(blocks[0], s, 0), blocks[1]]) for s in range(8)]),
        np.stack([icc_agreement([blocks[0], np.delete(blocks[1], s, 0)]) for s in range(8)]),
    ]
    expected = jackknife_interval(icc_agreement(blocks), [without])
    np.testing.assert_allclose(icc_interval(blocks)[1:], expected)


def test_the_jackknife_of_a_mean_is_students_interval(rng):
    values = rng.normal(size=12)
    without = (values.sum() - values) / 11
    found = jackknife_interval(values.mean(), [[without]], fisher=False)
    assert found == pytest.approx(student_interval(values))
    # Two crossed factors: variances add, and degrees of freedom are Satterthwaite's.
    wider = jackknife_interval(values.mean(), [[without], [without[:6]]], fisher=False)
    assert wider[0] < found[0] and wider[1] > found[1]
    assert np.isnan(jackknife_interval(values.mean(), [[without[:1]], []])).all(), "one unit has no variance"
