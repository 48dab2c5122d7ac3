"""Networks from ONNX files, converted to PyTorch modules that can be explained like any other."""

from __future__ import annotations

import keyword
import logging
import re
from typing import NamedTuple

import numpy as np
import torch
from torch import fx, nn

from voxelwhy.errors import ConfigError, ModelError
from voxelwhy.networks.files.onnx_file import permutation, prune, read_graph
from voxelwhy.networks.files.onnx_operators import OPERATORS

log = logging.getLogger(__name__)

CHANNELS = ("auto", "first", "last")


class Value(NamedTuple):
    """A value of the graph: the node that holds it, and the position of each axis in that node (None: unchanged).

    Keras networks keep channels last and move them to the front before each convolution. Because the order is tracked
    instead of moving data, these moves cancel, and the network runs with channels first.
    """

    node: fx.Node
    order: tuple[int, ...] | None = None

    def turned(self, axes):
        """The same data with its axes in another order."""
        order = tuple(axes if self.order is None else (self.order[axis] for axis in axes))
        return Value(self.node, None if order == tuple(range(len(order))) else order)

    def place(self, axis):
        """The position of an axis in the data."""
        return axis if self.order is None else self.order[axis]


class Builder:
    """A network under construction: the operators add their layers to it one by one."""

    def __init__(self, graph):
        self.graph, self.root, self.fx = graph, nn.Module(), fx.Graph()
        self.values, self.uses = {}, graph.uses()

    def value(self, node, order=None):
        """The output of a node of the network, as a value."""
        return Value(node, order)

    def permutation(self, node):
        """See `onnx_file.permutation`."""
        return permutation(self.graph, node)

    def layer(self, node, module, inputs) -> fx.Node:
        """Add a module that reads `inputs` (nodes of the network)."""
        name = re.sub(r"\W+", "_", node.name or node.outputs[0]).strip("_") or node.kind
        if not name.isidentifier() or keyword.iskeyword(name) or hasattr(self.root, name):
            name = f"{node.kind}_{len(self.fx.nodes)}_{name}"
        self.root.add_module(name, module)
        return self.fx.call_module(name, tuple(inputs))

    def module(self, value):
        """The module that computed a value; None if no module did."""
        return self.root.get_submodule(value.node.target) if value.node.op == "call_module" else None

    def buffer(self, array) -> fx.Node:
        """Add a constant."""
        name = f"constant_{len(self.fx.nodes)}"
        self.root.register_buffer(name, torch.from_numpy(np.array(array, order="C")))
        return self.fx.get_attr(name)

    def rank(self, node, number=0) -> int:
        """Number of axes of an input of a node."""
        shape = self.graph.shapes.get(node.input(number))
        if shape is None:
            raise self.graph.refuse(node, "takes a value whose number of axes the file does not specify")
        return len(shape)

    def tensor(self, name) -> fx.Node:
        """A value with its axes in the original order; data are moved only if necessary."""
        value = self.values[name]
        if value.order is not None:
            value = self.values[name] = Value(self.fx.call_function(torch.permute, (value.node, value.order)))
        return value.node

    def constant(self, node, number, what=None):
        """A constant input of a node; None if it is omitted.

        Raises ModelError if the network computes it.
        """
        name = node.input(number)
        if name and name not in self.graph.constants:
            raise self.graph.refuse(node, f"computes its {what or 'input ' + name}; only a constant is supported")
        return self.graph.constants[name] if name else None


def load_onnx(path, *, logits=True, channels="auto") -> nn.Module:
    """Read a network from an ONNX file (`pip install voxelwhy[onnx]`), ready to be explained.

    Parameters
    ----------
    path : the file, with an image as its only input and one output. The network takes batches of any size, whatever
        the first axis in the file.
    logits : True removes a final Softmax, or a final Sigmoid of a single output, because the methods take logits and
        compute probabilities themselves (a removed layer is logged). Several outputs with a Sigmoid each, for labels
        that do not exclude each other, are kept: explain them with apply_softmax=False. False removes nothing.
    channels : the position of the channels in the network of the file: "first", "last" (Keras, TensorFlow) or "auto",
        which is last if they are moved to the front before the first convolution. The module always takes
        (n, channels, *spatial); the moves are removed, not made twice.

    Returns
    -------
    model : torch.nn.Module in eval mode; its layers are modules of torch.nn, named after the nodes of the file.

    Raises
    ------
    InputError : the file, or a separate file with its weights, does not exist.
    ModelError : the package onnx is not installed; the file is not an ONNX file; it has several inputs or outputs; an
        operator (named with its node) is not supported or mixes the images of a batch.
    ConfigError : `channels` is unknown.

    Examples
    --------
    A hand-made file with one convolution and a softmax, which is removed:

    >>> import tempfile
    >>> import numpy as np
    >>> import onnx
    >>> from onnx import helper, numpy_helper
    >>> from voxelwhy import load_onnx, sensitivity_analysis
    >>> weights = np.random.default_rng(0).normal(size=(2, 1, 8, 8)).astype("float32")
    >>> nodes = [
    ...     helper.make_node("Conv", ["image", "weights"], ["cells"]),
    ...     helper.make_node("Flatten", ["cells"], ["logits"]),
    ...     helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ... ]
    >>> image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, (1, 1, 8, 8))
    >>> output = helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, (1, 2))
    >>> graph = helper.make_graph(nodes, "network", [image], [output], [numpy_helper.from_array(weights, "weights")])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     onnx.save(helper.make_model(graph), f"{folder}/network.onnx")
    ...     network = load_onnx(f"{folder}/network.onnx")
    >>> heatmap = sensitivity_analysis(network, np.zeros((8, 8)), target_class=1, postprocess=None, apply_softmax=False)
    >>> bool(abs(heatmap - weights[1, 0]).max() < 1e-6)
    True
    """
    if channels not in CHANNELS:
        raise ConfigError("the channels of an ONNX network must be first or last", found=channels, allowed=CHANNELS)
    graph = read_graph(path, OPERATORS)
    if logits:
        _leave_out_probability(graph)
    net = Builder(graph)
    last = channels == "last" or (channels == "auto" and _channels_are_last(graph))
    rank = len(graph.shapes[graph.input])
    order = (0, *range(2, rank), 1) if last else None
    net.values[graph.input] = Value(net.fx.placeholder("image"), order)
    if last:
        log.info("the network in the file has channels last; the loaded one takes (n, channels, *spatial)")
    for node in graph.nodes:
        net.values[node.outputs[0]] = OPERATORS[node.kind](net, node)
    if graph.output not in net.values:
        raise ModelError(f"{path} cannot be used: its output does not depend on the image")
    net.fx.output(net.tensor(graph.output))
    return fx.GraphModule(net.root, net.fx, "OnnxNetwork").eval()


def _leave_out_probability(graph):
    """Remove a Softmax, or a Sigmoid of a single output, from the end of the graph."""
    last = next((node for node in graph.nodes if graph.output in node.outputs), None)
    while last is not None and last.kind in ("Identity", "Dropout"):
        last = next((node for node in graph.nodes if last.input(0) in node.outputs), None)
    if last is None or last.kind not in ("Softmax", "Sigmoid"):
        return
    shape = graph.shapes.get(last.outputs[0], (None,) * 3)
    if last.kind == "Softmax" and len(shape) == 2:
        if last.options.get("axis", -1) not in (-1, 1):
            raise graph.refuse(last, "normalises over the images of a batch")
        log.info("removed the final Softmax (%s): the methods compute it themselves", last)
    elif last.kind == "Sigmoid" and shape[1:] in ((1,), ()):
        log.info("removed the final Sigmoid (%s): the methods compute it themselves", last)
    else:
        log.info("kept the final %s: explain its outputs with apply_softmax=False", last)
        return
    graph.output = last.input(0)
    prune(graph)


def _channels_are_last(graph) -> bool:
    """Whether the network moves the last axis of the image to the front before its first convolution."""
    rank = len(graph.shapes[graph.input])
    to_front, untouched = (0, rank - 1, *range(1, rank - 1)), {graph.input}
    for node in graph.nodes:
        if node.input(0) not in untouched and node.input(1) not in untouched:
            continue
        moved = permutation(graph, node)
        if moved is not None and moved != tuple(range(rank)):
            return moved == to_front
        if node.kind == "Conv":
            return False
        if len(graph.shapes.get(node.outputs[0]) or ()) == rank:
            untouched.add(node.outputs[0])
    return False
