"""Run a study within a study, one of a comparison or one of planted controls, and keep the results that are needed."""

import os
from pathlib import Path

from voxelwhy.comparison.cells import gather_study, run_study, write_cell
from voxelwhy.evaluation.planted.results import gather_assignment
from voxelwhy.evaluation.planted.study import planted_study
from voxelwhy.io.images import read_json
from voxelwhy.io.tables import read_table, write_table
from voxelwhy.io.trust_tables import PLANTED_CONTROLS, PLANTED_SCANS
from voxelwhy.jobs.doors import door


def run(config, job):
    run_study(
        config,
        snakefile=snakemake.resources.snakefile,
        cores=job.threads if snakemake.resources.local else None,
        profiles=snakemake.resources.profiles.split(os.pathsep) if snakemake.resources.profiles else [],
    )


def run_of_comparison(job):
    settings = job.settings
    config = snakemake.config["cells"][job.wildcards.cell]
    run(config, job)
    kept = gather_study(
        config["study"],
        split=settings["split"],
        methods=settings["methods"],
        classes=settings["classes"],
    )
    facts = {"cell": job.wildcards.cell, "choices": settings["choices"], "repeat": settings["repeat"]}
    write_cell(job.output[0], facts | kept)


def run_of_planted_controls(job):
    planting, assignment = job.input.planting, int(job.wildcards.assignment)
    config = planted_study(
        snakemake.config,
        assignment,
        planting,
        n_pairs=len(read_table(Path(planting, "planted.tsv"), PLANTED_SCANS)) // 2,
        skull_stripped=read_json(job.input.skull)["skull_stripped"],
    )
    run(config, job)
    for split, path in zip(job.settings["splits"], job.output, strict=True):
        table = gather_assignment(f"results/{config['study']}", planting, split, assignment=assignment)
        write_table(table, path, PLANTED_CONTROLS)


with door(snakemake) as job:
    run_of_comparison(job) if "choices" in job.settings else run_of_planted_controls(job)
