"""Stability: known answers, brute force, coverage, and the same bytes again."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from voxelwhy.errors import InputError
from voxelwhy.evaluation.region_tables import step_up
from voxelwhy.evaluation.stability import join_stability, summarise_stability
from voxelwhy.evaluation.trainings import compare_maps
from voxelwhy.io.tables import write_table
from voxelwhy.io.trust_tables import STABILITY, STABILITY_REGIONS, TRAININGS_MAPS, TRAININGS_REGIONS

CLASSES = {"positive": "AD", "negative": "CN"}
REGIONS, VOXELS = 40, 100


def study(rng, *, subjects=8, trainings=5, folds=3, of_subject=1.0, of_training=0.7, error=1.0, regions=None):
    """Tables of a study by two methods whose maps are sums of subject, training and error; half are patients.

    `regions` has the mean enrichment of each region, (2, REGIONS), which all subjects and trainings share.
    """
    means = rng.normal(size=(2, REGIONS)) if regions is None else regions
    of_maps, of_regions = [], []
    for number, method in enumerate(("grad_cam", "lrp")):
        for fold in range(folds):
            shift = of_training * rng.normal(size=(2, trainings, max(VOXELS, REGIONS)))
            for subject in range(subjects):
                facts = {"fold": fold, "scan_id": f"s{fold}-{subject}", "subject_id": f"p{fold}-{subject}"}
                facts |= {"label": ("AD", "CN")[subject % 2], "method": method}
                own = of_subject * rng.normal(size=VOXELS) + shift[0, :, :VOXELS]
                of_maps += [facts | row for row in compare_maps(own + error * rng.normal(size=own.shape))]
                own = means[number] + of_subject * rng.normal(size=REGIONS) + shift[1, :, :REGIONS]
                own = 10 + own + error * rng.normal(size=own.shape)  # enrichment is never negative
                grid = {"training": np.repeat(range(trainings), REGIONS), "enrichment": own.ravel()}
                grid |= {"region_id": np.tile(np.arange(1, REGIONS + 1), trainings)}
                of_regions.append(pd.DataFrame(facts | grid))
    of_regions = pd.concat(of_regions, ignore_index=True)
    of_regions["region"] = "R" + of_regions["region_id"].astype(str)
    return pd.DataFrame(of_maps)[list(TRAININGS_MAPS.columns)], of_regions[list(TRAININGS_REGIONS.columns)]


def by_name(stability, method="grad_cam"):
    own = stability.summary[stability.summary["method"] == method]
    return own.set_index(["of", "comparison", "measure"])


def test_tables_follow_their_schemas_and_the_same_seed_gives_the_same_bytes(rng, tmp_path):
    tables = study(rng)
    for name, table, schema in zip("mr", tables, (TRAININGS_MAPS, TRAININGS_REGIONS), strict=True):
        write_table(table, tmp_path / name, schema)
    found = [join_stability([tmp_path / "m"], [tmp_path / "r"], classes=CLASSES, seed=4) for _ in range(2)]
    for name, own in zip("ab", found, strict=True):
        write_table(own.summary, tmp_path / name, STABILITY)
        write_table(own.regions, tmp_path / f"{name}-regions", STABILITY_REGIONS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a-regions").read_bytes() == (tmp_path / "b-regions").read_bytes()
    own = found[0].summary
    assert own["method"].tolist() == ["grad_cam"] * 10 + ["lrp"] * 10
    assert set(own.loc[own["of"] == "maps", "n_subjects"]) == {24}
    assert set(own.loc[own["of"] == "regions", "n_subjects"]) == {12}, "patients"
    with pytest.raises(InputError, match="no map of the positive class"):
        summarise_stability(*tables, classes={"positive": "MCI", "negative": "CN"})


def test_a_network_that_is_the_same_for_each_seed_gives_one(rng):
    found = summarise_stability(*study(rng, of_training=0, error=0), classes=CLASSES)
    rows = by_name(found)
    for key in (("maps", "trainings", "spearman"), ("maps", "means of 2", "spearman"),
                ("regions", "trainings", "spearman"), ("regions", "trainings", "first_ten")):  # fmt: skip
        np.testing.assert_allclose(rows.loc[key, ["value", "low", "high"]].to_numpy(float), 1.0)
    assert rows.loc[("regions", "folds", "spearman"), "value"] < 0.95, "other subjects"
    np.testing.assert_allclose(found.regions[["icc", "low", "high"]], 1.0)
    assert (found.regions["rank_low"] == found.regions["rank_high"]).all()


def test_maps_that_have_nothing_in_common_give_zero_within_the_interval(rng):
    found = summarise_stability(
        *study(rng, of_subject=0, of_training=0, regions=np.zeros((2, REGIONS))), classes=CLASSES
    )
    rows = found.summary[found.summary["measure"] == "spearman"]
    held = (rows["low"] <= 0) & (rows["high"] >= 0)
    assert held.mean() >= 0.9 and (rows["value"].abs() < 0.25).all()
    assert ((found.regions["low"] <= 0) & (found.regions["high"] >= 0)).mean() > 0.9
    overlap = found.summary.query("comparison == 'trainings' and measure == 'first_ten'")
    assert (overlap["low"] < 10 / REGIONS).all() and (overlap["high"] > 10 / REGIONS).all(), "that of chance"


def test_values_are_those_of_plain_loops(rng):
    of_maps, of_regions = study(rng, subjects=6, trainings=3)
    found = summarise_stability(of_maps, of_regions, classes=CLASSES)
    rows = by_name(found)
    single = of_maps.query("method == 'grad_cam' and averaged == 1")
    by_subject = single.groupby("subject_id")["spearman"].mean()
    assert rows.loc[("maps", "trainings", "spearman"), "value"] == pytest.approx(by_subject.mean())
    patients = of_regions[of_regions["label"] == "AD"]

    def table(method="grad_cam", **of):
        own = patients[patients["method"] == method]
        for name, value in of.items():
            own = own[own[name] == value]
        return own.groupby("region_id")["enrichment"].mean().to_numpy()

    def agree(pairs):
        spearman = [stats.spearmanr(*pair).statistic for pair in pairs]
        first = [len({*np.argsort(-one)[:10]} & {*np.argsort(-other)[:10]}) / 10 for one, other in pairs]
        return np.mean(spearman), np.mean(first)

    whole = [table(training=k) for k in range(3)]
    expected = {
        "trainings": agree(list(combinations(whole, 2))),
        "folds": agree([
            (table(fold=a, training=j), table(fold=b, training=k))
            for a, b in combinations(range(3), 2) for j in range(3) for k in range(3)
        ]),
        "methods": agree([(whole[k], table("lrp", training=k)) for k in range(3)]),
    }  # fmt: skip
    for name, values in expected.items():
        own = [rows.loc[("regions", name, measure), "value"] for measure in ("spearman", "first_ten")]
        np.testing.assert_allclose(own, values)
    matrix = found.matrices["grad_cam"]
    assert matrix[2, 0] == pytest.approx(stats.spearmanr(whole[2], whole[0]).statistic)
    of_pair = single[(single["first"] == "0") & (single["second"] == "2")]
    assert matrix[0, 2] == pytest.approx(of_pair["spearman"].mean())
    np.testing.assert_array_equal(found.ranks["grad_cam"][1], stats.rankdata(-whole[1]))
    regions = found.regions[found.regions["method"] == "grad_cam"]
    np.testing.assert_allclose(regions["rank"], found.ranks["grad_cam"].mean(axis=0))


def test_halves_of_the_subjects_are_stepped_up_to_all(rng):
    """Tables of two halves of n/2 subjects correlate at r; those of n subjects at 2r/(1 + r)."""
    assert step_up(0.5) == pytest.approx(2 / 3) and step_up(-0.2) == pytest.approx(-0.2)
    regions = rng.normal(size=(2, REGIONS))
    values, twice = [], []
    for _ in range(6):
        pair = [study(rng, trainings=2, of_training=0, error=0, folds=2, regions=regions) for _ in range(2)]
        found = [by_name(summarise_stability(*tables, classes=CLASSES)) for tables in pair]
        values += [rows.loc[("regions", "halves", "spearman"), "value"] for rows in found]
        patients = [own.query("method == 'grad_cam' and label == 'AD' and training == 0") for _, own in pair]
        means = [own.groupby("region_id")["enrichment"].mean() for own in patients]
        twice.append(stats.spearmanr(*means).statistic)
    assert np.mean(values) == pytest.approx(np.mean(twice), abs=0.04)


def test_coverage_over_subjects_and_trainings(rng):
    """Studies of one model; the true values are means over all of them."""
    regions = rng.normal(size=(2, REGIONS))
    found = [summarise_stability(*study(rng, regions=regions), classes=CLASSES).summary for _ in range(16)]
    keys = ["method", "of", "comparison", "measure"]
    found = pd.concat(found).set_index(keys)
    truth = found.groupby(level=keys)["value"].mean().reindex(found.index)
    held = ((found["low"] <= truth) & (truth <= found["high"])).groupby(level=keys[1:]).mean()
    assert (held >= 0.8).all() and 0.93 < held.mean() < 1


def test_few_subjects_have_no_interval_and_a_single_fold_no_comparison_of_folds(rng):
    found = summarise_stability(*study(rng, subjects=4, folds=1, trainings=2), classes=CLASSES)
    assert found.summary[["low", "high"]].isna().all(axis=None) and found.regions[["low", "high"]].isna().all(axis=None)
    assert set(found.summary["comparison"]) == {"trainings", "halves", "methods"}
    assert found.summary["value"].notna().all()


def test_a_map_without_positive_relevance_leaves_its_subject_out_of_the_icc(rng):
    of_maps, of_regions = study(rng)
    empty = (of_regions["subject_id"] == "p0-0") & (of_regions["training"] == 1) & (of_regions["method"] == "lrp")
    of_regions.loc[empty, "enrichment"] = np.nan
    of_regions.loc[of_regions["region_id"] == 7, "enrichment"] = np.nan  # a region that the network does not see
    found = summarise_stability(of_maps, of_regions, classes=CLASSES)
    n = found.regions.groupby("method")["n_subjects"].first()
    assert n.to_dict() == {"grad_cam": 24, "lrp": 23}
    unseen = found.regions[found.regions["region_id"] == 7]
    assert unseen["icc"].isna().all() and (unseen["rank"] == REGIONS).all()
    assert found.regions.loc[found.regions["region_id"] != 7, "icc"].notna().all()
    assert found.summary["value"].notna().all()
