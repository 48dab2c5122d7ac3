"""The relevance of shuffled diagnoses (`explain_shuffled`), joined over folds, and regions compared with it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from voxelwhy.evaluation.chance import compare_with_draws


def join_folds(tables):
    """Average the draws over the subjects of all folds, each of whom is tested in one fold.

    Parameters
    ----------
    tables : list of DataFrame by tables.SHUFFLED, one or more for each fold

    Returns
    -------
    dict, method to DataFrame: one row for each draw, one column for each region_id, mean enrichment (NaN if no subject
    has one)
    """
    rows = pd.concat(tables, ignore_index=True)
    rows["sum"] = (rows["enrichment"] * rows["n_subjects"]).where(rows["n_subjects"] > 0, 0.0)
    sums = rows.groupby(["method", "draw", "region_id"], sort=True)[["sum", "n_subjects"]].sum()
    mean = (sums["sum"] / sums["n_subjects"].where(sums["n_subjects"] > 0)).rename("enrichment").reset_index()
    return {m: own.pivot(index="draw", columns="region_id", values="enrichment") for m, own in mean.groupby("method")}


def compare_regions(table, draws, *, group):
    """Add to the regions of a method what networks of shuffled diagnoses give, and the test against them.

    Parameters
    ----------
    table : DataFrame by tables.REGIONS
    draws : DataFrame, one row for each draw and one column for each region_id (`join_folds`), or None
    group : str, the positive class; only its rows are compared

    Returns
    -------
    DataFrame by tables.REGIONS: shuffled_mean, shuffled_sd, z, p, and p_family, which corrects over the regions (max-T,
        `chance.compare_with_draws`)
    """
    own = table["group"] == group
    if draws is None:
        return table
    reference = draws[table.loc[own, "region_id"]].to_numpy()
    added = compare_with_draws(table.loc[own, "enrichment"].to_numpy(), reference)
    added["shuffled_mean"] = reference.mean(axis=0)
    added["shuffled_sd"] = reference.std(axis=0, ddof=1) if len(reference) > 1 else np.nan
    table = table.copy()
    table.loc[own, "n_shuffled"] = len(reference)
    table.loc[own, list(added.columns)] = added.to_numpy()
    return table
