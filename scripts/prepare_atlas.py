"""Bring the atlas to the study's grid."""

import nibabel as nib
import numpy as np

from voxelwhy.io.images import Grid, save_image
from voxelwhy.io.tables import ATLAS, write_table
from voxelwhy.jobs.doors import door
from voxelwhy.regions.atlases import atlas_on_grid, load_atlas
from voxelwhy.report.atlas_works import WORKS, works_of

with door(snakemake) as job:
    grid = Grid.of(job.input.mask)
    brain = np.asarray(nib.load(job.input.mask).dataobj) > 0
    atlas = load_atlas(job.settings)
    labels, regions = atlas_on_grid(atlas, grid, vanished=job.settings["vanished"], mask=brain)
    card = {"atlas": atlas.name, "regions": len(regions), "sides_merged": job.settings["merge_sides"]}
    # The hash identifies the labels, since a fetched file may change.
    card |= {"atlas_sha256": atlas.sha256(), "cite": [WORKS[key][0] for key in works_of(atlas.name)]}
    save_image(job.output.labels, labels, grid.affine, card)
    write_table(regions, job.output.regions, ATLAS)
