"""Fetch or read the whole-head template, check it, and bring it to the study's grid."""

import nibabel as nib

from voxelwhy.io.images import write_json
from voxelwhy.io.provenance import software_versions
from voxelwhy.jobs.doors import door
from voxelwhy.registration.template import find_head, make_head_template

with door(snakemake) as job:
    path = find_head(snakemake.resources.head_file or None)
    head, sha256 = make_head_template(path, **job.settings, sha256=snakemake.resources.head_sha256 or None)
    nib.save(head, job.output.t1)
    card = {"template": path.name, "sha256": sha256} | job.settings
    write_json(job.output.card, card | {"versions": software_versions(["nilearn"])})
