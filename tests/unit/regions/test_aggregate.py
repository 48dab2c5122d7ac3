"""Relevance by region and group of scans against plain loops over subjects."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from voxelwhy.errors import InputError
from voxelwhy.heatmaps.groups import Groups
from voxelwhy.heatmaps.region_sums import relevance_by_region
from voxelwhy.io.tables import ATLAS, REGIONS, RELEVANCE, read_pieces, write_table
from voxelwhy.regions.aggregate import aggregate_regions
from voxelwhy.regions.intervals import mean_interval

IDS = [2, 5, 9]
NAMES = ["Hippocampus_L", "Amygdala_L", "Precuneus_L"]
FIGURES = ("total", "share", "enrichment")
#: Region 9 is by far the largest, so that it has the largest share and the smallest enrichment.
VOXELS = [5, 20, 175]
SUBJECTS = {
    "a": ("AD", [0.9, 0.8, 0.4]),
    "b": ("AD", [0.7]),
    "c": ("AD", [0.5]),
    "d": ("AD", [0.95]),
    "e": ("CN", [0.1]),
    "f": ("CN", [0.2, 0.3]),
    "g": ("CN", [0.6]),
    "h": ("CN", [0.05]),
}


@pytest.fixture
def table():
    table = pd.DataFrame({"region_id": IDS, "region": NAMES, "voxels": VOXELS, "volume_mm3": np.multiply(VOXELS, 27.0)})
    return ATLAS.validate(table)


@pytest.fixture
def groups(classes):
    return Groups(classes)


@pytest.fixture
def relevance(groups, rng):
    """Eight subjects, one of them with three scans, two of them with one scan that is predicted wrongly."""
    rows = []
    for subject, (label, probabilities) in SUBJECTS.items():
        for visit, probability in enumerate(probabilities):
            facts = {"scan_id": f"{subject}{visit}", "subject_id": subject, "label": label, "fold": ord(subject) % 2}
            for target in groups.explained(label, probability):
                sign = 1 if target == "AD" else -1
                for region_id, region, voxels in zip(IDS, NAMES, VOXELS, strict=True):
                    share = region_id / 20 + rng.uniform(-0.02, 0.02)
                    figures = {
                        "total": sign * rng.uniform(0.1, 0.2),
                        "share": share,
                        "enrichment": share * 200 / voxels,
                    }
                    place = {"target": target, "probability": probability, "region_id": region_id, "region": region}
                    rows.append(facts | place | figures)
    return RELEVANCE.validate(pd.DataFrame(rows))


def aggregate(relevance, table, groups):
    return REGIONS.validate(aggregate_regions(relevance, table, groups))


def test_means_are_over_subjects(relevance, table, groups):
    found = aggregate(relevance, table, groups)
    assert list(found["group"].unique()) == ["AD", "CN", "all", "TP", "FP", "TN", "FN"]
    counts = found.drop_duplicates("group").set_index("group")
    assert counts["n_subjects"].to_dict() == {"AD": 4, "CN": 4, "all": 8, "TP": 4, "FP": 1, "TN": 3, "FN": 1}
    assert counts["n_scans"].to_dict() == {"AD": 6, "CN": 5, "all": 11, "TP": 5, "FP": 1, "TN": 4, "FN": 1}
    for group, subjects in (("AD", "abcd"), ("CN", "efgh"), ("all", "abcdefgh")):
        for figure in FIGURES:
            for region in IDS:
                part = relevance[(relevance["target"] == "AD") & (relevance["region_id"] == region)]
                by_hand = np.mean([part.loc[part["subject_id"] == s, figure].mean() for s in subjects])
                row = found[(found["group"] == group) & (found["region_id"] == region)]
                assert row[figure].item() == pytest.approx(by_hand, rel=1e-12)


def test_groups_of_decisions_are_explained_for_the_predicted_class(relevance, table, groups):
    """The scan of subject a that is missed counts for AD in its class, and for CN among the false negatives."""
    found = aggregate(relevance, table, groups).set_index(["group", "region_id"])
    missed = relevance[relevance["scan_id"] == "a2"].set_index(["target", "region_id"])
    right = relevance[(relevance["label"] == "CN") & (relevance["target"] == "CN")]
    for region in IDS:
        assert found.loc[("FN", region), "total"] == pytest.approx(missed.loc[("CN", region), "total"])
        by_subject = right[right["region_id"] == region].groupby("subject_id")["total"].mean()
        assert found.loc[("TN", region), "total"] == pytest.approx(by_subject.mean())
    assert (found.loc[["FN", "TN"], "total"] < 0).all() and (found.loc[["AD", "CN", "all"], "total"] > 0).all()


def test_a_signed_map_of_each_predicted_class_cancels_and_of_the_positive_class_it_does_not(table, classes):
    """Two patients with the same evidence, +1 in one region and -1 in another; the second one is missed."""
    labels = np.repeat(IDS, VOXELS).reshape(-1, 1, 1)
    evidence = np.select([labels == 2, labels == 5], [1.0, -1.0], 0.0)
    signs = {"AD": 1, "CN": -1}
    figures = {name: relevance_by_region(sign * evidence, labels, table, labels > 0) for name, sign in signs.items()}
    first = {"scan_id": "s1", "subject_id": "p1", "label": "AD", "fold": 0, "probability": 0.9, "target": "AD"}
    second = first | {"scan_id": "s2", "subject_id": "p2", "probability": 0.2}
    both = [figures["AD"].assign(**first), figures["CN"].assign(**second | {"target": "CN"})]
    old = aggregate_regions(pd.concat(both), table, Groups(classes, target="predicted"))
    old = old[old["group"] == "AD"]
    assert old["total"].tolist() == [0, 0, 0] and old["enrichment"].iloc[0] == old["share"].iloc[0] * 200 / 5
    assert old["share"].tolist() == [0.5, 0.5, 0]  # half of the evidence against AD counts as evidence
    new = aggregate_regions(pd.concat([*both, figures["AD"].assign(**second)]), table, Groups(classes))
    new = new[new["group"] == "AD"]
    assert new["total"].tolist() == pytest.approx([5 / 25, -20 / 25, 0])
    assert new["share"].tolist() == [1, 0, 0] and new["enrichment"].tolist() == [40, 0, 0]


def test_a_scan_without_positive_relevance_leaves_its_subject_the_others(relevance, table, groups):
    """Also where a subject has no other scan: it has no share, but a total."""
    unknown = relevance["scan_id"].isin(["a0", "b0"])
    relevance.loc[unknown, ["share", "enrichment"]] = np.nan
    found = aggregate(relevance, table, groups).set_index(["group", "region_id"])
    part = relevance[(relevance["target"] == "AD") & (relevance["region_id"] == 5)].set_index("scan_id")
    by_hand = [part.loc[["a1", "a2"], "enrichment"].mean(), *part.loc[["c0", "d0"], "enrichment"]]
    assert found.loc[("AD", 5), "enrichment"] == pytest.approx(np.mean(by_hand))
    totals = [part.loc[["a0", "a1", "a2"], "total"].mean(), *part.loc[["b0", "c0", "d0"], "total"]]
    assert found.loc[("AD", 5), "total"] == pytest.approx(np.mean(totals))


def test_maps_of_one_scan_by_several_models_are_averaged_first(table, groups):
    """A cohort that two models classify: one sees the first patient, the other one misses it; both see the second."""
    rows = []
    for scan, fold, probability, value in (
        ("s1", 0, 0.9, 2.0),
        ("s1", 1, 0.3, 4.0),
        ("s2", 0, 0.8, 6.0),
        ("s2", 1, 0.7, 8.0),
    ):
        facts = {"scan_id": scan, "subject_id": f"of {scan}", "label": "AD", "fold": fold, "probability": probability}
        for target in groups.explained("AD", probability):
            sign = 1 if target == "AD" else -1
            own = table[["region_id", "region"]].assign(total=sign * value, share=0.1, enrichment=value, target=target)
            rows.append(own.assign(**facts))
    found = aggregate_regions(pd.concat(rows), table, groups).set_index(["group", "region_id"])
    for group, total, n in (("AD", (3 + 7) / 2, 2), ("TP", (2 + 7) / 2, 2), ("FN", -4, 1)):
        assert found.loc[(group, 5), ["total", "n_subjects", "n_scans"]].tolist() == [total, n, n]


def test_ranks_follow_the_mean_enrichment_and_not_the_share(relevance, table, groups):
    found = aggregate(relevance, table, groups)
    for _, part in found.groupby("group"):
        assert part.sort_values("rank")["enrichment"].is_monotonic_decreasing
        assert sorted(part["rank"]) == [1, 2, 3]
    ranks = found[found["group"] == "all"].set_index("region")
    assert ranks["rank"].to_dict() == {"Hippocampus_L": 1, "Amygdala_L": 2, "Precuneus_L": 3}
    # By share, as before, the largest region would be the first.
    assert ranks["share"].idxmax() == "Precuneus_L"


def test_regions_are_not_yet_compared_with_shuffled_diagnoses(relevance, table, groups):
    found = aggregate(relevance, table, groups)
    assert (found["n_shuffled"] == 0).all()
    assert found[["shuffled_mean", "shuffled_sd", "z", "p", "p_family"]].isna().all(axis=None)


def test_a_table_in_pieces_is_the_whole_table(relevance, table, groups, tmp_path):
    """Also pieces that cut a scan in two."""
    write_table(relevance, tmp_path / "relevance.tsv", RELEVANCE)
    pieces = list(read_pieces(tmp_path / "relevance.tsv", RELEVANCE, rows=4))
    assert len(pieces) == 12
    whole = aggregate(relevance, table, groups)
    pd.testing.assert_frame_equal(aggregate(iter(pieces), table, groups), whole)


def test_groups_without_scans_are_left_out(relevance, table, groups):
    right = relevance[~relevance["subject_id"].isin(["g"])]
    found = aggregate(right, table, groups)
    assert list(found["group"].unique()) == ["AD", "CN", "all", "TP", "TN", "FN"]
    whole = aggregate(relevance, table, groups)
    for group in ("AD", "TP", "FN"):
        first, second = (frame[frame["group"] == group].reset_index(drop=True) for frame in (found, whole))
        pd.testing.assert_frame_equal(first, second)


def test_fewer_than_eight_subjects_have_no_interval(relevance, table, groups):
    found = aggregate(relevance, table, groups).set_index("group")
    ends = [f"{figure}_{end}" for figure in FIGURES for end in ("low", "high")]
    assert found.loc["all", "n_subjects"].eq(8).all() and found.loc["all", ends].notna().all(axis=None)
    assert found.loc[["AD", "CN", "FN"], ends].isna().all(axis=None)
    assert found[list(FIGURES)].notna().all(axis=None)


def test_intervals_are_over_subjects_not_scans(relevance, table, groups):
    """Ten copies of every scan tell nothing new."""
    copies = pd.concat([relevance.assign(scan_id=relevance["scan_id"] + f"_{k}") for k in range(10)])
    once, often = (aggregate(frame, table, groups) for frame in (relevance, copies))
    pd.testing.assert_frame_equal(once.drop(columns="n_scans"), often.drop(columns="n_scans"))
    part = relevance[(relevance["region_id"] == 5) & (relevance["target"] == "AD")]
    by_subject = part.groupby("subject_id")["share"].mean().to_numpy()
    row = once[(once["group"] == "all") & (once["region_id"] == 5)]
    expected = [float(end[0]) for end in mean_interval(by_subject[:, None])]
    assert row[["share", "share_low", "share_high"]].to_numpy()[0] == pytest.approx(expected)


def test_refuses_other_regions_and_no_rows(relevance, table, groups):
    with pytest.raises(InputError, match=r"different regions[\s\S]*\[9\]"):
        aggregate_regions(relevance, table.iloc[:2], groups)
    with pytest.raises(InputError, match="no rows"):
        aggregate_regions(relevance.iloc[:0], table, groups)
