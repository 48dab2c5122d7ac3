"""Grad-CAM: the activations of the last convolution, weighted by how much the class depends on each channel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from voxelwhy.explain._shared.cam import channel_weights, draw, look, place_cells, positive_sum
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
    cellwise=False,
    device="auto",
):
    """Relevance of each position: the positive part of a layer's channels, summed with their mean gradients as weights.

    Parameters
    ----------
    model : torch.nn.Module in eval mode that returns logits (n, classes), or one logit (n, 1) for class 1 against
        class 0. It is not modified.
    image : one image or a batch (numpy, torch or nibabel), 2D or 3D, (channels, *spatial) or channels last.
    target_class : the class to explain, or one class per image of a batch; None explains the predicted class.
    last_conv_layer : the layer to use: a module of the model (of any kind, also with channels last) or its name. None
        uses the last convolution to run on which the class depends. Convolutions on a single cell are in effect dense
        layers and are not considered. If the network ends in parallel branches, None uses only one of them: name the
        module that joins them. In a transformer whose only convolution makes the patches, name its last block.
    resize : True draws each cell at the centre of its receptive field; False returns the layer's own grid, (*cells).
        Behind attention, and behind operators that are not followed, cells are drawn on a regular grid over the image,
        with a warning that names the operator.
    interpolation : "linear" between the centres, or "nearest", where each voxel takes the value of the nearest centre.
    apply_softmax : True explains the probability, False the logit.
    cuda, device : device is "auto", "cpu", "cuda" or "cuda:N"; cuda=True selects the first CUDA device.
    verbose : print the prediction and what the method does, and show a progress bar.
    cellwise : False weights a channel by its mean gradient over all cells, as in the paper. This suits networks that
        end in a mean over the cells, where the gradient is the same in each. If a dense layer follows the cells,
        gradients of opposite sign cancel in the mean. True multiplies each cell by its own gradient instead
        (HiResCAM): if one dense layer follows, the sum over cells, before the positive part, is the logit less its
        bias.

    Returns
    -------
    heatmap : float32 array (float64 for a float64 model), (*spatial), or (n, *spatial) for a batch; never negative.

    Raises
    ------
    ModelError : the network has no convolution with a grid (in a TorchScript model none can be reached); the layer does
        not exist, has no grid, or does not affect the class; the network moves the image before the layer (it
        resamples, flips or rolls it, or swaps its axes), or the cells are no regular grid (`resize=False` then works);
        the model is in training mode, or the class does not exist.
    ShapeError : the image does not fit the model, its shape is ambiguous, or it contains NaN.
    ConfigError : `interpolation` is unknown.

    References
    ----------
    Selvaraju et al. 2017, Grad-CAM (arXiv 1610.02391); Draelos & Carin 2020, HiResCAM (arXiv 2011.08891).

    Examples
    --------
    The map on the grid of the last convolution, and on the grid of the scan:

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
        cells = positive_sum(seen.gradient if cellwise else channel_weights(seen.gradient), seen)
        return draw(cells, seen, batch, interpolation) if resize else cells

    return each_image(explain, model, image, target_class=target_class, device=device, cuda=cuda, verbose=verbose)


class Cells(NamedTuple):
    """What Grad-CAM sees of one image: the centres of the layer's cells along each axis, in voxels; and `kept`.

    `kept` is the share of the gradient that its mean over the cells keeps: the sum over channels of the absolute mean
    gradients, divided by that of the mean absolute gradients. It is 1 if the gradient is the same in each cell, and 0
    if gradients of opposite sign cancel.
    """

    centres: list
    kept: float


def grad_cam_cells(model, image, target_class, last_conv_layer=None, apply_softmax=True, *, device="auto"):
    """Describe the layer that `grad_cam` uses for one image; arguments and errors as there.

    Returns
    -------
    Cells
    """
    found = []

    def describe(batch, target):
        seen = look(model, batch, target, last_conv_layer, lambda *of: class_score(*of, apply_softmax))
        mean, size = channel_weights(seen.gradient).abs().sum(), channel_weights(seen.gradient.abs()).sum()
        found.append(
            Cells(place_cells(seen).centres(seen.output.shape[2:]), float(mean / size) if size > 0 else np.nan)
        )
        return np.zeros(batch.shape[2:], np.float32)

    each_image(describe, model, image, target_class=target_class, device=device, cuda=None, verbose=False)
    return found[0]
