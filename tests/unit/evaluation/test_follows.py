"""Relations of a score and a property, compared with scipy in one fold; intervals and error rates by simulation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from voxelwhy.evaluation.follows import AUC, ETA, SPEARMAN, measure_of, relate, share_interval


def frame(rng, n, values, folds=1):
    table = pd.DataFrame({"fold": np.arange(n) % folds, "score": rng.normal(size=n)})
    return table.assign(property=values)


def test_two_values_have_an_auc_and_the_p_of_mann_whitney(rng):
    table = frame(rng, 40, rng.integers(0, 2, 40).astype(float))
    table["score"] += 0.8 * table["property"]
    found = relate(table, "property", AUC, 9999, rng, higher=1.0)
    assert found.value == pytest.approx(roc_auc_score(table["property"], table["score"]))
    one, other = (table.loc[table["property"] == k, "score"] for k in (1, 0))
    assert found.p == pytest.approx(stats.mannwhitneyu(one, other, method="exact").pvalue, abs=0.01)
    assert found.low < found.value < found.high and found.n == 40


def test_more_categories_have_the_h_of_kruskal_and_wallis(rng):
    table = frame(rng, 45, np.array(list("abc"))[np.arange(45) % 3].astype(object))
    table["score"] = (table["score"] + 0.9 * (table["property"] == "b")).round(1)  # with ties
    found = relate(table, "property", ETA, 9999, rng)
    h = stats.kruskal(*(own["score"] for _, own in table.groupby("property")))
    assert found.value * 44 == pytest.approx(h.statistic)
    assert found.p == pytest.approx(h.pvalue, abs=0.02)
    assert 0 <= found.low < found.value < found.high < 1


def test_a_zero_and_a_scale_of_a_fold_are_no_relation_to_the_site(rng):
    """Sites differ in their folds, and folds in the zero of the score: AUC and η² stay those of no relation."""
    site = np.where(np.arange(120) % 3 == 0, rng.choice(["a", "b", "b"], 120), rng.choice(["a", "c", "c"], 120))
    table = frame(rng, 120, site.astype(object), folds=3)
    table["score"] += 100 * table["fold"]
    found = relate(table.assign(score=table["score"] - 100 * table["fold"]), "property", ETA, 999, rng)
    naive = stats.kruskal(*(own["score"] for _, own in table.groupby("property")))
    assert naive.pvalue < 1e-6 and found.p > 0.05
    two = table.assign(property=(table["fold"] == 1).astype(float) + rng.integers(0, 2, 120) > 0.5)
    auc = relate(two, "property", AUC, 999, rng, higher=True)
    assert auc.p > 0.05 and abs(auc.value - 0.5) < 0.2


@pytest.mark.parametrize("measure", [SPEARMAN, AUC, ETA])
def test_where_nothing_is_followed_p_is_uniform(measure, rng):
    """200 samples of 24 subjects in two folds of different scale."""
    p = []
    for _ in range(200):
        values = {SPEARMAN: rng.normal(size=24), AUC: rng.permutation(np.arange(24) % 2).astype(float),
                  ETA: rng.permutation(np.array(list("abc") * 8)).astype(object)}[measure]  # fmt: skip
        table = frame(rng, 24, values, folds=2)
        p.append(relate(table, "property", measure, 99, rng, higher=1.0).p)
    assert stats.kstest(p, "uniform").pvalue > 0.001 and 2 <= np.sum(np.array(p) <= 0.05) <= 22


def test_the_interval_of_a_share_covers_what_lies_between_groups(rng):
    """Three normal groups: the share of the variance is known. Within 3 standard errors of 95 %."""
    means, hits = np.repeat([0.0, 0.4, 1.0], 20), 0
    truth = means.var() / (means.var() + 1)
    for _ in range(200):
        values = means + rng.normal(size=60)
        between = sum(20 * (own.mean() - values.mean()) ** 2 for own in np.split(values, 3))
        low, high = share_interval(between / ((values - values.mean()) ** 2).sum(), 2, 57)
        hits += low <= truth <= high
    assert abs(hits / 200 - 0.95) <= 3 * np.sqrt(0.95 * 0.05 / 200)
    assert share_interval(0.0, 2, 57)[0] == 0 and np.isnan(share_interval(0.5, 2, 0)[0])


def test_the_measure_follows_from_the_values():
    assert measure_of(pd.Series([1.0, 2.0, np.nan, 1.0])) == AUC
    assert measure_of(pd.Series([1.0, 2.0, 3.0])) == SPEARMAN
    assert measure_of(pd.Series(["a", "b", "c", None], dtype=object)) == ETA


def test_too_few_subjects_and_a_score_without_spread_have_no_relation(rng):
    few = relate(frame(rng, 6, np.arange(6.0)), "property", SPEARMAN, 99, rng)
    assert np.isnan(few.value) and np.isnan(few.p) and few.n == 6
    same = relate(frame(rng, 20, np.arange(20.0)).assign(score=1.0), "property", SPEARMAN, 99, rng)
    assert np.isnan(same.value) and same.n == 20
