"""Check, before anything else, whether the models of this study can be applied to the scans of another one."""

import nibabel as nib

from voxelwhy.evaluation.external.cohort import check_cohort, require_cohort
from voxelwhy.io.images import Grid, read_json, write_json
from voxelwhy.io.tables import SELECTED, read_table
from voxelwhy.jobs.doors import door

with door(snakemake) as job:
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
