"""The AUC within folds against loops over pairs and subjects, closed forms and simulations."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from voxelwhy.evaluation.delong import auc_covariance, auc_parts
from voxelwhy.evaluation.difference import auc_difference
from voxelwhy.evaluation.intervals import auc_interval, proportion_interval
from voxelwhy.evaluation.within_folds import average, difference_moments, fold_aucs


@pytest.fixture
def rows(rng):
    """Five folds of 4 to 10 subjects with one or two rows each, tied scores, and zeros that differ between folds."""
    subjects = np.repeat(np.arange(36), rng.integers(1, 3, 36))
    positive, folds = subjects % 2 == 0, (subjects // 2) ** 2 % 5
    scores = np.round(rng.normal(size=36)[subjects] + rng.normal(0, 0.3, len(subjects)) + positive, 1) + 3.0 * folds
    return scores, positive, subjects, folds


def by_pairs(scores, positive, folds, weights=None):
    """The share of correctly ordered pairs in the same fold, by a loop; `weights` are copies of the rows."""
    weights = np.ones(len(scores)) if weights is None else weights
    right = total = 0.0
    for i in np.flatnonzero(positive):
        for j in np.flatnonzero(~positive & (folds == folds[i])):
            right += weights[i] * weights[j] * ((scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j]))
            total += weights[i] * weights[j]
    return right / total


def test_the_value_is_the_share_of_pairs_and_the_weighted_mean_of_the_folds(rows):
    scores, positive, _, folds = rows
    found = fold_aucs(*rows)
    assert found.auc == pytest.approx(by_pairs(scores, positive, folds), abs=1e-12)
    masks = [folds == fold for fold in np.unique(folds)]
    each = [roc_auc_score(positive[own], scores[own]) for own in masks]
    pairs = [positive[own].sum() * (~positive[own]).sum() for own in masks]
    assert len(set(pairs)) > 1 and found.auc == pytest.approx(np.average(each, weights=pairs), abs=1e-12)
    assert fold_aucs(*rows[:3], np.zeros(len(folds))).auc == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)


def test_folds_of_one_class_have_no_pairs(rows):
    scores, positive, subjects, folds = rows
    kept = (folds != 1) | positive
    found = fold_aucs(*(own[kept] for own in rows))
    assert found.auc == pytest.approx(by_pairs(scores[kept], positive[kept], folds[kept]), abs=1e-12)
    without = fold_aucs(*(own[folds != 1] for own in rows))
    assert (found.auc, found.variance()) == pytest.approx((without.auc, without.variance()))
    assert found.interval() == pytest.approx(without.interval())
    assert fold_aucs(scores, positive, subjects, positive.astype(int)) is None


def test_one_fold_is_delongs_auc_to_the_last_bit(rows):
    scores, positive, subjects, _ = rows
    found, parts = fold_aucs(scores, positive, subjects, np.full(len(scores), 7)), auc_parts(scores, positive, subjects)
    variance = auc_covariance(parts, parts)
    assert (found.auc, found.variance()) == (parts.auc, variance)
    counts = [np.unique(subjects[side], return_counts=True)[1] for side in (positive, ~positive)]
    sizes = [own.sum() ** 2 / (own**2).sum() for own in counts]
    assert found.interval() == auc_interval(parts.auc, variance, *sizes)


def test_the_variance_is_the_sum_over_independent_folds(rows):
    """By leaving out each row of a class in a fold, with scikit-learn, for one row per subject."""
    scores, positive, folds = (own[np.unique(rows[2], return_index=True)[1]] for own in (rows[0], rows[1], rows[3]))
    found, expected = fold_aucs(scores, positive, np.arange(36), folds), 0.0
    for weight, own in zip(found.weights, (folds == fold for fold in np.unique(folds)), strict=True):
        values, truth = scores[own], positive[own]
        for side in (truth, ~truth):
            out = [roc_auc_score(np.delete(truth, k), np.delete(values, k)) for k in np.flatnonzero(side)]
            moves = np.array(out) - roc_auc_score(truth, values)
            expected += weight**2 * (len(moves) - 1) / len(moves) * (moves @ moves)
    assert found.variance() == pytest.approx(expected)


def test_the_variance_over_models_of_the_same_subjects_is_that_of_the_bootstrap(rng):
    """Another cohort, each subject classified by four models: rows of a subject are drawn together."""
    n, models = 60, 4
    subjects, folds = np.tile(np.arange(n), models), np.repeat(np.arange(models), n)
    positive = subjects % 2 == 0
    scores = rng.normal(size=n)[subjects] + positive + rng.normal(0, 0.5, n * models) + 2.0 * folds
    found = fold_aucs(scores, positive, subjects, folds)
    drawn = [np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(200)]
    aucs = [
        np.mean([
            roc_auc_score(positive[own], scores[own], sample_weight=weights[subjects[own]])
            for own in (folds == model for model in range(models))
        ])
        for weights in drawn
    ]  # fmt: skip
    assert np.sqrt(found.variance()) == pytest.approx(np.std(aucs), rel=0.2)
    # H counts each subject once: four models are no fourfold cohort.
    assert found.expected_variance(0.8) == pytest.approx(
        fold_aucs(*(own[folds == 0] for own in (scores, positive, subjects, folds))).expected_variance(0.8)
    )
    assert found.degrees_of_freedom() == n - 2


def test_the_variance_model_of_folds_is_that_of_exponential_scores():
    """Σ w² H over folds is t (1 - t) (1 + N (…)) / P, with P pairs and the folds' mean N weighted by pairs."""
    n_positive, n_negative, t = np.array([4, 3, 5]), np.array([6, 2, 4]), 0.83
    folds = np.repeat([0, 1, 2, 0, 1, 2], [*n_positive, *n_negative])
    positive = np.arange(len(folds)) < n_positive.sum()
    found = fold_aucs(np.linspace(0, 1, len(folds)), positive, np.arange(len(folds)), folds)
    pairs = n_positive * n_negative
    mean = np.average((n_positive + n_negative) / 2 - 1, weights=pairs)
    expected = t * (1 - t) * (1 + mean * ((1 - t) / (2 - t) + t / (1 + t))) / pairs.sum()
    assert found.expected_variance(t) == pytest.approx(expected)
    assert found.degrees_of_freedom() == len(folds) - 6


def test_folds_of_one_pair_each_have_wilsons_interval():
    """A pair is right or wrong as a coin is; DeLong's variance does not exist."""
    folds, positive = np.repeat(np.arange(20), 2), np.tile([True, False], 20)
    scores = np.where(positive, np.where(folds < 15, 1.0, -1.0), 0.0) + 5.0 * folds
    found = fold_aucs(scores, positive, np.arange(40), folds)
    assert found.auc == pytest.approx(0.75) and np.isnan(found.variance())
    assert found.interval() == pytest.approx(proportion_interval(0.75, 20))


def test_a_fold_with_one_subject_of_a_class_counts_with_the_variance_of_the_model(rng):
    folds, positive = np.repeat([0, 1], [12, 5]), np.append(np.arange(12) < 6, np.arange(5) < 1)
    scores = rng.normal(size=17) + positive
    found = fold_aucs(scores, positive, np.arange(17), folds)
    first = auc_parts(scores[:12], positive[:12], np.arange(12))
    expected = found.weights**2 @ [auc_covariance(first, first), found.expected_covariances(found.auc)[1, 1]]
    assert found.variance() == pytest.approx(expected) and found.interval()[0] < found.auc
    row = auc_difference([scores, -scores], positive, np.arange(17), folds)
    assert np.isnan(row["p"]) and row["low"] < row["difference"] < row["high"]


def test_repeats_on_the_same_subjects_do_not_count_as_more_subjects(rows):
    once, scores = fold_aucs(*rows), rows[0]
    twice = average([once, fold_aucs(scores, *rows[1:])])
    assert (twice.auc, twice.variance()) == pytest.approx((once.auc, once.variance()))
    assert twice.interval() == pytest.approx(once.interval())


def test_repeats_with_other_folds_have_the_variance_of_a_simulation(rng):
    """The mean AUC of three repeats, each with three folds of its own: folds of different repeats share subjects."""
    n, positive, subjects = 36, np.arange(36) < 18, np.arange(36)
    splits = [np.concatenate([rng.permutation(18), rng.permutation(18)]) % 3 for _ in range(3)]
    found = []
    for _ in range(400):
        scores = rng.normal(size=n) + positive
        seen = [scores + rng.normal(0, 0.3, n) + own for own in splits]
        found.append(average([fold_aucs(s, positive, subjects, own) for s, own in zip(seen, splits, strict=True)]))
    # DeLong's estimate is slightly too large for small folds.
    assert 0.9 < np.mean([own.variance() for own in found]) / np.var([own.auc for own in found]) < 1.35


def test_the_interval_covers_and_the_pooled_one_does_not(rng):
    """18 + 18 subjects in five folds whose zeros have a standard deviation of 1: the AUC of each network is 0.9."""
    truth, folds, subjects = np.arange(36) < 18, np.tile(np.arange(18) % 5, 2), np.arange(36)
    within, pooled = [], []
    for _ in range(300):
        scores = rng.normal(size=36) + np.sqrt(2) * stats.norm.ppf(0.9) * truth + rng.normal(0, 1, 5)[folds]
        within.append(fold_aucs(scores, truth, subjects, folds).interval())
        pooled.append(fold_aucs(scores, truth, subjects, np.zeros(36)).interval())
    hits = [sum(low <= 0.9 <= high for low, high in own) for own in (within, pooled)]
    # 0.001 quantiles of the binomial distribution: of 93 and 99 %.
    assert stats.binom.ppf(0.001, 300, 0.93) <= hits[0] <= stats.binom.ppf(0.999, 300, 0.99)
    assert hits[1] < stats.binom.ppf(0.001, 300, 0.93)


def test_two_models_differ_by_their_folds_and_not_by_their_zeros(rng):
    """By leaving out rows within folds; a constant added to one fold changes nothing."""
    truth, folds = np.arange(40) % 2 == 0, np.arange(40) // 10
    scores = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 40).T + truth * [[1.4], [0.5]]
    row = auc_difference(scores, truth, np.arange(40), folds)
    variance = 0.0
    for own in (folds == fold for fold in range(4)):
        for side in (truth[own], ~truth[own]):
            out = [
                [roc_auc_score(np.delete(truth[own], k), np.delete(s[own], k)) for s in scores]
                for k in np.flatnonzero(side)
            ]
            moves = np.subtract(*np.transpose(out))
            moves -= np.subtract(*(roc_auc_score(truth[own], s[own]) for s in scores))
            variance += (len(moves) - 1) / len(moves) * (moves @ moves) / 16
    models = [fold_aucs(s, truth, np.arange(40), folds) for s in scores]
    assert difference_moments(*models)[1] == pytest.approx(variance)
    assert row["p"] == pytest.approx(2 * stats.t.sf(abs(row["difference"]) / np.sqrt(variance), 40 - 8))
    moved = auc_difference([scores[0] + 9.0 * (folds == 2), scores[1]], truth, np.arange(40), folds)
    assert {name: moved[name] for name in ("difference", "low", "high", "p")} == pytest.approx(
        {name: row[name] for name in ("difference", "low", "high", "p")}
    )
