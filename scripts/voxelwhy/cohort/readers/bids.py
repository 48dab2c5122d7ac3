"""A BIDS dataset, read with pybids: T1-weighted images, participants.tsv, and the sessions.tsv of each participant.

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

from voxelwhy.cohort.readers import _bids_tables as tables
from voxelwhy.cohort.readers import _files as files
from voxelwhy.cohort.readers import _reading as reading
from voxelwhy.errors import InputError

LOG = logging.getLogger(__name__)
# Everything but T1-weighted images and the folders that lead to them: the more is indexed, the longer it takes.
IGNORED = (
    re.compile(r"^/(?!sub-)"),
    re.compile(r"^/sub-[^/]+(/ses-[^/]+)?/(?!ses-[^/]+$|ses-[^/]+/|anat$|anat/)"),
    re.compile(r"/anat/(?![^/]*_T1w\.nii(\.gz)?$)"),
)
#: Folders beside the raw data of a dataset.
NOT_RAW = ("derivatives", "sourcedata", "code")
T1W = re.compile(r"_T1w\.(?!json$)", re.IGNORECASE)
# Entities of a name that do not make an image another variant.
SAYS_NO_VARIANT = ("subject", "session", "run", "suffix", "extension", "datatype", "fmap", "scans")


def read_cohort(settings):
    """Find the T1-weighted images, label them, and choose one per session.

    Parameters
    ----------
    settings : the `cohort` section: data_dir, label (a column), classes, entities (which images count), run (first,
        last or all)

    Returns
    -------
    records : list of dict with the columns of SCANS and DROPPED: one per T1-weighted image in order of names, then one
        per participant without an image; `reason` is None for a scan that is used
    entries : int, number of records: every file *_T1w.* of the dataset but sidecars and derivatives, and every
        participant without one

    Raises
    ------
    InputError
        The folder does not exist, a folder in it cannot be read, there is no T1-weighted image, no table has the label
        column, a label belongs to no class, a participant or session occurs twice; and what `read_rows` raises.
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
    others = _other_files(folder, {record["path"] for record in records})
    return records + others + absent, len(records) + len(others) + len(absent)


def _find_images(folder):
    """Find each T1-weighted image: its path, and the BIDS entities (as pybids names them) of its folders and name."""
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


def _other_files(folder, known):
    """A dropped record for each file *_T1w.* that is no image of the dataset by its place or its ending."""
    found, known = [], {os.path.normpath(path) for path in known}
    for place, entries in files.walk(folder, without=NOT_RAW):
        below = os.path.relpath(place, folder).split(os.sep)
        for name in (entry.name for entry in entries if T1W.search(entry.name)):
            path = os.path.normpath(os.path.join(place, name))
            if path in known:
                continue
            ending = name[name.rindex("_T1w") + 4 :]
            wrong = ending not in (".nii", ".nii.gz")
            found.append(
                {
                    **dict.fromkeys(("scan_id", "session", "label", "table", "row")),
                    "subject_id": below[0] if below[0].startswith("sub-") else None,
                    "reason": "the ending is not .nii or .nii.gz" if wrong else "not in the anat folder of a subject",
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
        if labels := re.findall(r"(?:sub|ses)-[A-Za-z0-9]*[^A-Za-z0-9/][^/]*(?=/)", record["place"]):
            record["detail_label"] = f"{labels[-1]}: a label has only letters and digits"
            reading.drop([record], "a label has characters that BIDS does not allow", detail="detail_label")
            continue
        subject = f"sub-{folders.get('subject')}"
        same_subject = subject == record["subject_id"] == f"sub-{name.get('subject')}"
        sessions = {tables.comparable(entities.get("session")) for entities in (name, folders)}
        if not same_subject or len(sessions) > 1:
            reading.drop([record], "the name of the file is not that of its folders", detail="path")


def _drop_unchosen(records, entities):
    """Drop images that `entities` (cohort.entities) does not select, and images that are not magnitude images."""
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
    """Keep one variant of a session, the one with the fewest entities in its name, and of its runs those `run` selects.

    Records already dropped do not count: if the first run has no file, the second is taken for the first.
    """
    sessions = {}
    for record in records:
        if record["reason"] is None:
            variants = sessions.setdefault((record["subject_id"], record["session"]), {})
            variants.setdefault(_variant(record), []).append(record)
    for variants in sessions.values():
        (_, runs), *others = sorted(variants.items(), key=lambda item: (len(item[0]), item[0]))
        # A name without a run comes first; of two formats of a run, .nii comes before .nii.gz.
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
            f"no image can be read: {len(lost)} are links to files that were not fetched",
            file=folder,
            found=lost[0]["path"],
            hint="fetch them first, for example with datalad get or git annex get",
        )
