"""The template that every scan is brought to: ICBM152, brain only, on the study's grid."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from nilearn.datasets import load_mni152_brain_mask, load_mni152_template
from nilearn.image import resample_img, smooth_img

from voxelwhy.errors import ConfigError
from voxelwhy.images import Grid

# Below a millimetre the template would be interpolated from nothing; above 10 mm no anatomy is left to register.
FINEST_MM, COARSEST_MM = 0.5, 10.0


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
