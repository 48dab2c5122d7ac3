"""Area occlusion: the drop of the score when a whole atlas region is blanked."""

from __future__ import annotations

import numpy as np

from voxelwhy.explain._shared.areas import areas_of, require_one_space
from voxelwhy.explain._shared.blanking import MAX_BYTES, drops
from voxelwhy.explain._shared.prepare import each_image


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

    require_one_space(area_masks, image)

    def explain(batch, target):
        areas = list(areas_of(area_masks, tuple(batch.shape[2:])).values())
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
