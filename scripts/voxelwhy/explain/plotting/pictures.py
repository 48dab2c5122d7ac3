"""Images and heatmaps as people have them, as arrays to draw and compare: numpy, torch or nibabel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from voxelwhy.errors import ShapeError
from voxelwhy.explain._shared.inputs import is_nibabel


@dataclass(frozen=True)
class Picture:
    """An image to draw: (rows, columns), (rows, columns, 3) in colour, or (x, y, z), and its voxel size."""

    values: np.ndarray
    is_colour: bool = False
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0)

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial shape, without the colours."""
        return self.values.shape[:2] if self.is_colour else self.values.shape


def as_array(values, name) -> np.ndarray:
    """The numbers of an array, a tensor (on any device, with or without gradient) or a nibabel image.

    Raises
    ------
    ShapeError : no array of real numbers, no values, NaN or infinity; `name` is the word for it in the message.
    """
    if is_nibabel(values):
        values = values.dataobj
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ShapeError(f"{name} is not an array of numbers: {error}") from error
    if array.dtype.kind not in "biuf":
        raise ShapeError(f"{name} is not an array of real numbers, but {array.dtype}")
    if not array.size:
        raise ShapeError(f"{name} is empty: its shape is {array.shape}")
    bad = int((~np.isfinite(array)).sum())
    if bad:
        raise ShapeError(f"{name} holds {bad} values that are NaN or infinite")
    return array


def read_picture(image, overlay=None, volume=False) -> tuple[Picture, np.ndarray | None]:
    """One image to draw, and the overlay that lies on it.

    Axes of length 1 (a single channel, a batch of one) are left out. Three channels, first or last, are the colours of
    a flat image; an array of three axes whose overlay has that same shape is a volume all the same.

    Parameters
    ----------
    image, overlay : numpy, torch or nibabel; the overlay has the spatial shape of the image.
    volume : True reads three axes as a volume, whatever their lengths.

    Returns
    -------
    picture : Picture
    overlay : (*spatial), or None

    Raises
    ------
    ShapeError : a batch, several channels that are no colours, colours first or last in doubt; an overlay of another
        shape or (of two nibabel images) another affine; what `as_array` refuses.
    """
    values = as_array(image, "the image")
    volume = volume or (is_nibabel(image) and values.ndim == 3)
    values = values.squeeze()
    over = None if overlay is None else as_array(overlay, "the overlay").squeeze()
    if values.ndim not in (2, 3):
        raise ShapeError(
            f"the image has shape {tuple(np.shape(image))}; one image is wanted, (x, y, z), (rows, columns) or a "
            "photo of three colours: choose one image of a batch, image[0], or one channel"
        )
    sides = [] if volume or values.ndim == 2 or np.shape(over) == values.shape else _colour_axes(values.shape, over)
    if len(sides) > 1:
        raise ShapeError(f"the image has shape {values.shape}: its three colours may be its first axis or its last")
    values = np.moveaxis(values, sides[0], -1) if sides else values
    picture = Picture(values, bool(sides), _spacing(image))
    if over is not None:
        _check_overlay(image, picture, overlay, over)
    return picture, over


def _colour_axes(shape, overlay):
    """The axes that may hold three colours; an overlay has the shape of the others."""
    found = [axis for axis in (0, 2) if shape[axis] == 3]
    if overlay is None:
        return found
    return [axis for axis in found if overlay.shape == tuple(np.delete(shape, axis))] or found[:1]


def _spacing(image):
    if not is_nibabel(image):
        return (1.0, 1.0, 1.0)
    sizes = zip(image.header.get_zooms(), image.shape, strict=False)
    return tuple(float(size) for size, length in sizes if length > 1)


def _check_overlay(image, picture, overlay, values):
    if values.shape != picture.shape:
        raise ShapeError(
            f"the overlay has shape {tuple(np.shape(overlay))}, the image {picture.shape}: nothing is resampled here"
        )
    if is_nibabel(image) and is_nibabel(overlay) and not np.allclose(image.affine, overlay.affine, atol=1e-3):
        raise ShapeError("the overlay has another affine than the image: it lies elsewhere, and nothing is resampled")
