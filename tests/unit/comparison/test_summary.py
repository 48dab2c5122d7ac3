"""Summaries of a comparison against scikit-learn, scipy, closed forms and plain loops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from helpers.comparison_cells import CLASSES, METHODS, REGIONS, four_combinations, make_cell, truth_row, with_audit
from voxelwhy.comparison.audits import audit_table
from voxelwhy.comparison.summary import (
    cell_table,
    claims_table,
    combination_table,
    confound_table,
    false_regions,
    found_table,
    method_table,
)
from voxelwhy.evaluation.intervals import student_interval

COLUMNS = ["transform", "network"]
SIMILARITY = "similarity to the template"


@pytest.fixture
def cells(rng):
    return four_combinations(rng)


def test_the_mean_auc_has_the_interval_of_subjects_who_are_the_same_in_all_repeats(cells):
    table = combination_table(cells, same_scans=True, classes=CLASSES)
    assert table[["transform", "network"]].to_numpy().tolist() == [
        [t, n] for t in ("affine", "syn_quick") for n in ("small", "resnet18")
    ]
    own = cells[:2]
    assert table.loc[0, "auc"] == pytest.approx(np.mean([cell["auc"]["cnn"]["value"] for cell in own]))
    assert (table["n_subjects"] == 20).all() and (table["n_repeats"] == 2).all()
    # By a plain loop over resamples of subjects, whose percentiles are near the interval away from an AUC of 1.
    rng, means = np.random.default_rng(0), []
    for _ in range(400):
        drawn = rng.integers(20, size=20)
        take = np.concatenate([[2 * k, 2 * k + 1] for k in drawn])
        frames = [pd.DataFrame(cell["predictions"]).iloc[take] for cell in own]
        means.append(np.mean([roc_auc_score(frame["label"] == "AD", frame["probability"]) for frame in frames]))
    np.testing.assert_allclose(
        table.loc[0, ["auc_low", "auc_high"]].astype(float), np.percentile(means, [2.5, 97.5]), atol=0.04
    )


def test_repeats_with_other_cohorts_have_students_interval(cells):
    values = [cell["auc"]["cnn"]["value"] for cell in cells[:2]]
    expected = stats.t.interval(0.95, 1, loc=np.mean(values), scale=stats.sem(values))
    np.testing.assert_allclose(student_interval(values), expected)
    table = combination_table(cells, same_scans=False, classes=CLASSES)
    np.testing.assert_allclose(table.loc[0, ["auc_low", "auc_high"]].astype(float), expected)
    assert np.isnan(student_interval([0.5])).all()


# What a combination detects.


def found_in(cells, columns=COLUMNS):
    return found_table(method_table(cells), columns).set_index([*columns, "method"]).sort_index()


def with_truth(cells, method, auprcs, draws):
    """Give a method its AUPRC in the first runs, and those of its networks trained on shuffled diagnoses."""
    for cell, auprc, own in zip(cells, auprcs, draws, strict=False):
        cell["truth"][METHODS.index(method)] = truth_row(method, auprc=auprc, draws=own)


def test_methods_are_summed_up_over_repeats(rng):
    cells = four_combinations(rng, draws=rng.uniform(0.2, 0.4, 19), verdict="detected")
    for cell in cells[4:]:
        for row in cell["truth"]:
            row["verdict"] = "not detected"
    cells[0]["truth"][0] |= {"region_auprc": 0.2, "verdict": "not detected"}
    found = found_in(cells)
    row = found.loc["affine", "small", METHODS[0]]
    assert (row["region_auprc"], row["least"], row["most"]) == pytest.approx((0.4, 0.2, 0.6))
    assert (row["n_found"], row["n_repeats"], row["n_shuffled"]) == (1, 2, 19)
    assert found.loc["affine", "n_found"].sum() == 7 and found.loc["syn_quick", "n_found"].sum() == 0
    assert len(cell_table(cells)) == 8


def test_the_mean_over_repeats_is_ranked_among_the_means_of_each_draw(cells, rng):
    """By a loop: the same permutation of diagnoses in both repeats is one draw. The other combinations do not count."""
    first, second = rng.uniform(0.3, 0.6, (2, 2, 19))
    first[:, 3] = 0.9  # one draw that beats the first method in both repeats
    with_truth(cells, "occlusion", (0.7, 0.8), first)
    with_truth(cells, "grad_cam", (0.9, 0.8), second)
    found = found_in(cells)
    values = np.array([[0.75, *first.mean(axis=0)], [0.85, *second.mean(axis=0)]])
    z = (values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, ddof=1, keepdims=True)
    largest = [max(z[0, k], z[1, k]) for k in range(1, 20)]
    for number, method in enumerate(METHODS):
        row = found.loc["affine", "small", method]
        assert row["p"] == sum(value >= values[number, 0] for value in values[number]) / 20
        assert row["p_family"] == pytest.approx((1 + sum(value >= z[number, 0] for value in largest)) / 20)
        assert row["shuffled_auprc"] == pytest.approx((first, second)[number].mean())
        assert row["found"] == (row["p_family"] <= 0.05)
    own = found.loc["affine", "small"]
    assert own["p"].to_dict() == {"occlusion": 2 / 20, "grad_cam": 1 / 20}
    assert own["found"].to_dict() == {"occlusion": False, "grad_cam": True}
    others = found.drop(index=("affine", "small"))
    assert others[["p", "p_family"]].isna().all(axis=None) and not others["found"].any()


def test_repeats_that_are_each_near_chance_are_detected_together(cells):
    """A draw is at least as good in one of two repeats, another one in the other: on average none is."""
    draws = np.full((2, 19), 0.4) + np.linspace(0, 0.05, 19)
    draws[0, 2], draws[1, 5] = 0.75, 0.75
    for method in METHODS:
        with_truth(cells, method, (0.7, 0.7), draws)
    row = found_in(cells).loc["affine", "small", METHODS[0]]
    assert (row["p"], row["found"]) == (1 / 20, True)
    assert (row["region_auprc"] < draws.max(axis=1)).all()


def test_what_permuted_regions_reach_too_is_detected_if_no_draw_does(cells):
    """The old rule asked for more than the 95th percentile of permuted regions (0.42) as well, which is no test of the
    diagnosis: a method with scattered maps has a low AUPRC for all labels, and a higher one for the true ones."""
    for method in METHODS:
        with_truth(cells, method, (0.4, 0.4), np.linspace(0.1, 0.2, 19) * np.ones((2, 1)))
    row = found_in(cells).loc["affine", "small", METHODS[0]]
    assert row["region_auprc"] < row["null_95"] and row["found"]


def test_eight_draws_in_two_repeats_are_no_verdict_where_student_was_sure(cells, rng):
    """The old rule counted each draw of each repeat as one more observation, and took them for normally distributed."""
    draws = rng.normal(0.45, 0.01, (2, 4))
    with_truth(cells, "occlusion", (0.66, 0.74), draws)
    with_truth(cells, "grad_cam", (0.66, 0.74), draws)
    row = found_in(cells).loc["affine", "small", "occlusion"]
    assert stats.ttest_ind([0.70], draws.ravel(), alternative="greater").pvalue < 1e-5
    assert (row["p"], row["p_family"], row["n_shuffled"], row["found"]) == (1 / 5, 1 / 5, 4, False)


def test_draws_that_one_repeat_lacks_do_not_count(cells):
    draws = [np.linspace(0.3, 0.5, 25), np.linspace(0.3, 0.5, 20)]
    for method in METHODS:
        with_truth(cells, method, (0.45, 0.45), draws)
    row = found_in(cells).loc["affine", "small", METHODS[0]]
    means = (draws[0][:20] + draws[1]) / 2
    assert row["n_shuffled"] == 20 and row["p"] == (1 + (means >= 0.45).sum()) / 21


def test_a_method_that_always_shows_the_same_is_not_detected_by_its_last_digits(cells):
    with_truth(cells, "occlusion", (0.6 + 1e-12, 0.6), np.full((2, 19), 0.6))
    with_truth(cells, "grad_cam", (0.5, 0.5), np.linspace(0.3, 0.6, 19) * np.ones((2, 1)))
    row = found_in(cells).loc["affine", "small", "occlusion"]
    assert (row["p"], row["p_family"], row["found"]) == (1, 1, False)


def test_a_method_that_was_not_measured_takes_no_part_in_the_correction(cells, rng):
    draws = rng.uniform(0.3, 0.6, (2, 19))
    with_truth(cells, "occlusion", (np.nan, 0.9), draws)
    with_truth(cells, "grad_cam", (0.5, 0.5), draws)
    first, second = (found_in(cells).loc["affine", "small", method] for method in METHODS)
    assert np.isnan(first["p_family"]) and not first["found"] and np.isnan(first["region_auprc"])
    assert second["p_family"] == second["p"] < 1


def test_without_draws_nothing_is_detected_whatever_permuted_regions_say(rng):
    found = found_in(four_combinations(rng, auprc=1.0, p_regions=1e-4))
    assert not found["found"].any() and (found["n_found"] == 0).all() and (found["n_shuffled"] == 0).all()
    assert found[["p", "p_family", "shuffled_auprc"]].isna().all(axis=None)


def test_a_comparison_of_one_setting_or_none_has_its_tests_too(rng):
    draws = np.linspace(0.2, 0.4, 19)
    cells = [make_cell({"training.network": n}, 1, rng, draws=draws) for n in ("small", "resnet18")]
    assert found_in(cells, ["network"])["found"].all()
    assert found_table(method_table(cells[:1]), []).set_index("method")["p_family"].tolist() == [1 / 20] * 2


# Cohorts without a disease.


def test_claims_have_exact_intervals_and_the_binomial_test(rng):
    draws = rng.uniform(0.2, 0.8, 19)
    cells = [
        make_cell(
            {}, k, rng, draws=draws, p=0.05 if k <= 4 else 0.5, p_regions=0.04 if k <= 9 else 0.3,
            verdict="detected" if k <= 2 else "not detected",
        )
        for k in range(1, 21)
    ]  # fmt: skip
    claims = claims_table(method_table(cells), []).set_index("method")
    row = claims.loc["occlusion"]
    assert (row["n"], row["n_permuted"], row["n_shuffled"], row["n_claims"]) == (20, 9, 4, 2)
    # Clopper and Pearson, from the beta distribution.
    assert row["shuffled_low"] == pytest.approx(stats.beta.ppf(0.025, 4, 17))
    assert row["shuffled_high"] == pytest.approx(stats.beta.ppf(0.975, 5, 16))
    assert row["p_shuffled"] == pytest.approx(stats.binomtest(4, 20, 0.05, alternative="greater").pvalue)
    assert row["p_permuted"] == pytest.approx(stats.binomtest(9, 20, 0.05, alternative="greater").pvalue)
    assert claims.loc["any method", "n_claims"] == 2 and np.isnan(claims.loc["any method", "n_shuffled"])


def test_a_share_of_none_has_a_one_sided_interval_and_no_draws_have_no_share(rng):
    cells = [make_cell({}, k, rng, p=np.nan) for k in range(1, 21)]
    row = claims_table(method_table(cells), []).set_index("method").loc["occlusion"]
    assert (row["permuted_low"], row["permuted_high"]) == pytest.approx((0, stats.beta.ppf(0.975, 1, 20)))
    assert np.isnan(row[["n_shuffled", "share_shuffled", "p_shuffled"]].astype(float)).all()


def test_any_method_claims_where_one_of_them_does(rng):
    cells = [make_cell({}, k, rng) for k in range(1, 6)]
    cells[0]["truth"][0]["verdict"] = cells[3]["truth"][1]["verdict"] = cells[3]["truth"][0]["verdict"] = "detected"
    claims = claims_table(method_table(cells), []).set_index("method")["n_claims"]
    assert claims.to_dict() == {"occlusion": 2, "grad_cam": 1, "any method": 2}


def test_audits_and_regions_by_class_are_counted_by_cohort_and_by_method(rng):
    """By hand, of ten cohorts: the audit raises something in two, occlusion claims regions in three, Grad-CAM in 1."""
    cells = [make_cell({}, k, rng) for k in range(10)]
    cells = [with_audit(cell, ["age"] if k < 2 else [], regions=3 * (k < 1)) for k, cell in enumerate(cells)]
    for cell in cells[5:7]:
        cell["methods"]["occlusion"]["class_regions"]["n_raised"] = 1
    claims = claims_table(method_table(cells), [], cells=cells).set_index("method")
    assert claims["n_regions"].dropna().to_dict() == {"occlusion": 3, "grad_cam": 1, "any method": 3}
    audit = claims.loc["audit of shortcuts"]
    assert (audit["n"], audit["n_claims"]) == (10, 2)
    assert audit[["claims_low", "claims_high"]].tolist() == pytest.approx(
        [stats.beta.ppf(0.025, 2, 9), stats.beta.ppf(0.975, 3, 8)]
    )
    table = cell_table(cells)
    assert table["raised"].tolist() == ["age"] * 2 + [""] * 8 and (table["auc_properties"] == 0.8).all()
    assert table["audit_p_family"].tolist() == [0.01] * 2 + [0.5] * 8


def test_runs_that_an_earlier_version_has_kept_have_no_audit(rng):
    earlier, cell = make_cell({}, 1, rng), with_audit(make_cell({}, 2, rng), ["age"], regions=1)
    claims = claims_table(method_table([earlier]), [], cells=[earlier])
    assert "audit of shortcuts" not in set(claims["method"]) and claims["n_regions"].isna().all()
    both = [earlier, cell]
    claims = claims_table(method_table(both), [], cells=both).set_index("method")
    assert claims.loc["audit of shortcuts", "n"] == 1 and claims["n_regions"].isna().all()
    assert cell_table(both)["raised"].tolist()[1] == "age" and pd.isna(cell_table(both)["raised"][0])


def test_what_audits_raise_is_counted_by_combination(rng):
    """By hand: of three repeats with a bias field, similarity is raised in all and age in one; without it nothing."""
    raised = {"bias_field": [["age", SIMILARITY], [SIMILARITY], [SIMILARITY]], "none": [[], [], []]}
    cells = [
        with_audit(make_cell({"simulation.confounds": name}, k, rng), own)
        for name, repeats in raised.items()
        for k, own in enumerate(repeats, 1)
    ]
    combinations = combination_table(cells, same_scans=False, classes=CLASSES)
    table = audit_table(cells, combinations, {"simulation.confounds": "confounds"}).set_index("confounds")
    assert table.loc["bias_field", "raised"] == f"{SIMILARITY} (3), age (1)" and table.loc["none", "raised"] == ""
    assert table["n_raised"].to_dict() == {"bias_field": 3, "none": 0} and (table["n_audited"] == 3).all()
    assert table["auc_properties"].tolist() == pytest.approx([0.8, 0.8])


def old_p(n_top, n_cells, top, n_regions):
    """The test that compares every region with all others: each is among the first at the same rate."""
    return stats.binom.sf(n_top - 1, n_cells, top / n_regions)


def test_small_regions_that_vary_more_are_not_called_favoured():
    """By hand: eight regions, of which the two smallest take turns as the first one in 20 cohorts."""
    names, rng = REGIONS[:8], np.random.default_rng(0)
    volume = {name: (10.0 if k < 2 else 100.0 * k) for k, name in enumerate(names)}
    cells = [
        make_cell({}, k, rng, enrichment=dict.fromkeys(names, 1.0) | {names[k % 2]: 2.0, names[1 - k % 2]: 0.1},
                  volume=volume)
        for k in range(20)
    ]  # fmt: skip
    table = false_regions(cells, top=1).query("method == 'occlusion'").set_index("region")
    assert table.loc[names[:2], "n_top"].tolist() == [10, 10] and table.loc[names[2:], "n_top"].sum() == 0
    assert old_p(10, 20, 1, 8) * 8 < 0.001  # also after correction
    assert table.loc[names[:2], "expected"].tolist() == [10, 10]
    assert table.loc[names[0], "p"] == pytest.approx(sum(stats.binom.pmf(k, 20, 0.5) for k in range(10, 21)))
    assert (table["p_holm"] == 1).all()


def test_regions_of_noise_are_favoured_by_their_size_in_the_old_test_alone(rng):
    """Each region's enrichment is the mean of as many values as it has voxels: nothing but chance."""
    names = [f"r{k}" for k in range(24)]
    sizes = np.repeat([4, 40, 400, 4000], 6)
    volume = dict(zip(names, sizes.astype(float), strict=True))
    cells = []
    for k in range(60):
        values = rng.gamma(sizes, 1 / sizes)
        cells.append(make_cell({}, k, rng, enrichment=dict(zip(names, values, strict=True)), volume=volume))
    table = false_regions(cells, top=3).query("method == 'occlusion'").set_index("region")
    by_old = [old_p(n, 60, 3, 24) * 24 for n in table.loc[names, "n_top"]]
    assert [p < 0.05 for p in by_old] == [True] * 6 + [False] * 18
    assert (table["p_holm"] >= 0.05).all()


def test_a_region_that_is_always_first_is_told_from_those_of_its_size(rng):
    cells = []
    for k in range(20):
        enrichment = {name: float(value) for name, value in zip(REGIONS, rng.random(len(REGIONS)), strict=True)}
        cells.append(make_cell({}, k, rng, enrichment=enrichment | {"Cuneus_L": 2.0}))
    table = false_regions(cells, top=2)
    first = table[table["method"] == "occlusion"].iloc[0]
    # Of ten regions by volume, the sixth to the eighth are a quarter.
    counts = dict.fromkeys(REGIONS, 0)
    for cell in cells:
        values = cell["methods"]["occlusion"]["enrichment"]
        for name in sorted(values, key=values.get)[-2:]:
            counts[name] += 1
    share = sum(counts[name] for name in ("Insula_R", "Cuneus_L", "Cuneus_R")) / 3 / 20
    assert (first["region"], first["n_top"]) == ("Cuneus_L", 20)
    assert first["expected"] == pytest.approx(20 * share) and first["p"] == pytest.approx(share**20)
    assert (table["p_holm"] < 0.05).sum() == len(METHODS)


def test_regions_without_relevance_are_among_the_first_of_nothing(rng):
    cells = [make_cell({}, k, rng, enrichment=dict.fromkeys(REGIONS, 0.0) | {REGIONS[k]: 1.0}) for k in range(1, 6)]
    counts = false_regions(cells, top=3).groupby("region")["n_top"].max()
    assert (counts[REGIONS[1:6]] == 1).all() and counts.sum() == 5
    assert (false_regions(cells, top=99)["p"] == 1).all()


# Confounds.


def test_maps_of_a_confound_are_compared_with_those_without(rng):
    same = {name: float(k) for k, name in enumerate(REGIONS)}
    other = {name: -float(k) for k, name in enumerate(REGIONS)}
    cells = [
        make_cell({"simulation.confounds": name}, 1, rng, enrichment=enrichment)
        for name, enrichment in (("none", same), ("age", same), ("noise", other))
    ]
    table = confound_table(cells, method_table(cells), ["confounds"]).set_index(["confounds", "method"])
    assert table.loc[("age", "occlusion"), "like_first"] == pytest.approx(1)
    assert table.loc[("noise", "occlusion"), "like_first"] == pytest.approx(-1)
    assert table.loc[("age", "occlusion"), "first_regions"] == ", ".join(REGIONS[:-4:-1])


def test_the_first_regions_are_those_of_the_mean_over_repeats(rng):
    """By hand: a region that is the first of one repeat alone is not the first of both."""
    base = dict.fromkeys(REGIONS, 0.0)
    repeats = [{REGIONS[0]: 5.0, REGIONS[1]: 4.0}, {REGIONS[1]: 4.0, REGIONS[2]: 3.0}]
    cells = [
        make_cell({"simulation.confounds": "none"}, k, rng, enrichment=base | own) for k, own in enumerate(repeats, 1)
    ]
    table = confound_table(cells, method_table(cells), ["confounds"])
    assert table["first_regions"].tolist() == [", ".join([REGIONS[1], REGIONS[0], REGIONS[2]])] * 2
