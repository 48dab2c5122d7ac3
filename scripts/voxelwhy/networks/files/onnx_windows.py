"""Convert ONNX operators with a window: convolutions, pools and padding; see `onnx_operators`."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from voxelwhy.networks.files.onnx_file import same_padding

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
PADS = {1: nn.ConstantPad1d, 2: nn.ConstantPad2d, 3: nn.ConstantPad3d}
MAX_POOLS = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
MEAN_POOLS = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
GLOBAL_POOLS = {
    "GlobalAveragePool": {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d},
    "GlobalMaxPool": {1: nn.AdaptiveMaxPool1d, 2: nn.AdaptiveMaxPool2d, 3: nn.AdaptiveMaxPool3d},
}


class MeanOfInside(nn.Module):
    """Mean pool that ignores padding: the sum over a window, divided by its number of cells inside the layer."""

    def __init__(self, pad, pool):
        super().__init__()
        self.pad, self.pool = pad, pool

    def forward(self, image):
        return self.pool(self.pad(image)) / self.pool(self.pad(torch.ones_like(image[:1, :1])))


def tensor(array):
    """A constant as a tensor."""
    return torch.from_numpy(np.array(array, order="C"))


def _window(net, node, axes):
    """Kernel, stride, dilation, and padding (before, after) along each axis."""
    options, ones = node.options, [1] * axes
    kernel = list(options.get("kernel_shape", ones))
    stride, dilation = list(options.get("strides", ones)), list(options.get("dilations", ones))
    kind = options.get("auto_pad", "NOTSET")
    if kind in ("NOTSET", "VALID"):
        pads = options.get("pads") if kind == "NOTSET" else None
        pads = list(pads or [0] * 2 * axes)
        return kernel, stride, dilation, list(zip(pads[:axes], pads[axes:], strict=True))
    lengths = (net.graph.shapes.get(node.input(0)) or ())[2:] or [None] * axes
    if any(step > 1 and length is None for step, length in zip(stride, lengths, strict=True)):
        raise net.graph.refuse(
            node,
            f"pads by {kind}, which depends on the image size, but the file does not specify that size: export the "
            "network for images of a fixed size",
        )
    windows = zip(lengths, kernel, stride, dilation, strict=True)
    return kernel, stride, dilation, [same_padding(*window, upper=kind == "SAME_UPPER") for window in windows]


def _is_even(padding):
    return all(before == after for before, after in padding)


def _pad(padding, value):
    """A layer that pads before and after each axis; torch counts axes from the last one."""
    return PADS[len(padding)]([n for pair in padding[::-1] for n in pair], value)


def conv(net, node):
    weight, bias = net.constant(node, 1, "weights"), net.constant(node, 2, "bias")
    axes, groups = weight.ndim - 2, node.options.get("group", 1)
    if axes not in CONVOLUTIONS:
        raise net.graph.refuse(node, f"has {axes} spatial axes; 1, 2 or 3 are supported")
    node.options.setdefault("kernel_shape", weight.shape[2:])
    kernel, stride, dilation, padding = _window(net, node, axes)
    value = net.tensor(node.input(0))
    if not _is_even(padding):
        value = net.layer(node._replace(name=f"{node.name or node.outputs[0]}_pad"), _pad(padding, 0.0), [value])
    before = [pair[0] if _is_even(padding) else 0 for pair in padding]
    layer = CONVOLUTIONS[axes](
        weight.shape[1] * groups, len(weight), kernel, stride, before, dilation, groups, bias is not None, device="meta"
    )
    layer.weight = nn.Parameter(tensor(weight))
    if bias is not None:
        layer.bias = nn.Parameter(tensor(bias))
    return net.value(net.layer(node, layer, [value]))


def _check_pool(net, node, padding):
    if len([name for name in node.outputs if name]) > 1:
        raise net.graph.refuse(node, "also returns the positions of its maxima; only their values are supported")
    if node.options.get("ceil_mode") and not _is_even(padding):
        raise net.graph.refuse(node, "has ceil_mode and asymmetric padding; only one of the two is supported")


def max_pool(net, node):
    axes = net.rank(node) - 2
    kernel, stride, dilation, padding = _window(net, node, axes)
    _check_pool(net, node, padding)
    inner = _is_even(padding) and all(pair[0] * 2 <= k for pair, k in zip(padding, kernel, strict=True))
    before = [pair[0] if inner else 0 for pair in padding]
    pool = MAX_POOLS[axes](kernel, stride, before, dilation, ceil_mode=bool(node.options.get("ceil_mode", 0)))
    layer = pool if inner else nn.Sequential(_pad(padding, -math.inf), pool)
    return net.value(net.layer(node, layer, [net.tensor(node.input(0))]))


def average_pool(net, node):
    axes = net.rank(node) - 2
    kernel, stride, dilation, padding = _window(net, node, axes)
    _check_pool(net, node, padding)
    if set(dilation) != {1}:
        raise net.graph.refuse(node, f"has dilations {dilation}; a mean pool is supported only without dilation")
    ceil, whole = bool(node.options.get("ceil_mode", 0)), bool(node.options.get("count_include_pad", 0))
    if _is_even(padding) and all(pair[0] * 2 <= k for pair, k in zip(padding, kernel, strict=True)):
        layer = MEAN_POOLS[axes](kernel, stride, [pair[0] for pair in padding], ceil, whole)
    else:
        pad, pool = _pad(padding, 0.0), MEAN_POOLS[axes](kernel, stride, ceil_mode=ceil)
        layer = nn.Sequential(pad, pool) if whole else MeanOfInside(pad, pool)
    return net.value(net.layer(node, layer, [net.tensor(node.input(0))]))


def global_pool(net, node):
    layer = GLOBAL_POOLS[node.kind][net.rank(node) - 2](1)
    return net.value(net.layer(node, layer, [net.tensor(node.input(0))]))


def pad(net, node):
    """Constant padding of the spatial axes, and of channels if the file pads them."""
    mode, rank = node.options.get("mode", "constant"), net.rank(node)
    pads = node.options.get("pads", net.constant(node, 1, "pads"))
    fill = node.options.get("value", net.constant(node, 2, "value"))
    axes = range(rank) if net.constant(node, 3, "axes") is None else [int(axis) for axis in net.constant(node, 3)]
    along = dict(
        zip([axis % rank for axis in axes], zip(pads[: len(axes)], pads[len(axes) :], strict=True), strict=True)
    )
    if mode != "constant" or any(along.get(0, (0, 0))):
        raise net.graph.refuse(node, f"pads in mode {mode}" if mode != "constant" else "adds images to a batch")
    value = net.values[node.input(0)]
    data = {value.place(axis): pair for axis, pair in along.items()}
    flat = [int(n) for axis in range(rank)[:0:-1] for n in data.get(axis, (0, 0))]
    fill = 0.0 if fill is None else float(np.ravel(fill)[0])
    return value._replace(node=net.fx.call_function(nn.functional.pad, (value.node, flat, "constant", fill)))
