"""Remove the registered images of a study whose report is there, where its config keeps results only."""

from pathlib import Path

from voxelwhy.doors import door
from voxelwhy.images import write_json
from voxelwhy.keeping import drop_images

with door(snakemake) as job:
    registered = Path(job.input.selected).parents[1] / "registered"
    write_json(job.output[0], drop_images(sorted(registered.glob("*/*.nii")), store=snakemake.resources.store))
