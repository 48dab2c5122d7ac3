"""Table 1: the cohort by fold, side and class."""

from __future__ import annotations

import pandas as pd

from voxelwhy.io.tables import SIDES, TABLE1
from voxelwhy.splits.subjects import subject_classes


def cohort_table(folds, selected, classes):
    """Summarise subjects, scans, age and sex by fold, side and class; the first rows describe the whole cohort.

    Parameters
    ----------
    folds, selected : DataFrames by the schemas FOLDS and SELECTED
    classes : {"positive": name, "negative": name}

    Returns
    -------
    table : DataFrame by the schema TABLE1. Scans are counted by their own label, subjects by their class: positive if
        any of their scans is. Age is that at the first scan of a subject, as "mean (SD)" in years over the subjects
        whose age is known, or "n/a".
    """
    people = _people(selected, classes)
    rows = _rows("all", "all", selected, people, classes)
    for fold, in_fold in folds.groupby("fold"):
        if (in_fold["side"] == "test").all():
            continue  # nothing is trained: the fold is the whole cohort
        for side in SIDES:
            scans = selected[selected["scan_id"].isin(in_fold.loc[in_fold["side"] == side, "scan_id"])]
            if len(scans) or side != "validation":
                rows += _rows(str(fold), side, scans, people, classes)
    return pd.DataFrame(rows, columns=list(TABLE1.columns))


def _people(selected, classes):
    people = subject_classes(selected, classes).to_frame("class")
    known = selected.groupby("subject_id", sort=False)
    # The first scan is that at the lowest age: tables are not always in the order of visits.
    return people.assign(age=known["age"].min(), sex=known["sex"].first())


def _rows(fold, side, scans, people, classes):
    there = people.loc[scans["subject_id"].unique()]
    rows = []
    for name in ("all", classes["positive"], classes["negative"]):
        of_class = there if name == "all" else there[there["class"] == name]
        rows.append(
            {
                "fold": fold,
                "side": side,
                "class": name,
                "subjects": len(of_class),
                "scans": len(scans) if name == "all" else int((scans["label"] == name).sum()),
                "age": _mean_sd(of_class["age"].dropna()),
                "age_known": int(of_class["age"].notna().sum()),
                "female": int((of_class["sex"] == "F").sum()),
                "male": int((of_class["sex"] == "M").sum()),
                "sex_unknown": int(of_class["sex"].isna().sum()),
            }
        )
    return rows


def _mean_sd(ages):
    if not len(ages):
        return "n/a"
    return f"{ages.mean():.1f} ({ages.std():.1f})" if len(ages) > 1 else f"{ages.mean():.1f}"
