"""Split the subjects into folds."""

from voxelwhy.io.tables import FOLDS, SELECTED, read_table, write_table
from voxelwhy.jobs.doors import door
from voxelwhy.splits.folds import split_folds

with door(snakemake) as job:
    selected = read_table(job.input.selected, SELECTED)
    folds = split_folds(selected, job.settings["split"], classes=job.settings["classes"], seed=job.settings["seed"])
    write_table(folds, job.output.folds, FOLDS)
