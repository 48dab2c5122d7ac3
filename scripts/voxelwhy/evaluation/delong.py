"""Variance and covariance of areas under ROC curves, with the subject as the unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voxelwhy.errors import InputError


@dataclass(frozen=True)
class AucParts:
    """An AUC and what each subject contributes to its deviation from the true one.

    Parameters
    ----------
    auc : float
    positive, negative : arrays (subjects,); the sum over the subject's positive (negative) rows of their placement
        minus the AUC, divided by the number of all positive (negative) rows. The placement of a row is the share of the
        rows of the other class that it is ordered correctly with; ties count half
    has_positive, has_negative : boolean arrays (subjects,)
    """

    auc: float
    positive: np.ndarray
    negative: np.ndarray
    has_positive: np.ndarray
    has_negative: np.ndarray


def require_scores(scores):
    """Return scores as floats; raise InputError if one of them is not a number."""
    scores = np.asarray(scores, dtype=float)
    if (missing := np.flatnonzero(np.isnan(scores))).size:
        raise InputError(
            "a score is not a number, so the order of the scores is not defined",
            found=f"NaN at position {missing[0]}, {missing.size} in total",
            allowed="numbers",
        )
    return scores


def auc_parts(scores, positive, subjects, n_subjects=None):
    """Split the AUC of some rows into contributions of subjects.

    Parameters
    ----------
    scores : array (rows,)
    positive : boolean array (rows,); both classes must occur
    subjects : integer array (rows,), number of the subject of each row, from 0
    n_subjects : int, optional; by default the largest number plus 1. Subjects without a row contribute 0

    Returns
    -------
    AucParts

    Raises
    ------
    InputError
        A score is NaN.

    References
    ----------
    DeLong, DeLong & Clarke-Pearson 1988; Obuchowski 1997 for subjects with several rows.
    """
    scores, positive = require_scores(scores), np.asarray(positive, dtype=bool)
    own, other = np.sort(scores[positive]), np.sort(scores[~positive])
    placement = np.empty(len(scores))
    placement[positive] = _share_below(scores[positive], other)
    placement[~positive] = 1 - _share_below(scores[~positive], own)
    auc = placement[positive].mean()
    n_subjects = np.max(subjects) + 1 if n_subjects is None else n_subjects
    sides = []
    for side in (positive, ~positive):
        deviations = np.bincount(subjects[side], placement[side] - auc, minlength=n_subjects) / side.sum()
        sides.append((deviations, np.bincount(subjects[side], minlength=n_subjects) > 0))
    (above, has_positive), (below, has_negative) = sides
    return AucParts(float(auc), above, below, has_positive, has_negative)


def auc_covariance(first, second):
    """Compute the covariance of two AUCs over subjects; with the same parts twice, the variance.

    Scans of one subject, in the same class or in both, may depend on each other: only subjects are independent. With
    one row per subject this is the estimate of DeLong et al. The two AUCs may be over the same subjects, over subjects
    in part the same, or over none in common (the covariance is then 0).

    Parameters
    ----------
    first, second : AucParts, with the same numbering of subjects

    Returns
    -------
    float; NaN if one of the AUCs has fewer than two subjects of a class

    References
    ----------
    Obuchowski 1997, Nonparametric analysis of clustered ROC curve data, equations 4 to 8.
    """
    sides = (first.has_positive, second.has_positive), (first.has_negative, second.has_negative)
    if min(own.sum() for side in sides for own in side) < 2:
        return np.nan
    within = _sum_of_products(first.positive, second.positive, *sides[0])
    within += _sum_of_products(first.negative, second.negative, *sides[1])
    between = first.positive @ second.negative + first.negative @ second.positive
    n = (sides[0][0] | sides[0][1] | sides[1][0] | sides[1][1]).sum()
    return float(within + between * n / (n - 1))


def _sum_of_products(first, second, in_first, in_second):
    """Sum the products of deviations over the subjects in common, without the bias of the two estimated means.

    A deviation from the mean of m subjects, and one from the mean of n subjects, c of them in common, have an expected
    product of σ (1 - 1/m - 1/n + c/(mn)); with the same n subjects twice, of σ (n - 1)/n.
    """
    common, n_first, n_second = (in_first & in_second).sum(), in_first.sum(), in_second.sum()
    if not common:
        return 0.0
    return first @ second * n_first / (n_first - 1 - (n_first - common) / n_second)


def _share_below(scores, others):
    """Return the share of `others` (sorted) below each score; ties count half."""
    return (np.searchsorted(others, scores, "left") + np.searchsorted(others, scores, "right")) / (2 * len(others))
