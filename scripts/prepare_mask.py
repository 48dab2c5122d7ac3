"""Determine which voxels of the study's grid the network sees."""

import nibabel as nib
import numpy as np

from voxelwhy.io.images import save_image
from voxelwhy.io.provenance import software_versions
from voxelwhy.jobs.doors import door
from voxelwhy.training.network_mask import make_network_mask

with door(snakemake) as job:
    brain = nib.load(job.input.mask)
    mask = make_network_mask(job.input.own[0] if job.input.own else job.settings["mask"], brain)
    seen, inside = np.asarray(mask.dataobj), np.asarray(brain.dataobj) > 0
    card = job.settings | {"voxels": int(seen.sum()), "voxels_of_the_brain": int(seen[inside].sum())}
    save_image(job.output.mask, seen, mask.affine, card | {"versions": software_versions(["nilearn"])})
