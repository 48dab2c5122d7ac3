"""Cache of network graphs: a graph is exported once, and exported again after the network has changed."""

from __future__ import annotations

from itertools import chain
from weakref import WeakKeyDictionary

from voxelwhy.explain.incremental.graph import Graph, NotExportable, export
from voxelwhy.explain.incremental.steps import steps_of

_KNOWN = WeakKeyDictionary()
#: The last program, by the structure of the network: the networks of several folds differ in their weights alone.
_LAST = {}


def followed(model, batch) -> tuple[Graph, list]:
    """The graph of a model for images of this shape and type, and its steps; cached from the last call if still valid.

    The graph is exported again if a weight was replaced or modified, if a layer or an option in the model's repr has
    changed, and after `forget`. Other changes go unnoticed, so callers should compare the logits of the graph with
    those of the model.

    Raises
    ------
    NotExportable : the network cannot be followed; this is cached, too.
    """
    key = key_of(model, batch)
    found = _KNOWN.get(model)
    if found is None or found[0] != key:
        try:
            graph = Graph(model, _program(model, batch))
            found = key, (graph, steps_of(graph))
        except NotExportable as error:
            found = key, error.with_traceback(None)
        _KNOWN[model] = found
    if isinstance(found[1], NotExportable):
        raise found[1]
    return found[1]


def is_followed(model, batch) -> bool:
    """Whether the answer of `followed` is cached for a model and images of this shape and type."""
    found = _KNOWN.get(model)
    return found is not None and found[0] == key_of(model, batch)


def forget(model):
    """Drop the cached graph of a model, and the program that it may have shared with others."""
    _KNOWN.pop(model, None)
    _LAST.clear()


def _program(model, batch):
    modules = list(model.named_modules())
    if not all(_is_plain(module) for _, module in modules):
        return export(model, batch)  # its code may depend on anything
    options = [(name, type(one), {k: v for k, v in vars(one).items() if k[0] != "_"}) for name, one in modules]
    tensors = {name: (tuple(value.shape), value.dtype, value.device) for name, value in model.state_dict().items()}
    structure = repr((tuple(batch.shape[1:]), batch.dtype, batch.device, options, tensors))
    if structure not in _LAST:
        program = export(model, batch)
        _LAST.clear()
        _LAST[structure] = program
    return _LAST[structure]


def _is_plain(module):
    """Whether a layer is PyTorch's own, as it came, so that its options determine what it does."""
    hooked = module._forward_hooks or module._forward_pre_hooks
    return type(module).__module__.startswith("torch.nn.modules.") and not hooked


def key_of(model, batch):
    """What the graph of a model depends on, as far as it can be seen: shape and type of the image, layers, weights."""
    tensors = chain(model.parameters(), model.buffers())
    versions = tuple((t.data_ptr(), -1 if t.is_inference() else t._version) for t in tensors)
    return tuple(batch.shape), batch.dtype, batch.device, repr(model), versions
