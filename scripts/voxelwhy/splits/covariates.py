"""Covariates of people: read as numbers or categories, averaged by subject, and as the columns of a linear model."""

from __future__ import annotations

import pandas as pd

#: Covariates that are categories even if they are numbers, such as the numbers of sites.
CATEGORIES = ("site", "scanner")
#: Categories of fewer rows form one category in a linear model.
LEAST_PER_CATEGORY = 5
OTHER = "other"


def wide_covariates(table):
    """Return the covariates of scans as one column each, indexed by scan_id.

    Parameters
    ----------
    table : DataFrame by tables.COVARIATES

    Returns
    -------
    DataFrame : a covariate is a column of numbers (float, NaN where unknown) if all its known values are numbers and
        it is not one of CATEGORIES, otherwise one of text (object, None where unknown)
    """
    columns = {}
    for name, own in table.groupby("covariate", sort=False):
        values = own.set_index("scan_id")["value"]
        numbers = pd.to_numeric(values, errors="coerce")
        if name in CATEGORIES or (numbers.isna() & values.notna()).any():
            columns[name] = values.where(values.notna(), None).astype(object)
        else:
            columns[name] = numbers.astype(float)
    return pd.DataFrame(columns)


def is_category(values):
    """Whether a column of `wide_covariates` holds categories."""
    return values.dtype == object


def mean_by(rows, keys, names):
    """Average columns over the rows with the same `keys`; a category that differs between them is unknown.

    Returns
    -------
    DataFrame with the keys and names, sorted by the keys
    """

    def common(values):
        known = values.dropna().unique()
        return known[0] if len(known) == 1 else None

    if not len(names):  # pandas does not aggregate nothing
        return rows[list(keys)].drop_duplicates().sort_values(list(keys), ignore_index=True)
    how = {name: common if is_category(rows[name]) else "mean" for name in names}
    found = rows.groupby(keys, as_index=False, sort=True).agg(how)
    for name in names:
        if is_category(rows[name]):  # where all are unknown, pandas makes them numbers
            found[name] = found[name].astype(object).where(found[name].notna(), None)
    return found[[*keys, *names]]


def design_columns(frame):
    """Return covariates as numbers: a category as one column of 0 and 1 for each of its values but the first.

    Values of fewer than 5 rows form one, so that few people do not determine a coefficient each. Columns that do not
    vary are left out.
    """
    columns = {}
    for name in frame.columns:
        if not is_category(frame[name]):
            columns[name] = frame[name].astype(float)
            continue
        counts = frame[name].map(frame[name].value_counts())
        values = frame[name].where(counts >= LEAST_PER_CATEGORY, OTHER)
        for value in sorted(values.unique())[1:]:
            columns[f"{name} {value}"] = (values == value).astype(float)
    found = pd.DataFrame(columns, index=frame.index)
    return found.loc[:, found.nunique() > 1]
