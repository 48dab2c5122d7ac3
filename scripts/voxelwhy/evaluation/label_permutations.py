"""Whether a network is better than chance: the diagnoses of subjects are permuted within folds."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

#: Permutations are drawn in batches of this many values, so that memory does not grow with their number.
BATCH_VALUES = 2_000_000
TESTED = ("accuracy", "balanced_accuracy", "auc")


def permutation_p(rows, classes, *, n_permutations=10_000, seed=0):
    """Test whether accuracy, balanced accuracy and AUC exceed those with permuted diagnoses.

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
    count. NaN if all rows have the same label

    References
    ----------
    Phipson & Smyth 2010, Permutation p-values should never be zero.
    """
    truth = (rows["label"] == classes["positive"]).to_numpy()
    if truth.all() or not truth.any():
        return dict.fromkeys(TESTED, np.nan)
    score = _Scores(rows["probability"].to_numpy(dtype=float))
    observed = score(truth[None]) - 1e-12  # equal values may differ in their last bit
    reached = np.zeros(len(TESTED), dtype=int)
    for drawn in permuted_labels(rows["subject_id"], truth, rows["fold"], n_permutations, seed):
        reached += (score(drawn) >= observed).sum(axis=0)
    return {metric: (1 + int(count)) / (1 + n_permutations) for metric, count in zip(TESTED, reached, strict=True)}


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
    """Accuracy, balanced accuracy and AUC of the same predictions for many labellings, (labellings, metrics)."""

    def __init__(self, probability):
        self.ranks, self.predicted = rankdata(probability), probability >= 0.5

    def __call__(self, labels):
        labels = labels.astype(float)
        n_positive = labels.sum(axis=1)
        n_negative = labels.shape[1] - n_positive
        hits = labels @ self.predicted
        rejections = n_negative - (self.predicted.sum() - hits)
        auc = (labels @ self.ranks - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)
        accuracy = (hits + rejections) / labels.shape[1]
        return np.column_stack([accuracy, (hits / n_positive + rejections / n_negative) / 2, auc])
