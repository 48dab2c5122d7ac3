"""Relevance of a heatmap in the regions of an atlas: totals, shares and enrichment."""

from __future__ import annotations

import numpy as np

from voxelwhy.errors import ShapeError


def relevance_by_region(heatmap, labels, table, counted):
    """Compute total, share and enrichment of a heatmap in each region of an atlas.

    A region's share grows with its volume, whatever the map. Its enrichment does not: it is 1 for every region of a map
    that is the same everywhere. Regions are ranked by it. The map of area occlusion has one value in all voxels of a
    region, so that its enrichment orders the regions by this value, the drop of the score.

    Parameters
    ----------
    heatmap : array (x, y, z)
    labels : integer array (x, y, z); 0 is background
    table : DataFrame by tables.ATLAS
    counted : bool array (x, y, z), the voxels whose relevance counts; the others are ignored

    Returns
    -------
    DataFrame, one row per region in the order of `table`: region_id, region, and

    - total: sum over the region / sum of absolute values over all counted voxels (-1 to 1; 0 for a map of zeros)
    - share: positive relevance in the region / all positive relevance, inside or outside regions (0 to 1; NaN if the
      map has none)
    - enrichment: share / the region's share of the counted voxels (0 or more; NaN too if none of its voxels counts)

    Raises
    ------
    ShapeError : the heatmap or the labels do not have the shape of `counted`.
    """
    counted = np.asarray(counted, dtype=bool)
    for name, array in (("the heatmap", heatmap), ("the atlas", labels)):
        if np.shape(array) != counted.shape:
            raise ShapeError(f"{name} has shape {np.shape(array)}, the grid has {counted.shape}")
    # In float32, sums over a million voxels are too imprecise for small regions.
    values, inside = np.asarray(heatmap)[counted].astype(np.float64), np.asarray(labels)[counted]
    ids = table["region_id"].to_numpy()
    length = int(max(ids.max(), inside.max(initial=0))) + 1
    positive = np.maximum(values, 0)
    sums, above, voxels = (np.bincount(inside, weights=w, minlength=length)[ids] for w in (values, positive, None))
    whole, everything = positive.sum(), np.abs(values).sum()
    share = above / whole if whole > 0 else np.full(len(ids), np.nan)
    total = sums / everything if everything > 0 else np.zeros(len(ids))
    with np.errstate(invalid="ignore", divide="ignore"):
        enrichment = np.where(voxels > 0, share / (voxels / len(values)), np.nan)
    return table[["region_id", "region"]].assign(total=total, share=share, enrichment=enrichment)


def rank_regions(enrichment):
    """Return the rank of each region by its enrichment, 1 for the largest; regions without a value come last."""
    # Sums over voxels differ in their last bits between regions of a constant map: rounding keeps these tied.
    return enrichment.round(9).fillna(-1).rank(method="first", ascending=False).astype(int)


def region_means(values, labels, mask, region_ids):
    """Average `values` over each region's voxels inside the mask, so that large regions have no advantage."""
    inside = np.asarray(labels)[mask].astype(int)
    length = int(max(inside.max(initial=0), np.max(region_ids))) + 1
    sums = np.bincount(inside, weights=np.asarray(values, dtype=float)[mask], minlength=length)
    counts = np.bincount(inside, minlength=length)
    ids = np.asarray(region_ids, dtype=int)
    means = sums[ids] / counts[ids]
    # The means of a constant map differ in their last bits between regions: without rounding it would rank them.
    largest = np.abs(means).max(initial=0) or 1.0
    return np.round(means / largest, 12) * largest
