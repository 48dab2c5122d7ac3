"""Relevance by region and group against plain loops, nilearn and scipy."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.maskers import NiftiLabelsMasker

from voxelwhy.errors import InputError, ShapeError
from voxelwhy.heatmaps.groups import cell_of, cells_in, group_names, groups_of
from voxelwhy.heatmaps.region_sums import relevance_by_region
from voxelwhy.io.images import Grid
from voxelwhy.io.tables import ATLAS, REGIONS, RELEVANCE, read_pieces, write_table
from voxelwhy.regions.aggregate import aggregate_regions
from voxelwhy.regions.intervals import mean_interval

IDS = [2, 5, 9]
NAMES = ["Hippocampus_L", "Amygdala_L", "Precuneus_L"]


@pytest.fixture
def grid():
    return Grid((8, 9, 10), np.diag([3.0, 3, 3, 1]))


@pytest.fixture
def labels(grid, rng):
    return rng.choice([0, 0, 0, *IDS], grid.shape).astype(np.int32)


@pytest.fixture
def table(grid, labels):
    voxels = [int((labels == i).sum()) for i in IDS]
    table = pd.DataFrame({"region_id": IDS, "region": NAMES, "voxels": voxels, "volume_mm3": np.multiply(voxels, 27.0)})
    return ATLAS.validate(table)


@pytest.fixture
def relevance(table, rng):
    """Eight subjects, one of them with three scans, two of them with one scan that is predicted wrongly."""
    rows = []
    for subject, label, probabilities in [
        ("a", "AD", [0.9, 0.8, 0.4]),
        ("b", "AD", [0.7]),
        ("c", "AD", [0.5]),
        ("d", "AD", [0.95]),
        ("e", "CN", [0.1]),
        ("f", "CN", [0.2, 0.3]),
        ("g", "CN", [0.6]),
        ("h", "CN", [0.05]),
    ]:
        for visit, probability in enumerate(probabilities):
            for region_id, region in zip(IDS, NAMES, strict=True):
                total = rng.normal(region_id, 1)
                rows.append(
                    {
                        "scan_id": f"{subject}{visit}",
                        "subject_id": subject,
                        "label": label,
                        "fold": ord(subject) % 2,
                        "target": label,
                        "probability": probability,
                        "region_id": region_id,
                        "region": region,
                        "total": total,
                        "share": region_id / 20 + rng.uniform(-0.02, 0.02),
                        "density": total / 27,
                    }
                )
    return RELEVANCE.validate(pd.DataFrame(rows))


def test_sums_are_those_of_nilearn(grid, labels, table, rng):
    heatmap = rng.normal(0.1, 1, grid.shape)
    found = relevance_by_region(heatmap, labels, table, grid)
    masker = NiftiLabelsMasker(nib.Nifti1Image(labels, grid.affine), strategy="sum", standardize=False)
    theirs = masker.fit_transform(nib.Nifti1Image(heatmap, grid.affine)).ravel()
    assert np.abs(theirs).min() > 1
    assert np.allclose(found["total"], theirs, rtol=1e-9)
    masker = NiftiLabelsMasker(nib.Nifti1Image(labels, grid.affine), strategy="sum", standardize=False)
    positive = masker.fit_transform(nib.Nifti1Image(np.maximum(heatmap, 0), grid.affine)).ravel()
    assert np.allclose(found["share"], positive / heatmap[heatmap > 0].sum(), rtol=1e-9)
    assert found["share"].sum() == pytest.approx(
        heatmap[(heatmap > 0) & (labels > 0)].sum() / heatmap[heatmap > 0].sum()
    )
    assert np.allclose(found["density"] * table["volume_mm3"], found["total"])


def test_a_map_without_positive_relevance_has_no_share(grid, labels, table):
    found = relevance_by_region(-np.ones(grid.shape), labels, table, grid)
    assert found["share"].isna().all()
    assert found["total"].tolist() == [-float(n) for n in table["voxels"]]
    assert np.allclose(found["density"], -1 / 27)


def test_labels_that_the_table_left_out_count_for_the_whole_only(grid, labels, table):
    found = relevance_by_region(np.ones(grid.shape), labels, table.iloc[:1], grid)
    assert found["share"].tolist() == [(labels == 2).sum() / labels.size]


def test_refuses_other_shapes(grid, labels, table):
    with pytest.raises(ShapeError, match=r"heatmap has shape \(9, 9, 9\)"):
        relevance_by_region(np.ones((9, 9, 9)), labels, table, grid)
    with pytest.raises(ShapeError, match="atlas has shape"):
        relevance_by_region(np.ones(grid.shape), labels[:-1], table, grid)


def test_groups(classes):
    assert group_names(classes) == ["AD", "CN", "all", "TP", "FP", "TN", "FN"]
    assert groups_of("AD", 0.5, classes) == ["AD", "all", "TP"]
    assert groups_of("AD", 0.49, classes) == ["AD", "all", "FN"]
    assert groups_of("CN", 0.5, classes) == ["CN", "all", "FP"]
    assert groups_of("CN", 0.49, classes) == ["CN", "all", "TN"]


@pytest.mark.parametrize("judged", [True, False])
def test_every_group_is_the_union_of_its_cells(classes, judged):
    for label in ("AD", "CN"):
        for probability in (0.1, 0.5, 0.9):
            groups = groups_of(label, probability, classes, judged=judged)
            cell = cell_of(label, probability, classes, judged=judged)
            inside = [g for g in group_names(classes, judged=judged) if cell in cells_in(g, classes, judged=judged)]
            assert sorted(inside) == sorted(groups)


def aggregate(relevance, table, classes, **options):
    return REGIONS.validate(aggregate_regions(relevance, table, classes=classes, **options))


def test_means_are_over_subjects(relevance, table, classes):
    found = aggregate(relevance, table, classes)
    assert list(found["group"].unique()) == ["AD", "CN", "all", "TP", "FP", "TN", "FN"]
    counts = found.drop_duplicates("group").set_index("group")
    assert counts["n_subjects"].to_dict() == {"AD": 4, "CN": 4, "all": 8, "TP": 4, "FP": 1, "TN": 3, "FN": 1}
    assert counts["n_scans"].to_dict() == {"AD": 6, "CN": 5, "all": 11, "TP": 5, "FP": 1, "TN": 4, "FN": 1}
    for figure in ("total", "share", "density"):
        for region in IDS:
            part = relevance[(relevance["label"] == "AD") & (relevance["region_id"] == region)]
            by_hand = np.mean([part.loc[part["subject_id"] == s, figure].mean() for s in "abcd"])
            row = found[(found["group"] == "AD") & (found["region_id"] == region)]
            assert row[figure].item() == pytest.approx(by_hand, rel=1e-12)


def test_ranks_follow_the_mean_share(relevance, table, classes):
    found = aggregate(relevance, table, classes)
    for _, part in found.groupby("group"):
        assert part.sort_values("rank")["share"].is_monotonic_decreasing
        assert sorted(part["rank"]) == [1, 2, 3]
    assert found.loc[found["group"] == "all"].set_index("region")["rank"].to_dict() == {
        "Hippocampus_L": 3,
        "Amygdala_L": 2,
        "Precuneus_L": 1,
    }


def test_a_table_in_pieces_is_the_whole_table(relevance, table, classes, tmp_path):
    """Also pieces that cut a scan in two."""
    write_table(relevance, tmp_path / "relevance.tsv", RELEVANCE)
    pieces = list(read_pieces(tmp_path / "relevance.tsv", RELEVANCE, rows=4))
    assert len(pieces) == 9
    whole = aggregate(relevance, table, classes)
    pd.testing.assert_frame_equal(aggregate(iter(pieces), table, classes), whole)


def test_groups_without_scans_are_left_out(relevance, table, classes):
    right = relevance[~relevance["subject_id"].isin(["g"])]
    found = aggregate(right, table, classes)
    assert list(found["group"].unique()) == ["AD", "CN", "all", "TP", "TN", "FN"]
    whole = aggregate(relevance, table, classes)
    for group in ("AD", "TP", "FN"):
        first, second = (frame[frame["group"] == group].reset_index(drop=True) for frame in (found, whole))
        pd.testing.assert_frame_equal(first, second)


def test_fewer_than_eight_subjects_have_no_interval(relevance, table, classes):
    found = aggregate(relevance, table, classes).set_index("group")
    ends = [f"{figure}_{end}" for figure in ("total", "share", "density") for end in ("low", "high")]
    assert found.loc["all", "n_subjects"].eq(8).all() and found.loc["all", ends].notna().all(axis=None)
    assert found.loc[["AD", "CN", "FN"], ends].isna().all(axis=None)
    assert found[["total", "share", "density"]].notna().all(axis=None)


def test_intervals_are_over_subjects_not_scans(relevance, table, classes):
    """Ten copies of every scan tell nothing new."""
    copies = pd.concat([relevance.assign(scan_id=relevance["scan_id"] + f"_{k}") for k in range(10)])
    once, often = (aggregate(frame, table, classes) for frame in (relevance, copies))
    pd.testing.assert_frame_equal(once.drop(columns="n_scans"), often.drop(columns="n_scans"))
    by_subject = relevance[relevance["region_id"] == 5].groupby("subject_id")["share"].mean().to_numpy()
    row = once[(once["group"] == "all") & (once["region_id"] == 5)]
    expected = [float(end[0]) for end in mean_interval(by_subject[:, None])]
    assert row[["share", "share_low", "share_high"]].to_numpy()[0] == pytest.approx(expected)


def test_refuses_other_regions_and_no_rows(relevance, table, classes):
    with pytest.raises(InputError, match=r"different regions[\s\S]*\[9\]"):
        aggregate_regions(relevance, table.iloc[:2], classes=classes)
    with pytest.raises(InputError, match="no rows"):
        aggregate_regions(relevance.iloc[:0], table, classes=classes)
