"""Networks from ONNX files, as modules of PyTorch that can be explained like any other."""

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
    """A value of the graph: what holds it, and where each of its axes lies in there (None: each in its place).

    Networks of Keras keep channels last and turn them to the front before each convolution. Carrying the order along
    instead of moving data lets all these turns cancel: what runs is the network with channels first.
    """

    node: fx.Node
    order: tuple[int, ...] | None = None

    def turned(self, axes):
        """The same data, with the axes in another order."""
        order = tuple(axes if self.order is None else (self.order[axis] for axis in axes))
        return Value(self.node, None if order == tuple(range(len(order))) else order)

    def place(self, axis):
        """Where an axis lies in the data."""
        return axis if self.order is None else self.order[axis]


class Builder:
    """A network in the making: the operators add their layers to it, one after the other."""

    def __init__(self, graph):
        self.graph, self.root, self.fx = graph, nn.Module(), fx.Graph()
        self.values, self.uses = {}, graph.uses()

    def value(self, node, order=None):
        """What a node of the network gives, as a value."""
        return Value(node, order)

    def permutation(self, node):
        """See `onnx_file.permutation`."""
        return permutation(self.graph, node)

    def layer(self, node, module, inputs) -> fx.Node:
        """Add a module that takes `inputs` (nodes of the network)."""
        name = re.sub(r"\W+", "_", node.name or node.outputs[0]).strip("_") or node.kind
        if not name.isidentifier() or keyword.iskeyword(name) or hasattr(self.root, name):
            name = f"{node.kind}_{len(self.fx.nodes)}_{name}"
        self.root.add_module(name, module)
        return self.fx.call_module(name, tuple(inputs))

    def module(self, value):
        """The module that gave a value, if one did and nothing else reads it."""
        return self.root.get_submodule(value.node.target) if value.node.op == "call_module" else None

    def buffer(self, array) -> fx.Node:
        """Add a constant."""
        name = f"constant_{len(self.fx.nodes)}"
        self.root.register_buffer(name, torch.from_numpy(np.array(array, order="C")))
        return self.fx.get_attr(name)

    def rank(self, node, number=0) -> int:
        """How many axes an input of a node has."""
        shape = self.graph.shapes.get(node.input(number))
        if shape is None:
            raise self.graph.refuse(node, "takes a value whose number of axes the file leaves open")
        return len(shape)

    def tensor(self, name) -> fx.Node:
        """A value with each axis in its place; data are moved where they have to be."""
        value = self.values[name]
        if value.order is not None:
            value = self.values[name] = Value(self.fx.call_function(torch.permute, (value.node, value.order)))
        return value.node

    def constant(self, node, number, what=None):
        """A constant input of a node, None where it is left out.

        Raises ModelError where the network computes it.
        """
        name = node.input(number)
        if name and name not in self.graph.constants:
            raise self.graph.refuse(node, f"computes its {what or 'input ' + name}; only a constant is converted")
        return self.graph.constants[name] if name else None


def load_onnx(path, *, logits=True, channels="auto") -> nn.Module:
    """Read a network from an ONNX file (`pip install voxelwhy[onnx]`), to be explained like any other.

    Parameters
    ----------
    path : the file, with one input, an image, and one output. Any number of images can be given at once, whatever the
        file says of its first axis.
    logits : True leaves out a last Softmax, or a last Sigmoid of one output, since the methods take logits and work the
        probability out themselves (what is left out is logged). Several outputs with a Sigmoid each, labels that do
        not exclude each other, stay as they are: explain them with apply_softmax=False. False leaves all as it is.
    channels : where the network of the file has its channels. "first", "last" (Keras, TensorFlow), or "auto": last
        where they are moved to the front before the first convolution. The module takes (n, channels, *spatial) in
        each case; the moves are taken out, not made twice.

    Returns
    -------
    model : torch.nn.Module, in eval mode; its layers are those of torch.nn, by the names of the file's nodes.

    Raises
    ------
    InputError : no such file, or its weights lie in another file that is missing.
    ModelError : the package onnx is not installed; not an ONNX file; several inputs or outputs; an operator that is not
        converted, named with its node; one that mixes the images of a batch.
    ConfigError : an unknown `channels`.

    Examples
    --------
    A file made by hand, of one convolution and a softmax, which is left out:

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
        raise ConfigError("the channels of an ONNX network are first or last", found=channels, allowed=CHANNELS)
    graph = read_graph(path, OPERATORS)
    if logits:
        _leave_out_probability(graph)
    net = Builder(graph)
    last = channels == "last" or (channels == "auto" and _channels_are_last(graph))
    rank = len(graph.shapes[graph.input])
    order = (0, *range(2, rank), 1) if last else None
    net.values[graph.input] = Value(net.fx.placeholder("image"), order)
    if last:
        log.info("the network has its channels last; as read here it takes (n, channels, *spatial)")
    for node in graph.nodes:
        net.values[node.outputs[0]] = OPERATORS[node.kind](net, node)
    if graph.output not in net.values:
        raise ModelError(f"{path} cannot be used: its output does not depend on the image")
    net.fx.output(net.tensor(graph.output))
    return fx.GraphModule(net.root, net.fx, "OnnxNetwork").eval()


def _leave_out_probability(graph):
    """Take a Softmax, or a Sigmoid of one output, off the end of the graph."""
    last = next((node for node in graph.nodes if graph.output in node.outputs), None)
    while last is not None and last.kind in ("Identity", "Dropout"):
        last = next((node for node in graph.nodes if last.input(0) in node.outputs), None)
    if last is None or last.kind not in ("Softmax", "Sigmoid"):
        return
    shape = graph.shapes.get(last.outputs[0], (None,) * 3)
    if last.kind == "Softmax" and len(shape) == 2:
        if last.options.get("axis", -1) not in (-1, 1):
            raise graph.refuse(last, "goes over the images of a batch")
        log.info("left out the Softmax at the end (%s): the methods work it out themselves", last)
    elif last.kind == "Sigmoid" and shape[1:] in ((1,), ()):
        log.info("left out the Sigmoid at the end (%s): the methods work it out themselves", last)
    else:
        log.info("left the %s at the end: explain its outputs with apply_softmax=False", last)
        return
    graph.output = last.input(0)
    prune(graph)


def _channels_are_last(graph) -> bool:
    """Whether the network moves the last axis of the image to the front before anything needs it there."""
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
