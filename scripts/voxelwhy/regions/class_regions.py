"""Regions in which the relevance of patients differs from that of controls, beyond chance and covariates."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from voxelwhy.errors import InputError
from voxelwhy.io.trust_tables import CLASS_REGIONS
from voxelwhy.regions.intervals import LEAST_SUBJECTS
from voxelwhy.splits.covariates import design_columns
from voxelwhy.splits.permute import permute_within

#: Among how many first regions a region is counted in the resamples.
FIRST = 10
BATCH = 200


def subjects_by_region(pieces, region_ids, *, target):
    """Average each subject's enrichment over the maps that explain one class.

    Parameters
    ----------
    pieces : DataFrame by tables.RELEVANCE, or an iterable of pieces of it
    region_ids : sequence of int
    target : str, the class that the maps must explain: those of patients and of controls answer the same question

    Returns
    -------
    people : DataFrame with subject_id, label and fold, one row for each subject of one class, sorted. Maps of one
        subject by several networks (of another study's scans) are averaged, and its fold is 0; subjects with scans of
        both classes are left out
    enrichment : array (rows, regions); NaN where a subject has no value

    Raises
    ------
    InputError : no map explains the class.
    """
    pieces = [pieces] if isinstance(pieces, pd.DataFrame) else pieces
    keys, parts = ["subject_id", "label", "fold"], []
    for piece in pieces:
        own = piece[piece["target"] == target]
        parts.append(own.groupby([*keys, "region_id"])["enrichment"].agg(["sum", "count"]))
    sums = pd.concat(parts).groupby(level=[*keys, "region_id"]).sum()
    if not len(sums):
        raise InputError(f"no map explains the class {target}, so patients and controls cannot be compared")
    mean = (sums["sum"] / sums["count"].where(sums["count"] > 0)).unstack("region_id").reindex(columns=region_ids)
    mean = mean[mean.reset_index().groupby("subject_id")["label"].transform("nunique").to_numpy() == 1]
    if mean.index.get_level_values("subject_id").duplicated().any():
        mean = mean.groupby(level=["subject_id", "label"]).mean()
        mean = mean.set_index(pd.Index([0] * len(mean), name="fold"), append=True)
    return mean.index.to_frame(index=False), mean.to_numpy(float)


def no_subjects(n_regions):
    """What `subjects_by_region` gives where nobody has a map to compare: regions are then listed, and not tested."""
    return pd.DataFrame(columns=["subject_id", "label", "fold"]), np.empty((0, n_regions))


def compare_classes(people, enrichment, regions, *, classes, covariates=None, n_permutations=10_000, n_resamples=2_000,
                    seed=0):  # fmt: skip
    """Test each region: does the relevance of patients differ from that of controls, given covariates and fold?

    Parameters
    ----------
    people : DataFrame with label and fold, one row for each subject
    enrichment : array (rows, regions), of maps that explain the same class for everybody
    regions : DataFrame with region_id and region
    classes : {"positive": name, "negative": name}
    covariates : DataFrame with the rows of `people`, optional: numbers, or text for categories such as sites, that are
        known for everybody
    n_permutations, n_resamples, seed : int

    Returns
    -------
    DataFrame by trust_tables.CLASS_REGIONS

    - effect: coefficient of the class (patients minus controls) in a linear model with covariates and fold, with the
      95 % interval of Student's t
    - p, p_family: two-sided, by permutation of the residuals within folds (Freedman & Lane 1983), alone and corrected
      over the regions by the maximum of |t| (Westfall & Young 1993)
    - rank, rank_low, rank_high: place of the region by mean enrichment in patients, and its 95 % interval over
      resamples of the patients; among_first: share of the resamples in which it is among the first ten

    A region without a value for everybody, and all regions with fewer than 8 subjects in a class, are not tested.

    References
    ----------
    Freedman & Lane 1983; Winkler 2014 (permutation inference for the general linear model); Westfall & Young 1993.
    """
    positive = (people["label"] == classes["positive"]).to_numpy()
    enrichment, rng = np.asarray(enrichment, dtype=float), np.random.default_rng(seed)
    names = [] if covariates is None else list(covariates.columns)
    counts = {"n_positive": int(positive.sum()), "n_negative": int((~positive).sum())}
    table = regions[["region_id", "region"]].assign(**counts, covariates=", ".join(names) or None)
    tests = dict.fromkeys(("effect", "low", "high", "t", "p", "p_family"), np.nan)
    table = table.assign(**tests, **_ranks(enrichment[positive], n_resamples, rng))
    complete = np.isfinite(enrichment).all(axis=0)
    if min(counts.values()) >= LEAST_SUBJECTS and complete.any():
        basis = _nuisances(people["fold"], covariates)
        found = _test(positive, enrichment[:, complete], basis, people["fold"].to_numpy(), n_permutations, rng)
        for name, values in found.items():
            table.loc[complete, name] = values
    return table.reset_index(drop=True)[list(CLASS_REGIONS.columns)]


def _nuisances(folds, covariates):
    """An orthonormal basis (rows, columns) of the constant, the folds and the covariates."""
    parts = [pd.get_dummies(folds, dtype=float).to_numpy()]
    if covariates is not None and covariates.shape[1]:
        values = design_columns(covariates).to_numpy(float)
        parts.append((values - values.mean(axis=0)) / values.std(axis=0))
    left, size, _ = np.linalg.svd(np.hstack(parts), full_matrices=False)
    return left[:, size > 1e-10 * size[0]]


def _test(positive, values, basis, folds, n_permutations, rng):
    free = len(values) - basis.shape[1] - 1

    def residuals(of):
        return of - basis @ (basis.T @ of)

    group, left = residuals(positive.astype(float)), residuals(values)
    scale = group @ group
    whole = (left**2).sum(axis=0)
    effect = group @ left / scale
    error = np.sqrt(np.maximum(whole - effect**2 * scale, 0) / free / scale)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.where(error > 0, effect / error, 0.0)
    larger, largest = np.ones(len(t)), np.ones(len(t))
    for start in range(0, n_permutations, BATCH):
        n = min(BATCH, n_permutations - start)
        drawn = np.abs(_permuted_t(left, group, basis, whole, scale, free, permute_within(folds, n, rng)))
        # Equal values may differ in their last bit: a tie counts as at least as large.
        larger += (drawn >= np.abs(t) - 1e-9).sum(axis=0)
        largest += (drawn.max(axis=1)[:, None] >= np.abs(t) - 1e-9).sum(axis=0)
    half = stats.t.ppf(0.975, free) * error
    p = {"p": larger / (1 + n_permutations), "p_family": largest / (1 + n_permutations)}
    return {"effect": effect, "low": effect - half, "high": effect + half, "t": t} | p


def _permuted_t(left, group, basis, whole, scale, free, orders):
    """Return t (permutations, regions) of residuals that were permuted and made residuals again."""
    # Rows of the design are moved instead of those of the data, by the inverse permutation: the products are the same.
    moved_group = np.empty((len(orders), len(group)))
    np.put_along_axis(moved_group, orders, np.broadcast_to(group, moved_group.shape), axis=1)
    effect = moved_group @ left / scale
    explained = np.zeros_like(effect)
    for column in basis.T:
        moved = np.empty_like(moved_group)
        np.put_along_axis(moved, orders, np.broadcast_to(column, moved.shape), axis=1)
        explained += (moved @ left) ** 2
    rest = np.maximum(whole - explained - effect**2 * scale, 1e-300)
    return effect / np.sqrt(rest / free / scale)


def _ranks(values, n_resamples, rng):
    """Ranks of the regions by their mean over subjects, with intervals over resamples of the subjects."""
    known = np.nan_to_num(values)
    rank = _place(known.mean(axis=0)[None])[0] if len(values) else np.full(values.shape[1], np.nan)
    if len(values) < LEAST_SUBJECTS:
        return {"rank": rank, "rank_low": np.nan, "rank_high": np.nan, "among_first": np.nan}
    n = len(values)
    weights = np.stack([np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(n_resamples)]) / n
    drawn = _place(weights @ known)
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0, method="closest_observation")
    return {"rank": rank, "rank_low": low, "rank_high": high, "among_first": (drawn <= FIRST).mean(axis=0)}


def _place(means):
    """Places by row, 1 for the largest; ties share the last of their places."""
    return stats.rankdata(-np.round(means, 9), axis=1, method="max")
