"""Read the images and heatmaps that users pass in (numpy, torch or nibabel) as arrays to draw and compare."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from voxelwhy.errors import ShapeError
from voxelwhy.explain._shared.inputs import is_nibabel


@dataclass(frozen=True)
class Picture:
    """An image to draw, (rows, columns), (rows, columns, 3) in colour or (x, y, z), with its voxel size."""

    values: np.ndarray
    is_colour: bool = False
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0)

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial shape, without the colours."""
        return self.values.shape[:2] if self.is_colour else self.values.shape


def as_array(values, name) -> np.ndarray:
    """The values of an array, a tensor (on any device, with or without gradient) or a nibabel image.

    Raises
    ------
    ShapeError : `values`, called `name` in the message, is not an array of real numbers, is empty, or contains NaN or
        infinity.
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
        raise ShapeError(f"{name} contains {bad} NaN or infinite values")
    return array


def read_picture(image, overlay=None, volume=False) -> tuple[Picture, np.ndarray | None]:
    """The image to draw, and its overlay.

    Axes of length 1 (a single channel, a batch of one) are removed. Three channels, first or last, are the colours of a
    2D image. If the overlay has the same three axes as the image, the image is a volume nevertheless.

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
    ShapeError : the image is a batch, has several channels that are not colours, or its colour axis is ambiguous; the
        overlay differs in shape or (for two nibabel images) in affine; or as in `as_array`.
    """
    values = as_array(image, "the image")
    volume = volume or (is_nibabel(image) and values.ndim == 3)
    values = values.squeeze()
    over = None if overlay is None else as_array(overlay, "the overlay").squeeze()
    if values.ndim not in (2, 3):
        raise ShapeError(
            f"the image has shape {tuple(np.shape(image))}; one image is expected, (x, y, z), (rows, columns) or a "
            "photo with three colours: choose one image of a batch, image[0], or one channel"
        )
    sides = [] if volume or values.ndim == 2 or np.shape(over) == values.shape else _colour_axes(values.shape, over)
    if len(sides) > 1:
        raise ShapeError(f"the image has shape {values.shape}: the three colours may be its first axis or its last")
    values = np.moveaxis(values, sides[0], -1) if sides else values
    picture = Picture(values, bool(sides), _spacing(image))
    if over is not None:
        _check_overlay(image, picture, overlay, over)
    return picture, over


def _colour_axes(shape, overlay):
    """The axes that may hold the three colours; an overlay has the shape of the other axes."""
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
        raise ShapeError("the overlay has another affine than the image, and nothing is resampled here")
