"""Means of registered images by region, of every scan: what a scan of somebody else is compared with."""

from __future__ import annotations

import numpy as np
import pandas as pd

from voxelwhy.io.images import Grid
from voxelwhy.training.region_baseline import region_means
from voxelwhy.training.volumes import Volumes, registered_paths


def measure_regions(selected, labels, regions, brain, channels):
    """Measure the mean of each region in each image of the registered scans, inside the brain.

    Parameters
    ----------
    selected : DataFrame by tables.SELECTED
    labels, brain : nibabel images on the study's grid: the atlas and the brain mask
    regions : DataFrame by tables.ATLAS
    channels : sequence of str, from channels.CHANNELS

    Returns
    -------
    DataFrame by tables.REGION_MEANS. Means of intensities (t1) are divided by the scan's mean over all regions

    Raises
    ------
    InputError : a registered image no longer exists.
    ShapeError : a scan is not on the grid of the atlas.
    """
    inside, grid = np.asarray(brain.dataobj) > 0, Grid.of(labels)
    ids, tables = regions["region_id"].to_numpy(), []
    values = np.asarray(labels.dataobj).astype(int)
    for channel in channels:
        paths = registered_paths(selected, [channel])
        volumes = Volumes(list(paths.values()), inside, grid=grid, channels=[channel])
        means = region_means(volumes, values, ids)
        tables.append(
            pd.DataFrame(
                {
                    "scan_id": np.repeat(list(paths), len(ids)),
                    "channel": channel,
                    "region_id": np.tile(ids, len(paths)),
                    "mean": means.ravel(),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)
