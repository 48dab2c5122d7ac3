"""Remove the registered images once the report is written, if the config keeps results only."""

from pathlib import Path

from voxelwhy.io.images import write_json
from voxelwhy.jobs.doors import door
from voxelwhy.jobs.keeping import drop_images
from voxelwhy.report.derivatives import remove_images

with door(snakemake) as job:
    remove_images(job.input.derivatives)
    registered = Path(job.input.selected).parents[1] / "registered"
    write_json(job.output[0], drop_images(sorted(registered.glob("*/*.nii")), store=snakemake.resources.store))
