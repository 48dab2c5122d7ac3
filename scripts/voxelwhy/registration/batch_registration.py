"""Many scans in one job, one after another; what is there already stays."""

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

# Snakemake knows nothing of the folders that a batch makes. Should the study go back to one job a scan, they must look
# older than any input: what made them is on no record, so that nothing else would run those jobs. 0 counts as no time.
LONG_AGO_S = 1


def register_batch(scans, template_path, mask_path, settings, folder, *, head_path=None, store="", code=None):
    """Register scans into `folder/<scan_id>`, each folder appearing whole or not at all.

    Parameters
    ----------
    scans : dict, scan_id to the path of the scan
    template_path, mask_path, settings, head_path, store, code : as of `store.register_shared`
    folder : path, the study's `registered`

    Returns
    -------
    DataFrame by tables.REGISTERED, in the order of `scans`

    Notes
    -----
    A job that was killed goes on where it was: a scan whose folder has the key that it would get now is not registered
    again, be it failed or not.
    """
    folder = Path(folder)
    images = {"template_path": template_path, "mask_path": mask_path, "head_path": head_path}
    rows = []
    for number, (scan_id, path) in enumerate(scans.items(), start=1):
        key = registration_key(path, settings=settings, code=code, **images)
        quality = read_finished(folder / scan_id, key)
        place = f"[{number}/{len(scans)}] {scan_id}"
        if quality:
            log.info("%s: there already", place)
        else:
            log.info("%s", place)
            # A name of this run alone: of a dead controller another job may still be at this scan.
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
    """The quality of a registered scan whose folder has this key and its files; None otherwise."""
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
    """Move a whole folder to its place; whoever was there first, as the job of a dead controller, made the same."""
    os.utime(beside, (LONG_AGO_S, LONG_AGO_S))
    aside = beside.with_name(beside.name.replace(".partial.", ".partial.old-", 1))  # swept up as any other
    with suppress(FileNotFoundError):
        os.rename(place, aside)
    os.rename(beside, place)
    shutil.rmtree(aside, ignore_errors=True)
