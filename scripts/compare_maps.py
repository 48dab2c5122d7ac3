"""Compute distances and rank correlations of mean maps between the classes and between the methods."""

from pathlib import Path

import nibabel as nib
import numpy as np

from voxelwhy.evaluation.agreement import compare_maps
from voxelwhy.io.tables import AGREEMENT, write_table
from voxelwhy.jobs.doors import door

with door(snakemake) as job:
    groups = list(job.settings["classes"].values())
    maps = {
        method: {g: np.asarray(nib.load(Path(folder, f"mean_{g}.nii.gz")).dataobj) for g in groups}
        for method, folder in zip(job.settings["methods"], job.input.maps, strict=True)
    }
    mask = np.asarray(nib.load(job.input.mask).dataobj) > 0
    write_table(compare_maps(maps, mask, classes=job.settings["classes"]), job.output.agreement, AGREEMENT)
