"""Merge the parts of a split's heatmaps, which separate jobs wrote, into the maps of the whole split."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from voxelwhy.errors import InputError
from voxelwhy.heatmaps.groups import Groups
from voxelwhy.heatmaps.sums import method_card
from voxelwhy.io.images import Grid, read_json, save_image, sidecar_of

#: Types of the columns of a part's scans.tsv.
FACT_TYPES = {"scan_id": str, "subject_id": str, "label": str, "cell": str, "saturated": bool}
STATISTICS = {"mean": "mean over maps", "sd": "standard deviation over maps"}


def merge_parts(folders, brain, counted, settings, *, method, classes, relevance_path, maps_dir, versions=None):
    """Merge the parts of a split; memory grows only with the tables of scans, not with the maps.

    Parameters
    ----------
    folders : paths of the parts, in order
    brain : nibabel image on the study's grid
    counted : 3-D bool array, the voxels whose relevance counts
    settings : dict, as in `explain_scans.explain_scans`
    method : str, name of the method
    relevance_path : path of the table for the rows of all parts, by tables.RELEVANCE
    maps_dir : path of the folder for the maps, each with its JSON: for each group of scans `mean_<group>.nii.gz` and
        `mean_<group>_scaled.nii.gz`; if it has two or more maps, `sd_<group>.nii.gz` and `sd_<group>_scaled.nii.gz`;
        and the maps of single scans

    Returns
    -------
    groups : DataFrame of `group_table`

    Raises
    ------
    InputError : a scan is in two parts, or the parts were made with another mask.
    """
    folders = [Path(folder) for folder in folders]
    tables = [pd.read_csv(folder / "scans.tsv", sep="\t", dtype=FACT_TYPES) for folder in folders]
    facts = pd.concat([table for table in tables if len(table)], ignore_index=True)  # a part may have no scan
    if (again := facts.duplicated(["scan_id", "fold", "cell"])).any():
        twice = facts.loc[again, "scan_id"].iloc[0]
        raise InputError("a scan is in two parts of the heatmaps", found=twice, hint="run snakemake again")
    groups, affine = Groups(classes, settings.get("judged", True), settings["target"]), Grid.of(brain).affine
    table = group_table(facts, groups)
    sums = [np.load(folder / "sums.npy", mmap_mode="r") for folder in folders]
    if any(part.shape[-1] != counted.sum() for part in sums):
        raise InputError("the parts of the heatmaps were made with another mask", hint="run snakemake again")
    digests = {}
    for folder in folders:
        digests |= read_json(folder / "card.json")["models_sha256"]
    for group, scaled, mean, sd in group_maps(sums, counted, table, groups):
        numbers = {"n_scans": int(group.n_scans), "n_subjects": int(group.n_subjects), "n_maps": int(group.n_maps)}
        explained = groups.explained_in(group.group)
        card = method_card(method, settings, digests, versions, target=explained, scaled=scaled, **numbers)
        card |= {"group": group.group, "share_outside": float(group.share_outside)}
        card |= {"negative_set_to_0": settings["target"] != "positive"}
        for kind, volume in (("mean", mean), ("sd", sd)):
            if volume is not None:
                name = f"{kind}_{group.group}{'_scaled' if scaled else ''}.nii.gz"
                save_image(Path(maps_dir, name), volume, affine, card | {"statistic": STATISTICS[kind]})
    for folder in folders:
        for image in sorted(folder.glob("scan_*.nii.gz")):
            for path in (image, Path(sidecar_of(image))):
                Path(maps_dir, path.name).write_bytes(path.read_bytes())
    _join(relevance_path, [folder / "relevance.tsv" for folder in folders])
    return table


def remove_other_parts(folders):
    """Remove the parts of earlier runs that divided the split into another number of parts."""
    kept = {Path(folder).resolve() for folder in folders}
    for place in {folder.parent for folder in kept}:
        for other in place.iterdir():
            if other.is_dir() and "-of-" in other.name and other.resolve() not in kept:
                shutil.rmtree(other, ignore_errors=True)


def _join(path, tables):
    """Concatenate tables with a common header, line by line."""
    with open(path, "w", encoding="utf-8", newline="") as joined:
        for number, table in enumerate(tables):
            with open(table, encoding="utf-8", newline="") as lines:
                header = next(lines)
                joined.writelines([header] if number == 0 else [])
                joined.writelines(lines)


def group_table(facts, groups):
    """Count the scans and subjects of each group, with its shares of saturated predictions and of relevance outside.

    Parameters
    ----------
    facts : DataFrame with the columns FACTS; a scan that several models explain has one row for each model
    groups : groups.Groups

    Returns
    -------
    DataFrame with group, n_scans, n_subjects (distinct), n_maps, share_saturated, share_outside (mean over maps); the
    shares of a group without scans are NaN
    """
    rows = []
    for group in groups.names:
        part = facts[facts["cell"].isin(groups.cells_in(group))]
        counts = {"n_scans": part["scan_id"].nunique(), "n_subjects": part["subject_id"].nunique(), "n_maps": len(part)}
        shares = {"share_saturated": part["saturated"].mean(), "share_outside": part["outside"].mean()}
        rows.append({"group": group} | counts | shares)
    return pd.DataFrame(rows)


def group_maps(parts, counted, table, groups):
    """Compute mean and standard deviation of the maps of each group that has scans, raw and scaled.

    Parameters
    ----------
    parts : list of arrays (cells, moments, voxels), `MapSums.values` of each part; memory maps are read cell by cell
    counted : 3-D bool array, the voxels whose relevance counts
    table : DataFrame of `group_table` over all parts
    groups : groups.Groups

    Yields
    ------
    row : namedtuple of the table
    scaled : bool
    mean, sd : float64 arrays, counted.shape; 0 outside `counted`. `sd` is over maps with denominator n - 1, and None
        for a single map.
    """
    for row in table.itertuples():
        if not row.n_maps:
            continue
        members = [groups.cells.index(name) for name in groups.cells_in(row.group)]
        for scaled in (False, True):
            total, squares = (
                sum(part[cell, 2 * scaled + moment] for part in parts for cell in members) for moment in (0, 1)
            )
            mean = total / row.n_maps
            sd = None
            if row.n_maps > 1:
                # Rounding can make this slightly negative where all maps agree.
                sd = np.sqrt(np.maximum(squares - row.n_maps * mean**2, 0) / (row.n_maps - 1))
            yield row, scaled, _placed(mean, counted), None if sd is None else _placed(sd, counted)


def _placed(values, counted):
    volume = np.zeros(counted.shape)
    volume[counted] = values
    return volume
