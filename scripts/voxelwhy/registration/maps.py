"""Images that follow from the deformation of a scan: its local volume relative to the template, and its grey matter."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager

import numpy as np

from voxelwhy.registration.ants import ants, jacobian
from voxelwhy.registration.whole_head import brain_mask_of_scan

#: A warp that folds has a Jacobian below 0, which has no logarithm: it counts as this share of the volume.
LEAST_JACOBIAN = 0.01


def make_maps(names, scan, moving, template, mask, prefix, *, whole_head=False):
    """The images `names` of a registered scan, on the grid of the template; 0 outside its brain.

    Parameters
    ----------
    names : of "log_jacobian" and "grey_matter_modulated"
    scan : nibabel image, as it was registered; `moving` is the same as ANTs image, its bias corrected where the
        settings say so
    template, mask : ANTs image and nibabel image on the study's grid
    prefix : str; where ANTs left its transforms, a warp among them
    whole_head : bool; whether the scan shows more than the brain

    Returns
    -------
    dict, name to float64 array (x, y, z):

    - log_jacobian: logarithm of the scan's local volume relative to the template, the affine part (head size) left
      out; a quarter less is -0.29
    - grey_matter_modulated: share of grey matter in each voxel times that relative volume, so that a sum over a region
      is its grey matter in the scan, head size taken off. The scan is segmented in its own space into three classes
      of intensity; that of the middle mean is grey matter in a T1-weighted scan

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
    """Probability of grey matter: three classes by k-means, then a Gaussian mixture with a Markov random field.

    Parameters
    ----------
    image, mask : ANTs images, T1-weighted and 1 inside the brain
    scratch : path of a folder for what Atropos writes

    Returns
    -------
    ANTs image, 0 to 1
    """
    with _temporary_files_in(scratch):
        # r=0: without it the classes begin at the clock's seed.
        found = ants.atropos(a=image.clone("float"), x=mask, i="KMeans[3]", m="[0.1,1x1x1]", c="[5,0]", r=0)
    values, inside = image.numpy(), mask.numpy() > 0
    classes = [part.numpy() for part in found["probabilityimages"]]
    means = [np.average(values[inside], weights=part[inside] + 1e-9) for part in classes]
    return found["probabilityimages"][int(np.argsort(means)[1])]


@contextmanager
def _temporary_files_in(folder):
    # antspyx leaves the maps of Atropos in the machine's folder for temporary files, for good.
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
