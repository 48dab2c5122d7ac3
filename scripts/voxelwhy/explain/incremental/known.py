"""Cache of network graphs: a graph is exported once for all networks that differ in their weights alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from weakref import WeakKeyDictionary

import torch

from voxelwhy.explain.incremental.graph import Graph, NotExportable, Program, export
from voxelwhy.explain.incremental.sameness import structure_of
from voxelwhy.explain.incremental.steps import steps_of

_KNOWN = WeakKeyDictionary()
#: Programs by their purpose, the structure of the network and its image: the networks of several folds, and those
#: trained on shuffled diagnoses, differ in their weights alone. The oldest makes room for the next.
_SHARED = {}
MOST_SHARED = 8


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
            graph = Graph(model, shared_program("windows", model, batch, export)[0])
            found = key, (graph, steps_of(graph))
        except NotExportable as error:
            found = key, str(error)  # the error itself would keep the network in memory
        _KNOWN[model] = found
    if isinstance(found[1], str):
        raise NotExportable(found[1])
    return found[1]


def is_followed(model, batch) -> bool:
    """Whether the answer of `followed` is cached for a model and images of this shape and type."""
    found = _KNOWN.get(model)
    return found is not None and found[0] == key_of(model, batch)


def forget(model):
    """Drop the cached graph of a model, and all programs that networks share."""
    _KNOWN.pop(model, None)
    _SHARED.clear()


def shared_program(purpose, model, batch, export: Callable) -> tuple[Program, bool]:
    """`export(model, batch)`, or what this gave for another network that differs in its weights alone; and whether so.

    A network whose structure proves nothing (see `structure_of`) is exported each time. Callers compare the logits of a
    shared program with those of the model: code that a method calls may read what `structure_of` does not see.
    """
    structure = structure_of(model)
    if structure is None:
        return export(model, batch), False
    image = tuple(batch.shape), batch.stride(), batch.dtype, batch.device
    mode = torch.get_default_dtype(), torch.is_autocast_enabled(batch.device.type)
    key = purpose, structure, image, mode
    if key in _SHARED:
        return _SHARED[key], True
    program = export(model, batch)
    if program.is_own:
        _SHARED[key] = program
        if len(_SHARED) > MOST_SHARED:
            del _SHARED[next(iter(_SHARED))]
    return program, False


def key_of(model, batch):
    """What the graph of a model depends on, as far as it can be seen: shape and type of the image, layers, weights."""
    tensors = chain(model.parameters(), model.buffers())
    versions = tuple((t.data_ptr(), -1 if t.is_inference() else t._version) for t in tensors)
    return tuple(batch.shape), batch.dtype, batch.device, repr(model), versions
