"""Whole heads: brain extraction by an external program, and the template's brain mask transformed into a scan."""

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
    command : str; a program and its arguments with {scan} and {brain}, which stand for the paths of its input and its
        output (both .nii.gz). It is run without a shell
    folder : path of a temporary folder

    Returns
    -------
    nibabel image of the brain, as the program stored it

    Raises
    ------
    ConfigError : the command cannot be parsed, or there is no such program.
    InputError : the program failed or wrote nothing, or its output cannot be read or is not skull-stripped.
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
            hint="install it on every machine that runs registrations, or give its full path",
        ) from error
    if done.returncode < 0 or done.returncode > 128:  # killed by a signal: not the scan's fault, hence not a result
        number = done.returncode - 128 if done.returncode > 128 else -done.returncode
        raise MemoryError(f"the brain extraction was killed by signal {number}, usually for lack of memory")
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise InputError("the brain extraction failed", found=f"exit status {done.returncode}, {said[:150]}")
    if not Path(paths["{brain}"]).exists():
        raise InputError("the brain extraction wrote no brain", found=f"{command} ended without an error")
    brain = read_scan(paths["{brain}"], reorient=False)
    stripped, cm3 = looks_skull_stripped(brain)
    if not stripped:
        raise InputError("the brain extraction returned a whole head", found=f"{cm3:.0f} cm³")
    return brain


def brain_mask_of_scan(scan, mask, prefix):
    """Transform the template's brain mask into a scan's own space, by the inverse of its registration.

    Parameters
    ----------
    scan, mask : nibabel images; the scan as it was registered, and the template's brain mask
    prefix : str; where ANTs wrote its transforms ("…0GenericAffine.mat", and "…1InverseWarp.nii.gz" of a deformable
        registration)

    Returns
    -------
    uint8 array on the scan's grid (nearest neighbour)
    """
    transforms, invert = [f"{prefix}0GenericAffine.mat"], [True]
    if Path(f"{prefix}1InverseWarp.nii.gz").exists():
        transforms, invert = [*transforms, f"{prefix}1InverseWarp.nii.gz"], [True, False]
    carried = ants.apply_transforms(
        to_ants(scan), to_ants(mask), transforms, interpolator="nearestNeighbor", whichtoinvert=invert
    )
    return (carried.numpy() > 0.5).astype(np.uint8)
