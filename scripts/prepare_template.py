"""Bring the template and its brain mask to the study's grid."""

import nibabel as nib

from voxelwhy.doors import door
from voxelwhy.registration.template import make_template

with door(snakemake) as job:
    t1, mask = make_template(job.settings["resolution_mm"])
    nib.save(t1, job.output.t1)
    nib.save(mask, job.output.mask)
