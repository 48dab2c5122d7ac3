"""Fit the linear baseline on the folds of a split, and predict the scans of another study."""

import nibabel as nib

from voxelwhy.evaluation.external.baseline import predict_external_baseline
from voxelwhy.io.tables import ATLAS, FOLDS, PREDICTIONS, SELECTED, read_table, write_table
from voxelwhy.jobs.doors import door
from voxelwhy.training.baseline import region_features

with door(snakemake) as job:
    atlas = nib.load(job.input.mask), nib.load(job.input.labels), read_table(job.input.regions, ATLAS)
    features = [
        region_features(read_table(path, SELECTED), *atlas, job.settings["channels"])
        for path in (job.input.own, job.input.selected)
    ]
    predictions = predict_external_baseline(
        read_table(job.input.own_folds, FOLDS),
        features[0],
        read_table(job.input.folds, FOLDS),
        features[1],
        kind=job.settings["baseline"],
        classes=job.settings["classes"],
        seed=job.settings["seed"],
    )
    write_table(predictions, job.output.predictions, PREDICTIONS)
