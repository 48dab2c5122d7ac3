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
    """Compute the covariance of two AUCs over the same subjects; with the same parts twice, the variance.

    Scans of one subject, in the same class or in both, may depend on each other: only subjects are independent. With
    one row per subject this is the estimate of DeLong et al.

    Parameters
    ----------
    first, second : AucParts, with the same numbers of subjects

    Returns
    -------
    float; NaN if a class has fewer than two subjects

    References
    ----------
    Obuchowski 1997, Nonparametric analysis of clustered ROC curve data, equations 4 to 8.
    """
    in_positive, in_negative = first.has_positive | second.has_positive, first.has_negative | second.has_negative
    n_positive, n_negative, n = in_positive.sum(), in_negative.sum(), (in_positive | in_negative).sum()
    if min(n_positive, n_negative) < 2:
        return np.nan
    within = first.positive @ second.positive * n_positive / (n_positive - 1)
    within += first.negative @ second.negative * n_negative / (n_negative - 1)
    between = first.positive @ second.negative + first.negative @ second.positive
    return float(within + between * n / (n - 1))


def _share_below(scores, others):
    """Return the share of `others` (sorted) below each score; ties count half."""
    return (np.searchsorted(others, scores, "left") + np.searchsorted(others, scores, "right")) / (2 * len(others))
