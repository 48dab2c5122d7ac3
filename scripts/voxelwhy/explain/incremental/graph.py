"""A network as a list of operators from torch.export, with their inputs, weights and grids."""

from __future__ import annotations

import inspect
import warnings
from typing import NamedTuple

import torch
from torch import fx

from voxelwhy.errors import ModelError

#: Normalisation by the statistics of the current batch.
BATCH_STATISTICS = {"_native_batch_norm_legit", "_native_batch_norm_legit_functional", "native_batch_norm"}


#: Operators that compute nothing.
ASSERTIONS = ("_assert", "sym_constrain_range")


class NotExportable(ModelError):
    """torch.export cannot follow the network, or its graph is not that of a classifier."""


class Program(NamedTuple):
    """What torch.export made of a network, without its weights.

    Attributes
    ----------
    graph : fx.Graph, whose inputs are the image and all weights and constants
    images, outputs : names of the nodes of the inputs and of the outputs
    weights : dict, name of a node to the name of the parameter or buffer that it stands for
    constants : dict, name of a node to a tensor that is neither; with `is_own`, none of them is a weight
    is_own : whether the network itself has all the weights, so that the program serves others like it
    """

    graph: fx.Graph
    images: list[str]
    outputs: list[str]
    weights: dict[str, str]
    constants: dict[str, torch.Tensor]
    is_own: bool

    @classmethod
    def of(cls, exported, model) -> Program:
        """The program of a `torch.export.ExportedProgram`, and the model that was exported."""
        signature, own = exported.graph_signature, weights_of(model)
        named = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        held = {**exported.state_dict, **exported.constants}
        foreign = {node: held[name] for node, name in named.items() if name not in own}
        lifted = {node: held[name] for node, name in signature.inputs_to_lifted_tensor_constants.items()}
        weights = {node: name for node, name in named.items() if name in own}
        outputs = [name for name in signature.user_outputs if isinstance(name, str)]
        return cls(exported.graph, list(signature.user_inputs), outputs, weights, foreign | lifted, not foreign)

    def value_of(self, node, weights) -> torch.Tensor:
        """The tensor that an input of the graph stands for, with the `weights_of` a network."""
        name = self.weights.get(node.name)
        return (self.constants[node.name] if name is None else weights[name]).detach()


def weights_of(model) -> dict[str, torch.Tensor]:
    """All parameters and buffers of a model by each of their names."""
    return dict([*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)])


class Graph:
    """The operators of a network, in order of execution.

    After torch.export, shape-dependent control flow is resolved, in-place operators are functional, and nn.ReLU, F.relu
    and torch.relu are the same operator.

    Attributes
    ----------
    image : the node of the image
    nodes : list of fx.Node, without weights, image and output
    constants : dict of fx.Node to tensor: weights, buffers, and everything computed from these alone
    output : the node of the logits
    plans : dict, the plans that engines keep for the next image
    dependent : set of the fx.Nodes whose value depends on the image (not only on the number of images)

    Parameters
    ----------
    program : Program of the model, or of another one that differs in its weights alone

    Raises
    ------
    NotExportable : the message gives the reason.
    """

    def __init__(self, model, program):
        own = weights_of(model)
        if len(program.images) != 1 or len(program.outputs) != 1:
            raise NotExportable("it does not have exactly one input and one output")
        self.constants, self.nodes, by_name = {}, [], {}
        for node in program.graph.nodes:
            by_name[node.name] = node
            if node.op == "placeholder" and node.name == program.images[0]:
                self.image = node
            elif node.op == "placeholder":
                self.constants[node] = program.value_of(node, own)
            elif node.op == "call_function":
                self.nodes.append(node)
            elif node.op != "output":
                raise NotExportable(f"its graph contains a {node.op} ({node.name})")
        self.plans = {}
        self.output = by_name[program.outputs[0]]
        self.dependent = self._depending()
        for node in self.nodes:
            if node not in self.dependent and all(source in self.constants for source in node.all_input_nodes):
                self.constants[node] = evaluate(node, self.constants.get)
            elif node in self.dependent and _mixes_images(node):
                raise NotExportable(f"{module_of(node) or operator_name(node)} normalises over all images of a batch")

    def _depending(self):
        found = {self.image}
        for node in self.nodes:
            if is_tensor(node) and any(source in found for source in node.all_input_nodes):
                found.add(node)
        return found


def operator_name(node) -> str:
    """The operator of a node, for example `max_pool3d_with_indices`."""
    packet = getattr(node.target, "overloadpacket", None)
    return packet.__name__ if packet is not None else getattr(node.target, "__name__", str(node.target))


def module_of(node) -> str:
    """The name of the module that a node comes from; "" if there is none."""
    stack = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
    stack = [path for path in stack if path and not path.startswith("_empty")]
    return stack[-1] if stack else ""


def is_tensor(node) -> bool:
    """Whether the node's value is one or several tensors, as opposed to a size."""
    value = node.meta.get("val")
    value = value[0] if isinstance(value, (list, tuple)) and value else value
    return isinstance(value, torch.Tensor)


def _mixes_images(node):
    """Whether a normalisation averages over several images; instance norm does not: images become channels of one."""
    value = node.args[0].meta.get("val") if node.args and isinstance(node.args[0], fx.Node) else None
    return operator_name(node) in BATCH_STATISTICS and not isinstance(value.shape[0], int)


def evaluate(node, value_of):
    """Run the operator of a node on the values of its inputs."""
    arguments = fx.node.map_arg((node.args, node.kwargs), value_of)
    return node.target(*arguments[0], **arguments[1])


def export(model, batch) -> Program:
    """The program of a model for any number of images like those of `batch`, by torch.export, which takes a second."""
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise NotExportable("it is a TorchScript model, whose operators torch.export cannot follow")
    try:
        with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
            warnings.simplefilter("ignore")
            # Two images, because torch.export treats an axis of length 1 as fixed. Not an inference tensor, because a
            # network that writes into its input could not write into that.
            example = torch.zeros((2, *batch.shape[1:]), dtype=batch.dtype, device=batch.device)
            program = torch.export.export(model, (example,), dynamic_shapes=_any_number(model))
            return Program.of(_without_assertions(program.run_decompositions()), model)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # torch.export raises its own exceptions and those of torch._dynamo and sympy
        reason = str(error).strip().partition("\n")[0]
        raise NotExportable(f"torch.export cannot follow it: {type(error).__name__}: {reason}") from error


def _any_number(model):
    """The shapes of the inputs for torch.export: the number of images is free; for `forward(self, *inputs)` as well."""
    free = {0: torch.export.Dim.DYNAMIC}
    first = next(iter(inspect.signature(model.forward).parameters.values()), None)
    return ((free,),) if first is not None and first.kind is inspect.Parameter.VAR_POSITIONAL else (free,)


def _without_assertions(program):
    """The program without operators that only check something, such as the type of x in x.float()."""
    for node in list(program.graph.nodes):
        if node.op == "call_function" and not node.users and operator_name(node).startswith(ASSERTIONS):
            program.graph.erase_node(node)
    return program
