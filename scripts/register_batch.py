"""Register a batch of scans, one after another; the manifest lists what lies in registered/ then."""

from pathlib import Path

from voxelwhy.io.tables import REGISTERED, write_table
from voxelwhy.jobs.doors import door
from voxelwhy.registration.batch_registration import register_batch

# The scans' folders are not declared: Snakemake would delete those that are done when a job dies.
registered = Path(snakemake.output.manifest).parents[1] / "registered"

with door(snakemake) as job:
    settings = {key: value for key, value in job.settings.items() if key != "scans"}
    manifest = register_batch(
        dict(zip(job.settings["scans"], job.input.scans, strict=True)),
        job.input.t1,
        job.input.mask,
        settings,
        registered,
        head_path=job.input.get("head") or None,
        store=snakemake.resources.store,
        code=dict(job.code),
    )
    write_table(manifest, job.output.manifest, REGISTERED)
