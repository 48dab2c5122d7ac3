"""Place the values of a coarse map in the image: each at the centre of the region that it was computed from."""

from __future__ import annotations

import numpy as np

from voxelwhy.errors import ConfigError

INTERPOLATIONS = ("linear", "nearest")


def check_interpolation(interpolation):
    """Raise ConfigError unless `draw_at_centres` knows `interpolation`."""
    if interpolation not in INTERPOLATIONS:
        raise ConfigError("there is no such interpolation", found=interpolation, allowed=INTERPOLATIONS)


def window_centres(starts, stops) -> np.ndarray:
    """Centres of the windows [start, stop) along one axis, in voxels."""
    return (np.asarray(starts, dtype=float) + np.asarray(stops, dtype=float) - 1) / 2


def draw_at_centres(values, centres, spatial_shape, interpolation="linear") -> np.ndarray:
    """Draw a coarse map on the image: each value at its centre, linear between centres, the nearest value outside.

    With "nearest", each voxel takes the value of the nearest centre instead (halfway between two, the lower one's).

    A plain zoom would spread the cells over the whole image, although their centres do not reach its edges. An
    occlusion value would then lie up to 12 voxels from its window, and a Grad-CAM value of the paper's network up to
    26 mm from its receptive field.

    Parameters
    ----------
    values : (*cells).
    centres : for each axis, the centres of the cells in voxels, in ascending order. Of cells with the same centre
        (windows clipped to the same voxels), the first one counts.
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
        # Linear interpolation is a product with a weight matrix along each axis in turn.
        weights = np.stack([np.interp(np.arange(length), places, cell) for cell in np.eye(len(places))], axis=1)
        drawn = np.moveaxis(np.tensordot(weights, drawn.take(kept, axis=axis), axes=(1, axis)), 0, axis)
    return drawn
