"""Calibration, operating points, net benefit and strata against closed forms, scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.special import expit, logit
from sklearn.metrics import brier_score_loss, roc_auc_score

from voxelwhy.evaluation.clinical import assess_scores, clinical_curves, shift_prevalence
from voxelwhy.evaluation.intervals import proportion_interval
from voxelwhy.evaluation.people import join_people, one_row_each, standardise_within_folds
from voxelwhy.io.tables import write_table
from voxelwhy.io.trust_tables import CLINICAL, CLINICAL_CURVES

CLASSES = {"positive": "AD", "negative": "CN"}


def people(rng, n=400, *, times=1.0, shift=0.0, folds=1):
    """Subjects whose diagnosis is drawn from their probability; the network says `times` its logit plus `shift`."""
    true = rng.normal(0, 1.5, n)
    positive = rng.random(n) < expit(true)
    score = times * true + shift
    table = pd.DataFrame({"subject_id": [f"s{k:04d}" for k in range(n)], "label": np.where(positive, "AD", "CN")})
    table = table.assign(fold=np.arange(n) % folds, score=score, probability=expit(score), age=rng.normal(72, 6, n))
    return table.assign(female=rng.integers(0, 2, n).astype(float))


def values(table):
    return table[table["group"] == "all"].set_index("measure")


def test_right_probabilities_have_an_intercept_of_0_and_a_slope_of_1(rng):
    found = values(assess_scores(people(rng, 4000), classes=CLASSES))
    for name, right in (("calibration_intercept", 0), ("calibration_slope", 1)):
        assert found.loc[name, "low"] < right < found.loc[name, "high"]
        assert found.loc[name, "value"] == pytest.approx(right, abs=0.1)


def test_extreme_and_shifted_probabilities_are_told(rng):
    wrong = people(rng, 4000, times=3.0)
    found = values(assess_scores(wrong, classes=CLASSES))
    assert found.loc["calibration_slope", "value"] == pytest.approx(1 / 3, abs=0.04)
    found = values(assess_scores(people(rng, 4000, shift=1.0), classes=CLASSES))
    assert found.loc["calibration_intercept", "value"] == pytest.approx(-1, abs=0.15)
    y = (wrong["label"] == "AD").to_numpy()
    fit = sm.Logit(y.astype(float), sm.add_constant(wrong["score"].to_numpy())).fit(disp=False)
    found = values(assess_scores(wrong, classes=CLASSES)).loc["calibration_slope"]
    low, high = fit.conf_int()[1]
    np.testing.assert_allclose(found[["value", "low", "high"]].astype(float), [fit.params[1], low, high], rtol=1e-4)
    brier = values(assess_scores(wrong, classes=CLASSES)).loc["brier", "value"]
    assert brier == pytest.approx(brier_score_loss(y, wrong["probability"]))


def test_complete_separation_has_no_slope(rng):
    table = people(rng, 40)
    table["score"] = np.where(table["label"] == "AD", 2.0, -2.0) + rng.normal(0, 0.1, 40)
    found = values(assess_scores(table.assign(probability=expit(table["score"])), classes=CLASSES))
    assert np.isnan(found.loc["calibration_slope", "value"]) and found.loc["brier", "value"] < 0.05


def test_thresholds_come_from_controls_of_other_folds():
    """By hand: fold 0 has controls 0 to 9, fold 1 controls 10 to 19; each fold's patients score 9.5 and 30."""
    rows = [(f"c{k}", "CN", k // 10, float(k)) for k in range(20)]
    rows += [(f"p{k}", "AD", k % 2, (9.5, 30.0)[k // 2]) for k in range(4)]
    table = pd.DataFrame(rows, columns=["subject_id", "label", "fold", "score"])
    table = table.assign(probability=expit(table["score"] / 10), age=np.nan, female=np.nan)
    found = values(assess_scores(table, classes=CLASSES))
    # 90 % of the controls 10 to 19 do not exceed 18; of the controls 0 to 9, 8. So fold 0 finds 30 only, fold 1 both.
    assert found.loc["sensitivity_90", "value"] == 3 / 4
    # No control of fold 0 exceeds 18; all ten of fold 1 exceed 8.
    assert found.loc["specificity_90", "value"] == 1 / 2
    low, high = proportion_interval(0.5, 20)
    assert (found.loc["specificity_90", "low"], found.loc["specificity_90", "high"]) == pytest.approx((low, high))
    alone = values(assess_scores(table.assign(fold=0), classes=CLASSES))
    assert np.isnan(alone.loc["sensitivity_90", "value"])
    twice = pd.concat([table.assign(fold=0), table.assign(fold=1)])  # two networks on the same subjects
    assert np.isnan(values(assess_scores(twice, classes=CLASSES)).loc["sensitivity_90", "value"])


def test_net_benefit_is_that_of_vickers(rng):
    table = people(rng, 300)
    curves = clinical_curves(table, classes=CLASSES).set_index("curve")
    y, p = (table["label"] == "AD").to_numpy(), table["probability"].to_numpy()
    for threshold in (0.2, 0.5):
        called = p >= threshold
        true, false = (called & y).sum(), (called & ~y).sum()
        expected = true / 300 - false / 300 * threshold / (1 - threshold)  # as in Vickers & Elkin 2006
        own = curves.loc["net_benefit"]
        assert own.loc[np.isclose(own["x"], threshold), "y"].item() == pytest.approx(expected)
    everybody = curves.loc["treat_all"]
    assert np.interp(y.mean(), everybody["x"], everybody["y"]) == pytest.approx(0, abs=0.01)


def test_another_prevalence_shifts_the_probabilities(rng):
    """A right probability at one prevalence is right at another one after the shift: by Bayes' theorem."""
    positive = np.arange(1000) < 500
    likelihood = 2.5
    given = likelihood / (1 + likelihood)
    shifted = shift_prevalence(np.full(1000, given), positive, 0.1)
    assert shifted[0] == pytest.approx(0.1 * likelihood / (0.1 * likelihood + 0.9))
    table = people(rng, 500)
    rows = [values(assess_scores(table, classes=CLASSES, prevalence=x)).loc["net_benefit"] for x in (None, 0.1)]
    assert rows[1]["value"] < 0.1 < rows[0]["value"]
    called = shift_prevalence(table["probability"], (table["label"] == "AD").to_numpy(), 0.1) >= 0.1
    y = table["label"] == "AD"
    assert rows[1]["value"] == pytest.approx(0.1 * (called[y].mean() + (~called[~y]).mean() - 1))
    assert rows[1]["low"] < rows[1]["value"] < rows[1]["high"]


def test_strata_have_the_auc_of_their_subjects(rng, tmp_path):
    table = people(rng, 300)
    found = assess_scores(table, classes=CLASSES)
    rows = found[found["measure"] == "auc"].set_index("group")
    women = table["female"] == 1
    expected = roc_auc_score(table["label"][women] == "AD", table["score"][women])
    assert rows.loc["female", "value"] == pytest.approx(expected) and rows.loc["female", "n_subjects"] == women.sum()
    older = next(name for name in rows.index if name.endswith("or older"))
    assert rows.loc[older, "n_subjects"] == (table["age"] >= table["age"].median()).sum()
    write_table(found, tmp_path / "c.tsv", CLINICAL)
    write_table(clinical_curves(table, classes=CLASSES), tmp_path / "k.tsv", CLINICAL_CURVES)
    unknown = table.assign(age=np.nan, female=np.nan)
    assert not (assess_scores(unknown, classes=CLASSES)["measure"] == "auc").any()


def test_the_calibration_curve_has_groups_of_equal_size(rng):
    table = people(rng, 100)
    curve = clinical_curves(table, classes=CLASSES).query("curve == 'calibration'")
    assert curve["n_subjects"].tolist() == [20] * 5
    first = table.sort_values("probability").head(20)
    assert curve["x"].iloc[0] == pytest.approx(first["probability"].mean())
    assert curve["y"].iloc[0] == pytest.approx((first["label"] == "AD").mean())
    assert len(clinical_curves(people(rng, 12), classes=CLASSES).query("curve == 'calibration'")) == 1


def test_a_person_is_the_mean_of_its_scans():
    scans = pd.DataFrame({"fold": 0, "scan_id": ["a1", "a2", "b1"], "subject_id": ["a", "a", "b"],
                          "label": ["AD", "AD", "CN"], "logit_negative": [0.0, 1.0, 0.0],
                          "logit_positive": [2.0, 1.0, -1.0], "probability": [0.9, 0.5, 0.2]})  # fmt: skip
    selected = pd.DataFrame({"scan_id": ["a1", "a2", "b1"], "age": [70.0, 72.0, np.nan], "sex": ["F", "F", "M"],
                             "correlation_brain": 0.9, "mask_dice": [0.8, 0.9, 0.7]})  # fmt: skip
    table = join_people(scans, selected).set_index("subject_id")
    assert table.loc["a", ["score", "probability", "age", "female"]].tolist() == [1.0, 0.7, 71.0, 1.0]
    assert table.loc["b", "female"] == 0 and np.isnan(table.loc["b", "age"])


def test_scores_are_comparable_over_folds_and_each_person_has_one_row(rng):
    table = people(rng, 60, folds=3)
    table["score"] = table["score"] * (1 + 9 * table["fold"]) + 100 * table["fold"]
    scores = standardise_within_folds(table)
    assert scores.groupby(table["fold"]).mean().abs().max() < 1e-12
    np.testing.assert_allclose(scores.groupby(table["fold"]).std(), 1)
    networks = pd.concat([table.assign(fold=k, score=table["score"] * (k + 1)) for k in range(2)])
    rows = one_row_each(networks)
    assert len(rows) == 60 and (rows["fold"] == 0).all()
    both = pd.concat([table, table.iloc[:1].assign(label="CN" if table["label"].iloc[0] == "AD" else "AD")])
    assert len(one_row_each(both)) == 59
    assert logit(0.5) == 0
