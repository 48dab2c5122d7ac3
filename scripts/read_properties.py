"""Read properties of scans from the tables of the cohort (its covariates), or measure them in the registered images."""

import nibabel as nib

from voxelwhy.cohort.covariates import read_covariates
from voxelwhy.io.tables import ATLAS, COVARIATES, REGION_MEANS, SELECTED, read_table, write_table
from voxelwhy.jobs.doors import door
from voxelwhy.registration.image_properties import measure_scans
from voxelwhy.training.region_means import measure_regions

with door(snakemake) as job:
    if hasattr(job.output, "measured"):
        scans = read_table(job.input.selected, SELECTED)
        write_table(measure_scans(scans, job.input.t1, job.input.mask), job.output.measured, COVARIATES)
        if hasattr(job.output, "region_means"):
            labels, mask = nib.load(job.input.labels), nib.load(job.input.mask)
            means = measure_regions(scans, labels, read_table(job.input.regions, ATLAS), mask, job.settings["channels"])
            write_table(means, job.output.region_means, REGION_MEANS)
    else:
        write_table(read_covariates(job.settings), job.output.covariates, COVARIATES)
