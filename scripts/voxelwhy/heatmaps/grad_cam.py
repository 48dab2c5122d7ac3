"""Grad-CAM: the activations of the last convolution, weighted by how much the class depends on each channel."""

from __future__ import annotations

import torch
from torch import nn

from voxelwhy.errors import ModelError
from voxelwhy.heatmaps.placement import draw_at_centres
from voxelwhy.heatmaps.prepare import class_score, each_image, pick_target, run_model
from voxelwhy.heatmaps.receptive_fields import ReceptiveFields

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class _Capture:
    """Forward hook: cut the graph at a layer's output, so that the gradient is computed down to there and no further.

    On several layers, or one that runs several times, the last run counts: each cuts off those before it.
    """

    def __init__(self, fields):
        self.fields, self.layer, self.activation, self.field = fields, None, None, None

    def __call__(self, module, inputs, output):
        if not isinstance(output, torch.Tensor):
            raise ModelError(f"the layer {type(module).__name__} gives a {type(output).__name__}; a tensor is wanted")
        self.layer, self.field = module, self.fields.of(output)
        self.activation = output.detach().requires_grad_()
        return self.activation.clone()  # a copy, because the next layer may work in place


def grad_cam(
    model,
    image,
    target_class=None,
    last_conv_layer=None,
    resize=True,
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
    last_conv_layer : the layer to look at, a module of the model or its name; None is the convolution that runs last.
    resize : True draws each cell at the centre of its receptive field, linear in between; False gives the layer's own
        grid, (*cells).
    apply_softmax : True explains the probability, False the logit.
    cuda, device : device is "auto", "cpu", "cuda" or "cuda:N"; cuda=True is the first CUDA device.
    verbose : print what was predicted and what is done, and show a progress bar.

    Returns
    -------
    heatmap : float32 array (float64 where the model is), (*spatial), or (n, *spatial) for a batch; 0 or more.

    Raises
    ------
    ModelError : no convolution, an unknown layer, one without a grid or on which the class does not depend, one whose
        receptive fields are not known (`resize=False` works then); training mode, an unknown class.
    ShapeError : an image that does not fit the model, has two readings, or holds NaN.

    References
    ----------
    Selvaraju et al. 2017, Grad-CAM (arXiv 1610.02391).
    """

    def explain(batch, target):
        layers = _layers(model, last_conv_layer)
        batch = batch.clone()  # the caller's own memory perhaps, and a network may begin with an in-place layer
        fields = ReceptiveFields(batch)
        capture = _Capture(fields)
        handles = [module.register_forward_hook(capture) for module in layers]
        try:
            with fields, torch.enable_grad():
                logits = run_model(model, batch)
        finally:
            for handle in handles:
                handle.remove()
        activation = _check_grid(capture.activation, batch)
        score = class_score(logits, pick_target(logits, target), apply_softmax)
        cells = _weighted(activation, score)
        if not resize:
            return cells
        if capture.field is None:
            raise ModelError(
                "where the cells of this layer lie in the image is not known; resize=False gives them as is"
            )
        cells = cells.cpu().double().numpy()
        return draw_at_centres(cells, capture.field.centres(cells.shape), batch.shape[2:])

    return each_image(explain, model, image, target_class=target_class, device=device, cuda=cuda, verbose=verbose)


def _layers(model, layer):
    """The modules to look at: the one asked for, or every convolution."""
    if layer is None:
        found = [module for module in model.modules() if isinstance(module, CONVOLUTIONS)]
        if not found:
            raise ModelError(
                "Grad-CAM needs a convolution and the model has no such module; name a layer that has a grid"
            )
        return found
    names = dict(model.named_modules())
    module = names.get(layer) if isinstance(layer, str) else layer
    if not any(module is known for known in names.values()):
        raise ModelError(f"the model has no layer {layer!r}; it has: {', '.join(name for name in names if name)}")
    return [module]


def _check_grid(activation, batch):
    if activation is None:
        raise ModelError("the layer for Grad-CAM did not run")
    if activation.ndim != batch.ndim:
        raise ModelError(
            f"the layer for Grad-CAM gives {tuple(activation.shape)}; (1, channels, *cells) with "
            f"{batch.ndim - 2} spatial axes is wanted"
        )
    return activation


def _weighted(activation, score):
    """Positive part of the sum of channels, each weighted by its gradient's mean over all spatial axes: (*cells)."""
    gradient = torch.autograd.grad(score.sum(), activation, allow_unused=True)[0] if score.requires_grad else None
    if gradient is None:
        raise ModelError("the class does not depend on the convolution that runs last; name another layer")
    weights = gradient.mean(dim=tuple(range(2, gradient.ndim)), keepdim=True)
    return (weights * activation.detach()).sum(dim=1)[0].relu()
