"""Images derived from the deformation of a scan: local volume relative to the template, and modulated grey matter."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager

import numpy as np

from voxelwhy.registration.ants import ants, jacobian
from voxelwhy.registration.whole_head import brain_mask_of_scan

#: Where a warp folds, its Jacobian is not positive and has no logarithm, so it is set to this share of the volume.
LEAST_JACOBIAN = 0.01


def make_maps(names, scan, moving, template, mask, prefix, *, whole_head=False):
    """Make the images `names` of a registered scan on the grid of the template, 0 outside its brain.

    Parameters
    ----------
    names : of "log_jacobian" and "grey_matter_modulated"
    scan : nibabel image, as it was registered; `moving` is the same scan as an ANTs image, with its bias field
        corrected if the settings ask for it
    template, mask : ANTs image and nibabel image on the study's grid
    prefix : str; where ANTs wrote its transforms, including a warp
    whole_head : bool; whether the scan shows more than the brain

    Returns
    -------
    dict, name to float64 array (x, y, z):

    - log_jacobian: logarithm of the scan's local volume relative to the template, without the affine part (head size);
      a loss of a quarter is -0.29
    - grey_matter_modulated: share of grey matter in each voxel times that relative volume, so that the sum over a
      region is its grey matter volume in the scan, corrected for head size. The scan is segmented in its own space into
      three classes of intensity; in a T1-weighted scan, the class with the middle mean is grey matter

    References
    ----------
    Ashburner & Friston 2000, NeuroImage 11:805 (voxel-based morphometry), 2001, NeuroImage 14:1238 (why modulated);
    Avants 2011, Neuroinformatics 9:381 (Atropos).
    """
    inside = np.asarray(mask.dataobj) > 0
    volume = jacobian(template, f"{prefix}1Warp.nii.gz")
    made = {}
    if "log_jacobian" in names:
        made["log_jacobian"] = np.where(inside, np.log(np.maximum(volume, LEAST_JACOBIAN)), 0)
    if "grey_matter_modulated" in names:
        brain = brain_mask_of_scan(scan, mask, prefix) if whole_head else (moving.numpy() > 0).astype(np.uint8)
        grey = segment_grey_matter(moving, moving.new_image_like(brain.astype("float32")), os.path.dirname(prefix))
        transforms = [f"{prefix}1Warp.nii.gz", f"{prefix}0GenericAffine.mat"]
        warped = ants.apply_transforms(template, grey, transforms, interpolator="linear").numpy()
        made["grey_matter_modulated"] = np.where(inside, np.clip(warped, 0, 1) * np.maximum(volume, 0), 0)
    return made


def segment_grey_matter(image, mask, scratch):
    """Estimate the probability of grey matter by k-means, then a Gaussian mixture with a Markov random field.

    Parameters
    ----------
    image, mask : ANTs images; a T1-weighted scan, and 1 inside the brain
    scratch : path of a folder for the files that Atropos writes

    Returns
    -------
    ANTs image, 0 to 1
    """
    with _temporary_files_in(scratch):
        # Without r=0 the initial classes depend on the clock.
        found = ants.atropos(a=image.clone("float"), x=mask, i="KMeans[3]", m="[0.1,1x1x1]", c="[5,0]", r=0)
    values, inside = image.numpy(), mask.numpy() > 0
    classes = [part.numpy() for part in found["probabilityimages"]]
    means = [np.average(values[inside], weights=part[inside] + 1e-9) for part in classes]
    return found["probabilityimages"][int(np.argsort(means)[1])]


@contextmanager
def _temporary_files_in(folder):
    # antspyx never removes the maps of Atropos from the system's folder for temporary files.
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
