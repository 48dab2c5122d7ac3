"""Out-of-sample performance of a classifier, with bootstrap intervals over subjects."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score

from voxelwhy.errors import InputError

METRIC_NAMES = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "auc")
INTERVAL = (2.5, 97.5)
ROC_POINTS = 101
#: Resamples are drawn in batches of this many values.
BATCH_VALUES = 200_000


def score_predictions(predictions, *, model, classes, n_bootstrap=1000, seed=0):
    """Compute accuracy, balanced accuracy, sensitivity, specificity and AUC with 95 % intervals, by scan and subject.

    Parameters
    ----------
    predictions : DataFrame by the PREDICTIONS schema, out of sample
    model : str, name of the model in the table
    classes : {"positive": name, "negative": name}
    n_bootstrap : int, number of resamples of subjects; all scans of a subject are resampled together
    seed : int; models scored with the same seed on the same subjects share their resamples

    Returns
    -------
    DataFrame by the METRICS schema
        One row for each metric and level, for each fold and for all folds pooled ("all"). At the level "subject", the
        probability is averaged over a subject's scans with the same label, so a subject with scans of both classes
        counts once per label. If the models of several folds classify the same scan (of another study), each
        classification counts, and n is the number of distinct scans and subjects. The positive class is predicted from
        a probability of 0.5. The AUC of pooled folds mixes the probabilities of different models. A metric that is not
        defined (without scans of a class) is NaN, with its interval; resamples that lack a class are ignored in the
        percentiles.

    Raises
    ------
    InputError
        There are no predictions, or a label is not one of `classes`.
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
    """Average the probability over scans: one row per subject, label and fold, sorted.

    Probabilities are not averaged over folds: that would compare an ensemble with single models.
    """
    return predictions.groupby(["subject_id", "label", "fold"], as_index=False, sort=True)["probability"].mean()


def roc_band(predictions, *, model, classes, n_bootstrap=1000, seed=0):
    """Compute the ROC curve by scan at 101 false positive rates, with pointwise 95 % intervals over resampled subjects.

    Returns
    -------
    DataFrame by the ROC schema; NaN if one of the classes has no scan.

    Raises
    ------
    InputError
        There are no predictions, or a label is not one of `classes`.
    """
    _require(predictions, classes)
    positive = (predictions["label"] == classes["positive"]).to_numpy()
    probability = predictions["probability"].to_numpy(dtype=float)
    order = np.argsort(-probability, kind="stable")
    # A step of the curve ends where the next probability differs, so that tied scans form one step.
    ends = np.append(np.flatnonzero(np.diff(probability[order])), len(order) - 1)
    lattice = np.linspace(0, 1, ROC_POINTS)
    curves = []
    for weights in (np.ones((1, len(order))), *subject_weights(predictions["subject_id"], n_bootstrap, seed)):
        true = np.cumsum(weights[:, order] * positive[order], axis=1)[:, ends]
        false = np.cumsum(weights[:, order] * ~positive[order], axis=1)[:, ends]
        batch = np.full((len(weights), ROC_POINTS), np.nan)
        for row in np.flatnonzero((true[:, -1] > 0) & (false[:, -1] > 0)):
            # The curve is linear between points; at a vertical step np.interp returns the upper end.
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
    """Count scans by class (rows) and predicted class (columns), positive first; predicted positive from 0.5."""
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
    """Compute the metrics of many resamples at once, each given by weights of the rows instead of copies."""
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
    """Compute the AUC for each row of weights, (resamples, scans), as the share of correctly ordered pairs.

    Ties count half; the AUC is NaN if a class has no weight.
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(scores[order]) > 0))
    of_negative = np.add.reduceat(weights[:, order] * ~positive[order], starts, axis=1)
    of_positive = np.add.reduceat(weights[:, order] * positive[order], starts, axis=1)
    below = np.cumsum(of_negative, axis=1) - of_negative / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return (of_positive * below).sum(axis=1) / (of_positive.sum(axis=1) * of_negative.sum(axis=1))


def subject_weights(subject_ids, n_bootstrap, seed):
    """Yield how often the subject of each row was drawn, (resamples, rows): all rows of a subject are drawn together.

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
