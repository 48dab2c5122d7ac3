"""Patients against controls by region: t as in a linear model, p as nilearn's, error rates, ranks by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from nilearn.mass_univariate import permuted_ols
from scipy import stats

from voxelwhy.errors import InputError
from voxelwhy.io.tables import write_table
from voxelwhy.io.trust_tables import CLASS_REGIONS
from voxelwhy.regions.class_regions import compare_classes, no_subjects, subjects_by_region

CLASSES = {"positive": "AD", "negative": "CN"}
REGIONS = pd.DataFrame({"region_id": [3, 5, 8, 9], "region": ["A", "B", "C", "D"]})


def people(n, folds=1):
    """So many subjects, half of them patients, in turn over the folds."""
    labels = np.where(np.arange(n) % 2, "AD", "CN")
    return pd.DataFrame(
        {"subject_id": [f"s{k:03d}" for k in range(n)], "label": labels, "fold": np.arange(n) // 2 % folds}
    )


def test_effect_interval_and_t_are_those_of_a_linear_model(rng):
    who, values = people(40, folds=3), rng.gamma(2, size=(40, 4))
    covariates = pd.DataFrame({"age": rng.normal(70, 6, 40), "female": rng.integers(0, 2, 40).astype(float)})
    values[:, 1] += 1.5 * (who["label"] == "AD") + 0.05 * covariates["age"]
    table = compare_classes(who, values, REGIONS, classes=CLASSES, covariates=covariates, n_permutations=50)
    design = pd.concat(
        [(who["label"] == "AD").astype(float), covariates, pd.get_dummies(who["fold"], dtype=float)], axis=1
    )
    for k in range(4):
        fit = sm.OLS(values[:, k], design.to_numpy()).fit()
        row = table.iloc[k]
        found = row[["effect", "t", "low", "high"]].astype(float)
        np.testing.assert_allclose(found, [fit.params[0], fit.tvalues[0], *fit.conf_int()[0]], rtol=1e-9)
    assert table["p"].idxmin() == 1 and table.loc[1, "p_family"] == pytest.approx(1 / 51)
    assert table.loc[0, "covariates"] == "age, female"


def test_a_category_is_adjusted_for_as_in_a_linear_model(rng):
    who, values = people(60, folds=2), rng.gamma(2, size=(60, 4))
    covariates = pd.DataFrame({"age": rng.normal(70, 6, 60), "site": rng.choice(["a", "b", "c"], 60).astype(object)})
    values[:, 0] += 2.0 * (covariates["site"] == "b")
    table = compare_classes(who, values, REGIONS, classes=CLASSES, covariates=covariates, n_permutations=20)
    design = [(who["label"] == "AD"), covariates["age"], covariates["site"] == "b", covariates["site"] == "c"]
    design = np.column_stack([*design, pd.get_dummies(who["fold"])]).astype(float)
    for k in range(4):
        fit = sm.OLS(values[:, k], design).fit()
        np.testing.assert_allclose([table["effect"][k], table["t"][k]], [fit.params[0], fit.tvalues[0]], rtol=1e-8)
    assert table.loc[0, "covariates"] == "age, site"


def test_p_is_that_of_nilearn_where_there_is_one_fold(rng):
    who, values = people(30), rng.normal(size=(30, 4))
    values[:, 2] += 0.8 * (who["label"] == "AD")
    table = compare_classes(who, values, REGIONS, classes=CLASSES, n_permutations=4000, seed=1)
    peer = permuted_ols(
        (who["label"] == "AD").to_numpy(float)[:, None], values, n_perm=4000, two_sided_test=True, random_state=2,
        verbose=0, output_type="dict", model_intercept=True,
    )  # fmt: skip
    np.testing.assert_allclose(table["t"], peer["t"][0], rtol=1e-6)
    np.testing.assert_allclose(table["p_family"], 10 ** -peer["logp_max_t"][0], atol=0.03)


def test_a_difference_between_folds_is_none_between_classes(rng):
    """Patients are mostly in the fold whose network gives more relevance: 100 times, nothing else differs."""
    raised = 0
    for k in range(100):
        who = people(32, folds=2)
        who["fold"] = np.where(np.arange(32) % 8 < 2, 1 - (who["label"] == "AD"), who["label"] == "AD").astype(int)
        values = rng.gamma(2, size=(32, 4)) + 6 * who["fold"].to_numpy()[:, None]
        table = compare_classes(who, values, REGIONS, classes=CLASSES, n_permutations=199, n_resamples=2, seed=k)
        raised += table["p_family"].min() <= 0.05
    assert raised <= stats.binom.ppf(0.999, 100, 0.05)
    naive = stats.ttest_ind(values[who["label"] == "AD"], values[who["label"] == "CN"]).pvalue
    assert naive.min() < 0.05  # without the folds, this difference would be one between the classes


def test_ranks_and_their_intervals_are_over_patients(rng):
    who, values = people(40), np.tile([4.0, 3.0, 2.0, 1.0], (40, 1)) + rng.normal(0, 0.1, (40, 4))
    values[who["label"] == "CN"] = 9 - values[who["label"] == "CN"]
    table = compare_classes(who, values, REGIONS, classes=CLASSES, n_permutations=19, n_resamples=200)
    assert table["rank"].tolist() == [1, 2, 3, 4]
    assert (table["rank_low"] == table["rank"]).all() and (table["rank_high"] == table["rank"]).all()
    assert (table["among_first"] == 1).all()


def test_few_subjects_are_not_tested_and_a_region_without_a_value_is_left_out(rng, tmp_path):
    table = compare_classes(people(14), rng.random((14, 4)), REGIONS, classes=CLASSES)
    assert table[["t", "p", "rank_low"]].isna().all(axis=None) and (table["n_positive"] == 7).all()
    write_table(table, tmp_path / "few.tsv", CLASS_REGIONS)
    values = rng.random((20, 4))
    values[3, 2] = np.nan
    table = compare_classes(people(20), values, REGIONS, classes=CLASSES, n_permutations=19)
    assert table["t"].isna().tolist() == [False, False, True, False]
    empty = compare_classes(*no_subjects(4), REGIONS, classes=CLASSES)
    write_table(empty, tmp_path / "none.tsv", CLASS_REGIONS)
    assert empty[["t", "rank"]].isna().all(axis=None) and (empty["n_positive"] == 0).all()


def relevance(rows):
    """(subject, label, fold, target, scan, enrichment of two regions)"""
    table = []
    for subject, label, fold, target, scan, values in rows:
        for region, value in zip((3, 5), values, strict=True):
            table.append({"subject_id": subject, "label": label, "fold": fold, "target": target, "scan_id": scan,
                          "region_id": region, "enrichment": value})  # fmt: skip
    return pd.DataFrame(table)


def test_a_subject_is_the_mean_of_its_maps_of_one_class():
    table = relevance([
        ("a", "AD", 0, "AD", "a1", (1.0, 2.0)), ("a", "AD", 0, "AD", "a2", (3.0, np.nan)),
        ("a", "AD", 0, "CN", "a1", (9.0, 9.0)), ("b", "CN", 1, "AD", "b1", (5.0, 6.0)),
        ("c", "CN", 0, "AD", "c1", (1.0, 1.0)), ("c", "AD", 0, "AD", "c2", (1.0, 1.0)),
    ])  # fmt: skip
    who, values = subjects_by_region([table.iloc[:3], table.iloc[3:]], [3, 5], target="AD")
    assert who["subject_id"].tolist() == ["a", "b"]  # c has scans of both classes
    assert values.tolist() == [[2.0, 2.0], [5.0, 6.0]]
    with pytest.raises(InputError, match="no map explains the class MCI"):
        subjects_by_region(table, [3, 5], target="MCI")


def test_maps_of_several_networks_are_one_row():
    table = relevance([("a", "AD", k, "AD", "a1", (1.0 + k, 2.0)) for k in range(3)])
    who, values = subjects_by_region(table, [3, 5], target="AD")
    assert len(who) == 1 and who["fold"].tolist() == [0] and values.tolist() == [[2.0, 2.0]]
