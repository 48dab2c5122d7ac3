"""Whole heads: the external extraction of a brain, and the template's brain mask carried back into a scan."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np

from voxelwhy.errors import ConfigError, InputError
from voxelwhy.io.scans import looks_skull_stripped, read_scan
from voxelwhy.registration.ants import ants, to_ants


def extract_brain(scan, command, folder):
    """Run an external brain extraction on a scan.

    Parameters
    ----------
    scan : nibabel image
    command : str; a program and its arguments with {scan} and {brain}, the paths of the scan and of what it is to
        write (both .nii.gz). Run without a shell
    folder : path, of a temporary folder

    Returns
    -------
    nibabel image of the brain, as the program stored it

    Raises
    ------
    ConfigError : the command cannot be taken apart, or there is no such program.
    InputError : it failed, wrote nothing, or what it wrote cannot be read or is no brain.
    """
    paths = {"{scan}": str(Path(folder, "scan.nii.gz")), "{brain}": str(Path(folder, "brain.nii.gz"))}
    nib.save(scan, paths["{scan}"])
    try:
        words = shlex.split(command)
        for name, path in paths.items():
            words = [word.replace(name, path) for word in words]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    except (ValueError, OSError) as error:
        raise ConfigError(
            "the program of scans.extract cannot be started",
            column="scans.extract",
            found=f"{command} ({error})",
            hint="install it on every machine that registers, or name it by its full path",
        ) from error
    if done.returncode < 0 or done.returncode > 128:  # by a signal: the machine's fault, and no result about the scan
        number = done.returncode - 128 if done.returncode > 128 else -done.returncode
        raise MemoryError(f"the brain extraction was killed by signal {number}, most often for want of memory")
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise InputError("the brain extraction failed", found=f"exit status {done.returncode}, {said[:150]}")
    if not Path(paths["{brain}"]).exists():
        raise InputError("the brain extraction wrote no brain", found=f"{command} ended well")
    brain = read_scan(paths["{brain}"], reorient=False)
    stripped, cm3 = looks_skull_stripped(brain)
    if not stripped:
        raise InputError("the brain extraction left a whole head", found=f"{cm3:.0f} cm³")
    return brain


def brain_mask_of_scan(scan, mask, prefix):
    """The template's brain mask in a scan's own space, through the inverse of its registration.

    Parameters
    ----------
    scan, mask : nibabel images; the scan as it was registered, and the template's brain mask
    prefix : str; where ANTs left its transforms ("…0GenericAffine.mat", and "…1InverseWarp.nii.gz" if it warped), or
        None where the scan is on the mask's grid already

    Returns
    -------
    uint8 array on the scan's grid (nearest neighbour)
    """
    if prefix is None:
        return np.asarray(mask.dataobj).astype(np.uint8)
    transforms, invert = [f"{prefix}0GenericAffine.mat"], [True]
    if Path(f"{prefix}1InverseWarp.nii.gz").exists():
        transforms, invert = [*transforms, f"{prefix}1InverseWarp.nii.gz"], [True, False]
    carried = ants.apply_transforms(
        to_ants(scan), to_ants(mask), transforms, interpolator="nearestNeighbor", whichtoinvert=invert
    )
    return (carried.numpy() > 0.5).astype(np.uint8)
