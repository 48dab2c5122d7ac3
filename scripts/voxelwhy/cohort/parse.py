"""Read a cohort from any source into one scan table that accounts for every row of the source."""

from __future__ import annotations

import logging
import re

import pandas as pd

from voxelwhy import registry
from voxelwhy.errors import InputError, require_plain
from voxelwhy.io.tables import DROPPED, SCANS

LOG = logging.getLogger(__name__)


def parse_tables(settings):
    """Read the cohort with the reader that `settings["source"]` names.

    Parameters
    ----------
    settings : the `cohort` section of the config, with paths that can be opened; if the source was auto, `recognised`
        is the sentence that explains the choice

    Returns
    -------
    scans, dropped : DataFrames with the schemas SCANS and DROPPED
    counts : dict with rows, scans, subjects, dropped (reason: rows) and classes (name: {scans, subjects})

    Raises
    ------
    ConfigError : the source does not exist.
    InputError : the reader refuses the table, rows are lost, a class has no scans, or the path of a scan has a word in
        braces, which Snakemake would take for a wildcard.
    """
    if settings.get("recognised"):
        LOG.info("%s", settings["recognised"])
    reader = registry.load(registry.SOURCES, settings["source"], "cohort source")
    records, entries = reader.read_cohort(settings)
    scans, dropped = make_frames(records)
    for path in scans["path"]:
        require_plain(path, column="path")
    counts = count_cohort(scans, dropped, settings["classes"], rows=entries)
    _log(counts)
    _warn_of_alike([*scans["subject_id"], *dropped["subject_id"].dropna()])
    where = settings.get("table") or settings.get("data_dir")
    where = ", ".join(where) if isinstance(where, list) else where
    if len(scans) + len(dropped) != entries:
        raise InputError(
            "rows were lost, which is a bug in the reader",
            file=where,
            found=f"{len(scans)} scans and {len(dropped)} dropped rows",
            allowed=f"{entries} in total",
        )
    for side in ("positive", "negative"):
        name = settings["classes"][side]["name"]
        if not counts["classes"][name]["scans"]:
            raise InputError(
                f"the cohort has no scan of class {name}, and a study needs both classes",
                file=where,
                found=", ".join(f"{n} rows: {reason}" for reason, n in _reasons(counts)),
                allowed=f"{name} is given by the values {', '.join(map(str, settings['classes'][side]['values']))}",
            )
    return scans, dropped, counts


def make_frames(records):
    """Split records by `reason` (None, or why the record is dropped) into the tables (scans, dropped)."""
    kept = [record for record in records if record["reason"] is None]
    dropped = [record for record in records if record["reason"] is not None]
    scans = pd.DataFrame(kept, columns=list(SCANS.columns)).astype({"age": float})
    return scans, pd.DataFrame(dropped, columns=list(DROPPED.columns)).astype({"row": "Int64"})


def count_cohort(scans, dropped, classes, *, rows):
    """Count rows, scans and subjects by class, and dropped rows by reason, in a dict that JSON can store."""
    names = [classes[side]["name"] for side in ("positive", "negative")]
    of_class = {name: scans[scans["label"] == name] for name in names}
    return {
        "rows": rows,
        "scans": len(scans),
        "subjects": int(scans["subject_id"].nunique()),
        "dropped": {reason: int(n) for reason, n in sorted(dropped["reason"].value_counts().items())},
        "classes": {
            name: {"scans": len(frame), "subjects": int(frame["subject_id"].nunique())}
            for name, frame in of_class.items()
        },
    }


def _warn_of_alike(subjects):
    """Report subjects whose names differ in leading zeros alone, such as 50772 and sub-0050772: are they one person?"""
    by_name = {}
    for subject in dict.fromkeys(subjects):
        plain = re.sub(r"(?<!\d)0+(?=\d)", "", subject.lower().removeprefix("sub-"))
        by_name.setdefault(plain, []).append(subject)
    for same in by_name.values():
        if len(same) > 1:
            LOG.warning("%s: are these one person? Their names differ in leading zeros alone", ", ".join(same))


def _reasons(counts):
    return [*((f"class {name}", n["scans"]) for name, n in counts["classes"].items()), *counts["dropped"].items()]


def _log(counts):
    LOG.info("%d rows, %d scans of %d subjects", counts["rows"], counts["scans"], counts["subjects"])
    for reason, n in _reasons(counts):
        LOG.info("%5d rows: %s", n, reason)
