"""Area occlusion: how much the score drops when a whole region of an atlas is blanked."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from voxelwhy.errors import InputError, ShapeError
from voxelwhy.heatmaps.blanking import Part, drops
from voxelwhy.heatmaps.prepare import as_map, explaining


def area_occlusion(
    model,
    image,
    area_masks,
    *,
    target_class=None,
    occlusion_value=0.0,
    batch_size=None,
    apply_softmax=True,
    device="auto",
):
    """Relevance of each atlas region: the drop of the class probability when it is blanked.

    Parameters
    ----------
    model : torch.nn.Module in eval mode; gives logits (n, classes). It is left as it was.
    image : array-like or tensor, (channels, *spatial), 2D or 3D.
    area_masks : one label image (*spatial) of whole numbers, 0 is background; or binary masks (*spatial), as a list
        or one array (n, *spatial). Where masks overlap, the later one is drawn.
    target_class : the class to explain; None is the predicted one.
    occlusion_value : what a blanked voxel becomes, in the image as the network sees it.
    batch_size : areas run together; None is a good number for the device (see `blanking`).
    apply_softmax : True explains the probability, False the logit.
    device : "auto", "cpu", "cuda" or "cuda:N".

    Returns
    -------
    heatmap : float32 array, (*spatial) (float64 where the model is); signed drop inside each area, 0 outside.

    Raises
    ------
    ShapeError : masks and `image` differ in spatial shape (nothing is resampled here).
    InputError : labels that are no whole numbers of 0 or more, masks with other values than 0 and 1, no area at all.
    ModelError : training mode, an unknown class.

    References
    ----------
    Rieke et al. 2018, section 2.3.
    """
    with explaining(model, image, device) as batch:
        areas = _areas(area_masks, tuple(batch.shape[2:]))
        values = drops(
            model,
            batch,
            areas,
            value=occlusion_value,
            target_class=target_class,
            apply_softmax=apply_softmax,
            batch_size=batch_size,
        )
        heatmap = np.zeros(batch.shape[2:])
        for area, value in zip(areas, values, strict=True):
            heatmap[area.box][area.mask] = value
        return as_map(heatmap, batch)


def _areas(area_masks, shape):
    """The areas as parts: the bounding box of each, and the mask inside it."""
    if isinstance(area_masks, (list, tuple)):
        masks = [_numbers(mask) for mask in area_masks]
    else:
        masks = _numbers(area_masks)
        if masks.ndim == len(shape):
            return _areas_of_labels(masks, shape)
    if not len(masks):
        raise InputError("there is no area to blank: the list of masks is empty")
    parts = []
    for number, mask in enumerate(masks):
        _check_shape(mask, shape, f"area mask {number}")
        inside = mask == 1
        if not (inside | (mask == 0)).all():
            raise InputError(f"area mask {number} is not binary", found=np.unique(mask)[:5].tolist(), allowed="0 and 1")
        if inside.any():
            box = ndimage.find_objects(inside.astype(np.uint8))[0]
            parts.append(Part(box, inside[box].copy()))
    return parts


def _areas_of_labels(labels, shape):
    _check_shape(labels, shape, "the label image")
    names, ranks = np.unique(labels, return_inverse=True)
    if not np.isfinite(names).all() or (names < 0).any() or (names != np.round(names)).any():
        raise InputError("the label image", found=names[:5].tolist(), allowed="whole numbers, 0 is background")
    if not names.any():
        raise InputError("there is no area to blank: the label image is 0 throughout")
    ranks = ranks.reshape(shape) + (names[0] != 0)  # 1, 2, 3 … in the order of the labels; 0 is the background
    boxes = ndimage.find_objects(ranks)
    return [Part(box, ranks[box] == rank) for rank, box in enumerate(boxes, start=1)]


def _numbers(values):
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _check_shape(mask, shape, name):
    if mask.shape != shape:
        raise ShapeError(f"{name} has shape {mask.shape}, the image {shape}; nothing is resampled here")
