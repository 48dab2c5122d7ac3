"""Fetch or read the whole-head template, check it and bring it to the study's grid."""

import nibabel as nib

from voxelwhy.doors import door
from voxelwhy.images import write_json
from voxelwhy.provenance import software_versions
from voxelwhy.registration.template import find_head, make_head_template

with door(snakemake) as job:
    path = find_head(job.settings["template"])
    grid = {key: job.settings[key] for key in ("resolution_mm", "grid")}
    head, sha256 = make_head_template(path, **grid, sha256=job.settings["template_sha256"])
    nib.save(head, job.output.t1)
    card = {"template": path.name, "sha256": sha256} | grid
    write_json(job.output.card, card | {"versions": software_versions(["nilearn"])})
