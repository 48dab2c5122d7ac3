"""Deletion curve: the score while atlas regions are blanked one after the other in a given order."""

from __future__ import annotations

import numpy as np

from voxelwhy.errors import ConfigError
from voxelwhy.explain._shared.areas import areas_of, require_apart, require_one_space
from voxelwhy.explain._shared.blanking import MAX_BYTES
from voxelwhy.explain._shared.prepare import each_result
from voxelwhy.explain._shared.states import scores_of_states


def deletion_curve(
    model,
    image,
    area_masks,
    order,
    target_class=None,
    occlusion_value=0.0,
    apply_softmax=True,
    cuda=None,
    verbose=False,
    *,
    engine="auto",
    max_bytes=MAX_BYTES,
    batch_size=None,
    device="auto",
):
    """The score of the image, and after each of its atlas regions is blanked in turn; blanked regions stay blank.

    If the order is that of a heatmap, most relevant region first, a faithful map gives a curve that falls early.
    Compare it with curves of random orders: blanked images are unlike any scan, and the score may fall for that reason
    alone.

    Parameters
    ----------
    model : torch.nn.Module in eval mode that returns logits (n, classes), or one logit (n, 1) for class 1 against
        class 0. It is not modified.
    image : one image or a batch (numpy, torch or nibabel), 2D or 3D, (channels, *spatial) or channels last.
    area_masks : a label image (*spatial) of whole numbers, where 0 is background; or binary masks (*spatial), as a list
        or as one array (n, *spatial), which do not overlap. Each may be a nibabel image.
    order : labels (or numbers of masks, counted from 0) of the regions to blank, in this order; each at most once.
    target_class : the class to explain, or one class per image of a batch; None explains the predicted class.
    occlusion_value : the value of blanked voxels, on the intensity scale that the network sees.
    engine : "incremental" recomputes only what each region reaches, which is exact and many times faster; "plain" runs
        the whole network each time; "auto" uses "incremental" where it saves work and torch.export can follow the
        network.
    max_bytes : approximate extra memory of the incremental engine, in bytes.
    batch_size : images per batch of the plain engine; None chooses a suitable number.
    apply_softmax : True returns the probability, False the logit.
    cuda, device : device is "auto", "cpu", "cuda" or "cuda:N"; cuda=True selects the first CUDA device.
    verbose : print the prediction and what the method does, and show a progress bar.

    Returns
    -------
    scores : float64 array (1 + regions in the order,), or (n, 1 + regions) for a batch; first that of the whole image

    Raises
    ------
    ShapeError : the masks and `image` differ in spatial shape or, of nibabel images, in their affine (nothing is
        resampled here).
    InputError : labels are negative or not whole numbers, masks are not binary or overlap, or there is no region.
    ConfigError : `order` is empty, names a label that does not exist or one twice; `occlusion_value` is not finite.
    ModelError : the model is in training mode, or the class does not exist.

    References
    ----------
    Samek et al. 2017, Evaluating the visualization of what a deep neural network has learned (region perturbation).

    Examples
    --------
    A network that sums a scan of three regions, blanked from the brightest to the darkest:

    >>> import numpy as np
    >>> import torch
    >>> from torch import nn
    >>> from voxelwhy import deletion_curve
    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(3, 1)).eval()
    >>> for weights in network.parameters():
    ...     _ = nn.init.ones_(weights)
    >>> scan, atlas = torch.tensor([[[1.0, 4.0, 2.0]]]), np.array([[1, 2, 3]])
    >>> deletion_curve(network, scan, atlas, [2, 3, 1], target_class=1, apply_softmax=False).tolist()
    [8.0, 4.0, 2.0, 1.0]
    """
    require_one_space(area_masks, image)

    def explain(batch, target):
        areas = areas_of(area_masks, tuple(batch.shape[2:]))
        require_apart(areas, tuple(batch.shape[2:]))
        parts = [areas[label] for label in _checked(order, areas)]
        return scores_of_states(
            model,
            batch,
            parts,
            np.tri(len(parts), dtype=bool),
            value=occlusion_value,
            target_class=target,
            apply_softmax=apply_softmax,
            batch_size=batch_size,
            engine=engine,
            max_bytes=max_bytes,
        )

    curves, is_batch = each_result(
        explain, model, image, target_class=target_class, device=device, cuda=cuda, verbose=verbose
    )
    return np.stack(curves) if is_batch else curves[0]


def _checked(order, areas):
    order = np.atleast_1d(order).tolist()
    unknown = [label for label in order if label not in areas]
    if unknown or not order:
        raise ConfigError("the order names no area", found=unknown[:5] or order, allowed=list(areas))
    if len(set(order)) < len(order):
        raise ConfigError("the order names an area twice", found=order, allowed="each at most once")
    return order
