"""Import an average heatmap that was made elsewhere."""

import nibabel as nib

from voxelwhy.heatmaps.imported import import_heatmap
from voxelwhy.io.images import Grid, save_image
from voxelwhy.io.tables import ATLAS, IMPORTED, read_table, write_table
from voxelwhy.jobs.doors import door

with door(snakemake) as job:
    mask, labels = nib.load(job.input.mask), nib.load(job.input.labels)
    heatmap, table, card = import_heatmap(job.settings, labels, read_table(job.input.regions, ATLAS), mask)
    save_image(job.output.map, heatmap, Grid.of(mask).affine, card)
    write_table(table, job.output.regions, IMPORTED)
