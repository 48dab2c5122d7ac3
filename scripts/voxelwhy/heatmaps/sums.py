"""Sums over the heatmaps of many scans, without the maps: what means and deviations by group are made of."""

from __future__ import annotations

import numpy as np
import pandas as pd

from voxelwhy.heatmaps.groups import cell_of, cells_of

#: What is summed over scans: the map and its square, and the same of the map scaled to absolute values that sum to 1.
MOMENTS = ("raw", "raw_square", "scaled", "scaled_square")
#: The columns of the facts that are kept of each scan beside the sums.
FACTS = ("scan_id", "subject_id", "label", "fold", "probability", "saturated", "outside")


class MapSums:
    """Sums of heatmaps by cell: the kinds of scans that no group divides.

    A group of scans (a class, all, the true positives) is a union of cells, so each map is added once. Only the voxels
    that count are kept: memory is that of four volumes of them a cell, however many scans there are.

    Parameters
    ----------
    classes : {"positive": name, "negative": name}
    counted : 3-D bool array, the voxels that count
    judged : bool, whether scans are told apart by whether the network is right
    """

    def __init__(self, classes, counted, *, judged=True):
        self.classes, self.counted, self.judged = classes, counted, judged
        self.cells = cells_of(classes, judged=judged)
        self.values = np.zeros((len(self.cells), len(MOMENTS), int(counted.sum())))
        self.rows = []

    def add(self, heatmap, scan, *, saturated, outside):
        """Count one scan's map, (x, y, z); a map that is zero everywhere counts as zero when scaled.

        `scan` has scan_id, subject_id, label, fold and probability; `outside` is the share of absolute relevance that
        does not count.
        """
        inside = heatmap[self.counted].astype(np.float64)
        total = np.abs(inside).sum()
        name = cell_of(scan.label, scan.probability, self.classes, judged=self.judged)
        scaled = inside / total if total > 0 else inside
        for place, values in zip(
            self.values[self.cells.index(name)], (inside, inside**2, scaled, scaled**2), strict=True
        ):
            place += values
        facts = (scan.scan_id, scan.subject_id, scan.label, scan.fold, scan.probability, saturated, outside)
        self.rows.append(dict(zip(FACTS, facts, strict=True)))

    def facts(self):
        """One row a scan, in the order in which they were added."""
        return pd.DataFrame(self.rows, columns=list(FACTS))


def method_card(method, settings, digests, versions, *, scaled=False, **numbers):
    """The card of a map.

    Parameters
    ----------
    method : str, its name
    settings : dict, that of `study_heatmaps.explain_scans`
    digests : {fold: SHA-256 of the weights}
    versions : dict, of the software, or None
    scaled : bool, whether each scan's map was scaled so that its absolute values sum to 1
    numbers : what else is known, such as n_scans
    """
    explained = "class probability" if settings["output"] == "probability" else "logit"
    return {
        "method": method,
        "options": settings["options"],
        "explained_class": settings["target"],
        "output": settings["output"],
        "scaled": scaled,
        "units": "share of each scan's absolute relevance" if scaled else f"relevance for the {explained}",
        "models_sha256": digests,
        "versions": versions or {},
    } | numbers
