"""Detections over cohorts against shares and intervals by hand, the earlier rule, and what sentences say of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from helpers.comparison_cells import CLASSES, make_cell, truth_row
from voxelwhy.comparison import findings
from voxelwhy.comparison.detections import detection_table, earlier_claims
from voxelwhy.comparison.summary import claims_table, combination_table, method_table
from voxelwhy.evaluation.intervals import exact_interval

SIZES = ("40", "160")
DRAWS = np.linspace(0.2, 0.4, 19)


@pytest.fixture
def cells(rng):
    """Five cohorts of two sizes; occlusion detects in one of five and in all, Grad-CAM never."""
    made = []
    for size in SIZES:
        for k in range(5):
            cell = make_cell({"simulation.subjects": size}, k + 1, rng, draws=DRAWS)
            occlusion, cam = cell["truth"]
            occlusion |= {"region_auprc": 0.3 + 0.1 * k + 0.2 * (size == "160")}
            occlusion["verdict"] = "detected" if size == "160" or k == 4 else "not detected"
            cam["region_auprc"] = 0.3
            cell["truth"].append(truth_row("baseline_pattern", auprc=0.5, draws=DRAWS))
            made.append(cell)
    return made


def test_shares_and_means_over_cohorts_are_those_by_hand(cells):
    table = detection_table(method_table(cells), ["simulation.subjects"]).set_index(["simulation.subjects", "method"])
    few, many = table.loc[("40", "occlusion")], table.loc[("160", "occlusion")]
    assert (few["n_cohorts"], few["n_found"], many["n_found"]) == (5, 1, 5)
    assert (few["found_low"], few["found_high"]) == pytest.approx(
        (stats.beta.ppf(0.025, 1, 5), stats.beta.ppf(0.975, 2, 4))
    )
    assert (many["found_low"], many["found_high"]) == pytest.approx((0.025 ** (1 / 5), 1))
    values = 0.3 + 0.1 * np.arange(5)
    low, high = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
    assert (few["region_auprc"], few["auprc_low"], few["auprc_high"]) == pytest.approx((0.5, low, high))
    assert few["shuffled_auprc"] == pytest.approx(0.3) and few["n_shuffled"] == 19
    assert table.loc[("160", "grad_cam"), "n_found"] == 0


def test_exact_intervals_are_scipys():
    for k, n in ((0, 7), (3, 7), (7, 7)):
        expected = stats.binomtest(k, n).proportion_ci(method="exact")
        assert exact_interval(k, n) == pytest.approx((expected.low, expected.high))


def test_the_baseline_is_listed_where_it_is_asked_for(cells):
    assert set(method_table(cells)["method"]) == {"occlusion", "grad_cam"}
    assert set(method_table(cells, baseline=True)["method"]) == {"occlusion", "grad_cam", "baseline_pattern"}


def test_the_baseline_has_an_interval_over_cohorts_and_none_over_the_same_scans(cells):
    for k, cell in enumerate(cells):
        cell["auc"]["baseline"]["value"] = 0.7 + 0.02 * (k % 5)
    own = combination_table(cells, same_scans=False, classes=CLASSES).iloc[0]
    values = 0.7 + 0.02 * np.arange(5)
    expected = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
    assert (own["auc_baseline_low"], own["auc_baseline_high"]) == pytest.approx(expected)
    same = combination_table(cells, same_scans=True, classes=CLASSES)
    assert same[["auc_baseline_low", "auc_baseline_high"]].isna().all(axis=None)


def null_rows(auprc, p_regions):
    """Two cohorts and two methods."""
    rows = [
        {"repeat": k, "method": m, "region_auprc": a, "p_regions": p, "draws": [0.30, 0.32, 0.34, 0.36, 0.38, 9, 9]}
        for (k, m), a, p in zip(
            [(1, "occlusion"), (1, "grad_cam"), (2, "occlusion"), (2, "grad_cam")], auprc, p_regions, strict=True
        )
    ]
    return pd.DataFrame(rows)


def test_the_earlier_rule_needs_both_tests_and_counts_five_draws():
    """By hand: mean 0.34, SD 0.0316; t of one more value is (x - 0.34) / (0.0316 sqrt(6 / 5)) with 4 degrees."""
    t_of = lambda x: (x - 0.34) / (np.std([0.30, 0.32, 0.34, 0.36, 0.38], ddof=1) * np.sqrt(1.2))  # noqa: E731
    p = stats.t.sf(t_of(0.45), 4)
    assert 0.0125 < p < 0.025  # alone at most 0.05, and so after Holm's factor of 2
    claims = earlier_claims(null_rows([0.45, 0.34, 0.45, 0.45], [0.001, 0.001, 0.2, 0.04]))
    assert claims.tolist() == [True, False, False, False]
    assert earlier_claims(null_rows([0.9] * 4, [0.01] * 4)).all()
    fewer = null_rows([0.9] * 4, [0.01] * 4)
    fewer["draws"] = [[0.3] * 4] * 4
    assert earlier_claims(fewer) is None


def test_claims_by_the_earlier_rule_are_counted_beside_the_others(rng):
    cells = [make_cell({}, k, rng, draws=DRAWS) for k in range(1, 5)]
    earlier = pd.Series([True, False, True, True, False, False, False, False])
    claims = claims_table(method_table(cells), [], earlier).set_index("method")
    assert claims["n_earlier"].to_dict() == {"occlusion": 2, "grad_cam": 1, "any method": 2}


def test_sentences_of_sizes_say_from_how_many_subjects_on(cells):
    combinations = combination_table(cells, same_scans=False, classes=CLASSES)
    found = detection_table(method_table(cells), ["simulation.subjects"])
    lines = findings.of_sizes(combinations, found, "simulation.subjects")
    auc = combinations["auc"].iloc[0]
    assert lines[0].startswith(f"With 40 subjects, the AUC is {auc:.2f} (")
    occlusion = next(line for line in lines if line.startswith("Occlusion"))
    assert "in at least 80% of the cohorts from 160 subjects on; with 160 it does in 5 of 5 (0.48 to 1.00)" in occlusion
    assert "does not detect the loss in 80% of the cohorts at any size; with 160 it does in 0 of 5" in lines[-1]
    assert "(column *Grad-CAM*)" in lines[-1]


def test_sentences_of_signals_rank_methods_and_name_those_that_always_detect(cells):
    for cell in cells:
        cell["choices"] = {"simulation.signal": {"40": "insula", "160": "temporal_horn"}[cell["choices"].popitem()[1]]}
        cell["truth"][0]["verdict"] = "detected"
    combinations = combination_table(cells, same_scans=False, classes=CLASSES)
    found = detection_table(method_table(cells, baseline=True), ["signal"])
    lines = findings.of_signals(combinations, found, ["signal"])
    assert len(lines) == 3 and lines[1].startswith("Temporal horn, AUC ")
    assert "best first: occlusion 0.70 (5 of 5), " in lines[1]
    assert lines[2].startswith("Over all structures, in 80% of the cohorts or more: occlusion; in 20% or fewer: ")
    assert "Grad-CAM" in lines[2]


def test_sentences_of_a_null_count_claims(rng):
    cells = [make_cell({}, k, rng, draws=DRAWS) for k in range(1, 5)]
    cells[0]["truth"][0] |= {"verdict": "detected", "p": 0.05}
    earlier = pd.Series([True, False, True, True, False, False, False, False])
    claims = claims_table(method_table(cells), [], earlier)
    regions = pd.DataFrame({"method": ["occlusion", "grad_cam"], "p_holm": [0.01, 0.5]})
    lines = findings.of_null(claims, (0.5, 0.4, 0.6), regions)
    assert (
        lines[0] == "The mean AUC of the network over 4 cohorts is 0.50 (0.40 to 0.60) (Student; caption of the table)."
    )
    assert "By the earlier rule, methods claim a detection in 1 to 2 of 4 cohorts, occlusion most often" in lines[2]
    assert lines[3].startswith(
        "By the earlier rule, any method does so in 2 of 4 cohorts, a share of 0.50 (0.07 to 0.93)"
    )
    assert any("by any method in 1 of 4 cohorts, a share of 0.25 (0.01 to 0.81)" in line for line in lines)
    assert lines[-1].endswith("nothing was planted: occlusion 1 (last column).")
    lines = findings.of_null(claims.assign(n_claims=0), (0.5, 0.4, 0.6), regions)
    assert "methods claim a detection in 0 of 4 cohorts each (column *claims of a study*)." in "".join(lines)
