"""Locate the registered scans: one folder per scan, given directly or listed in the manifests of batches."""

from __future__ import annotations

from pathlib import Path

from voxelwhy.errors import InputError
from voxelwhy.io.images import read_json
from voxelwhy.io.tables import REGISTERED, read_table


def read_registered(paths):
    """Return the folders of registered scans and the content of their `quality.json`.

    Parameters
    ----------
    paths : folders, each named after its scan; or manifests `<study>/batches/<number>.tsv` by tables.REGISTERED, which
        list folders in `<study>/registered`. A folder that no manifest lists (its scan left the table) is ignored

    Returns
    -------
    folders : dict, scan_id to Path
    qualities : dict, scan_id to dict

    Raises
    ------
    InputError : a folder is missing or is not the one that its manifest lists.
    """
    folders, qualities = {}, {}
    for path in map(Path, paths):
        if path.is_dir():
            folders[path.name], qualities[path.name] = path, read_json(path / "quality.json")
            continue
        for scan, key in read_table(path, REGISTERED)[["scan_id", "key"]].itertuples(index=False):
            folders[scan] = path.parents[1] / "registered" / scan
            qualities[scan] = _listed(folders[scan], key, path)
    return folders, qualities


def _listed(folder, key, manifest):
    try:
        quality = read_json(folder / "quality.json")
    except (OSError, ValueError):
        quality = {}
    if not quality or quality.get("key") != key:
        raise InputError(
            "a registered scan differs from the one that its batch made",
            file=folder,
            found="another registration" if quality else "no quality.json",
            hint=f"remove {manifest} and run snakemake again: only what is missing will be made",
        )
    return quality
