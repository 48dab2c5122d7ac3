"""The network mask, which defines the voxels that a network sees: brain, grey and white matter, or the user's mask."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from nilearn.datasets import load_mni152_gm_template, load_mni152_wm_template

from voxelwhy.errors import InputError
from voxelwhy.io.images import Grid, read_volume
from voxelwhy.registration.template import on_grid


def make_network_mask(kind, brain):
    """Make the network mask on the study's grid.

    Parameters
    ----------
    kind : "brain", "grey_white" (brain voxels where the template's probabilities of grey and white matter sum to at
        least 0.5 on the study's grid), or the path of a NIfTI mask on that grid
    brain : nibabel image, the brain mask of `make_template`

    Returns
    -------
    mask : nibabel image, uint8, on the grid of `brain`; 1 where the network sees the scan

    Raises
    ------
    ShapeError : the file is on another grid; the message names both, and nothing is resampled.
    InputError : the file cannot be read, is not binary (0 and one positive number), or contains no brain voxel.

    References
    ----------
    Fonov 2011, NeuroImage 54:313 (tissue probabilities of ICBM152 2009a symmetric, as nilearn ships them).
    """
    grid, inside = Grid.of(brain), np.asarray(brain.dataobj) > 0
    if kind == "brain":
        seen = inside
    elif kind == "grey_white":
        tissues = [load(resolution=1) for load in (load_mni152_gm_template, load_mni152_wm_template)]
        seen = inside & (sum(on_grid(tissue, grid, float(grid.voxel_mm[0])) for tissue in tissues) >= 0.5)
    else:
        seen = _read_mask(kind, grid)
    if not (seen & inside).any():
        raise InputError(
            "the network mask does not overlap the brain",
            file=kind,
            found=f"{int(seen.sum())} voxels, none of them inside the brain",
            hint="check its affine and its grid",
        )
    return nib.Nifti1Image(seen.astype(np.uint8), grid.affine)


def _read_mask(path, grid):
    image = read_volume(path, placed=True)
    grid.require(Grid.of(image), f"the mask {path}")
    values = np.unique(image.dataobj)
    if len(values) > 2 or values[0] < 0 or (len(values) == 2 and values[0] != 0):
        raise InputError(
            "the network mask is not binary",
            file=path,
            found=f"{len(values)} different values from {values[0]:g} to {values[-1]:g}",
            allowed="0, and one positive number where the network sees the scan",
        )
    return np.asarray(image.dataobj) > 0
