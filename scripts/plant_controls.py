"""Plant a known loss in one control of each pair, and a sham in the other, for each assignment."""

from voxelwhy.evaluation.planted.cohort import plant_controls
from voxelwhy.io.tables import SELECTED, read_table
from voxelwhy.jobs.doors import door

with door(snakemake) as job:
    images = {"template_path": job.input.t1, "mask_path": job.input.mask, "head_path": job.input.head or None}
    plant_controls(
        read_table(job.input.selected, SELECTED),
        images,
        job.settings["planting"],
        dict(zip(job.settings["assignments"], job.output, strict=True)),
        store=snakemake.resources.store,
        code=job.settings["registering"],
        workers=job.threads,
    )
