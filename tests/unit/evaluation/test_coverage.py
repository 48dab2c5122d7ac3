"""Simulated coverage at reduced numbers; `make coverage` has the whole table.

Seeds are fixed. A coverage counts as at least (at most) a limit unless that many hits would have a probability below
0.001 if it were: the tolerance follows from the number of repetitions.
"""

import numpy as np
import pytest
from scipy.stats import binom

from bench import coverage_cases as cases
from bench.coverage import covered, percent

UNLIKELY = 1e-3


def compatible(share, repetitions, least, most=1.0):
    hits = round(share * repetitions)
    return binom.cdf(hits, repetitions, least) > UNLIKELY and binom.sf(hits - 1, repetitions, most) > UNLIKELY


def test_the_tolerance_tells_95_from_88_percent_at_these_numbers():
    assert compatible(0.95, 600, 0.93, 0.97) and not compatible(0.88, 600, 0.93) and not compatible(1.0, 600, 0.9, 0.97)


@pytest.mark.parametrize("family", cases.FAMILIES)
@pytest.mark.parametrize("auc", [0.75, 0.92, 0.98])
def test_an_auc_of_18_subjects_per_class_is_covered_in_93_to_97_percent(family, auc):
    found = cases.auc_intervals(family, auc, 18, 18, 600, 150)
    assert compatible(covered(found["chosen"], auc), 600, 0.93, 0.97)
    if auc == 0.98:
        assert not compatible(covered(found["percentile bootstrap"], auc), 150, 0.93)
        assert not compatible(covered(found["DeLong, logit"], auc), 600, 0.93)


def test_the_auc_within_folds_is_covered_and_the_pooled_one_estimates_something_else():
    found = cases.fold_intervals("equal normal", 0.92, 18, 5, 200)
    assert compatible(covered(found["chosen"], 0.92), 200, 0.93, 0.97)
    assert not compatible(covered(found["pooled"], 0.92), 200, 0.85)


def test_repeated_scans_are_covered():
    found, truths = cases.repeated_intervals(cases.REPEATED["1 to 4 scans each"], 100, large=3000)
    for key in [(level, metric) for level in ("subject", "scan") for metric in ("accuracy", "auc")]:
        assert compatible(covered(found[key], truths[key]), 100, 0.94)


@pytest.mark.parametrize("n", [8, 18])
@pytest.mark.parametrize(("family", "least"), [("log-normal, σ 0.5", 0.93), ("log-normal, σ 1", 0.9), ("normal", 0.94)])
def test_means_of_skewed_relevance_are_covered(family, least, n):
    found, truth = cases.mean_intervals(family, n, 1000, 300)
    assert compatible(covered(found["Hall (chosen)"], truth), 1000, least, 0.97)
    if (family, n) == ("log-normal, σ 1", 8):
        assert not compatible(covered(found["percentile bootstrap"], truth), 300, least)


def test_differences_are_covered_and_tests_keep_their_level():
    limits, p = cases.auc_differences(0.75, 0.75, 18, 600)
    assert compatible(covered(limits, 0), 600, 0.93) and compatible((p <= 0.05).mean(), 600, 0, 0.05)
    limits, p = cases.accuracy_differences(0.8, 0.8, 36, 600)
    assert compatible(covered(limits, 0), 600, 0.93) and compatible((p <= 0.05).mean(), 600, 0, 0.05)
    assert compatible((cases.null_sign_flips(18, 5, 400) <= 0.05).mean(), 400, 0, 0.05)


def test_the_permutation_test_keeps_its_level_where_intervals_above_a_half_do_not():
    """Folds with more patients have higher predictions, and nothing else is known about a subject."""
    found = cases.null_permutations(2.0, 150)
    for metric in ("auc", "auc_pooled"):
        assert compatible((found[metric][0] <= 0.05).mean(), 150, 0.01, 0.05)
    assert not compatible(found["auc_pooled"][1], 150, 0, 0.05) and compatible(found["auc"][1], 150, 0, 0.05)


@pytest.mark.parametrize("family", ["normal", "log-normal, σ 1"])
def test_the_rank_test_keeps_its_level_alone_and_in_the_family_for_any_distribution(family):
    """1 in 20, if the observed value is standardised as the draws are; Student's t fails for skewed scores."""
    for rule, draws in ((cases.RANK_TEST, 19), (cases.RANK_TEST, 99)):
        p, corrected = cases.null_detections(rule, family, draws, 800)
        assert compatible((p[:, 0] <= 0.05).mean(), 800, 0.05, 0.05)
        assert compatible((corrected <= 0.05).any(axis=1).mean(), 800, 0.05, 0.05)
        assert (corrected >= p - 1e-12).mean() > 0.5
    _, corrected = cases.null_detections(cases.UNPOOLED, family, 19, 800)
    assert not compatible((corrected <= 0.05).any(axis=1).mean(), 800, 0, 0.05)
    if family != "normal":
        p, _ = cases.null_detections(cases.STUDENT, family, 4, 800)
        assert not compatible((p[:, 0] <= 0.05).mean(), 800, 0.0, 0.05)


def test_a_share_is_written_in_percent():
    assert (percent(0.9512), percent(None)) == ("95.1", "–")
    assert covered(np.array([[0, 1], [0.6, 1]]), 0.5) == 0.5
