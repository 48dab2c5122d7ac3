"""Relevance by region and group of scans: means over subjects with bootstrap intervals, and ranks."""

from __future__ import annotations

import numpy as np
import pandas as pd

from voxelwhy.errors import InputError
from voxelwhy.groups import group_names, groups_of
from voxelwhy.tables import REGIONS

FIGURES = ("total", "share", "density")


def aggregate_regions(relevance, atlas_table, *, classes, n_bootstrap=1000, seed=0, judged=True):
    """Mean relevance of each region in each group of scans, with 95 % bootstrap intervals over subjects.

    A subject's scans (and the maps of one scan by several models) are averaged first, so that somebody with five visits
    counts once; the percentile bootstrap then resamples subjects. A scan whose map has no positive relevance has no
    share, and counts for the other figures only.

    Parameters
    ----------
    relevance : DataFrame by tables.RELEVANCE, one method
    atlas_table : DataFrame by tables.ATLAS
    classes : {"positive": name, "negative": name}
    n_bootstrap : int, resamples
    judged : bool; whether there are groups of right and of wrong predictions
    seed : int; each group draws from a stream of its own, so that an empty group changes no other

    Returns
    -------
    DataFrame by tables.REGIONS: groups in the order of `group_names`, those without scans left out; rank 1 is the
    region with the largest mean share. With one subject the interval is empty (NaN), since nothing can be resampled.

    Raises
    ------
    InputError : the relevance table has no rows, or its regions are not those of the atlas table.

    References
    ----------
    Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile interval).
    """
    if not len(relevance):
        raise InputError("there is no relevance to aggregate: the table has no rows")
    regions = atlas_table[["region_id", "region", "volume_mm3"]]
    if set(relevance["region_id"]) != set(regions["region_id"]):
        strange = sorted(set(relevance["region_id"]) ^ set(regions["region_id"]))
        raise InputError(
            "the relevance table and the atlas table have different regions", column="region_id", found=strange[:20]
        )
    scans = relevance.drop_duplicates(["scan_id", "fold"])[["scan_id", "fold", "subject_id", "label", "probability"]]
    member = [groups_of(row.label, row.probability, classes, judged=judged) for row in scans.itertuples()]
    parts = []
    for number, group in enumerate(group_names(classes, judged=judged)):
        chosen = scans[[group in groups for groups in member]]
        if len(chosen):
            rng = np.random.default_rng(np.random.SeedSequence([seed, number]))
            parts.append(_aggregate(relevance, chosen, regions, n_bootstrap, rng).assign(group=group))
    return pd.concat(parts, ignore_index=True)[list(REGIONS.columns)]


def _aggregate(relevance, chosen, regions, n_bootstrap, rng):
    """One group: a frame with a row a region."""
    rows = relevance.merge(chosen[["scan_id", "fold"]], on=["scan_id", "fold"])
    by_subject = rows.groupby(["subject_id", "region_id"], sort=True)[list(FIGURES)].mean()
    n_subjects = chosen["subject_id"].nunique()
    result = regions.assign(n_subjects=n_subjects, n_scans=chosen["scan_id"].nunique())
    # The same subjects are drawn for the three figures: one matrix of how often each subject is in each resample.
    draws = rng.multinomial(n_subjects, np.full(n_subjects, 1 / n_subjects), size=n_bootstrap)
    for figure in FIGURES:
        values = by_subject[figure].unstack("region_id")[regions["region_id"]].to_numpy()
        mean, low, high = bootstrap_means(values, draws)
        result = result.assign(**{figure: mean, f"{figure}_low": low, f"{figure}_high": high})
    order = result["share"].fillna(-1).rank(method="first", ascending=False)
    return result.assign(rank=order.astype(int))


def bootstrap_means(values, draws):
    """Mean of each column and its 95 % percentile interval.

    Parameters
    ----------
    values : (subjects, regions); NaN is left out
    draws : (resamples, subjects) how often each subject is in each resample

    Returns
    -------
    mean, low, high : (regions,); NaN where no subject has a value, and no interval where only one has
    """
    known = np.isfinite(values)
    filled = np.where(known, values, 0)
    n = known.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(axis=0) / n
        means = (draws @ filled) / (draws @ known.astype(float))
    low, high = np.full(len(n), np.nan), np.full(len(n), np.nan)
    if (n > 1).any():
        # A resample may hold none of the subjects that have a value: it has no mean and is left out.
        low[n > 1], high[n > 1] = np.nanpercentile(means[:, n > 1], [2.5, 97.5], axis=0)
    return mean, low, high
