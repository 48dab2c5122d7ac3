"""Out-of-sample performance of a classifier: values, intervals and tests, with the subject as the unit."""

from __future__ import annotations

import numpy as np
import pandas as pd

from voxelwhy.errors import InputError
from voxelwhy.evaluation.delong import require_scores
from voxelwhy.evaluation.intervals import effective_subjects, mean_of_two_interval, proportion_interval
from voxelwhy.evaluation.label_permutations import permutation_p
from voxelwhy.evaluation.within_folds import fold_aucs

METRIC_NAMES = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "auc", "auc_pooled")
LEVELS = ("subject", "scan")
INTERVAL = (2.5, 97.5)
ROC_POINTS = 101
#: Resamples are drawn in batches of this many values.
BATCH_VALUES = 200_000


def score_predictions(predictions, *, model, classes, n_permutations=10_000, seed=0):
    """Compute accuracy, balanced accuracy, sensitivity, specificity and AUC with 95 % intervals, by subject and scan.

    Parameters
    ----------
    predictions : DataFrame by the PREDICTIONS schema, out of sample
    model : str, name of the model in the table
    classes : {"positive": name, "negative": name}
    n_permutations : int, number of permutations of the diagnoses for p
    seed : int; models scored with the same seed on the same subjects share their permutations

    Returns
    -------
    DataFrame by the METRICS schema
        One row for each metric and level, for each fold and for all folds together ("all"). At the level "subject", the
        probability is averaged over a subject's scans with the same label, so a subject with scans of both classes
        counts once per label. If the models of several folds classify the same scan (of another study), each
        classification counts in the value; n is the number of distinct scans and subjects. The positive class is
        predicted from a probability of 0.5.

        `auc` compares the scans of a fold with each other (`within_folds.fold_aucs`), since the outputs of different
        models have different zeros. `auc_pooled` compares all scans, also those of different folds; it is reported for
        comparison with other work, and is the same as `auc` in a single fold.

        At both levels only subjects are independent. The intervals are Wilson's for proportions, with the effective
        number of subjects as n; Newcombe's square-and-add for balanced accuracy; that of `within_folds` for the AUC.
        `p` is that of `label_permutations.permutation_p`, for the level "subject" and all folds. A metric that is not
        defined (without scans of a class) is NaN, with interval and p.

    Raises
    ------
    InputError
        There are no predictions, a label is not one of `classes`, or a probability is not a number.
    """
    require_predictions(predictions, classes)
    folds = [("all", predictions), *((str(fold), part) for fold, part in predictions.groupby("fold", sort=True))]
    rows = []
    for fold, part in folds:
        counts = {"n_scans": part["scan_id"].nunique(), "n_subjects": part["subject_id"].nunique()}
        for level in LEVELS:
            scored = by_subject(part) if level == "subject" else part
            estimates, p = _estimates(scored, classes), {}
            if (level, fold) == ("subject", "all"):
                p = permutation_p(scored, classes, n_permutations=n_permutations, seed=seed)
            for metric, (value, low, high) in estimates.items():
                row = {"model": model, "level": level, "fold": fold, "metric": metric, "value": value}
                rows.append(row | {"low": low, "high": high, "p": p.get(metric, np.nan)} | counts)
    return pd.DataFrame(rows)


def by_subject(predictions):
    """Average the probability over scans: one row per subject, label and fold, sorted.

    Probabilities are not averaged over folds: that would compare an ensemble with single models.
    """
    return predictions.groupby(["subject_id", "label", "fold"], as_index=False, sort=True)["probability"].mean()


def roc_band(predictions, *, model, classes, n_bootstrap=1000, seed=0):
    """Compute the ROC curve by subject at 101 false positive rates, with a pointwise 95 % band over resampled subjects.

    The curve is the mean of the folds' curves at each false positive rate, weighted by their numbers of pairs, so that
    the area below it is the AUC within folds. A resample has the mean of its own folds' curves.

    Returns
    -------
    DataFrame by the ROC schema; NaN if no fold has scans of both classes. Models scored with the same seed on the same
    subjects share their resamples.

    References
    ----------
    Fawcett 2006, An introduction to ROC analysis, algorithm 3 (vertical averaging).

    Raises
    ------
    InputError
        There are no predictions, a label is not one of `classes`, or a probability is not a number.
    """
    require_predictions(predictions, classes)
    predictions = by_subject(predictions)
    positive = (predictions["label"] == classes["positive"]).to_numpy()
    probability, folds = predictions["probability"].to_numpy(dtype=float), predictions["fold"].to_numpy()
    lattice, curves = np.linspace(0, 1, ROC_POINTS), []
    for weights in (np.ones((1, len(predictions))), *subject_weights(predictions["subject_id"], n_bootstrap, seed)):
        masks = [folds == fold for fold in np.unique(folds)]
        found = [_roc_curves(probability[own], positive[own], weights[:, own], lattice) for own in masks]
        of_folds, pairs = (np.array(values) for values in zip(*found, strict=True))
        with np.errstate(invalid="ignore"):
            shares = pairs / pairs.sum(axis=0)  # of a single fold exactly 1
            curves.append((shares * of_folds).sum(axis=0) / shares.sum(axis=0))
    curves = np.vstack(curves)
    if np.isnan(curves[0]).any():
        low = high = np.full(ROC_POINTS, np.nan)
    else:
        low, high = np.nanpercentile(curves[1:], INTERVAL, axis=0)
    return pd.DataFrame({"model": model, "fpr": lattice, "tpr": curves[0], "low": low, "high": high})


def _roc_curves(probability, positive, weights, lattice):
    """Return the curve for each row of weights, (resamples, points), and its number of pairs, (resamples, 1).

    Without pairs the curve is 0.
    """
    order = np.argsort(-probability, kind="stable")
    # A step of the curve ends where the next probability differs, so that tied subjects form one step.
    ends = np.append(np.flatnonzero(np.diff(probability[order])), len(order) - 1)
    true = np.cumsum(weights[:, order] * positive[order], axis=1)[:, ends]
    false = np.cumsum(weights[:, order] * ~positive[order], axis=1)[:, ends]
    pairs, curves = true[:, -1:] * false[:, -1:], np.zeros((len(weights), len(lattice)))
    for row in np.flatnonzero(pairs):
        # The curve is linear between points; at a vertical step np.interp returns the upper end.
        x, y = false[row] / false[row, -1], true[row] / true[row, -1]
        curves[row] = np.interp(lattice, np.append(0, x), np.append(0, y))
    return curves, pairs


def confusion(predictions, classes):
    """Count rows by class (rows) and predicted class (columns), positive first; predicted positive from 0.5.

    Parameters
    ----------
    predictions : DataFrame with label and probability; one row per scan, or per subject (`by_subject`)
    """
    names = [classes["positive"], classes["negative"]]
    predicted = np.where(predictions["probability"] >= 0.5, *names)
    table = pd.crosstab(predictions["label"].to_numpy(), predicted)
    table = table.reindex(index=names, columns=names, fill_value=0)
    return table.rename_axis(index="label", columns="predicted")


def require_predictions(predictions, classes):
    """Raise InputError unless there are predictions, their labels are classes and their probabilities numbers."""
    if not len(predictions):
        raise InputError("there are no predictions to score", found="0 rows", hint="see the log of train_fold")
    allowed = [classes["positive"], classes["negative"]]
    other = sorted(set(predictions["label"]) - set(allowed))
    if other:
        raise InputError(
            "a prediction has a label outside the classes", column="label", found=other[0], allowed=allowed
        )
    unknown = predictions[predictions["probability"].isna()]
    if len(unknown):
        raise InputError(
            f"the probability of scan {unknown.iloc[0]['scan_id']} is not a number",
            column="probability",
            found=f"NaN for {len(unknown)} of {len(predictions)} predictions",
            allowed="0 to 1",
            hint="see the log of train_fold; a network whose training diverged predicts NaN",
        )


def _estimates(rows, classes):
    """Return value, lower and upper limit of each metric; rows of the same subject depend on each other."""
    truth = (rows["label"] == classes["positive"]).to_numpy()
    probability = rows["probability"].to_numpy(dtype=float)
    _, subjects = np.unique(rows["subject_id"].to_numpy(dtype=str), return_inverse=True)
    right = (probability >= 0.5) == truth
    shares = {"accuracy": slice(None), "sensitivity": truth, "specificity": ~truth}
    found = {}
    for name, rows_of in shares.items():
        own = right[rows_of]
        value = own.mean() if len(own) else np.nan
        found[name] = (value, *proportion_interval(value, effective_subjects(subjects[rows_of])))
    of_classes = (found["sensitivity"], found["specificity"])
    balanced = ((of_classes[0][0] + of_classes[1][0]) / 2, *mean_of_two_interval(*of_classes))
    found["balanced_accuracy"] = balanced
    for name, folds in (("auc", rows["fold"]), ("auc_pooled", np.zeros(len(rows)))):
        aucs = fold_aucs(probability, truth, subjects, folds)
        found[name] = (np.nan, np.nan, np.nan) if aucs is None else (aucs.auc, *aucs.interval())
    return {name: found[name] for name in METRIC_NAMES}


def weighted_auc(scores, positive, weights):
    """Compute the AUC for each row of weights, (resamples, scans), as the share of correctly ordered pairs.

    Ties count half; the AUC is NaN if a class has no weight.

    Raises
    ------
    InputError
        A score is NaN, which would otherwise count as the highest.
    """
    scores = require_scores(scores)
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
