"""Fit the linear baseline on region means, on the same folds."""

import nibabel as nib
import numpy as np
import pandas as pd

from voxelwhy.baseline import predict_baseline, region_means
from voxelwhy.doors import door
from voxelwhy.tables import ATLAS, FOLDS, PREDICTIONS, SELECTED, read_table, write_table
from voxelwhy.volumes import Volumes, registered_paths

with door(snakemake) as job:
    selected, regions = read_table(job.input.selected, SELECTED), read_table(job.input.regions, ATLAS)
    volumes = Volumes(registered_paths(selected).values(), np.asarray(nib.load(job.input.mask).dataobj) > 0)
    labels = np.asarray(nib.load(job.input.labels).dataobj).astype(int)
    means = region_means(volumes, labels, regions["region_id"].tolist())
    features = pd.DataFrame(means, index=selected["scan_id"], columns=regions["region"])
    predictions = predict_baseline(
        read_table(job.input.folds, FOLDS),
        features,
        kind=job.settings["baseline"],
        classes=job.settings["classes"],
        seed=job.settings["seed"],
    )
    write_table(predictions, job.output.predictions, PREDICTIONS)
