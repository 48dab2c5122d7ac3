"""Training in bfloat16: whether the processor computes in it, and for which convolutions it gives wrong gradients."""

from __future__ import annotations

import copy
import logging

import torch
from torch import nn

from voxelwhy.errors import ModelError

log = logging.getLogger(__name__)


def autocast(settings, device):
    """Return the context in which a network runs with the precision of the training settings."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=settings["precision"] == "bfloat16")


def has_bfloat16():
    """Tell whether this processor computes convolutions in bfloat16 rather than converting values back and forth."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def warn_if_slow():
    """Warn if training in bfloat16 is slow on this processor."""
    # Measured for `rieke2018` on whole volumes, on a processor with AVX2 only: 75 s per step, 12 s in float32.
    if not has_bfloat16():
        log.warning(
            "this processor has no bfloat16 arithmetic (AVX-512 or better): training is several times slower than "
            "with training.precision: float32"
        )


def refuse_wrong_gradients(model: nn.Module, images: torch.Tensor):
    """Refuse to train a network in bfloat16 on a processor if the gradients of its weights would be wrong.

    oneDNN (in torch 2.13) accesses memory out of bounds when it computes the gradient of a padded convolution in which
    every window along some axis reaches into the padding, such as a kernel of 3 on 2 cells. The gradients are then
    garbage, though often finite, and some processes crash. Forward passes and float32 are not affected.

    Parameters
    ----------
    images : batch on which the network is run once, to record the grids of its layers.

    Raises
    ------
    ModelError : there is such a convolution; the message names the first one and its grid.
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
    """Tell whether every window of a convolution along an axis of `length` cells reaches into the padding."""
    reach = dilation * (kernel - 1) + 1
    first = -(-padding // stride) * stride - padding  # start of the first window beyond the leading padding
    return padding > 0 and first + reach > length


def _geometry(layer):
    padding = layer.padding
    if isinstance(padding, str):  # "same" pads by the reach of the kernel, "valid" not at all
        reach = zip(layer.dilation, layer.kernel_size, strict=True)
        padding = [d * (k - 1) // 2 if padding == "same" else 0 for d, k in reach]
    return layer.kernel_size, layer.stride, padding, layer.dilation


def _times(lengths):
    return " x ".join(str(length) for length in lengths)
