"""Run the study's network and methods on the planted controls of an assignment, and keep what each method detects."""

import os
from pathlib import Path

from voxelwhy.comparison.cells import run_study
from voxelwhy.evaluation.planted.results import gather_assignment
from voxelwhy.evaluation.planted.study import planted_study
from voxelwhy.io.images import read_json
from voxelwhy.io.tables import read_table, write_table
from voxelwhy.io.trust_tables import PLANTED_CONTROLS, PLANTED_SCANS
from voxelwhy.jobs.doors import door

with door(snakemake) as job:
    planting, assignment = job.input.planting, int(job.wildcards.assignment)
    config = planted_study(
        snakemake.config,
        assignment,
        planting,
        n_pairs=len(read_table(Path(planting, "planted.tsv"), PLANTED_SCANS)) // 2,
        skull_stripped=read_json(job.input.skull)["skull_stripped"],
    )
    run_study(
        config,
        snakefile=snakemake.resources.snakefile,
        cores=job.threads if snakemake.resources.local else None,
        profiles=snakemake.resources.profiles.split(os.pathsep) if snakemake.resources.profiles else [],
    )
    for split, path in zip(job.settings["splits"], job.output, strict=True):
        table = gather_assignment(f"results/{config['study']}", planting, split, assignment=assignment)
        write_table(table, path, PLANTED_CONTROLS)
