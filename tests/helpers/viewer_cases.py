"""A small study for the viewer: a brain, an atlas of three blocks, and maps whose values are known everywhere."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd

from voxelwhy.io.images import Grid
from voxelwhy.report.figures.style import new_figure
from voxelwhy.report.viewer.maps import Viewed
from voxelwhy.report.viewer.page import write_viewer

#: Blocks in mm, (first, last) along x, y and z. Each lies on one side, so that a flip of any axis is seen.
BLOCKS = {
    "Left front": ((-48, -20), (8, 40), (0, 28)),
    "Right back": ((16, 48), (-72, -40), (4, 36)),
    "Right front </script>": ((16, 44), (12, 40), (32, 56)),
}
#: Values of the maps in the blocks; elsewhere they are 0.
VALUES = {"AD": (1.0, -0.75, 0.35), "CN": (-0.6, 0.9, 0.2)}


def places(grid):
    """The coordinates of all voxels, mm: (x, y, z) arrays."""
    index = np.indices(grid.shape)
    return np.tensordot(grid.affine[:3, :3], index, axes=1) + grid.affine[:3, 3][:, None, None, None]


def brain_of(grid):
    x, y, z = places(grid)
    return (x / 66) ** 2 + ((y + 18) / 82) ** 2 + ((z - 8) / 62) ** 2 < 1


def labels_of(grid):
    where = places(grid)
    labels = np.zeros(grid.shape, np.int16)
    for number, block in enumerate(BLOCKS.values(), 1):
        inside = np.all(
            [(axis >= low) & (axis <= high) for axis, (low, high) in zip(where, block, strict=True)], axis=0
        )
        labels[inside & brain_of(grid)] = number
    return labels


def map_of(grid, group):
    """A map: the value of each block, and 0 elsewhere."""
    return np.array([0.0, *VALUES[group]])[labels_of(grid)]


def background_of(grid):
    """Two greys, darker on the left."""
    return np.where(places(grid)[0] < 0, 60.0, 120.0) * brain_of(grid)


def save(data, grid, path):
    nib.Nifti1Image(np.asarray(data, dtype=np.float32), grid.affine).to_filename(path)
    return path


def ranked(n_subjects=12):
    """A table of regions in the form of REGIONS."""
    return pd.DataFrame(
        {
            "region_id": [1, 2, 3],
            "rank": [2, 3, 1],
            "enrichment": [2.5, np.nan, 4.25],
            "enrichment_low": [2.0, np.nan, 3.5],
            "enrichment_high": [3.0, np.nan, 5.0],
        }
    )


def viewed(image, method, group, **changed):
    return Viewed(image, method, group, **({"n": "12 subjects, 15 scans", "regions": ranked()} | changed))


def case(folder, resolution_mm=4, background_mm=2):
    """The files of the study, and the arguments of write_viewer with two maps and the planted truth."""
    grid, fine = Grid.icbm(resolution_mm), Grid.icbm(background_mm)
    fig, axes = new_figure(figsize=(3, 2))
    axes.plot([0, 1])
    fig.savefig(folder / "figure.png")
    files = {
        "mask": save(brain_of(grid), grid, folder / "mask.nii.gz"),
        "labels": save(labels_of(grid), grid, folder / "labels.nii.gz"),
        "background": save(background_of(fine), fine, folder / "background.nii.gz"),
        "figure": folder / "figure.png",
    }
    maps = {
        group: [viewed(save(map_of(grid, group), grid, folder / f"{group}.nii.gz"), "Occlusion", f"{group} scans")]
        for group in VALUES
    }
    truth = save(labels_of(grid) == 1, grid, folder / "truth.nii.gz")
    maps["others"] = [Viewed(truth, "Planted truth: planted atrophy", units="negative log-Jacobian")]
    return {"groups": maps, "needed": list(VALUES)} | files


def write_case(folder, out, **changed):
    """Write the viewer of the case, or of a changed one."""
    words = {"title": "demo, kfold", "report": "../../report.html", "atlas_name": "blocks", "simulated": True}
    atlas = pd.DataFrame({"region_id": [1, 2, 3], "region": list(BLOCKS)})
    given = case(folder) | {"atlas": atlas} | words | changed
    write_viewer(given.pop("groups"), out, **given)
    return out
