"""Tables of relevance by region of several trainings: how far two of them agree, with intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from scipy.stats import t as student

from voxelwhy.evaluation.reliability import LEAST_SUBJECTS, LEAST_TRAININGS, jackknife_interval

#: Among how many first regions an overlap is counted; half of the regions where there are fewer than twice as many.
FIRST = 10
#: Random divisions of the subjects into halves, and random weights from which the interval of an overlap follows.
HALVES, DRAWS = 20, 100
MEASURES = ("spearman", "first_ten")


@dataclass(frozen=True)
class Agreement:
    """Agreement of tables of one kind.

    Attributes
    ----------
    spearman, first_ten : float, means over pairs
    without_subject, without_training : lists of arrays, `spearman` without each of them, by stratum
    drawn : array (draws,), `first_ten` with random weights of subjects and trainings
    """

    spearman: float
    first_ten: float
    without_subject: list
    without_training: list
    drawn: np.ndarray


class RegionTables:
    """Mean enrichment over subjects by region, method and training, and how far such tables agree.

    The rows of `weights`, (tables, subjects), are: all subjects; all but one, in turn; random weights, whose sum over
    the subjects of a fold is their number. `of_trainings`, (draws, trainings of all folds), are random weights too.

    Parameters
    ----------
    rows : DataFrame by trust_tables.TRAININGS_REGIONS, of the subjects that the tables are means of
    methods : list of str
    region_ids : sequence of int
    seed : int
    """

    def __init__(self, rows, methods, region_ids, seed=0):
        people = rows.drop_duplicates(["fold", "subject_id"])[["fold", "subject_id"]]
        self.index, self.methods, self.seed = pd.MultiIndex.from_frame(people), methods, seed
        self.folds, self.n = people["fold"].to_numpy(), len(people)
        self.names = np.unique(self.folds)
        self.values = {method: self._array(rows[rows["method"] == method], region_ids) for method in methods}
        self.n_trainings = self.values[methods[0]].shape[1]
        self.seen = np.all([np.isfinite(own).any(axis=(0, 1)) for own in self.values.values()], axis=0)
        self.first = min(FIRST, max(int(self.seen.sum()) // 2, 1))
        self.strata = [1 + np.flatnonzero(self.folds == fold) for fold in self.names]
        rng = np.random.default_rng(seed)
        drawn = rng.exponential(size=(DRAWS, self.n))
        for fold in self.names:
            own = self.folds == fold
            drawn[:, own] *= own.sum() / drawn[:, own].sum(axis=1, keepdims=True)
        self.weights = np.vstack([np.ones(self.n), 1 - np.eye(self.n), drawn])
        both = self.n_trainings >= LEAST_TRAININGS
        shape = (DRAWS, self.n_trainings * len(self.names))
        self.of_trainings = rng.exponential(size=shape) if both else np.ones(shape)

    def _array(self, rows, region_ids):
        """Enrichment, (subjects, trainings, regions)."""
        keys = ["fold", "subject_id", "training", "region_id"]
        wide = rows.groupby(keys)["enrichment"].mean().unstack("region_id").reindex(columns=region_ids)
        every = [wide.xs(training, level="training").reindex(self.index) for training in sorted(set(rows["training"]))]
        return np.stack([own.to_numpy(float) for own in every], axis=1)

    def whole(self, method):
        """The table of all subjects by each training, (trainings, regions); NaN where no subject has a value."""
        return _means(self.values[method], np.ones((1, self.n)), np.nan)[0]

    def between_trainings(self, method):
        """Spearman's correlation of the tables of all subjects by each two trainings, (trainings, trainings)."""
        marks = self._marks(method, self.weights[:1])[0, 0]
        return marks @ marks.T

    def interval(self, agreement, measure):
        """The 95 % interval over subjects and, from three trainings on, trainings.

        That of Spearman's correlation is by the jackknife. The overlap changes in steps, for which the jackknife is not
        valid: its standard error is the standard deviation under random exponential weights of subjects times those of
        trainings (Rubin 1981; Owen & Eckles 2012, Bootstrapping data arrays of arbitrary order), and the quantile that
        of Student's t with the degrees of freedom of the factor that has fewer.
        """
        if self.n < LEAST_SUBJECTS:
            return np.nan, np.nan
        both = self.n_trainings >= LEAST_TRAININGS
        if measure == "spearman":
            factors = [agreement.without_subject, *([agreement.without_training] if both else [])]
            return tuple(map(float, jackknife_interval(agreement.spearman, factors)))
        free = self.n - len(self.names)
        half = student.ppf(0.975, min(free, self.n_trainings - 1) if both else free) * agreement.drawn.std(ddof=1)
        return max(agreement.first_ten - half, 0.0), min(agreement.first_ten + half, 1.0)

    def agreements(self, method):
        """{comparison: Agreement} of one method; what is compared is in `stability.summarise_stability`."""
        found = {"trainings": self._trainings(method)}
        if len(self.names) > 1:
            found["folds"] = self._folds(method)
        if self.n > 1:
            found["halves"] = self._halves(method)
        if len(self.methods) > 1:
            found["methods"] = self._others(method)
        return found

    def _trainings(self, method):
        marks, every = self._marks(method, self.weights), np.arange(self.n_trainings)
        return self._over_pairs(marks, every[:, None] < every[None], [every])

    def _folds(self, method):
        marks = [self._marks(method, self.weights * (self.folds == fold)) for fold in self.names]
        of = np.repeat(self.names, self.n_trainings)
        strata = [np.flatnonzero(of == fold) for fold in self.names]
        return self._over_pairs(np.concatenate(marks, axis=2), of[:, None] < of[None], strata)

    def _over_pairs(self, marks, pairs, strata):
        """Means over pairs of tables; `strata` are the places of the trainings of a fold, or of the whole study."""
        one, other = np.nonzero(pairs)
        found = np.einsum("qupr,qupr->qup", marks[:, :, one], marks[:, :, other])
        of_pairs = self.of_trainings[:, one] * self.of_trainings[:, other]
        apart = [(one != k) & (other != k) for k in range(len(pairs))]
        without = [
            np.array([found[0, 0, apart[k]].mean() if apart[k].any() else np.nan for k in own]) for own in strata
        ]
        return self._agreement(found.mean(axis=-1), without, found[1], of_pairs)

    def _halves(self, method):
        rng, found = np.random.default_rng(self.seed), 0.0
        for _ in range(HALVES):
            half = self._half(rng)
            one, other = (self._marks(method, self.weights * side) for side in (half, ~half))
            found = found + np.einsum("qumr,qumr->qum", one, other) / HALVES
        return self._of_each_training(found, step_up)

    def _half(self, rng):
        """Half of the subjects of each fold, at random; the odd ones of the folds go alternately to both."""
        half, turn = np.zeros(self.n, dtype=bool), bool(rng.integers(2))
        for fold in self.names:
            own = rng.permutation(np.flatnonzero(self.folds == fold))
            half[own[: (len(own) + turn) // 2]] = True
            turn ^= bool(len(own) % 2)
        return half

    def _others(self, method):
        own = self._marks(method, self.weights)
        others = [self._marks(other, self.weights) for other in self.methods if other != method]
        return self._of_each_training(np.mean([np.einsum("qumr,qumr->qum", own, it) for it in others], axis=0))

    def _of_each_training(self, found, scaled=lambda values: values):
        """Means over trainings of (2, tables, trainings); correlations are `scaled` afterwards."""
        without = [np.array([scaled(np.delete(found[0, 0], k).mean()) for k in range(self.n_trainings)])]
        means = found.mean(axis=-1)
        return self._agreement(
            [scaled(means[0]), means[1]], without, found[1], self.of_trainings[:, : self.n_trainings]
        )

    def _agreement(self, means, without_training, overlaps, weights):
        drawn = (overlaps[-DRAWS:] * weights).sum(axis=-1) / weights.sum(axis=-1)
        without_subject = [means[0][places] for places in self.strata]
        return Agreement(float(means[0][0]), float(means[1][0]), without_subject, without_training, drawn)

    def _marks(self, method, weights):
        """What the two measures compare, (2, tables, trainings, regions): scaled ranks, and the first regions."""
        means = np.round(_means(self.values[method][:, :, self.seen], weights, 0.0), 9)
        ranks = rankdata(means, axis=-1)
        ranks -= ranks.mean(axis=-1, keepdims=True)
        length = np.linalg.norm(ranks, axis=-1, keepdims=True)
        first = np.zeros_like(means)
        np.put_along_axis(first, np.argsort(-means, axis=-1, kind="stable")[..., : self.first], 1.0, axis=-1)
        return np.stack([ranks / np.where(length > 0, length, 1), first / np.sqrt(self.first)])


def _means(values, weights, nothing):
    """Weighted means over subjects that have a value, (tables, trainings, regions); `nothing` where there is none."""
    known = np.isfinite(values)
    sums, counts = (np.tensordot(weights, own, 1) for own in (np.where(known, values, 0), known.astype(float)))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counts > 0, sums / counts, nothing)


def step_up(correlation):
    """Reliability of a whole from the correlation of its halves (Spearman 1910; Brown 1910); negative ones stay."""
    correlation = np.asarray(correlation, dtype=float)
    return np.where(correlation > 0, 2 * correlation / (1 + np.maximum(correlation, 0)), correlation)
