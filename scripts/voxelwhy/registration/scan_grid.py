"""The grid of a study whose scans others have registered (`registration.grid: scans`): that of the scans themselves."""

from __future__ import annotations

import logging

import nibabel as nib
import numpy as np

from voxelwhy.errors import ConfigError, InputError
from voxelwhy.io.images import Grid

log = logging.getLogger(__name__)

#: How far registration.resolution_mm may be from the voxel size of the scans, and the edges of a voxel from each other.
SIZE_TOLERANCE = 0.01
#: Largest entry of the affine, in voxels, beside its diagonal: template space is not rotated.
MOST_ROTATED = 1e-3


def find_grid(paths, resolution_mm):
    """Find the grid that all scans share, from their headers.

    Parameters
    ----------
    paths : dict, scan_id to the path of the scan
    resolution_mm : float, the voxel size that the config states, mm

    Returns
    -------
    grid : Grid, in RAS+
    first : str, scan_id of the first scan that can be read; one that cannot be read is excluded when it is taken over

    Raises
    ------
    InputError : no scan can be read, or two scans are on different grids (the message names both).
    ConfigError : the grid is rotated, its voxels are not cubes, or their size is not `resolution_mm`.
    """
    first, grid, others = None, None, []
    for scan, path in paths.items():
        try:
            found = Grid.upright(nib.load(path))
        except Exception as error:  # nibabel raises exceptions of many kinds; taking over the scan reports the reason
            log.warning("%s cannot be read: %s", path, error)
            continue
        if grid is None:
            first, grid = scan, found
        elif not grid.near(found):
            others.append((scan, found))
    if grid is None:
        raise InputError(
            "no scan can be read, so that the study has no grid",
            file=next(iter(paths.values()), None),
            allowed="NIfTI, MGZ or Analyze files on one grid",
        )
    if others:
        scan, found = others[0]
        raise InputError(
            f"the scans are not on one grid: {len(others)} of {len(paths)} differ from the first one, and nothing is "
            "resampled",
            found=f"{first}: {grid.in_words()}; {scan}: {found.in_words()}",
            allowed="one grid for all scans",
            hint="choose images of one space and resolution (cohort.entities in a BIDS dataset), reject scans with "
            "registration.skip, or resample them first",
        )
    _require_template_axes(grid, first)
    _require_size(grid, resolution_mm)
    log.info("the grid of all %d scans: %s", len(paths), grid.in_words())
    return grid, first


def _require_template_axes(grid, scan):
    axes = grid.affine[:3, :3] / grid.voxel_mm
    if np.abs(axes - np.diag(np.diag(axes))).max() > MOST_ROTATED:
        raise ConfigError(
            "the grid of the scans is rotated, so they are not in the space of the template",
            column="registration.grid",
            found=f"{scan}: affine {grid.affine[:3].round(3).tolist()}",
            allowed="scans in MNI space, with voxel axes along x, y and z",
            hint="choose the images in template space (cohort.entities: {space: ...} in a BIDS dataset), or have the "
            "scans registered here (registration.transform)",
        )


def _require_size(grid, resolution_mm):
    edges = grid.voxel_mm
    if edges.max() > (1 + SIZE_TOLERANCE) * edges.min():
        raise ConfigError(
            "the voxels of the scans are not cubes",
            column="registration.grid",
            found=f"{' x '.join(f'{edge:.4g}' for edge in edges)} mm",
            allowed="three equal edges",
            hint="resample the scans first, for example with nilearn.image.resample_img",
        )
    size = round(float(edges.mean()), 3)
    if abs(size - resolution_mm) > SIZE_TOLERANCE * resolution_mm:
        raise ConfigError(
            "registration.resolution_mm is not the voxel size of the scans",
            column="registration.resolution_mm",
            found=f"{resolution_mm:g} mm",
            allowed=f"{size:g} mm",
            hint=f"set registration.resolution_mm: {size:g}",
        )
