"""Atlas regions as parts of an image, and the checks that all methods that blank regions share."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from voxelwhy.errors import InputError, ShapeError
from voxelwhy.explain._shared.blanking import Part
from voxelwhy.explain._shared.inputs import is_nibabel

#: Labels above this are renumbered, which takes seconds: otherwise a box is listed for each number up to the largest.
LARGEST_LABEL = 1_000_000


def areas_of(area_masks, shape) -> dict[int, Part]:
    """The areas as parts, each area's bounding box and the mask inside it, by label or by number of the mask.

    Parameters
    ----------
    area_masks : a label image (*spatial) of whole numbers, where 0 is background; or binary masks (*spatial), as a list
        or as one array (n, *spatial). A mask without a voxel is skipped.
    shape : of the image, (*spatial)

    Raises
    ------
    ShapeError : masks and image differ in shape.
    InputError : labels are negative or not whole numbers, masks are not binary, or there is no area at all.
    """
    if isinstance(area_masks, (list, tuple)):
        masks = [_numbers(mask) for mask in area_masks]
    else:
        masks = _numbers(area_masks)
        if masks.ndim == len(shape):
            return _areas_of_labels(masks, shape)
    if not len(masks):
        raise InputError("there is no area to blank: the list of masks is empty")
    parts = {}
    for number, mask in enumerate(masks):
        _check_shape(mask, shape, f"area mask {number}")
        inside = mask == 1
        if not (inside | (mask == 0)).all():
            raise InputError(f"area mask {number} is not binary", found=np.unique(mask)[:5].tolist(), allowed="0 and 1")
        if inside.any():
            parts[number] = part_of(inside)
    return parts


def part_of(inside) -> Part:
    """The voxels where `inside`, bool (*spatial), is True, as a part; there is at least one."""
    box = ndimage.find_objects(inside.astype(np.uint8))[0]
    return Part(box, inside[box].copy())


def _areas_of_labels(labels, shape):
    _check_shape(labels, shape, "the label image")
    if not np.isfinite(labels).all() or (labels < 0).any() or (labels != np.round(labels)).any():
        found = np.unique(labels)[:5].tolist()
        raise InputError(
            "the label image has invalid labels", found=found, allowed="whole numbers of at least 0; 0 is background"
        )
    largest = labels.max()
    if not largest:
        raise InputError("there is no area to blank: the label image is 0 throughout")
    names = None
    if largest > LARGEST_LABEL:
        names, labels = np.unique(labels, return_inverse=True)
        labels = labels.reshape(shape) + (names[0] != 0)
        names = names[names != 0]
    labels = labels.astype(np.int32)
    boxes = enumerate(ndimage.find_objects(labels), start=1)
    parts = {label: Part(box, labels[box] == label) for label, box in boxes if box is not None}
    return parts if names is None else dict(zip(map(int, names), parts.values(), strict=True))


def require_one_space(masks, image):
    """Raise ShapeError if an atlas or a mask and the image are nibabel images with different affines."""
    placed = [one for one in (image if isinstance(image, (list, tuple)) else [image]) if is_nibabel(one)]
    for mask in masks if isinstance(masks, (list, tuple)) else [masks]:
        if is_nibabel(mask):
            for one in placed:
                if not np.allclose(mask.affine, one.affine, atol=1e-3):
                    raise ShapeError(
                        f"the atlas has the affine {mask.affine.tolist()}, the image {one.affine.tolist()}; nothing is "
                        "resampled here"
                    )


def require_apart(areas: dict[int, Part], shape):
    """Raise InputError if two areas share a voxel: with one of them blanked, it would be both blank and not."""
    taken = np.zeros(shape, dtype=bool)
    for name, area in areas.items():
        if (taken[area.box] & area.mask).any():
            raise InputError("areas overlap", found=f"voxels of area {name} that another one has", allowed="disjoint")
        taken[area.box] |= area.mask


def _numbers(values):
    if is_nibabel(values):
        return np.asanyarray(values.dataobj)
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _check_shape(mask, shape, name):
    if mask.shape != shape:
        raise ShapeError(f"{name} has shape {mask.shape}, the image {shape}; nothing is resampled here")
