"""What is removed at the end of a study with `keep: results`."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

log = logging.getLogger(__name__)


def drop_images(paths, *, store=""):
    """Remove registered images, and those images of the store to which no study links any more.

    Parameters
    ----------
    paths : iterable of path, the registered images of the study; missing ones are skipped
    store : path of the folder in which studies share registrations, or "" if there is none

    Returns
    -------
    dict with images (the number removed) and megabytes (their size; a file to which another study links still occupies
    its space)
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
