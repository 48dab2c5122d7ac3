"""Register a scan, or a batch of scans one after another; a failed registration is a result, with its reason."""

from pathlib import Path

from voxelwhy.io.tables import REGISTERED, write_table
from voxelwhy.jobs.doors import door
from voxelwhy.registration.batch_registration import register_batch
from voxelwhy.registration.store import register_shared

# The folders of a batch are not declared as outputs, because Snakemake would delete finished ones when a job dies.
registered = Path(snakemake.output[0]).parents[1] / "registered"

with door(snakemake) as job:
    settings = dict(job.settings)
    batch = settings.pop("scans", None)
    images = {"template_path": job.input.t1, "mask_path": job.input.mask, "head_path": job.input.get("head") or None}
    how = images | {"settings": settings, "store": snakemake.resources.store, "code": dict(job.code)}
    if batch is None:
        Path(job.output.folder).mkdir()
        register_shared(job.input.scan, out_dir=job.output.folder, scan_id=job.wildcards.scan, **how)
    else:
        manifest = register_batch(dict(zip(batch, job.input.scans, strict=True)), folder=registered, **how)
        write_table(manifest, job.output.manifest, REGISTERED)
