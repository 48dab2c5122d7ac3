"""Read ONNX files: one graph from image to output, with constants folded and shapes inferred where possible."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from voxelwhy.errors import InputError, ModelError

FLOATS = ("FLOAT", "DOUBLE", "FLOAT16")


class Node(NamedTuple):
    """One operator of the graph; an omitted input is ""."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: dict

    def __str__(self):
        return (
            f"{self.kind} (node {self.name})"
            if self.name
            else f"{self.kind} (the node that computes {self.outputs[0]})"
        )

    def input(self, number) -> str:
        """Name of an input; "" if it is omitted."""
        return self.inputs[number] if number < len(self.inputs) else ""


@dataclass
class Graph:
    """The content of a file, in order of execution; an axis of a shape is a number, or None if it is not fixed."""

    path: str
    nodes: list[Node]
    constants: dict[str, np.ndarray]
    shapes: dict[str, tuple]
    input: str
    output: str
    opset: int

    def uses(self) -> Counter:
        """How often each value is read."""
        return Counter([name for node in self.nodes for name in node.inputs] + [self.output])

    def refuse(self, node, why):
        """A ModelError that names the node and the file."""
        return ModelError(f"{self.path} cannot be used: {node} {why}")


def read_graph(path, known) -> Graph:
    """Read an ONNX file and check that it is a network with one image and one output that uses only `known` operators.

    Raises
    ------
    InputError : the file, or a file that it refers to, does not exist.
    ModelError : the package onnx is not installed; the file is not an ONNX file; it has several inputs or outputs, or
        its input is not an image of real numbers; operators are unknown (each is named with its node).
    """
    onnx = _package()
    model = _load(onnx, path)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    names = _ends(onnx, model.graph, path)
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    nodes = [_node(onnx, proto) for proto in model.graph.node]
    for proto in model.graph.node:
        if proto.op_type == "GroupNormalization":  # whose shape, that of its input, onnx does not infer
            proto.op_type = "Identity"
            del proto.input[1:], proto.attribute[:]
    try:
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:  # onnx raises its own exceptions
        raise ModelError(f"{path} is not an ONNX model that can be read: {_first_line(error)}") from error
    graph = Graph(str(path), nodes, _initializers(onnx, model.graph), _shapes(model.graph), *names, opsets.get("", 1))
    _fold(onnx, graph, model)
    prune(graph)
    unknown = [str(node) for node in graph.nodes if node.kind not in known]
    if unknown:
        raise ModelError(
            f"{path} uses unsupported operators: {', '.join(unknown)}. Supported are {', '.join(sorted(known))}"
        )
    _check(onnx, model, path)
    return graph


def axes_of(graph, node, default=None):
    """The axes of a node, given as an option (older files) or as an input; `default` if it gives none."""
    axes = node.options.get("axes")
    if axes is None and node.input(1):
        axes = graph.constants.get(node.input(1))
    return default if axes is None else [int(axis) for axis in np.ravel(axes)]


def permutation(graph, node):
    """The permutation of a Transpose, or of a Reshape that only moves axes of length 1; None for all other nodes.

    Exporters move a single channel with a Reshape.
    """
    if node.kind == "Transpose":
        rank = len(graph.shapes.get(node.input(0)) or ()) or len(node.options.get("perm", ()))
        return tuple(node.options.get("perm", range(rank)[::-1]))
    if node.kind != "Reshape":
        return None
    before, after = ((graph.shapes.get(name) or ())[1:] for name in (node.input(0), node.outputs[0]))
    if len(before) != len(after) or None in before or None in after:
        return None
    if [n for n in before if n != 1] != [n for n in after if n != 1]:
        return None
    ones = iter([axis for axis, length in enumerate(before, start=1) if length == 1])
    others = iter([axis for axis, length in enumerate(before, start=1) if length != 1])
    return (0, *(next(ones if length == 1 else others) for length in after))


def _package():
    try:
        import onnx
        import onnx.inliner
    except ImportError as error:
        raise ModelError(
            "ONNX files need the package onnx, which is not installed: pip install 'voxelwhy[onnx]'"
        ) from error
    return onnx


def _load(onnx, path):
    if not Path(path).is_file():
        raise InputError("there is no such model file", file=path)
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf raises its own exceptions
        raise ModelError(f"{path} is not an ONNX file: {_first_line(error)}") from error
    if not model.graph.node or not model.opset_import:
        raise ModelError(f"{path} is not an ONNX file: it contains no graph")
    try:
        onnx.external_data_helper.load_external_data_for_model(model, str(Path(path).parent))
    except Exception as error:
        raise InputError(
            "this ONNX file keeps its weights in another file, which cannot be read",
            file=path,
            found=_first_line(error),
            hint="place the file of weights next to it, under the name that it had when both were written",
        ) from error
    return model


def _first_line(error):
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _ends(onnx, graph, path):
    """Names of the one input and the one output."""
    constant = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constant]
    for what, values in (("input", inputs), ("output", graph.output)):
        if len(values) != 1:
            raise ModelError(
                f"{path} has {len(values)} {what}s ({', '.join(value.name for value in values) or 'none'}); a network "
                f"with one {what} is expected. onnx.utils.extract_model can extract one from a file"
            )
    tensor = inputs[0].type.tensor_type
    kind, rank = onnx.TensorProto.DataType.Name(tensor.elem_type), len(tensor.shape.dim)
    if kind not in FLOATS or rank < 3:
        raise ModelError(
            f"{path} takes {inputs[0].name} of type {kind} with {rank} axes; images of real numbers, with a batch "
            "axis and a channel axis, are expected"
        )
    return inputs[0].name, graph.output[0].name


def _node(onnx, proto):
    options = {entry.name: onnx.helper.get_attribute_value(entry) for entry in proto.attribute}
    options = {key: value.decode() if isinstance(value, bytes) else value for key, value in options.items()}
    kind = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}::{proto.op_type}"
    return Node(kind, proto.name, tuple(proto.input), tuple(proto.output), options)


def _initializers(onnx, graph):
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}


def _shapes(graph):
    """The shape of each value whose number of axes, at least, is known."""
    shapes = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            shapes[value.name] = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
    return shapes


def _fold(onnx, graph, model):
    """Evaluate every node whose inputs are constants: its outputs become constants, and the node is removed."""
    from onnx.reference import ReferenceEvaluator

    left = []
    for node, proto in zip(graph.nodes, model.graph.node, strict=True):
        inputs = [name for name in node.inputs if name]
        shape = graph.shapes.get(node.input(0), (None,))
        if node.kind == "Shape" and None not in shape:
            start, end = node.options.get("start", 0), node.options.get("end")
            graph.constants[node.outputs[0]] = np.array(shape[start:end], np.int64)
        elif all(name in graph.constants for name in inputs) and "::" not in node.kind:
            values = [onnx.helper.make_empty_tensor_value_info(name) for name in (*inputs, *node.outputs)]
            alone = onnx.helper.make_graph([proto], "one", values[: len(inputs)], values[len(inputs) :])
            alone = onnx.helper.make_model(alone, opset_imports=model.opset_import, ir_version=model.ir_version)
            results = ReferenceEvaluator(alone).run(None, {name: graph.constants[name] for name in inputs})
            graph.constants |= dict(zip(node.outputs, map(np.asarray, results), strict=True))
        else:
            left.append(node)
    graph.nodes = left


def prune(graph):
    """Keep only the nodes on which the output depends; nodes that compute a known shape are dropped."""
    wanted, kept = {graph.output}, []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs):
            kept.append(node)
            shape = graph.shapes.get(node.outputs[0], (None, None))
            first = node.kind == "Reshape" and None not in shape[1:]
            wanted |= set(node.inputs[:1] if first else node.inputs)
    graph.nodes = kept[::-1]


def _check(onnx, model, path):
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        raise ModelError(f"{path} is not a valid ONNX model: {_first_line(error)}") from error


def same_padding(length, kernel, stride, dilation, upper) -> tuple[int, int]:
    """Padding before and after one axis that makes the output ceil(length / stride) long.

    If the total is odd, the extra cell goes after the axis, or before it if `upper` is False. `length` is only needed
    for strides above 1.
    """
    reach = (kernel - 1) * dilation + 1
    total = reach - 1 if stride == 1 else max(0, (math.ceil(length / stride) - 1) * stride + reach - length)
    less, more = total // 2, total - total // 2
    return (less, more) if upper else (more, less)
