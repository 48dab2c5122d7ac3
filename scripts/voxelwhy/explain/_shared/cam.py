"""Shared by Grad-CAM and its variants: select the convolution, get its output and gradient, and draw the map."""

from __future__ import annotations

import logging
import math
import warnings
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from voxelwhy.errors import ModelError
from voxelwhy.explain._shared.cell_numbers import Field, Lost
from voxelwhy.explain._shared.gradients import as_written, gradients_of
from voxelwhy.explain._shared.placement import draw_at_centres
from voxelwhy.explain._shared.prepare import pick_target, run_model
from voxelwhy.explain._shared.receptive_fields import ReceptiveFields

log = logging.getLogger(__name__)

CONVOLUTIONS = {"conv1d", "conv2d", "conv3d", "convolution", "_convolution"}


class Seen(NamedTuple):
    """The selected layer: its output and the gradient of the score, both (1, channels, *cells).

    `field` holds the receptive fields of its cells, or why they are unknown; `score` is the score of class `target`,
    (1,).
    """

    output: torch.Tensor
    gradient: torch.Tensor
    field: Field | Lost
    score: torch.Tensor
    target: int


class _Cuts(TorchFunctionMode):
    """Cuts the graph at the output of every convolution, so that gradients are computed back to there and no further.

    It sees every call of a convolution: by a module, by `F.conv3d`, or by an operator in an exported graph. Hooks on
    modules would miss the last two. Outputs with a single cell (squeeze-and-excitation, a dense layer written as a
    convolution) and convolutions along other axes than those of the image give no map and are ignored.

    Only weak references are kept here, so a cut on which the score does not depend is freed at once; the graph of the
    score keeps the others alive.
    """

    def __init__(self, fields, axes):
        super().__init__()
        self.fields, self.axes, self.cuts = fields, axes, []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not _is_convolution(func, args, kwargs) or result.ndim != self.axes + 2:
            return result
        return self.cut(result) if math.prod(result.shape[2:]) > 1 else result

    def cut(self, output):
        """Cut here: a leaf for the gradient. Returns a copy of it, because the next layer may work in place."""
        if not torch.is_grad_enabled():
            return output
        leaf = output.detach().requires_grad_()
        self.cuts.append((weakref.ref(leaf), self.fields.grid_of(output)))
        return leaf.clone()

    def hook(self, module, inputs, output):
        """Forward hook for a layer that the caller named."""
        if not isinstance(output, torch.Tensor):
            raise ModelError(
                f"the layer {type(module).__name__} returns a {type(output).__name__}; a tensor is expected"
            )
        if output.ndim != self.axes + 2:
            raise ModelError(
                f"the layer {type(module).__name__} returns shape {tuple(output.shape)}; (1, channels, *cells) or "
                f"(1, *cells, channels) with {self.axes} spatial axes is expected"
            )
        return self.cut(output)


def _is_convolution(func, args, kwargs):
    name = getattr(func, "__name__", "").partition(".")[0]  # without the overload, as in conv3d.padding
    transposed = kwargs.get("transposed", args[6] if len(args) > 6 and name.endswith("convolution") else False)
    return name in CONVOLUTIONS and not transposed


def look(model, batch, target, last_conv_layer, score: Callable) -> Seen:
    """The output of the selected convolution and the gradient of the score with respect to it.

    The selected convolution is the last one to run on which the score depends: in a network with several heads, the
    very last one may belong to another head. If the caller names a layer, that layer is used; if it runs several times,
    its last run on which the score depends.

    Parameters
    ----------
    last_conv_layer : a module of the model, its name, or None.
    score : function of logits (1, classes) and the class that returns the score (1,).

    Raises
    ------
    ModelError : there is no convolution with a grid; or the layer does not exist, has no grid or does not affect the
        class.
    """
    layer = _layer(model, last_conv_layer)
    entry = batch.clone().requires_grad_().clone()  # a copy, because the network may start with an in-place layer
    fields = ReceptiveFields(entry)
    cuts = _Cuts(fields, batch.ndim - 2)
    handle = layer.register_forward_hook(cuts.hook) if layer is not None else None
    try:
        with as_written(), torch.enable_grad():
            with fields, cuts if layer is None else nullcontext():
                logits = run_model(model, entry)
            target = pick_target(logits, target)
            value = score(logits, target)
            output, gradient, field = _last_that_counts(value, cuts.cuts)
    finally:
        if handle is not None:
            handle.remove()
    log.info("used a layer of %s cells and %d channels", " x ".join(map(str, output.shape[2:])), output.shape[1])
    return Seen(output, gradient, field, value.detach(), target)


def _layer(model, wanted):
    """The module that the caller named, or None."""
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise ModelError(
            "Grad-CAM cannot reach the layers of a TorchScript model; use the model from before it was scripted"
        )
    if wanted is None:
        return None
    names = dict(model.named_modules())
    module = names.get(wanted) if isinstance(wanted, str) else wanted
    if not any(module is known for known in names.values()):
        raise ModelError(f"the model has no layer {wanted!r}; it has: {', '.join(name for name in names if name)}")
    return module


def _last_that_counts(score, cuts):
    """Output, gradient and receptive fields of the last cut on which the score depends, with the channels first.

    If the outputs of several heads are joined, the gradient of the other heads is 0 rather than None. If all gradients
    are 0 (no ReLU passes anything), the last one that is not None is used, and the map is 0.
    """
    if not cuts:
        raise ModelError(
            "Grad-CAM needs a convolution, and the model has none with a grid and a gradient; name a layer that has a "
            "grid as last_conv_layer"
        )
    alive = [(leaf, grid) for reference, grid in cuts if (leaf := reference()) is not None]
    gradients = gradients_of(score, [leaf for leaf, _ in alive])
    found = [(leaf, gradient, grid) for (leaf, grid), gradient in zip(alive, gradients, strict=True)]
    found = [one for one in found if one[1] is not None]
    if not found:
        raise ModelError("the class does not depend on the selected convolution; name another layer")
    leaf, gradient, (field, axes) = ([one for one in found if bool(one[1].any())] or found)[-1]
    dtype, grid = torch.promote_types(leaf.dtype, torch.float32), tuple(range(2, leaf.ndim))
    return leaf.detach().movedim(axes, grid).to(dtype), gradient.movedim(axes, grid).to(dtype), field


def channel_weights(gradient) -> torch.Tensor:
    """Grad-CAM's channel weights, the mean gradients over all spatial axes: (1, channels, 1, …)."""
    return gradient.mean(dim=tuple(range(2, gradient.ndim)), keepdim=True)


def positive_sum(weights, seen) -> torch.Tensor:
    """Positive part of the weighted sum of the channels: (*cells)."""
    return (weights * seen.output).sum(dim=1)[0].relu()


def draw(cells, seen, batch, interpolation) -> np.ndarray:
    """The cells drawn on the grid of the image, each at the centre of its receptive field.

    Where receptive fields could not be followed but the cells can lie on a regular grid over the image, they are drawn
    on that, with a warning.

    Raises
    ------
    ModelError : the centres are unknown: the network moved the image before this layer, or the cells are no grid.
    """
    values = cells.cpu().double().numpy()
    return draw_at_centres(values, place_cells(seen).centres(values.shape), batch.shape[2:], interpolation)


def place_cells(seen) -> Field:
    """The receptive fields of the selected layer; a warning tells where they are assumed. Errors as in `draw`."""
    field = seen.field
    if isinstance(field, Field):
        if field.assumed:
            warnings.warn(
                f"receptive fields are not followed through {field.assumed}: its cells are taken to lie on a regular "
                "grid over the image",
                stacklevel=2,
            )
        return field
    if field.moved:
        reason = f"the network moves the image before this layer ({field.operator}), so its cells have no known place"
    else:
        reason = f"the cells of this layer are no regular grid over the image, and {field.operator} is not followed"
    raise ModelError(f"{reason}; resize=False returns the cells themselves")
