"""Whether a network is better than chance: the diagnoses of subjects are permuted within folds."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

#: Permutations are drawn in batches of this many values, so that memory does not grow with their number.
BATCH_VALUES = 2_000_000
TESTED = ("accuracy", "balanced_accuracy", "auc", "auc_pooled")


def permutation_p(rows, classes, *, n_permutations=10_000, seed=0):
    """Test whether accuracy, balanced accuracy and AUC (within folds, pooled) exceed those with permuted diagnoses.

    Predictions stay as they are. Subjects exchange their diagnoses with other subjects that were classified by the
    same models, that is within a fold; a subject with scans of both classes keeps both, and they are exchanged with
    each other. Folds differ in calibration and in their share of patients, which a permutation across folds ignores.

    Parameters
    ----------
    rows : DataFrame with subject_id, label, fold and probability; one row per subject, label and fold
        (`metrics.by_subject`)
    classes : {"positive": name, "negative": name}
    n_permutations : int
    seed : int; models with the same subjects and seed share their permutations

    Returns
    -------
    dict by metric: p = (1 + #>=) / (1 + n), where # counts the permutations with at least the observed value; ties
    count. NaN if all rows have the same label, and for `auc` if no fold has both classes

    References
    ----------
    Phipson & Smyth 2010, Permutation p-values should never be zero.
    """
    truth = (rows["label"] == classes["positive"]).to_numpy()
    if truth.all() or not truth.any():
        return dict.fromkeys(TESTED, np.nan)
    score = _Scores(rows["probability"].to_numpy(dtype=float), rows["fold"].to_numpy())
    observed = score(truth[None])[0] - 1e-12  # equal values may differ in their last bit
    reached = np.zeros(len(TESTED), dtype=int)
    for drawn in permuted_labels(rows["subject_id"], truth, rows["fold"], n_permutations, seed):
        reached += (score(drawn) >= observed).sum(axis=0)
    p = np.where(np.isnan(observed), np.nan, (1 + reached) / (1 + n_permutations))
    return dict(zip(TESTED, p.tolist(), strict=True))


def permuted_labels(subjects, truth, folds, n_permutations, seed):
    """Yield permuted labels in batches, boolean (permutations, rows).

    Parameters
    ----------
    subjects, folds : arrays (rows,)
    truth : boolean array (rows,)
    """
    frame = pd.DataFrame({"subject": np.asarray(subjects, dtype=str), "fold": np.asarray(folds), "truth": truth})
    people = frame.groupby("subject", sort=True)
    labels, both = people["truth"].first().to_numpy(), people["truth"].nunique().to_numpy() > 1
    # Subjects in the same folds were classified by the same models: their diagnoses are exchangeable.
    stratum = people["fold"].apply(lambda own: str(sorted(set(own)))).to_numpy()
    strata = [np.flatnonzero(~both & (stratum == name)) for name in np.unique(stratum)]
    subject = people.ngroup().to_numpy()
    size, rng = max(1, BATCH_VALUES // len(frame)), np.random.default_rng(seed)
    for start in range(0, n_permutations, size):
        drawn = np.tile(labels, (min(size, n_permutations - start), 1))
        for own in strata:
            drawn[:, own] = rng.permuted(drawn[:, own], axis=1)
        exchanged = rng.random(drawn.shape) < 0.5
        yield np.where(both[subject], truth ^ exchanged[:, subject], drawn[:, subject])


class _Scores:
    """The metrics of `TESTED` of the same predictions for many labellings, (labellings, metrics)."""

    def __init__(self, probability, folds):
        self.predicted, self.ranks = probability >= 0.5, rankdata(probability)
        self.fold = folds == np.unique(folds)[:, None]
        self.ranks_in_fold = np.empty(len(probability))
        for own in self.fold:
            self.ranks_in_fold[own] = rankdata(probability[own])

    def __call__(self, labels):
        labels = labels.astype(float)
        n_positive = labels.sum(axis=1)
        n_negative = labels.shape[1] - n_positive
        hits = labels @ self.predicted
        rejections = n_negative - (self.predicted.sum() - hits)
        accuracy = (hits + rejections) / labels.shape[1]
        balanced = (hits / n_positive + rejections / n_negative) / 2
        in_fold = labels @ self.fold.T
        within = _share_of_pairs(labels @ self.ranks_in_fold, in_fold, self.fold.sum(axis=1) - in_fold)
        pooled = _share_of_pairs(labels @ self.ranks, n_positive[:, None], n_negative[:, None])
        return np.column_stack([accuracy, balanced, within, pooled])


def _share_of_pairs(rank_sums, n_positive, n_negative):
    """Compute AUCs from the ranks of positive rows, summed over folds, and the numbers of rows, (labellings, folds)."""
    correct = rank_sums - (n_positive * (n_positive + 1) / 2).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return correct / (n_positive * n_negative).sum(axis=1)
