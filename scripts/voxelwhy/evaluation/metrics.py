"""How well a classifier does out of sample: figures with bootstrap intervals that resample subjects."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score

from voxelwhy.errors import InputError

METRIC_NAMES = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "auc")
INTERVAL = (2.5, 97.5)
ROC_POINTS = 101
#: Resamples are drawn so many values at a time.
BATCH_VALUES = 200_000


def score_predictions(predictions, *, model, classes, n_bootstrap=1000, seed=0):
    """Accuracy, balanced accuracy, sensitivity, specificity and AUC with 95 % intervals, by scan and by subject.

    Parameters
    ----------
    predictions : DataFrame by the PREDICTIONS schema, out-of-sample
    model : str, the name under which the rows are filed
    classes : {"positive": name, "negative": name}
    n_bootstrap : int, resamples of subjects; all scans of a subject go together
    seed : int; models scored with one seed on the same subjects share their resamples

    Returns
    -------
    DataFrame by the METRICS schema
        For each fold and for all folds pooled ("all"). By subject means: the mean probability over a subject's scans of
        one label. A subject with scans of both classes therefore counts once per label. Where several folds judge one
        scan (another study's), each judgement counts, and n is that of distinct scans and subjects. Positive is
        predicted at a probability of 0.5 or more. AUC over pooled folds mixes the probabilities of the folds' models.
        What is not defined (a metric without scans of a class) is NaN, and so is its interval; resamples that lack a
        class are left out of the percentiles.

    Raises
    ------
    InputError
        There is no prediction, or a label is not one of `classes`.
    """
    _require(predictions, classes)
    folds = [("all", predictions), *((str(fold), part) for fold, part in predictions.groupby("fold", sort=True))]
    rows = []
    for fold, part in folds:
        counts = {"n_scans": part["scan_id"].nunique(), "n_subjects": part["subject_id"].nunique()}
        for level, scored in (("scan", part), ("subject", by_subject(part))):
            values = _values(scored, classes)
            resampled = _resampled_values(scored, classes, n_bootstrap, seed)
            for metric in METRIC_NAMES:
                low, high = _interval(resampled[metric]) if np.isfinite(values[metric]) else (np.nan, np.nan)
                row = {"model": model, "level": level, "fold": fold, "metric": metric}
                rows.append(row | {"value": values[metric], "low": low, "high": high} | counts)
    return pd.DataFrame(rows)


def by_subject(predictions):
    """Mean probability over a subject's scans of a label in a fold: one row a subject, label and fold, sorted.

    Probabilities of several models are not averaged: an ensemble would be held against single models.
    """
    return predictions.groupby(["subject_id", "label", "fold"], as_index=False, sort=True)["probability"].mean()


def roc_band(predictions, *, model, classes, n_bootstrap=1000, seed=0):
    """ROC curve by scan on 101 false positive rates, with its pointwise 95 % interval over resampled subjects.

    Returns
    -------
    DataFrame by the ROC schema; NaN where one of the classes has no scan.

    Raises
    ------
    InputError
        There is no prediction, or a label is not one of `classes`.
    """
    _require(predictions, classes)
    positive = (predictions["label"] == classes["positive"]).to_numpy()
    probability = predictions["probability"].to_numpy(dtype=float)
    order = np.argsort(-probability, kind="stable")
    # A step of the curve ends where the next probability differs: tied scans are passed together.
    ends = np.append(np.flatnonzero(np.diff(probability[order])), len(order) - 1)
    lattice = np.linspace(0, 1, ROC_POINTS)
    curves = []
    for weights in (np.ones((1, len(order))), *subject_weights(predictions["subject_id"], n_bootstrap, seed)):
        true = np.cumsum(weights[:, order] * positive[order], axis=1)[:, ends]
        false = np.cumsum(weights[:, order] * ~positive[order], axis=1)[:, ends]
        batch = np.full((len(weights), ROC_POINTS), np.nan)
        for row in np.flatnonzero((true[:, -1] > 0) & (false[:, -1] > 0)):
            # Between points the curve is straight; at a vertical step np.interp takes the upper end.
            x, y = false[row] / false[row, -1], true[row] / true[row, -1]
            batch[row] = np.interp(lattice, np.append(0, x), np.append(0, y))
        curves.append(batch)
    curves = np.vstack(curves)
    if np.isnan(curves[0]).any():
        low = high = np.full(ROC_POINTS, np.nan)
    else:
        low, high = np.nanpercentile(curves[1:], INTERVAL, axis=0)
    return pd.DataFrame({"model": model, "fpr": lattice, "tpr": curves[0], "low": low, "high": high})


def confusion(predictions, classes):
    """Predictions by class (rows) and predicted class (columns), positive first; predicted positive from 0.5 on."""
    names = [classes["positive"], classes["negative"]]
    predicted = np.where(predictions["probability"] >= 0.5, *names)
    table = pd.crosstab(predictions["label"].to_numpy(), predicted)
    table = table.reindex(index=names, columns=names, fill_value=0)
    return table.rename_axis(index="label", columns="predicted")


def _require(predictions, classes):
    if not len(predictions):
        raise InputError("there are no predictions to score", found="0 rows", hint="see the log of train_fold")
    allowed = [classes["positive"], classes["negative"]]
    other = sorted(set(predictions["label"]) - set(allowed))
    if other:
        raise InputError(
            "a prediction has a label outside the classes", column="label", found=other[0], allowed=allowed
        )


def _values(rows, classes):
    truth = (rows["label"] == classes["positive"]).to_numpy()
    predicted = (rows["probability"] >= 0.5).to_numpy()
    both = truth.any() and not truth.all()
    sensitivity = recall_score(truth, predicted, pos_label=True) if truth.any() else np.nan
    specificity = recall_score(truth, predicted, pos_label=False) if not truth.all() else np.nan
    return {
        "accuracy": accuracy_score(truth, predicted),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "auc": roc_auc_score(truth, rows["probability"]) if both else np.nan,
    }


def _resampled_values(rows, classes, n_bootstrap, seed):
    """The metrics of every resample, many at once: a resample is a weight for each row, not a copy of it."""
    truth = (rows["label"] == classes["positive"]).to_numpy()
    probability = rows["probability"].to_numpy(dtype=float)
    right = (probability >= 0.5) == truth
    batches = []
    for weights in subject_weights(rows["subject_id"], n_bootstrap, seed):
        with np.errstate(invalid="ignore", divide="ignore"):
            sensitivity = weights[:, truth & right].sum(axis=1) / weights[:, truth].sum(axis=1)
            specificity = weights[:, ~truth & right].sum(axis=1) / weights[:, ~truth].sum(axis=1)
            accuracy = weights[:, right].sum(axis=1) / weights.sum(axis=1)
        auc = weighted_auc(probability, truth, weights)
        batches.append((accuracy, (sensitivity + specificity) / 2, sensitivity, specificity, auc))
    return {name: np.concatenate(parts) for name, parts in zip(METRIC_NAMES, zip(*batches, strict=True), strict=True)}


def weighted_auc(scores, positive, weights):
    """AUC of scores under each row of weights, (resamples, scans): the share of pairs in order, ties counting half.

    NaN where a class has no weight.
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(scores[order]) > 0))
    of_negative = np.add.reduceat(weights[:, order] * ~positive[order], starts, axis=1)
    of_positive = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1)
    below = np.cumsum(of_negative, axis=1) - of_negative / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return (of_positive * below).sum(axis=1) / (of_positive.sum(axis=1) * of_negative.sum(axis=1))


def subject_weights(subject_ids, n_bootstrap, seed):
    """Yield how often each row's subject was drawn, (resamples, rows): all rows of a subject are drawn together.

    A batch of resamples has at most BATCH_VALUES values, so that memory does not grow with the number of subjects.
    """
    subjects, index = np.unique(np.asarray(subject_ids, dtype=str), return_inverse=True)
    n, rng = len(subjects), np.random.default_rng(seed)
    size = max(1, BATCH_VALUES // max(n, len(index)))
    for start in range(0, n_bootstrap, size):
        drawn = rng.integers(n, size=(min(size, n_bootstrap - start), n))
        cells = (np.arange(len(drawn))[:, None] * n + drawn).ravel()
        yield np.bincount(cells, minlength=len(drawn) * n).reshape(len(drawn), n)[:, index].astype(float)


def _interval(values):
    defined = values[np.isfinite(values)]
    return np.percentile(defined, INTERVAL) if len(defined) else (np.nan, np.nan)
