"""Simulate the coverage of every interval and the false positive rate of every test; write docs/figures/coverage.md.

`python -m bench.coverage` (make coverage) takes some minutes on one core. Seeds are fixed: the same code gives the same
page. `bench.coverage_cases` draws the data.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import pandas as pd

from bench import coverage_cases as cases
from bench.results import ROOT

PAGE = ROOT / "docs" / "figures" / "coverage.md"
#: Repetitions: of closed forms, of what resamples or permutes, and of whole tables of metrics.
MANY, SOME, FEW = 10_000, 1_000, 500
NAMES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "auc": "AUC", "auc_pooled": "AUC, pooled"}


def covered(limits, truth):
    """The share of intervals, (repetitions, 2), that hold the true value."""
    low, high = np.asarray(limits, dtype=float).T
    return float(((low <= truth) & (truth <= high)).mean())


def error(repetitions, share=0.95):
    """The standard error of a simulated share, in %."""
    return 100 * np.sqrt(share * (1 - share) / repetitions)


def percent(share):
    return "–" if share is None else f"{100 * share:.1f}"


def auc_rows(many=MANY, some=SOME):
    """Rows of the AUC by subject: families of scores, true AUCs and numbers of subjects by class."""
    settings = [(family, auc, 18, 18) for family in cases.FAMILIES for auc in (0.75, 0.92, 0.98)]
    settings += [(family, auc, *n) for n in ((12, 30), (60, 60)) for family in cases.FAMILIES for auc in (0.75, 0.98)]
    for family, auc, n_positive, n_negative in settings:
        intervals = cases.auc_intervals(family, auc, n_positive, n_negative, many, some)
        data = {"scores": family, "true AUC": f"{auc:g}", "subjects": f"{n_positive} + {n_negative}"}
        yield data | {name: percent(covered(limits, auc)) for name, limits in intervals.items()}


def fold_rows(some=SOME):
    """Rows of the AUC within folds: families of scores, true AUCs, and numbers of subjects and folds."""
    for n, n_folds in ((18, 5), (18, 9), (60, 5)):
        for family, auc in (
            ("equal normal", 0.75),
            ("equal normal", 0.92),
            ("equal normal", 0.98),
            ("exponential", 0.92),
        ):
            data = {"scores": family, "true AUC": f"{auc:g}", "subjects": f"{n} + {n}", "folds": f"{n_folds}"}
            intervals = cases.fold_intervals(family, auc, n, n_folds, some)
            yield data | {name: percent(covered(limits, auc)) for name, limits in intervals.items()}


def proportion_rows(many=MANY, some=SOME):
    """Rows of accuracy, sensitivity and specificity, of balanced accuracy, and of repeated scans and models."""
    for n in (18, 36):
        for share in (0.6, 0.8, 0.95):
            data = {"quantity": "accuracy, sensitivity, specificity", "data": f"share {share:g}", "subjects": f"{n}"}
            yield data | _two(cases.proportion_intervals(share, n, many, some), share)
    for sensitivity, specificity in ((0.7, 0.8), (0.8, 0.95), (0.95, 0.95)):
        data = {"data": f"sensitivity {sensitivity:g}, specificity {specificity:g}", "subjects": "18 + 18"}
        limits = cases.balanced_accuracy_intervals(sensitivity, specificity, 18, many, some)
        yield {"quantity": "balanced accuracy"} | data | _two(limits, (sensitivity + specificity) / 2)


def repeated_rows(few=FEW):
    """Rows of tables of metrics of subjects with several scans, or classified by several models."""
    for title, options in cases.REPEATED.items():
        found, truths = cases.repeated_intervals(options, few)
        for (level, metric), limits in found.items():
            data = {"quantity": f"{NAMES[metric]} by {level}", "data": title, "subjects": "18 + 18"}
            yield data | _two({"chosen": limits}, truths[level, metric])


def roc_rows(few=FEW):
    """Rows of the band of the ROC curve, which is a percentile bootstrap."""
    for rate in (0.1, 0.3):
        limits, truth = cases.roc_intervals(0.85, rate, 18, few)
        data = {"data": f"AUC 0.85, false positive rate {rate:g}", "subjects": "18 + 18"}
        yield {"quantity": "ROC curve"} | data | _two({"percentile bootstrap": limits, "chosen": limits}, truth)


def difference_rows(many=MANY):
    """Rows of the difference between two models on the same subjects."""
    for first, second in ((0.75, 0.75), (0.92, 0.75), (0.98, 0.92)):
        limits, _ = cases.auc_differences(first, second, 18, many // 5)
        data = {"quantity": "difference of AUC", "data": f"AUC {first:g} and {second:g}", "subjects": "18 + 18"}
        yield data | _two({"chosen": limits}, first - second)
    for first, second in ((0.75, 0.75), (0.92, 0.75)):
        limits, _ = cases.auc_differences(first, second, 18, many // 5, n_folds=5)
        data = {"data": f"AUC {first:g} and {second:g}, 5 folds", "subjects": "18 + 18"}
        yield {"quantity": "difference of AUC"} | data | _two({"chosen": limits}, first - second)
    for first, second in ((0.8, 0.8), (0.9, 0.7), (0.97, 0.9)):
        limits, _ = cases.accuracy_differences(first, second, 36, many // 5)
        data = {"quantity": "difference of accuracy", "data": f"accuracy {first:g} and {second:g}", "subjects": "36"}
        yield data | _two({"chosen": limits}, first - second)


def mean_rows(many=MANY, some=SOME):
    """Rows of means of regional relevance: skewed families and numbers of subjects."""
    for n in (8, 18):
        for family in cases.SKEWED:
            intervals, truth = cases.mean_intervals(family, n, many, some)
            data = {"relevance": family, "subjects": f"{n}"}
            yield data | {name: percent(covered(limits, truth)) for name, limits in intervals.items()}


def test_rows(many=MANY, some=SOME):
    """Rows of tests where there is nothing to detect: the share of p at or below 0.05."""
    for title, shift in (("equal folds", 0.0), ("folds that differ in calibration and in patients", 2.0)):
        for metric, (p, old) in cases.null_permutations(shift, some).items():
            data = {"test": f"permutations within folds, {NAMES[metric]}", "data": f"36 subjects, {title}"}
            yield data | {"percentile interval above 0.5": percent(old), "p ≤ 0.05": percent((p <= 0.05).mean())}
    for auc in (0.5, 0.75, 0.92):
        _, p = cases.auc_differences(auc, auc, 18, many // 5)
        data = {"test": "paired DeLong", "data": f"18 + 18 subjects, both AUC {auc:g}"}
        yield data | {"percentile interval above 0.5": "–", "p ≤ 0.05": percent((p <= 0.05).mean())}
    _, p = cases.auc_differences(0.75, 0.75, 18, many // 5, n_folds=5)
    data = {"test": "paired DeLong", "data": "18 + 18 subjects in 5 folds, both AUC 0.75"}
    yield data | {"percentile interval above 0.5": "–", "p ≤ 0.05": percent((p <= 0.05).mean())}
    for accuracy in (0.7, 0.9):
        _, p = cases.accuracy_differences(accuracy, accuracy, 36, many // 5)
        data = {"test": "exact McNemar", "data": f"36 subjects, both accuracies {accuracy:g}"}
        yield data | {"percentile interval above 0.5": "–", "p ≤ 0.05": percent((p <= 0.05).mean())}
    p = cases.null_sign_flips(18, 5, some)
    data = {"test": "sign flips of subjects", "data": "18 subjects, 5 models each"}
    yield data | {"percentile interval above 0.5": "–", "p ≤ 0.05": percent((p <= 0.05).mean())}


def detection_rows(many=MANY):
    """Rows of the detection of a known disease where maps do not depend on it: the share of p at or below 0.05."""
    rules = [
        (cases.RANK_TEST, 19),
        (cases.RANK_TEST, 99),
        (cases.UNPOOLED, 19),
        (cases.STUDENT, 4),
        (cases.STUDENT, 19),
    ]
    for rule, draws in rules:
        for family in ("normal", "log-normal, σ 1"):
            p, corrected = cases.null_detections(rule, family, draws, many)
            data = {"rule": rule, "scores": family, "draws": f"{draws}", "one method": percent((p <= 0.05).mean())}
            yield data | {"any of five methods, corrected": percent((corrected <= 0.05).any(axis=1).mean())}


def _two(intervals, truth):
    old = intervals.get("percentile bootstrap")
    return {
        "percentile bootstrap": percent(None if old is None else covered(old, truth)),
        "chosen": percent(covered(intervals["chosen"], truth)),
    }


def table(rows):
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


def page(tables):
    """The page as Markdown, from the tables by name."""
    return f"""\
Coverage in % of 95 % intervals, and false positive rate in % of tests at 5 %, by simulation (`make coverage`). The
number of repetitions is {MANY:,} for closed forms (standard error near 95 %: {error(MANY):.1f}), {MANY // 5:,} for
differences ({error(MANY // 5):.1f}), {SOME:,} for what resamples or permutes ({error(SOME):.1f}), and {FEW} for
repeated scans and models and for the ROC curve ({error(FEW):.1f}). "chosen" is what voxelwhy reports.

**AUC, one row per subject.** Percentile bootstrap of subjects; DeLong's variance with a normal interval (Wald) and on
the logit scale; method 5 of Newcombe 2006.

{tables["auc"]}

**AUC within folds, one row per subject.** Networks of different folds have different zeros, with a standard deviation
of {cases.ZEROS:g}; that of the controls' scores is 1. Pooled: how often the interval of the pooled AUC covers the true
AUC of the networks.

{tables["folds"]}

**Proportions.**

{tables["proportions"]}

**Several scans per subject, several models per scan, the band of the ROC curve, and differences between two models.**

{tables["repeated"]}

**Mean relevance of a region over subjects.** Percentile bootstrap of subjects; Student's t; Johnson's t; bootstrap-t;
Hall's transformation of t, which is chosen.

{tables["means"]}

**Tests where there is nothing to detect.** For comparison: how often the percentile interval lies above 0.5.

{tables["tests"]}

**Detection of a disease on which the maps do not depend.** Scores of five methods, with a correlation of
{cases.CORRELATION} and standard deviations of 1 to 5, among draws of shuffled diagnoses. The first rule
({cases.RANK_TEST}) is what voxelwhy reports, from 19 draws on. The last rule ({cases.STUDENT}) with four draws is what
it reported before.

{tables["detection"]}
"""


def main():
    """Simulate everything and write the page."""
    started, tables = time.monotonic(), {}
    work = {
        "auc": auc_rows,
        "folds": fold_rows,
        "proportions": proportion_rows,
        "repeated": lambda: [*repeated_rows(), *roc_rows(), *difference_rows()],
        "means": mean_rows,
        "tests": test_rows,
        "detection": detection_rows,
    }
    for name, rows in work.items():
        tables[name] = table(rows())
        print(f"{tables[name]}\n{name}: {time.monotonic() - started:.0f} s since the start", flush=True)
    PAGE.write_text(page(tables), encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    sys.exit(main())
