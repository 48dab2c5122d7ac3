"""The AUC within folds: its value, variance and interval, with the subject as the unit.

The outputs of different networks have different zeros, so a pair of a patient and a control is compared only if the
same network classified both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse.csgraph import connected_components

from voxelwhy.evaluation.delong import AucParts, auc_covariance, auc_parts
from voxelwhy.evaluation.intervals import effective_number, exponential_variance, score_interval


@dataclass(frozen=True)
class FoldAucs:
    """The AUCs of folds, with their weights in the AUC of all of them.

    Parameters
    ----------
    parts : list of AucParts (folds), over the same numbering of subjects
    weights : array (folds,); they add up to 1
    n_positive, n_negative : integer arrays (folds, subjects), number of rows of each subject by class
    """

    parts: list[AucParts]
    weights: np.ndarray
    n_positive: np.ndarray
    n_negative: np.ndarray

    @property
    def auc(self):
        """The weighted mean of the folds' AUCs."""
        return float(np.average([own.auc for own in self.parts], weights=self.weights))

    def expected_covariances(self, t):
        """Compute the covariances (folds, folds) of the folds' AUCs by `intervals.exponential_variance` at t.

        Folds without a common subject are independent. If they have subjects in common, their correlation is that of
        two sums over the rows of these subjects which agree completely, as in `intervals.effective_subjects`: 1 if all
        folds classify the same subjects.
        """
        own = exponential_variance(t, *self._sizes)
        return self._overlap * np.sqrt(np.multiply.outer(own, own))

    @cached_property
    def _sizes(self):
        return np.array([[effective_number(rows) for rows in side] for side in (self.n_positive, self.n_negative)])

    @cached_property
    def _overlap(self):
        rows = (self.n_positive + self.n_negative).astype(float)
        products = rows @ rows.T
        return products / np.sqrt(np.multiply.outer(products.diagonal(), products.diagonal()))

    def expected_variance(self, t):
        """Compute H(t) of the AUC of all folds: Σ w_k w_l of `expected_covariances`."""
        return self._weighted(self.expected_covariances(t))

    def variance(self):
        """Compute the variance: Σ w_k w_l of the covariances of the folds' AUCs; NaN if it is so for every fold.

        A fold with a single subject in a class does not allow an estimate. It counts with H(AUC), which for a fold of
        one pair is the variance of a coin.
        """
        found = covariances(self, self)
        if np.isnan(found).all():
            return np.nan
        return self._weighted(np.where(np.isnan(found), self.expected_covariances(self.auc), found))

    def _weighted(self, values):
        return float(np.sum(np.multiply.outer(self.weights, self.weights) * values))

    def interval(self):
        """Compute the 95 % interval, that of `intervals.auc_interval` with H(t) and S over folds."""
        smaller = min(effective_number(side.sum(axis=0)) for side in (self.n_positive, self.n_negative))
        return score_interval(self.auc, self.variance(), self.expected_variance, smaller)

    def degrees_of_freedom(self):
        """Count subjects, less two means (one for each class) for each group of folds without common subjects."""
        n_groups, _ = connected_components(self._overlap > 0, directed=False)
        n_subjects = np.count_nonzero((self.n_positive + self.n_negative).any(axis=0))
        return n_subjects - 2 * n_groups


def fold_aucs(scores, positive, subjects, folds, n_subjects=None):
    """Compute the AUC of each fold with both classes; a fold weighs as many pairs as it has.

    Parameters
    ----------
    scores : array (rows,)
    positive : boolean array (rows,)
    subjects : integer array (rows,), number of the subject of each row, from 0
    folds : array (rows,); one fold if all are equal, which gives the AUC over all pairs
    n_subjects : int, optional; by default the largest number plus 1

    Returns
    -------
    FoldAucs, whose AUC is the share of correctly ordered pairs (a positive and a negative row of the same fold; ties
    count half) among all such pairs: Σ_k w_k AUC_k with w_k = n₊ₖ n₋ₖ / Σ n₊ n₋. None if no fold has both classes

    Raises
    ------
    InputError
        A score is NaN.

    References
    ----------
    Forman & Scholz 2010, Apples-to-apples in cross-validation studies.
    """
    scores, positive, subjects, folds = (np.asarray(values) for values in (scores, positive, subjects, folds))
    n_subjects = np.max(subjects) + 1 if n_subjects is None else n_subjects
    masks = [folds == fold for fold in np.unique(folds)]
    masks = [own for own in masks if positive[own].any() and not positive[own].all()]
    if not masks:
        return None
    parts = [auc_parts(scores[own], positive[own], subjects[own], n_subjects) for own in masks]
    counts = [
        np.array([np.bincount(subjects[own & side], minlength=n_subjects) for own in masks])
        for side in (positive, ~positive)
    ]
    pairs = counts[0].sum(axis=1) * counts[1].sum(axis=1)
    return FoldAucs(parts, pairs / pairs.sum(), *counts)


def average(repeats):
    """Join FoldAucs of the same subjects, as of several trainings: the AUC is the mean of theirs."""
    joined = [part for own in repeats for part in own.parts]
    weights = np.concatenate([own.weights for own in repeats]) / len(repeats)
    counts = [np.vstack(rows) for rows in zip(*((own.n_positive, own.n_negative) for own in repeats), strict=True)]
    return FoldAucs(joined, weights, *counts)


def covariances(first, second):
    """Compute the covariance (folds, folds) of each fold's AUC in `first` with each in `second`; NaN as there."""
    return np.array([[auc_covariance(one, other) for other in second.parts] for one in first.parts])


def difference_moments(first, second):
    """Compute correlation and variance of the difference of two AUCs over the same rows.

    Returns
    -------
    correlation : float, from the folds whose variance can be estimated; 0 if one of the AUCs has no variance in them
    variance : float; NaN unless it can be estimated in every fold
    """
    outer = np.multiply.outer(first.weights, second.weights)
    found = [outer * covariances(*pair) for pair in ((first, first), (second, second), (first, second))]
    of_first, of_second, shared = (float(np.nansum(own)) for own in found)
    product = of_first * of_second
    correlation = float(np.clip(shared / np.sqrt(product), -1, 1)) if product > 0 else 0.0
    complete = not np.isnan(found).any()
    return correlation, of_first + of_second - 2 * shared if complete else np.nan
