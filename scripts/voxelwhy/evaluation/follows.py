"""Whether a score follows a property of people: rank correlation, AUC of two values, or differences between categories.

Score and property are compared within folds, and p is that of permutations of the score within folds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize, stats

from voxelwhy.evaluation.intervals import Z
from voxelwhy.evaluation.within_folds import fold_aucs
from voxelwhy.splits.covariates import is_category
from voxelwhy.splits.permute import permute_within

#: With fewer subjects nothing is tested.
LEAST_SUBJECTS = 8
BATCH = 500
#: Measures: of numbers, of two values, and of more than two categories.
SPEARMAN, AUC, ETA = "Spearman", "AUC", "η²"


class Relation(NamedTuple):
    """How closely a score follows a property, with its 95 % interval; NaN where it is not defined."""

    measure: str
    value: float
    low: float
    high: float
    p: float
    n: int


def measure_of(values):
    """The measure for a property by its known values: two values, numbers, or more than two categories."""
    if values.dropna().nunique() == 2:
        return AUC
    return ETA if is_category(values) else SPEARMAN


def higher_value(values):
    """Of two known values the one that counts as positive: the larger number, or the later name."""
    return sorted(values.dropna().unique())[-1]


def title_with(title, higher):
    """The title of a property of two values, with the one that counts as positive."""
    return f"{title} ({higher if isinstance(higher, str) else format(higher, 'g')})"


def relate(people, name, measure, n_permutations, rng, *, higher=None):
    """Relate the score of people of one class to a property.

    Parameters
    ----------
    people : DataFrame with score, fold and the property, known for all of them; one row for each subject
    name : str, the column of the property
    measure : SPEARMAN, AUC (of the score of people with the value `higher` and of the others), or ETA
    n_permutations : int
    rng : numpy Generator

    Returns
    -------
    Relation

    - SPEARMAN: ranks of score and property, both centred within folds; the interval is that of Bonett & Wright (2000)
    - AUC: within folds, with the interval of `within_folds.FoldAucs`
    - ETA: share of the sum of squares of the scores' ranks, centred within folds, that lies between the categories. In
      one fold it is H / (n - 1), with H of Kruskal & Wallis (1952). The interval is that of the noncentral F
      distribution (Steiger 2004)
    - p: two-sided, by permutation of the score within folds

    References
    ----------
    Kruskal & Wallis 1952; Bonett & Wright 2000 (Psychometrika 65:23); Steiger 2004.
    """
    people = people[np.isfinite(people["score"])]
    n, folds = len(people), people["fold"].to_numpy()
    undefined = Relation(measure, np.nan, np.nan, np.nan, np.nan, n)
    if n < LEAST_SUBJECTS:
        return undefined
    score = people["score"].to_numpy(float)
    contrast = _contrast(people[name], measure, higher, folds)
    if measure == AUC:  # a pair is compared in its own fold, so ranks are those of a fold
        ranks = pd.Series(score.round(9)).groupby(folds).rank().to_numpy()
    else:
        ranks = stats.rankdata(score.round(9))
    ranks = _centred(ranks, folds) if measure != SPEARMAN else ranks - ranks.mean()
    whole = float(ranks @ ranks)
    if whole <= 0 or not contrast.shape[1]:
        return undefined
    found = float(((ranks @ contrast) ** 2).sum())
    p = _permuted_share(ranks, contrast, found, folds, n_permutations, rng)
    estimate = {SPEARMAN: _correlation, ETA: _share, AUC: _auc}[measure]
    return Relation(measure, *estimate(ranks, contrast, people.assign(higher=people[name] == higher)), p, n)


def _contrast(values, measure, higher, folds):
    """An orthonormal basis (rows, columns) of what the score is compared with."""
    if measure == SPEARMAN:
        ranks = stats.rankdata(_centred(values.to_numpy(float), folds).round(9))
        columns = (ranks - ranks.mean())[:, None]
    elif measure == AUC:
        columns = _centred((values == higher).to_numpy(float), folds)[:, None]
    else:
        columns = _centred(pd.get_dummies(values, dtype=float).to_numpy(), folds)
    left, size, _ = np.linalg.svd(columns, full_matrices=False)
    kept = size > 1e-9 * max(size.max(), 1.0)
    # The sign of a single column is that of the property, which a decomposition leaves open.
    left = columns / size if columns.shape[1] == 1 and kept.all() else left[:, kept]
    return left


def _centred(values, folds):
    return values - pd.DataFrame(values).groupby(folds).transform("mean").to_numpy().reshape(np.shape(values))


def _permuted_share(ranks, contrast, found, folds, n_permutations, rng):
    """The share of permutations of the score within folds that are at least as far from no relation."""
    larger, tolerance = 1, 1e-9 * float(ranks @ ranks)
    for start in range(0, n_permutations, BATCH):
        orders = permute_within(folds, min(BATCH, n_permutations - start), rng)
        drawn = ((ranks[orders] @ contrast) ** 2).sum(axis=1)
        larger += int((drawn >= found - tolerance).sum())
    return larger / (1 + n_permutations)


def _correlation(ranks, contrast, people):
    n, n_folds = len(people), people["fold"].nunique()
    found = float(ranks @ contrast[:, 0] / np.sqrt(ranks @ ranks))
    return found, *correlation_interval(found, n, n_folds)


def correlation_interval(found, n, n_folds=1):
    """The 95 % interval of Spearman's correlation (Bonett & Wright 2000) of values centred within folds."""
    # One degree of freedom less for each further fold, whose mean is subtracted.
    error = np.sqrt((1 + found**2 / 2) / max(n - n_folds - 2, 1))
    low, high = np.tanh(np.arctanh(np.clip(found, -0.9999, 0.9999)) + np.array([-1, 1]) * Z * error)
    return float(low), float(high)


def _auc(ranks, contrast, people):
    subjects = np.arange(len(people))
    aucs = fold_aucs(people["score"].to_numpy(float).round(9), people["higher"], subjects, people["fold"])
    return (np.nan,) * 3 if aucs is None else (aucs.auc, *aucs.interval())


def _share(ranks, contrast, people):
    share, degrees = float(((ranks @ contrast) ** 2).sum() / (ranks @ ranks)), contrast.shape[1]
    return share, *share_interval(share, degrees, len(people) - people["fold"].nunique() - degrees)


def share_interval(share, degrees, free):
    """The 95 % interval of a share of the sum of squares, from the noncentral F distribution.

    Parameters
    ----------
    share : float, 0 to 1, of `degrees` columns; `free` degrees of freedom are left

    Returns
    -------
    (low, high), NaN without degrees of freedom; noncentralities λ become λ / (λ + degrees + free + 1)
    """
    if free < 1 or not share < 1:
        return np.nan, np.nan
    ratio = share / degrees / ((1 - share) / free)

    def limit(tail):
        def excess(noncentrality):
            return stats.ncf.cdf(ratio, degrees, free, noncentrality) - tail

        if excess(0.0) <= 0:
            return 0.0
        upper = 10.0
        while excess(upper) > 0:
            upper *= 2
        found = optimize.brentq(excess, 0.0, upper)
        return found / (found + degrees + free + 1)

    return limit(0.975), limit(0.025)
