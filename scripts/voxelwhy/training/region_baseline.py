"""The baseline on region means: logistic regression or a linear SVM."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from voxelwhy.io.tables import BASELINE_MAPS
from voxelwhy.training.baseline_maps import pattern_coefficients
from voxelwhy.training.volumes import Volumes, registered_paths


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


def region_features(selected, regions, names, channels):
    """Return `region_means` by scan_id, one column per channel and region.

    Parameters
    ----------
    selected : DataFrame by tables.SELECTED
    regions : baseline_maps.BrainRegions
    names : sequence of str, the names of the regions in their order
    channels : sequence of str, from channels.CHANNELS
    """
    volumes = Volumes(registered_paths(selected, channels).values(), regions.brain, channels=channels)
    means = region_means(volumes, regions.labels, regions.region_ids)
    columns = [f"{channel} {name}" for channel in channels for name in names]
    return pd.DataFrame(means, index=selected["scan_id"], columns=columns)


class RegionBaseline:
    """A linear classifier of region means, standardised by the scans that it is fitted on; L2 penalty with C = 1.

    Parameters
    ----------
    features : DataFrame of `region_features`
    kind : "logistic_regression" or "linear_svm"
    regions : baseline_maps.BrainRegions, in the order of the columns of each channel; maps need them, predictions
        do not
    """

    def __init__(self, features, kind, regions=None):
        self.features, self.kind, self.regions = features, kind, regions

    def fit(self, known, positive):
        """Fit to scans.

        Parameters
        ----------
        known : DataFrame with scan_id, one row per scan
        positive : bool array, whether each scan belongs to the positive class
        """
        estimator = SVC(kernel="linear") if self.kind == "linear_svm" else LogisticRegression(max_iter=5000)
        model = make_pipeline(StandardScaler(), estimator)
        model.fit(self.features.loc[known["scan_id"]], positive)
        return FittedRegions(model, self.features, known["scan_id"])

    def no_coefficients(self):
        """Return the coefficients of a fit without weights."""
        return np.zeros((len(BASELINE_MAPS), self.features.shape[1]))

    def paint(self, coefficients):
        """Paint absolute coefficients, summed over channels, on the regions.

        Parameters
        ----------
        coefficients : array (m, channels times regions), as `FittedRegions.coefficients` gives them

        Returns
        -------
        float64 array (m, brain voxels); 0 outside the regions
        """
        return self.regions.of_voxels.dot(self._by_region(coefficients).T).T

    def region_sums(self, coefficients):
        """Sum the maps of `paint` over each region, (m, regions), and over the brain, (m,)."""
        sums = self._by_region(coefficients) * self.regions.sizes
        return sums, sums.sum(axis=1)

    def _by_region(self, coefficients):
        return np.abs(coefficients).reshape(len(coefficients), -1, len(self.regions.sizes)).sum(axis=1)


@dataclass(frozen=True)
class FittedRegions:
    """A fitted RegionBaseline.

    Attributes
    ----------
    known : Series of str, the scans (scan_id) that it is fitted on
    penalty : float, C
    """

    model: Pipeline
    features: pd.DataFrame
    known: pd.Series
    penalty: float = 1.0

    def margins(self, scans):
        """Return the decision value of each of `scans` (scan_id)."""
        return self.model.decision_function(self.features.loc[scans])

    def coefficients(self):
        """Return weight and pattern of each standardised feature, (2, channels times regions)."""
        standardised = self.model[0].transform(self.features.loc[self.known])
        weights = self.model[1].coef_[0]
        return np.stack([weights, standardised.T @ pattern_coefficients(standardised @ weights)])
