"""Convert ONNX operators to layers of torch.nn, one function per operator: `OPERATORS` lists all supported ones.

Each function takes the network under construction (`onnx_import.Builder`) and a node, and returns the node's value. The
first axis is always that of the images: an operator that would move, mix or drop it is refused.
"""

from __future__ import annotations

import math
import operator

import numpy as np
import torch
from torch import nn

from voxelwhy.networks.files.onnx_file import axes_of
from voxelwhy.networks.files.onnx_windows import CONVOLUTIONS, average_pool, conv, global_pool, max_pool, pad, tensor

NORMALISATIONS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}  # by number of axes
INSTANCE_NORMALISATIONS = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d}
ARITHMETIC = {"Add": operator.add, "Sub": operator.sub, "Mul": operator.mul, "Div": operator.truediv}

# ------------------------------------------------------------------ elementwise


def _activation(net, node, layer):
    value = net.values[node.input(0)]
    return value._replace(node=net.layer(node, layer, [value.node]))


def relu(net, node):
    return _activation(net, node, nn.ReLU())


def leaky_relu(net, node):
    return _activation(net, node, nn.LeakyReLU(node.options.get("alpha", 0.01)))


def elu(net, node):
    return _activation(net, node, nn.ELU(node.options.get("alpha", 1.0)))


def sigmoid(net, node):
    return _activation(net, node, nn.Sigmoid())


def tanh(net, node):
    return _activation(net, node, nn.Tanh())


def clip(net, node):
    """Converted to ReLU, ReLU6 or Hardtanh if equivalent, so that the methods recognise it."""
    low, high = (node.options.get(name, net.constant(node, n, name)) for n, name in ((1, "min"), (2, "max")))
    low, high = (None if bound is None else float(np.ravel(bound)[0]) for bound in (low, high))
    # Older exporters write a missing bound as the largest number of the type.
    low, high = (None if bound is None or abs(bound) > 3e38 else bound for bound in (low, high))
    if low is None and high is None:
        return net.values[node.input(0)]
    if low == 0 and high in (None, 6):
        return _activation(net, node, nn.ReLU() if high is None else nn.ReLU6())
    if None not in (low, high):
        return _activation(net, node, nn.Hardtanh(low, high))
    value = net.values[node.input(0)]
    return value._replace(node=net.fx.call_function(torch.clamp, (value.node, low, high)))


def softmax(net, node):
    rank = net.rank(node)
    axis = node.options.get("axis", -1 if net.graph.opset >= 13 else 1) % rank
    if axis == 0 or (net.graph.opset < 13 and axis != rank - 1):
        raise net.graph.refuse(
            node,
            f"normalises over axis {axis} and more; only a Softmax over the last axis is supported",
        )
    return _activation(net, node, nn.Softmax(dim=net.values[node.input(0)].place(axis)))


def same(net, node):
    """Identity, and Dropout, which does nothing in eval mode."""
    training = net.constant(node, 2, "training_mode") if node.kind == "Dropout" else None
    if training is not None and bool(training):
        raise net.graph.refuse(node, "is in training mode: export the network for inference")
    return net.values[node.input(0)]


def batch_norm(net, node):
    rank = net.rank(node)
    if rank not in NORMALISATIONS or node.options.get("training_mode"):
        raise net.graph.refuse(
            node, f"has {rank} axes or is in training mode; 2 to 5 axes in inference mode are supported"
        )
    scale, shift, mean, variance = (net.constant(node, number) for number in range(1, 5))
    layer = NORMALISATIONS[rank](len(scale), eps=node.options.get("epsilon", 1e-5), device="meta")
    layer.weight, layer.bias = nn.Parameter(tensor(scale)), nn.Parameter(tensor(shift))
    layer.running_mean, layer.running_var = tensor(mean), tensor(variance)
    layer.num_batches_tracked = torch.tensor(0)
    return net.value(net.layer(node, layer, [net.tensor(node.input(0))]))


def instance_norm(net, node):
    rank = net.rank(node)
    if rank not in INSTANCE_NORMALISATIONS:
        raise net.graph.refuse(node, f"has {rank} axes; 3 to 5 axes are supported")
    scale, shift = net.constant(node, 1), net.constant(node, 2)
    layer = INSTANCE_NORMALISATIONS[rank](len(scale), eps=node.options.get("epsilon", 1e-5), affine=True)
    layer.weight, layer.bias = nn.Parameter(tensor(scale)), nn.Parameter(tensor(shift))
    return net.value(net.layer(node, layer, [net.tensor(node.input(0))]))


def group_norm(net, node):
    """Scale and shift are those of the channels; before opset 21, those of the groups."""
    groups, channels = node.options["num_groups"], net.graph.shapes.get(node.input(0), (None, None))[1]
    scale, shift = net.constant(node, 1), net.constant(node, 2)
    if net.graph.opset < 21:
        if channels is None:
            raise net.graph.refuse(node, "has an unknown number of channels")
        scale, shift = (np.repeat(values, channels // groups) for values in (scale, shift))
    layer = nn.GroupNorm(groups, len(scale), eps=node.options.get("epsilon", 1e-5))
    layer.weight, layer.bias = nn.Parameter(tensor(scale)), nn.Parameter(tensor(shift))
    return net.value(net.layer(node, layer, [net.tensor(node.input(0))]))


# ------------------------------------------------------------------ sums and products


def arithmetic(net, node):
    constant = [name in net.graph.constants for name in node.inputs]
    if not any(constant):
        first, second = (net.values[name] for name in node.inputs)
        if net.rank(node) != net.rank(node, 1):
            raise net.graph.refuse(node, "takes two computed values with different numbers of axes")
        order = first.order
        if first.order != second.order:
            (first, second), order = ([net.value(net.tensor(name)) for name in node.inputs]), None
        return net.value(net.fx.call_function(ARITHMETIC[node.kind], (first.node, second.node)), order)
    number = constant.index(False)
    value, array = net.values[node.input(number)], _laid(net, node, number)
    if node.kind == "Add" and _becomes_bias(net, node.input(number), value, array):
        return value
    operands = [value.node, net.buffer(array)]
    return value._replace(
        node=net.fx.call_function(ARITHMETIC[node.kind], tuple(operands[:: 1 if number == 0 else -1]))
    )


def _laid(net, node, number):
    """The constant operand, with its axes ordered like those of the computed one (input `number`)."""
    rank, array = net.rank(node, number), net.graph.constants[node.input(1 - number)]
    while array.ndim > rank and array.shape[0] == 1:
        array = array[0]
    array = array.reshape((1,) * (rank - array.ndim) + array.shape)
    if array.ndim > rank or (rank and array.shape[0] != 1):
        raise net.graph.refuse(
            node, f"takes a constant of shape {array.shape}, which differs between the images of a batch"
        )
    order = net.values[node.input(number)].order
    return array if order is None else array.transpose(np.argsort(order))


def _becomes_bias(net, name, value, array):
    """Fold an added constant into the bias of the layer before it, if possible; returns whether it was."""
    layer, lengths = net.module(value), array.shape
    channel = 1 if isinstance(layer, tuple(CONVOLUTIONS.values())) else array.ndim - 1
    alone = net.uses[name] == 1 and isinstance(layer, (nn.Linear, *CONVOLUTIONS.values()))
    if not alone or any(length != 1 for axis, length in enumerate(lengths) if axis != channel):
        return False
    bias = tensor(array).reshape(-1).expand(len(layer.weight))
    layer.bias = nn.Parameter(bias.clone() if layer.bias is None else layer.bias.detach() + bias)
    return True


def _linear(weight, bias):
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(tensor(weight))
    if bias is not None:
        layer.bias = nn.Parameter(tensor(np.broadcast_to(bias.reshape(-1), (weight.shape[0],))))
    return layer


def gemm(net, node):
    options, weight = node.options, net.constant(node, 1, "weights")
    bias = net.constant(node, 2, "bias")
    if options.get("transA") or (bias is not None and bias.ndim > 1 and len(bias) != 1):
        raise net.graph.refuse(node, "mixes the images of a batch")
    weight = weight if options.get("transB") else weight.T
    weight = weight * np.asarray(options.get("alpha", 1.0), weight.dtype)
    bias = None if bias is None else bias * np.asarray(options.get("beta", 1.0), bias.dtype)
    return net.value(net.layer(node, _linear(weight, bias), [net.tensor(node.input(0))]))


def matmul(net, node):
    if node.input(0) in net.graph.constants:
        raise net.graph.refuse(node, "has the constant as its first operand; only the second is supported")
    if node.input(1) not in net.graph.constants:
        inputs = tuple(net.tensor(name) for name in node.inputs)
        if not net.rank(node) == net.rank(node, 1) > 2:
            raise net.graph.refuse(node, "multiplies the images of a batch with each other")
        return net.value(net.fx.call_function(torch.matmul, inputs))
    weight = net.constant(node, 1)
    if weight.ndim != 2 or net.rank(node) < 2:
        raise net.graph.refuse(node, f"has weights of shape {weight.shape}; only a matrix is supported")
    return net.value(net.layer(node, _linear(weight.T, None), [net.tensor(node.input(0))]))


# ------------------------------------------------------------------ axes


def _axes(net, node, axes):
    """Axes of the first input, counted from the front; the axis of the images is refused."""
    rank = net.rank(node)
    axes = [axis % rank for axis in axes]
    if 0 in axes:
        raise net.graph.refuse(node, "works along the images of a batch")
    return axes


def concat(net, node):
    (axis,) = _axes(net, node, [node.options["axis"]])
    if any(name in net.graph.constants for name in node.inputs):
        raise net.graph.refuse(node, "joins a constant to a computed value; only computed values are supported")
    values = [net.values[name] for name in node.inputs]
    if len({value.order for value in values}) > 1:
        values = [net.value(net.tensor(name)) for name in node.inputs]
    joined = net.fx.call_function(torch.cat, ([value.node for value in values], values[0].place(axis)))
    return values[0]._replace(node=joined)


def transpose(net, node):
    axes = net.permutation(node)
    if axes[0] != 0:
        raise net.graph.refuse(node, "moves the axis of the images")
    return net.values[node.input(0)].turned(axes)


def flatten(net, node):
    if node.options.get("axis", 1) % net.rank(node) != 1:
        raise net.graph.refuse(node, "does not flatten exactly the axes after that of the images")
    return net.value(net.layer(node, nn.Flatten(), [net.tensor(node.input(0))]))


def reshape(net, node):
    if net.permutation(node) is not None:
        return transpose(net, node)
    shapes = net.graph.shapes
    before, after = (shapes.get(name) for name in (node.input(0), node.outputs[0]))
    if after is None or None in after[1:]:
        after = [int(n) for n in net.constant(node, 1, "shape")]
        after = [before[axis] if n == 0 and before and axis < len(before) else n for axis, n in enumerate(after)]
    rest = after[1:]
    numbers = [math.prod(shape) for shape in ((before or (None,))[1:], rest) if None not in shape and -1 not in shape]
    if None in rest or list(rest).count(-1) > 1 or len(set(numbers)) > 1:
        raise net.graph.refuse(node, "returns a shape that is unknown or does not keep the axis of the images")
    value = net.layer(node, nn.Flatten(), [net.tensor(node.input(0))])
    if len(rest) == 0:
        value = net.fx.call_function(torch.squeeze, (value, 1))
    elif len(rest) > 1:
        value = net.layer(
            node._replace(name=f"{node.name or node.outputs[0]}_axes"), nn.Unflatten(1, tuple(rest)), [value]
        )
    return net.value(value)


def squeeze(net, node):
    shape = net.graph.shapes.get(node.input(0), ())
    axes = axes_of(net.graph, node, [axis for axis, length in enumerate(shape) if axis and length == 1])
    return net.value(net.fx.call_function(torch.squeeze, (net.tensor(node.input(0)), tuple(_axes(net, node, axes)))))


def unsqueeze(net, node):
    axes = axes_of(net.graph, node)
    rank = net.rank(node) + len(axes)
    value = net.tensor(node.input(0))
    for axis in sorted(axis % rank for axis in axes):
        if axis == 0:
            raise net.graph.refuse(node, "inserts an axis before that of the images")
        value = net.fx.call_function(torch.unsqueeze, (value, axis))
    return net.value(value)


def reduce_mean(net, node):
    axes, value = _axes(net, node, axes_of(net.graph, node, range(net.rank(node)))), net.values[node.input(0)]
    if node.options.get("keepdims", 1):
        axes = [value.place(axis) for axis in axes]
        return value._replace(node=net.fx.call_function(torch.mean, (value.node, axes, True)))
    return net.value(net.fx.call_function(torch.mean, (net.tensor(node.input(0)), axes)))


OPERATORS = {
    "Conv": conv,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_pool,
    "GlobalMaxPool": global_pool,
    "Pad": pad,
    "Relu": relu,
    "LeakyRelu": leaky_relu,
    "Elu": elu,
    "Sigmoid": sigmoid,
    "Tanh": tanh,
    "Clip": clip,
    "Softmax": softmax,
    "Identity": same,
    "Dropout": same,
    "BatchNormalization": batch_norm,
    "InstanceNormalization": instance_norm,
    "GroupNormalization": group_norm,
    **dict.fromkeys(ARITHMETIC, arithmetic),
    "Gemm": gemm,
    "MatMul": matmul,
    "Concat": concat,
    "Transpose": transpose,
    "Flatten": flatten,
    "Reshape": reshape,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "ReduceMean": reduce_mean,
}
