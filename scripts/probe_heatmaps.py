"""Probe the heatmaps of one fold: blank what they mark, and reset the weights that they explain."""

import nibabel as nib

from voxelwhy.evaluation.probes import probe_fold
from voxelwhy.io.tables import ATLAS, FOLDS, PREDICTIONS, SELECTED, read_table, write_table
from voxelwhy.io.trust_tables import FAITHFULNESS, RANDOMISED
from voxelwhy.jobs.doors import door
from voxelwhy.training.volumes import registered_paths

with door(snakemake) as job:
    settings, fold = job.settings["probing"], int(job.wildcards.fold)
    folds = read_table(job.input.folds, FOLDS)
    faithfulness, randomised = probe_fold(
        job.input.model,
        read_table(job.input.predictions, PREDICTIONS),
        folds[folds["fold"] == fold],
        registered_paths(read_table(job.input.selected, SELECTED), job.settings["channels"]),
        (nib.load(job.input.labels), read_table(job.input.regions, ATLAS), nib.load(job.input.mask)),
        nib.load(job.input.network_mask),
        settings,
        classes=job.settings["classes"],
        seed=job.settings["seed"],
        device=snakemake.resources.device,
    )
    write_table(faithfulness, job.output.faithfulness, FAITHFULNESS)
    write_table(randomised, job.output.randomised, RANDOMISED)
