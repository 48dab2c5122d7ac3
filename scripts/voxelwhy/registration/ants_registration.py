"""One scan onto the template: the registered image, its quality figures and a picture. A bad scan is a result."""

from __future__ import annotations

import logging
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

import nibabel as nib
import numpy as np

from voxelwhy.errors import InputError
from voxelwhy.images import Grid, hash_voxels, read_volume, save_int16, write_json
from voxelwhy.registration.check_picture import draw_check, draw_failure
from voxelwhy.registration.syn_quick import ants, correct_bias, jacobian, register, require_transform, to_ants

log = logging.getLogger(__name__)

# What ANTs writes at its prefix, and what it is called in `transforms/`.
TRANSFORMS = {
    "0GenericAffine.mat": "affine.mat",
    "1Warp.nii.gz": "warp.nii.gz",
    "1InverseWarp.nii.gz": "inverse_warp.nii.gz",
}

# ANTs ends well also where it found nothing: a scan that was placed wrongly lies near 0, one with a strong bias field
# still above 0.3. (The script's coarsest level shrinks the grid by 8: at 5 mm it was seen to lose a real scan.)
LEAST_CORRELATION = 0.1


def register_scan(scan_path, template_path, mask_path, settings, out_dir, *, scan_id):
    """Register one scan to the template and write `t1.nii`, `quality.json` and `check.png` into `out_dir`.

    Parameters
    ----------
    scan_path, template_path, mask_path : paths; the scan, the template and its brain mask (both on one grid)
    settings : dict; transform ("rigid", "affine", "syn_quick"), n4 (bool), keep_transforms (bool, default False)
    out_dir : path; made if need be
    scan_id : str

    Returns
    -------
    quality : dict, the content of `quality.json`:

    - status "ok" or "failed", and the reason (one sentence); a failed scan has no `t1.nii`. Also failed is a scan
      whose correlation_brain is below 0.1
    - correlation_brain: Pearson's r with the template inside the brain mask
    - mask_dice: overlap (Dice) of the brain mask with the foreground of the registered scan (`ants.get_mask`)
    - jacobian_min, jacobian_max: range inside the brain of the warp's Jacobian, the affine part left out (SyN only)
    - int16_error_bound: largest difference between `t1.nii` and the image before it was rounded, in the scan's units
    - voxel_hash: of the scan's voxels as stored, so that a new header hides no duplicate
    - t1_hash: of the registered voxels, so that what follows is run again when, and only when, they changed

    Raises
    ------
    ConfigError : the transform is unknown.
    ShapeError : the mask is not on the template's grid.
    InputError : the template or its mask cannot be read. Whatever is wrong with the *scan* is a result, not an error.

    References
    ----------
    Avants 2011, NeuroImage 54:2033 (ANTs); Tustison 2010, IEEE Trans Med Imaging 29:1310 (N4).
    """
    require_transform(settings["transform"])
    template, mask = read_volume(template_path), read_volume(mask_path)
    Grid.of(template).require(Grid.of(mask), f"the brain mask {mask_path}")
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    quality = _blank(scan_id, settings)
    try:
        stored = read_volume(scan_path, reorient=False)
        quality["voxel_hash"] = hash_voxels(stored.dataobj)
        scan = nib.as_closest_canonical(stored)
    except InputError as error:
        log.warning("%s", error)
        return _failed(quality, f"{error.problem}: {_one_line(error.found)}", out_dir)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            warped, fixed = _run_ants(scan, template, settings, f"{scratch}/")
            _measure(quality, warped, fixed, np.asarray(mask.dataobj) > 0, Path(scratch))
        except (OSError, MemoryError):  # a full disk or memory is the machine's fault: the job fails and is run again
            raise
        except Exception as error:  # whatever ITK raises is about this scan: a result, so that the study goes on
            log.warning("registration failed", exc_info=True)
            return _failed(quality, f"registration failed: {_one_line(error)}", out_dir)
        if settings.get("keep_transforms", False):
            _keep_transforms(Path(scratch), out_dir / "transforms")
    values = warped.numpy()
    quality["t1_hash"] = hash_voxels(values)
    quality["int16_error_bound"] = save_int16(out_dir / "t1.nii", values, template.affine)
    write_json(out_dir / "quality.json", quality)
    draw_check(
        out_dir / "check.png",
        values,
        template.get_fdata(dtype=np.float32),
        np.asarray(mask.dataobj),
        template.affine,
        _title(quality),
    )
    return quality


def _run_ants(scan, template, settings, prefix):
    moving, fixed = to_ants(scan), to_ants(template)
    if settings.get("n4", False):
        moving = correct_bias(moving)
    return register(fixed, moving, settings["transform"], prefix), fixed


def _measure(quality, warped, fixed, brain, scratch):
    values = warped.numpy()
    if not np.isfinite(values).all():
        raise ValueError("the registered scan holds NaN or infinity")
    if values[brain].std() == 0:
        raise ValueError("the registered scan does not overlap the template's brain")
    quality["correlation_brain"] = float(np.corrcoef(values[brain], fixed.numpy()[brain])[0, 1])
    if quality["correlation_brain"] < LEAST_CORRELATION:
        r = quality["correlation_brain"]
        raise ValueError(f"the result does not resemble the template (r = {r:.2f} inside the brain)")
    foreground = ants.get_mask(warped.clone("float")).numpy() > 0
    quality["mask_dice"] = float(2 * (foreground & brain).sum() / (foreground.sum() + brain.sum()))
    if (scratch / "1Warp.nii.gz").exists():
        inside = jacobian(fixed, scratch / "1Warp.nii.gz")[brain]
        quality["jacobian_min"], quality["jacobian_max"] = float(inside.min()), float(inside.max())


def _keep_transforms(scratch, out_dir):
    out_dir.mkdir(exist_ok=True)
    for theirs, ours in TRANSFORMS.items():
        if (scratch / theirs).exists():
            shutil.move(scratch / theirs, out_dir / ours)


def _blank(scan_id, settings):
    figures = (
        "correlation_brain",
        "mask_dice",
        "jacobian_min",
        "jacobian_max",
        "int16_error_bound",
        "voxel_hash",
        "t1_hash",
    )
    return {
        "scan_id": scan_id,
        "status": "ok",
        "reason": None,
        **dict.fromkeys(figures),
        "transform": settings["transform"],
        "n4": bool(settings.get("n4", False)),
        "versions": {"antspyx": version("antspyx")},
    }


def _failed(quality, reason, out_dir):
    quality |= {"status": "failed", "reason": reason}
    for figure in ("correlation_brain", "mask_dice", "jacobian_min", "jacobian_max"):
        quality[figure] = None
    write_json(out_dir / "quality.json", quality)
    draw_failure(out_dir / "check.png", quality["scan_id"], reason)
    return quality


def _one_line(error):
    return " ".join(f"{error}".split())[:200] or type(error).__name__


def _title(quality):
    figures = f"r = {quality['correlation_brain']:.2f} inside the brain, overlap {quality['mask_dice']:.2f}"
    if quality["jacobian_min"] is not None:
        figures += f", Jacobian {quality['jacobian_min']:.2f} to {quality['jacobian_max']:.2f}"
    return f"{quality['scan_id']} · {quality['transform']}{' after N4' if quality['n4'] else ''}\n{figures}"
