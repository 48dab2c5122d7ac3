"""The tables and folders of OASIS-1 (cross-sectional) and OASIS-2 (longitudinal) as released.

The header of a table shows which release it belongs to. The class comes from CDR, the clinical dementia rating at the
visit, and never from Group, which describes the whole follow-up: a subject who converted later has Group Converted and
a CDR of 0.
"""

from __future__ import annotations

import logging
import os
import re

from voxelwhy.cohort.readers import _files as files
from voxelwhy.cohort.readers import _reading as reading
from voxelwhy.cohort.readers import _tables
from voxelwhy.cohort.readers._tables import read_columns, read_rows
from voxelwhy.errors import ConfigError, InputError

LOG = logging.getLogger(__name__)
SEPARATORS = _tables.SEPARATORS | {";": "semicolons"}
#: Columns that the table of each release must have.
COLUMNS = {"OASIS-1": ["ID", "M/F", "Age", "CDR"], "OASIS-2": ["Subject ID", "MRI ID", "M/F", "Age", "CDR"]}
SESSION = re.compile(r"(OAS[12]_\d{4})_(MR\d+)")
#: The rest of a file name after the session, by kind; the group is the acquisition number, where there are several.
KINDS = {
    "masked": re.compile(r"_mpr_n\d+_anon_111_t88_masked_gfc$"),
    "t88": re.compile(r"_mpr_n\d+_anon_111_t88_gfc$"),
    "subject": re.compile(r"_mpr_n\d+_anon_sbj_111$"),
    "raw": re.compile(r"(?:^|_)mpr-(\d+)(?:_anon)?$"),
}


def read_cohort(settings):
    """Read the table, find the images in the folders of the release, and drop rows without CDR or not studied.

    Parameters
    ----------
    settings : the `cohort` section: table, data_dir, images (auto, masked, t88, subject or raw), classes (values of
        CDR)

    Returns
    -------
    records : list of dict, one per row in table order, with the columns of SCANS and DROPPED; `reason` is None for a
        scan that is used
    entries : int, number of rows of the table

    Raises
    ------
    InputError
        A table of neither release, an invalid or repeated ID, an invalid CDR, age or sex, a CDR that belongs to no
        class, a folder that cannot be read, an image that occurs twice, no image at all; and what `read_rows` raises.
    ConfigError : processed images are requested of OASIS-2, which has none.
    """
    table = settings["table"]
    release = recognise_release(table)
    kind = _kind(settings["images"], release)
    rows = read_rows(table, COLUMNS[release], separators=SEPARATORS)
    records = [_record(cells, release, table, line) for line, cells in rows]
    reading.require_unique(records, "name", _id_column(release), table)
    for record in records:
        _label(record, _plain_classes(settings["classes"]))
    _find_images(records, settings.get("data_dir") or os.path.dirname(table) or ".", kind)
    return records, len(rows)


def recognise_release(table):
    """Return "OASIS-1" or "OASIS-2" by the columns of a table; InputError for any other table."""
    columns = read_columns(table)
    for release, needed in COLUMNS.items():
        if set(needed) <= set(columns):
            return release
    raise InputError(
        "the table belongs to neither OASIS-1 nor OASIS-2",
        file=table,
        row=1,
        found=", ".join(columns)[:200],
        allowed="; ".join(f"{release}: {', '.join(needed)}" for release, needed in COLUMNS.items()),
    )


def _id_column(release):
    return "ID" if release == "OASIS-1" else "MRI ID"


def _kind(images, release):
    if release == "OASIS-1":
        return "masked" if images == "auto" else images
    if images not in ("auto", "raw"):
        raise ConfigError(
            "cohort.images: OASIS-2 has whole heads only",
            found=images,
            allowed="raw or auto",
            hint="read brains that you extracted yourself with cohort.source folder or bids",
        )
    return "raw"


def _record(cells, release, table, line):
    column = _id_column(release)
    name = reading.require_text(cells, column, table, line)
    found = SESSION.fullmatch(name)
    if not found or (release == "OASIS-2" and cells["Subject ID"] != found[1]):
        raise InputError(
            "not a valid session ID" if not found else "the session ID does not belong to the subject",
            file=table,
            row=line,
            column=column,
            found=name if not found else f"{name}, of {cells['Subject ID']!r}",
            allowed="such as OAS1_0061_MR2, of the subject OAS1_0061",
        )
    # OAS1_0061_MR2 is the second session of the subject of OAS1_0061_MR1.
    subject, session = found.groups()
    return {
        "scan_id": f"sub-{subject.replace('_', '')}_ses-{session}",
        "subject_id": subject,
        "session": session,
        "label": None,
        "age": reading.read_age({"Age": cells["Age"].replace(",", ".")}, "Age", table, line),
        "sex": reading.read_sex(cells, "M/F", table, line),
        "scan_date": None,
        "image_id": None,
        "path": None,
        "name": name,
        # Tables with semicolons have decimal commas.
        "cells": {key: re.sub(r"^(-?\d*),(\d+)$", r"\1.\2", text) for key, text in cells.items()},
        "table": str(table),
        "row": line,
        "reason": None,
        "detail": None,
    }


def _label(record, classes):
    text = record["cells"]["CDR"]
    if reading.is_missing(text):
        reading.drop([record], "no CDR (young or not assessed)")
        return
    place = (record["table"], record["row"])
    cdr = _plain_number(text)
    if cdr is None:
        raise InputError(
            "not a valid CDR", file=place[0], row=place[1], column="CDR", found=text, allowed="a number, or empty"
        )
    record["label"], studied = reading.read_label({"CDR": cdr}, "CDR", classes, *place)
    if not studied:
        reading.drop([record], f"CDR {record['label']} is not studied")


def _plain_number(text):
    """Write 0, 0.0 and .0 as "0", 0,5 and .5 as "0.5"; None if the text is not a number."""
    if not re.fullmatch(r"\d*[.,]?\d+|\d+[.,]", text):
        return None
    return f"{float(text.replace(',', '.')):g}"


def _plain_classes(classes):
    def plain(values):
        return [_plain_number(str(value)) or str(value) for value in values]

    sides = {side: classes[side] | {"values": plain(classes[side]["values"])} for side in ("positive", "negative")}
    return sides | {"drop": plain(classes["drop"])}


def _find_images(records, folder, kind):
    wanted = [record for record in records if record["reason"] is None]
    index = _index_images(folder)
    for record in wanted:
        images = index.get((record["name"], kind), [])
        usable = [image for image in images if image["reason"] is None]
        if not images:
            record["detail_file"] = f"no image of kind {kind} below {folder}"
            reading.drop([record], "file missing", detail="detail_file")
        elif not usable:
            record["detail_file"] = images[0]["detail"]
            reading.drop([record], images[0]["reason"], detail="detail_file")
        else:
            _require_one(usable, record)
            record["path"] = usable[0]["path"]
    if wanted and not any(record["reason"] is None for record in wanted):
        _refuse_none(wanted, index, kind, folder)
    several = sum(len(index.get((record["name"], kind), [])) > 1 for record in wanted)
    LOG.info("images of kind %s; %d sessions have several, of which the first is used", kind, several)


def _index_images(folder):
    """{(session, kind): images in order of acquisition}, from one walk through the folders."""
    index = {}
    for image in files.find_images(folder):
        place, stem = os.path.split(image["own_name"])
        # The session is part of the file name or, in OASIS-2, of the name of a folder around it.
        session = SESSION.search(stem) or ([None, *SESSION.finditer(place)][-1])
        for kind, pattern in KINDS.items():
            if session and (found := pattern.search(stem)):
                number = int(found[1]) if found.groups() else 0
                index.setdefault((session[0], kind), []).append(image | {"number": number})
    return {key: sorted(images, key=lambda image: (image["number"], image["path"])) for key, images in index.items()}


def _require_one(images, record):
    if len(images) > 1 and images[0]["number"] == images[1]["number"]:
        raise InputError(
            f"the image of {record['name']} occurs twice",
            file=record["table"],
            row=record["row"],
            found=f"{images[0]['path']} and {images[1]['path']}",
            hint="move one of them out of cohort.data_dir",
        )


def _refuse_none(wanted, index, kind, folder):
    names = {record["name"] for record in wanted}
    others = {other: sum((name, other) in index for name in names) for other in KINDS}
    found = ", ".join(f"{n} of kind {other}" for other, n in others.items() if n) or "no image of these sessions"
    raise InputError(
        f"none of the {len(wanted)} images of kind {kind} can be used",
        file=folder,
        found=f"{found}; {wanted[0]['name']}: {wanted[0]['reason']}, {wanted[0]['detail']}",
        hint="correct cohort.data_dir, or set cohort.images to a kind that exists",
    )
