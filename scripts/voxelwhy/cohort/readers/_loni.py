"""Images in the folder tree of a LONI download: one walk finds each NIfTI file or DICOM series by its Image ID."""

from __future__ import annotations

import logging
import os
import re

from voxelwhy.cohort.readers import _files as files
from voxelwhy.cohort.readers import _reading as reading
from voxelwhy.errors import InputError

LOG = logging.getLogger(__name__)
#: The .img represents an Analyze pair.
ENDING = re.compile(r"\.(nii|nii\.gz|mgz|mgh|img|dcm)$", re.IGNORECASE)


def find_images(records, folder):
    """Set the path of the image of each record that is not dropped; drop those without an image below `folder`.

    The path of a DICOM series is the folder of its files. Symbolic links are followed wherever they lead: LONI trees
    often lie on several disks, and a table names images by number and cannot lead out of the folder.

    Raises
    ------
    InputError
        A folder cannot be read, an image exists as two files, a folder mixes the DICOM files of several images, or no
        image is found at all.
    """
    index, nameless = index_images(folder)
    series = _by_place(index)
    wanted = [record for record in records if record["reason"] is None]
    for record in wanted:
        record["path"] = _choose(index.get(record["image_id"], {}), series, record)
        if record["path"] is None:
            record["detail_path"] = f"no file of image I{record['image_id']} below {folder}"
            reading.drop([record], "file missing", detail="detail_path")
    if wanted and all(record["path"] is None for record in wanted):
        raise InputError(
            f"none of the {len(wanted)} images was found in the folder",
            file=folder,
            found=f"{len(index)} other images; no file that ends in _I{wanted[0]['image_id']}.nii, .nii.gz or .dcm",
            hint="correct cohort.data_dir in the config",
        )
    _log(index, nameless, {record["image_id"] for record in records}, folder)


def index_images(folder):
    """Walk through `folder` once and index its images.

    The Image ID of a file is the number after `_I` at the end of its name, otherwise that of its folder `I34000`.
    Hidden files and folders are skipped.

    Returns
    -------
    index : dict, Image ID (digits) to {path: "NIfTI" or "DICOM"}; NIfTI stands for any file that contains a whole image
    nameless : int, number of image files without an Image ID

    Raises
    ------
    InputError : the folder does not exist, or a folder below it cannot be read.
    """
    index, nameless = {}, 0
    for place, entries in files.walk(folder):
        of_folder = re.fullmatch(r"I(\d+)", os.path.basename(os.path.abspath(place)))
        for name in (entry.name for entry in entries if ENDING.search(entry.name) and files.is_file(entry)):
            stem = ENDING.sub("", name)
            found = re.search(r"_I(\d+)$", stem) or of_folder
            if not found:
                nameless += 1
                continue
            dicom = name.lower().endswith(".dcm")
            path = os.path.normpath(place if dicom else os.path.join(place, name))
            index.setdefault(found[1], {})[path] = "DICOM" if dicom else "NIfTI"
    return index, nameless


def _by_place(index):
    """{folder: Image IDs of the DICOM files in it}."""
    places = {}
    for image_id, paths in index.items():
        for path, kind in paths.items():
            if kind == "DICOM":
                places.setdefault(path, []).append(image_id)
    return places


def _choose(paths, series, record):
    whole = [path for path, kind in paths.items() if kind == "NIfTI"]
    chosen = whole or list(paths)
    for other in chosen[1:]:
        if not os.path.samefile(chosen[0], other):
            raise InputError(
                f"image I{record['image_id']} occurs twice",
                file=record["table"],
                row=record["row"],
                found=f"{chosen[0]} and {other}",
                allowed="one file, or one folder of DICOM files, for each image",
                hint="move one of them out of cohort.data_dir",
            )
    if not whole and chosen and len(series[chosen[0]]) > 1:
        raise InputError(
            "a folder contains DICOM files of several images",
            file=chosen[0],
            found=", ".join(f"I{image_id}" for image_id in series[chosen[0]][:5]),
            allowed="a separate folder for each series, as in a LONI download",
        )
    return chosen[0] if chosen else None


def _log(index, nameless, known, folder):
    LOG.info(
        "%d images below %s, %d of them belong to no row of the table", len(index), folder, len(set(index) - known)
    )
    if nameless:
        LOG.info("%d image files have no Image ID in their name or folder", nameless)
    both = [image_id for image_id in index if image_id in known and len(set(index[image_id].values())) > 1]
    if both:
        LOG.info("%d images exist as NIfTI and as DICOM, of which NIfTI is used, first I%s", len(both), both[0])
