"""Shortcuts with known answers: a score that follows age, sex or nothing, and what is left of the diagnosis."""

from __future__ import annotations

import gc

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from sklearn.metrics import roc_auc_score

from voxelwhy.evaluation.shortcuts import audit_shortcuts
from voxelwhy.io.tables import write_table
from voxelwhy.io.trust_tables import SHORTCUTS
from voxelwhy.splits.permute import permute_within

CLASSES = {"positive": "AD", "negative": "CN"}
FAST = {"classes": CLASSES, "n_permutations": 499}


def people(rng, n=80, *, folds=2, older=0.0):
    """Subjects with properties; patients are so many years older. The score is noise."""
    labels = np.where(np.arange(n) % 2, "AD", "CN")
    table = pd.DataFrame({"subject_id": [f"s{k:03d}" for k in range(n)], "label": labels})
    table = table.assign(fold=np.arange(n) // 2 % folds, score=rng.normal(size=n), probability=0.5)
    table = table.assign(
        age=rng.normal(72, 6, n) + older * (labels == "AD"), female=rng.integers(0, 2, n).astype(float)
    )
    return table.assign(correlation_brain=rng.normal(0.9, 0.02, n), mask_dice=rng.normal(0.97, 0.01, n))


def follows(table):
    rows = table[table["check"] == "follows"]
    return rows.set_index(["property", "group"])


def test_a_network_that_reads_age_is_told_in_both_classes(rng):
    table = people(rng)
    table["score"] = table["age"] + rng.normal(0, 4, len(table)) + 50 * table["fold"]
    rows = follows(audit_shortcuts(table, **FAST))
    for group in ("AD", "CN"):
        assert rows.loc[("age", group), "p_family"] <= 0.05 and rows.loc[("age", group), "value"] > 0.5
        assert (rows.drop(index=[("age", "AD"), ("age", "CN")])["p_family"] > 0.05).all()
    row = rows.loc[("age", "CN")]
    assert row["low"] < row["value"] < row["high"] and row["n_subjects"] == 40


def test_a_network_that_reads_sex_is_told(rng):
    table = people(rng)
    table["score"] = 2 * table["female"] + rng.normal(size=len(table))
    rows = follows(audit_shortcuts(table, **FAST))
    assert rows.loc[("sex (female)", "CN"), "p_family"] <= 0.05
    assert rows.loc[("age", "CN"), "p_family"] > 0.05


def test_the_correlation_is_spearmans_and_its_p_that_of_scipy_in_one_fold(rng):
    table = people(rng, 60, folds=1)
    table["score"] = 0.05 * table["age"] + table["score"]
    row = follows(audit_shortcuts(table, classes=CLASSES, n_permutations=9999)).loc[("age", "CN")]
    own = table[table["label"] == "CN"]
    expected = stats.spearmanr(own["age"], own["score"])
    assert row["value"] == pytest.approx(expected.statistic)
    permuted = stats.permutation_test((own["score"].to_numpy(),), lambda x: stats.spearmanr(own["age"], x).statistic,
                                      permutation_type="pairings", n_resamples=2000, rng=1)  # fmt: skip
    assert row["p"] == pytest.approx(permuted.pvalue, abs=0.03)


def test_a_network_that_reads_the_scanner_is_told_and_matched_pairs_do_without_it(rng):
    """Most patients were scanned elsewhere, and the network reads the scanner alone: nothing is left in one scanner."""
    table = people(rng, 160)
    scanner = np.where(rng.random(160) < np.where(table["label"] == "AD", 0.8, 0.2), "Trio", "Prisma")
    table = table.assign(scanner=pd.Series(scanner, dtype=object), education=rng.normal(12, 3, 160))
    table["score"] = 4.0 * (table["scanner"] == "Trio") + rng.normal(size=160)
    found = audit_shortcuts(table, covariates=("scanner", "education"), **FAST)
    rows = follows(found)
    for group in ("AD", "CN"):
        row = rows.loc[("scanner (Trio)", group)]
        assert row["p_family"] <= 0.05 and row["measure"] == "AUC" and row["low"] > 0.9
    others = rows.drop(index=[("scanner (Trio)", group) for group in CLASSES.values()])
    assert (others["p_family"] > 0.05).all() and ("education", "CN") in others.index
    rows = found.set_index("check")
    assert rows.loc["matched", "property"] == "age, sex, scanner"
    assert rows.loc["matched", "low"] < 0.5 < rows.loc["matched", "high"]
    assert rows.loc["given_nuisances", "p"] > 0.01 and "scanner" in rows.loc["given_nuisances", "property"]
    blind = audit_shortcuts(table.drop(columns=["scanner"]), **FAST).set_index("check")
    assert blind.loc["matched", "value"] > 0.7 and blind.loc["given_nuisances", "p"] < 1e-3


def test_a_network_that_reads_one_of_many_sites_is_told(rng):
    table = people(rng, 120)
    table["site"] = pd.Series(rng.choice(["1", "2", "3", "7"], 120), dtype=object)
    table["score"] = 2 * (table["site"] == "7") + rng.normal(size=120)
    found = audit_shortcuts(table, covariates=("site",), **FAST)
    row = follows(found).loc[("site", "CN")]
    assert row["measure"] == "η²" and row["p_family"] <= 0.05 and row["low"] > 0.05
    noise = audit_shortcuts(table.assign(score=rng.normal(size=120)), covariates=("site",), **FAST)
    assert (follows(noise)["p_family"] > 0.05).all()


def test_sites_of_a_few_people_each_are_no_adjustment(rng):
    table = people(rng, 60).assign(site=pd.Series([f"s{k // 2}" for k in range(60)], dtype=object))
    rows = audit_shortcuts(table, covariates=("site",), **FAST).set_index("check")
    assert "site" not in rows.loc["given_nuisances", "property"]
    table["site"] = pd.Series(["a"] * 40 + [f"s{k}" for k in range(20)], dtype=object)
    rows = audit_shortcuts(table, covariates=("site",), **FAST).set_index("check")
    assert "site" in rows.loc["given_nuisances", "property"]


def test_what_reviewers_ask_for_and_the_table_does_not_give_is_named(rng):
    table = people(rng, 40).assign(age=np.nan)
    row = audit_shortcuts(table, **FAST).set_index("check").loc["unknown"]
    assert row["property"] == "age, site or scanner, intracranial volume" and row["n_subjects"] == 40
    full = people(rng, 40).assign(intracranial_volume=rng.normal(1400, 100, 40), scanner=["a", "b"] * 20)
    full["scanner"] = full["scanner"].astype(object)
    found = audit_shortcuts(full, covariates=("intracranial_volume", "scanner"), **FAST)
    assert "unknown" not in set(found["check"])
    assert ("intracranial volume", "CN") in follows(found).index


def test_where_the_score_follows_nothing_a_study_is_raised_at_most_at_the_nominal_rate(rng):
    """100 studies: any of the 18 tests, after correction. Folds differ in zero and scale, in ages and in sites."""
    raised = 0
    gc.freeze()  # statsmodels collects garbage for each correction: not among all objects of the other tests
    for k in range(100):
        table = people(rng, 60, folds=3)
        table["age"] += 8 * table["fold"]
        table["score"] = table["score"] * (1 + table["fold"]) + 30 * table["fold"]
        sites = np.char.add("s", (table["fold"] + rng.integers(0, 2, 60)).to_numpy().astype(str))
        table["site"], table["field"] = pd.Series(sites, dtype=object), rng.choice([1.5, 3.0], 60)
        found = audit_shortcuts(table, classes=CLASSES, covariates=("site", "field"), n_permutations=199, seed=k)
        raised += found["p_family"].min() <= 0.05
    gc.unfreeze()
    assert raised <= stats.binom.ppf(0.999, 100, 0.05)


def differs(table):
    return table[table["check"] == "differs"].set_index("property")


def test_what_is_the_same_in_all_patients_is_raised_although_the_score_follows_it_in_no_class(rng):
    """A field lowers the similarity of all patients' scans alike: within a class it varies at random."""
    table = people(rng, 60, folds=3)
    patient = table["label"] == "AD"
    table["correlation_brain"] -= 0.03 * patient
    table["score"] = 5.0 * patient + table["score"]
    found = audit_shortcuts(table, **FAST)
    assert (follows(found)["p_family"] > 0.05).all()
    rows = differs(found)
    row = rows.loc["similarity to the template"]
    assert row["p_family"] <= 0.05 and row["high"] < 0.5 and row["n_subjects"] == 60
    assert (rows.drop(index="similarity to the template")["p_family"] > 0.05).all()


def test_differences_between_classes_are_mann_whitneys_in_one_fold_and_the_sign_says_in_whom(rng):
    table = people(rng, 60, folds=1, older=3.0)
    patient = table["label"] == "AD"
    row = differs(audit_shortcuts(table, classes=CLASSES, n_permutations=9999)).loc["age"]
    expected = stats.mannwhitneyu(table["age"][patient], table["age"][~patient])
    assert row["value"] == pytest.approx(expected.statistic / patient.sum() / (~patient).sum())
    assert row["p"] == pytest.approx(expected.pvalue, abs=0.02)
    table["site"] = pd.Series(np.where(patient, "1", rng.choice(["2", "3"], 60)), dtype=object)
    row = differs(audit_shortcuts(table, covariates=("site",), **FAST)).loc["site"]
    assert row["measure"] == "η²" and row["value"] == pytest.approx(1) and row["p_family"] <= 0.05
    few = differs(audit_shortcuts(table[~patient | (table.index < 10)], **FAST))
    assert not len(few)  # five patients


def test_of_a_score_that_is_age_nothing_is_left_in_matched_pairs(rng):
    """Patients are 8 years older and the network reads age alone: its AUC is that of age, and 0.5 in matched pairs."""
    table = people(rng, 240, older=8.0)
    table["score"] = table["age"]
    y = table["label"] == "AD"
    assert roc_auc_score(y, table["score"]) > 0.75
    sides = pd.concat([table.assign(side=np.where(table["fold"] == k, "test", "train"), fold=k) for k in range(2)])
    rows = audit_shortcuts(table, sides=sides.assign(scan_id=sides["subject_id"]), **FAST).set_index("check")
    assert rows.loc["matched", "low"] < 0.5 < rows.loc["matched", "high"] or rows.loc["matched", "value"] < 0.6
    assert rows.loc["nuisances_alone", "value"] > 0.7
    table["score"] = 3 * y + rng.normal(size=len(table))
    rows = audit_shortcuts(table, **FAST).set_index("check")
    assert rows.loc["matched", "value"] > 0.9 and rows.loc["given_nuisances", "p"] < 1e-6
    assert "nuisances_alone" not in rows.index  # nothing to learn from


def test_pairs_are_those_of_equal_sex_fold_and_about_equal_age():
    """By hand: of six pairs, two are alike; one of them is ordered correctly."""
    ages = {"a": 70, "b": 75, "c": 71.5, "d": 74, "e": 90}
    rows = [("a", "AD", 1.0, 0, 5.0), ("b", "AD", 0.0, 0, 1.0), ("c", "CN", 1.0, 0, 3.0), ("d", "CN", 0.0, 0, 2.0),
            ("e", "CN", 1.0, 0, 9.0)]  # fmt: skip
    rows += [(f"x{k}", "CN", 1.0, 1, 0.0) for k in range(4)]
    table = pd.DataFrame(rows, columns=["subject_id", "label", "female", "fold", "score"])
    table = table.assign(age=table["subject_id"].map(ages).fillna(70.0), correlation_brain=0.9, mask_dice=0.9)
    rows = audit_shortcuts(table, **FAST).set_index("check")
    assert rows.loc["matched", "n_subjects"] == 4 and np.isnan(rows.loc["matched", "value"])  # too few for an interval
    many = pd.concat([table.assign(subject_id=table["subject_id"] + str(k)) for k in range(4)])
    row = audit_shortcuts(many, **FAST).set_index("check").loc["matched"]
    assert row["value"] == 0.5 and row["n_subjects"] == 16


def test_the_score_given_the_properties_is_a_likelihood_ratio_test(rng):
    table = people(rng, 100, folds=1)
    table["score"] = table["score"] + 0.8 * (table["label"] == "AD")
    row = audit_shortcuts(table, **FAST).set_index("check").loc["given_nuisances"]
    names = ["age", "female", "correlation_brain", "mask_dice"]
    z = (table[names] - table[names].mean()) / table[names].std()
    score = (table["score"] - table["score"].mean()) / table["score"].std()
    y = (table["label"] == "AD").astype(float)
    small, large = (sm.Logit(y, sm.add_constant(x)).fit(disp=False) for x in (z, z.assign(score=score)))
    assert row["p"] == pytest.approx(stats.chi2.sf(2 * (large.llf - small.llf), 1), rel=1e-4)
    assert row["measure"] == "log odds for 1 SD"
    expected = (large.params["score"], *large.conf_int().loc["score"])
    assert (row["value"], row["low"], row["high"]) == pytest.approx(expected, rel=1e-3)


def test_what_is_not_known_has_no_row_and_tables_follow_their_schema(rng, tmp_path):
    table = people(rng, 40).assign(age=np.nan, female=np.nan)
    found = audit_shortcuts(table, **FAST)
    assert not set(found["property"]) & {"age", "sex (female)"} and "matched" not in set(found["check"])
    write_table(found, tmp_path / "s.tsv", SHORTCUTS)
    few = audit_shortcuts(people(rng, 8), **FAST)
    assert few.loc[few["check"] == "follows", "value"].isna().all()
    write_table(few, tmp_path / "f.tsv", SHORTCUTS)


def test_permutations_stay_within_their_cell(rng):
    cells = np.array([0, 1, 0, 1, 2, 0])
    orders = permute_within(cells, 50, rng)
    assert (cells[orders] == cells).all() and (np.sort(orders, axis=1) == np.arange(6)).all()
    assert len({tuple(order) for order in orders}) > 5
