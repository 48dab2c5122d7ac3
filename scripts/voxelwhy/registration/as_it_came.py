"""Scans that others have registered: each is checked and taken over as it came, without ANTs."""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np

from voxelwhy.errors import InputError, explain
from voxelwhy.io.images import Grid, hash_voxels, read_volume, save_int16
from voxelwhy.io.scans import read_scan, relative_signal
from voxelwhy.registration.check_picture import draw_panels
from voxelwhy.registration.quality import PANELS, blank_quality, failed_quality, one_line

log = logging.getLogger(__name__)

#: Share of the brain's voxels that may lack a value (NaN or infinity), as at the edge of a scanner's field of view.
MOST_MISSING = 0.05
#: Of the maximum; above it, a voxel belongs to the foreground of a scan.
FOREGROUND = 0.1


def make_registration(scan_path, template_path, mask_path, settings, out_dir, *, head_path=None):
    """Check a scan that lies on the study's grid already, and write it as `t1.nii`, and `panels.png`, into `out_dir`.

    Voxels without a value (NaN or infinity) become 0. Nothing else changes: a whole head stays one, since the network,
    the baseline and the heatmaps see the voxels of their masks alone. So neither its brain nor a whole-head template
    is needed.

    Parameters
    ----------
    scan_path, template_path, mask_path, out_dir : as in `register.register_scan`
    head_path : not used; the other registrations of whole heads need it
    settings : dict; transform ("none") and, optionally, modality ("t1w", the default, "gm", "pet" or "other"). What
        holds for T1-weighted scans alone is neither checked nor measured for other images

    Returns
    -------
    quality : dict, as in `register.make_registration`; in addition modality, and voxels_without_value, their number in
        the brain. mask_dice is the overlap of all voxels above a tenth of the maximum with the brain mask: about 0.95
        for brains, and less for heads

    Raises
    ------
    ShapeError : the mask is not on the template's grid.
    InputError : the template or its mask cannot be read. A fault of the *scan* is a result, not an error: it cannot be
        read, is not on the study's grid, does not overlap the brain, or has no value in part of the brain.
    """
    template, brain = _read_template(*((str(path), _changed(path)) for path in (template_path, mask_path)))
    out_dir.mkdir(parents=True, exist_ok=True)
    modality = settings.get("modality", "t1w")
    quality = blank_quality(settings) | {"modality": modality, "voxels_without_value": None}
    try:
        scan = read_scan(scan_path, reorient=False, modality=modality, finite=False)
        quality["voxel_hash"] = hash_voxels(scan.dataobj)
        values = _with_values(_on_grid(scan, Grid.of(template)), brain, quality)
        _measure(quality, values, np.asarray(template.dataobj), brain)
    except InputError as error:
        if explain(error, out_dir):  # a failing file server is not the scan's fault
            raise
        log.warning("%s", error)
        return failed_quality(quality, f"{error.problem}: {one_line(error.found)}")
    quality["t1_hash"] = hash_voxels(values)
    quality["int16_error_bound"] = save_int16(out_dir / "t1.nii", values, template.affine)
    draw_panels(out_dir / PANELS, values, np.asarray(template.dataobj), brain.astype(np.uint8), template.affine)
    return quality


def _changed(path):
    return Path(path).stat().st_mtime_ns


@lru_cache(maxsize=1)
def _read_template(template, mask):
    """The template and the voxels of its brain mask; a batch reads them once."""
    template, mask = read_volume(template[0]), read_volume(mask[0])
    Grid.of(template).require(Grid.of(mask), "the brain mask")
    return template, np.asarray(mask.dataobj) > 0


def _on_grid(scan, wanted):
    """The values of a scan (x, y, z), RAS+, if it lies on the study's grid."""
    scan = nib.as_closest_canonical(scan)
    ours = Grid.of(scan)
    if not wanted.near(ours):
        raise InputError(
            "the scan is not on the study's grid", found=f"{ours.in_words()}; the study's: {wanted.in_words()}"
        )
    return np.asarray(scan.dataobj)


def _with_values(values, brain, quality):
    missing = np.isnan(values)
    quality["voxels_without_value"] = n = int(missing[brain].sum())
    if n > MOST_MISSING * brain.sum():
        raise InputError(
            "the scan has no value in part of the brain", found=f"{n} of {int(brain.sum())} voxels are NaN or infinite"
        )
    return np.where(missing, 0, values)


def _measure(quality, values, template, brain):
    """Write the quality measures into `quality`."""
    if values[brain].std() == 0:
        raise InputError("the scan does not overlap the template's brain", found="one value in all of the brain")
    if quality["modality"] != "t1w":
        return
    quality["correlation_brain"] = float(np.corrcoef(values[brain], template[brain])[0, 1])
    foreground = relative_signal(values) > FOREGROUND
    quality["mask_dice"] = float(2 * (foreground & brain).sum() / (foreground.sum() + brain.sum()))
