"""Image files below a folder: one walk, Analyze pairs as one scan, and files whose content was never fetched."""

from __future__ import annotations

import errno
import os
import re

from voxelwhy.cohort.readers import _reading as reading
from voxelwhy.errors import InputError

#: In order of preference if one scan exists in several formats; the .img represents an Analyze pair.
FORMATS = ("nii", "nii.gz", "mgz", "mgh", "img", "img.gz", "hdr", "hdr.gz")
# OASIS-2 has names such as mpr-1.nifti.img.
ENDING = re.compile(r"(\.nifti)?\.(nii\.gz|nii|mgz|mgh|img\.gz|img|hdr\.gz|hdr)$", re.IGNORECASE)
PARTNERS = {"img": "hdr", "hdr": "img"}
# If git-annex has not fetched a file, it is a broken link or, if unlocked, a short text that contains its key.
POINTER = b"/annex/objects/"


def walk(folder, without=()):
    """Visit each real folder once, in order of names: (folder, entries that are not folders), without hidden ones.

    The folders `without` directly below `folder` are left out.

    An entry is an os.DirEntry of a file or of a broken link. Symbolic links are followed wherever they lead, except
    back to a folder that was already visited.

    Raises
    ------
    InputError : the folder does not exist, or a folder below it cannot be read.
    """
    if not os.path.isdir(folder):
        raise InputError("there is no such folder", file=folder, hint="correct cohort.data_dir in the config")
    waiting, seen = [folder], set()
    while waiting:
        place = waiting.pop()
        try:
            status = os.stat(place)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(place) as found:
                entries = sorted((e for e in found if not e.name.startswith(".")), key=lambda e: e.name)
            folders = [entry for entry in entries if _is(entry.is_dir)]
        except OSError as error:
            raise InputError(
                "a folder of images cannot be read",
                file=error.filename or place,
                found=error.strerror,
                hint="grant yourself read permission, or move it out of cohort.data_dir",
            ) from error
        entered = [entry for entry in folders if place != folder or entry.name not in without]
        waiting.extend(entry.path for entry in reversed(entered))
        yield place, sorted(set(entries) - set(folders), key=lambda e: e.name)


def is_file(entry):
    """Whether an entry of `walk` is a file or a link to one."""
    return _is(entry.is_file)


def _is(test):
    # A link to itself is neither a folder nor a file; Python returns False for a broken link but raises for this one.
    try:
        return test()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise


def find_images(folder):
    """Find every scan below `folder` once.

    Returns
    -------
    images : list of dict in order of paths: path, own_name (the path below `folder` without its ending), reason
        (None, or why it cannot be used) and detail. A pair of .img and .hdr is one image with the path of the .img. If
        a scan exists in several formats, the first usable one of FORMATS is used. A folder of DICOM files is one image.

    Raises
    ------
    InputError : as for `walk`.
    """
    images, series = [], set()
    for place, entries in walk(folder):
        by_stem = {}
        for entry in entries:
            ending = ENDING.search(entry.name)
            if not ending and place not in series and is_file(entry) and reading.is_dicom(entry.path):
                series.add(place)
            if ending:
                by_stem.setdefault(entry.name[: ending.start()], {})[ending[2].lower()] = entry.path
        for stem, files in by_stem.items():
            own_name = os.path.normpath(os.path.relpath(os.path.join(place, stem), folder))
            images += _images_of(files, own_name)
    for place in series:
        own_name = os.path.normpath(os.path.relpath(place, folder))
        images.append({"path": os.path.normpath(place), "own_name": own_name, "reason": None, "detail": None})
    return sorted(images, key=lambda image: image["own_name"])


def _images_of(files, own_name):
    formats = sorted(files, key=FORMATS.index)
    formats = [name for name in formats if not (name.startswith("hdr") and name.replace("hdr", "img") in files)]
    images = []
    for name in formats:
        path = os.path.normpath(files[name])
        image = {"path": path, "own_name": own_name, "reason": None, "detail": None}
        drop_unusable([image])
        images.append(image)
    kept = [image for image in images if image["reason"] is None]
    for other in kept[1:]:
        other["detail_kept"] = f"kept is {kept[0]['path']}"
        reading.drop([other], "the scan is used in another format", detail="detail_kept")
    return images


def drop_unusable(records):
    """Drop records whose file is missing, was never fetched by git-annex, or is only half of an Analyze pair."""
    for record in records:
        if record["reason"] is None:
            reason, record["detail_file"] = _fault(record["path"])
            if reason:
                reading.drop([record], reason, detail="detail_file")


def _fault(path):
    if os.path.isdir(path):  # a DICOM series, which the caller has checked
        return None, None
    if not os.path.isfile(path):
        return ("file missing: not fetched?" if os.path.islink(path) else "file missing"), path
    if _is_pointer(path):
        return "file missing: not fetched?", path
    partner = partner_of(path)
    if partner and not os.path.isfile(partner):
        return "one file of the pair is missing", partner
    return None, None


def partner_of(path):
    """The other file of a pair of .img and .hdr, or None for a single-file format."""
    ending = ENDING.search(path)
    name = ending[2].lower().removesuffix(".gz") if ending else None
    if name not in PARTNERS:
        return None
    start, end = ending.start(2), ending.start(2) + len(name)
    capitals = path[start:end].isupper()
    other = PARTNERS[name].upper() if capitals else PARTNERS[name]
    return path[:start] + other + path[end:]


def _is_pointer(path):
    if os.path.getsize(path) > 32768:
        return False
    with open(path, "rb") as file:
        return file.read(len(POINTER)) == POINTER
