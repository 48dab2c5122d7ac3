"""The maps that a viewer shows, with what is written next to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from voxelwhy.io.text import method_title, people
from voxelwhy.report.figures.relevance import OF_DISEASE, planted_loss
from voxelwhy.report.wording import group_title, name_truth

#: Units of means of maps that were scaled to a sum of absolute values of 1.
SHARES = "share of each scan's absolute relevance"


@dataclass(frozen=True)
class Viewed:
    """A map: path or nibabel image, its names in the two lists, its units, n in words, and its regions.

    `regions` has region_id, rank and enrichment, and where there are several subjects also enrichment_low and
    enrichment_high; None if the map has no ranks.
    """

    image: object
    method: str
    group: str = ""
    units: str = SHARES
    n: str = ""
    regions: pd.DataFrame | None = None


def relevance_maps(folders, counts, regions, groups, of=""):
    """The mean maps of a split by group, group after group in the order of `groups`; empty groups have none.

    Parameters
    ----------
    folders : {method: folder of its mean maps}
    counts : {method: DataFrame with n_subjects and n_scans by group}
    regions : {method: DataFrame by the REGIONS schema}
    groups : names, those to show first

    Returns
    -------
    {group: list of Viewed}
    """
    found = {}
    for group in groups:
        for method, folder in folders.items():
            path = Path(folder, f"mean_{group}_scaled.nii.gz")
            if not path.exists() or not counts[method].loc[group, "n_scans"]:
                continue
            n = counts[method].loc[group]
            table = regions[method][regions[method]["group"] == group]
            found.setdefault(group, []).append(
                Viewed(
                    path,
                    method_title(method),
                    group_title(group),
                    n=people(int(n["n_subjects"]), int(n["n_scans"]), of),
                    regions=table,
                )
            )
    return found


def planted_map(log_jacobian_path, planted, simulated):
    """What was planted: the loss of volume, or the structure whose volume defines the classes."""
    name = name_truth(planted)
    if isinstance(planted, str):
        return Viewed(planted_loss(log_jacobian_path), f"Planted truth: {name}", units=f"the {name} itself")
    of = OF_DISEASE * bool(simulated)
    return Viewed(planted_loss(log_jacobian_path), f"Planted truth: {name}", units=f"negative log-Jacobian{of}")


def baseline_maps(paths, cards, relevance):
    """The maps of the linear baseline.

    Parameters
    ----------
    paths : {name: path}
    cards : list of dict, their JSONs in the same order
    relevance : DataFrame by the BASELINE_RELEVANCE schema
    """
    own, found = relevance[relevance["draw"] == 0], []
    for (name, path), card in zip(paths.items(), cards, strict=True):
        table = own[own["map"] == name]
        ranks = table["enrichment"].rank(method="first", ascending=False, na_option="bottom").astype(int)
        n = people(card["n_subjects"], card["n_scans"])
        found.append(Viewed(path, f"Baseline: {name}", units=card["units"], n=n, regions=table.assign(rank=ranks)))
    return found


def imported_maps(paths, cards, tables):
    """Imported maps: their paths, the JSON of each, and the regions of each (tables by IMPORTED)."""
    return [
        Viewed(path, f"{method_title(card['name'])} (imported)", group_title(card["group"]), card["units"], "", table)
        for path, card, table in zip(paths, cards, tables, strict=True)
    ]
