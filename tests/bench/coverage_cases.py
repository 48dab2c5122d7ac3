"""Data with a known truth, and the intervals and p values that each method gives for them."""

from __future__ import annotations

import zlib

import numpy as np
import pandas as pd
from scipy import stats

from voxelwhy.evaluation.chance import compare_with_draws
from voxelwhy.evaluation.delong import auc_covariance, auc_parts
from voxelwhy.evaluation.difference import accuracy_difference, auc_difference, sign_flip_p
from voxelwhy.evaluation.intervals import Z, auc_interval, mean_of_two_interval, proportion_interval
from voxelwhy.evaluation.label_permutations import TESTED, permutation_p
from voxelwhy.evaluation.metrics import roc_band, score_predictions, subject_weights, weighted_auc
from voxelwhy.evaluation.within_folds import fold_aucs
from voxelwhy.regions.intervals import mean_interval

CLASSES = {"positive": "AD", "negative": "CN"}
PERCENTILES = (2.5, 97.5)
RESAMPLES = 500
PERMUTATIONS = 499
FAMILIES = ("equal normal", "normal, SD 2 and 1", "exponential")
SKEWED = {
    "normal": (lambda rng, size: rng.normal(5, 1, size), 5.0),
    "log-normal, σ 0.5": (lambda rng, size: rng.lognormal(0, 0.5, size), np.exp(0.125)),
    "log-normal, σ 1": (lambda rng, size: rng.lognormal(0, 1, size), np.exp(0.5)),
    "gamma, shape 1": (lambda rng, size: rng.gamma(1, 1, size), 1.0),
    "log-normal, σ 0.5, 30 % zeros": (
        lambda rng, size: rng.lognormal(0, 0.5, size) * (rng.random(size) > 0.3),
        0.7 * np.exp(0.125),
    ),
}


def generator(*words):
    """A random generator that depends on these words alone."""
    return np.random.default_rng(zlib.crc32(repr(words).encode()))


# --- AUC ---


def draw_scores(family, auc, n_positive, n_negative, repetitions, rng):
    """Scores of a family with this true AUC, (repetitions, n_positive) and (repetitions, n_negative)."""
    shapes = (repetitions, n_positive), (repetitions, n_negative)
    if family == "exponential":
        return rng.exponential(auc / (1 - auc), shapes[0]), rng.exponential(1, shapes[1])
    sd = 2.0 if family == "normal, SD 2 and 1" else 1.0
    return rng.normal(np.hypot(sd, 1) * stats.norm.ppf(auc), sd, shapes[0]), rng.normal(0, 1, shapes[1])


def auc_intervals(family, auc, n_positive, n_negative, many, some):
    """Intervals of the AUC by method, (repetitions, 2): `some` repetitions of the bootstrap, `many` of the rest."""
    rng = generator("auc", family, auc, n_positive, n_negative)
    positive, negative = draw_scores(family, auc, n_positive, n_negative, many, rng)
    truth, subjects = np.arange(n_positive + n_negative) < n_positive, np.arange(n_positive + n_negative)
    scores = np.hstack([positive, negative])
    parts = [auc_parts(row, truth, subjects) for row in scores]
    found, variance = np.array([(own.auc, auc_covariance(own, own)) for own in parts]).T
    half = Z * np.sqrt(variance)
    inside = np.clip(found, 0.5 / (n_positive * n_negative), 1 - 0.5 / (n_positive * n_negative))
    logit, wide = np.log(inside / (1 - inside)), half / (inside * (1 - inside))
    unknown = np.full(many, np.nan)  # without DeLong's variance the interval is Newcombe's
    return {
        "percentile bootstrap": [_percentiles_of_auc(row, truth, subjects) for row in scores[:some]],
        "DeLong, Wald": np.column_stack([found - half, found + half]),
        "DeLong, logit": 1 / (1 + np.exp(-np.column_stack([logit - wide, logit + wide]))),
        "Newcombe 5": np.column_stack(auc_interval(found, unknown, n_positive, n_negative)),
        "chosen": np.column_stack(auc_interval(found, variance, n_positive, n_negative)),
    }


def _percentiles_of_auc(scores, truth, subjects, seed=0, folds=None):
    masks = [np.full(len(scores), True)] if folds is None else [folds == fold for fold in np.unique(folds)]
    aucs = []
    for weights in subject_weights(subjects, RESAMPLES, seed):
        pairs = np.array([weights[:, own & truth].sum(axis=1) * weights[:, own & ~truth].sum(axis=1) for own in masks])
        each = np.array([weighted_auc(scores[own], truth[own], weights[:, own]) for own in masks])
        with np.errstate(invalid="ignore"):
            aucs.append((pairs * np.nan_to_num(each)).sum(axis=0) / pairs.sum(axis=0))
    return np.nanpercentile(np.concatenate(aucs), PERCENTILES)


#: Standard deviation, between folds, of the zero of their networks' outputs; that of the scores of a class is 1.
ZEROS = 1.0


def fold_intervals(family, auc, n, n_folds, some):
    """Intervals, (repetitions, 2), of the AUC within folds, over n subjects of each class.

    All networks have the same true AUC, and zeros of their own. For comparison: the interval of the pooled AUC.
    """
    rng = generator("auc within folds", family, auc, n, n_folds)
    truth, subjects = np.arange(2 * n) < n, np.arange(2 * n)
    folds = np.tile(np.arange(n) % n_folds, 2)
    scores = np.hstack(draw_scores(family, auc, n, n, some, rng)) + rng.normal(0, ZEROS, (some, n_folds))[:, folds]
    pooled = np.zeros(2 * n)
    return {
        "pooled": [fold_aucs(row, truth, subjects, pooled).interval() for row in scores],
        "percentile bootstrap": [_percentiles_of_auc(row, truth, subjects, folds=folds) for row in scores],
        "chosen": [fold_aucs(row, truth, subjects, folds).interval() for row in scores],
    }


def roc_intervals(auc, rate, n, few):
    """The band of the ROC curve at a false positive rate, over n subjects of each class with normal scores."""
    rng, truth = generator("roc", auc, rate, n), np.arange(2 * n) < n
    scores = np.hstack(draw_scores("equal normal", auc, n, n, few, rng))
    names = [f"p{subject}" for subject in range(2 * n)]
    frame = pd.DataFrame({"fold": 0, "scan_id": names, "subject_id": names, "label": np.where(truth, "AD", "CN")})
    how = {"model": "m", "classes": CLASSES, "n_bootstrap": RESAMPLES}
    bands = [roc_band(frame.assign(probability=stats.norm.cdf(row)), **how) for row in scores]
    found = [band.iloc[round(100 * rate)][["low", "high"]] for band in bands]
    return np.array(found, dtype=float), stats.norm.cdf(np.sqrt(2) * stats.norm.ppf(auc) + stats.norm.ppf(rate))


# --- Proportions ---


def proportion_intervals(share, n, many, some):
    """Intervals of a proportion over n subjects."""
    rng = generator("proportion", share, n)
    found = rng.binomial(n, share, many) / n
    resampled = rng.binomial(n, found[:some, None], (some, RESAMPLES)) / n
    return {
        "percentile bootstrap": np.percentile(resampled, PERCENTILES, axis=1).T,
        "chosen": np.column_stack(proportion_interval(found, n)),
    }


def balanced_accuracy_intervals(sensitivity, specificity, n, many, some):
    """Intervals of balanced accuracy over n subjects of each class."""
    rng = generator("balanced", sensitivity, specificity, n)
    found = [rng.binomial(n, share, many) / n for share in (sensitivity, specificity)]
    resampled = sum(rng.binomial(n, own[:some, None], (some, RESAMPLES)) / n for own in found) / 2
    estimates = [(own, *proportion_interval(own, n)) for own in found]
    return {
        "percentile bootstrap": np.percentile(resampled, PERCENTILES, axis=1).T,
        "chosen": np.column_stack(mean_of_two_interval(*estimates)),
    }


# --- Several scans per subject, several models per scan ---

#: Patients are `shift` higher on average; `scans` is the largest number of scans of a subject, `own` the SD of
#: subjects, `scan` that of their scans, `model` that of what a model sees in a scan; `both` is the number of subjects
#: with scans of both classes.
REPEATED = {
    "1 to 4 scans each": {"scans": 4, "models": 1, "shift": 1.6, "own": 1.0, "scan": 0.5, "model": 0.0, "both": 0},
    "5 models each": {"scans": 1, "models": 5, "shift": 1.6, "own": 1.0, "scan": 0.3, "model": 0.5, "both": 0},
    "6 subjects in both classes": {
        "scans": 1,
        "models": 1,
        "shift": 1.6,
        "own": 1.0,
        "scan": 0.5,
        "model": 0.0,
        "both": 6,
    },
}


def draw_predictions(options, n, rng):
    """Predictions of n subjects of each class; subjects in both classes count in each of them."""
    rows = []
    for subject in range(2 * n - options["both"]):
        own, n_scans = rng.normal(0, options["own"]), int(rng.integers(options["scans"])) + 1
        labels = (["AD"] if subject < n else []) + (["CN"] if subject >= n - options["both"] else [])
        for label in labels:
            for scan in range(n_scans):
                side = options["shift"] / 2 * (1 if label == "AD" else -1)
                value = own + rng.normal(0, options["scan"]) + side
                for model in range(options["models"]):
                    seen = value + rng.normal(0, options["model"])
                    rows.append((model, f"{subject}{label}{scan}", f"p{subject}", label, 1 / (1 + np.exp(-seen))))
    return pd.DataFrame(rows, columns=["fold", "scan_id", "subject_id", "label", "probability"])


def repeated_intervals(options, few, n=18, large=20_000):
    """Intervals of accuracy, balanced accuracy and AUC by level; and the true values, from `large` subjects a class."""
    rng = generator("repeated", sorted(options.items()))
    how = {"model": "m", "classes": CLASSES, "n_permutations": 1}
    kept = [(level, metric) for level in ("subject", "scan") for metric in ("accuracy", "balanced_accuracy", "auc")]

    def table(size):
        scored = score_predictions(draw_predictions(options, size, rng).assign(split=0), **how)
        return scored[scored["fold"] == "all"].set_index(["level", "metric"])

    truths = table(large)["value"].to_dict()
    tables = [table(n) for _ in range(few)]
    return {key: np.array([own.loc[key, ["low", "high"]] for own in tables], dtype=float) for key in kept}, truths


# --- Two models on the same subjects ---


def auc_differences(first, second, n, repetitions, correlation=0.5, n_folds=1):
    """Intervals, (repetitions, 2), and p of the difference of two AUCs, over n subjects of each class in n_folds."""
    rng, truth = generator("auc difference", first, second, n), np.arange(2 * n) < n
    folds = np.tile(np.arange(n) % n_folds, 2)
    shift = np.sqrt(2) * stats.norm.ppf([first, second])
    rows = []
    for _ in range(repetitions):
        own = rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], 2 * n) + truth[:, None] * shift
        rows.append(auc_difference(own.T, truth, np.arange(2 * n), folds))
    return _limits_and_p(rows)


def accuracy_differences(first, second, n, repetitions, correlation=0.4):
    """The same of two accuracies, over n subjects."""
    rng, truth = generator("accuracy difference", first, second, n), np.arange(n) % 2 == 0
    rows = []
    for _ in range(repetitions):
        own = rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], n)
        right = own < stats.norm.ppf([first, second])
        probability = np.where(truth == right.T, 0.8, 0.2)
        rows.append(accuracy_difference(probability, truth, np.arange(n)))
    return _limits_and_p(rows)


def _limits_and_p(rows):
    found = pd.DataFrame(rows)[["low", "high", "p"]].to_numpy(dtype=float)
    return found[:, :2], found[:, 2]


def null_sign_flips(n, models, repetitions):
    """p of sign flips where both models are equally often right."""
    rng = generator("sign flips", n, models)
    ease = rng.normal(0, 1, (repetitions, n, 1, 1))
    right = ease + rng.normal(0, 1, (repetitions, n, models, 2)) > -0.5
    sums = right.sum(axis=2).astype(int)
    return np.array([sign_flip_p(own[:, 0] - own[:, 1], PERMUTATIONS, seed) for seed, own in enumerate(sums)])


# --- Where there is nothing to detect ---


def null_permutations(shift, repetitions, n_subjects=36, n_folds=4):
    """p of the permutation test by metric, and how often the percentile interval of the metric lies above 0.5.

    The predictions do not depend on the diagnosis. With a shift, folds with more patients have higher predictions.
    """
    rng = generator("null", shift, repetitions)
    fold = np.arange(n_subjects) % n_folds
    found = {metric: [] for metric in TESTED}
    above = dict.fromkeys(found, 0)
    for seed in range(repetitions):
        # Between a fifth and four fifths of patients by fold if the folds differ, else half of the subjects of each.
        share = np.linspace(0.2, 0.8, n_folds) if shift else np.full(n_folds, 0.5)
        truth = np.zeros(n_subjects, dtype=bool)
        for number in range(n_folds):
            own = np.flatnonzero(fold == number)
            truth[rng.permutation(own)[: round(len(own) * share[number])]] = True
        seen = rng.normal(0, 1, n_subjects) + shift * (share[fold] - 0.5) / 0.3
        labels, names = np.where(truth, "AD", "CN"), [f"p{subject}" for subject in range(n_subjects)]
        rows = pd.DataFrame({"subject_id": names, "label": labels, "fold": fold, "probability": stats.norm.cdf(seen)})
        for metric, p in permutation_p(rows, CLASSES, n_permutations=PERMUTATIONS, seed=seed).items():
            found[metric].append(p)
            above[metric] += _percentiles(metric, rows["probability"].to_numpy(), truth, fold)[0] > 0.5
    return {metric: (np.array(p), above[metric] / repetitions) for metric, p in found.items()}


def _percentiles(metric, probability, truth, fold):
    subjects, right = np.arange(len(truth)), (probability >= 0.5) == truth
    if metric in ("auc", "auc_pooled"):
        return _percentiles_of_auc(probability, truth, subjects, folds=fold if metric == "auc" else None)
    weights = np.concatenate(list(subject_weights(subjects, RESAMPLES, 0)))
    if metric == "accuracy":
        return np.percentile(weights @ right / weights.sum(axis=1), PERCENTILES)
    sides = [(weights[:, side] @ right[side]) / weights[:, side].sum(axis=1) for side in (truth, ~truth)]
    return np.nanpercentile(sum(sides) / 2, PERCENTILES)


# --- Detection of a known disease ---

#: Scores of the methods of one study share part of their variation, and some methods vary more than others.
CORRELATION, SPREADS = 0.5, (1.0, 1.0, 2.0, 3.0, 5.0)
RANK_TEST, UNPOOLED, STUDENT = "rank test, max-T", "the same, standardised by the draws alone", "Student's t, Holm"


def null_scores(family, draws, repetitions):
    """Scores of five methods that do not depend on the diagnoses, (repetitions, 1 + draws, methods).

    The first are the observed ones. The family is "normal" or "log-normal, σ 1".
    """
    rng, shape = generator("detection", family, draws), (repetitions, 1 + draws, len(SPREADS))
    shared = rng.normal(0, 1, (*shape[:2], 1))
    scores = np.sqrt(CORRELATION) * shared + np.sqrt(1 - CORRELATION) * rng.normal(0, 1, shape)
    return np.array(SPREADS) * (scores if family == "normal" else np.exp(scores))


def null_detections(rule, family, draws, repetitions):
    """p of each method alone, and p corrected over the methods, both (repetitions, methods), by a rule."""
    decide = {RANK_TEST: _by_ranks, UNPOOLED: _by_unpooled_ranks, STUDENT: _by_student}[rule]
    found = [decide(own[0], own[1:]) for own in null_scores(family, draws, repetitions)]
    return tuple(np.array(p) for p in zip(*found, strict=True))


def _by_ranks(observed, draws):
    tested = compare_with_draws(observed, draws)
    return tested["p"], tested["p_family"]


def _by_unpooled_ranks(observed, draws):
    mean, sd = draws.mean(axis=0), draws.std(axis=0, ddof=1)
    z, largest = (observed - mean) / sd, ((draws - mean) / sd).max(axis=1)
    p = (1 + (draws >= observed).sum(axis=0)) / (1 + len(draws))
    return p, (1 + (largest[:, None] >= z).sum(axis=0)) / (1 + len(draws))


def _by_student(observed, draws):
    """The rule before: one value compared with n, and Holm's correction."""
    n = len(draws)
    t = (observed - draws.mean(axis=0)) / (draws.std(axis=0, ddof=1) * np.sqrt(1 + 1 / n))
    p = stats.t.sf(t, n - 1)
    order, corrected = np.argsort(p), np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]), 1)
    return p, corrected


# --- Means of skewed quantities ---


def mean_intervals(family, n, many, some):
    """Intervals of a mean by method, and the true mean."""
    draw, truth = SKEWED[family]
    rng = generator("mean", family, n)
    values = draw(rng, (many, n))
    mean, sd = values.mean(axis=1), values.std(axis=1, ddof=1)
    half = stats.t.ppf(0.975, n - 1) * sd / np.sqrt(n)
    third = ((values - mean[:, None]) ** 3).sum(axis=1) * n / ((n - 1) * (n - 2))
    shift = np.divide(third, 6 * n * sd**2, out=np.zeros(many), where=sd > 0)
    resampled = [_resampled_means(row, rng) for row in values[:some]]
    return {
        "percentile bootstrap": [own[0] for own in resampled],
        "Student": np.column_stack([mean - half, mean + half]),
        "Johnson": np.column_stack([mean + shift - half, mean + shift + half]),
        "bootstrap-t": [own[1] for own in resampled],
        "Hall (chosen)": np.column_stack(mean_interval(values.T)[1:]),
    }, truth


def _resampled_means(values, rng):
    """The percentile interval and the bootstrap-t interval of a mean."""
    n = len(values)
    drawn = values[rng.integers(n, size=(RESAMPLES, n))]
    means, sds = drawn.mean(axis=1), drawn.std(axis=1, ddof=1)
    varied = sds > 1e-12 * np.abs(values).max()
    t = (means[varied] - values.mean()) / sds[varied]
    ends = np.percentile(t, PERCENTILES[::-1]) if varied.any() else np.zeros(2)
    return np.percentile(means, PERCENTILES), values.mean() - ends * values.std(ddof=1)
