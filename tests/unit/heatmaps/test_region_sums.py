"""Relevance by region against nilearn, by hand, and where shares follow the size of regions and enrichment does not."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from nilearn.maskers import NiftiLabelsMasker
from scipy.stats import spearmanr
from torch import nn

from voxelwhy.errors import ShapeError
from voxelwhy.explain.area_occlusion import area_occlusion
from voxelwhy.heatmaps.region_sums import rank_regions, region_means, relevance_by_region
from voxelwhy.io.tables import ATLAS

IDS = [2, 5, 9]
NAMES = ["Hippocampus_L", "Amygdala_L", "Precuneus_L"]
SHAPE = (8, 9, 10)
AFFINE = np.diag([3.0, 3, 3, 1])


@pytest.fixture
def labels(rng):
    return rng.choice([0, 0, 0, *IDS], SHAPE).astype(np.int32)


@pytest.fixture
def counted(rng):
    return rng.random(SHAPE) < 0.8


def table_of(labels, ids=IDS, names=NAMES):
    voxels = [int((labels == i).sum()) for i in ids]
    table = pd.DataFrame({"region_id": ids, "region": names, "voxels": voxels, "volume_mm3": np.multiply(voxels, 27.0)})
    return ATLAS.validate(table)


def test_sums_are_those_of_nilearn(labels, counted, rng):
    heatmap, table = rng.normal(0.1, 1, SHAPE), table_of(labels)
    found = relevance_by_region(heatmap, labels, table, counted)

    def sums(values):
        masker = NiftiLabelsMasker(nib.Nifti1Image(labels, AFFINE), strategy="sum", standardize=False)
        return masker.fit_transform(nib.Nifti1Image(values * counted, AFFINE)).ravel()

    inside = heatmap[counted]
    positive = np.maximum(heatmap, 0)
    assert np.abs(sums(heatmap)).min() > 1
    assert np.allclose(found["total"], sums(heatmap) / np.abs(inside).sum(), rtol=1e-9)
    assert np.allclose(found["share"], sums(positive) / inside[inside > 0].sum(), rtol=1e-9)
    volume = sums(np.ones(SHAPE)) / counted.sum()
    assert np.allclose(found["enrichment"], found["share"] / volume, rtol=1e-9)


def test_relevance_that_does_not_count_changes_nothing(labels, counted, rng):
    heatmap = rng.normal(0.1, 1, SHAPE)
    changed = np.where(counted, heatmap, 1e9)
    first, second = (relevance_by_region(values, labels, table_of(labels), counted) for values in (heatmap, changed))
    pd.testing.assert_frame_equal(first, second)


def test_the_unit_of_a_map_does_not_matter(labels, counted, rng):
    """A network with large gradients has no more weight in a mean over folds than any other."""
    heatmap, table = rng.normal(0.1, 1, SHAPE), table_of(labels)
    first, second = (relevance_by_region(scale * heatmap, labels, table, counted) for scale in (1, 1e6))
    pd.testing.assert_frame_equal(first, second)


def test_a_map_without_positive_relevance_has_no_share_and_no_enrichment(labels):
    counted, table = np.ones(SHAPE, bool), table_of(labels)
    found = relevance_by_region(-np.ones(SHAPE), labels, table, counted)
    assert found[["share", "enrichment"]].isna().all(axis=None)
    assert found["total"].tolist() == [-n / labels.size for n in table["voxels"]]
    zero = relevance_by_region(np.zeros(SHAPE), labels, table, counted)
    assert zero["share"].isna().all() and zero["total"].tolist() == [0, 0, 0]


def test_labels_that_the_table_left_out_count_for_the_whole_only(labels):
    found = relevance_by_region(np.ones(SHAPE), labels, table_of(labels).iloc[:1], np.ones(SHAPE, bool))
    assert found["share"].tolist() == [(labels == 2).sum() / labels.size]
    assert found["enrichment"].tolist() == pytest.approx([1])


def test_a_region_of_which_nothing_counts_has_no_enrichment(labels):
    found = relevance_by_region(np.ones(SHAPE), labels, table_of(labels), labels != 5).set_index("region_id")
    assert found.loc[5, "share"] == found.loc[5, "total"] == 0 and np.isnan(found.loc[5, "enrichment"])
    assert found.loc[[2, 9], "enrichment"].tolist() == pytest.approx([1, 1])


def test_refuses_other_shapes(labels):
    counted, table = np.ones(SHAPE, bool), table_of(labels)
    with pytest.raises(ShapeError, match=r"heatmap has shape \(9, 9, 9\)"):
        relevance_by_region(np.ones((9, 9, 9)), labels, table, counted)
    with pytest.raises(ShapeError, match="atlas has shape"):
        relevance_by_region(np.ones(SHAPE), labels[:-1], table, counted)


def in_a_row(*sizes):
    """Regions 1, 2, … of so many voxels, one after the other; (labels, table)."""
    labels = np.repeat(np.arange(1, len(sizes) + 1), sizes).reshape(-1, 1, 1).astype(np.int32)
    ids = list(range(1, len(sizes) + 1))
    return labels, table_of(labels, ids, [f"region {i}" for i in ids])


def test_on_a_flat_map_the_large_region_has_the_largest_share_and_no_region_is_enriched():
    """By hand: 10, 90 and 300 voxels of 0.1. Ranked by share, as before, a map that says nothing has a first region."""
    labels, table = in_a_row(10, 90, 300)
    found = relevance_by_region(np.full(labels.shape, 0.1), labels, table, np.ones(labels.shape, bool))
    assert found["share"].tolist() == pytest.approx([0.025, 0.225, 0.75])
    assert found["share"].rank(ascending=False).tolist() == [3, 2, 1]
    assert found["enrichment"].tolist() == pytest.approx([1, 1, 1])
    assert rank_regions(found["enrichment"]).tolist() == [1, 2, 3]  # tied: in the order of the table


def test_shares_follow_the_volume_whatever_the_map_shows_and_enrichment_does_not(rng):
    sizes = rng.integers(5, 400, 60)
    labels, table = in_a_row(*sizes)
    found = relevance_by_region(rng.gamma(1, 1, labels.shape), labels, table, np.ones(labels.shape, bool))
    assert spearmanr(found["share"], sizes).statistic > 0.9
    assert abs(spearmanr(found["enrichment"], sizes).statistic) < 0.3


def test_area_occlusion_orders_regions_by_their_drop_whatever_their_volumes():
    """A linear network: the drop of the logit is the sum of the weights in a region, 3, 2 and 1, painted on 2, 10 and
    40 voxels. Summed over voxels, as before, it counts the size once more, and the order is the opposite one."""
    labels, table = in_a_row(2, 10, 40)
    model = nn.Sequential(nn.Flatten(), nn.Linear(52, 2))
    weights = np.repeat([3 / 2, 2 / 10, 1 / 40], [2, 10, 40])
    with torch.no_grad():
        model[1].weight[:] = torch.from_numpy(np.stack([0 * weights, weights]))
    how = {"target_class": 1, "apply_softmax": False, "area_masks": labels, "positive_only": False, "device": "cpu"}
    heatmap = area_occlusion(model.eval(), np.ones((1, *labels.shape), np.float32), **how)
    assert [heatmap[labels == i].mean() for i in (1, 2, 3)] == pytest.approx([3, 2, 1], abs=1e-5)
    found = relevance_by_region(heatmap, labels, table, np.ones(labels.shape, bool))
    assert found["share"].tolist() == pytest.approx([6 / 66, 20 / 66, 40 / 66], abs=1e-5)
    assert found["share"].rank(ascending=False).tolist() == [3, 2, 1]
    assert rank_regions(found["enrichment"]).tolist() == [1, 2, 3]
    drops = found["enrichment"] / found["enrichment"].iloc[2]
    assert drops.tolist() == pytest.approx([3, 2, 1], abs=1e-4)


def test_regions_without_a_value_come_last_and_last_bits_do_not_rank():
    assert rank_regions(pd.Series([0.5, np.nan, 2.0, 0.0])).tolist() == [2, 4, 1, 3]
    assert rank_regions(pd.Series([1.0, 1 + 1e-15, 1 - 1e-15])).tolist() == [1, 2, 3]


def test_means_over_regions_give_large_ones_no_advantage(labels, counted, rng):
    values = rng.normal(size=SHAPE)
    expected = [values[(labels == i) & counted].mean() for i in IDS]
    np.testing.assert_allclose(region_means(values, labels, counted, IDS), expected, rtol=1e-9)
    assert len(set(region_means(np.full(SHAPE, 0.1), labels, counted, IDS))) == 1
