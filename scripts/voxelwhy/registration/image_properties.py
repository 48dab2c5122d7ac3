"""Properties of registered images that depend on the scanner rather than on anatomy: noise, gradients of brightness.

A confound of the scanner may be the same in all patients. What the audit of shortcuts then finds is that the classes
differ in one of these properties (`evaluation.shortcuts`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import ndimage

from voxelwhy.io.images import Grid, read_volume

#: Gradients along the axes of the template (RAS+).
GRADIENTS = tuple(f"brightness_gradient_to_the_{side}" for side in ("right", "front", "crown"))
#: Properties of an image, in the order of `measure_image`.
IMAGE_PROPERTIES = ("image_noise", *GRADIENTS)
#: Noise is measured where the template is most homogeneous (this share of its brain), by this percentile: the edges of
#: ventricles and sulci, which atrophy moves, have the larger values.
HOMOGENEOUS, QUIET = 15, 20
#: Of the ratios to the template, only those between these percentiles count: others are voxels of other tissue.
TRIMMED = (20, 80)
#: Darker voxels, relative to the median of the brain, have no ratio to the template.
DARK = 0.05


class Places(NamedTuple):
    """Where images are measured: the brain; flat indices for noise; a mask, its template and points."""

    brain: np.ndarray
    quiet: np.ndarray
    bright: np.ndarray
    template: np.ndarray
    points: np.ndarray


def measure_scans(selected, template_path, mask_path):
    """Measure the registered image of each scan.

    Parameters
    ----------
    selected : DataFrame by tables.SELECTED
    template_path, mask_path : paths of the template and of its brain mask on the study's grid

    Returns
    -------
    DataFrame by tables.COVARIATES, with the covariates of IMAGE_PROPERTIES
    """
    template, brain = read_volume(template_path), np.asarray(read_volume(mask_path).dataobj) > 0
    places, rows = find_places(template.get_fdata(dtype=np.float32), brain, template.affine), []
    for scan in selected.itertuples():
        image = read_volume(scan.t1)
        Grid.of(template).require(Grid.of(image), f"the image {scan.t1}")
        found = measure_image(image.get_fdata(dtype=np.float32), places)
        rows += [(scan.scan_id, name, f"{value:.6g}" if np.isfinite(value) else None) for name, value in found.items()]
    return pd.DataFrame(rows, columns=["scan_id", "covariate", "value"])


def find_places(template, brain, affine):
    """Find where images on a grid are measured.

    Parameters
    ----------
    template, brain : array, and boolean array, of the grid
    affine : (4, 4), of the grid, RAS+

    Returns
    -------
    Places
    """
    # Eroded, so that no voxel at the edge of the brain or of the grid has a neighbour outside.
    inside = ndimage.binary_erosion(brain)
    span = ndimage.maximum_filter(template, 3) - ndimage.minimum_filter(template, 3)
    quiet = inside & (span <= np.percentile(span[inside], HOMOGENEOUS)) if inside.any() else inside
    bright = brain & (template >= np.median(template[brain]))
    points = np.argwhere(bright) @ affine[:3, :3].T / 100
    return Places(brain, np.flatnonzero(quiet), bright, template[bright], points)


def measure_image(values, places):
    """Measure one image.

    Parameters
    ----------
    values : array
    places : Places, of `find_places` on its grid

    Returns
    -------
    dict by IMAGE_PROPERTIES; NaN where the image has no spread

    - image_noise: 20th percentile of the absolute second difference between neighbouring voxels, along all axes, in the
      15 % of the brain in which the template varies least, relative to the median there
    - gradients: slopes of the logarithm of the ratio of image and template, per 100 mm, by least squares over the
      brighter half of the template's brain (mostly white matter), without the smallest and largest 20 % of the ratios
    """
    middle = float(np.median(values[places.brain]))
    if not middle > 0:
        return dict.fromkeys(IMAGE_PROPERTIES, np.nan)
    gradients = _gradients(values[places.bright] / middle, places)
    return {"image_noise": _noise(values, places.quiet)} | dict(zip(GRADIENTS, gradients, strict=True))


def _noise(values, quiet):
    flat, steps = np.ascontiguousarray(values).reshape(-1), (values.shape[1] * values.shape[2], values.shape[2], 1)
    level = float(np.median(flat[quiet])) if len(quiet) else 0.0
    if not level > 0:
        return np.nan
    differences = [np.abs(flat[quiet - step] + flat[quiet + step] - 2 * flat[quiet]) for step in steps]
    return float(np.percentile(np.concatenate(differences), QUIET)) / level


def _gradients(values, places):
    lit = values > DARK
    if lit.sum() < 100:
        return (np.nan,) * 3
    ratio = np.log(values[lit] / places.template[lit])
    low, high = np.percentile(ratio, TRIMMED)
    kept = (ratio >= low) & (ratio <= high)
    points = places.points[lit][kept]
    design = np.c_[points - points.mean(axis=0), np.ones(len(points))]
    return tuple(float(slope) for slope in np.linalg.lstsq(design, ratio[kept], rcond=None)[0][:3])
