"""Maps of a linear classifier: its weights, and the pattern that these weights extract from the data."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from voxelwhy.io.tables import BASELINE_MAPS


def pattern_coefficients(scores):
    """Coefficients that combine the scans into the pattern of a linear classifier.

    The pattern of the weights w is A = Cov(X) w / Var(Xw) for the scans X, (scans, features). Since the product is a
    sum over scans, A = X' c with the coefficients c that this function returns.

    Parameters
    ----------
    scores : array (scans,), Xw: the decision value of each scan that the classifier was fitted on, up to a constant

    Returns
    -------
    coefficients : float64 array (scans,); 0 if the scores do not vary, as if all weights are 0

    References
    ----------
    Haufe et al. 2014, NeuroImage 87:96, theorem 1.
    """
    deviations = np.asarray(scores, dtype=np.float64) - np.mean(scores)
    squares = deviations @ deviations
    # Cov and Var have the same denominator, n - 1.
    return deviations / squares if squares > 0 else np.zeros_like(deviations)


class BrainRegions:
    """The regions of an atlas inside the brain.

    Parameters
    ----------
    brain : bool array (x, y, z)
    labels : int array (x, y, z); 0 is background
    region_ids : sequence of int

    Attributes
    ----------
    sizes : int array (regions,), voxels of each region inside the brain
    of_voxels : sparse array (brain voxels, regions), 1 where a voxel belongs to a region
    """

    def __init__(self, brain, labels, region_ids):
        self.brain, self.labels, self.region_ids = brain, labels, np.asarray(region_ids, dtype=int)
        inside = labels[brain]
        order = np.argsort(self.region_ids)
        place = order[np.searchsorted(self.region_ids, inside, sorter=order).clip(max=len(order) - 1)]
        voxels = np.flatnonzero(self.region_ids[place] == inside)
        shape = (len(inside), len(self.region_ids))
        self.of_voxels = csr_matrix((np.ones(len(voxels)), (voxels, place[voxels])), shape=shape)
        self.sizes = np.bincount(place[voxels], minlength=len(self.region_ids))

    def enrichment(self, shares):
        """Divide the share of a map in each region by the region's share of the brain's voxels.

        Parameters
        ----------
        shares : array (..., regions), fractions of the map's sum over the brain

        Returns
        -------
        array of the same shape; 1 for a flat map, NaN for a region without a voxel inside the brain
        """
        of_brain = self.sizes / np.count_nonzero(self.brain)
        return np.divide(shares, of_brain, out=np.full(np.shape(shares), np.nan), where=of_brain > 0)


def mean_over_folds(values, totals):
    """Scale each fold's values by its total, and average over the folds whose total is not 0.

    A fold has no map if all diagnoses that it is fitted on are the same, which happens if few diagnoses are permuted.

    Parameters
    ----------
    values : array (..., folds, maps, n)
    totals : array (..., folds, maps)

    Returns
    -------
    array (..., maps, n); NaN where no fold has a map
    """
    there = totals[..., None] > 0
    scaled = np.divide(values, totals[..., None], out=np.zeros(np.shape(values)), where=there)
    counts = there.sum(axis=-3)
    sums = scaled.sum(axis=-3)
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


def relevance_table(enrichment, region_ids):
    """Make the table by tables.BASELINE_RELEVANCE.

    Parameters
    ----------
    enrichment : array (draws, maps, regions), the first draw being the fit on the true diagnoses
    region_ids : sequence of int
    """
    index = pd.MultiIndex.from_product(
        [range(len(enrichment)), BASELINE_MAPS, region_ids], names=["draw", "map", "region_id"]
    )
    return pd.DataFrame({"enrichment": enrichment.ravel()}, index=index).reset_index()


def map_card(kind, how, folds, channels, versions):
    """Make the card of a map, which is stored as its JSON.

    Parameters
    ----------
    kind : "weights" or "pattern"
    how : dict, as in `baseline.make_baseline`
    folds : DataFrame by tables.FOLDS
    channels : sequence of str, from channels.CHANNELS
    versions : dict of software versions
    """
    known = folds[folds["side"] != "test"]
    return {
        "map": kind,
        "baseline": how,
        "channels": list(channels),
        "statistic": "mean over folds of absolute values, scaled in each fold to a sum of 1 inside the brain",
        "units": "share of the map",
        "n_folds": int(known["fold"].nunique()),
        "n_scans": int(known["scan_id"].nunique()),
        "n_subjects": int(known["subject_id"].nunique()),
        "versions": versions,
    }


def load_baseline_maps(paths):
    """Load the maps of the baseline as those of methods, {"baseline_weights": array, "baseline_pattern": array}.

    Parameters
    ----------
    paths : paths of weights.nii.gz and pattern.nii.gz
    """
    return {
        f"baseline_{kind}": np.asarray(nib.load(path).dataobj) for kind, path in zip(BASELINE_MAPS, paths, strict=True)
    }


def baseline_enrichment(relevance):
    """Separate the enrichment of the baseline's maps from that of fits on permuted diagnoses.

    Parameters
    ----------
    relevance : DataFrame by tables.BASELINE_RELEVANCE

    Returns
    -------
    own : {"baseline_weights", "baseline_pattern": Series of enrichment by region_id}
    draws : the same names: DataFrame, one row for each draw and one column for each region_id
    """
    own, draws = {}, {}
    for kind in BASELINE_MAPS:
        rows = relevance[relevance["map"] == kind].pivot(index="draw", columns="region_id", values="enrichment")
        own[f"baseline_{kind}"], draws[f"baseline_{kind}"] = rows.loc[0], rows.drop(index=0)
    return own, draws
