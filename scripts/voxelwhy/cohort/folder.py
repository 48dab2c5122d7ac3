"""A plain table: `path,label[,subject][,session][,age][,sex]`, CSV or TSV, one row a scan."""

from __future__ import annotations

import hashlib
import logging
import os
import re

from voxelwhy.cohort import _reading as reading

LOG = logging.getLogger(__name__)
ENDINGS = re.compile(r"\.(nii\.gz|nii|mgz|mgh|hdr|img|img\.gz)$", re.IGNORECASE)


def read_cohort(settings):
    """Read the table; paths are below `data_dir`, or below the table's own folder.

    Parameters
    ----------
    settings : the `cohort` section: table, data_dir, classes

    Returns
    -------
    records : list of dict, one a row in table order, with the columns of SCANS and DROPPED; `reason` is None for a scan
        that is used
    entries : int, rows of the table.
        Without a subject column each file is a subject of its own, which the log says.

    Raises
    ------
    InputError
        Unknown label, empty path or subject, a path that leaves the data folder or is there twice, an age or sex
        that cannot be, all files missing; and whatever `read_rows` refuses.
    """
    table = settings["table"]
    folder = settings.get("data_dir") or os.path.dirname(table) or "."
    rows = reading.read_rows(table, ["path", "label"])
    if "subject" not in rows[0][1]:
        LOG.warning("%s has no column 'subject': each scan counts as a subject of its own", table)
    records = [_record(cells, settings["classes"], folder, table, line) for line, cells in rows]
    reading.require_unique(records, "real_path", "path", table)
    _make_unique(records)
    reading.drop_missing_files(records, table)
    return records, len(rows)


def _record(cells, classes, folder, table, line):
    label, studied = reading.read_label(cells, "label", classes, table, line)
    name = reading.require_text(cells, "path", table, line)
    path = reading.path_inside(folder, name, table, line, "path")
    own_name = ENDINGS.sub("", os.path.relpath(path, folder))
    subject = reading.require_text(cells, "subject", table, line) if "subject" in cells else own_name
    session = None if reading.is_missing(cells.get("session")) else cells["session"]
    return {
        "scan_id": _scan_id(own_name, subject if "subject" in cells else None, session),
        "subject_id": subject,
        "session": session,
        "label": label,
        "age": reading.read_age(cells, "age", table, line),
        "sex": reading.read_sex(cells, "sex", table, line),
        "scan_date": None,
        "image_id": None,
        "path": path,
        "own_name": own_name,
        "real_path": os.path.realpath(path),
        "table": str(table),
        "row": line,
        "reason": None if studied else f"label {label} is not studied",
        "detail": None,
    }


def _scan_id(own_name, subject, session):
    """`sub-01_ses-2_T1w`; without a subject the path below the data folder: `AD-001`."""
    if subject is None:
        stem = _safe(own_name.replace(os.sep, "-"))
        return f"{stem}_ses-{_safe(session)}" if session else stem
    # A BIDS name has subject and session already: sub-01_ses-2_T1w.
    stem = re.sub(r"(?<![^_])(sub|ses)-[^_]*_?", "", os.path.basename(own_name)).strip("_")
    parts = [f"sub-{_safe(re.sub('^sub-', '', subject))}", f"ses-{_safe(session)}" if session else "", _safe(stem)]
    return "_".join(part for part in parts if part)


def _safe(text):
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", text.strip()).strip("-.") or "x"


def _make_unique(records):
    # By a hash of the path and not by a number: a row that is added below must not rename a registered scan.
    seen = set()
    for record in records:
        if record["scan_id"].lower() in seen:
            record["scan_id"] += "_" + hashlib.sha256(record["own_name"].encode()).hexdigest()[:8]
        seen.add(record["scan_id"].lower())
