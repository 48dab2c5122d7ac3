"""Register one scan to the template, and write the image, its quality measures and a picture.

A scan that cannot be registered is a result (status "failed"), not an error.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

from voxelwhy.errors import ConfigError, InputError, explain, require_room
from voxelwhy.io.channels import WARPS
from voxelwhy.io.images import Grid, hash_voxels, read_volume, save_image, save_int16
from voxelwhy.io.scans import looks_skull_stripped, read_scan
from voxelwhy.registration.ants import ants, correct_bias, jacobian, register, require_transform, to_ants
from voxelwhy.registration.check_picture import draw_panels
from voxelwhy.registration.maps import make_maps
from voxelwhy.registration.quality import PANELS, blank_quality, failed_quality, name_registration, one_line
from voxelwhy.registration.whole_head import brain_mask_of_scan, extract_brain

log = logging.getLogger(__name__)

# The files that ANTs writes at its prefix, and their names in `transforms/`.
TRANSFORMS = {
    "0GenericAffine.mat": "affine.mat",
    "1Warp.nii.gz": "warp.nii.gz",
    "1InverseWarp.nii.gz": "inverse_warp.nii.gz",
}


def register_scan(scan_path, template_path, mask_path, settings, out_dir, *, scan_id, head_path=None):
    """Register one scan to the template and write `t1.nii`, `quality.json` and `check.png` into `out_dir`.

    Parameters
    ----------
    scan_path, template_path, mask_path : paths; the scan (a file, or a folder of DICOM files), the template and its
        brain mask (both on one grid)
    settings : dict; transform ("rigid", "affine", "syn_quick" or "syn_cc"; for scans that others have registered see
        `as_it_came`), maps (list of further images to make, see `maps.make_maps`; none by default), n4 (bool),
        keep_transforms (bool, default False), extract (optional command that extracts the brain from a whole head, see
        `whole_head.extract_brain`) and with it skull_stripped ("auto", "true", "false")
    out_dir : path; created if needed
    scan_id : str
    head_path : path of the whole-head template, for a study of whole heads. The scan is then registered to it, `t1.nii`
        keeps the voxels inside the brain mask, and the mask is transformed back and written as `brain_mask.nii.gz`
        (uint8, on the scan's own grid in RAS+)

    Returns
    -------
    quality : dict, the content of `quality.json`:

    - status "ok" or "failed", and the reason (one sentence); a failed scan has no `t1.nii`. Whether a registered scan
      is good enough is decided by `selection.select_scans`
    - skull_stripped, scan_cm3: whether the scan appears to be skull-stripped, and its volume; brain_cm3: volume of the
      mask that was transformed back (whole heads only)
    - correlation_brain: Pearson's r with the template inside the brain mask
    - mask_dice: overlap (Dice) of the foreground of the registered scan (`ants.get_mask`) with the brain mask, or with
      the foreground of the whole-head template
    - jacobian_min, jacobian_max: range of the warp's Jacobian inside the brain, without the affine part (SyN only)
    - int16_error_bound: largest difference between `t1.nii` and the image before rounding, in the scan's units
    - voxel_hash: hash of the scan's voxels as stored, so that a new header does not hide a duplicate
    - t1_hash: hash of the registered voxels, so that later steps are run again if, and only if, these changed
    - maps: by name, the hash of each further image (`<name>.nii`, int16 with scale) and its int16_error_bound

    Raises
    ------
    ConfigError : the transform is unknown, or maps are requested with a transform that does not deform; the program
        that extracts brains cannot be started.
    ShapeError : the mask or the whole-head template is not on the template's grid.
    InputError : a template or its mask cannot be read. A fault of the *scan* is a result, not an error.

    References
    ----------
    Avants 2011, NeuroImage 54:2033 (ANTs); Tustison 2010, IEEE Trans Med Imaging 29:1310 (N4).
    """
    out_dir = Path(out_dir)
    quality = make_registration(scan_path, template_path, mask_path, settings, out_dir, head_path=head_path)
    return name_registration(out_dir, quality, scan_id=scan_id)


def make_registration(scan_path, template_path, mask_path, settings, out_dir, *, head_path=None):
    """Do everything of `register_scan` that does not depend on the scan's name; same parameters and errors.

    Writes `t1.nii`, `panels.png` and, if requested, `brain_mask.nii.gz` and `transforms/`. Nothing is written for a
    scan that cannot be registered.

    Returns
    -------
    quality : dict, without `scan_id`
    """
    names = settings.get("maps", [])
    if names and settings["transform"] not in WARPS:
        raise ConfigError("only a deformable registration gives maps", found=settings["transform"], allowed=WARPS)
    require_transform(settings["transform"])
    template, mask = read_volume(template_path), read_volume(mask_path)
    target = read_volume(head_path) if head_path else template
    for image, path in ((mask, mask_path), (target, head_path)):
        Grid.of(template).require(Grid.of(image), f"the image {path}")
    out_dir.mkdir(parents=True, exist_ok=True)
    quality = blank_quality(settings)
    brain = np.asarray(mask.dataobj) > 0
    with tempfile.TemporaryDirectory() as scratch:
        prefix = f"{scratch}/"
        try:
            scan = _read(scan_path, settings, quality, scratch)
            warped, fixed, moving = _onto_grid(scan, target, settings, prefix)
            _measure(quality, warped, fixed, brain, Path(scratch), whole_head=head_path is not None)
            if head_path:
                _keep_brain(quality, nib.as_closest_canonical(scan), mask, prefix, out_dir)
            maps = (
                make_maps(names, scan, moving, fixed, mask, prefix, whole_head=head_path is not None) if names else {}
            )
        except (OSError, MemoryError, ConfigError):  # such as a full disk, not the scan's fault: the job fails
            raise
        except InputError as error:
            if explain(error, scratch):  # a failing file server is not the scan's fault either
                raise
            log.warning("%s", error)
            return _failed(quality, f"{error.problem}: {one_line(error.found)}", out_dir)
        except Exception as error:  # any other error of ITK concerns this scan: a result, so that the study continues
            require_room(scratch)  # except on a full disk, which ITK does not report itself
            if explain(error, scratch):
                raise
            log.warning("registration failed", exc_info=True)
            return _failed(quality, f"registration failed: {one_line(error)}", out_dir)
        if settings.get("keep_transforms", False):
            _keep_transforms(Path(scratch), out_dir / "transforms")
    whole = warped.numpy()
    values = np.where(brain, whole, 0) if head_path else whole  # later steps expect the brain only
    quality["t1_hash"] = hash_voxels(values)
    quality["int16_error_bound"] = save_int16(out_dir / "t1.nii", values, template.affine)
    for name, image in maps.items():
        bound = save_int16(out_dir / f"{name}.nii", image, template.affine)
        quality["maps"][name] = {"hash": hash_voxels(image), "int16_error_bound": bound}
    fine = template.get_fdata(dtype=np.float32)
    # A head is drawn whole: masked, it would match the outline of the mask even when misregistered.
    draw_panels(out_dir / PANELS, whole, fine, brain.astype(np.uint8), template.affine)
    return quality


def _read(path, settings, quality, scratch):
    """Read the scan, extract its brain if the settings ask for it, and record both in `quality`.

    The scan is not reoriented. ANTs handles orientations itself, and a rounding of the origin (1e-6 mm) would change
    the result of its optimisers. So the result equals that of calling ANTs on the file.
    """
    scan = read_scan(path, reorient=False)
    quality["voxel_hash"] = hash_voxels(scan.dataobj)
    quality["skull_stripped"], quality["scan_cm3"] = looks_skull_stripped(scan)
    if settings.get("extract"):
        whole = {"true": False, "false": True}.get(settings["skull_stripped"], not quality["skull_stripped"])
        scan = extract_brain(scan, settings["extract"], scratch) if whole else scan
    return scan


def _onto_grid(scan, target, settings, prefix):
    """Return ANTs images: the scan on the target's grid, the target, and the scan as it was registered."""
    fixed = to_ants(target)
    moving = to_ants(scan)
    if settings.get("n4", False):
        moving = correct_bias(moving)
    return register(fixed, moving, settings["transform"], prefix), fixed, moving


def _measure(quality, warped, fixed, brain, scratch, *, whole_head):
    """Write the quality measures into `quality`."""
    values = warped.numpy()
    if not np.isfinite(values).all():
        raise ValueError("the registered scan holds NaN or infinity")
    if values[brain].std() == 0:
        raise ValueError("the registered scan does not overlap the template's brain")
    quality["correlation_brain"] = float(np.corrcoef(values[brain], fixed.numpy()[brain])[0, 1])
    foreground = ants.get_mask(warped.clone("float")).numpy() > 0
    wanted = ants.get_mask(fixed.clone("float")).numpy() > 0 if whole_head else brain
    quality["mask_dice"] = float(2 * (foreground & wanted).sum() / (foreground.sum() + wanted.sum()))
    if (scratch / "1Warp.nii.gz").exists():
        inside = jacobian(fixed, scratch / "1Warp.nii.gz")[brain]
        quality["jacobian_min"], quality["jacobian_max"] = float(inside.min()), float(inside.max())


def _keep_brain(quality, scan, mask, prefix, out_dir):
    brain = brain_mask_of_scan(scan, mask, prefix)
    quality["brain_cm3"] = float(brain.sum() * Grid.of(scan).voxel_mm3 / 1000)
    save_image(out_dir / "brain_mask.nii.gz", brain, scan.affine)


def _keep_transforms(scratch, out_dir):
    out_dir.mkdir(exist_ok=True)
    for theirs, ours in TRANSFORMS.items():
        if (scratch / theirs).exists():
            shutil.move(scratch / theirs, out_dir / ours)


def _failed(quality, reason, out_dir):
    (out_dir / "brain_mask.nii.gz").unlink(missing_ok=True)
    return failed_quality(quality, reason)
