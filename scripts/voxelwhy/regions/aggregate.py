"""Relevance by region and group of scans: means over subjects, intervals and ranks."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pandas as pd

from voxelwhy.errors import InputError
from voxelwhy.heatmaps.region_sums import rank_regions
from voxelwhy.io.tables import REGIONS
from voxelwhy.regions.intervals import mean_interval

FIGURES = ("enrichment", "share", "total")


def aggregate_regions(relevance, atlas_table, groups):
    """Compute the mean relevance of each region in each group of scans, with 95 % intervals over subjects.

    The scans of a subject (and the maps of one scan by several models) are averaged first, so that a subject with five
    visits counts once. A scan whose map has no positive relevance has no share and no enrichment, and contributes to
    the total only. All measures are relative to the map, so that no network with large gradients dominates the mean
    over folds.

    Parameters
    ----------
    relevance : DataFrame by tables.RELEVANCE, of one method; or an iterable of pieces of such a table, which are
        processed one at a time
    atlas_table : DataFrame by tables.ATLAS
    groups : heatmaps.groups.Groups

    Returns
    -------
    DataFrame by tables.REGIONS: groups in order, without empty ones; rank 1 is the region with the largest mean
    enrichment. With fewer than 8 subjects the interval is NaN (`intervals.mean_interval`).

    Raises
    ------
    InputError : the relevance table has no rows, or its regions differ from those of the atlas table.
    """
    pieces = [relevance] if isinstance(relevance, pd.DataFrame) else relevance
    regions = atlas_table[["region_id", "region", "volume_mm3"]]
    sums = _SubjectSums(regions["region_id"], groups)
    for piece in pieces:
        sums.add(piece)
    sums.require_complete()
    parts = []
    for group in groups.names:
        by_subject, n_scans = sums.of_group(group)
        if n_scans:
            parts.append(_aggregate(by_subject, n_scans, regions).assign(group=group))
    return pd.concat(parts, ignore_index=True)[list(REGIONS.columns)]


class _SubjectSums:
    """Sums over each subject's scans by cell and region, which replace the table of relevance in memory."""

    def __init__(self, region_ids, groups):
        self.regions, self.groups = pd.Index(region_ids), groups
        self.sums, self.counts, self.scans, self.seen = defaultdict(dict), defaultdict(dict), defaultdict(set), set()

    def add(self, piece):
        self.seen.update(piece["region_id"].unique().tolist())
        of_map = ["scan_id", "fold", "target"]
        keys = piece[[*of_map, "subject_id", "label", "probability"]].drop_duplicates(of_map)
        rows = dict(iter(piece.groupby(of_map, sort=False)))
        empty = (len(self.regions), len(FIGURES))
        for scan in keys.itertuples():
            own = rows[scan.scan_id, scan.fold, scan.target]
            place, values = self.regions.get_indexer(own["region_id"]), own[list(FIGURES)].to_numpy(float)
            values, place = values[place >= 0], place[place >= 0]
            cell = self.groups.cell(scan.label, scan.probability, scan.target)
            self.scans[cell].add(scan.scan_id)
            self.sums[cell].setdefault(scan.subject_id, np.zeros(empty))[place] += np.nan_to_num(values)
            self.counts[cell].setdefault(scan.subject_id, np.zeros(empty, np.int32))[place] += np.isfinite(values)

    def require_complete(self):
        """Raise InputError unless there were rows, and their regions are exactly those of the atlas."""
        if not self.scans:
            raise InputError("there is no relevance to aggregate: the table has no rows")
        if strange := sorted(self.seen.symmetric_difference(self.regions.tolist())):
            raise InputError(
                "the relevance table and the atlas table have different regions", column="region_id", found=strange[:20]
            )

    def of_group(self, group):
        """Return means over each subject's scans, (subjects, regions, measures), and the number of scans.

        Subjects are sorted. The mean is NaN where a subject has no value. A group without scans returns None and 0.
        """
        cells = [cell for cell in self.groups.cells_in(group) if cell in self.scans]
        subjects = sorted({subject for cell in cells for subject in self.sums[cell]})
        if not subjects:
            return None, 0
        means = []
        with np.errstate(invalid="ignore", divide="ignore"):
            for subject in subjects:
                own = [cell for cell in cells if subject in self.sums[cell]]
                means.append(sum(self.sums[c][subject] for c in own) / sum(self.counts[c][subject] for c in own))
        return np.stack(means), len(set().union(*(self.scans[cell] for cell in cells)))


def _aggregate(by_subject, n_scans, regions):
    """Aggregate one group; returns a DataFrame with one row per region."""
    result = regions.assign(n_subjects=len(by_subject), n_scans=n_scans)
    mean, low, high = mean_interval(by_subject.reshape(len(by_subject), -1))
    for number, figure in enumerate(FIGURES):
        own = slice(number, None, len(FIGURES))
        result = result.assign(**{figure: mean[own], f"{figure}_low": low[own], f"{figure}_high": high[own]})
    untested = dict.fromkeys(("shuffled_mean", "shuffled_sd", "z", "p", "p_family"), np.nan)
    return result.assign(rank=rank_regions(result["enrichment"]), n_shuffled=0, **untested)
