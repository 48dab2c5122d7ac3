"""A linear baseline for the networks: a classifier on region means, trained and tested on the same folds."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from voxelwhy.training.volumes import Volumes, registered_paths

MODELS = ("logistic_regression", "linear_svm")


def region_means(volumes, labels, region_ids):
    """Compute the mean of each region in each channel.

    Means of intensities are divided by the scan's mean over all regions, because scanners differ in gain.

    Parameters
    ----------
    volumes : voxelwhy.training.volumes.Volumes, on the grid of `labels`, not cropped
    labels : int array (x, y, z)
    region_ids : sequence of int

    Returns
    -------
    means : float64 array, (scans, channels times regions), starting with all regions of the first channel
    """
    flat = labels.ravel()
    sizes = np.bincount(flat, minlength=max(region_ids) + 1)[region_ids]
    rows = []
    for index in range(len(volumes)):
        row = []
        for channel, values in zip(volumes.channels, volumes[index], strict=True):
            sums = np.bincount(flat, weights=values.ravel(), minlength=max(region_ids) + 1)[region_ids]
            row.append(sums / sizes / (sums.sum() / sizes.sum() if channel == "t1" else 1))
        rows.append(np.concatenate(row))
    return np.array(rows)


def region_features(selected, mask, labels, regions, channels):
    """Return the features of the baseline: `region_means` by scan_id, one column per channel and region.

    Parameters
    ----------
    selected : DataFrame by tables.SELECTED
    mask, labels : nibabel images, the brain and the atlas on the study's grid
    regions : DataFrame by tables.ATLAS
    channels : sequence of str, from channels.CHANNELS
    """
    paths = registered_paths(selected, channels).values()
    volumes = Volumes(paths, np.asarray(mask.dataobj) > 0, channels=channels)
    means = region_means(volumes, np.asarray(labels.dataobj).astype(int), regions["region_id"].tolist())
    names = [f"{channel} {region}" for channel in channels for region in regions["region"]]
    return pd.DataFrame(means, index=selected["scan_id"], columns=names)


def predict_baseline(folds, features, *, kind, classes, seed, fitted_on=None):
    """Fit on each fold's training and validation scans, and predict its test scans.

    Parameters
    ----------
    folds : DataFrame by tables.FOLDS
    features : DataFrame, indexed by scan_id, one column per region
    kind : "logistic_regression" or "linear_svm"
        L2 penalty with C = 1 after standardising by the scans that it is fitted on. The SVM's decision value is passed
        through a logistic function: its ranks, and so its AUC, are correct, but it is not a calibrated probability.
    fitted_on : (folds, features) to fit on, if `folds` and `features` belong to another study; by default the same

    Returns
    -------
    predictions : DataFrame by tables.PREDICTIONS
    """
    own_folds, own_features = fitted_on or (folds, features)
    parts = []
    for fold, rows in folds.groupby("fold", sort=True):
        known = own_folds[(own_folds["fold"] == fold) & (own_folds["side"] != "test")]
        tested = rows[rows["side"] == "test"].sort_values("scan_id", ignore_index=True)
        estimator = (
            SVC(kernel="linear") if kind == "linear_svm" else LogisticRegression(max_iter=5000, random_state=seed)
        )
        model = make_pipeline(StandardScaler(), estimator)
        model.fit(own_features.loc[known["scan_id"]], known["label"] == classes["positive"])
        margin = model.decision_function(features.loc[tested["scan_id"]])
        parts.append(
            pd.DataFrame(
                {
                    "fold": fold,
                    "scan_id": tested["scan_id"],
                    "subject_id": tested["subject_id"],
                    "label": tested["label"],
                    "logit_negative": 0.0,
                    "logit_positive": margin,
                    "probability": 1 / (1 + np.exp(-margin)),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
