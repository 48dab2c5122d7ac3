"""Fit the linear baseline on the same folds, and predict their test scans or those of another study."""

import nibabel as nib

from voxelwhy.io.tables import ATLAS, FOLDS, PREDICTIONS, SELECTED, read_table, write_table
from voxelwhy.jobs.doors import door
from voxelwhy.training.baseline import predict_baseline, region_features

with door(snakemake) as job:
    atlas = nib.load(job.input.mask), nib.load(job.input.labels), read_table(job.input.regions, ATLAS)

    def read(selected, folds):
        return read_table(folds, FOLDS), region_features(
            read_table(selected, SELECTED), *atlas, job.settings["channels"]
        )

    predictions = predict_baseline(
        *read(job.input.selected, job.input.folds),
        fitted_on=read(*job.input.fitted_on) if job.input.get("fitted_on") else None,
        kind=job.settings["baseline"],
        classes=job.settings["classes"],
        seed=job.settings["seed"],
    )
    write_table(predictions, job.output.predictions, PREDICTIONS)
