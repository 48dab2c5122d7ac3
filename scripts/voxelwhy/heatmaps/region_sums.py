"""Relevance of a heatmap in the regions of an atlas: sums, shares and means."""

from __future__ import annotations

import numpy as np

from voxelwhy.errors import ShapeError


def relevance_by_region(heatmap, labels, table, grid):
    """Compute sum, share and density of a heatmap in each region of an atlas.

    Parameters
    ----------
    heatmap : array, grid.shape
    labels : integer array, grid.shape; 0 is background
    table : DataFrame by tables.ATLAS (region_id, region, voxels, volume_mm3)
    grid : Grid of both

    Returns
    -------
    DataFrame, one row per region in the order of `table`: region_id, region, and

    - total: sum of the heatmap over the region
    - share: positive relevance in the region / all positive relevance of the map, inside or outside regions (0 to 1;
      NaN if the map has none)
    - density: total / volume of the region, per mm³

    Raises
    ------
    ShapeError : the heatmap or the labels do not have the shape of the grid.
    """
    for name, array in (("the heatmap", heatmap), ("the atlas", labels)):
        if np.shape(array) != grid.shape:
            raise ShapeError(f"{name} has shape {np.shape(array)}, the grid has {grid.shape}")
    flat, ids = np.ravel(labels), table["region_id"].to_numpy()
    # In float32, sums over a million voxels are too imprecise for small regions.
    values = np.ravel(heatmap).astype(np.float64)
    positive = np.maximum(values, 0)
    size = max(int(ids.max()), int(flat.max())) + 1
    total = np.bincount(flat, weights=values, minlength=size)[ids]
    inside = np.bincount(flat, weights=positive, minlength=size)[ids]
    whole = positive.sum()
    share = inside / whole if whole > 0 else np.full(len(ids), np.nan)
    density = total / table["volume_mm3"].to_numpy()
    return table[["region_id", "region"]].assign(total=total, share=share, density=density)


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
