"""Read the images that users pass in: numpy, torch or nibabel, one or a batch, channels first or last."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from voxelwhy.errors import ShapeError

AXES = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}


def convolutions(model) -> list[tuple[int, int]]:
    """(spatial axes, channels) of the input of each convolution, in the order in which the model lists them."""
    found = [
        (axes, module.in_channels)
        for module in model.modules()
        for kind, axes in AXES.items()
        if isinstance(module, kind)
    ]
    if found:
        return found
    # A network loaded as a graph (TorchScript, torch.export) has no such modules, but weights of the same shape.
    return [(weight.ndim - 2, weight.shape[1]) for weight in model.parameters() if weight.ndim in (4, 5)]


def read_images(image, model, three_d=None) -> tuple[torch.Tensor, bool]:
    """The images as one batch, and whether they were given as a batch.

    Parameters
    ----------
    image : array-like, tensor or nibabel image, or a list of these of one shape. With C the number of channels of the
        model's first convolution, it may have the shape

        - (*spatial) if C is 1; (C, *spatial); (*spatial, C)
        - of a batch: (n, *spatial) if C is 1; (n, C, *spatial); (n, *spatial, C)

        nibabel images have their channels last, as in NIfTI. A model without convolutions takes (channels, *spatial).
    model : torch.nn.Module
    three_d : True or False states whether the images are 3D; None infers it from the model.

    Returns
    -------
    images : tensor (n, channels, *spatial) of real numbers, in the data type of the input
    is_batch : bool

    Raises
    ------
    ShapeError : `image` is not an array of real numbers, its shape does not fit or is ambiguous (the message lists the
        interpretations), or it contains NaN or infinity.
    """
    values, is_nifti = as_values(image)
    known = convolutions(model)
    if three_d is not None and known and (known[0][0] == 3) != bool(three_d):
        raise ShapeError(f"three_d is {three_d}, but the model's first convolution has {known[0][0]} spatial axes")
    if is_nifti and not isinstance(image, (list, tuple)) and values.ndim == 4 and any(a == 3 for a, _ in known):
        _refuse_time(values, known)
    if known:
        # The convolution that runs first need not be listed first: use the first one that fits the image.
        fits = next((one for one in known if _readings(values, *one, is_nifti)), known[0])
        images, is_batch = _with_convolution(values, *fits, is_nifti)
    else:
        images, is_batch = _without_convolution(values, three_d), False
    if not bool(torch.isfinite(images).all()):
        raise ShapeError(f"the image contains {int((~torch.isfinite(images)).sum())} NaN or infinite values")
    return images, is_batch


def _refuse_time(values, known):
    """Raise ShapeError for a series of volumes over time (x, y, z, t); a 3D network would read it as x images."""
    if values.shape[-1] > 1 and not any(axes == 3 and channels == values.shape[-1] for axes, channels in known):
        raise ShapeError(
            f"the image has shape {tuple(values.shape)}, whose last axis is time in NIfTI: choose a volume, such as "
            "image.slicer[..., 0], or pass a list of volumes"
        )


def is_nibabel(image) -> bool:
    """Whether `image` is a nibabel image; works without nibabel installed."""
    return hasattr(image, "dataobj") and hasattr(image, "affine")


def as_values(image):
    """The image as a real tensor, and whether it is a nibabel image."""
    if isinstance(image, dict):
        raise ShapeError(
            f"the image is a dictionary with the keys {', '.join(map(str, image))}; pass the image in it, such as "
            'sample["image"]'
        )
    several = isinstance(image, (list, tuple))
    images = list(image) if several else [image]
    is_nifti = bool(images) and all(is_nibabel(one) for one in images)
    if is_nifti:
        images = [np.asanyarray(one.dataobj) for one in images]
        # NIfTI's fourth axis is time; a vector image (x, y, z, 1, channels) has a single time point.
        images = [one[:, :, :, 0] if one.ndim == 5 and one.shape[3] == 1 else one for one in images]
    # A tensor of a subclass, such as MONAI's MetaTensor, would pass through the network as one.
    images = [one.as_subclass(torch.Tensor) if isinstance(one, torch.Tensor) else one for one in images]
    if several and images and all(hasattr(one, "shape") for one in images):
        if len(shapes := {tuple(one.shape) for one in images}) > 1:
            raise ShapeError(f"the images have different shapes: {', '.join(map(str, sorted(shapes)))}")
        image = torch.stack(images) if all(isinstance(one, torch.Tensor) for one in images) else np.stack(images)
    elif not several:
        image = images[0]
    try:
        array = image if isinstance(image, torch.Tensor) else _native(np.asarray(image))
        tensor = torch.as_tensor(array).detach()
    except (TypeError, ValueError) as error:
        raise ShapeError(f"the image is not an array of numbers: {error}") from error
    if not tensor.numel():
        raise ShapeError(f"there is no image: the shape is {tuple(tensor.shape)}")
    if tensor.is_complex():
        raise ShapeError(f"the image is complex ({tensor.dtype}); real numbers are expected")
    return tensor, is_nifti


def _native(array):
    """The array in a form that torch accepts: native byte order, no unsigned type wider than a byte."""
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return array.astype(np.int64) if array.dtype in (np.uint16, np.uint32, np.uint64) else np.ascontiguousarray(array)


def _without_convolution(values, three_d):
    axes = values.ndim - 1 if three_d is None else (3 if three_d else 2)
    if axes not in (2, 3) or values.ndim != axes + 1:
        raise ShapeError(
            f"the image has shape {tuple(values.shape)}; (channels, *spatial) with "
            f"{axes if three_d is not None else '2 or 3'} spatial axes and without a batch axis is expected: "
            "the model has no convolution that would tell the axes apart"
        )
    return values[None]


def _with_convolution(values, axes, channels, is_nifti):
    """The images, interpreted for a first convolution with these axes and channels; the shape must be unambiguous."""
    readings = _readings(values, axes, channels, is_nifti)
    if len(readings) == 1:
        return next(iter(readings.values()))
    shape = tuple(values.shape)
    if readings:
        last = values.shape[-1] == 1 == channels
        raise ShapeError(
            f"the image shape {shape} is ambiguous for a model with {channels} channel(s) and {axes} spatial axes: "
            f"{' or '.join(readings)}. "
            + ("Remove the axis of the single channel" if last else "Pad or crop the image so that only one fits")
        )
    spatial = "xyz"[:axes] if axes <= 3 else ""
    wanted = [f"({', '.join(form)})" for form in ([str(channels), *spatial], ["n", str(channels), *spatial])]
    raise ShapeError(
        f"the image has shape {shape}; the model's first convolution takes {channels} channel(s) and {axes} spatial "
        f"axes: {' or '.join(wanted)} is expected, or the same with channels last"
    )


def _readings(values, axes, channels, is_nifti):
    """Possible interpretations of the shape: {description: (images (n, channels, *spatial), whether it is a batch)}."""
    if is_nifti and axes == 2 and values.ndim > 2 and values.shape[2] == 1:
        values = values[:, :, 0]  # in NIfTI, a 2D image also has a third axis, of one voxel
    found, shape = {}, values.shape
    if values.ndim == axes and channels == 1:
        found["one image without channels"] = values[None, None], False
    if values.ndim == axes + 1:
        if shape[0] == channels and not is_nifti:
            found["one image, channels first"] = values[None], False
        if shape[-1] == channels:
            found["one image, channels last"] = values.movedim(-1, 0)[None], False
        if channels == 1 and shape[0] != 1 and not (is_nifti and shape[-1] == 1):
            found[f"a batch of {shape[0]} images without channels"] = values[:, None], True
    if values.ndim == axes + 2:
        if shape[1] == channels and not is_nifti:
            found["a batch, channels first"] = values, True
        if shape[-1] == channels:
            found["a batch, channels last"] = values.movedim(-1, 1), True
    return found
