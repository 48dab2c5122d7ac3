"""Merge the parts of the heatmaps of a split by one method."""

from pathlib import Path

import nibabel as nib

from voxelwhy.heatmaps.merge_parts import merge_parts, remove_other_parts
from voxelwhy.io.provenance import software_versions
from voxelwhy.jobs.doors import door
from voxelwhy.training.volumes import counted_voxels

with door(snakemake) as job:
    brain = nib.load(job.input.mask)
    Path(job.output.maps).mkdir()
    groups = merge_parts(
        job.input.parts,
        brain,
        counted_voxels(brain, nib.load(job.input.network_mask)),
        job.settings,
        method=job.wildcards.method,
        classes=job.settings["classes"],
        relevance_path=job.output.relevance,
        maps_dir=job.output.maps,
        versions=software_versions(),
    )
    groups.to_csv(job.output.groups, sep="\t", index=False)

remove_other_parts(job.input.parts)
