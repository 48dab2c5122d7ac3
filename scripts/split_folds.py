"""Split the subjects into folds."""

from voxelwhy.doors import door
from voxelwhy.folds import split_folds
from voxelwhy.tables import FOLDS, SELECTED, read_table, write_table

with door(snakemake) as job:
    selected = read_table(job.input.selected, SELECTED)
    folds = split_folds(selected, job.settings["split"], classes=job.settings["classes"], seed=job.settings["seed"])
    write_table(folds, job.output.folds, FOLDS)
