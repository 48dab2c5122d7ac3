"""A network as the list of its operators, by torch.export: what each reads, its weights and its grid."""

from __future__ import annotations

import warnings

import torch
from torch import fx

from voxelwhy.errors import ModelError

#: Normalisation by the statistics of the batch at hand.
BATCH_STATISTICS = {"_native_batch_norm_legit", "_native_batch_norm_legit_functional", "native_batch_norm"}


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
    constants : dict of fx.Node to tensor: weights and buffers, and what is computed from these alone
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
    """The operator of a node, as `max_pool3d_with_indices`."""
    packet = getattr(node.target, "overloadpacket", None)
    return packet.__name__ if packet is not None else getattr(node.target, "__name__", str(node.target))


def module_of(node) -> str:
    """Where in the network a node comes from: the name of its module; "" where there is none."""
    stack = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
    stack = [path for path in stack if path and not path.startswith("_empty")]
    return stack[-1] if stack else ""


def is_tensor(node) -> bool:
    """Whether the node's value is a tensor, or several: not a size."""
    value = node.meta.get("val")
    value = value[0] if isinstance(value, (list, tuple)) and value else value
    return isinstance(value, torch.Tensor)


def _mixes_images(node):
    """Whether a normalisation takes its mean over several images; an instance norm has made them channels of one."""
    value = node.args[0].meta.get("val") if node.args and isinstance(node.args[0], fx.Node) else None
    return operator_name(node) in BATCH_STATISTICS and not isinstance(value.shape[0], int)


def evaluate(node, value_of):
    """Run the operator of a node on the values of what it reads."""
    arguments = fx.node.map_arg((node.args, node.kwargs), value_of)
    return node.target(*arguments[0], **arguments[1])


def _export(model, batch):
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise NotExportable("it is a TorchScript model, whose operators cannot be followed")
    try:
        with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
            warnings.simplefilter("ignore")
            # Two images: torch.export takes an axis of one for an axis that is always one. No inference tensor: a
            # network that writes into its input could not write into that here.
            example = torch.zeros((2, *batch.shape[1:]), dtype=batch.dtype, device=batch.device)
            program = torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
            return program.run_decompositions()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # torch.export raises kinds of its own, of torch._dynamo, of sympy
        reason = str(error).strip().partition("\n")[0]
        raise NotExportable(f"torch.export cannot follow it: {type(error).__name__}: {reason}") from error
