"""Confidence intervals (95 %) of means of skewed quantities over few subjects."""

from __future__ import annotations

import warnings

import numpy as np
from scipy import stats

#: With fewer subjects no interval is reported: their skewness cannot be estimated.
LEAST_SUBJECTS = 8


def mean_interval(values):
    """Compute the mean of each column and its 95 % interval by Hall's transformation of Student's t.

    Relevance of a region is skewed: few subjects have much of it. Student's interval then lies too low, and resampling
    misses the tail that a small sample does not contain. Hall's cubic transformation removes the skewness from t and
    has an exact inverse:

        g(t) = t + γ t²/(3 √n) + γ² t³/(27 n) + γ/(6 √n)

    The limits are mean - g⁻¹(±t₀.₉₇₅) s/√n, with the bias-corrected sample skewness γ, and the quantile of Student's t
    with n - 1 degrees of freedom in place of the normal one.

    Parameters
    ----------
    values : (subjects, columns); NaN is ignored. A column without negative values is a quantity that cannot be
        negative: its lower limit is at least 0

    Returns
    -------
    mean, low, high : (columns,); the mean is NaN where no subject has a value, the interval where fewer than 8 have

    References
    ----------
    Hall 1992, On the removal of skewness by transformation. Journal of the Royal Statistical Society B 54:221.
    """
    values = np.asarray(values, dtype=float)
    n = np.isfinite(values).sum(axis=0)
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # of columns without values, or with equal ones
        mean, error = np.nanmean(values, axis=0), np.nanstd(values, axis=0, ddof=1) / np.sqrt(n)
        skewness = np.nan_to_num(stats.skew(values, axis=0, bias=False, nan_policy="omit"))
        quantile = stats.t.ppf(0.975, n - 1)
    low, high = (mean - error * _inverse(sign * quantile, skewness, n) for sign in (1, -1))
    low = np.where(np.nanmin(np.where(np.isfinite(values), values, np.inf), axis=0) >= 0, np.maximum(low, 0), low)
    known = n >= LEAST_SUBJECTS
    return mean, np.where(known, low, np.nan), np.where(known, high, np.nan)


def _inverse(g, skewness, n):
    """Solve g(t) = `g` for t; without skewness g(t) is t."""
    a = skewness / (3 * np.sqrt(np.maximum(n, 1)))
    tiny = np.abs(a) < 1e-9
    safe = np.where(tiny, 1, a)
    return np.where(tiny, g, (np.cbrt(1 + 3 * safe * (g - a / 2)) - 1) / safe)
