"""A network as the list of its operators, by torch.export: what each reads, its weights and its grid."""

from __future__ import annotations

import warnings

import torch
from torch import fx

from voxelwhy.errors import ModelError


class NotExportable(ModelError):
    """A network that torch.export cannot follow, or whose graph is not that of a classifier."""


class Graph:
    """The operators of a network, in the order in which they run.

    After torch.export, shape-dependent control flow is resolved, in-place operators are made functional, and nn.ReLU,
    F.relu and torch.relu are one operator.

    Attributes
    ----------
    image : the node of the image
    nodes : list of fx.Node, without weights, image and output
    constants : dict of fx.Node to tensor: weights and buffers
    output : the node of the logits
    dependent : set of fx.Node: those whose value depends on the image (and not only on how many there are)

    Raises
    ------
    NotExportable : it says why.
    """

    def __init__(self, model, batch):
        program = _export(model, batch)
        signature = program.graph_signature
        named = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        lifted = dict(signature.inputs_to_lifted_tensor_constants)
        tensors = {**program.state_dict, **program.constants}
        if len(signature.user_inputs) != 1 or len(signature.user_outputs) != 1:
            raise NotExportable("it has not one input and one output")
        self.constants, self.nodes, by_name = {}, [], {}
        for node in program.graph.nodes:
            by_name[node.name] = node
            if node.op == "placeholder" and node.name == signature.user_inputs[0]:
                self.image = node
            elif node.op == "placeholder":
                self.constants[node] = tensors[{**named, **lifted}[node.name]].detach()
            elif node.op == "call_function":
                self.nodes.append(node)
            elif node.op != "output":
                raise NotExportable(f"its graph has a {node.op} ({node.name})")
        self.output = by_name[signature.user_outputs[0]]
        self.dependent = self._depending()

    def _depending(self):
        found = {self.image}
        for node in self.nodes:
            if is_tensor(node) and any(source in found for source in node.all_input_nodes):
                found.add(node)
        return found

    def module_of(self, node) -> str:
        """Where in the network a node comes from: the name of its module, or the operator's where there is none."""
        stack = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
        stack = [path for path in stack if path and not path.startswith("_empty")]
        return stack[-1] if stack else operator_name(node)


def operator_name(node) -> str:
    """The operator of a node, as `max_pool3d_with_indices`."""
    packet = getattr(node.target, "overloadpacket", None)
    return packet.__name__ if packet is not None else getattr(node.target, "__name__", str(node.target))


def is_tensor(node) -> bool:
    """Whether the node's value is a tensor, or several: not a size."""
    value = node.meta.get("val")
    value = value[0] if isinstance(value, (list, tuple)) and value else value
    return isinstance(value, torch.Tensor)


def evaluate(node, value_of):
    """Run the operator of a node on the values of what it reads."""
    arguments = fx.node.map_arg((node.args, node.kwargs), value_of)
    return node.target(*arguments[0], **arguments[1])


def _export(model, batch):
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise NotExportable("it is a TorchScript model, whose operators cannot be followed")
    # Two images: torch.export takes an axis of one for an axis that is always one.
    example = batch.new_zeros((2, *batch.shape[1:]))
    try:
        with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
            return program.run_decompositions()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # torch.export raises kinds of its own, of torch._dynamo, of sympy
        reason = str(error).strip().partition("\n")[0]
        raise NotExportable(f"torch.export cannot follow it: {type(error).__name__}: {reason}") from error
