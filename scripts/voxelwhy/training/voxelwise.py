"""The voxelwise baseline: a linear SVM on smoothed images, through a kernel that is computed once for all fits."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass

import nibabel as nib
import numpy as np
import pandas as pd
from nilearn.image import smooth_img
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.preprocessing import KernelCenterer
from sklearn.svm import SVC

from voxelwhy.io.tables import BASELINE_MAPS
from voxelwhy.training.baseline_maps import pattern_coefficients
from voxelwhy.training.volumes import Normaliser, Volumes, registered_paths

#: Numbers of float64 in one block of voxels of all scans, or of all maps: 64 MB.
BLOCK = 8_000_000
#: Largest violation of the optimality conditions at which the solver stops; the default of scikit-learn, 1e-3, leaves
#: differences in the maps.
TOLERANCE = 1e-6
#: Values of C to choose from. At the smallest, most scans lie within the margin; at the largest, few scans or none.
PENALTIES = (0.1, 1.0, 10.0)
INNER_FOLDS = 5


class SmoothedScans:
    """Smoothed voxels of scans, which are written once to a temporary file and read from it in blocks of voxels.

    T1 intensities are standardised by scan inside the mask, as by the normalisation `scan`; other channels have units
    of their own and stay as they are. Voxels outside the mask are 0, which for intensities is the mean of the scan,
    before and after smoothing.

    Parameters
    ----------
    selected : DataFrame by tables.SELECTED
    mask : nibabel image, the voxels that the classifier sees, on the study's grid
    channels : sequence of str, from channels.CHANNELS
    smoothing_mm : float, full width at half maximum of the Gaussian kernel, mm; 0 for none
    folder : path of a folder with room for the file (4 bytes for each voxel of the mask, scan and channel), which is
        removed with this object and, by the system, with the process

    Attributes
    ----------
    place : Series of int, the place of each scan by scan_id
    shape : (scans, channels, voxels of the mask)
    """

    def __init__(self, selected, mask, *, channels, smoothing_mm, folder):
        inside = np.asarray(mask.dataobj) > 0
        volumes = Volumes(registered_paths(selected, channels).values(), inside, channels=channels)
        self.place = pd.Series(range(len(volumes)), index=selected["scan_id"])
        self.shape = (len(volumes), len(channels), int(np.count_nonzero(inside)))
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed with this object)
        for index in range(len(volumes)):
            for channel, values in zip(channels, volumes[index], strict=True):
                if channel == "t1":
                    values = Normaliser("scan")(values[None], inside)[0]
                smoothed = smooth_img(nib.Nifti1Image(values, mask.affine), smoothing_mm or None)
                np.asarray(smoothed.dataobj, dtype=np.float32)[inside].tofile(self._file)
        self._file.flush()

    def blocks(self, n_rows):
        """Yield the voxels of all scans block by block, so small that `n_rows` numbers per voxel fit in memory.

        Yields
        ------
        voxels : slice of the voxels of the mask
        values : float64 array (scans, channels, voxels of the block)
        """
        scans, channels, voxels = self.shape
        step = max(1, BLOCK // max(scans * channels, n_rows))
        for start in range(0, voxels, step):
            block = slice(start, min(start + step, voxels))
            values = np.empty((scans * channels, block.stop - start))
            # Not through a memory map, whose pages would count as memory of the job until the system needs them.
            for row, place in zip(values, range(start, scans * channels * voxels, voxels), strict=True):
                self._file.seek(place * np.dtype(np.float32).itemsize)
                row[:] = np.fromfile(self._file, np.float32, len(row))
            yield block, values.reshape(scans, channels, -1)


def linear_kernels(smoothed):
    """Compute the inner products of all pairs of scans, for each channel.

    Parameters
    ----------
    smoothed : SmoothedScans

    Returns
    -------
    float64 array (channels, scans, scans)
    """
    scans, channels, _ = smoothed.shape
    kernels = np.zeros((channels, scans, scans))
    for _, values in smoothed.blocks(scans):
        for kernel, rows in zip(kernels, values.transpose(1, 0, 2), strict=True):
            kernel += rows @ rows.T
    return kernels


def choose_penalty(kernel, positive, subjects, *, seed):
    """Choose C by cross-validation: the smallest of PENALTIES with the largest mean AUC.

    Parameters
    ----------
    kernel : array (scans, scans), scaled to a mean diagonal of 1
    positive : bool array (scans,)
    subjects : sequence of str, the subject of each scan; a subject's scans stay together
    seed : int

    Returns
    -------
    float; the largest of PENALTIES, at which few scans are separated without error, if a class has only one subject
    """
    by_subject = pd.Series(positive).groupby(np.asarray(subjects)).any()
    n_folds = min(INNER_FOLDS, by_subject.sum(), (~by_subject).sum())
    if n_folds < 2:
        return max(PENALTIES)
    splits = StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(by_subject, by_subject)
    tested = [np.isin(subjects, by_subject.index[test]) for _, test in splits]
    search = GridSearchCV(
        SVC(kernel="precomputed"),
        {"C": PENALTIES},
        scoring="roc_auc",
        cv=[(np.flatnonzero(~test), np.flatnonzero(test)) for test in tested],
        refit=False,
    )
    return search.fit(kernel, positive).best_params_["C"]


class VoxelwiseBaseline:
    """A linear SVM on the voxels of smoothed scans.

    The kernel of each channel is centred, and divided by its mean diagonal, over the scans that the classifier is
    fitted on: the scans then have a mean square norm of 1 in each channel, whatever its units and the number of
    voxels. On this scale, C is the one of PENALTIES with the largest AUC in a cross-validation within these scans.

    Parameters
    ----------
    smoothed : SmoothedScans, of all scans that it is fitted on or predicts
    mask : nibabel image, the voxels that it sees, all of them inside the brain
    regions : baseline_maps.BrainRegions
    seed : int, for the folds of the inner cross-validation

    References
    ----------
    Bron et al. 2021, NeuroImage: Clinical 31:102712 (a linear SVM of voxels compared with a CNN).
    """

    def __init__(self, smoothed, mask, regions, *, seed):
        self.smoothed, self.regions, self.seed = smoothed, regions, seed
        self.kernels = linear_kernels(smoothed)
        # Places, among the voxels of the brain, of those that the classifier sees.
        self._seen = np.flatnonzero((np.asarray(mask.dataobj) > 0)[regions.brain])

    def fit(self, known, positive):
        """Fit to scans.

        Parameters
        ----------
        known : DataFrame with scan_id and subject_id, one row per scan
        positive : bool array, whether each scan belongs to the positive class
        """
        places = self.smoothed.place.loc[known["scan_id"]].to_numpy()
        kernels = self.kernels[:, places][:, :, places]
        centrers = [KernelCenterer().fit(kernel) for kernel in kernels]
        kernels = np.stack([centrer.transform(kernel) for centrer, kernel in zip(centrers, kernels, strict=True)])
        squares = np.trace(kernels, axis1=1, axis2=2) / len(known)
        scales = np.divide(1, squares, out=np.zeros_like(squares), where=squares > 0)
        kernel = np.tensordot(scales, kernels, axes=1)
        penalty = choose_penalty(kernel, positive, known["subject_id"], seed=self.seed)
        svm = SVC(C=penalty, kernel="precomputed", tol=TOLERANCE).fit(kernel, positive)
        dual = np.zeros(len(known))
        dual[svm.support_] = svm.dual_coef_[0]
        return FittedVoxels(self, places, centrers, scales, dual, float(svm.intercept_[0]), kernel @ dual, penalty)

    def no_coefficients(self):
        """Return the coefficients of a fit without weights."""
        return np.zeros((len(BASELINE_MAPS), *self.kernels.shape[:2]))

    def paint(self, coefficients):
        """Compute maps as sums over scans: absolute values, summed over channels.

        Parameters
        ----------
        coefficients : array (m, channels, scans), as `FittedVoxels.coefficients` gives them

        Returns
        -------
        float32 array (m, brain voxels); 0 where the classifier sees nothing
        """
        maps = np.zeros((len(coefficients), np.count_nonzero(self.regions.brain)), dtype=np.float32)
        for block, values in self._blocks(coefficients):
            maps[:, self._seen[block]] = values
        return maps

    def region_sums(self, coefficients):
        """Sum the maps of `paint` over each region, (m, regions), and over the brain, (m,)."""
        sums, totals = np.zeros((len(coefficients), len(self.regions.sizes))), np.zeros(len(coefficients))
        for block, values in self._blocks(coefficients):
            sums += self.regions.of_voxels[self._seen[block]].T.dot(values.T).T
            totals += values.sum(axis=1)
        return sums, totals

    def _blocks(self, coefficients):
        for block, scans in self.smoothed.blocks(len(coefficients)):
            by_channel = zip(coefficients.transpose(1, 0, 2), scans.transpose(1, 0, 2), strict=True)
            yield block, sum(np.abs(own @ values) for own, values in by_channel)


@dataclass(frozen=True)
class FittedVoxels:
    """A fitted VoxelwiseBaseline.

    Attributes
    ----------
    known : int array, places of the scans that it is fitted on
    centrers, scales : centring and scale of the kernel of each channel
    dual, intercept : the decision value of a scan is the sum of its kernel with `known` times `dual`, plus `intercept`
    scores : float64 array, decision values of `known` without the intercept
    penalty : float, the C that was chosen
    """

    baseline: VoxelwiseBaseline
    known: np.ndarray
    centrers: list
    scales: np.ndarray
    dual: np.ndarray
    intercept: float
    scores: np.ndarray
    penalty: float

    def margins(self, scans):
        """Return the decision value of each of `scans` (scan_id)."""
        tested = self.baseline.smoothed.place.loc[scans].to_numpy()
        margins = np.full(len(tested), self.intercept)
        for kernel, centrer, scale in zip(self.baseline.kernels, self.centrers, self.scales, strict=True):
            margins += scale * centrer.transform(kernel[np.ix_(tested, self.known)]) @ self.dual
        return margins

    def coefficients(self):
        """Return the coefficients with which scans add up to weights and pattern, (2, channels, scans).

        Both refer to voxels in units of their channel's root mean square norm. They are sums over scans and not over
        deviations from the mean scan, because `dual` and the coefficients of a pattern each sum to 0.
        """
        coefficients = self.baseline.no_coefficients()
        coefficients[:, :, self.known] = np.stack([self.dual, pattern_coefficients(self.scores)])[:, None]
        return coefficients * np.sqrt(self.scales)[:, None]
