"""The linear baseline on another study's scans, fitted on the folds of this one."""

from __future__ import annotations

import pandas as pd

from voxelwhy.training.baseline import predict_baseline


def predict_external_baseline(own_folds, own_features, folds, features, *, kind, classes, seed):
    """Fit on each fold's training and validation scans of this study, predict the scans of the other.

    Parameters
    ----------
    own_folds, folds : DataFrames by tables.FOLDS, of this study's split and of the other cohort
    own_features, features : DataFrames of `baseline.region_means`, indexed by scan_id, the same columns
    kind, classes, seed : as `baseline.predict_baseline` has them

    Returns
    -------
    predictions : DataFrame by tables.PREDICTIONS
    """
    learnt = own_folds[own_folds["side"] != "test"]
    # Two people of two studies may have scans of one id.
    learnt = learnt.assign(scan_id=_of_this_study(learnt["scan_id"]))
    own_features = own_features.set_axis(_of_this_study(own_features.index))
    return predict_baseline(
        pd.concat([learnt, folds], ignore_index=True),
        pd.concat([own_features, features]),
        kind=kind,
        classes=classes,
        seed=seed,
    )


def _of_this_study(scan_ids):
    return [f"this study: {scan}" for scan in scan_ids]
