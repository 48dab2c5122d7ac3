"""A linear baseline for the networks, fitted on the same folds: its predictions, its maps, and what chance gives."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from voxelwhy.errors import InputError
from voxelwhy.io.tables import BASELINE_MAPS
from voxelwhy.splits.permute import permute_diagnoses
from voxelwhy.training.baseline_maps import mean_over_folds, relevance_table
from voxelwhy.training.region_baseline import RegionBaseline, region_features
from voxelwhy.training.voxelwise import SmoothedScans, VoxelwiseBaseline

log = logging.getLogger(__name__)

#: The kind of baseline that sees voxels; the others see region means.
VOXELWISE = "voxelwise"


def make_baseline(how, selected, regions, names, mask, *, channels, seed, folder):
    """Prepare the baseline of a study for fitting.

    Parameters
    ----------
    how : dict with kind ("logistic_regression", "linear_svm" or "voxelwise") and, for the last, smoothing_mm
    selected : DataFrame by tables.SELECTED, all scans that it is fitted on or predicts
    regions : baseline_maps.BrainRegions
    names : sequence of str, the names of the regions
    mask : nibabel image, the voxels that a voxelwise baseline sees, all of them inside the brain
    channels : sequence of str, from channels.CHANNELS
    seed : int
    folder : path of a folder for temporary files

    Returns
    -------
    RegionBaseline or VoxelwiseBaseline

    Raises
    ------
    InputError : two scans have the same scan_id.
    """
    twice = selected.loc[selected["scan_id"].duplicated(), "scan_id"]
    if len(twice):
        raise InputError(
            "a scan of this study and one of another study have the same name",
            column="scan_id",
            found=twice.iloc[0],
            hint="give these subjects other ids in one of the tables",
        )
    if how["kind"] != VOXELWISE:
        return RegionBaseline(region_features(selected, regions, names, channels), how["kind"], regions)
    options = {"channels": channels, "smoothing_mm": how["smoothing_mm"], "folder": folder}
    return VoxelwiseBaseline(SmoothedScans(selected, mask, **options), mask, regions, seed=seed)


def predict_baseline(folds, baseline, *, classes, fitted_on=None):
    """Fit on each fold's training and validation scans, and predict its test scans.

    The decision value of an SVM is passed through a logistic function: its ranks, and so its AUC, are correct, but it
    is not a calibrated probability.

    Parameters
    ----------
    folds : DataFrame by tables.FOLDS
    baseline : RegionBaseline or VoxelwiseBaseline
    classes : {"positive": name, "negative": name}
    fitted_on : DataFrame by tables.FOLDS to fit on, if `folds` belong to another study; by default `folds`

    Returns
    -------
    predictions : DataFrame by tables.PREDICTIONS
    """
    parts = []
    for fold, rows in folds.groupby("fold", sort=True):
        fitted = _fit(folds if fitted_on is None else fitted_on, fold, baseline, classes)
        tested = rows[rows["side"] == "test"].sort_values("scan_id", ignore_index=True)
        margin = fitted.margins(tested["scan_id"])
        log.info("fold %d of the baseline: C = %g", fold, fitted.penalty)
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


def explain_baseline(folds, subjects, baseline, *, classes, n_draws):
    """Compute the baseline's maps, and their enrichment by region compared with fits on permuted diagnoses.

    A map holds absolute values, summed over channels; it is scaled to a sum of 1 inside the brain in each fold, and
    averaged over folds.

    Parameters
    ----------
    folds : DataFrame by tables.FOLDS
    subjects : DataFrame indexed by subject_id, with age and sex
    baseline : RegionBaseline or VoxelwiseBaseline
    classes : {"positive": name, "negative": name}
    n_draws : int, how often the diagnoses are permuted

    Returns
    -------
    maps : {"weights": array, "pattern": array}, each (x, y, z), 0 outside the brain
    relevance : DataFrame by tables.BASELINE_RELEVANCE

    References
    ----------
    Haufe et al. 2014, NeuroImage 87:96 (a weight may be large only because it cancels noise of another feature; the
    pattern is not, but both are shown).
    """
    own = fold_coefficients(folds, baseline, classes)
    coefficients = [own]
    for draw in range(1, n_draws + 1):
        permuted = permute_diagnoses(folds, subjects, draw=draw)
        coefficients.append(fold_coefficients(permuted, baseline, classes))
    coefficients = np.stack(coefficients)
    axes = coefficients.shape[:3]  # draws, folds, maps
    sums, totals = baseline.region_sums(coefficients.reshape(-1, *coefficients.shape[3:]))
    regions = baseline.regions
    shares = mean_over_folds(sums.reshape(*axes, -1), totals.reshape(axes))
    painted = baseline.paint(own.reshape(-1, *own.shape[2:])).reshape(*axes[1:], -1)
    means = mean_over_folds(painted, totals.reshape(axes)[0])
    maps = {}
    for kind, mean in zip(BASELINE_MAPS, means, strict=True):
        maps[kind] = np.zeros(regions.brain.shape)
        maps[kind][regions.brain] = np.nan_to_num(mean)
    return maps, relevance_table(regions.enrichment(shares), regions.region_ids)


def fold_coefficients(folds, baseline, classes):
    """Fit on each fold and return the coefficients of its maps, (folds, maps, …); 0 if all diagnoses are the same."""
    fits = [_fit(folds, fold, baseline, classes) for fold in sorted(folds["fold"].unique())]
    found = [None if fitted is None else fitted.coefficients() for fitted in fits]
    return np.stack([baseline.no_coefficients() if one is None else one for one in found])


def _fit(folds, fold, baseline, classes):
    """Fit on the training and validation scans of a fold; None if they have one class only."""
    known = folds[(folds["fold"] == fold) & (folds["side"] != "test")]
    positive = (known["label"] == classes["positive"]).to_numpy()
    return None if positive.all() or not positive.any() else baseline.fit(known, positive)
