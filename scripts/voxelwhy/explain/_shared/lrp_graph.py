"""A network as a graph of operators from torch.export, for layer-wise relevance propagation."""

from __future__ import annotations

import operator
import warnings

import torch
from torch import fx, nn

from voxelwhy.errors import ModelError
from voxelwhy.explain._shared.prepare import run_model
from voxelwhy.explain.incremental.graph import module_of, operator_name

# Not decomposed, because the LRP rules refer to them: decomposed, SiLU is a product, and a dense layer a transposition.
KEPT = (
    "linear", "matmul", "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
    "adaptive_avg_pool3d", "relu6", "prelu", "celu", "selu", "silu", "mish", "softplus", "hardswish", "hardsigmoid",
    "threshold", *(f"{kind}_pad{n}d" for kind in ("reflection", "replication") for n in (1, 2, 3)),
)  # fmt: skip


def exported_graph(model, batch) -> fx.GraphModule:
    """The operators that `model` runs on images of the shape of `batch`, with its parameters as attributes.

    Modules, functions, methods, in-place calls and modules used several times all become functional calls of
    torch.ops.aten, each with its own node.

    Raises
    ------
    ShapeError : the network cannot take images of this shape.
    ModelError : torch.export cannot follow the network; the message gives the reason.
    """
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise ModelError("LRP follows the operators of a network, which is not possible for a TorchScript model")
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            table = torch.export.default_decompositions()
            for name in KEPT:
                table.pop(getattr(torch.ops.aten, name).default, None)
            program = torch.export.export(_OnCopy(model).eval(), (batch.clone(),)).run_decompositions(table)
            return program.module(check_guards=False)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # torch.export raises its own exceptions and those of torch._dynamo and sympy
        run_model(model, batch.clone())  # raises a clearer error if the network does not run at all
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"LRP follows the operators of a network with torch.export, which cannot follow this one "
            f"({type(error).__name__}: {reason})"
        ) from error


class _OnCopy(nn.Module):
    """Runs the network on a copy of the image: torch.export does not support networks that write into their input."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, image):
        return self.network(image.clone())


def described(node) -> str:
    """A readable name of a node: its operator, and the module that it comes from."""
    module = module_of(node).removeprefix("network").removeprefix(".")
    return f"{operator_name(node)} (in module {module})" if module else operator_name(node)


def is_part(node) -> bool:
    """Whether a node is one of several outputs of the node that it reads."""
    return node.target is operator.getitem


class Operators:
    """The nodes of an exported graph between image and logits, and the constants that they read.

    Attributes
    ----------
    image, output : the nodes of the image and of the logits
    nodes : list of the fx.Nodes that depend on the image and on which the logits depend, in order of execution
    constants : dict of fx.Node to value, for everything those nodes read that does not depend on the image

    Raises
    ------
    ModelError : the network has several outputs, or its logits do not depend on the image.
    """

    def __init__(self, graph_module):
        graph = graph_module.graph
        self.image = next(node for node in graph.nodes if node.op == "placeholder")
        outputs = graph.output_node().all_input_nodes
        if len(outputs) != 1:
            raise ModelError(
                f"the network returns {len(outputs)} outputs; one tensor of logits (n, classes) is expected"
            )
        self.output = outputs[0]
        needed, waiting = {self.output}, [self.output]
        while waiting:
            new = set(waiting.pop().all_input_nodes) - needed
            needed |= new
            waiting += new
        dependent = {self.image}
        self.nodes, self.constants = [], {}
        for node in (node for node in graph.nodes if node in needed and node is not self.image):
            if any(source in dependent for source in node.all_input_nodes):
                dependent.add(node)
                self.nodes.append(node)
            else:
                self.constants[node] = _constant(graph_module, node, self.constants)
        if self.output not in dependent:
            raise ModelError("the output of the network does not depend on the image")
        self.readers = {node: [user for user in node.users if user in needed] for node in dependent}

    def arguments(self, node):
        """Arguments of a node, (args, kwargs), with constants in place of their nodes; other nodes stay."""
        return fx.node.map_arg((tuple(node.args), dict(node.kwargs)), lambda read: self.constants.get(read, read))


def _constant(graph_module, node, known):
    if node.op == "get_attr":
        return operator.attrgetter(node.target)(graph_module).detach()
    args, kwargs = fx.node.map_arg((tuple(node.args), dict(node.kwargs)), known.__getitem__)
    return node.target(*args, **kwargs)
