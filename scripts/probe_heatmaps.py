"""Probe the heatmaps and the network of one fold: blank what maps mark, reset weights, and look for shortcuts."""

import nibabel as nib

from voxelwhy.evaluation.people import covariate_names, join_properties
from voxelwhy.evaluation.probes import probe_fold
from voxelwhy.io.tables import ATLAS, COVARIATES, FOLDS, PREDICTIONS, SELECTED, read_table, write_table
from voxelwhy.io.trust_tables import FAITHFULNESS, RANDOMISED, SHORTCUT_PROBES
from voxelwhy.jobs.doors import door
from voxelwhy.training.volumes import registered_paths

with door(snakemake) as job:
    settings, fold = job.settings["probing"], int(job.wildcards.fold)
    folds = read_table(job.input.folds, FOLDS)
    selected = read_table(job.input.selected, SELECTED)
    covariates = read_table(job.input.covariates[0], COVARIATES) if job.input.covariates else None
    properties = join_properties(selected[["scan_id"]], selected, covariates).set_index("scan_id")
    faithfulness, randomised, shortcuts = probe_fold(
        job.input.model,
        read_table(job.input.predictions, PREDICTIONS),
        folds[folds["fold"] == fold],
        registered_paths(selected, job.settings["channels"]),
        (nib.load(job.input.labels), read_table(job.input.regions, ATLAS), nib.load(job.input.mask)),
        nib.load(job.input.network_mask),
        settings,
        classes=job.settings["classes"],
        seed=job.settings["seed"],
        properties=properties[["age", "female", *covariate_names(covariates)]],
        device=snakemake.resources.device,
    )
    write_table(faithfulness, job.output.faithfulness, FAITHFULNESS)
    write_table(randomised, job.output.randomised, RANDOMISED)
    write_table(shortcuts, job.output.shortcuts, SHORTCUT_PROBES)
