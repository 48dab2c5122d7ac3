"""A BIDS dataset or derivatives, read with pybids: images, participants.tsv, and the sessions.tsv of each participant.

Reads any dataset, including ADNI as converted by clinica, where a session may be ses-M000 in the folder and ses-M00 in
the table, or the other way round.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from bids import BIDSLayout
from bids.layout import BIDSLayoutIndexer, parse_file_entities
from bids.layout.models import Config
from pathspec import GitIgnoreSpec

from voxelwhy.cohort.readers import _bids_tables as tables
from voxelwhy.cohort.readers import _files as files
from voxelwhy.cohort.readers import _reading as reading
from voxelwhy.cohort.readers import _variants as variants
from voxelwhy.errors import InputError

LOG = logging.getLogger(__name__)
#: The folder of an image by its suffix; that of all others is anat.
FOLDERS = {"pet": "pet"}
#: Folders beside the raw data of a dataset.
NOT_RAW = ("derivatives", "sourcedata", "code")


def read_cohort(settings):
    """Find the images of one suffix, label them, and choose one per session.

    Parameters
    ----------
    settings : the `cohort` section: data_dir, participants (where the tables are, data_dir by default), suffix (T1w by
        default), label (a column), classes, entities (which images count), run (first, last or all)

    Returns
    -------
    records : list of dict with the columns of SCANS and DROPPED: one per image in order of names, then one per
        participant without an image; `reason` is None for a scan that is used
    entries : int, number of records: every file *_<suffix>.* of the dataset but sidecars and derivatives, and every
        participant without one

    Raises
    ------
    InputError
        The folder does not exist, a folder in it cannot be read, there is no image, no table has the label column, a
        label belongs to no class, a participant or session occurs twice; and what `read_rows` raises.
    """
    folder, suffix = settings["data_dir"], settings.get("suffix", "T1w")
    images = _find_images(folder, suffix)
    subjects = sorted({image["subject_id"] for image in images})
    place = settings.get("participants", folder)
    if place != folder:
        LOG.info("diagnoses are those of %s", place)
    people = tables.read_people(place, subjects, settings["label"])
    records = [_record(image, people) for image in images]
    _drop_hidden(records, folder)
    _drop_unnamed(records)
    variants.drop_unchosen(records, settings["entities"])
    tables.label_records(records, people, settings)
    people.warn_of_unread()
    files.drop_unusable(records)
    variants.keep_one_variant(records, settings["run"])
    absent = tables.absent_records(people, records, suffix)
    _require_files(records, folder)
    others = _other_files(folder, suffix, {record["path"] for record in records})
    return records + others + absent, len(records) + len(others) + len(absent)


def _ignored(suffix):
    """Everything but the images and the folders that lead to them: the more is indexed, the longer it takes."""
    place = FOLDERS.get(suffix, "anat")
    return [
        re.compile(r"^/(?!sub-)"),
        re.compile(rf"^/sub-[^/]+(/ses-[^/]+)?/(?!ses-[^/]+$|ses-[^/]+/|{place}$|{place}/)"),
        re.compile(rf"/{place}/(?![^/]*_{suffix}\.nii(\.gz)?$)"),
    ]


def _find_images(folder, suffix):
    """Find each image: its path, and the BIDS entities (as pybids names them) of its folders and name."""
    if not os.path.isdir(folder):
        raise InputError("there is no such folder", file=folder, hint="correct cohort.data_dir in the config")
    _require_readable(folder)
    indexer = BIDSLayoutIndexer(validate=False, index_metadata=False, ignore=_ignored(suffix))
    layout = BIDSLayout(folder, validate=False, indexer=indexer)
    paths = layout.get(suffix=suffix, return_type="file")
    if not paths:
        raise InputError(
            f"there is no {'T1-weighted' if suffix == 'T1w' else suffix} image in the dataset",
            file=folder,
            allowed=f"sub-<label>[/ses-<label>]/{FOLDERS.get(suffix, 'anat')}/sub-<label>[_ses-<label>]..._{suffix}.nii"
            "[.gz]",
            hint="correct cohort.data_dir in the config",
        )
    # Only the path below the dataset is parsed: the dataset itself may lie in a folder called sub-something.
    root, configs = os.path.abspath(folder), [Config.load(name) for name in ("bids", "derivatives")]
    images = []
    for path in sorted(os.path.relpath(path, root) for path in paths):
        place, name = os.path.split(path)
        images.append(
            {
                "path": os.path.join(folder, path),
                "name": name,
                "place": f"{place}/",
                "subject_id": place.split(os.sep)[0],
                "of_folders": parse_file_entities(f"/{place}/", config=configs),
                "of_name": parse_file_entities(f"/{name}", config=configs),
            }
        )
    return images


def _other_files(folder, suffix, known):
    """A dropped record for each file *_<suffix>.* that is no image of the dataset by its place or its ending."""
    found, known = [], {os.path.normpath(path) for path in known}
    misplaced = f"not in the {FOLDERS.get(suffix, 'anat')} folder of a subject"
    named = re.compile(rf"_{suffix}\.(?!json$)", re.IGNORECASE)
    for place, entries in files.walk(folder, without=NOT_RAW):
        below = os.path.relpath(place, folder).split(os.sep)
        for name in (entry.name for entry in entries if named.search(entry.name)):
            path = os.path.normpath(os.path.join(place, name))
            if path in known:
                continue
            ending = name[named.search(name).end() - 1 :]
            wrong = ending not in (".nii", ".nii.gz")
            found.append(
                {
                    **dict.fromkeys(("scan_id", "session", "label", "table", "row")),
                    "subject_id": below[0] if below[0].startswith("sub-") else None,
                    "reason": "the ending is not .nii or .nii.gz" if wrong else misplaced,
                    "detail": path,
                }
            )
    return found


def _require_readable(folder):
    # pybids silently skips folders that it may not read, and their scans would be lost without a message.
    for pattern in ("sub-*", "sub-*/ses-*", "sub-*/anat", "sub-*/ses-*/anat"):
        for place in Path(folder).glob(pattern):
            if place.is_dir() and not os.access(place, os.R_OK | os.X_OK):
                raise InputError(
                    "a folder of the dataset cannot be read", file=place, hint="grant yourself read permission"
                )


def _record(image, people):
    session = image["of_folders"].get("session") or image["of_name"].get("session")
    facts = people.facts_of(image["subject_id"], session)
    return {
        "scan_id": re.sub(r"[^A-Za-z0-9_.+-]+", "-", files.ENDING.sub("", image["name"])),
        "session": session,
        "label": None,
        "age": facts.age,
        "sex": facts.sex,
        "cells": people.cells_of(image["subject_id"], session),
        "scan_date": None,
        "image_id": None,
        "table": None,
        "row": None,
        "reason": None,
        "detail": None,
        **image,
    }


def _drop_hidden(records, folder):
    """Drop images that the dataset's .bidsignore, whose patterns are those of .gitignore, excludes from it."""
    path = Path(folder, ".bidsignore")
    if not path.is_file():
        return
    hidden = GitIgnoreSpec.from_lines(path.read_text(encoding="utf-8-sig").splitlines())
    for record in records:
        if hidden.match_file(os.path.relpath(record["path"], folder)):
            reading.drop([record], "hidden by .bidsignore", detail="path")


def _drop_unnamed(records):
    for record in records:
        name, folders = record["of_name"], record["of_folders"]
        if labels := re.findall(r"(?:sub|ses)-[A-Za-z0-9]*[^A-Za-z0-9/][^/]*(?=/)", record["place"]):
            record["detail_label"] = f"{labels[-1]}: a label has only letters and digits"
            reading.drop([record], "a label has characters that BIDS does not allow", detail="detail_label")
            continue
        subject = f"sub-{folders.get('subject')}"
        same_subject = subject == record["subject_id"] == f"sub-{name.get('subject')}"
        sessions = {tables.comparable(entities.get("session")) for entities in (name, folders)}
        if not same_subject or len(sessions) > 1:
            reading.drop([record], "the file name does not match its folders", detail="path")


def _require_files(records, folder):
    lost = [record for record in records if (record["reason"] or "").startswith("file missing")]
    if lost and not any(record["reason"] is None for record in records):
        raise InputError(
            f"no image can be read: {len(lost)} are links to files that were not fetched",
            file=folder,
            found=lost[0]["path"],
            hint="fetch them first, for example with datalad get or git annex get",
        )
