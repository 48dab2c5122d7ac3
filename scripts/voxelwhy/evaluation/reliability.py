"""Reliability of measurements that are repeated by several trainings: ICC(2,1), and intervals over both."""

from __future__ import annotations

import numpy as np
from scipy.stats import t as student

#: Correlations closer to 1 than this have no transform of Fisher.
ALMOST_ONE = 1 - 1e-12
#: With fewer subjects no interval is given, and with fewer trainings it is over subjects alone.
LEAST_SUBJECTS, LEAST_TRAININGS = 8, 3


def icc_agreement(blocks):
    """Compute ICC(2,1): the share of the variance of one measurement that is due to differences between subjects.

    Two-way random effects, absolute agreement, of a single measurement. Subjects are crossed with the trainings of
    their fold; trainings of different folds are different trainings. Mean squares are pooled over folds, so that
    differences between folds do not count, and variance components follow from their expectations:

        σ²(error) = MSE,   σ²(subject) = (MSR - MSE) / k,   σ²(training) = (MSC - MSE) / n

    Parameters
    ----------
    blocks : list of arrays (subjects, trainings, regions), one for each fold, without NaN

    Returns
    -------
    array (regions,): σ²(subject) / (σ²(subject) + σ²(training) + σ²(error)); NaN if nothing varies, or if no fold has
    two subjects and two trainings

    References
    ----------
    Shrout & Fleiss 1979, Intraclass correlations: uses in assessing rater reliability. Psychological Bulletin 86:420.
    """
    rows = columns = error = 0.0
    free = np.zeros(3)  # degrees of freedom of rows, columns and error
    per_row = per_column = 0
    for block in map(np.asarray, blocks):
        n, k = block.shape[:2]
        if n < 1 or k < 1:
            continue
        of_subject, of_training, mean = block.mean(axis=1), block.mean(axis=0), block.mean(axis=(0, 1))
        rows = rows + k * ((of_subject - mean) ** 2).sum(axis=0)
        columns = columns + n * ((of_training - mean) ** 2).sum(axis=0)
        left = block - of_subject[:, None] - of_training[None] + mean
        error = error + (left**2).sum(axis=(0, 1))
        free += n - 1, k - 1, (n - 1) * (k - 1)
        per_row, per_column = per_row + (n - 1) * k, per_column + (k - 1) * n
    if not free.all():
        return np.full(np.shape(blocks[0])[2], np.nan)
    noise = error / free[2]
    between, drift = (rows - free[0] * noise) / per_row, (columns - free[1] * noise) / per_column
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(rows + columns + error > 1e-20, between / (between + drift + noise), np.nan)


def icc_interval(blocks):
    """Compute ICC(2,1) with its 95 % interval over subjects and trainings (`jackknife_interval`).

    Parameters
    ----------
    blocks : as in `icc_agreement`

    Returns
    -------
    value, low, high : arrays (regions,). With two trainings of a fold the interval is over subjects alone
    """

    def without(place, axis):
        block = blocks[place]
        kept = [np.delete(block, unit, axis) for unit in range(block.shape[axis])]
        return np.stack([icc_agreement([*blocks[:place], own, *blocks[place + 1 :]]) for own in kept])

    value = icc_agreement(blocks)
    factors = [[without(place, 0) for place, block in enumerate(blocks) if len(block) > 1]]
    if min(block.shape[1] for block in blocks) >= LEAST_TRAININGS:
        factors.append([without(place, 1) for place in range(len(blocks))])
    return value, *jackknife_interval(value, factors)


def jackknife_interval(value, factors, *, fisher=True):
    """Compute the 95 % interval of a statistic of subjects that are crossed with trainings, by leaving each out.

    The variance due to each of them is that of the jackknife, (n - 1)/n Σ (θ₍ᵢ₎ - mean)², summed over strata; the two
    are added. What depends on the combination of subject and training counts in both, which errs on the wide side. The
    quantile is that of Student's t with the degrees of freedom of Satterthwaite.

    Parameters
    ----------
    value : array (...), the statistic of all
    factors : list, for subjects and trainings (or one of them): list, for each stratum, of arrays (units, ...), the
        statistic without each unit. A stratum of one unit does not count
    fisher : bool, whether the interval is computed on Fisher's scale, as for correlations

    Returns
    -------
    low, high : arrays (...); NaN where the statistic without a unit is not defined, or without any stratum

    References
    ----------
    Efron & Stein 1981, The jackknife estimate of variance. Annals of Statistics 9:586.
    """

    def scaled(values):
        return np.arctanh(np.clip(values, -ALMOST_ONE, ALMOST_ONE)) if fisher else np.asarray(values, dtype=float)

    variances, freedom = [], []
    factors = [[scaled(own) for own in strata if len(own) > 1] for strata in factors]
    if not any(factors):
        return np.full(np.shape(value), np.nan), np.full(np.shape(value), np.nan)
    for parts in filter(None, factors):
        variances.append(sum((len(x) - 1) / len(x) * ((x - x.mean(axis=0)) ** 2).sum(axis=0) for x in parts))
        freedom.append(sum(len(x) - 1 for x in parts))
    variance = sum(variances)
    with np.errstate(invalid="ignore", divide="ignore"):
        free = variance**2 / sum(own**2 / n for own, n in zip(variances, freedom, strict=True))
        half = np.where(variance > 0, student.ppf(0.975, free) * np.sqrt(variance), variance * 0.0)
    low, high = scaled(value) - half, scaled(value) + half
    return (np.tanh(low), np.tanh(high)) if fisher else (low, high)
