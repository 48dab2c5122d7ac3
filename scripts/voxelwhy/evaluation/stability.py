"""Stability of maps and of tables of regions: between trainings, folds, halves of the subjects, and methods."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from voxelwhy.errors import InputError
from voxelwhy.evaluation.reliability import icc_interval, jackknife_interval
from voxelwhy.heatmaps.region_sums import rank_regions
from voxelwhy.io.tables import read_table
from voxelwhy.io.trust_tables import STABILITY, STABILITY_REGIONS, TRAININGS_MAPS, TRAININGS_REGIONS

#: Among how many first regions an overlap is counted; half of the regions where there are fewer than twice as many.
FIRST = 10
#: Random divisions of the subjects into halves.
HALVES = 20
#: With fewer subjects no interval is given, and with fewer trainings it is over subjects alone.
LEAST_SUBJECTS, LEAST_TRAININGS = 8, 3
MEASURES = ("spearman", "first_ten")


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
    seed : int, of the halves

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
    tables have. Intervals: `reliability.jackknife_interval`.

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
    tables = _Tables(patients, methods, names["region_id"])
    found = _summarise_maps(of_maps, n_trainings)
    for method in methods:
        found += tables.rows(method, np.random.default_rng(seed))
    regions, matrices, ranks = [], {}, {}
    for method in methods:
        own = of_maps[(of_maps["method"] == method) & (of_maps["averaged"] == 1)]
        matrices[method] = _matrix(own, tables.gram(method)[0, 0])
        means = pd.DataFrame(tables.whole(method).T)
        ranks[method] = means.apply(rank_regions).to_numpy().T
        rows = of_regions[of_regions["method"] == method]
        regions.append(_of_regions(method, rows, names, ranks[method]))
    summary = pd.DataFrame(found)[list(STABILITY.columns)]
    summary = summary.assign(place=summary["method"].map(methods.index)).sort_values("place", kind="stable")
    regions = pd.concat(regions, ignore_index=True)[list(STABILITY_REGIONS.columns)]
    return Stability(summary.drop(columns="place").reset_index(drop=True), regions, matrices, ranks)


def _limits(value, without_subject, without_training, n_subjects, measure):
    """The interval of a mean, from the means without each subject and without each training, both by stratum."""
    if n_subjects < LEAST_SUBJECTS:
        return np.nan, np.nan
    fisher = measure == "spearman"
    low, high = jackknife_interval(value, [without_subject, without_training or []], fisher=fisher)
    return (float(low), float(high)) if fisher else (max(float(low), 0.0), min(float(high), 1.0))


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
        without_training = None
        if n_trainings >= LEAST_TRAININGS and all(k.any() for k in kept):
            without_training = [
                np.array([(by_subject.sum() + (values[own][:, k].mean(axis=1) - by_subject[own]).sum()) / n
                          for k in kept]) for own in strata
            ]  # fmt: skip
        value = float(by_subject.mean())
        low, high = _limits(value, without_subject, without_training, n, "spearman")
        name = "trainings" if averaged == 1 else f"means of {averaged}"
        found.append({"method": method, "of": "maps", "comparison": name, "measure": "spearman", "value": value,
                      "low": low, "high": high, "n_subjects": n, "n_trainings": n_trainings})  # fmt: skip
    return found


class _Tables:
    """Tables of regions by method and training, of all subjects and without each of them in turn.

    `weights` (tables, subjects) has one row for each table: all subjects; all but one; all but a group of a fold.
    Leaving one out overrates the variance of a statistic that changes in steps, as an overlap does; groups of about the
    square root of the subjects do so less (Shao & Wu 1989, A general theory for jackknife variance estimation).
    `strata` has the places of these rows by measure and fold.
    """

    def __init__(self, rows, methods, region_ids):
        people = rows.drop_duplicates(["fold", "subject_id"])[["fold", "subject_id"]]
        self.index = pd.MultiIndex.from_frame(people)
        self.folds, self.n = people["fold"].to_numpy(), len(people)
        self.methods = methods
        self.values = {method: self._array(rows[rows["method"] == method], region_ids) for method in methods}
        self.n_trainings = next(iter(self.values.values())).shape[1]
        self.seen = np.isfinite(next(iter(self.values.values()))).any(axis=(0, 1))
        for own in self.values.values():
            self.seen &= np.isfinite(own).any(axis=(0, 1))
        self.first = min(FIRST, max(int(self.seen.sum()) // 2, 1))
        rows, self.strata = [np.ones(self.n)], {measure: [] for measure in MEASURES}
        for fold in np.unique(self.folds) if self.n >= LEAST_SUBJECTS else ():
            own = np.flatnonzero(self.folds == fold)
            groups = {
                "spearman": own[:, None],
                "first_ten": np.array_split(own, -(-len(own) // round(len(own) ** 0.5))),
            }
            for measure, left_out in groups.items():
                self.strata[measure].append(np.arange(len(rows), len(rows) + len(left_out)))
                rows += [1.0 - np.isin(np.arange(self.n), group) for group in left_out]
        self.weights = np.stack(rows)

    def _array(self, rows, region_ids):
        """Enrichment, (subjects, trainings, regions)."""
        keys = ["fold", "subject_id", "training"]
        wide = rows.groupby([*keys, "region_id"])["enrichment"].mean().unstack("region_id").reindex(columns=region_ids)
        every = [wide.xs(training, level="training").reindex(self.index) for training in sorted(set(rows["training"]))]
        return np.stack([own.to_numpy(float) for own in every], axis=1)

    def whole(self, method):
        """The table of all subjects by each training, (trainings, regions); NaN where no subject has a value."""
        return self._means(method, self.weights[:1], everywhere=True)[0]

    def _means(self, method, weights, *, everywhere=False):
        values = self.values[method] if everywhere else self.values[method][:, :, self.seen]
        known = np.isfinite(values)
        sums, counts = (np.tensordot(weights, own, 1) for own in (np.where(known, values, 0), known.astype(float)))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(counts > 0, sums / counts, np.nan if everywhere else 0.0)

    def _marks(self, method, weights):
        """What the two measures compare, (2, tables, trainings, regions): scaled ranks, and the first regions."""
        means = np.round(self._means(method, weights), 9)
        ranks = rankdata(means, axis=-1)
        ranks -= ranks.mean(axis=-1, keepdims=True)
        length = np.linalg.norm(ranks, axis=-1, keepdims=True)
        first = np.zeros_like(means)
        np.put_along_axis(first, np.argsort(-means, axis=-1, kind="stable")[..., : self.first], 1.0, axis=-1)
        return np.stack([ranks / np.where(length > 0, length, 1), first / np.sqrt(self.first)])

    def gram(self, method):
        """Both measures between all trainings, (2, tables, trainings, trainings)."""
        marks = self._marks(method, self.weights)
        return np.einsum("qumr,qunr->qumn", marks, marks)

    def rows(self, method, rng):
        """Rows of trust_tables.STABILITY of one method."""
        compared = {"trainings": self._trainings(method)}
        if len(np.unique(self.folds)) > 1:
            compared["folds"] = self._folds(method)
        if self.n > 1:
            compared["halves"] = self._halves(method, rng)
        if len(self.methods) > 1:
            compared["methods"] = self._others(method)
        found = []
        for name, (values, without_training) in compared.items():
            for measure, own, dropped in zip(MEASURES, values, without_training, strict=True):
                by_fold = [own[places] for places in self.strata[measure]]
                used = dropped if self.n_trainings >= LEAST_TRAININGS else None
                low, high = _limits(own[0], by_fold, used, self.n, measure)
                found.append({"method": method, "of": "regions", "comparison": name, "measure": measure,
                              "value": float(own[0]), "low": low, "high": high, "n_subjects": self.n,
                              "n_trainings": self.n_trainings})  # fmt: skip
        return found

    def _trainings(self, method):
        every = np.arange(self.n_trainings)
        values, without = self._over_pairs(self.gram(method), every[:, None] < every[None])
        return values, [[own] for own in without]

    def _folds(self, method):
        names = np.unique(self.folds)
        marks = np.concatenate([self._marks(method, self.weights * (self.folds == fold)) for fold in names], axis=2)
        of = np.repeat(names, self.n_trainings)
        values, without = self._over_pairs(np.einsum("qumr,qunr->qumn", marks, marks), of[:, None] < of[None])
        return values, [[own[of == fold] for fold in names] for own in without]

    def _over_pairs(self, gram, pairs):
        """Means over pairs of tables, (2, tables), and those of all subjects without each training, (2, trainings)."""
        without = np.full((2, len(pairs)), np.nan)
        for k in range(len(pairs)) if self.n_trainings >= LEAST_TRAININGS else ():
            kept = np.arange(len(pairs)) != k
            without[:, k] = gram[:, 0][:, pairs & kept[:, None] & kept[None]].mean(axis=-1)
        return gram[..., pairs].mean(axis=-1), without

    def _halves(self, method, rng):
        total = 0.0
        for _ in range(HALVES):
            half = self._half(rng)
            one, other = (self._marks(method, self.weights * side) for side in (half, ~half))
            total = total + np.einsum("qumr,qumr->qum", one, other)
        return self._of_each_training(total / HALVES, stepped=True)

    def _half(self, rng):
        """Half of the subjects of each fold, at random; the odd ones of the folds go alternately to both."""
        half, turn = np.zeros(self.n, dtype=bool), bool(rng.integers(2))
        for fold in np.unique(self.folds):
            own = rng.permutation(np.flatnonzero(self.folds == fold))
            half[own[: (len(own) + turn) // 2]] = True
            turn ^= bool(len(own) % 2)
        return half

    def _others(self, method):
        own = self._marks(method, self.weights)
        others = [self._marks(other, self.weights) for other in self.methods if other != method]
        return self._of_each_training(np.mean([np.einsum("qumr,qumr->qum", own, it) for it in others], axis=0))

    def _of_each_training(self, found, *, stepped=False):
        """Means over trainings of (2, tables, trainings), and those without each training."""

        def mean(values):
            values = values.mean(axis=-1)
            if stepped:
                values = np.stack([step_up(values[0]), values[1]])
            return values

        without = np.stack([mean(np.delete(found[:, 0], k, axis=-1)) for k in range(self.n_trainings)], axis=-1)
        return mean(found), [[own] for own in without]


def step_up(correlation):
    """Reliability of a whole from the correlation of its halves (Spearman 1910; Brown 1910); negative ones stay."""
    correlation = np.asarray(correlation, dtype=float)
    return np.where(correlation > 0, 2 * correlation / (1 + np.maximum(correlation, 0)), correlation)


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
