"""Guided Grad-CAM: Grad-CAM at the resolution of guided backpropagation."""

from __future__ import annotations

import torch

from voxelwhy.explain._shared.cam import channel_weights, draw, look, positive_sum
from voxelwhy.explain._shared.gradients import check_postprocess, combine_channels
from voxelwhy.explain._shared.guiding import guided_gradient
from voxelwhy.explain._shared.placement import check_interpolation
from voxelwhy.explain._shared.prepare import class_score, each_image


def guided_grad_cam(
    model,
    image,
    target_class=None,
    postprocess="abs",
    last_conv_layer=None,
    interpolation="linear",
    apply_softmax=True,
    cuda=None,
    verbose=False,
    *,
    device="auto",
):
    """Relevance of each voxel: its guided gradient times its value in the Grad-CAM map.

    Grad-CAM discriminates between classes but is coarse; guided backpropagation is fine-grained but looks much the same
    for every class.

    Parameters
    ----------
    model : torch.nn.Module in eval mode that returns logits (n, classes), or one logit (n, 1) for class 1 against
        class 0. It is not modified.
    image : one image or a batch (numpy, torch or nibabel), 2D or 3D, (channels, *spatial) or channels last.
    target_class : the class to explain, or one class per image of a batch; None explains the predicted class.
    postprocess : applied to the product: "abs" (maximum over channels), "square" (summed over channels) or None
        (signed, summed over channels).
    last_conv_layer : the layer of Grad-CAM, see `grad_cam`.
    interpolation : "linear" or "nearest", see `grad_cam`.
    apply_softmax : True explains the probability, False the logit, in both factors.
    cuda, device : device is "auto", "cpu", "cuda" or "cuda:N"; cuda=True selects the first CUDA device.
    verbose : print the prediction and what the method does, and show a progress bar.

    Returns
    -------
    heatmap : float32 array (float64 for a float64 model), (*spatial), or (n, *spatial) for a batch.

    Raises
    ------
    ModelError : as in `guided_backprop` and `grad_cam`.
    ShapeError : the image does not fit the model, its shape is ambiguous, or it contains NaN.
    ConfigError : `postprocess` or `interpolation` is unknown.

    References
    ----------
    Selvaraju et al. 2017, Grad-CAM, section 3.2 (arXiv 1610.02391).

    Examples
    --------
    Nothing is relevant where either factor is 0:

    >>> import torch
    >>> from torch import nn
    >>> from voxelwhy import grad_cam, guided_backprop, guided_grad_cam
    >>> _ = torch.manual_seed(0)
    >>> network = nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(4 * 5**3, 2))
    >>> scan = torch.randn(12, 12, 12)
    >>> heatmap = guided_grad_cam(network.eval(), scan)
    >>> either = (grad_cam(network, scan) == 0) | (guided_backprop(network, scan) == 0)
    >>> heatmap.shape, float(heatmap[either].max())
    ((12, 12, 12), 0.0)
    """
    check_postprocess(postprocess)
    check_interpolation(interpolation)

    def explain(batch, target):
        seen = look(model, batch, target, last_conv_layer, lambda *of: class_score(*of, apply_softmax))
        cells = positive_sum(channel_weights(seen.gradient), seen)
        gradient = guided_gradient(model, batch, seen.target, apply_softmax)
        drawn = torch.from_numpy(draw(cells, seen, batch, interpolation)).to(gradient.device)
        return combine_channels(gradient * drawn, postprocess)

    return each_image(explain, model, image, target_class=target_class, device=device, cuda=cuda, verbose=verbose)
