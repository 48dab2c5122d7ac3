"""Pictures of registrations in the page: the worst first, a few of them embedded and the others linked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from voxelwhy.io.text import number

#: Pictures that the page holds; the others are linked.
EMBEDDED = 24
#: Dots per inch at which pictures are shown in full; they are drawn at 100.
DPI = 100


@dataclass(frozen=True)
class Registration:
    """One registration: scan, class, what was measured, and its picture as a path and as a link from the page."""

    scan_id: str
    label: str
    status: str
    correlation: str
    dice: str
    path: Path
    link: str

    @property
    def alt(self):
        """What the picture shows, in words."""
        if self.status == "failed":
            return f"{self.scan_id}, {self.label}: not registered."
        measured = "" if self.correlation == "–" else f", correlation with the template {self.correlation}"
        return (
            f"{self.scan_id}, {self.label}: nine slices of the registered scan with the outline of the template's "
            f"brain{measured}, overlap of the brain masks {self.dice}."
        )


def rank_registrations(quality):
    """Sort registrations, failed ones first, then from the lowest to the highest correlation with the template.

    Parameters
    ----------
    quality : DataFrame with scan_id, status, correlation_brain

    Returns
    -------
    the same rows in another order; `failed` says which failed
    """
    # Images of another kind than T1-weighted scans have no correlation with the template.
    correlation = quality["correlation_brain"].astype(float)
    ordered = quality.assign(correlation_brain=correlation, failed=quality["status"] == "failed")
    return ordered.sort_values(
        ["failed", "correlation_brain", "scan_id"], ascending=[False, True, True], na_position="first"
    )


def registration_table(folders, qualities, scans):
    """The registrations as a table with their pictures.

    Parameters
    ----------
    folders, qualities : dicts by scan, of `registration.manifests.read_registered`
    scans : DataFrame by tables.SCANS

    Returns
    -------
    DataFrame with scan_id, label, check (path of the picture) and what `quality.json` holds
    """
    rows = [quality | {"check": str(folders[scan] / "check.png")} for scan, quality in qualities.items()]
    return pd.DataFrame(rows).merge(scans[["scan_id", "label"]], on="scan_id")


def list_registrations(quality, page):
    """The registrations of a study in the order of the page.

    Parameters
    ----------
    quality : DataFrame with scan_id, label, status, correlation_brain, mask_dice, check (path of the picture, or None)
    page : path of the page, from which pictures are linked

    Returns
    -------
    list of Registration
    """
    folder = Path(page).parent
    return [
        Registration(
            row.scan_id,
            str(row.label),
            row.status,
            number(row.correlation_brain),
            number(row.mask_dice),
            Path(row.check),
            Path(os.path.relpath(row.check, folder)).as_posix(),
        )
        for row in rank_registrations(quality).itertuples()
        if isinstance(row.check, str | Path)
    ]
