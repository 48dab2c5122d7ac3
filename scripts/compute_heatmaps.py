"""Explain one part of the test scans of a split by one method."""

from pathlib import Path

import nibabel as nib
import pandas as pd

from voxelwhy.heatmaps.explain_scans import choose_subjects, explain_scans, part_of, write_part
from voxelwhy.io.provenance import software_versions
from voxelwhy.io.tables import ATLAS, PREDICTIONS, SELECTED, read_table
from voxelwhy.jobs.doors import door
from voxelwhy.registry import METHODS, load
from voxelwhy.training.volumes import registered_paths

with door(snakemake) as job:
    method = job.wildcards.method
    number, n_parts = map(int, job.wildcards.part.split("-of-"))
    selected = read_table(job.input.selected, SELECTED)
    predictions = pd.concat([read_table(path, PREDICTIONS) for path in job.input.predictions], ignore_index=True)
    most, seed = job.settings.get("most_subjects"), job.settings.get("seed", 0)
    explained = choose_subjects(predictions, most, kept=job.settings["scans"], seed=seed)
    Path(job.output[0]).mkdir()
    made = explain_scans(
        getattr(load(METHODS, method, "heatmap method"), method),
        {int(Path(path).parent.name.removeprefix("fold-")): path for path in job.input.models},
        part_of(explained, number - 1, n_parts),
        registered_paths(selected, job.settings["channels"]),
        (nib.load(job.input.labels), read_table(job.input.regions, ATLAS), nib.load(job.input.mask)),
        job.settings,
        classes=job.settings["classes"],
        maps_dir=job.output[0],
        network_mask=nib.load(job.input.network_mask),
        device=snakemake.resources.device,
        versions=software_versions(),
    )
    write_part(job.output[0], *made)
