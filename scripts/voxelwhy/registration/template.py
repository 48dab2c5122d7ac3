"""The template to which every scan is registered: ICBM152 on the study's grid, skull-stripped or whole-head."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import nibabel as nib
import numpy as np
from nilearn.datasets import fetch_icbm152_2009, load_mni152_brain_mask, load_mni152_template
from nilearn.image import resample_img, smooth_img

from voxelwhy.errors import ConfigError, InputError
from voxelwhy.io.images import Grid
from voxelwhy.io.scans import looks_skull_stripped, read_scan

log = logging.getLogger(__name__)

# Limits of the resolution. The source has 1 mm, so a finer grid adds no detail; above 10 mm no anatomy is left to
# register.
FINEST_MM, COARSEST_MM = 0.5, 10.0
#: Voxel size of the template over which maps of a coarser grid are drawn: that of its file.
DRAWN_MM = 1

#: Share of the template's brain that the study's grid must hold, and below which the log reports it.
LEAST_BRAIN, MOST_BRAIN = 0.5, 0.97
HEAD_FILE = "mni_icbm152_t1_tal_nlin_sym_09a.nii"
# A whole-head template must show its brain where ICBM152 has it. Measured at 4 mm inside the brain, the correlation
# with ICBM152 is 0.79 for Colin27 (ch2, the head of one person), 0.63 when moved by 5 mm, and 0.45 when moved by 10 mm.
LEAST_AGREEMENT, AGREEMENT_MM = 0.6, 4


def make_template(resolution_mm, grid="icbm"):
    """Make the ICBM152 T1 template and its brain mask on the study's grid.

    Parameters
    ----------
    resolution_mm : float
        Voxel size of the grid, 0.5 to 10 mm. Above 1 mm, the template is first smoothed to that resolution (Gaussian
        of FWHM sqrt(resolution_mm² - 1) mm), so that it contains no detail finer than the grid.
    grid : "icbm" (the paper's field of view), "mni" (that of SPM and FSL), or a Grid

    Returns
    -------
    t1 : nibabel image, float32, (x, y, z) of `Grid.named`; 0 to 1, exactly 0 outside the brain
    mask : nibabel image, uint8, same grid; 1 where at least half of the (smoothed) voxel is brain

    Raises
    ------
    ConfigError
        `resolution_mm` is outside 0.5 to 10 mm.

    References
    ----------
    Fonov 2011, NeuroImage 54:313 (ICBM152 2009a symmetric, as nilearn ships it).
    """
    if not FINEST_MM <= resolution_mm <= COARSEST_MM:
        raise ConfigError(
            "the template's resolution is out of range",
            column="registration: resolution_mm",
            found=resolution_mm,
            allowed=f"{FINEST_MM:g} to {COARSEST_MM:g} mm",
        )
    grid = grid if isinstance(grid, Grid) else Grid.named(grid, resolution_mm)
    brain = load_mni152_brain_mask(resolution=1)
    brain = nib.Nifti1Image(np.asarray(brain.dataobj, dtype=np.float32), brain.affine)
    mask = on_grid(brain, grid, resolution_mm) >= 0.5
    # Interpolation leaves values of 1e-9 outside the brain, which a threshold at zero would count as brain.
    t1 = np.where(mask, on_grid(load_mni152_template(resolution=1), grid, resolution_mm), 0)
    return (
        nib.Nifti1Image(t1.astype(np.float32), grid.affine),
        nib.Nifti1Image(mask.astype(np.uint8), grid.affine),
    )


def require_brain(mask):
    """Refuse a grid on which most of the template's brain does not lie; report it if some does not.

    Parameters
    ----------
    mask : nibabel image, the brain mask on the study's grid

    Raises
    ------
    InputError : less than half of the brain lies on the grid.
    """
    whole = load_mni152_brain_mask(resolution=1)
    found = np.count_nonzero(mask.dataobj) * Grid.of(mask).voxel_mm3
    share = found / (np.count_nonzero(whole.dataobj) * Grid.of(whole).voxel_mm3)
    if share < LEAST_BRAIN:
        raise InputError(
            "the grid does not hold the brain of the template",
            found=f"{share:.0%} of it; {Grid.of(mask).in_words()}",
            allowed=f"at least {LEAST_BRAIN:.0%}",
            hint="the scans must be in MNI space: check their affines",
        )
    if share < MOST_BRAIN:
        log.warning(
            "%.0f %% of the template's brain lie outside the grid of the scans and are not seen", 100 - 100 * share
        )


def find_head(path):
    """Return the path of the whole-head template: the given one, or the one that nilearn fetched.

    Raises
    ------
    InputError : the file does not exist; or none is given and nilearn cannot fetch it (no network).
    """
    if path is not None:
        if not Path(path).is_file():
            raise InputError(
                "the whole-head template does not exist",
                file=path,
                allowed=f"{HEAD_FILE} (or .nii.gz) of the ICBM 2009a Nonlinear Symmetric NIfTI archive of the MNI",
                hint="place it there, or set scans.template to where it is",
            )
        return Path(path)
    try:
        return Path(fetch_icbm152_2009(verbose=0)["t1"])
    except Exception as error:  # requests, urllib and nilearn each raise their own kinds
        raise InputError(
            "the whole-head template cannot be fetched (only this step needs network access)",
            found=f"{type(error).__name__}: {error}"[:200],
            hint=f"place {HEAD_FILE} of the ICBM 2009a Nonlinear Symmetric NIfTI archive of the MNI anywhere on this "
            "machine and set scans.template to its path",
        ) from error


def make_head_template(path, resolution_mm, grid="icbm", *, sha256=None):
    """Make the whole-head ICBM152 T1 template on the study's grid.

    Parameters
    ----------
    path : of the template, see `find_head`
    resolution_mm, grid : of the study; the template is smoothed and resampled as in `make_template`
    sha256 : str, optional; the expected hash of the file

    Returns
    -------
    head : nibabel image, float32, (x, y, z) of that grid
    sha256 : str, of the file

    Raises
    ------
    InputError : the hash differs; the file cannot be read, is skull-stripped, or its brain does not lie where that of
        ICBM152 lies.
    """
    found = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    if sha256 is not None and found != sha256.lower():
        raise InputError(
            "the whole-head template is not the file that the config names",
            file=path,
            column="scans.template_sha256",
            found=found,
            allowed=sha256.lower(),
            hint="the hashes of .nii and .nii.gz differ; correct scans.template or scans.template_sha256",
        )
    image = read_scan(path)
    stripped, cm3 = looks_skull_stripped(image)
    if stripped:
        raise InputError(
            "the whole-head template is skull-stripped",
            file=path,
            column="scans.template",
            found=f"{cm3:.0f} cm³ without a skull",
            hint=f"use {HEAD_FILE}",
        )
    agreement = _agreement(image)
    if agreement < LEAST_AGREEMENT:
        raise InputError(
            "the whole-head template is not in the space of ICBM152",
            file=path,
            column="scans.template",
            found=f"correlation with ICBM152 inside the brain: {agreement:.2f}",
            allowed=f"at least {LEAST_AGREEMENT:g}",
            hint=f"use {HEAD_FILE}",
        )
    lattice = Grid.named(grid, resolution_mm)
    return nib.Nifti1Image(on_grid(image, lattice, resolution_mm), lattice.affine), found


def _agreement(image):
    """Return the correlation of a head with ICBM152 inside the brain mask."""
    t1, mask = make_template(AGREEMENT_MM)
    inside = np.asarray(mask.dataobj) > 0
    head = on_grid(image, Grid.icbm(AGREEMENT_MM), AGREEMENT_MM)[inside]
    return np.corrcoef(head, t1.get_fdata(dtype=np.float32)[inside])[0, 1] if head.std() else 0.0


def on_grid(image, grid, resolution_mm):
    """Resample a 1 mm map to a grid of `resolution_mm`: smoothing, then linear interpolation; float32 (x, y, z)."""
    if resolution_mm > 1:
        image = smooth_img(image, np.sqrt(resolution_mm**2 - 1))
    return resample_img(
        image,
        target_affine=grid.affine,
        target_shape=grid.shape,
        interpolation="linear",
        copy_header=True,
        force_resample=True,
    ).get_fdata(dtype=np.float32)
