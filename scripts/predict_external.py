"""Predict the scans of another study by the model of one fold."""

import nibabel as nib

from voxelwhy.evaluation.external.predictions import predict_external
from voxelwhy.io.tables import FOLDS, PREDICTIONS, SELECTED, read_table, write_table
from voxelwhy.jobs.doors import door
from voxelwhy.training.volumes import registered_paths

with door(snakemake) as job:
    selected = read_table(job.input.selected, SELECTED)
    predictions = predict_external(
        job.input.model,
        read_table(job.input.folds, FOLDS),
        registered_paths(selected, job.settings["predicting"]["channels"]),
        nib.load(job.input.mask),
        job.settings["predicting"],
        fold=int(job.wildcards.fold),
        classes=job.settings["classes"],
    )
    write_table(predictions, job.output.predictions, PREDICTIONS)
