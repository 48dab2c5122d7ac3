"""What is the machine's fault (disk, memory, file server) makes the job fail: no scan is left out for it."""

import errno
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from voxelwhy import errors
from voxelwhy.errors import InputError
from voxelwhy.registration import register as ants_registration
from voxelwhy.registration.register import register_scan


@pytest.fixture
def register(tmp_path, monkeypatch):
    """Call with the error that the registration is to meet, and where: while it reads, or in ANTs."""
    for name in ("template", "mask", "scan"):
        nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4)), tmp_path / f"{name}.nii.gz")

    def run(error, reading=False):
        def fails(*arguments):
            raise error

        monkeypatch.setattr(ants_registration, "_read", fails if reading else lambda *a: None)
        monkeypatch.setattr(ants_registration, "_onto_grid", fails)
        paths = [tmp_path / f"{name}.nii.gz" for name in ("scan", "template", "mask")]
        return register_scan(*paths, {"transform": "affine", "n4": False}, tmp_path / "out", scan_id="s1")

    return run


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Failed to allocate memory for image."),
        caused(InputError("the image cannot be read"), OSError(errno.ESTALE, "Stale file handle")),
        caused(InputError("the image cannot be read"), OSError(errno.EIO, "Input/output error")),
    ],
    ids=["memory", "file server", "disk"],
)
def test_the_machines_faults_are_raised(register, tmp_path, error):
    with pytest.raises(type(error)):
        register(error, reading=isinstance(error, InputError))
    assert not (tmp_path / "out" / "quality.json").exists()


def test_itk_on_a_full_disk_is_the_disks_fault(register, tmp_path, monkeypatch):
    """ITK prints that a file was cut off and goes on; what it says later is about the file."""
    monkeypatch.setattr(errors.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1e6))
    with pytest.raises(OSError, match="No space left"):
        register(RuntimeError("ITK ERROR: Could not create IO object for reading file 0GenericAffine.mat"))
    assert not (tmp_path / "out" / "quality.json").exists()


@pytest.mark.parametrize("cause", [None, EOFError("Compressed file ended before the end-of-stream marker")])
def test_a_damaged_scan_is_a_result(register, tmp_path, cause):
    quality = register(caused(InputError("the image cannot be read", found="x"), cause), reading=True)
    assert (quality["status"], quality["reason"]) == ("failed", "the image cannot be read: x")
    assert (tmp_path / "out" / "quality.json").exists()
