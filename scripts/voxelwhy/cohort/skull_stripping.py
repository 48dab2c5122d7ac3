"""Decide whether a cohort consists of whole heads or of brains, and refuse a mixture."""

from __future__ import annotations

import logging

import numpy as np

from voxelwhy.errors import InputError
from voxelwhy.io.scans import looks_skull_stripped, read_scan
from voxelwhy.io.text import count

log = logging.getLogger(__name__)

#: Scans examined before the study chooses its template, at most.
MOST_LOOKED_AT = 20
#: Scans of each kind that an error lists, at most.
MOST_NAMED = 5


def judge_cohort(paths, setting, modality="t1w"):
    """Decide between brains and whole heads from a sample of at most 20 scans spread evenly over the table.

    Parameters
    ----------
    paths : dict, scan_id to the path of the scan, in the table's order
    setting : "auto", "true" (brains) or "false" (whole heads)
    modality : what the scans are; of any other than "t1w" it is not known how a skull would look

    Returns
    -------
    dict, the content of `cohort/skull.json`: skull_stripped (bool, or None if it is not examined), why (one sentence),
    looked_at (list of dicts with scan_id, stripped, cm3). A scan that cannot be read is skipped here; its registration
    reports the reason.

    Raises
    ------
    InputError : the sample contains both brains and whole heads.
    """
    if modality != "t1w":
        return {"skull_stripped": None, "why": f"scans.modality is {modality}: not examined", "looked_at": []}
    looked_at = []
    names = list(paths)
    for place in sorted({round(i) for i in np.linspace(0, len(names) - 1, min(MOST_LOOKED_AT, len(names)))}):
        try:
            stripped, cm3 = looks_skull_stripped(read_scan(paths[names[place]]))
        except InputError as error:
            log.info("not examined: %s (%s)", names[place], error.problem)
            continue
        looked_at.append({"scan_id": names[place], "stripped": stripped, "cm3": round(cm3, 1)})
    require_one_kind({scan["scan_id"]: (scan["stripped"], scan["cm3"]) for scan in looked_at})
    stripped, why = _decide(looked_at, setting)
    log.info("%s: %s", "brains" if stripped else "whole heads", why)
    return {"skull_stripped": stripped, "why": why, "looked_at": looked_at}


def _decide(looked_at, setting):
    if not looked_at:
        return setting != "false", "none of the examined scans can be read"
    kind, volumes = looked_at[0]["stripped"], [scan["cm3"] for scan in looked_at]
    found = (
        f"all {len(looked_at)} examined scans look like {'brains' if kind else 'whole heads'} "
        f"({min(volumes):.0f} to {max(volumes):.0f} cm³)"
    )
    if setting == "auto":
        return kind, found
    if kind != (setting == "true"):
        log.warning("scans.skull_stripped is %s, but %s; the setting is used", setting, found)
    return setting == "true", f"scans.skull_stripped is {setting}; {found}"


def require_one_kind(kinds):
    """Refuse scans that mix brains and whole heads: a network would learn the difference.

    Parameters
    ----------
    kinds : dict, scan_id to (looks skull-stripped, volume in cm³)

    Raises
    ------
    InputError : both kinds occur; the message lists some scans of each.
    """
    sides = {
        word: [f"{scan} ({cm3:.0f} cm³)" for scan, (stripped, cm3) in kinds.items() if stripped == kind]
        for kind, word in ((True, "brain"), (False, "whole head"))
    }
    if all(sides.values()):
        raise InputError(
            "the cohort mixes brains and whole heads, and a network would learn the difference",
            found="; ".join(f"{count(len(scans), word)}: {_some(scans)}" for word, scans in sides.items()),
            allowed="one kind",
            hint="extract the brains of all scans first, or exclude one kind (in the table, or with registration.skip)",
        )


def _some(scans):
    return ", ".join(scans[:MOST_NAMED]) + (" …" if len(scans) > MOST_NAMED else "")
