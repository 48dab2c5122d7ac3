"""Bring the atlas to the study's grid."""

import nibabel as nib
import numpy as np

from voxelwhy.atlases import atlas_on_grid, load_atlas
from voxelwhy.doors import door
from voxelwhy.images import Grid, save_image
from voxelwhy.tables import ATLAS, write_table

with door(snakemake) as job:
    grid = Grid.of(job.input.mask)
    brain = np.asarray(nib.load(job.input.mask).dataobj) > 0
    atlas = load_atlas(job.settings)
    labels, regions = atlas_on_grid(atlas, grid, vanished=job.settings["vanished"], mask=brain)
    save_image(job.output.labels, labels, grid.affine, {"atlas": atlas.name, "regions": len(regions)})
    write_table(regions, job.output.regions, ATLAS)
