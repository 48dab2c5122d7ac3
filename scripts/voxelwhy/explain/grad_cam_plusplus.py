"""Grad-CAM++: Grad-CAM that weights the cells of a channel one by one, so that each of several places counts."""

from __future__ import annotations

from voxelwhy.explain._shared.cam import draw, look, positive_sum
from voxelwhy.explain._shared.placement import check_interpolation
from voxelwhy.explain._shared.prepare import class_score, each_image


def grad_cam_plusplus(
    model,
    image,
    target_class=None,
    last_conv_layer=None,
    resize=True,
    interpolation="linear",
    apply_softmax=True,
    cuda=None,
    verbose=False,
    *,
    device="auto",
):
    """Relevance of each place: channels of a layer, weighted by their positive gradients cell by cell, and summed.

    The score of the paper is exp(y). With the gradient g of y in a cell of a channel that adds up to A, the cell's part
    in the channel's weight is a · max(0, gradient of exp(y)) with a = g² / (2 g² + A g³): the paper's formula with
    exp(y) cancelled, exact where y depends on the layer through ReLUs, pools and dense layers.

    Where A is negative it counts as 0: the paper's channels are rectified, and the formula has a pole there.

    Parameters
    ----------
    model : torch.nn.Module in eval mode; gives logits (n, classes), or one logit (n, 1) for class 1 against class 0. It
        is left as it was.
    image : numpy, torch or nibabel; one image or a batch, 2D or 3D, (channels, *spatial) or channels last.
    target_class : the class to explain, or one for each image of a batch; None is the predicted one.
    last_conv_layer, resize, interpolation : see `grad_cam`. The paper's layer is the ReLU after the convolution.
    apply_softmax : False is the paper: y is the logit; the map is divided by exp(y), the same for all cells, which
        would overflow. True: y is the logarithm of the probability, so that exp(y) is the probability (as if y were
        linear: the curvature of the softmax is left out of a).
    cuda, device : device is "auto", "cpu", "cuda" or "cuda:N"; cuda=True is the first CUDA device.
    verbose : print what was predicted and what is done, and show a progress bar.

    Returns
    -------
    heatmap : float32 array (float64 where the model is), (*spatial), or (n, *spatial) for a batch; 0 or more.

    Raises
    ------
    ModelError, ShapeError, ConfigError : as `grad_cam`.

    References
    ----------
    Chattopadhay et al. 2018, Grad-CAM++ (arXiv 1710.11063).

    Examples
    --------
    The paper's layer is the ReLU behind the last convolution; here it is the module of the name 1:

    >>> import torch
    >>> from torch import nn
    >>> from voxelwhy import grad_cam_plusplus
    >>> _ = torch.manual_seed(0)
    >>> network = nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(4 * 5**3, 2))
    >>> scan = torch.randn(12, 12, 12)
    >>> heatmap = grad_cam_plusplus(network.eval(), scan, last_conv_layer="1", apply_softmax=False)
    >>> heatmap.shape, bool(heatmap.min() >= 0)
    ((12, 12, 12), True)
    """
    check_interpolation(interpolation)

    def score(logits, target):
        value = class_score(logits, target, apply_softmax)
        return value.log() if apply_softmax else value

    def explain(batch, target):
        seen = look(model, batch, target, last_conv_layer, score)
        cells = positive_sum(_weights(seen), seen) * (seen.score.exp() if apply_softmax else 1)
        return draw(cells, seen, batch, interpolation) if resize else cells

    return each_image(explain, model, image, target_class=target_class, device=device, cuda=cuda, verbose=verbose)


def _weights(seen):
    """The weight of each channel, for a score y instead of exp(y): (1, channels, 1, …)."""
    spatial = tuple(range(2, seen.output.ndim))
    sums = seen.output.sum(dim=spatial, keepdim=True).clamp(min=0)
    positive = seen.gradient.clamp(min=0)  # of other cells nothing is left in the end
    return (positive / (2 + sums * positive)).sum(dim=spatial, keepdim=True)
