"""Where the values of a coarse map belong in the image: each at the centre of what it was computed from."""

from __future__ import annotations

import numpy as np

from voxelwhy.errors import ConfigError

INTERPOLATIONS = ("linear", "nearest")


def check_interpolation(interpolation):
    """Raise ConfigError unless `interpolation` is one that `draw_at_centres` knows."""
    if interpolation not in INTERPOLATIONS:
        raise ConfigError("there is no such interpolation", found=interpolation, allowed=INTERPOLATIONS)


def window_centres(starts, stops) -> np.ndarray:
    """Centres, in voxels, of the windows [start, stop) along one axis."""
    return (np.asarray(starts, dtype=float) + np.asarray(stops, dtype=float) - 1) / 2


def draw_at_centres(values, centres, spatial_shape, interpolation="linear") -> np.ndarray:
    """A coarse map drawn on the image: every value at its centre, linear in between, the nearest value outside.

    With "nearest" each voxel has the value of the nearest centre instead (between two, the lower one's).

    A plain zoom would spread the cells evenly over the image, whose edges they do not reach: an occlusion value would
    lie up to 12 voxels from its window, a Grad-CAM value of the paper's network up to 26 mm from its receptive field.

    Parameters
    ----------
    values : (*cells).
    centres : for each axis the centres of the cells, in voxels, ascending. Cells with the same centre (windows that
        are clipped to the same voxels) count once.
    spatial_shape : voxels along each axis of the image.
    interpolation : "linear" or "nearest"; `check_interpolation` refuses others.

    Returns
    -------
    drawn : float64 array, (*spatial_shape).
    """
    drawn = np.asarray(values, dtype=float)
    for axis, (places, length) in enumerate(zip(centres, spatial_shape, strict=True)):
        places, kept = np.unique(np.asarray(places, dtype=float), return_index=True)
        if interpolation == "nearest":
            nearest = np.searchsorted((places[1:] + places[:-1]) / 2, np.arange(length))
            drawn = drawn.take(kept[nearest], axis=axis)
            continue
        # Linear interpolation is a product with a matrix of weights, one axis after the other.
        weights = np.stack([np.interp(np.arange(length), places, cell) for cell in np.eye(len(places))], axis=1)
        drawn = np.moveaxis(np.tensordot(weights, drawn.take(kept, axis=axis), axes=(1, axis)), 0, axis)
    return drawn
