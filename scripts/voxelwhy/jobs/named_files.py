"""The files that a config or a table names: tables of a cohort, the user's own images, the paths of scans."""

from __future__ import annotations

import csv
import os
from functools import lru_cache
from pathlib import Path

from voxelwhy.config.model import MASKS


def tables_of(cohort):
    """The tables of a cohort and, where the entries are files, the folders in which new ones appear.

    Parameters
    ----------
    cohort : dict, the section `cohort` of a config
    """
    named = [cohort[key] for key in ("table", "adnimerge") if key in cohort]
    folder = Path(cohort.get("data_dir", "."))
    if cohort["source"] in ("bids", "caps"):
        named = [folder, *_tables_of_people(Path(cohort.get("participants", folder)))]
    elif not named:
        named = [folder, *(place for place in folder.glob("[!.]*") if place.is_dir())]
    return [str(path) for entry in named for path in (entry if isinstance(entry, list) else [entry])]


def _tables_of_people(place):
    return [place] if place.is_file() else [*place.glob("participants.tsv"), *place.glob("sub-*/sub-*_sessions.tsv")]


def own_files(settings):
    """Files of the user's own that a config names: atlas, network mask, whole-head template (if it is there)."""
    atlas = [settings["atlas"][part] for part in ("image", "table") if part in settings["atlas"]]
    return {"atlas": atlas, "mask": _own_mask(settings), "head": _own_head(settings)}


def _own_mask(settings):
    return [settings["training"]["mask"]] if settings["training"]["mask"] not in MASKS else []


def _own_head(settings):
    path = settings["scans"].get("template")
    return [path] if path and os.path.exists(path) else []


def read_paths(table):
    """Paths of the scans of a table (scans.tsv, selected.tsv) by scan_id; read again only when the file has changed."""
    return _read_paths(str(table), os.stat(table).st_mtime_ns)


@lru_cache
def _read_paths(table, mtime):
    with open(table, encoding="utf-8") as rows:
        return {row["scan_id"]: row["path"] for row in csv.DictReader(rows, delimiter="\t")}
