"""The graph of a network is made once, and made anew when the network has changed."""

from __future__ import annotations

from itertools import chain
from weakref import WeakKeyDictionary

from voxelwhy.explain.incremental.graph import Graph
from voxelwhy.explain.incremental.steps import steps_of

_KNOWN = WeakKeyDictionary()


def followed(model, batch) -> tuple[Graph, list]:
    """The graph of a model for images of that shape and type, and its steps: those of the last call where they fit.

    A graph is followed anew when a weight was replaced or written to, when a layer or an option that it prints was
    changed, and after `forget`. Whoever uses one should compare what it says of an image with what the model says.
    """
    key = _key(model, batch)
    found = _KNOWN.get(model)
    if found is None or found[0] != key:
        graph = Graph(model, batch)
        _KNOWN[model] = found = key, graph, steps_of(graph)
    return found[1:]


def forget(model):
    """Let the graph of a model go."""
    _KNOWN.pop(model, None)


def _key(model, batch):
    tensors = chain(model.parameters(), model.buffers())
    versions = tuple((t.data_ptr(), -1 if t.is_inference() else t._version) for t in tensors)
    return tuple(batch.shape), batch.dtype, batch.device, repr(model), versions
