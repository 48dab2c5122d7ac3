"""Make the embedded cohort: a table and scans as if downloaded, and the truth that was planted in them."""

from voxelwhy.doors import door
from voxelwhy.simulation.cohort import simulate_cohort

with door(snakemake) as job:
    settings = dict(job.settings)
    scans = settings.pop("scans")
    simulate_cohort(
        settings,
        settings["seed"],
        scans,
        job.output.table,
        job.output.manifest,
        job.output.confounds,
        job.output.truth,
        workers=job.threads,
    )
