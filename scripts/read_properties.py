"""Read properties of scans from the tables of the cohort (its covariates), or measure them in the registered images."""

from voxelwhy.cohort.covariates import read_covariates
from voxelwhy.io.tables import COVARIATES, SELECTED, read_table, write_table
from voxelwhy.jobs.doors import door
from voxelwhy.registration.image_properties import measure_scans

with door(snakemake) as job:
    if hasattr(job.output, "measured"):
        scans = read_table(job.input.selected, SELECTED)
        write_table(measure_scans(scans, job.input.t1, job.input.mask), job.output.measured, COVARIATES)
    else:
        write_table(read_covariates(job.settings), job.output.covariates, COVARIATES)
