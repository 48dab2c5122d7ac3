"""Probe the heatmaps and the network of one fold, or compare its maps with those of further trainings of the fold."""

import nibabel as nib

from voxelwhy.evaluation.people import covariate_names, join_properties
from voxelwhy.evaluation.probes import probe_fold
from voxelwhy.evaluation.trainings import compare_trainings
from voxelwhy.io.tables import ATLAS, COVARIATES, FOLDS, PREDICTIONS, SELECTED, read_table, write_table
from voxelwhy.io.trust_tables import FAITHFULNESS, RANDOMISED, SHORTCUT_PROBES, TRAININGS_MAPS, TRAININGS_REGIONS
from voxelwhy.jobs.doors import door
from voxelwhy.training.volumes import registered_paths


def probe(job, selected, atlas, mask, how):
    """Blank what maps mark, reset weights, and look for shortcuts."""
    fold, folds = int(job.wildcards.fold), read_table(job.input.folds, FOLDS)
    covariates = read_table(job.input.covariates[0], COVARIATES) if job.input.covariates else None
    properties = join_properties(selected[["scan_id"]], selected, covariates).set_index("scan_id")
    faithfulness, randomised, shortcuts = probe_fold(
        job.input.model,
        read_table(job.input.predictions, PREDICTIONS),
        folds[folds["fold"] == fold],
        registered_paths(selected, job.settings["channels"]),
        atlas,
        mask,
        job.settings["probing"],
        classes=job.settings["classes"],
        properties=properties[["age", "female", *covariate_names(covariates)]],
        **how,
    )
    write_table(faithfulness, job.output.faithfulness, FAITHFULNESS)
    write_table(randomised, job.output.randomised, RANDOMISED)
    write_table(shortcuts, job.output.shortcuts, SHORTCUT_PROBES)


def compare(job, selected, atlas, mask, how):
    """Explain some test scans by several trainings, and compare the maps of each scan."""
    of_maps, of_regions = compare_trainings(
        job.input.models,
        read_table(job.input.predictions, PREDICTIONS),
        registered_paths(selected, job.settings["channels"]),
        atlas,
        mask,
        job.settings["probing"],
        **how,
    )
    write_table(of_maps, job.output.maps, TRAININGS_MAPS)
    write_table(of_regions, job.output.regions, TRAININGS_REGIONS)


with door(snakemake) as job:
    selected = read_table(job.input.selected, SELECTED)
    atlas = nib.load(job.input.labels), read_table(job.input.regions, ATLAS), nib.load(job.input.mask)
    how = {"seed": job.settings["seed"], "device": snakemake.resources.device}
    (probe if "classes" in job.settings else compare)(job, selected, atlas, nib.load(job.input.network_mask), how)
