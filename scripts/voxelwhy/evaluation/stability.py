"""Stability of maps and of tables of regions: between trainings, folds, halves of the subjects, and methods."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from voxelwhy.errors import InputError
from voxelwhy.evaluation.region_tables import MEASURES, RegionTables
from voxelwhy.evaluation.reliability import LEAST_SUBJECTS, LEAST_TRAININGS, icc_interval, jackknife_interval
from voxelwhy.heatmaps.region_sums import rank_regions
from voxelwhy.io.tables import read_table
from voxelwhy.io.trust_tables import STABILITY, STABILITY_REGIONS, TRAININGS_MAPS, TRAININGS_REGIONS


@dataclass(frozen=True)
class Stability:
    """How far maps and tables of regions come out again.

    Attributes
    ----------
    summary : DataFrame by trust_tables.STABILITY
    regions : DataFrame by trust_tables.STABILITY_REGIONS
    matrices : {method: array (trainings, trainings)}; above the diagonal the mean correlation of maps of the same scan,
        below it that of the tables of regions
    ranks : {method: array (trainings, regions)}, rank of each region, in the order of `regions`
    """

    summary: pd.DataFrame
    regions: pd.DataFrame
    matrices: dict
    ranks: dict


def join_stability(of_maps, of_regions, *, classes, seed=0):
    """Read the comparisons of trainings of all folds and summarise them (`summarise_stability`).

    Parameters
    ----------
    of_maps, of_regions : lists of paths of tables by TRAININGS_MAPS and TRAININGS_REGIONS
    """
    tables = [
        pd.concat([read_table(path, schema) for path in paths], ignore_index=True)
        for paths, schema in ((of_maps, TRAININGS_MAPS), (of_regions, TRAININGS_REGIONS))
    ]
    return summarise_stability(*tables, classes=classes, seed=seed)


def summarise_stability(of_maps, of_regions, *, classes, seed=0):
    """Measure how far maps and tables of regions agree between trainings, with intervals over subjects and trainings.

    The study as a whole is repeated: the k-th training of every fold. The table of regions is that of the report, the
    mean enrichment over subjects of the positive class.

    Parameters
    ----------
    of_maps, of_regions : DataFrames by trust_tables.TRAININGS_MAPS and TRAININGS_REGIONS, of all folds
    classes : {"positive": name, "negative": name}
    seed : int, of the halves and of the intervals of overlaps

    Returns
    -------
    Stability; `summary` has these comparisons

    - maps, "trainings", "means of 2", …: maps of the same scan by two trainings, or means over disjoint sets of them
    - regions, "trainings": tables of the same subjects by two repetitions of the study
    - regions, "folds": tables of two folds, which have other subjects and another network
    - regions, "halves": tables of two halves of the subjects of each fold by the same networks. The correlation is
      stepped up to all subjects (Spearman-Brown): no other table can be expected to agree better
    - regions, "methods": tables of two methods of the same networks and subjects

    Correlations are Spearman's, means over all pairs; `first_ten` is the share of the first ten regions that both
    tables have. Intervals: `reliability.jackknife_interval`, `region_tables.RegionTables.interval`.

    Raises
    ------
    InputError : no subject of the positive class is in the tables.
    """
    n_trainings = int(of_regions["training"].max()) + 1
    methods = list(dict.fromkeys(of_regions["method"]))
    names = of_regions.drop_duplicates("region_id")[["region_id", "region"]].reset_index(drop=True)
    patients = of_regions[of_regions["label"] == classes["positive"]]
    if not len(patients):
        raise InputError(
            "no map of the positive class was compared between trainings",
            found=sorted(set(of_regions["label"])),
            allowed=classes["positive"],
        )
    tables = RegionTables(patients, methods, names["region_id"], seed)
    found = _summarise_maps(of_maps, n_trainings)
    for method in methods:
        for comparison, own in tables.agreements(method).items():
            for measure in MEASURES:
                low, high = tables.interval(own, measure)
                found.append({"method": method, "of": "regions", "comparison": comparison, "measure": measure,
                              "value": getattr(own, measure), "low": low, "high": high, "n_subjects": tables.n,
                              "n_trainings": n_trainings})  # fmt: skip
    regions, matrices, ranks = [], {}, {}
    for method in methods:
        own = of_maps[(of_maps["method"] == method) & (of_maps["averaged"] == 1)]
        matrices[method] = _matrix(own, tables.between_trainings(method))
        means = pd.DataFrame(tables.whole(method).T)
        ranks[method] = means.apply(rank_regions).to_numpy().T
        rows = of_regions[of_regions["method"] == method]
        regions.append(_of_regions(method, rows, names, ranks[method]))
    summary = pd.DataFrame(found)[list(STABILITY.columns)]
    summary = summary.assign(place=summary["method"].map(methods.index)).sort_values("place", kind="stable")
    regions = pd.concat(regions, ignore_index=True)[list(STABILITY_REGIONS.columns)]
    return Stability(summary.drop(columns="place").reset_index(drop=True), regions, matrices, ranks)


def _summarise_maps(rows, n_trainings):
    found = []
    for (method, averaged), own in rows.groupby(["method", "averaged"], sort=False):
        wide = own.pivot_table(index=["fold", "subject_id"], columns=["first", "second"], values="spearman", sort=False)
        folds, values = wide.index.get_level_values("fold").to_numpy(), wide.to_numpy()
        sides = [{int(k) for side in pair for k in side.split("+")} for pair in wide.columns]
        kept = [np.array([training not in pair for pair in sides]) for training in range(n_trainings)]
        by_subject, n = values.mean(axis=1), len(values)
        strata = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
        without_subject = [(by_subject.sum() - by_subject[own]) / max(n - 1, 1) for own in strata]
        without_training = []
        if n_trainings >= LEAST_TRAININGS and all(k.any() for k in kept):
            without_training = [
                np.array([(by_subject.sum() + (values[own][:, k].mean(axis=1) - by_subject[own]).sum()) / n
                          for k in kept]) for own in strata
            ]  # fmt: skip
        value = float(by_subject.mean())
        low, high = np.nan, np.nan
        if n >= LEAST_SUBJECTS:
            low, high = map(float, jackknife_interval(value, [without_subject, without_training]))
        name = "trainings" if averaged == 1 else f"means of {averaged}"
        found.append({"method": method, "of": "maps", "comparison": name, "measure": "spearman", "value": value,
                      "low": low, "high": high, "n_subjects": n, "n_trainings": n_trainings})  # fmt: skip
    return found


def _matrix(rows, of_tables):
    matrix = np.array(of_tables, dtype=float)
    for (first, second), own in rows.groupby(["first", "second"]):
        matrix[int(first), int(second)] = own.groupby("subject_id")["spearman"].mean().mean()
    return matrix


def _of_regions(method, rows, names, ranks):
    """Rows of trust_tables.STABILITY_REGIONS; subjects with a map that has no positive relevance do not count."""
    ids = names["region_id"]
    wide = rows.groupby(["fold", "subject_id", "training", "region_id"])["enrichment"].mean().unstack("region_id")
    wide = wide.reindex(columns=ids)
    seen = wide.notna().any().to_numpy()
    n_trainings = int(rows["training"].max()) + 1
    complete = wide.loc[:, seen].notna().all(axis=1).groupby(level=["fold", "subject_id"]).transform("all")
    wide = wide[complete]
    blocks = [own.loc[:, seen].to_numpy().reshape(-1, n_trainings, int(seen.sum())) for _, own in wide.groupby("fold")]
    icc = np.full((3, len(ids)), np.nan)
    n = sum(map(len, blocks))
    if n > 1:
        icc[:, seen] = icc_interval(blocks)
    if n < LEAST_SUBJECTS:
        icc[1:] = np.nan
    of_ranks = {"rank": ranks.mean(axis=0), "rank_low": ranks.min(axis=0), "rank_high": ranks.max(axis=0)}
    of_icc = dict(zip(("icc", "low", "high"), icc, strict=True))
    return names.assign(method=method, n_subjects=n, n_trainings=n_trainings, **of_icc, **of_ranks)
