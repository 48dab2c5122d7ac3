"""The findings of a study that its report answers with first: read from the tables of one split."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from voxelwhy.io.tables import DIFFERENCES, METRICS, REGIONS, TRUTH, read_table
from voxelwhy.io.text import method_title
from voxelwhy.io.trust_tables import CLASS_REGIONS, PLANTED_CONTROLS, RANDOMISED_SUMMARY, TRUST
from voxelwhy.report.badges import Support, support_methods

#: The tables of one split by name; those of regions are one for each method.
TABLES = {
    "metrics": METRICS,
    "difference": DIFFERENCES,
    "truth": TRUTH,
    "trust": TRUST,
    "randomised": RANDOMISED_SUMMARY,
    "controls": PLANTED_CONTROLS,
}
BY_METHOD = {"regions": REGIONS, "class_regions": CLASS_REGIONS}


@dataclass(frozen=True)
class Findings:
    """The findings of one split; a table that the study does not have is None or empty.

    Attributes
    ----------
    classes : {"positive": name, "negative": name}
    supports : list of badges.Support, the best-supported method first
    """

    classes: dict[str, str]
    metrics: pd.DataFrame | None = None
    difference: pd.DataFrame | None = None
    regions: dict[str, pd.DataFrame] = field(default_factory=dict)
    class_regions: dict[str, pd.DataFrame] = field(default_factory=dict)
    supports: list[Support] = field(default_factory=list)

    @property
    def best(self):
        """The best-supported method; "" if no method was used."""
        return self.supports[0].method if self.supports else ""


def read_findings(paths, *, methods, classes):
    """Read the findings of a split.

    Parameters
    ----------
    paths : {name: list of paths}, names as in TABLES and BY_METHOD; no path where the study lacks a table
    methods : sequence of names, those of the tables by method, in order
    classes : {"positive": name, "negative": name}

    Returns
    -------
    Findings
    """
    found = {name: read_table(paths.get(name)[0], rule) if paths.get(name) else None for name, rule in TABLES.items()}
    of_methods = {
        name: {method: read_table(path, rule) for method, path in zip(methods, paths.get(name) or [], strict=False)}
        for name, rule in BY_METHOD.items()
    }
    known = {name: found.pop(name) for name in ("truth", "trust", "randomised", "controls")}
    supports = support_methods(methods, titles=method_title, **known)
    return Findings(classes, supports=supports, **found, **of_methods)
