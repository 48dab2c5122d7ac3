"""Area occlusion: the drop of the score when a whole atlas region is blanked."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from voxelwhy.errors import InputError, ShapeError
from voxelwhy.explain._shared.blanking import MAX_BYTES, Part, drops
from voxelwhy.explain._shared.inputs import is_nibabel
from voxelwhy.explain._shared.prepare import each_image

#: Labels above this are renumbered, which takes seconds: otherwise a box is listed for each number up to the largest.
LARGEST_LABEL = 1_000_000


def area_occlusion(
    model,
    image,
    area_masks,
    target_class=None,
    occlusion_value=0.0,
    apply_softmax=True,
    cuda=None,
    verbose=False,
    *,
    positive_only=True,
    engine="auto",
    max_bytes=MAX_BYTES,
    batch_size=None,
    device="auto",
):
    """Relevance of each atlas region: the drop of the class probability when it is blanked.

    Parameters
    ----------
    model : torch.nn.Module in eval mode that returns logits (n, classes), or one logit (n, 1) for class 1 against
        class 0. It is not modified.
    image : one image or a batch (numpy, torch or nibabel), 2D or 3D, (channels, *spatial) or channels last.
    area_masks : a label image (*spatial) of whole numbers, where 0 is background; or binary masks (*spatial), as a list
        or as one array (n, *spatial). Where masks overlap, the last one is drawn. Each may be a nibabel image.
    target_class : the class to explain, or one class per image of a batch; None explains the predicted class.
    occlusion_value : the value of blanked voxels, on the intensity scale that the network sees.
    positive_only : True, as in the original package, sets negative relevance to 0; False keeps the sign.
    engine : "incremental" recomputes only what each change reaches, which is exact and many times faster; "plain" runs
        the whole network each time; "auto" takes the one that is expected to be faster (see `occlusion`).
    max_bytes : approximate extra memory of the incremental engine, in bytes.
    batch_size : areas per batch; None chooses a suitable number.
    apply_softmax : True explains the probability, False the logit.
    cuda, device : device is "auto", "cpu", "cuda" or "cuda:N"; cuda=True selects the first CUDA device.
    verbose : print the prediction and what the method does, and show a progress bar.

    Returns
    -------
    heatmap : float32 array (float64 for a float64 model), (*spatial), or (n, *spatial) for a batch; the drop inside
        each area, 0 outside.

    Raises
    ------
    ShapeError : the masks and `image` differ in spatial shape or, of nibabel images, in their affine (nothing is
        resampled here).
    InputError : labels are negative or not whole numbers, masks are not binary, or there is no area at all.
    ModelError : the model is in training mode, or the class does not exist.

    References
    ----------
    Rieke et al. 2018, section 2.3.

    Examples
    --------
    A network that measures how bright a scan is, and an atlas of two regions. The first contains a bright block:

    >>> import torch
    >>> from torch import nn
    >>> from voxelwhy import area_occlusion
    >>> network = nn.Sequential(nn.Conv3d(1, 1, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16**3, 1)).eval()
    >>> for weights in network.parameters():
    ...     _ = nn.init.constant_(weights, 0.01)
    >>> scan = torch.zeros(16, 16, 16)
    >>> scan[2:6, 8:12, 4:8] = 5
    >>> atlas = torch.zeros(16, 16, 16, dtype=torch.int)
    >>> atlas[:8] = 1
    >>> atlas[12:] = 2
    >>> heatmap = area_occlusion(network, scan, atlas)
    >>> [f"{heatmap[atlas == label].max():.3f}" for label in (1, 2)]
    ['0.180', '0.000']
    """

    _require_one_space(area_masks, image)

    def explain(batch, target):
        areas = _areas(area_masks, tuple(batch.shape[2:]))
        values = drops(
            model,
            batch,
            areas,
            value=occlusion_value,
            target_class=target,
            apply_softmax=apply_softmax,
            batch_size=batch_size,
            engine=engine,
            max_bytes=max_bytes,
        )
        heatmap = np.zeros(batch.shape[2:])
        for area, value in zip(areas, values, strict=True):
            heatmap[area.box][area.mask] = value
        return np.maximum(heatmap, 0) if positive_only else heatmap

    return each_image(explain, model, image, target_class=target_class, device=device, cuda=cuda, verbose=verbose)


def _areas(area_masks, shape):
    """The areas as parts: each area's bounding box and the mask inside it."""
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
    if not np.isfinite(labels).all() or (labels < 0).any() or (labels != np.round(labels)).any():
        found = np.unique(labels)[:5].tolist()
        raise InputError(
            "the label image has invalid labels", found=found, allowed="whole numbers of at least 0; 0 is background"
        )
    largest = labels.max()
    if not largest:
        raise InputError("there is no area to blank: the label image is 0 throughout")
    if largest > LARGEST_LABEL:
        labels = np.unique(labels, return_inverse=True)[1].reshape(shape) + (labels.min() != 0)
    labels = labels.astype(np.int32)
    boxes = enumerate(ndimage.find_objects(labels), start=1)
    return [Part(box, labels[box] == label) for label, box in boxes if box is not None]


def _numbers(values):
    if is_nibabel(values):
        return np.asanyarray(values.dataobj)
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _require_one_space(masks, image):
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


def _check_shape(mask, shape, name):
    if mask.shape != shape:
        raise ShapeError(f"{name} has shape {mask.shape}, the image {shape}; nothing is resampled here")
