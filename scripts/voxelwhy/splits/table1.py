"""Table 1: who is in the study, by fold, side and class."""

from __future__ import annotations

import pandas as pd

from voxelwhy.io.tables import SIDES, TABLE1
from voxelwhy.splits.subjects import subject_classes


def cohort_table(folds, selected, classes):
    """Subjects, scans, age and sex by fold, side and class; the first rows are the whole cohort.

    Parameters
    ----------
    folds, selected : DataFrames by the schemas FOLDS and SELECTED
    classes : {"positive": name, "negative": name}

    Returns
    -------
    table : DataFrame by the schema TABLE1. Scans count by their own label, subjects by their class: positive with
        any positive scan. Age is that of a subject at the first scan, as "mean (SD)" in years over the subjects
        whose age is known, or "n/a".
    """
    people = _people(selected, classes)
    rows = _rows("all", "all", selected, people, classes)
    for fold, in_fold in folds.groupby("fold"):
        if (in_fold["side"] == "test").all():
            continue  # nobody trains: the fold is the cohort, and nothing is out of sample
        for side in SIDES:
            scans = selected[selected["scan_id"].isin(in_fold.loc[in_fold["side"] == side, "scan_id"])]
            if len(scans) or side != "validation":
                rows += _rows(str(fold), side, scans, people, classes)
    return pd.DataFrame(rows, columns=list(TABLE1.columns))


def _people(selected, classes):
    people = subject_classes(selected, classes).to_frame("class")
    known = selected.groupby("subject_id", sort=False)
    # The first scan is the youngest: tables are not always in the order of visits.
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
