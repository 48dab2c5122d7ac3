"""Take existing weights as the model of a split, and predict the scans that it explains."""

import nibabel as nib

from voxelwhy.io.tables import FOLDS, PREDICTIONS, SELECTED, read_table, write_table
from voxelwhy.jobs.doors import door
from voxelwhy.networks.weights import save_model
from voxelwhy.training.existing_weights import adopt_weights
from voxelwhy.training.volumes import registered_paths

with door(snakemake) as job:
    selected = read_table(job.input.selected, SELECTED)
    model, card, predictions = adopt_weights(
        read_table(job.input.folds, FOLDS),
        registered_paths(selected, job.settings["adopting"]["channels"]),
        nib.load(job.input.mask),
        job.settings["model"],
        job.settings["adopting"],
        classes=job.settings["classes"],
        learnt_from=read_table(job.input.learnt_from[0], FOLDS) if job.input.learnt_from else None,
    )
    save_model(job.output.model, model, card)
    write_table(predictions, job.output.predictions, PREDICTIONS)
