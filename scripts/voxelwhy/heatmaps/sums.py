"""Sums over the heatmaps of many scans, from which means and standard deviations by group are computed."""

from __future__ import annotations

import numpy as np
import pandas as pd

#: Quantities summed over scans: the map, its square, and both for the map scaled so that absolute values sum to 1.
MOMENTS = ("raw", "raw_square", "scaled", "scaled_square")
#: Facts that are kept of each map together with the sums.
FACTS = ("scan_id", "subject_id", "label", "fold", "probability", "cell", "saturated", "outside")


class MapSums:
    """Sums of heatmaps by cell (`groups.Groups`).

    A group of scans (a class, all, the true positives) is a union of cells, so each map is added once. Only the voxels
    whose relevance counts are kept. Memory is that of four such volumes per cell, regardless of the number of scans.

    Parameters
    ----------
    groups : groups.Groups
    counted : 3-D bool array, the voxels whose relevance counts
    """

    def __init__(self, groups, counted):
        self.groups, self.counted = groups, counted
        self.cells = groups.cells
        self.values = np.zeros((len(self.cells), len(MOMENTS), int(counted.sum())))
        self.rows = []

    def add(self, heatmap, scan, *, explained, saturated, outside):
        """Add the map of one scan, (x, y, z); if it is zero everywhere, its scaled map is zero too.

        `scan` has scan_id, subject_id, label, fold and probability; `explained` is the class that the map explains;
        `outside` is the share of absolute relevance that does not count.
        """
        inside = heatmap[self.counted].astype(np.float64)
        total = np.abs(inside).sum()
        name = self.groups.cell(scan.label, scan.probability, explained)
        scaled = inside / total if total > 0 else inside
        for place, values in zip(
            self.values[self.cells.index(name)], (inside, inside**2, scaled, scaled**2), strict=True
        ):
            place += values
        facts = (scan.scan_id, scan.subject_id, scan.label, scan.fold, scan.probability, name, saturated, outside)
        self.rows.append(dict(zip(FACTS, facts, strict=True)))

    def facts(self):
        """Return the facts, one row per map in the order in which maps were added."""
        return pd.DataFrame(self.rows, columns=list(FACTS))


def method_card(method, settings, digests, versions, *, target, scaled=False, **numbers):
    """Make the card of a map, which is stored as its JSON.

    Parameters
    ----------
    method : str, name of the method
    settings : dict, as in `explain_scans.explain_scans`
    digests : {fold: SHA-256 of the weights}
    versions : dict of software versions, or None
    target : "positive", "predicted" or "true", the class that the map explains
    scaled : bool, whether each scan's map was scaled so that its absolute values sum to 1
    numbers : further facts, such as n_scans
    """
    explained = "class probability" if settings["output"] == "probability" else "logit"
    return {
        "method": method,
        "options": settings["options"],
        "explained_class": target,
        "output": settings["output"],
        "scaled": scaled,
        "units": "share of each scan's absolute relevance" if scaled else f"relevance for the {explained}",
        "models_sha256": digests,
        "versions": versions or {},
    } | numbers
