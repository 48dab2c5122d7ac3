"""What reviewers ask of a classifier beyond its accuracy: calibration, operating points, net benefit, strata."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy.special import expit, logit
from statsmodels.tools.sm_exceptions import PerfectSeparationError

from voxelwhy.evaluation.intervals import Z, effective_subjects, proportion_interval, student_interval
from voxelwhy.evaluation.people import strata
from voxelwhy.evaluation.within_folds import fold_aucs
from voxelwhy.io.trust_tables import CLINICAL

#: Probabilities are clipped to this distance from 0 and 1 before their logit is taken.
LEAST = 1e-6
#: A standard error beyond this means that the classes are separated completely, so that no slope fits best.
MOST_ERROR = 50
#: Groups of equal size of the calibration curve, if there are enough subjects.
GROUPS, LEAST_PER_GROUP = 5, 8
THRESHOLDS = np.round(np.arange(0.05, 1.0, 0.05), 2)


def assess_scores(people, *, classes, prevalence=None):
    """Compute calibration, operating points, net benefit and the AUC of strata, with 95 % intervals over subjects.

    Parameters
    ----------
    people : DataFrame of `people.join_people`
    classes : {"positive": name, "negative": name}
    prevalence : float, optional: share of positive cases where the network would be used; by default that of the
        cohort. Probabilities are shifted to it before their net benefit is taken (Saerens 2002)

    Returns
    -------
    DataFrame by trust_tables.CLINICAL

    - calibration_intercept: of a logistic regression with the logit of the probability as offset, 0 if probabilities
      are right on average; calibration_slope: of one on that logit, 1 if they are neither too extreme (below 1) nor too
      timid. Wald's intervals; undefined where the classes are separated completely
    - brier: mean squared error of the probability, with Student's interval
    - sensitivity at 90 and 95 % specificity: the threshold of a fold is that quantile of the scores of the controls in
      all other folds, so that no subject is classified by a threshold in which it took part. The specificity that is
      reached is given too: it differs from the wanted one if networks of different folds have different zeros.
      Undefined with a single fold
    - net_benefit at a threshold probability equal to the prevalence, where treating everybody has a benefit of 0:
      prevalence * (sensitivity + specificity - 1)
    - auc within folds of women and men, and of people below and above the median age

    References
    ----------
    Van Calster 2019 (calibration); Vickers & Elkin 2006 (decision curves); Saerens 2002 (prior shift).
    """
    positive = (people["label"] == classes["positive"]).to_numpy()
    rows = [
        *_calibration(people, positive),
        *_operating_points(people, positive),
        _net_benefit_row(people, positive, prevalence),
        *_strata(people, positive),
    ]
    return pd.DataFrame(rows)[list(CLINICAL.columns)]


def _row(measure, estimate, n, group="all"):
    value, low, high = estimate
    return {"measure": measure, "group": group, "value": value, "low": low, "high": high, "n_subjects": int(n)}


def _calibration(people, positive):
    n = people["subject_id"].nunique()
    probability = np.clip(people["probability"].to_numpy(float), LEAST, 1 - LEAST)
    given, ones = logit(probability), np.ones((len(people), 1))
    errors = pd.Series((probability - positive) ** 2).groupby(people["subject_id"].to_numpy()).mean()
    return [
        _row("calibration_intercept", _coefficient(positive, ones, people, offset=given), n),
        _row("calibration_slope", _coefficient(positive, sm.add_constant(given), people), n),
        _row("brier", (float(errors.mean()), *student_interval(errors)), n),
    ]


def _coefficient(positive, design, people, offset=None):
    """The last coefficient of a logistic regression with its interval, with errors that hold for repeated subjects."""
    if positive.all() or not positive.any():
        return np.nan, np.nan, np.nan
    groups = pd.factorize(people["subject_id"])[0]
    model = sm.GLM(positive.astype(float), design, family=sm.families.Binomial(), offset=offset)
    repeated = len(np.unique(groups)) < len(groups)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a separation that is complete, which the size of the error shows
        try:
            fit = model.fit(cov_type="cluster", cov_kwds={"groups": groups}) if repeated else model.fit()
        except PerfectSeparationError:
            return np.nan, np.nan, np.nan
    value, error = float(fit.params[-1]), float(fit.bse[-1])
    if not np.isfinite(error) or error > MOST_ERROR:
        return np.nan, np.nan, np.nan
    return value, value - Z * error, value + Z * error


def _operating_points(people, positive):
    scores, folds, subjects = (people[name].to_numpy() for name in ("score", "fold", "subject_id"))
    rows = []
    for wanted in (90, 95):
        called = np.full(len(people), np.nan)
        for fold in np.unique(folds):
            own = folds == fold
            # On another cohort all networks classify the same subjects.
            others = scores[~positive & ~np.isin(subjects, subjects[own])]
            if len(others):
                # The smallest threshold that so many of the controls elsewhere do not exceed.
                called[own] = scores[own] > np.quantile(others, wanted / 100, method="inverted_cdf")
        for name, side, right in (("sensitivity", positive, 1), ("specificity", ~positive, 0)):
            known = side & np.isfinite(called)
            share = float((called[known] == right).mean()) if known.any() else np.nan
            limits = proportion_interval(share, effective_subjects(subjects[known]) if known.any() else 0)
            rows.append(_row(f"{name}_{wanted}", (share, *limits), len(set(subjects[known]))))
    return rows


def shift_prevalence(probability, positive, prevalence):
    """Shift probabilities from the cohort's share of positive cases to another prevalence (Saerens 2002)."""
    share = positive.mean()
    if prevalence is None or not 0 < share < 1:
        return probability
    given = logit(np.clip(probability, LEAST, 1 - LEAST))
    return expit(given + logit(prevalence) - logit(share))


def _net_benefit_row(people, positive, prevalence):
    share = positive.mean() if prevalence is None else prevalence
    called = shift_prevalence(people["probability"].to_numpy(float), positive, prevalence) >= share
    limits = []
    for side, right in ((positive, called), (~positive, ~called)):
        value = right[side].mean() if side.any() else np.nan
        subjects = people["subject_id"].to_numpy()[side]
        limits.append((value, *proportion_interval(value, effective_subjects(subjects) if side.any() else 0)))
    (a, low_a, high_a), (b, low_b, high_b) = limits
    youden = a + b - 1
    low, high = youden - np.hypot(a - low_a, b - low_b), youden + np.hypot(high_a - a, high_b - b)
    return _row("net_benefit", tuple(share * x for x in (youden, low, high)), people["subject_id"].nunique())


def _strata(people, positive):
    rows, subjects = [], pd.factorize(people["subject_id"])[0]
    for name, chosen in strata(people):
        own = chosen.to_numpy()
        aucs = fold_aucs(people["score"][own], positive[own], subjects[own], people["fold"][own], subjects.max() + 1)
        estimate = (np.nan,) * 3 if aucs is None else (aucs.auc, *aucs.interval())
        rows.append(_row("auc", estimate, people["subject_id"][own].nunique(), name))
    return rows


def clinical_curves(people, *, classes, prevalence=None):
    """Compute the calibration curve and the decision curve.

    Returns
    -------
    DataFrame by trust_tables.CLINICAL_CURVES: shares in groups of equal size with Wilson's intervals, and net benefit
    (sensitivity * prevalence - (1 - specificity) * (1 - prevalence) * threshold / (1 - threshold)) at THRESHOLDS
    """
    positive = (people["label"] == classes["positive"]).to_numpy()
    probability = people["probability"].to_numpy(float)
    n_groups = int(np.clip(len(people) // LEAST_PER_GROUP, 1, GROUPS))
    rows = []
    for own in np.array_split(np.argsort(probability, kind="stable"), n_groups):
        share, n = positive[own].mean(), effective_subjects(people["subject_id"].to_numpy()[own])
        low, high = proportion_interval(share, n)
        rows.append({"curve": "calibration", "x": probability[own].mean(), "y": share, "low": low, "high": high})
        rows[-1]["n_subjects"] = people["subject_id"].iloc[own].nunique()
    share = positive.mean() if prevalence is None else prevalence
    shifted = shift_prevalence(probability, positive, prevalence)
    for threshold in THRESHOLDS:
        odds = threshold / (1 - threshold)
        called = shifted >= threshold
        sensitivity = called[positive].mean() if positive.any() else np.nan
        alarms = called[~positive].mean() if (~positive).any() else np.nan
        benefits = {"net_benefit": sensitivity * share - alarms * (1 - share) * odds}
        benefits["treat_all"] = share - (1 - share) * odds
        for curve, y in benefits.items():
            rows.append({"curve": curve, "x": threshold, "y": y, "low": np.nan, "high": np.nan})
            rows[-1]["n_subjects"] = people["subject_id"].nunique()
    return pd.DataFrame(rows)
