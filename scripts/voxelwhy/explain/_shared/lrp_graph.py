"""A network as a graph of operators from torch.export, for layer-wise relevance propagation."""

from __future__ import annotations

import operator
import warnings

import torch
from torch import fx, nn

from voxelwhy.errors import ModelError
from voxelwhy.explain._shared.prepare import run_model
from voxelwhy.explain.incremental.graph import Program, evaluate, module_of, operator_name, weights_of

# Not decomposed, because the LRP rules refer to them: decomposed, SiLU is a product, and a dense layer a transposition.
KEPT = (
    "linear", "matmul", "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
    "adaptive_avg_pool3d", "relu6", "prelu", "celu", "selu", "silu", "mish", "softplus", "hardswish", "hardsigmoid",
    "threshold", *(f"{kind}_pad{n}d" for kind in ("reflection", "replication") for n in (1, 2, 3)),
)  # fmt: skip


def exported_graph(model, batch) -> Program:
    """The operators that `model` runs on images of the shape of `batch`, without its weights.

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
            network = _OnCopy(model).eval()
            return Program.of(torch.export.export(network, (batch.clone(),)).run_decompositions(table), network)
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

    Parameters
    ----------
    model : torch.nn.Module
    program : `exported_graph` of the model, or of another one that differs in its weights alone

    Attributes
    ----------
    image, output : the nodes of the image and of the logits
    nodes : list of the fx.Nodes that depend on the image and on which the logits depend, in order of execution
    constants : dict of fx.Node to value, for everything those nodes read that does not depend on the image

    Raises
    ------
    ModelError : the network has several outputs, or its logits do not depend on the image.
    """

    def __init__(self, model, program):
        by_name = {node.name: node for node in program.graph.nodes}
        if len(program.outputs) != 1:
            raise ModelError(
                f"the network returns {len(program.outputs)} outputs; one tensor of logits (n, classes) is expected"
            )
        self.image, self.output = by_name[program.images[0]], by_name[program.outputs[0]]
        needed, waiting = {self.output}, [self.output]
        while waiting:
            new = set(waiting.pop().all_input_nodes) - needed
            needed |= new
            waiting += new
        dependent = {self.image}
        self.nodes, self.constants, weights = [], {}, weights_of(_OnCopy(model))
        for node in (node for node in program.graph.nodes if node in needed and node is not self.image):
            if any(source in dependent for source in node.all_input_nodes):
                dependent.add(node)
                self.nodes.append(node)
            else:
                self.constants[node] = self._constant(node, program, weights)
        if self.output not in dependent:
            raise ModelError("the output of the network does not depend on the image")
        self.readers = {node: [user for user in node.users if user in needed] for node in dependent}

    def arguments(self, node):
        """Arguments of a node, (args, kwargs), with constants in place of their nodes; other nodes stay."""
        return fx.node.map_arg((tuple(node.args), dict(node.kwargs)), lambda read: self.constants.get(read, read))

    def _constant(self, node, program, weights):
        if node.op == "placeholder":
            return program.value_of(node, weights)
        if node.op == "get_attr":  # the graph of a branch or a loop
            return operator.attrgetter(node.target)(program.graph.owning_module)
        return evaluate(node, self.constants.get)
