"""The CSV of an image collection from LONI: one row per image, with several processed images of a scan among them.

Its columns are Image Data ID,Subject,Group,Sex,Age,Visit,Modality,Description,Type,Acq Date,Format,Downloaded, in any
order. Tables since October 2024, which call them subject_id, image_id and so on, are read as well (`_adni.RENAMED`).
Group is the group at enrolment; the diagnosis at the visit comes from ADNIMERGE if it is joined.
"""

from __future__ import annotations

import difflib
import logging
import re
from collections import Counter

from voxelwhy.cohort.readers import _adni as adni
from voxelwhy.cohort.readers import _reading as reading
from voxelwhy.errors import InputError

LOG = logging.getLogger(__name__)
COLUMNS = {"subject": "Subject", "visit": "Visit", "image_id": "Image Data ID", "scan_date": "Acq Date"}


def read_cohort(settings):
    """Read the tables, find the files, keep one image of each scan, and drop what is not studied.

    Parameters
    ----------
    settings : the `cohort` section: table (a path, or a list), data_dir, images, path_template, adnimerge,
        adnimerge_days, classes, corrupt, corrupt_in, prefer

    Returns
    -------
    records : list of dict, one per row in table order, with the columns of SCANS and DROPPED; `reason` is None for a
        scan that is used
    entries : int, number of rows of all tables

    Raises
    ------
    InputError
        An unknown Group, an empty Subject or date, an Image Data ID that is not a number or occurs twice in a table, an
        image that exists as two files, all files missing; and what `read_rows` raises.
    """
    needed = adni.needed_columns(settings, [*COLUMNS.values(), "Description"], "Group")
    rows = adni.read_tables(settings, needed, renamed=adni.RENAMED)
    records = adni.make_records(rows, **COLUMNS)
    adni.drop_from_other_tables(records, "Image Data ID", "Group")
    _rank_images(records, settings["prefer"])
    _require_some_t1(records, settings["prefer"])
    if not settings.get("adnimerge"):
        LOG.warning("Group is the group at enrolment; set cohort.adnimerge to use the diagnosis at the visit")
    adni.label_records(records, settings, "Group", "group")
    adni.drop_corrupt(records, settings)
    adni.find_files(records, settings)
    _drop_other_processings(records, settings["prefer"])
    adni.require_own_files(records)
    return records, len(rows)


def comparable(description):
    """A description without case, spaces, empty steps and the source that LONI appends after `<-`."""
    steps = ["".join(step.split()).lower() for step in description.split("<-")[0].split(";")]
    return ";".join(step for step in steps if step)


def _rank_images(records, prefer):
    """Rank each image by the first pattern that matches its description; drop images that are not T1-weighted."""
    patterns = [re.compile(".*".join(map(re.escape, comparable(pattern).split("*")))) for pattern in prefer]
    for record in records:
        cells = record["cells"]
        # All_Images of 2024 lists MR images only and does not say so.
        if (modality := cells.get("Modality", "MRI")).upper() not in ("MRI", "MR"):
            record["detail_image"] = f"Modality {modality!r}"
            reading.drop([record], "the Modality is not MRI", detail="detail_image")
            continue
        name = comparable(cells["Description"])
        record["rank"] = next((rank for rank, pattern in enumerate(patterns) if pattern.fullmatch(name)), None)
        if record["rank"] is None:
            record["detail_image"] = f"Description {cells['Description']!r}"
            reading.drop([record], "not a T1-weighted image of cohort.prefer", detail="detail_image")
        elif record["reason"] is None:
            reading.require_text(cells, "Acq Date", record["table"], record["row"])


def _require_some_t1(records, prefer):
    """Raise InputError, with a description of the table and the nearest one of cohort.prefer, if all are dropped."""
    described = [record for record in records if "rank" in record]
    if described and all(record["rank"] is None for record in described):
        first = described[0]
        name = first["cells"]["Description"]
        near = difflib.get_close_matches(comparable(name), [comparable(one) for one in prefer], n=1, cutoff=0)
        kept = next(one for one in prefer if comparable(one) == near[0])
        raise InputError(
            f"none of the {len(described)} images is T1-weighted according to cohort.prefer",
            file=first["table"],
            row=first["row"],
            column="Description",
            found=name,
            allowed=f"a description such as {kept!r}, the nearest one of cohort.prefer",
            hint="add the descriptions of your T1-weighted images to cohort.prefer",
        )


def _drop_other_processings(records, prefer):
    # Only images with a file count: if the preferred one was not downloaded, the next one is kept.
    scans = {}
    for record in records:
        if record["reason"] is None:
            # Each table stands for a scanner: a 3 T scan is not a second processing of the 1.5 T scan of that day.
            key = (record["table"], record["subject_id"], record["session"], record["scan_date"])
            scans.setdefault(key, []).append(record)
    for images in scans.values():
        kept, *others = sorted(images, key=lambda image: (image["rank"], int(image["image_id"])))
        for other in others:
            other["detail_kept"] = f"kept is I{kept['image_id']}"
        reading.drop(others, "another processing of the scan is used", detail="detail_kept")
    used = Counter(record["rank"] for record in records if record["reason"] is None)
    for rank, n in sorted(used.items()):
        LOG.info("%5d scans by cohort.prefer: %s", n, prefer[rank])
