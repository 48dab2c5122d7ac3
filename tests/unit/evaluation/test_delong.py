"""Variance and covariance of AUCs against leaving out one subject with scikit-learn, and against plain loops."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from voxelwhy.errors import InputError
from voxelwhy.evaluation.delong import auc_covariance, auc_parts


@pytest.fixture
def scores(rng):
    """Two models' scores of 12 positive and 9 negative subjects, with ties."""
    truth = np.arange(21) < 12
    common = rng.normal(size=21) + truth
    return truth, [np.round(common + rng.normal(size=21), 1) for _ in range(2)]


def left_out(scores, truth):
    """How far the AUC moves when each row is left out, by scikit-learn, for the rows of each class."""
    whole = roc_auc_score(truth, scores)
    moved = np.array([roc_auc_score(np.delete(truth, i), np.delete(scores, i)) - whole for i in range(len(truth))])
    return moved[truth], moved[~truth]


def test_one_row_per_subject_is_the_estimate_of_delong(scores):
    """Leaving out one of m positives moves the AUC by (AUC - V)/(m - 1), so the variance of V follows."""
    truth, models = scores
    parts = [auc_parts(values, truth, np.arange(21)) for values in models]
    for own, values in zip(parts, models, strict=True):
        assert own.auc == pytest.approx(roc_auc_score(truth, values))
    for first in (0, 1):
        for second in (0, 1):
            moves = zip(left_out(models[first], truth), left_out(models[second], truth), strict=True)
            by_hand = sum((len(a) - 1) / len(a) * (a @ b) for a, b in moves)
            assert auc_covariance(parts[first], parts[second]) == pytest.approx(by_hand)
    assert auc_covariance(parts[0], parts[1]) > 0


def kernel(x, y):
    return float(x > y) + 0.5 * float(x == y)


def covariance_by_loops(models, truth, subjects):
    """Obuchowski 1997, equations 4 to 8, with a loop for every sum."""
    people = sorted(set(subjects))
    sides = []
    for scores in models:
        x, y = scores[truth], scores[~truth]
        theta = np.mean([[kernel(a, b) for b in y] for a in x])
        v10 = {p: [np.mean([kernel(a, b) for b in y]) - theta for a in scores[truth & (subjects == p)]] for p in people}
        v01 = {
            p: [np.mean([kernel(a, b) for a in x]) - theta for b in scores[~truth & (subjects == p)]] for p in people
        }
        sides.append((v10, v01))
    m, n, i = truth.sum(), (~truth).sum(), len(people)
    i10, i01 = len(set(subjects[truth])), len(set(subjects[~truth]))
    (a10, a01), (b10, b01) = sides
    s10 = i10 / ((i10 - 1) * m) * sum(sum(a10[p]) * sum(b10[p]) for p in people)
    s01 = i01 / ((i01 - 1) * n) * sum(sum(a01[p]) * sum(b01[p]) for p in people)
    s11 = i / (i - 1) * sum(sum(a10[p]) * sum(b01[p]) for p in people)
    s11_other = i / (i - 1) * sum(sum(b10[p]) * sum(a01[p]) for p in people)
    return s10 / m + s01 / n + (s11 + s11_other) / (m * n)


def test_subjects_with_several_scans_in_one_class_or_both(rng):
    subjects = np.array([0, 0, 0, 1, 2, 2, 3, 3, 3, 4, 5, 6, 6, 7, 8, 8])
    truth = np.array([1, 1, 0, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0], dtype=bool)
    own = rng.normal(size=9)[subjects]
    models = [np.round(own + truth + rng.normal(size=16), 1) for _ in range(2)]
    parts = [auc_parts(scores, truth, subjects) for scores in models]
    for chosen in ((0, 0), (0, 1), (1, 1)):
        by_hand = covariance_by_loops([models[k] for k in chosen], truth, subjects)
        assert auc_covariance(*(parts[k] for k in chosen)) == pytest.approx(by_hand)


def test_copies_of_scans_do_not_shrink_the_variance(scores):
    truth, (values, _) = scores
    single = auc_parts(values, truth, np.arange(21))
    copies = auc_parts(np.tile(values, 10), np.tile(truth, 10), np.tile(np.arange(21), 10))
    as_if_independent = auc_parts(np.tile(values, 10), np.tile(truth, 10), np.arange(210))
    assert auc_covariance(copies, copies) == pytest.approx(auc_covariance(single, single))
    assert auc_covariance(as_if_independent, as_if_independent) < auc_covariance(single, single) / 9


def test_the_variance_is_that_of_repeated_samples(rng):
    truth, found, expected = np.arange(40) < 20, [], []
    for _ in range(2000):
        parts = auc_parts(rng.normal(size=40) + truth, truth, np.arange(40))
        found.append(parts.auc)
        expected.append(auc_covariance(parts, parts))
    # The standard error of a variance from 2,000 values is about 3 %.
    assert np.mean(expected) == pytest.approx(np.var(found), rel=0.13)


def test_one_subject_of_a_class_has_no_variance_and_nan_is_refused(scores):
    truth, (values, _) = scores
    alone = auc_parts(values[11:], truth[11:], np.arange(10))
    assert np.isnan(auc_covariance(alone, alone))
    with pytest.raises(InputError, match=r"a score is not a number[\s\S]*position 3"):
        auc_parts(np.where(np.arange(21) == 3, np.nan, values), truth, np.arange(21))
