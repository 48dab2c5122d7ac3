"""The template that every scan is brought to: ICBM152 on the study's grid, brain only or the whole head."""

from __future__ import annotations

import hashlib
from pathlib import Path

import nibabel as nib
import numpy as np
from nilearn.datasets import fetch_icbm152_2009, load_mni152_brain_mask, load_mni152_template
from nilearn.image import resample_img, smooth_img

from voxelwhy.errors import ConfigError, InputError
from voxelwhy.io.images import Grid
from voxelwhy.io.scans import looks_skull_stripped, read_scan

# Below a millimetre the template would be interpolated from nothing; above 10 mm no anatomy is left to register.
FINEST_MM, COARSEST_MM = 0.5, 10.0

HEAD_FILE = "mni_icbm152_t1_tal_nlin_sym_09a.nii"
# A whole-head template must show the ICBM152 brain where ours is. Inside it, at 4 mm, Colin27 (ch2, one person's head)
# correlates with it at 0.79, moved by 5 mm at 0.63, by 10 mm at 0.45.
LEAST_AGREEMENT, AGREEMENT_MM = 0.6, 4


def make_template(resolution_mm, grid="icbm"):
    """The ICBM152 T1 template and its brain mask on the study's grid.

    Parameters
    ----------
    resolution_mm : float
        Voxel size of the grid, mm, 0.5 to 10. Coarser than 1 mm, the template is smoothed first to that resolution
        (Gaussian of FWHM sqrt(resolution_mm² - 1) mm), so that it holds no detail which the grid cannot carry.
    grid : "icbm" (the paper's field of view) or "mni" (that of SPM and FSL)

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
    grid = Grid.named(grid, resolution_mm)
    brain = load_mni152_brain_mask(resolution=1)
    brain = nib.Nifti1Image(np.asarray(brain.dataobj, dtype=np.float32), brain.affine)
    mask = on_grid(brain, grid, resolution_mm) >= 0.5
    # Interpolation leaves values of 1e-9 outside the brain, which a mask "above zero" would take for brain.
    t1 = np.where(mask, on_grid(load_mni152_template(resolution=1), grid, resolution_mm), 0)
    return (
        nib.Nifti1Image(t1.astype(np.float32), grid.affine),
        nib.Nifti1Image(mask.astype(np.uint8), grid.affine),
    )


def find_head(path):
    """The path of the whole-head template: the one given, or where nilearn keeps what it fetched.

    Raises
    ------
    InputError : there is no such file; or none is named and nilearn cannot fetch it (no network).
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
            "the whole-head template cannot be fetched (this is the one step that needs the network)",
            found=f"{type(error).__name__}: {error}"[:200],
            hint=f"place {HEAD_FILE} of the ICBM 2009a Nonlinear Symmetric NIfTI archive of the MNI anywhere on this "
            "machine and set scans.template to its path",
        ) from error


def make_head_template(path, resolution_mm, grid="icbm", *, sha256=None):
    """The whole-head ICBM152 T1 template on the study's grid.

    Parameters
    ----------
    path : of the template, see `find_head`
    resolution_mm, grid : of the study's grid; smoothed and resampled as by `make_template`
    sha256 : str, optional; what the file's bytes must hash to

    Returns
    -------
    head : nibabel image, float32, (x, y, z) of that grid
    sha256 : str, of the file

    Raises
    ------
    InputError : the hash is another one; the file cannot be read, shows no skull, or its brain is not where that of
        ICBM152 is.
    """
    found = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    if sha256 is not None and found != sha256.lower():
        raise InputError(
            "the whole-head template is not the file that the config names",
            file=path,
            column="scans.template_sha256",
            found=found,
            allowed=sha256.lower(),
            hint="a packed and an unpacked file have different sums; correct scans.template or scans.template_sha256",
        )
    image = read_scan(path)
    stripped, cm3 = looks_skull_stripped(image)
    if stripped:
        raise InputError(
            "the whole-head template shows a brain only",
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
            found=f"inside its brain the two correlate at {agreement:.2f}",
            allowed=f"at least {LEAST_AGREEMENT:g}",
            hint=f"use {HEAD_FILE}",
        )
    lattice = Grid.named(grid, resolution_mm)
    return nib.Nifti1Image(on_grid(image, lattice, resolution_mm), lattice.affine), found


def _agreement(image):
    """Correlation of a head with the ICBM152 brain inside its mask."""
    t1, mask = make_template(AGREEMENT_MM)
    inside = np.asarray(mask.dataobj) > 0
    head = on_grid(image, Grid.icbm(AGREEMENT_MM), AGREEMENT_MM)[inside]
    return np.corrcoef(head, t1.get_fdata(dtype=np.float32)[inside])[0, 1] if head.std() else 0.0


def on_grid(image, grid, resolution_mm):
    """A map of the template at 1 mm on a grid of `resolution_mm`: smoothed to it, then linear. Float32 (x, y, z)."""
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
