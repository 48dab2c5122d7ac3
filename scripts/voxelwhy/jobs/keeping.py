"""What a study that keeps its results only removes in the end."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

log = logging.getLogger(__name__)


def drop_images(paths, *, store=""):
    """Remove registered images, and from the store the images that no study links to any more.

    Parameters
    ----------
    paths : iterable of path, the registered images of the study; those that are gone already count for nothing
    store : path of the folder in which studies share registrations, or "" where there is none

    Returns
    -------
    dict with images (how many were removed) and megabytes (their size; a file that another study links to still takes
    its place)
    """
    removed, size = set(), 0
    for path in map(Path, paths):
        if path.exists():
            found = path.stat()
            size += found.st_size
            removed.add((found.st_dev, found.st_ino))
            path.unlink()
    for image in Path(store).glob("*/*/t1.nii") if store else ():
        found = image.stat()
        if (found.st_dev, found.st_ino) in removed and found.st_nlink == 1:
            shutil.rmtree(image.parent, ignore_errors=True)
    log.info("removed %d registered images, %.0f MB", len(removed), size / 1e6)
    return {"images": len(removed), "megabytes": round(size / 1e6, 3)}
