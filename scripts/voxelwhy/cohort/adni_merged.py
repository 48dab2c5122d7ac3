"""ADNI's merged table, one row a scan: columns PTID, Visit, DX, Image.ID and others, found by name.

The table of Rieke et al. 2018 has RID,PTID,VISCODE,DX,EXAMDATE,Image.ID,Scan.Date,Sequence,Visit,Month_bl,
Screen.Diagnosis,Study.ID,Series.ID. DX is the diagnosis at the visit, and it decides the class.
"""

from __future__ import annotations

import logging
import os
import re

from voxelwhy.cohort import _reading as reading
from voxelwhy.errors import InputError

LOG = logging.getLogger(__name__)
NEEDED = ("PTID", "Visit", "DX", "Image.ID")


def read_cohort(settings):
    """Read the table, find the files, drop what is not studied.

    Parameters
    ----------
    settings : the `cohort` section: table, data_dir, path_template, classes, corrupt, reprocessed

    Returns
    -------
    records : list of dict, one a row in table order, with the columns of SCANS and DROPPED; `reason` is None for a scan
        that is used
    entries : int, rows of the table

    Raises
    ------
    InputError
        Unknown DX, empty PTID, Image.ID that is no number or there twice, impossible date, a path that leaves
        the data folder or belongs to two scans, all files missing; and whatever `read_rows` refuses.
    """
    table, template = settings["table"], settings["path_template"]
    folder = settings.get("data_dir") or os.path.dirname(table) or "."
    first_only = settings["reprocessed"] == "first"
    required = [*NEEDED, *reading.template_columns(template), *(["Sequence", "Scan.Date"] if first_only else [])]
    rows = reading.read_rows(table, list(dict.fromkeys(required)))
    records = [_record(cells, settings["classes"], table, line) for line, cells in rows]
    reading.require_unique(records, "image_id", "Image.ID", table)
    _drop_corrupt(records, settings["corrupt"])
    for record in records:
        if record["reason"] is None:
            name = reading.fill_template(template, record["cells"], table, record["row"])
            record["path"] = reading.path_inside(folder, name, table, record["row"])
    reading.drop_missing_files(records, table)
    if first_only:
        _drop_reprocessed(records)
    reading.require_unique([record for record in records if record["reason"] is None], "path", "the path", table)
    return records, len(rows)


def _record(cells, classes, table, line):
    label, studied = reading.read_label(cells, "DX", classes, table, line)
    subject = reading.require_text(cells, "PTID", table, line)
    session = reading.require_text(cells, "Visit", table, line).replace(" ", "")
    image_id = _image_id(cells, table, line)
    reading.read_date(cells, "EXAMDATE", table, line)
    return {
        "scan_id": f"sub-{_safe(subject)}_ses-{_safe(session)}_I{image_id}",
        "subject_id": subject,
        "session": session,
        "label": label,
        "age": reading.read_age(cells, _column(cells, "Age"), table, line),
        "sex": reading.read_sex(cells, _column(cells, "Sex", "Gender", "PTGENDER"), table, line),
        "scan_date": reading.read_date(cells, "Scan.Date", table, line),
        "image_id": image_id,
        "table": str(table),
        "row": line,
        "cells": cells,
        "reason": None if studied else f"diagnosis {label} is not studied",
        "detail": None,
    }


def _image_id(cells, table, line):
    # Some exports write I12345, others 12345: the same image. 12345.0 would lead to a file that does not exist.
    found = re.fullmatch(r"I?(\d+)", cells["Image.ID"])
    if not found:
        raise InputError(
            "this is not the ID of an image",
            file=table,
            row=line,
            column="Image.ID",
            found=cells["Image.ID"],
            allowed="a whole number, with or without a leading I",
        )
    return found.group(1)


def _column(cells, *names):
    names = [name.lower() for name in names]
    return next((column for column in cells if column.lower() in names), None)


def _safe(text):
    return re.sub(r"[^A-Za-z0-9]", "", text)


def _drop_corrupt(records, corrupt):
    # The original list said `Month12` where the table says `Month 12`, and most of it never matched.
    for entry in corrupt:
        wanted = entry.replace(" ", "")
        found = [r for r in records if f"{r['subject_id'].replace(' ', '')}/{r['session']}" == wanted]
        if not found:
            LOG.warning("cohort.corrupt: no row of the table matches %r", entry)
        reading.drop(found, "listed as corrupt")


def _drop_reprocessed(records):
    # `...; Scaled` and `...; Scaled_2` are one acquisition processed twice. What is already dropped does not count:
    # where the first file is missing, the second is kept.
    groups = {}
    for record in records:
        if record["reason"] is None:
            name, number = re.fullmatch(r"(.*?)(?:_(\d+))?", record["cells"]["Sequence"], re.DOTALL).groups()
            key = (record["subject_id"], record["session"], record["cells"]["Scan.Date"], name)
            groups.setdefault(key, {}).setdefault(int(number or 1), []).append(record)
    for by_number in groups.values():
        first = min(by_number)
        kept = by_number[first][0]["scan_id"]
        for number, again in by_number.items():
            if number != first:
                for record in again:
                    record["detail_kept"] = f"kept is {kept}"
                reading.drop(again, "reprocessed", detail="detail_kept")
