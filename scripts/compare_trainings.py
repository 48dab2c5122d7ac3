"""Explain some test scans of one fold by several trainings, and compare the maps of each scan."""

import nibabel as nib

from voxelwhy.evaluation.trainings import compare_trainings
from voxelwhy.io.tables import ATLAS, PREDICTIONS, SELECTED, read_table, write_table
from voxelwhy.io.trust_tables import TRAININGS_MAPS, TRAININGS_REGIONS
from voxelwhy.jobs.doors import door
from voxelwhy.training.volumes import registered_paths

with door(snakemake) as job:
    of_maps, of_regions = compare_trainings(
        job.input.models,
        read_table(job.input.predictions, PREDICTIONS),
        registered_paths(read_table(job.input.selected, SELECTED), job.settings["channels"]),
        (nib.load(job.input.labels), read_table(job.input.regions, ATLAS), nib.load(job.input.mask)),
        nib.load(job.input.network_mask),
        job.settings["probing"],
        seed=job.settings["seed"],
        device=snakemake.resources.device,
    )
    write_table(of_maps, job.output.maps, TRAININGS_MAPS)
    write_table(of_regions, job.output.regions, TRAININGS_REGIONS)
