"""The three sentences of a study: accuracy, what was detected, and what was not."""

import numpy as np
import pandas as pd
import pytest

from helpers.report_tables import CLASSES, predictions, region_rows, truth_table, with_baseline
from voxelwhy.evaluation.difference import compare_models
from voxelwhy.evaluation.metrics import score_predictions
from voxelwhy.report.sentences import three_sentences


@pytest.fixture(scope="module")
def metrics():
    rows = [score_predictions(predictions(), model=m, classes=CLASSES, n_permutations=50) for m in ("cnn", "baseline")]
    return pd.concat(rows, ignore_index=True)


@pytest.fixture(scope="module")
def difference():
    other = predictions().assign(probability=lambda own: 1 - own["probability"] / 2)
    return compare_models(predictions(), other, classes=CLASSES)


def test_the_first_sentence_has_the_difference_and_says_what_is_not_better_than_chance(metrics, difference):
    """Chance is judged by p, not by the interval, which may lie above 0.5 for no better reason than its folds."""
    how = {"simulated": False, "classes": CLASSES, "difference": difference}
    row = difference.set_index("metric").loc["accuracy"]
    words = f"difference {row['difference']:z.2f} ({row['low']:z.2f} to {row['high']:z.2f}; exact McNemar, p = "
    auc = (metrics["metric"] == "auc") & (metrics["level"] == "subject")
    for p, low, said in ((0.2, 0.6, True), (np.nan, 0.6, True), (0.05, 0.4, False), (0.001, 0.4, False)):
        changed = metrics.assign(p=metrics["p"].mask(auc, p), low=metrics["low"].mask(auc, low))
        first = three_sentences(changed, **how)[0]
        assert words in first
        assert ("not shown to be better than chance (permuted diagnoses, p" in first) == said


def test_three_sentences_of_a_study_with_planted_truth(metrics):
    first, second, third = three_sentences(metrics, truth_table(), simulated=True, classes=CLASSES)
    row = metrics.query("model == 'cnn' and level == 'subject' and fold == 'all' and metric == 'accuracy'").iloc[0]
    assert first.startswith("Accuracy by subject (95 % CI) for AD vs CN, out of sample")
    assert f"network {row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f})" in first
    for part in ("20 subjects, 20 scans (simulated)", ", baseline 0.", "; AUC within folds of the network 0."):
        assert part in first
    one_fold = metrics[metrics["fold"] != "1"]
    assert "; AUC of the network 0." in three_sentences(one_fold, truth_table(), simulated=True, classes=CLASSES)[0]
    assert second == (
        "The planted atrophy was detected by occlusion (0.80, shuffled 0.15 to 0.40, p = 0.050); values: AUPRC over "
        "regions, range of 19 draws of shuffled diagnoses, p corrected over the methods."
    )
    assert third == "It was not detected by Grad-CAM (0.10, shuffled 0.15 to 0.40, p = 1.000)."
    assert three_sentences(metrics, with_baseline(truth_table()), simulated=True, classes=CLASSES)[1:] == [
        second, third
    ]  # fmt: skip


def test_sentences_where_all_or_none_detect_the_atrophy(metrics):
    how = {"simulated": True, "classes": CLASSES}
    _, second, third = three_sentences(metrics, truth_table(verdict="detected"), **how)
    assert "detected by occlusion (" in second and "and Grad-CAM (" in second
    assert third == "Every method tested detected it."
    _, second, third = three_sentences(metrics, truth_table(verdict="not detected"), **how)
    assert second.startswith("No method detected the planted atrophy")
    assert "occlusion (0.80" in third and "Grad-CAM (0.10" in third
    undefined = truth_table(region_auprc=[0.8, np.nan], verdict=["detected", "no verdict"])
    assert three_sentences(metrics, undefined, **how)[2] == (
        "It was not detected by Grad-CAM (regional AUPRC not defined)."
    )


@pytest.mark.parametrize(
    ("draws", "values", "why"),
    [
        (0, "occlusion (0.80, by chance 0.10) and Grad-CAM (0.10, by chance 0.10)", "Without networks trained on"),
        (5, "occlusion (0.80, shuffled 0.15 to 0.40) and Grad-CAM (0.10, shuffled 0.15", "With fewer than 19 draws of"),
    ],
)
def test_without_enough_draws_there_are_values_and_no_verdict(metrics, draws, values, why):
    how = {"simulated": True, "classes": CLASSES}
    _, second, third = three_sentences(metrics, truth_table(draws), **how)
    assert second.startswith("Agreement with the planted loss of volume, values: AUPRC over regions")
    assert values in second and "detected" not in second and "p =" not in second
    assert third == f"{why} shuffled diagnoses, no verdict is given on whether a method detected it."
    _, second, third = three_sentences(metrics, truth_table(draws), planted=False, **how)
    assert second.startswith("Agreement with the loss of volume that an effect of 1 would have planted, values:")
    assert values in second and third.startswith("The effect of this simulated cohort is 0")


def test_scores_that_are_not_defined_have_no_verdict_whatever_the_draws(metrics):
    nothing = truth_table(region_auprc=np.nan, p=np.nan, p_family=np.nan, verdict="no verdict")
    _, second, third = three_sentences(metrics, nothing, simulated=True, classes=CLASSES)
    assert "regional AUPRC not defined" in second and third.startswith("No regional AUPRC is defined, so no verdict")


def test_in_a_null_cohort_a_find_is_a_false_claim(metrics):
    how = {"simulated": True, "classes": CLASSES, "planted": False}
    _, second, third = three_sentences(metrics, truth_table(), **how)
    assert (
        "detected by occlusion" in second
        and "a false positive" in second
        and "effect of this simulated cohort is 0" in third
    )
    quiet = three_sentences(metrics, truth_table(verdict="not detected"), **how)
    assert "No method detected" in quiet[1] and "which is correct" in quiet[1]


def test_three_sentences_without_truth_caution_about_few_people(metrics):
    regions = {"occlusion": region_rows(["b", "a"], [1.5, 2.5])}
    first, second, third = three_sentences(metrics, None, simulated=False, classes=CLASSES, regions=regions)
    assert "simulated" not in first
    assert second == "In AD scans, the regions most enriched in relevance were a and b (occlusion)."
    assert third.startswith("With only 20 subjects, the estimate of accuracy is imprecise")
    many = metrics.assign(n_subjects=100)
    assert "imprecise" not in three_sentences(many, None, simulated=False, classes=CLASSES, regions=regions)[2]


def test_with_draws_only_regions_beyond_shuffled_diagnoses_are_named(metrics):
    """The most enriched region is as enriched without the disease."""
    names, enrichment = ["a", "b", "c", "d", "e"], [9.0, 5.0, 4.0, 3.0, 2.0]
    how = {"simulated": False, "classes": CLASSES}

    def second(draws, **p_family):
        tables = {m: region_rows(names, enrichment, draws=draws, p_family=p) for m, p in p_family.items()}
        return three_sentences(metrics, None, regions=tables, **how)[1]

    found = second(19, occlusion=[0.6, 0.05, 0.05, 0.1, 0.05], grad_cam=1.0)
    assert found == (
        "In AD scans, the regions with more relevance than in networks trained on shuffled diagnoses (p ≤ 0.05, "
        "corrected over regions) were b, c and e (occlusion); none (Grad-CAM)."
    )
    few = second(18, occlusion=[0.6, 0.06, 0.06, 0.1, 0.06])
    assert few == "In AD scans, the regions most enriched in relevance were a, b and c (occlusion)."


def test_sentences_of_classes_by_the_volume_of_a_structure_name_it(metrics):
    how = {"simulated": True, "classes": CLASSES, "planted": "temporal_horn"}
    _, second, third = three_sentences(metrics, truth_table(), **how)
    assert second.startswith("The temporal horn was detected by occlusion (0.80, ") and third.startswith("It was not")
    _, second, _ = three_sentences(metrics, truth_table(verdict="not detected"), **how)
    assert second.startswith("No method detected the temporal horn: none ranked its regions")
    _, second, _ = three_sentences(metrics, truth_table(verdict="no verdict"), **how)
    assert second.startswith("Agreement with the structure that defines the classes, the temporal horn, values:")
    assert "planted" not in second and "atrophy" not in second
