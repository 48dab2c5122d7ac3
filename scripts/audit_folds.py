"""Check each fold for leakage between its sides; nothing is trained on a split that fails."""

from voxelwhy.io.images import write_json
from voxelwhy.io.tables import FOLDS, SELECTED, TABLE1, read_table, write_table
from voxelwhy.jobs.doors import door
from voxelwhy.splits.audit import audit_folds, require_passed
from voxelwhy.splits.table1 import cohort_table

with door(snakemake) as job:
    selected, folds = read_table(job.input.selected, SELECTED), read_table(job.input.folds, FOLDS)
    classes = job.settings["classes"]
    audit = audit_folds(folds, selected, classes=classes, trains=job.settings["trains"])
    require_passed(audit, job.input.folds)
    write_json(job.output.audit, audit)
    write_table(cohort_table(folds, selected, classes), job.output.table1, TABLE1)
