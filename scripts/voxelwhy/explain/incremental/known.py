"""Cache of network graphs: a graph is exported once, and exported again after the network has changed."""

from __future__ import annotations

from itertools import chain
from weakref import WeakKeyDictionary

from voxelwhy.explain.incremental.graph import Graph
from voxelwhy.explain.incremental.steps import steps_of

_KNOWN = WeakKeyDictionary()


def followed(model, batch) -> tuple[Graph, list]:
    """The graph of a model for images of this shape and type, and its steps; cached from the last call if still valid.

    The graph is exported again if a weight was replaced or modified, if a layer or an option in the model's repr has
    changed, and after `forget`. Other changes go unnoticed, so callers should compare the logits of the graph with
    those of the model.
    """
    key = _key(model, batch)
    found = _KNOWN.get(model)
    if found is None or found[0] != key:
        graph = Graph(model, batch)
        _KNOWN[model] = found = key, graph, steps_of(graph)
    return found[1:]


def forget(model):
    """Drop the cached graph of a model."""
    _KNOWN.pop(model, None)


def _key(model, batch):
    tensors = chain(model.parameters(), model.buffers())
    versions = tuple((t.data_ptr(), -1 if t.is_inference() else t._version) for t in tensors)
    return tuple(batch.shape), batch.dtype, batch.device, repr(model), versions
