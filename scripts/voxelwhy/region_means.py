"""Means of a map over the regions of an atlas."""

from __future__ import annotations

import numpy as np


def region_means(values, labels, mask, region_ids):
    """Mean of `values` over each region's voxels inside the mask: a density, so that large regions win nothing."""
    inside = np.asarray(labels)[mask].astype(int)
    length = int(max(inside.max(initial=0), np.max(region_ids))) + 1
    sums = np.bincount(inside, weights=np.asarray(values, dtype=float)[mask], minlength=length)
    counts = np.bincount(inside, minlength=length)
    ids = np.asarray(region_ids, dtype=int)
    means = sums[ids] / counts[ids]
    # Sums over regions of different size differ in their last bits: without rounding a constant map would rank regions.
    largest = np.abs(means).max(initial=0) or 1.0
    return np.round(means / largest, 12) * largest
