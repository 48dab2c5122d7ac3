"""The network compared with the baseline, on the same subjects."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from voxelwhy.errors import InputError
from voxelwhy.evaluation.intervals import difference_interval, effective_subjects, paired_proportions_interval
from voxelwhy.evaluation.metrics import by_subject, require_predictions
from voxelwhy.evaluation.within_folds import difference_moments, fold_aucs

#: Sign flips are drawn in batches of this many values.
BATCH_VALUES = 2_000_000


def compare_models(network, baseline, *, classes, n_permutations=10_000, seed=0):
    """Compare AUC and accuracy of the network and the baseline by subject, over all folds.

    Parameters
    ----------
    network, baseline : DataFrame by the PREDICTIONS schema, of the same scans
    classes : {"positive": name, "negative": name}
    n_permutations, seed : int, for sign flips (see below)

    Returns
    -------
    DataFrame by the DIFFERENCES schema, with one row per metric; the difference is network minus baseline

    - auc: within folds. The test is that of DeLong et al. (1988) with subjects as clusters, compared with Student's t
      (number of subjects - 2 for each fold); the interval combines the intervals of the two AUCs with their
      correlation. If both AUCs have no variance, as two perfect ones, p is 1 if they are equal, and undefined
      otherwise. It is also undefined if a fold has a single subject of a class
    - auc_pooled: the same with pairs of all folds (`metrics.score_predictions`)
    - accuracy: the test is McNemar's, exact; the interval is method 10 of Newcombe (1998). A subject that was
      classified several times (by the models of several folds, or in both classes) has no single right or wrong: the
      signs of the subjects' summed differences are flipped at random instead, which is McNemar's exact test if every
      subject was classified once

    Raises
    ------
    InputError
        The two tables do not have the same scans in the same folds, or a table cannot be scored.
    """
    for predictions in (network, baseline):
        require_predictions(predictions, classes)
    scans = [set(zip(table["fold"], table["scan_id"], strict=True)) for table in (network, baseline)]
    if other := sorted(scans[0] ^ scans[1]):
        raise InputError(
            "the network and the baseline did not classify the same scans",
            column="scan_id",
            found=f"{other[0][1]} in fold {other[0][0]}, by one of them only ({len(other)} such scans)",
        )
    # Rows of both tables are sorted by subject, label and fold.
    rows, scores = by_subject(network), [by_subject(table)["probability"].to_numpy() for table in (network, baseline)]
    truth = (rows["label"] == classes["positive"]).to_numpy()
    names, subjects = np.unique(rows["subject_id"].to_numpy(dtype=str), return_inverse=True)
    table = [
        auc_difference(scores, truth, subjects, rows["fold"].to_numpy()),
        auc_difference(scores, truth, subjects) | {"metric": "auc_pooled"},
        accuracy_difference(scores, truth, subjects, n_permutations=n_permutations, seed=seed),
    ]
    return pd.DataFrame(table).assign(n_subjects=len(names))


def _row(metric, values, limits, p, test):
    row = {"metric": metric, "network": values[0], "baseline": values[1], "difference": values[0] - values[1]}
    return row | {"low": limits[0], "high": limits[1], "p": p, "test": test}


def auc_difference(scores, truth, subjects, folds=None):
    """Compare two AUCs over the same rows.

    Parameters
    ----------
    scores : two arrays (rows,)
    truth : boolean array (rows,)
    subjects : integer array (rows,), number of the subject of each row, from 0
    folds : array (rows,), optional; only rows of the same fold are compared with each other

    Returns
    -------
    dict, a row of `compare_models`
    """
    folds = np.zeros(len(truth)) if folds is None else folds
    models = [fold_aucs(values, truth, subjects, folds) for values in scores]
    if models[0] is None:
        return _row("auc", (np.nan, np.nan), (np.nan, np.nan), np.nan, "paired DeLong")
    aucs = [own.auc for own in models]
    correlation, variance = difference_moments(*models)
    limits = difference_interval(*((own.auc, *own.interval()) for own in models), correlation)
    p = _p_of_delong(aucs, variance, models[0].degrees_of_freedom())
    return _row("auc", aucs, limits, p, "paired DeLong")


def _p_of_delong(aucs, variance, freedom):
    difference = aucs[0] - aucs[1]
    if not np.isfinite(variance) or freedom < 1:
        return np.nan
    if variance < 1e-12:  # of two AUCs that no subject contradicts, or of one model twice
        return 1.0 if abs(difference) < 1e-12 else np.nan
    return float(2 * stats.t.sf(abs(difference) / np.sqrt(variance), freedom))


def accuracy_difference(scores, truth, subjects, *, n_permutations=10_000, seed=0):
    """Compare two accuracies over the same rows; parameters and result as of `auc_difference`."""
    first, second = ((values >= 0.5) == truth for values in scores)
    cells = np.array([(first & second).mean(), (first & ~second).mean(), (~first & second).mean(), 0.0])
    cells[3] = 1 - cells[:3].sum()
    limits = paired_proportions_interval(*(np.round(cells, 12) * effective_subjects(subjects)))
    if np.bincount(subjects).max() == 1:
        table = [[0, (first & ~second).sum()], [(~first & second).sum(), 0]]
        p, test = float(mcnemar(table, exact=True).pvalue), "exact McNemar"
    else:
        sums = np.bincount(subjects, first.astype(float) - second.astype(float))
        p, test = sign_flip_p(sums, n_permutations, seed), "sign flips of subjects"
    return _row("accuracy", (first.mean(), second.mean()), limits, p, test)


def sign_flip_p(values, n_permutations, seed):
    """Test whether values are symmetric about 0, by their sum under random signs; two-sided, (1 + #>=) / (1 + n)."""
    values, rng = np.asarray(values, dtype=float), np.random.default_rng(seed)
    values = values[values != 0]
    observed, reached = abs(values.sum()) - 1e-12, 0
    size = max(1, BATCH_VALUES // max(len(values), 1))
    for start in range(0, n_permutations, size):
        signs = rng.choice([-1.0, 1.0], size=(min(size, n_permutations - start), len(values)))
        reached += int((np.abs(signs @ values) >= observed).sum())
    return (1 + reached) / (1 + n_permutations)
