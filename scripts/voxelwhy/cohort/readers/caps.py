"""Images that clinica has processed, in its CAPS folder, with the diagnoses of a BIDS dataset or of one table."""

from __future__ import annotations

import os
import re
from pathlib import Path

from voxelwhy.cohort.readers import _bids_tables as tables
from voxelwhy.cohort.readers import _files as files
from voxelwhy.cohort.readers import _reading as reading
from voxelwhy.cohort.readers import _variants as variants
from voxelwhy.errors import InputError

#: By pipeline: the folder of its images in that of a session, the last part of their names, and the parts that these
#: have by default.
PIPELINES = {
    "t1-linear": ("t1_linear", "T1w", {"desc": "Crop"}),
    "t1-volume": ("t1/spm/dartel", "probability", {"segm": "graymatter", "modulated": "on"}),
    "pet-linear": ("pet_linear", "pet", {"desc": "Crop"}),
    "pet-volume": ("pet/preprocessing", "pet", {}),
}
#: Parts of a name under other names than `variants` knows.
RENAMED = {"sub": "subject", "ses": "session"}
FACTS = ("scan_date", "image_id", "table", "row", "label", "reason", "detail")


def read_cohort(settings):
    """Find the images of a pipeline, label them, and choose one per session.

    Parameters
    ----------
    settings : the `cohort` section: data_dir (the CAPS folder), participants (a BIDS dataset or a table), image (a
        pipeline), label (a column), classes, entities (which images count), run (first, last or all)

    Returns
    -------
    records : list of dict with the columns of SCANS and DROPPED: one per image in order of names, then one per row of
        the table without an image; `reason` is None for a scan that is used
    entries : int, number of records

    Raises
    ------
    InputError
        The folder does not exist or is not a CAPS folder, the pipeline has no image there, no table has the label
        column, a label belongs to no class, a participant or session occurs twice; and what `read_rows` raises.
    """
    folder, pipeline = settings["data_dir"], settings["image"]
    images = _find_images(folder, pipeline)
    subjects = sorted({image["subject_id"] for image in images})
    people = tables.read_people(settings["participants"], subjects, settings["label"])
    records = [_record(image, people) for image in images]
    _, suffix, usual = PIPELINES[pipeline]
    variants.drop_unchosen(records, usual | settings["entities"])
    tables.label_records(records, people, settings)
    people.warn_of_unread()
    files.drop_unusable(records)
    variants.keep_one_variant(records, settings["run"])
    absent = tables.absent_records(people, records, suffix)
    return records + absent, len(records) + len(absent)


def _find_images(folder, pipeline):
    place, suffix, _ = PIPELINES[pipeline]
    below = Path(folder, "subjects")
    if not below.is_dir():
        raise InputError(
            "this is not a CAPS folder",
            file=folder,
            found="no folder subjects/" if os.path.isdir(folder) else "no such folder",
            allowed="the folder in which clinica wrote, which contains subjects/sub-*/ses-*",
            hint="correct cohort.data_dir in the config",
        )
    # Folders of a group, such as group-ADNI, lie between that of the pipeline and the images.
    found = sorted(below.glob(f"sub-*/ses-*/{place}/**/*_{suffix}.nii*"))
    images = [path for path in found if path.name.endswith((".nii", ".nii.gz"))]
    if not images:
        raise InputError(
            f"there is no image of {pipeline} in the CAPS folder",
            file=folder,
            found=_pipelines_in(below),
            allowed=f"subjects/sub-<label>/ses-<label>/{place}/..._{suffix}.nii.gz",
            hint="correct cohort.data_dir or cohort.image",
        )
    return [_image(path, below) for path in images]


def _pipelines_in(below):
    there = [name for name, (place, *_) in PIPELINES.items() if next(below.glob(f"sub-*/ses-*/{place}"), None)]
    return f"images of {', '.join(there)}" if there else "no image of any pipeline"


def _image(path, below):
    # A folder of its own, such as group-ADNI, counts as part of the name.
    subject, session, *between = path.relative_to(below).parts[:-1]
    says = {}
    for part in [*between, *files.ENDING.sub("", path.name).split("_")]:
        entity, dash, label = part.partition("-")
        if dash:
            says[RENAMED.get(entity, entity)] = int(label) if entity == "run" and label.isdecimal() else label
    return {
        "path": str(path),
        "name": path.name,
        "subject_id": subject,
        "session": session.removeprefix("ses-"),
        "of_name": says,
    }


def _record(image, people):
    facts = people.facts_of(image["subject_id"], image["session"])
    scan_id = re.sub(r"[^A-Za-z0-9_.+-]+", "-", files.ENDING.sub("", image["name"]))
    record = dict.fromkeys(FACTS) | image | {"scan_id": scan_id, "age": facts.age, "sex": facts.sex}
    record["cells"] = people.cells_of(image["subject_id"], image["session"])
    name = record["of_name"]
    if f"sub-{name.get('subject')}" != record["subject_id"] or tables.comparable(
        name.get("session")
    ) != tables.comparable(record["session"]):
        reading.drop([record], "the file name does not match its folders", detail="path")
    return record
