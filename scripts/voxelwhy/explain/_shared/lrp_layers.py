"""Classify the operators of a network for layer-wise relevance propagation: linear layer, activation or copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import fx

from voxelwhy.errors import ModelError
from voxelwhy.explain._shared.lrp_graph import Operators, described, exported_graph, is_part
from voxelwhy.explain._shared.lrp_rules import Linear
from voxelwhy.explain.incremental.graph import operator_name
from voxelwhy.explain.incremental.known import forget, key_of, shared_program

#: Operators and steps of a network, by what they depend on: an export takes longer than the map of a small network.
_KNOWN = WeakKeyDictionary()

ACTIVATIONS = {
    "relu", "relu6", "leaky_relu", "prelu", "elu", "celu", "selu", "gelu", "silu", "mish", "softplus", "hardswish",
    "hardsigmoid", "hardtanh", "threshold", "sigmoid", "tanh", "clamp", "clamp_min",
}  # fmt: skip
# Each output is a copy of one input, or a constant.
COPIES = {
    "view", "reshape", "_unsafe_view", "permute", "transpose", "t", "squeeze", "unsqueeze", "slice", "select", "clone",
    "alias", "expand", "repeat", "flip", "roll", "cat", "split_with_sizes", "constant_pad_nd", "pixel_shuffle",
    "pixel_unshuffle", "channel_shuffle", "_to_copy",
    "copy", "slice_scatter", "select_scatter", *(f"{kind}_pad{n}d" for kind in ("reflection", "replication")
    for n in (1, 2, 3)),
}  # fmt: skip
# The largest input receives all the relevance.
WINNERS = {"amax", *(f"{kind}max_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3))}
MEANS = {"mean", "sum", *(f"{kind}avg_pool{n}d" for kind in ("", "adaptive_", "_adaptive_") for n in (1, 2, 3))}
PRODUCTS = {"matmul", "mm", "bmm"}
BATCH_NORM = "_native_batch_norm_legit_no_training"


class Step(NamedTuple):
    """One operator: its node, the inputs that depend on the image, and how it runs.

    `kind` is "linear" (`run` is a Linear), "copy" (`run` is a function of the inputs, and relevance follows its
    gradient) or "activation" (`run` is a function of the inputs, and relevance passes unchanged).
    """

    node: fx.Node
    sources: list[fx.Node]
    kind: str
    run: Linear | Callable


def followed_steps(model, batch) -> tuple[Operators, list[Step], bool]:
    """The operators of a model and its steps, and whether they are cached: from an earlier call, or from another model.

    They are found again if a weight was replaced or modified, and if a layer or an option in the model's repr changed.
    Models that differ in their weights alone share one export. Other changes go unnoticed, so callers compare the
    logits of cached steps with those of the model, and `forget_steps` if they differ.

    Raises
    ------
    ShapeError, ModelError : see `exported_graph` and `steps_of`.
    """
    key, found = key_of(model, batch), _KNOWN.get(model)
    if found is not None and found[0] == key:
        return *found[1:], True
    program, is_shared = shared_program("lrp", model, batch, exported_graph)
    operators = Operators(model, program)
    _KNOWN[model] = found = key, operators, steps_of(operators)
    return *found[1:], is_shared


def forget_steps(model):
    """Drop the cached steps of a model, and all programs that networks share."""
    _KNOWN.pop(model, None)
    forget(model)


def steps_of(operators: Operators) -> list[Step]:
    """The steps from image to logits. Batch normalisation is folded into the layer before it if nothing else reads it.

    Raises
    ------
    ModelError : LRP has no rule for an operator, which is named.
    """
    steps = []
    for node in operators.nodes:
        readers = operators.readers[node]
        several = bool(readers) and all(is_part(reader) for reader in readers)  # then each reader becomes a step
        if not several and not _is_folded(node, operators):
            steps.append(_step(node, operators))
    return steps


def _step(node, operators):
    whole, part = (node.args[0], node.args[1]) if is_part(node) else (node, None)
    name = operator_name(whole)
    if _is_float(node):
        layer = _linear(whole, operators)
        if layer is not None and part in (None, 0):
            return Step(node, *layer)
        sources = [source for source in whole.all_input_nodes if source not in operators.constants]
        kind = "activation" if name in ACTIVATIONS and sources == [whole.args[0]] else None
        kind = "copy" if name in COPIES | WINNERS else kind
        if kind:
            return Step(node, sources, kind, _runner(whole, part, sources, operators))
    raise ModelError(
        f"LRP has no rule for {described(whole)}. It supports convolutions, dense layers, sums, means, pooling, batch "
        "normalisation, activations and reordering; input_x_gradient and integrated_gradients support any network"
    )


def _is_float(node):
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _runner(node, part, sources, operators):
    """The operator as a function of its inputs in `sources`."""
    args, kwargs = operators.arguments(node)
    # A convolution may return another memory layout than during the export, in which case a view would fail.
    target = {"view": torch.reshape, "copy": _copied}.get(operator_name(node), node.target)

    def run(inputs):
        read = dict(zip(sources, inputs, strict=True))
        given = fx.node.map_arg((args, kwargs), read.__getitem__)
        output = target(*given[0], **given[1])
        return output if part is None else output[part]

    return run


def _copied(written, values):
    """`aten.copy`, which has no gradient of its own: the values in the shape of what they are written over."""
    return values.to(written.dtype).expand_as(written)


def _is_folded(node, operators):
    """Whether only a batch normalisation reads this convolution, or this dense layer on (n, features)."""
    name = operator_name(node)
    readers = operators.readers[node]
    fits = name == "convolution" or (name == "linear" and node.meta["val"].ndim == 2)
    return fits and len(readers) == 1 and operator_name(readers[0]) == BATCH_NORM and readers[0].args[0] is node


def _linear(node, operators):
    """The operator as (sources, "linear", Linear), linear in its image-dependent inputs; None if it is not linear."""
    name = operator_name(node)
    args, kwargs = operators.arguments(node)
    sources = [value for value in args if isinstance(value, fx.Node)]
    if name in ("add", "sub", "rsub"):
        return sources, "linear", _sum(name, args, kwargs, node.meta["val"])
    if len(sources) != 1 or node.target._overloadname.endswith("_mode"):
        return None
    if name == BATCH_NORM and sources[0] is args[0]:
        scaling = _batch_norm(args)
        if not _is_folded(sources[0], operators):
            return sources, "linear", scaling
        inner = _linear(sources[0], operators)
        return inner and (inner[0], "linear", _folded(sources[0], inner[2], scaling))
    layer = _layer(name, args, kwargs, node)
    return layer and (sources, "linear", layer)


def _layer(name, args, kwargs, node):
    """The Linear of an operator with one image-dependent input; None if it is not linear."""
    value = node.meta["val"]
    is_first = isinstance(args[0], fx.Node)
    if name == "convolution" and is_first:
        groups = None if args[6] else args[8]  # 6: transposed
        return Linear(lambda xs, w, b: torch.convolution(xs[0], w, b, *args[3:]), *args[1:3], groups)
    if name == "linear" and is_first:
        return Linear(lambda xs, w, b: F.linear(xs[0], w, b), *args[1:])
    if name == "addmm" and isinstance(args[1], fx.Node):
        bias, scale = args[0] * kwargs.get("beta", 1), kwargs.get("alpha", 1)
        return Linear(lambda xs, w, b: _plus(xs[0] @ w, b), args[2] * scale, bias)
    if name in PRODUCTS:
        weight = args[1] if is_first else args[0]
        return Linear(lambda xs, w, b: xs[0] @ w if is_first else w @ xs[0], weight)
    if name == "mul" or (name in ("div", "neg") and is_first):
        factor = {"mul": lambda: args[1] if is_first else args[0], "div": lambda: 1 / args[1], "neg": lambda: -1.0}
        return Linear(lambda xs, w, b: _plus(xs[0] * w, b), _tensor(factor[name](), value))
    if name in MEANS:
        return Linear(lambda xs, w, b: node.target(xs[0], *args[1:], **kwargs) * w, _tensor(1.0, value))
    return None


def _sum(name, args, kwargs, value):
    """A sum or difference of two image-dependent tensors, or of one and a constant, which acts as a bias."""
    alpha = kwargs.get("alpha", 1)
    signs = {"add": (1, alpha), "sub": (1, -alpha), "rsub": (-alpha, 1)}[name]
    terms = list(zip(args[:2], signs, strict=True))
    weight = _tensor([sign for term, sign in terms if isinstance(term, fx.Node)], value)
    constants = [_tensor(term, value) * sign for term, sign in terms if not isinstance(term, fx.Node)]

    def apply(inputs, weight, bias):
        return _plus(sum(x * w for x, w in zip(inputs, weight, strict=True)), bias)

    return Linear(apply, weight, *constants)


def _batch_norm(args):
    """Batch normalisation in eval mode: a scaling per channel, with a shift as the bias."""
    x, weight, bias, mean, variance, _, eps = args
    scale = (variance + eps).rsqrt() * (1 if weight is None else weight)
    shift = -mean * scale + (0 if bias is None else bias)
    shape = (-1, *[1] * (x.meta["val"].ndim - 2))
    return Linear(lambda xs, w, b: _plus(xs[0] * w, b), scale.reshape(shape), shift.reshape(shape))


def _folded(node, layer, scaling):
    """One convolution or dense layer that does the work of `layer` followed by `scaling`."""
    scale, shift = scaling.weight.flatten(), scaling.bias.flatten()
    if operator_name(node) == "convolution" and node.args[6]:  # transposed: (inputs, outputs / groups, *kernel)
        weight = layer.weight.unflatten(0, (node.args[8], -1))
        weight = weight * scale.reshape(node.args[8], 1, -1, *[1] * (weight.ndim - 3))
        weight = weight.flatten(0, 1)
    else:
        weight = layer.weight * scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
    return Linear(layer.apply, weight, shift if layer.bias is None else layer.bias * scale + shift, layer.groups)


def _plus(values, bias):
    return values if bias is None else values + bias


def _tensor(value, like):
    return torch.as_tensor(value, dtype=like.dtype, device=like.device)
