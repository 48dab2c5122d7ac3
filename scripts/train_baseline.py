"""Fit the linear baseline on region means, on the same folds."""

import nibabel as nib

from voxelwhy.io.tables import ATLAS, FOLDS, PREDICTIONS, SELECTED, read_table, write_table
from voxelwhy.jobs.doors import door
from voxelwhy.training.baseline import predict_baseline, region_features

with door(snakemake) as job:
    features = region_features(
        read_table(job.input.selected, SELECTED),
        nib.load(job.input.mask),
        nib.load(job.input.labels),
        read_table(job.input.regions, ATLAS),
        job.settings["channels"],
    )
    predictions = predict_baseline(
        read_table(job.input.folds, FOLDS),
        features,
        kind=job.settings["baseline"],
        classes=job.settings["classes"],
        seed=job.settings["seed"],
    )
    write_table(predictions, job.output.predictions, PREDICTIONS)
