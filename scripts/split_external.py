"""Have each model of a split classify each scan of another study, unless a person or an image is in both."""

from voxelwhy.evaluation.external.folds import audit_external, external_folds, require_disjoint
from voxelwhy.io.images import write_json
from voxelwhy.io.tables import FOLDS, SELECTED, TABLE1, read_table, write_table
from voxelwhy.jobs.doors import door
from voxelwhy.splits.table1 import cohort_table

with door(snakemake) as job:
    settings, tested = job.settings, job.settings["tested"]
    own, selected = (read_table(path, SELECTED) for path in (job.input.own, job.input.selected))
    audit = audit_external(selected, own, n_folds=tested["n_models"])
    require_disjoint(audit, tested["cohort"], job.input.own)
    folds = external_folds(selected, tested["n_models"])
    write_table(folds, job.output.folds, FOLDS)
    write_json(job.output.audit, audit | {"tested": tested})
    write_table(cohort_table(folds, selected, settings["classes"]), job.output.table1, TABLE1)
