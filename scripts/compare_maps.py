"""Compute distances and rank correlations of mean maps between the classes and between the methods."""

from pathlib import Path

import nibabel as nib
import numpy as np

from voxelwhy.evaluation.agreement import compare_maps
from voxelwhy.io.tables import AGREEMENT, REGIONS, read_table, write_table
from voxelwhy.jobs.doors import door

with door(snakemake) as job:
    classes, methods = job.settings["classes"], job.settings["methods"]
    groups, folders = list(classes.values()), dict(zip(methods, job.input.maps, strict=True))

    def read_maps(ending):
        return {
            method: {group: np.asarray(nib.load(Path(folder, f"mean_{group}{ending}")).dataobj) for group in groups}
            for method, folder in folders.items()
        }

    tables = {m: read_table(path, REGIONS) for m, path in zip(methods, job.input.regions, strict=True)}
    enrichment = {m: {g: t.loc[t["group"] == g, "enrichment"] for g in groups} for m, t in tables.items()}
    mask = np.asarray(nib.load(job.input.mask).dataobj) > 0
    raw = read_maps(".nii.gz") if job.settings["n_models"] == 1 else None
    agreement = compare_maps(read_maps("_scaled.nii.gz"), mask, enrichment, classes=classes, raw=raw)
    write_table(agreement, job.output.agreement, AGREEMENT)
