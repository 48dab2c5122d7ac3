"""Confidence intervals (95 %) of proportions, AUCs and their paired differences, with the subject as the unit.

Their coverage is simulated by tests/bench/coverage.py; docs/trust/statistics.md states assumptions and results.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm
from scipy.stats import t as student
from statsmodels.stats.proportion import proportion_confint

Z = float(norm.ppf(0.975))
#: Weight of the exponential model in the variance of an AUC, in subjects (see `auc_interval`).
PRIOR_SUBJECTS = 5


def effective_subjects(subjects):
    """Compute the effective number of subjects behind rows: (Σ m)² / Σ m², where m is a subject's number of rows.

    This is the number of independent rows with the same variance of a mean if the rows of a subject agree completely.
    It is the number of subjects if all have equally many rows, and smaller otherwise. Classifications of one subject
    differ little, and the few subjects of a study do not allow their correlation to be estimated.

    References
    ----------
    Kish 1965, Survey Sampling, section 8.2.
    """
    return effective_number(np.unique(np.asarray(subjects), return_counts=True)[1])


def effective_number(counts):
    """Compute the same from the numbers of rows of the subjects; 0 if there is no row."""
    counts = np.asarray(counts)
    return float(counts.sum() ** 2 / (counts**2).sum()) if counts.any() else 0.0


def proportion_interval(share, n):
    """Compute the score interval of Wilson (1927) of a proportion.

    Parameters
    ----------
    share : float or array, 0 to 1; NaN gives NaN
    n : float or array, (effective) number of subjects, not necessarily whole

    Returns
    -------
    low, high : float or array
    """
    share, n = np.asarray(share, dtype=float), np.asarray(n, dtype=float)
    known = np.isfinite(share) & (n > 0)
    low, high = proportion_confint(np.where(known, share * n, 0), np.where(known, n, 1), method="wilson")
    return np.where(known, np.clip(low, 0, share), np.nan)[()], np.where(known, np.clip(high, share, 1), np.nan)[()]


def exact_interval(k, n):
    """Compute the exact interval of a proportion, k of n (Clopper & Pearson 1934); one-sided for 0 and for n of n."""
    low, high = proportion_confint(k, n, method="beta")
    return (0.0 if k == 0 else float(low)), (1.0 if k == n else float(high))


def student_interval(values):
    """Compute Student's interval of the mean of values, (n,); NaN for fewer than two values."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return np.nan, np.nan
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return values.mean() - half, values.mean() + half


def mean_of_two_interval(first, second):
    """Compute the interval of the mean of two independent proportions from theirs: balanced accuracy.

    Parameters
    ----------
    first, second : (value, low, high), numbers or arrays

    Returns
    -------
    low, high : the distances from value to limit, squared and added (method of variance estimates recovery)

    References
    ----------
    Newcombe 1998 (Statistics in Medicine 17:873, method 10); Zou & Donner 2008.
    """
    (a, low_a, high_a), (b, low_b, high_b) = first, second
    mean = (a + b) / 2
    return mean - np.hypot(a - low_a, b - low_b) / 2, mean + np.hypot(high_a - a, high_b - b) / 2


def difference_interval(first, second, correlation):
    """Compute the interval of the difference of two dependent estimates, `first` minus `second`, from their intervals.

    Parameters
    ----------
    first, second : (value, low, high), numbers or arrays
    correlation : of the two estimates, number or array

    Returns
    -------
    low, high

    References
    ----------
    Newcombe 1998 (Statistics in Medicine 17:2635); Zou & Donner 2008.
    """
    (a, low_a, high_a), (b, low_b, high_b) = first, second

    def length(one, two):
        return np.sqrt(np.maximum(one**2 + two**2 - 2 * correlation * one * two, 0))

    return a - b - length(a - low_a, high_b - b), a - b + length(high_a - a, b - low_b)


def paired_proportions_interval(both, first_only, second_only, neither):
    """Compute Newcombe's interval (method 10) of the difference of two proportions of the same subjects.

    Parameters
    ----------
    both, first_only, second_only, neither : numbers of subjects, not necessarily whole: classified correctly by both
        models, by the first alone, by the second alone, by neither

    Returns
    -------
    low, high : of the first proportion minus the second; NaN without subjects

    References
    ----------
    Newcombe 1998, Improved confidence intervals for the difference between binomial proportions based on paired data.
    Statistics in Medicine 17:2635, method 10.
    """
    n = both + first_only + second_only + neither
    if not n > 0:
        return np.nan, np.nan
    margins = (both + first_only, second_only + neither, both + second_only, first_only + neither)
    product, determinant = np.prod(margins), both * neither - first_only * second_only
    # The continuity correction of a positive correlation keeps the interval from being too narrow.
    corrected = max(determinant - n / 2, 0) if determinant > 0 else determinant
    estimates = [(share, *proportion_interval(share, n)) for share in (margins[0] / n, margins[2] / n)]
    return difference_interval(*estimates, corrected / np.sqrt(product) if product > 0 else 0.0)


def auc_interval(auc, variance, n_positive, n_negative):
    """Compute a score-like interval of an AUC, which remains an interval at AUCs of 0 and 1.

    A value t belongs to the interval if |AUC - t| <= 1.96 √V(t). As in method 5 of Newcombe (2006), V(t) is not taken
    at the estimate but at t, where it follows from exponential scores (Hanley & McNeil 1982):

        H(t) = t (1 - t) (1 + N (1 - t)/(2 - t) + N t/(1 + t)) / (n₊ n₋),   N = (n₊ + n₋)/2 - 1

    H is wrong if the scores of the classes differ in variance and there are more subjects in one of them. H is
    therefore scaled by the ratio of the variance of DeLong to H(AUC), as far as the overlap of the classes allows this
    ratio to be estimated: V(t) = H(t) (w ratio + 1 - w), with w = k/(k + 5) and k = 4 AUC (1 - AUC) min(n₊, n₋). At an
    AUC of 0 or 1 the interval is Newcombe's; in large samples the variance is DeLong's.

    Parameters
    ----------
    auc : float or array; NaN gives NaN
    variance : float or array, from `delong.auc_covariance`; NaN if it cannot be estimated
    n_positive, n_negative : float or array, (effective) numbers of subjects of the two classes

    Returns
    -------
    low, high : float or array

    References
    ----------
    Newcombe 2006, Statistics in Medicine 25:559; Hanley & McNeil 1982; DeLong et al. 1988.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = np.vectorize(_auc_limits, otypes=[float, float])(auc, variance, n_positive, n_negative)
    return low[()], high[()]


def _auc_limits(auc, variance, n_positive, n_negative):
    def model(t):
        return exponential_variance(t, n_positive, n_negative)

    return score_interval(auc, variance, model, min(n_positive, n_negative))


def exponential_variance(t, n_positive, n_negative):
    """Compute H(t) of `auc_interval`; arrays broadcast."""
    half = (n_positive + n_negative) / 2 - 1
    return t * (1 - t) * (1 + half * (1 - t) / (2 - t) + half * t / (1 + t)) / (n_positive * n_negative)


def score_interval(auc, variance, model, n_smaller):
    """Compute the interval of `auc_interval` for any variance model H(t) that is symmetric about 0.5.

    Parameters
    ----------
    auc : float; NaN gives NaN
    variance : float; NaN if it cannot be estimated
    model : callable, H(t)
    n_smaller : float, effective number of subjects of the smaller class; NaN if it is not above 0

    Returns
    -------
    low, high : float
    """
    if not np.isfinite(auc) or not n_smaller > 0:
        return np.nan, np.nan
    expected = model(auc)
    ratio = variance / expected if expected > 0 else np.nan
    overlap = 4 * auc * (1 - auc) * n_smaller
    weight = overlap / (overlap + PRIOR_SUBJECTS) if np.isfinite(ratio) else 0.0
    scale = weight * ratio + 1 - weight if np.isfinite(ratio) else 1.0
    # H(t) = H(1 - t), so the upper limit is the lower one of the AUC with the classes exchanged.
    return _lower_limit(auc, scale, model), 1 - _lower_limit(1 - auc, scale, model)


def _lower_limit(auc, scale, model):
    """Solve (auc - t)² = 1.96² V(t) for t below `auc`; 0 for an AUC of 0."""
    if auc <= 0:
        return 0.0

    def excess(t):
        return (auc - t) ** 2 - Z**2 * scale * model(t)

    # The bracket ends just below the AUC, since an AUC of 1 is itself a root, but not the limit.
    return brentq(excess, 0, auc * (1 - 1e-9))
