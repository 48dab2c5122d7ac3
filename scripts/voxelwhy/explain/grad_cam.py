"""Grad-CAM: the activations of the last convolution, weighted by how much the class depends on each channel."""

from __future__ import annotations

from voxelwhy.explain._shared.cam import channel_weights, draw, look, positive_sum
from voxelwhy.explain._shared.placement import check_interpolation
from voxelwhy.explain._shared.prepare import class_score, each_image


def grad_cam(
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
    """Relevance of each place: channels of a layer, weighted by their mean gradient, summed, and the positive part.

    Parameters
    ----------
    model : torch.nn.Module in eval mode; gives logits (n, classes), or one logit (n, 1) for class 1 against class 0. It
        is left as it was.
    image : numpy, torch or nibabel; one image or a batch, 2D or 3D, (channels, *spatial) or channels last.
    target_class : the class to explain, or one for each image of a batch; None is the predicted one.
    last_conv_layer : the layer to look at, a module of the model (of any kind) or its name; None is the convolution
        that runs last of those on which the class depends. Convolutions on a single cell, which are dense layers, do
        not count. In a network that ends in parallel branches the last is one branch: name the module where they meet.
    resize : True draws each cell at the centre of its receptive field; False gives the layer's own grid, (*cells).
    interpolation : "linear" between the centres, or "nearest": each voxel has the value of the nearest centre.
    apply_softmax : True explains the probability, False the logit.
    cuda, device : device is "auto", "cpu", "cuda" or "cuda:N"; cuda=True is the first CUDA device.
    verbose : print what was predicted and what is done, and show a progress bar.

    Returns
    -------
    heatmap : float32 array (float64 where the model is), (*spatial), or (n, *spatial) for a batch; 0 or more.

    Raises
    ------
    ModelError : no convolution with a grid (in a TorchScript model none can be reached), an unknown layer, one without
        a grid or on which the class does not depend, one whose receptive fields are not known (`resize=False` works
        then); training mode, an unknown class.
    ShapeError : an image that does not fit the model, has two readings, or holds NaN.
    ConfigError : an unknown `interpolation`.

    References
    ----------
    Selvaraju et al. 2017, Grad-CAM (arXiv 1610.02391).

    Examples
    --------
    The map on the grid of the last convolution, and drawn on the scan:

    >>> import torch
    >>> from torch import nn
    >>> from voxelwhy import grad_cam
    >>> _ = torch.manual_seed(0)
    >>> network = nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(4 * 5**3, 2))
    >>> scan = torch.randn(12, 12, 12)
    >>> grad_cam(network.eval(), scan, resize=False).shape
    (10, 10, 10)
    >>> heatmap = grad_cam(network, scan)
    >>> heatmap.shape, bool(heatmap.min() >= 0)
    ((12, 12, 12), True)
    """
    check_interpolation(interpolation)

    def explain(batch, target):
        seen = look(model, batch, target, last_conv_layer, lambda *of: class_score(*of, apply_softmax))
        cells = positive_sum(channel_weights(seen.gradient), seen)
        return draw(cells, seen, batch, interpolation) if resize else cells

    return each_image(explain, model, image, target_class=target_class, device=device, cuda=cuda, verbose=verbose)
