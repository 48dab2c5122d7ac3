"""Register many scans in one job, one after another, and keep those that are already registered."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

import pandas as pd

from voxelwhy.io.images import read_json
from voxelwhy.io.tables import REGISTERED
from voxelwhy.registration.store import register_shared, registration_key

log = logging.getLogger(__name__)

# Snakemake does not track the folders that a batch makes. If the study returns to one job per scan, these folders must
# look older than any input, since no record of their making would trigger those jobs. A time of 0 counts as missing.
LONG_AGO_S = 1


def register_batch(scans, template_path, mask_path, settings, folder, *, head_path=None, store="", code=None):
    """Register scans into `folder/<scan_id>`; each folder appears complete or not at all.

    Parameters
    ----------
    scans : dict, scan_id to the path of the scan
    template_path, mask_path, settings, head_path, store, code : as in `store.register_shared`
    folder : path, the study's `registered`

    Returns
    -------
    DataFrame by tables.REGISTERED, in the order of `scans`

    Notes
    -----
    A killed job resumes where it stopped: a scan whose folder already has the current key is not registered again,
    whether its registration failed or not.
    """
    folder = Path(folder)
    images = {"template_path": template_path, "mask_path": mask_path, "head_path": head_path}
    rows = []
    for number, (scan_id, path) in enumerate(scans.items(), start=1):
        key = registration_key(path, settings=settings, code=code, **images)
        quality = read_finished(folder / scan_id, key)
        place = f"[{number}/{len(scans)}] {scan_id}"
        if quality:
            log.info("%s: already registered", place)
        else:
            log.info("%s", place)
            # The folder's name is unique to this run: a job of a dead controller may still be registering this scan.
            for left in folder.glob(f".partial.*..{scan_id}"):
                shutil.rmtree(left, ignore_errors=True)
            beside = folder / f".partial.{secrets.token_hex(4)}..{scan_id}"
            quality = register_shared(
                path, settings=settings, out_dir=beside, scan_id=scan_id, store=store, code=code, key=key, **images
            )
            _publish(beside, folder / scan_id)
        rows.append((scan_id, quality["status"], key))
    return pd.DataFrame(rows, columns=list(REGISTERED.columns))


def read_finished(folder, key):
    """Return the quality of a registered scan if its folder has this key and all files, or None otherwise."""
    try:
        quality = read_json(folder / "quality.json")
    except (OSError, ValueError):
        return None
    names = [
        "check.png",
        *["t1.nii"] * (quality["status"] == "ok"),
        *(f"{name}.nii" for name in quality.get("maps", ())),
    ]
    whole = all((folder / name).exists() for name in names)
    return quality if key and quality.get("key") == key and whole else None


def _publish(beside, place):
    """Move a complete folder to its place. A folder already there (of a dead controller's job) has the same content."""
    os.utime(beside, (LONG_AGO_S, LONG_AGO_S))
    aside = beside.with_name(beside.name.replace(".partial.", ".partial.old-", 1))  # cleaned up like any other
    with suppress(FileNotFoundError):
        os.rename(place, aside)
    os.rename(beside, place)
    shutil.rmtree(aside, ignore_errors=True)
