"""Bring the atlas to the study's grid."""

from voxelwhy.atlases import atlas_on_grid, load_atlas
from voxelwhy.doors import door
from voxelwhy.images import Grid, save_image
from voxelwhy.tables import ATLAS, write_table

with door(snakemake) as job:
    grid = Grid.of(job.input.mask)
    labels, regions = atlas_on_grid(load_atlas(job.settings), grid, vanished=job.settings["vanished"])
    save_image(job.output.labels, labels, grid.affine)
    write_table(regions, job.output.regions, ATLAS)
