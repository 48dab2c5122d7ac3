"""Whether a new scan lies within a cohort: a few measures, each compared with the registered scans of the study.

One limit serves all measures. Each measure is standardised (median and MAD of the cohort), the strangeness of a scan is
its largest standardised measure, and the limit is the value that a share of ALARMS of the cohort's scans would exceed.
So the share of false alarms is that of all measures together, whatever their number and their correlations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.covariance import LedoitWolf

from voxelwhy.registration.image_properties import GRADIENTS

#: Share of scans like those of the cohort that the limit lets be flagged: half of the 5 % that are tolerated.
ALARMS = 0.025
#: Groups of subjects: the pattern of a scan is compared with the covariance of all other groups.
GROUPS = 10
#: Median absolute deviation of a normal distribution, in standard deviations.
MAD = 0.6745
#: Share of the pattern's variance below which a region has no spread.
LEAST_VARIANCE = 1e-12


@dataclass(frozen=True)
class Measure:
    """A measure of a scan.

    Attributes
    ----------
    title : str, for readers
    side : "low", "high" or "both": which values are suspicious
    there, back : functions to and from the scale on which it is compared
    why : str, what a value beyond the limit may mean
    digits : int, decimals that are shown
    """

    title: str
    side: str
    there: Callable
    back: Callable
    why: str
    digits: int = 2


def _logit(share):
    return math.log(share / (1 - share)) if 0 < share < 1 else math.copysign(math.inf, share - 0.5)


def _log(value):
    return math.log(value) if value > 0 else -math.inf


#: Measures by name, in the order of the page.
MEASURES = {
    "correlation_brain": Measure(
        "Similarity to the template, r in the brain", "low", math.atanh, math.tanh,
        "the registration failed, or the contrast is not that of a T1-weighted scan"),
    "mask_dice": Measure(
        "Overlap with the brain of the template", "low", _logit, lambda x: 1 / (1 + math.exp(-x)),
        "the registration failed, or part of the brain is missing or does not belong to it", 3),
    "jacobian_min": Measure(
        "Strongest local compression by the registration", "low", _log, math.exp,
        "the registration had to bend the scan more than any of the cohort"),
    "jacobian_max": Measure(
        "Strongest local expansion by the registration", "high", _log, math.exp,
        "the registration had to bend the scan more than any of the cohort"),
    "cm3": Measure(
        "Volume of the brain, cm³", "both", _log, math.exp,
        "a child, cropping, other units, or another brain extraction", 0),
    "image_noise": Measure(
        "Noise, share of the brightness", "both", _log, math.exp,
        "another scanner or sequence, smoothing, or motion", 4),
    "brightness_gradient": Measure(
        "Gradient of brightness per 100 mm (log)", "high", _log, math.exp,
        "a bias field that the cohort does not have", 3),
    "pattern": Measure(
        "Distance of its regions' intensities from the cohort", "high", _log, math.exp,
        "another contrast, orientation or anatomy than in the cohort", 1),
}  # fmt: skip


def measure(quality, properties):
    """The measures of a registered scan, except its pattern, on the scale on which they are compared.

    Parameters
    ----------
    quality : dict, the content of its quality.json
    properties : {name: value}, its image properties (image_properties.measure_image)

    Returns
    -------
    {measure: float}; NaN where it is not measured in studies of this kind, infinite where the scan has no such value
    """
    values = dict(quality)
    # The volume of whatever is seen for a brain; of a whole head, that of the mask that was transformed back.
    values["cm3"] = quality["brain_cm3"] if quality.get("brain_cm3") is not None else quality["scan_cm3"]
    values["image_noise"] = properties["image_noise"]
    values["brightness_gradient"] = math.sqrt(sum(properties[name] ** 2 for name in GRADIENTS))
    found = {}
    for name, own in MEASURES.items():
        if name != "pattern":
            value = values.get(name)
            found[name] = math.nan if value is None or not math.isfinite(value) else own.there(value)
    return found


class Pattern:
    """The distribution of the intensities of regions in a cohort: mean and shrunken covariance of standardised means.

    Parameters
    ----------
    means : array (scans, regions)

    References
    ----------
    Ledoit & Wolf 2004, J Multivar Anal 88:365.
    """

    def __init__(self, means):
        means = np.asarray(means, dtype=float)
        self.centre, spread = means.mean(axis=0), means.std(axis=0)
        self.scale = np.where(spread > LEAST_VARIANCE, spread, 1.0)
        self.model = LedoitWolf().fit((means - self.centre) / self.scale)

    def distances(self, means):
        """Mahalanobis distance of scans, (scans, regions), from the cohort, per square root of the regions."""
        standardised = (np.atleast_2d(means) - self.centre) / self.scale
        return np.sqrt(self.model.mahalanobis(standardised) / standardised.shape[1])


class Limits:
    """What scans of a cohort look like, and how far from that a scan may be.

    Parameters
    ----------
    measures : DataFrame by scan_id, of `measure`
    means : DataFrame by scan_id, the mean intensities of regions
    subjects : Series by scan_id
    """

    def __init__(self, measures, means, subjects):
        self.pattern, self.n = Pattern(means.to_numpy()), len(measures)
        self.n_subjects = int(subjects.nunique())
        known = measures.assign(pattern=np.log(crossed_distances(means, subjects)))[list(MEASURES)]
        self.names = [name for name in MEASURES if known[name].notna().mean() > 0.5]
        known = known[self.names]
        self.centre = known.median()
        spread = (known - self.centre).abs().median() / MAD
        self.spread = spread.where(spread > 0, known.std()).where(lambda own: own > 0, 1e-6)
        self.strangeness = self._standardised(known).max(axis=1)
        self.limit = conformal_limit(self.strangeness.to_numpy())

    def _standardised(self, values):
        signs = {name: MEASURES[name].side for name in self.names}
        apart = (values - self.centre) / self.spread
        for name, side in signs.items():
            apart[name] = {"low": -apart[name], "high": apart[name], "both": apart[name].abs()}[side]
        return apart.fillna(np.inf)

    def check(self, measures, means):
        """Compare scans with the cohort.

        Parameters
        ----------
        measures, means : DataFrames by scan_id, as those of the cohort

        Returns
        -------
        DataFrame of bool by scan_id, one column a measure: whether it is beyond the limit
        """
        distances = np.log(np.maximum(self.pattern.distances(means.to_numpy()), 1e-12))
        return self._standardised(measures.assign(pattern=distances)[self.names]) > self.limit

    def describe(self, measures, means):
        """The measures of one scan (Series) in words, one dict a check: measure, value, allowed, passed, why."""
        distance = float(np.log(max(self.pattern.distances(means.to_numpy())[0], 1e-12)))
        values = pd.DataFrame([measures.to_dict() | {"pattern": distance}])[self.names]
        beyond, found = (self._standardised(values) > self.limit).iloc[0], []
        for name in self.names:
            own, value = MEASURES[name], float(values[name].iloc[0])
            reach = self.limit * float(self.spread[name])
            low, high = (self._back(name, float(self.centre[name]) + sign * reach) for sign in (-1, 1))
            words = {
                "low": f"at least {low:.{own.digits}f}",
                "high": f"at most {high:.{own.digits}f}",
                "both": f"{low:.{own.digits}f} to {high:.{own.digits}f}",
            }
            shown = self._back(name, value) if math.isfinite(value) else None
            found.append({
                "check": own.title, "value": None if shown is None else round(shown, own.digits + 2),
                "shown": "none" if shown is None else f"{shown:.{own.digits}f}", "allowed": words[own.side],
                "passed": not bool(beyond[name]), "why": own.why,
            })  # fmt: skip
        return found

    def _back(self, name, value):
        return MEASURES[name].back(min(value, 50.0))


def conformal_limit(values, alarms=ALARMS):
    """The limit that a further value of the same distribution exceeds with a probability of at most `alarms`.

    It is the k-th smallest of n values, k = ceil((n + 1)(1 - alarms)). With fewer than 1/alarms - 1 values no such
    limit exists; it is then the largest value, increased by its distance from the median.

    References
    ----------
    Vovk, Gammerman & Shafer 2005, Algorithmic learning in a random world, chapter 2.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    place = math.ceil((len(ordered) + 1) * (1 - alarms))
    if place > len(ordered):
        return float(2 * ordered[-1] - np.median(ordered))
    return float(ordered[place - 1])


def crossed_distances(means, subjects):
    """Distances of each scan of a cohort from the scans of the other groups of subjects.

    Parameters
    ----------
    means : DataFrame by scan_id
    subjects : Series by scan_id

    Returns
    -------
    array (scans,)
    """
    codes = pd.factorize(subjects.loc[means.index])[0] % GROUPS
    values, found = means.to_numpy(dtype=float), np.full(len(means), np.nan)
    for group in np.unique(codes):
        own = codes == group
        found[own] = Pattern(values[~own]).distances(values[own])
    return np.maximum(found, 1e-12)


def count_alarms(measures, means, subjects, folds):
    """Count scans of a cohort that would be flagged, each with limits from the scans of the other folds.

    Parameters
    ----------
    measures, means, subjects : as for `Limits`
    folds : {fold: scan_ids that it tests}

    Returns
    -------
    flagged : DataFrame of bool by scan_id, as from `Limits.check`; a scan is tested once
    """
    found = []
    for tested in folds.values():
        others = measures.index[~measures.index.isin(tested) & ~subjects.isin(subjects.loc[tested])]
        limits = Limits(measures.loc[others], means.loc[others], subjects.loc[others])
        found.append(limits.check(measures.loc[tested], means.loc[tested]))
    flagged = pd.concat(found)
    return flagged[~flagged.index.duplicated()].fillna(False).astype(bool)
