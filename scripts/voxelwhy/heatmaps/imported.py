"""Imported mean heatmaps, made elsewhere: read, checked to lie on the study's grid, and summed by region."""

from __future__ import annotations

import hashlib
from pathlib import Path

import nibabel as nib
import numpy as np

from voxelwhy.errors import InputError, ShapeError
from voxelwhy.heatmaps.region_sums import rank_regions, relevance_by_region
from voxelwhy.io.arrays import read_arrays
from voxelwhy.io.images import Grid, read_volume


def import_heatmap(entry, labels, regions, mask):
    """Read an imported map in the form of the study's own maps: on the grid, 0 outside the brain, summed by region.

    Parameters
    ----------
    entry : dict, of `heatmaps.others`: name, file, group, and optionally array, n_subjects, n_scans and note
    labels : nibabel image, the atlas on the study's grid
    regions : DataFrame by tables.ATLAS
    mask : nibabel image, the brain on the study's grid

    Returns
    -------
    heatmap : float32 array, the grid's shape
    table : DataFrame by tables.IMPORTED; rank 1 is the region with the largest enrichment
    card : dict of facts about the map, with the SHA-256 of its file and the share of |relevance| outside the brain

    Raises
    ------
    ShapeError : the map is on another grid; nothing is resampled.
    InputError : the file cannot be read, lacks the array, or contains NaN, infinity, or no relevance inside the brain.
    """
    path, grid, brain = entry["file"], Grid.of(mask), np.asarray(mask.dataobj) > 0
    whole = _from_npz(entry, grid) if path.endswith(".npz") else _from_nifti(path, grid)
    heatmap = np.where(brain, whole, np.float32(0))
    if not heatmap.any():
        raise InputError("the map is zero everywhere inside the brain", file=path, found=entry.get("array"))
    total, inside = (np.abs(values, dtype=np.float64).sum() for values in (whole, heatmap))
    table = relevance_by_region(heatmap, np.asarray(labels.dataobj).astype(np.int32), regions, brain)
    rank = rank_regions(table["enrichment"])
    facts = {"name": entry["name"], "group": entry["group"]}
    table = table.assign(**facts, volume_mm3=regions["volume_mm3"].to_numpy(), rank=rank)
    known = {key: entry.get(key) for key in ("array", "n_subjects", "n_scans", "note")}
    card = facts | known | {"file": Path(path).name, "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()}
    card |= {"share_outside_brain": float(1 - inside / total), "units": "as in the file", "made_by": "others"}
    return heatmap, table, card


def _from_npz(entry, grid):
    path, arrays = entry["file"], read_arrays(entry["file"])
    name = entry.get("array", next(iter(arrays), None) if len(arrays) == 1 else None)
    if name not in arrays:
        raise InputError(
            "the setting array of an imported map names no array of its file"
            if name
            else "an imported map needs the setting array: its file does not contain exactly one array",
            file=path,
            found=name or f"{len(arrays)} arrays",
            allowed=sorted(arrays),
        )
    values = arrays[name].astype(np.float32)
    if values.shape != grid.shape:
        raise ShapeError(
            f"{path}: array {name} is not on the study's grid: shape {values.shape}; expected {grid.in_words()}. "
            "A .npz file has no affine, so only its shape can be checked, and nothing is resampled"
        )
    if not np.isfinite(values).all():
        found = f"{int((~np.isfinite(values)).sum())} voxels"
        raise InputError(f"the array {name} contains NaN or infinity", file=path, found=found, allowed="finite numbers")
    return values


def _from_nifti(path, grid):
    image = read_volume(path)
    there = Grid.of(image)
    if there.shape == grid.shape and np.array_equal(nib.load(path).affine, np.eye(4)):
        raise ShapeError(
            f"{path} has the shape of the study's grid, but the identity matrix as its affine. "
            f"Expected {grid.in_words()}. If you know that its voxels are those of this grid, save its array as .npz"
        )
    grid.require(there, path)
    return np.asarray(image.dataobj, dtype=np.float32)
