"""A BIDS dataset, read with pybids: T1-weighted images, participants.tsv, and the sessions.tsv of each participant.

Made for any dataset, and for what clinica makes of ADNI, where a session is called ses-M000 by its folder and ses-M00
by its table, or the other way round.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from bids import BIDSLayout
from bids.layout import BIDSLayoutIndexer, parse_file_entities
from bids.layout.models import Config

from voxelwhy.cohort.readers import _bids_tables as tables
from voxelwhy.cohort.readers import _files as files
from voxelwhy.cohort.readers import _reading as reading
from voxelwhy.errors import InputError

LOG = logging.getLogger(__name__)
# All but T1-weighted images and the folders that lead to them: indexing takes a time that grows with what is indexed.
IGNORED = (
    re.compile(r"^/(?!sub-)"),
    re.compile(r"^/sub-[^/]+(/ses-[^/]+)?/(?!ses-[^/]+$|ses-[^/]+/|anat$|anat/)"),
    re.compile(r"/anat/(?![^/]*_T1w\.nii(\.gz)?$)"),
)
# What a name says beside whose image it is.
SAYS_NO_VARIANT = ("subject", "session", "run", "suffix", "extension", "datatype", "fmap", "scans")


def read_cohort(settings):
    """Find the T1-weighted images, label them, choose one a session.

    Parameters
    ----------
    settings : the `cohort` section: data_dir, label (a column), classes, entities (which images count), run (first,
        last or all)

    Returns
    -------
    records : list of dict with the columns of SCANS and DROPPED: one a T1-weighted image in the order of names, then
        one a participant who has none; `reason` is None for a scan that is used
    entries : int, the two in sum

    Raises
    ------
    InputError
        No such folder, a folder in it that cannot be read, no T1-weighted image, no column of that name in any table, a
        label that is in no class, a participant or session that is there twice; and whatever `read_rows` refuses.
    """
    folder = settings["data_dir"]
    images = _find_images(folder)
    subjects = sorted({image["subject_id"] for image in images})
    people = tables.read_people(folder, subjects, settings["label"])
    records = [_record(image, people) for image in images]
    _drop_unnamed(records)
    _drop_unchosen(records, settings["entities"])
    tables.label_records(records, people, settings)
    people.warn_of_unread()
    files.drop_unusable(records)
    _keep_one_variant(records, settings["run"])
    absent = tables.absent_records(people, subjects)
    _require_files(records, folder)
    return records + absent, len(images) + len(absent)


def _find_images(folder):
    """Each T1-weighted image: its path, and what folders and name say (pybids' names of the BIDS entities)."""
    if not os.path.isdir(folder):
        raise InputError("there is no such folder", file=folder, hint="correct cohort.data_dir in the config")
    _require_readable(folder)
    indexer = BIDSLayoutIndexer(validate=False, index_metadata=False, ignore=list(IGNORED))
    layout = BIDSLayout(folder, validate=False, indexer=indexer)
    paths = layout.get(suffix="T1w", return_type="file")
    if not paths:
        raise InputError(
            "there is no T1-weighted image in the dataset",
            file=folder,
            allowed="sub-<label>[/ses-<label>]/anat/sub-<label>[_ses-<label>]..._T1w.nii[.gz]",
            hint="correct cohort.data_dir in the config",
        )
    # Of the path below the dataset: pybids reads whole paths, and the dataset may lie in a folder called sub-something.
    root, configs = os.path.abspath(folder), [Config.load(name) for name in ("bids", "derivatives")]
    images = []
    for path in sorted(os.path.relpath(path, root) for path in paths):
        place, name = os.path.split(path)
        images.append(
            {
                "path": os.path.join(folder, path),
                "name": name,
                "subject_id": place.split(os.sep)[0],
                "of_folders": parse_file_entities(f"/{place}/", config=configs),
                "of_name": parse_file_entities(f"/{name}", config=configs),
            }
        )
    return images


def _require_readable(folder):
    # pybids passes over folders that it may not read, and their scans would be lost without a word.
    for pattern in ("sub-*", "sub-*/ses-*", "sub-*/anat", "sub-*/ses-*/anat"):
        for place in Path(folder).glob(pattern):
            if place.is_dir() and not os.access(place, os.R_OK | os.X_OK):
                raise InputError(
                    "a folder of the dataset cannot be read", file=place, hint="give yourself the right to read it"
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
        "scan_date": None,
        "image_id": None,
        "table": None,
        "row": None,
        "reason": None,
        "detail": None,
        **image,
    }


def _drop_unnamed(records):
    for record in records:
        name, folders = record["of_name"], record["of_folders"]
        subject = f"sub-{folders.get('subject')}"
        same_subject = subject == record["subject_id"] == f"sub-{name.get('subject')}"
        sessions = {tables.comparable(entities.get("session")) for entities in (name, folders)}
        if not same_subject or len(sessions) > 1:
            reading.drop([record], "the name of the file is not that of its folders", detail="path")


def _drop_unchosen(records, entities):
    """Drop what `entities` (cohort.entities) does not choose, and images that hold no magnitude."""
    for record in records:
        says = record["of_name"] | ({"session": record["session"]} if record["session"] else {})
        for entity, wanted in entities.items():
            found = says.get(entity)
            if tables.comparable(found) != tables.comparable(wanted):
                record["detail_entity"] = f"{entity} {found or 'not in the name'}, not {wanted}"
                reading.drop([record], "not chosen by cohort.entities", detail="detail_entity")
        if says.get("part", "mag") != "mag":
            record["detail_part"] = f"part {says['part']}"
            reading.drop([record], "no magnitude image", detail="detail_part")


def _keep_one_variant(records, run):
    """Of the images of a session keep one variant, that whose name says least, and of its runs what is asked for.

    What is already dropped does not count: where the first run has no file, the second is the first.
    """
    sessions = {}
    for record in records:
        if record["reason"] is None:
            variants = sessions.setdefault((record["subject_id"], record["session"]), {})
            variants.setdefault(_variant(record), []).append(record)
    for variants in sessions.values():
        (_, runs), *others = sorted(variants.items(), key=lambda item: (len(item[0]), item[0]))
        # A name without run comes first, and of two formats of one run .nii before .nii.gz.
        runs = sorted(runs, key=lambda record: (record["of_name"].get("run") or 0, record["name"]))
        runs, copies = _split_copies(runs)
        kept = runs if run == "all" else [runs[0 if run == "first" else -1]]
        _drop_others(copies, "the scan is used in another format", kept[0])
        _drop_others([record for record in runs if record not in kept], "another run of the session is used", kept[0])
        rest = [record for _, variant in others for record in variant]
        _drop_others(rest, "another variant of the session is used", kept[0])


def _variant(record):
    says = record["of_name"]
    return tuple(sorted((entity, str(value)) for entity, value in says.items() if entity not in SAYS_NO_VARIANT))


def _split_copies(runs):
    by_name = {}
    for record in runs:
        by_name.setdefault(record["scan_id"], []).append(record)
    return [same[0] for same in by_name.values()], [record for same in by_name.values() for record in same[1:]]


def _drop_others(records, reason, kept):
    for record in records:
        record["detail_kept"] = f"kept is {kept['name']}"
    reading.drop(records, reason, detail="detail_kept")


def _require_files(records, folder):
    lost = [record for record in records if (record["reason"] or "").startswith("file missing")]
    if lost and not any(record["reason"] is None for record in records):
        raise InputError(
            f"none of the images is there: {len(lost)} are links to files that were not fetched",
            file=folder,
            found=lost[0]["path"],
            hint="fetch them first, such as with datalad get or git annex get",
        )
