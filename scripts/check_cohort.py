"""Check whether the models of this study can be applied to the scans of another one, and let them classify these."""

import nibabel as nib

from voxelwhy.evaluation.external.cohort import check_cohort, require_cohort
from voxelwhy.evaluation.external.folds import audit_external, external_folds, require_disjoint
from voxelwhy.io.images import Grid, read_json, write_json
from voxelwhy.io.tables import FOLDS, SELECTED, TABLE1, read_table, write_table
from voxelwhy.jobs.doors import door
from voxelwhy.splits.table1 import cohort_table


def check(job):
    cohort, settings = job.wildcards.cohort, job.settings
    require_cohort(cohort)
    card = check_cohort(
        cohort,
        read_table(job.input.selected, SELECTED),
        classes=settings["classes"],
        registration=settings["registration"],
        whole_heads=read_json(job.input.skull)["skull_stripped"] is False and not settings["extract"],
        grid=Grid.of(nib.load(job.input.mask)),
    )
    write_json(job.output.card, card)


def split(job):
    """Each model classifies each scan of the other study, unless a person or an image is in both."""
    settings, tested = job.settings, job.settings["tested"]
    own, selected = (read_table(path, SELECTED) for path in (job.input.own, job.input.selected))
    audit = audit_external(selected, own, n_folds=tested["n_models"])
    require_disjoint(audit, tested["cohort"], job.input.own)
    folds = external_folds(selected, tested["n_models"])
    write_table(folds, job.output.folds, FOLDS)
    write_json(job.output.audit, audit | {"tested": tested})
    write_table(cohort_table(folds, selected, settings["classes"]), job.output.table1, TABLE1)


with door(snakemake) as job:
    split(job) if "tested" in job.settings else check(job)
