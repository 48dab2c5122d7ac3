"""What the probes of shortcuts found in all folds, over subjects: a continuation of the table of shortcuts."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from voxelwhy.evaluation.follows import AUC, LEAST_SUBJECTS, correlation_interval
from voxelwhy.evaluation.intervals import student_interval
from voxelwhy.evaluation.within_folds import fold_aucs
from voxelwhy.io.tables import read_table
from voxelwhy.io.trust_tables import SHORTCUT_PROBES, SHORTCUTS


def with_probes(shortcuts, paths, *, classes):
    """Append what the probes of all folds found (`summarise_probes`) to a table by trust_tables.SHORTCUTS.

    Parameters
    ----------
    paths : tables by trust_tables.SHORTCUT_PROBES, one for each fold; none where the study is not probed
    """
    if not paths:
        return shortcuts
    rows = pd.concat([read_table(path, SHORTCUT_PROBES) for path in paths], ignore_index=True)
    found = summarise_probes(rows, classes=classes)
    unknown = shortcuts["check"] == "unknown"  # what is not tested comes last
    return pd.concat([shortcuts[~unknown], found, shortcuts[unknown]], ignore_index=True)


def summarise_probes(rows, *, classes):
    """Summarise probes of shortcuts over subjects.

    Parameters
    ----------
    rows : DataFrame by trust_tables.SHORTCUT_PROBES
    classes : {"positive": name, "negative": name}

    Returns
    -------
    DataFrame by trust_tables.SHORTCUTS

    - silhouette, background: AUC within folds of the scores; where there is no background, the property is the reason
    - decoded_network, decoded_regions: how well a property of controls is predicted: Spearman's correlation of
      prediction and value, both centred within folds, or the AUC within folds
    - outside: mean share of relevance outside the brain, by method and class, with Student's interval
    """
    keys = ["probe", "of", "source", "fold", "subject_id", "label"]
    rows = rows.assign(of=rows["of"].fillna(""), source=rows["source"].fillna(""))
    missing = (rows["probe"] == "background") & rows["value"].isna()
    if ((rows["probe"] == "background") & ~missing).any():  # scans of some folds have one
        rows = rows[~missing]
    people = rows.groupby(keys, as_index=False, sort=False)[["value", "truth"]].mean()
    found = []
    for (probe, of, source), own in people.groupby(["probe", "of", "source"], sort=False):
        n = own["subject_id"].nunique()
        if probe in ("silhouette", "background"):
            positive = own["label"] == classes["positive"]
            found.append(_summary(probe, of or probe, "all", AUC, _auc(own, positive), n))
        elif probe == "outside":
            for label, part in own.groupby("label", sort=True):
                values = part.groupby("subject_id")["value"].mean()
                estimate = (float(values.mean()), *student_interval(values))
                found.append(_summary(probe, of, label, "share", estimate, len(values)))
        else:
            measure = probe.removeprefix("decoded ")
            estimate = _auc(own, own["truth"] > 0.5) if measure == AUC else _correlation(own)
            found.append(_summary(f"decoded_{source}", of, classes["negative"], measure, estimate, n))
    return pd.DataFrame(found, columns=list(SHORTCUTS.columns))


def _summary(check, name, group, measure, estimate, n):
    value, low, high = estimate
    numbers = {"value": value, "low": low, "high": high, "p": np.nan, "p_family": np.nan, "n_subjects": n}
    return {"check": check, "property": name, "group": group, "measure": measure} | numbers


def _auc(own, positive):
    if own["value"].isna().any():
        return (np.nan,) * 3
    subjects = pd.factorize(own["subject_id"])[0]
    # Equal images may differ in the last bit of their scores.
    aucs = fold_aucs(own["value"].round(5), positive, subjects, own["fold"])
    return (np.nan,) * 3 if aucs is None else (aucs.auc, *aucs.interval())


def _correlation(own):
    if len(own) < LEAST_SUBJECTS:
        return (np.nan,) * 3
    folds = own.groupby("fold")
    centred = [(own[name] - folds[name].transform("mean")).round(9) for name in ("value", "truth")]
    if min(part.nunique() for part in centred) < 2:
        return (np.nan,) * 3
    rho = float(stats.spearmanr(*centred).statistic)
    return rho, *correlation_interval(rho, len(own), own["fold"].nunique())
