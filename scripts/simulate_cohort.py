"""Simulate the embedded cohort: a table and scans as if downloaded, and the disease that was planted in them."""

from pathlib import Path

from voxelwhy.cohort.simulation.store import simulate_shared
from voxelwhy.jobs.doors import door

registered = Path(snakemake.output.table).parents[1] / "registered"

with door(snakemake) as job:
    settings = dict(job.settings)
    paths = {
        "scans": settings.pop("scans"),
        "table.csv": job.output.table,
        "manifest.tsv": job.output.manifest,
        "confounds.tsv": job.output.confounds,
        "truth": job.output.truth,
    }
    simulate_shared(
        settings,
        settings["seed"],
        paths,
        store=snakemake.resources.store,
        code=dict(job.code),
        linked=not registered.exists(),
        workers=job.threads,
    )
