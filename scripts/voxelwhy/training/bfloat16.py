"""Where a processor's bfloat16 cannot be trusted: convolutions of which no window lies wholly inside their input."""

from __future__ import annotations

import copy

import torch
from torch import nn

from voxelwhy.errors import ModelError


def refuse_wrong_gradients(model: nn.Module, images: torch.Tensor):
    """Refuse to train a network in bfloat16 on a processor where the gradients of its weights would be wrong.

    oneDNN (in torch 2.13) reads and writes beyond its memory when it computes the gradient of a padded convolution,
    along an axis of which every window reaches into the padding, as with a kernel of 3 on 2 cells. What comes out is
    garbage, often finite, and some processes die of it; forward passes and float32 are not concerned.

    Parameters
    ----------
    images : what the network is run on once, to see the grids of its layers.

    Raises
    ------
    ModelError : there is such a convolution; it names the first and its grid.
    """
    found = []

    def look(name):
        def hook(layer, inputs):
            lengths = tuple(inputs[0].shape[2:])
            if any(no_window_inside(n, *axis) for n, *axis in zip(lengths, *_geometry(layer), strict=True)):
                found.append(f"{name} has a kernel of {_times(layer.kernel_size)} on {_times(lengths)} cells")

        return hook

    probe = copy.deepcopy(model).eval()
    for name, layer in probe.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Conv3d)):
            layer.register_forward_pre_hook(look(name))
    with torch.no_grad():
        probe(images)
    if found:
        raise ModelError(
            f"training.precision bfloat16 gives wrong gradients on a processor with this network and grid: {found[0]}. "
            "Use precision: float32, a finer resolution_mm, or a GPU"
        )


def no_window_inside(length, kernel, stride, padding, dilation):
    """Whether every window of a convolution along an axis of `length` cells reaches into the padding."""
    reach = dilation * (kernel - 1) + 1
    first = -(-padding // stride) * stride - padding  # where the first window begins that leaves the padding before it
    return padding > 0 and first + reach > length


def _geometry(layer):
    padding = layer.padding
    if isinstance(padding, str):  # "same" pads by as much as the kernel reaches, "valid" not at all
        reach = zip(layer.dilation, layer.kernel_size, strict=True)
        padding = [d * (k - 1) // 2 if padding == "same" else 0 for d, k in reach]
    return layer.kernel_size, layer.stride, padding, layer.dilation


def _times(lengths):
    return " x ".join(str(length) for length in lengths)
