"""Read the covariates of each scan from the tables of the cohort."""

from voxelwhy.cohort.covariates import read_covariates
from voxelwhy.io.tables import COVARIATES, write_table
from voxelwhy.jobs.doors import door

with door(snakemake) as job:
    write_table(read_covariates(job.settings), job.output.covariates, COVARIATES)
