"""Fit the linear baseline on the folds of a split, and predict the scans of another study."""

import nibabel as nib
import numpy as np
import pandas as pd

from voxelwhy.baseline import region_means
from voxelwhy.doors import door
from voxelwhy.external.baseline import predict_external_baseline
from voxelwhy.tables import ATLAS, FOLDS, PREDICTIONS, SELECTED, read_table, write_table
from voxelwhy.volumes import Volumes, registered_paths

with door(snakemake) as job:
    regions = read_table(job.input.regions, ATLAS)
    brain = np.asarray(nib.load(job.input.mask).dataobj) > 0
    labels = np.asarray(nib.load(job.input.labels).dataobj).astype(int)
    features = []
    for path in (job.input.own, job.input.selected):
        scans = read_table(path, SELECTED)
        means = region_means(Volumes(registered_paths(scans).values(), brain), labels, regions["region_id"].tolist())
        features.append(pd.DataFrame(means, index=scans["scan_id"], columns=regions["region"]))
    predictions = predict_external_baseline(
        read_table(job.input.own_folds, FOLDS),
        features[0],
        read_table(job.input.folds, FOLDS),
        features[1],
        kind=job.settings["baseline"],
        classes=job.settings["classes"],
        seed=job.settings["seed"],
    )
    write_table(predictions, job.output.predictions, PREDICTIONS)
