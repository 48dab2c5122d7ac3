"""Scores and properties of people: one row for each subject that a network has classified out of sample."""

from __future__ import annotations

import pandas as pd

from voxelwhy.splits.covariates import CATEGORIES, design_columns, mean_by, wide_covariates

#: Properties of a scan that may tell more about the scanner or the person than about the disease, with their names.
QUALITY = {"correlation_brain": "similarity to the template", "mask_dice": "overlap with the brain mask"}
#: Properties that every study has, if the table knows them, with their names.
PROPERTIES = {"age": "age", "female": "sex (female)"} | QUALITY


def join_people(predictions, selected, covariates=None):
    """Join each subject's out-of-sample score with age, sex, the quality of the scans and covariates.

    Parameters
    ----------
    predictions : DataFrame by tables.PREDICTIONS
    selected : DataFrame by tables.SELECTED, of the same scans
    covariates : DataFrame by tables.COVARIATES, optional

    Returns
    -------
    DataFrame, one row for each subject, label and fold, sorted

    - subject_id, label, fold, probability, and `score`, the difference of the logits: means over the subject's scans
    - age (years), female (1 or 0), and the columns of QUALITY: means over the scans, NaN where unknown
    - the covariates: numbers as means over the scans; a category that differs between them is unknown
    """
    rows = predictions.assign(score=predictions["logit_positive"] - predictions["logit_negative"])
    rows = join_properties(rows, selected, covariates)
    names = ["probability", "score", *PROPERTIES, *covariate_names(covariates)]
    return mean_by(rows, ["subject_id", "label", "fold"], names)


def join_properties(rows, selected, covariates=None):
    """Join rows with a scan_id, as of tables.FOLDS, with age, sex (female, 1 or 0), QUALITY and covariates of the scan.

    A covariate is a column of numbers or of text (`splits.covariates.wide_covariates`).
    """
    facts = selected[["scan_id", "age", "sex", *QUALITY]].copy()
    facts["female"] = facts.pop("sex").map({"F": 1.0, "M": 0.0})
    if covariates is not None and len(covariates):
        facts = facts.merge(wide_covariates(covariates), left_on="scan_id", right_index=True, how="left")
    return rows.merge(facts, on="scan_id", how="left", validate="many_to_one")


def covariate_names(covariates):
    """Names of the covariates of a table by tables.COVARIATES, in its order; none without a table."""
    return [] if covariates is None else list(dict.fromkeys(covariates["covariate"]))


def is_known(people, column):
    """Whether a property is known for anybody."""
    return column in people and people[column].notna().any()


def adjusted_for(people):
    """Columns that define who is comparable, as far as they are known for anybody: age, female, and site or scanner."""
    site = next((name for name in CATEGORIES if is_known(people, name)), None)
    return [name for name in ("age", "female", site) if name and is_known(people, name)]


def standardise_within_folds(people):
    """Return the score with mean 0 and SD 1 in each fold; NaN in a fold without spread.

    Networks of different folds have outputs with different zeros and scales.
    """
    scores = people.groupby("fold")["score"]
    spread = scores.transform("std")
    return (people["score"] - scores.transform("mean")) / spread.where(spread > 0)


def one_row_each(people):
    """Keep one row for each subject of one class, with a score that is comparable over folds.

    Scores are standardised within folds. Where several networks classify the same subject (of another study), its
    scores are averaged, and all subjects are in one fold. Subjects with scans of both classes are left out.
    """
    people = people.assign(score=standardise_within_folds(people))
    people = people[people.groupby("subject_id")["label"].transform("nunique") == 1]
    if people["subject_id"].duplicated().any():
        keys = ["subject_id", "label"]
        people = mean_by(people, keys, [name for name in people.columns if name not in (*keys, "fold")])
        people = people.assign(fold=0)
    return people.reset_index(drop=True)


def known_columns(people, columns):
    """Return those of the columns that vary and are known for everybody: only these can be adjusted for.

    A category varies if it has two values of at least 5 people, or one and others (`splits.covariates.design_columns`).
    """
    known = [name for name in columns if len(people) and people[name].notna().all()]
    return [name for name in known if design_columns(people[[name]]).shape[1]]


def strata(people):
    """Yield (name, rows) of strata of sex and of age (at the median), where these are known.

    Returns
    -------
    list of (str, boolean Series)
    """
    found = []
    if people["female"].notna().any():
        found += [("female", people["female"] == 1), ("male", people["female"] == 0)]
    if people["age"].notna().any():
        middle = float(pd.Series(people["age"]).median())
        younger = people["age"] < middle
        found += [(f"younger than {middle:.0f}", younger), (f"{middle:.0f} or older", people["age"].notna() & ~younger)]
    return found
