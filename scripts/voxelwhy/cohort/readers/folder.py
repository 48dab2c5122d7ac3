"""Scans in a folder, listed in a table `path,label[,subject][,session][,age][,sex]` or identified by their names.

Without a table the class comes from the names: a folder for each class (AD/x.nii.gz), otherwise the beginning of each
name (AD_001.nii.gz, CN_002.nii.gz).
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from fnmatch import fnmatchcase

from voxelwhy.cohort.readers import _class_names as class_names
from voxelwhy.cohort.readers import _files as files
from voxelwhy.cohort.readers import _reading as reading
from voxelwhy.cohort.readers._tables import read_rows
from voxelwhy.errors import InputError

LOG = logging.getLogger(__name__)
#: The folder in which CAT12 puts its images, beside the scans: no subject and no class.
OUTPUT_FOLDER = "mri"
UNCHOSEN = "not chosen by cohort.pattern"
WAYS = {
    "folders": "the name of its folder; an image whose own name gives another class is dropped",
    "names": "the beginning of its name",
}


def read_cohort(settings):
    """Read the table or, without a table, the names of all images below `data_dir`.

    Without a subject column each scan counts as a subject of its own, and a warning is logged.

    Parameters
    ----------
    settings : the `cohort` section: table, data_dir, classes, pattern (of the file names that count without a table).
        Paths in a table are absolute, or relative to `data_dir` or to the table's own folder.

    Returns
    -------
    records : list of dict, one per row in table order, or one per image in order of paths, with the columns of SCANS
        and DROPPED; `reason` is None for a scan that is used
    entries : int, number of rows of the table, or of images (a pair of .img and .hdr is one)

    Raises
    ------
    InputError
        With a table: an unknown label, an empty path or subject, a path outside the data folder or occurring twice, an
        invalid age or sex, all files missing; and what `read_rows` raises. Without a table: no image, or no name
        that gives a class.
    """
    return _read_table(settings) if settings.get("table") else _read_names(settings)


def _read_table(settings):
    table = settings["table"]
    folder = settings.get("data_dir") or os.path.dirname(table) or "."
    rows = read_rows(table, ["path", "label"])
    if "subject" not in rows[0][1]:
        LOG.warning("%s has no column 'subject': each scan counts as a subject of its own", table)
    records = [_record_of_row(cells, settings["classes"], folder, table, line) for line, cells in rows]
    reading.require_unique(records, "real_path", "path", table)
    _make_unique(records)
    reading.drop_missing_files(records, table)
    files.drop_unusable(records)
    return records, len(rows)


def _record_of_row(cells, classes, folder, table, line):
    unlabelled = reading.lacks_label(cells, "label", classes)
    label, studied = (None, False) if unlabelled else reading.read_label(cells, "label", classes, table, line)
    name = reading.require_text(cells, "path", table, line)
    # An absolute path is meant as it stands; a relative one must not lead out of the folder by mistake.
    outside = os.path.isabs(name) and not os.path.normpath(name).startswith(os.path.abspath(folder) + os.sep)
    path = reading.spelt_path(folder, name) if outside else reading.path_inside(folder, name, table, line, "path")
    own_name = files.ENDING.sub("", path.lstrip(os.sep) if outside else os.path.relpath(path, folder))
    subject = reading.require_subject(cells, "subject", table, line) if "subject" in cells else own_name
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
        "cells": cells,
        # Both files of a pair are one scan.
        "real_path": min(os.path.realpath(file) for file in (path, files.partner_of(path)) if file),
        "table": str(table),
        "row": line,
        "reason": None if studied else "no label" if unlabelled else f"label {label} is not studied",
        "detail": None,
    }


def _read_names(settings):
    folder, values = settings["data_dir"], class_names.class_values(settings["classes"])
    images, pattern = files.find_images(folder), settings.get("pattern", "*")
    if not images:
        allowed = ", ".join(f".{name}" for name in files.FORMATS)
        raise InputError(
            "there is no image in the folder", file=folder, allowed=allowed, hint="correct cohort.data_dir"
        )
    for image in images:
        _choose(image, pattern)
    way = class_names.choose_way([image["says"] for image in images], values)
    LOG.info("%d images; the class of each is given by %s", len(images), WAYS[way])
    LOG.warning("subjects are identified by names alone; a table with a column subject is more reliable")
    records = [_record_of_image(image, values, way) for image in images]
    if all(record["label"] is None for record in records):
        chosen = [image for image in images if image["reason"] is None] or images
        names = ", ".join(image["own_name"] for image in chosen[:5])
        raise InputError(
            "no folder is named like a class, and no file name begins with one",
            file=folder,
            found=f"{len(images)} images, such as {names}" + f" (pattern {pattern})" * (pattern != "*"),
            allowed=f"values of cohort.classes: {', '.join(values)}",
            hint="add the values in the names to cohort.classes, or provide a table (cohort.table)",
        )
    _make_unique(records)
    _warn_of_two_classes(records)
    return records, len(images)


def _choose(image, pattern):
    """Drop an image whose file name does not match the pattern; `says` is its name without the pattern's beginning.

    CAT12 writes mri/mwp1<name of the scan>.nii below each folder of scans.
    """
    place, name = os.path.split(image["own_name"])
    image["says"] = image["own_name"]
    if pattern == "*":
        return
    if fnmatchcase(os.path.basename(image["path"]), pattern):
        begins = re.match(r"[^*?\[]*", pattern)[0]
        place = os.path.dirname(place) if os.path.basename(place) == OUTPUT_FOLDER else place
        image["says"] = os.path.join(place, name.removeprefix(begins))
    elif image["reason"] is None:
        image |= {"reason": UNCHOSEN, "detail": image["path"]}


def _record_of_image(image, values, way):
    said = class_names.read_name(image["says"], values, way)
    record = {
        "scan_id": _scan_id(image["own_name"], None, None),
        "subject_id": said["subject"],
        "session": said["session"],
        "label": said["label"],
        "age": None,
        "sex": None,
        "scan_date": None,
        "image_id": None,
        "table": None,
        "row": None,
        **image,
    }
    if image["reason"] == UNCHOSEN:
        return record | {"label": None}
    if said["reason"]:
        return record | {"reason": said["reason"], "detail": image["path"]}
    if not said["studied"]:
        return record | {"reason": f"label {said['label']} is not studied", "detail": None}
    return record


def _warn_of_two_classes(records):
    labels = {}
    for record in records:
        if record["reason"] is None:
            labels.setdefault(record["subject_id"], set()).add(record["label"])
    both = sorted(subject for subject, of_subject in labels.items() if len(of_subject) > 1)
    if both:
        LOG.warning(
            "%d names occur in both classes, first %s, and each counts as one subject; provide a table with a column "
            "subject if they are different people",
            *(len(both), both[0]),
        )


def _scan_id(own_name, subject, session):
    """`sub-01_ses-2_T1w`; without a subject, the path below the data folder: `AD-001`."""
    if subject is None:
        stem = _safe(own_name.replace(os.sep, "-"))
        return f"{stem}_ses-{_safe(session)}" if session else stem
    # A BIDS name already contains subject and session: sub-01_ses-2_T1w.
    stem = re.sub(r"(?<![^_])(sub|ses)-[^_]*_?", "", os.path.basename(own_name)).strip("_")
    parts = [f"sub-{_safe(re.sub('^sub-', '', subject))}", f"ses-{_safe(session)}" if session else "", _safe(stem)]
    return "_".join(part for part in parts if part)


def _safe(text):
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", text.strip()).strip("-.") or "x"


def _make_unique(records):
    # A hash of the path and not a number: adding a row must not rename a scan that is already registered.
    seen = set()
    for record in records:
        if record["scan_id"].lower() in seen:
            record["scan_id"] += "_" + hashlib.sha256(record["own_name"].encode()).hexdigest()[:8]
        seen.add(record["scan_id"].lower())
