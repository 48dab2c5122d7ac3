"""A real scan at 1 mm: within 4 GB, and what a direct call of ANTs gives. Needs real scans."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from helpers.paths import SCRIPTS
from voxelwhy.registration.template import make_template

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("VOXELWHY_REAL_SCANS" not in os.environ, reason="VOXELWHY_REAL_SCANS names no folder"),
]
GIB = 1024**3
FIELD = (80, 96, 80)  # mm; the paper's grid has fourteen times as many voxels

OURS = """
import json, resource, sys
import voxelwhy.registration.ants
from voxelwhy.registration.register import register_scan
def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
folder, scan = sys.argv[1:]
start = peak()
quality = register_scan(scan, folder + "/template.nii.gz", folder + "/mask.nii.gz",
                        {"transform": "syn_quick", "n4": False}, folder + "/ours", scan_id="s1")
print(json.dumps({"start": start, "peak": peak()}))
"""
DIRECT = """
import sys
from voxelwhy.registration.ants import ants, script_arguments
folder, scan = sys.argv[1:]
output = f"[{folder}/x,{folder}/direct.nii.gz]"
assert ants.registration(script_arguments(folder + "/template.nii.gz", scan, "syn_quick", output), None) == 0
"""


def start(code, *arguments):
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS), "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def middle(image, lengths):
    """The box of these lengths (mm) about the centre of what is not zero."""
    centre = [axis.mean() for axis in np.nonzero(np.asanyarray(image.dataobj))]
    half = np.divide(lengths, image.header.get_zooms()) / 2
    return tuple(slice(max(0, round(c - h)), round(c + h)) for c, h in zip(centre, half, strict=True))


def test_a_real_scan_at_1_mm(tmp_path):
    """The middle of the brain: a fourteenth of the time, and of the memory beyond that of the libraries."""
    scan, (template, mask) = tmp_path / "scan.nii.gz", make_template(1)
    whole = nib.load(sorted(Path(os.environ["VOXELWHY_REAL_SCANS"]).rglob("*T1w.nii*"))[0])
    nib.save(whole.slicer[middle(whole, np.add(FIELD, 15))], scan)
    for image, name in ((template, "template"), (mask, "mask")):
        nib.save(image.slicer[middle(template, FIELD)], tmp_path / f"{name}.nii.gz")
    running = [start(code, tmp_path, scan) for code in (OURS, DIRECT)]
    (said, _), (_, wrong) = [process.communicate(timeout=3600) for process in running]
    assert [process.returncode for process in running] == [0, 0], wrong
    memory = json.loads(said.splitlines()[-1])
    whole_field = np.prod(template.shape) / np.prod(FIELD)
    assert memory["start"] + whole_field * (memory["peak"] - memory["start"]) < 4 * GIB
    quality = json.loads((tmp_path / "ours" / "quality.json").read_text())
    ours, direct = (nib.load(tmp_path / name).get_fdata() for name in ("ours/t1.nii", "direct.nii.gz"))
    assert ours.shape == FIELD and direct.max() > 1000
    # The direct call writes float64: half a step of int16 is all that may differ, but for the last bits of the product.
    assert np.abs(ours - direct).max() <= quality["int16_error_bound"] * (1 + 1e-6)
