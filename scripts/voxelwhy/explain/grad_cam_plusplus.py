"""Grad-CAM++: Grad-CAM with a weight per cell of a channel, so that several occurrences of a feature all count."""

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
    """Relevance of each position: the sum of a layer's channels, weighted cell by cell by their positive gradients.

    The score of the paper is exp(y). Let g be the gradient of y in a cell, and A the sum over the cell's channel. The
    cell then contributes a · max(0, gradient of exp(y)) to the weight of the channel, with a = g² / (2 g² + A g³). This
    is the paper's formula with exp(y) cancelled; it is exact if y depends on the layer only through ReLUs, pools and
    dense layers.

    A negative A is set to 0: the paper's channels are rectified, and the formula has a pole there.

    Parameters
    ----------
    model : torch.nn.Module in eval mode that returns logits (n, classes), or one logit (n, 1) for class 1 against
        class 0. It is not modified.
    image : one image or a batch (numpy, torch or nibabel), 2D or 3D, (channels, *spatial) or channels last.
    target_class : the class to explain, or one class per image of a batch; None explains the predicted class.
    last_conv_layer, resize, interpolation : see `grad_cam`. The paper uses the ReLU after the convolution.
    apply_softmax : False follows the paper: y is the logit. The map is divided by exp(y), which is the same for all
        cells and would overflow. With True, y is the logarithm of the probability, so that exp(y) is the probability;
        a treats y as linear, that is, it ignores the curvature of the softmax.
    cuda, device : device is "auto", "cpu", "cuda" or "cuda:N"; cuda=True selects the first CUDA device.
    verbose : print the prediction and what the method does, and show a progress bar.

    Returns
    -------
    heatmap : float32 array (float64 for a float64 model), (*spatial), or (n, *spatial) for a batch; never negative.

    Raises
    ------
    ModelError, ShapeError, ConfigError : as in `grad_cam`.

    References
    ----------
    Chattopadhay et al. 2018, Grad-CAM++ (arXiv 1710.11063).

    Examples
    --------
    The paper uses the ReLU after the last convolution; here that is the module named 1:

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
    """The weight of each channel, for the score y instead of exp(y): (1, channels, 1, …)."""
    spatial = tuple(range(2, seen.output.ndim))
    sums = seen.output.sum(dim=spatial, keepdim=True).clamp(min=0)
    positive = seen.gradient.clamp(min=0)  # other cells contribute nothing
    return (positive / (2 + sums * positive)).sum(dim=spatial, keepdim=True)
