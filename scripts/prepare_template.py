"""Bring the template and its brain mask to the study's grid."""

import nibabel as nib

from voxelwhy.io.images import write_json
from voxelwhy.io.provenance import software_versions
from voxelwhy.jobs.doors import door
from voxelwhy.registration.template import make_template

with door(snakemake) as job:
    t1, mask = make_template(job.settings["resolution_mm"], job.settings["grid"])
    card = {"template": "ICBM152 2009a nonlinear symmetric, as nilearn ships it"} | job.settings
    for image, path, sidecar in zip((t1, mask), (job.output.t1, job.output.mask), job.output.cards, strict=True):
        nib.save(image, path)
        write_json(sidecar, card | {"versions": software_versions(["nilearn"])})
