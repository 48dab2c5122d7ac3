"""Run one study of a comparison, and keep the results that the comparison needs."""

import os

from voxelwhy.comparison.cells import gather_study, run_study, write_cell
from voxelwhy.jobs.doors import door

with door(snakemake) as job:
    settings = job.settings
    config = snakemake.config["cells"][job.wildcards.cell]
    run_study(
        config,
        snakefile=snakemake.resources.snakefile,
        cores=job.threads if snakemake.resources.local else None,
        profiles=snakemake.resources.profiles.split(os.pathsep) if snakemake.resources.profiles else [],
    )
    kept = gather_study(
        config["study"],
        split=settings["split"],
        methods=settings["methods"],
        classes=settings["classes"],
    )
    facts = {"cell": job.wildcards.cell, "choices": settings["choices"], "repeat": settings["repeat"]}
    write_cell(job.output[0], facts | kept)
