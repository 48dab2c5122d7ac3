"""Fit the linear baseline on the same folds, predict their test scans or those of another study, and map it."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from voxelwhy.io.images import save_image
from voxelwhy.io.provenance import software_versions
from voxelwhy.io.tables import ATLAS, BASELINE_RELEVANCE, FOLDS, PREDICTIONS, SELECTED, read_table, write_table
from voxelwhy.jobs.doors import door
from voxelwhy.splits.permute import first_ages
from voxelwhy.training.baseline import explain_baseline, make_baseline, predict_baseline
from voxelwhy.training.baseline_maps import BrainRegions, map_card
from voxelwhy.training.volumes import counted_voxels

with door(snakemake) as job:
    settings, classes = job.settings, {"classes": job.settings["classes"]}
    brain, network_mask, labels = map(nib.load, (job.input.mask, job.input.network_mask, job.input.labels))
    atlas = read_table(job.input.regions, ATLAS)
    selected, folds = read_table(job.input.selected, SELECTED), read_table(job.input.folds, FOLDS)
    own_selected, own_folds = job.input.get("fitted_on") or (None, None)
    scans = pd.concat([read_table(own_selected, SELECTED), selected]) if own_selected else selected
    baseline = make_baseline(
        settings["baseline"],
        scans,
        BrainRegions(np.asarray(brain.dataobj) > 0, np.asarray(labels.dataobj).astype(int), atlas["region_id"]),
        atlas["region"],
        nib.Nifti1Image(counted_voxels(brain, network_mask).astype(np.uint8), brain.affine),
        channels=settings["channels"],
        seed=settings["seed"],
        folder=Path(job.output.predictions).parent,
    )
    fitted_on = read_table(own_folds, FOLDS) if own_folds else folds
    write_table(predict_baseline(folds, baseline, fitted_on=fitted_on, **classes), job.output.predictions, PREDICTIONS)
    if not own_folds:
        maps, relevance = explain_baseline(
            folds, first_ages(selected), baseline, n_draws=settings["n_draws"], **classes
        )
        write_table(relevance, job.output.relevance, BASELINE_RELEVANCE)
        for (kind, values), path in zip(maps.items(), job.output.maps, strict=True):
            card = map_card(kind, settings["baseline"], folds, settings["channels"], software_versions())
            save_image(path, values, brain.affine, card | {"n_draws": settings["n_draws"]})
