"""Register one scan to the template; a scan that cannot be registered is a result with a reason."""

from pathlib import Path

from voxelwhy.jobs.doors import door
from voxelwhy.registration.store import register_shared

with door(snakemake) as job:
    Path(job.output[0]).mkdir()
    register_shared(
        job.input.scan,
        job.input.t1,
        job.input.mask,
        job.settings,
        job.output[0],
        scan_id=job.wildcards.scan,
        head_path=job.input.get("head") or None,
        store=snakemake.resources.store,
        code=dict(job.code),
    )
