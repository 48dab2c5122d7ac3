"""A GPU for machines without one: tensors that were moved to it compute on the CPU, and may not meet others.

Tensors carry a mark, which every operation hands on. As on a real GPU, an operation on tensors of both devices is
refused unless it moves or copies them.
"""

from __future__ import annotations

from contextlib import contextmanager
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

DEVICE = torch.device("cuda:0")
#: What may take tensors of both devices: it copies values from one to the other, or sets an attribute.
CROSSING = {"to", "copy_", "cpu", "__set__", "_has_compatible_shallow_copy_type"}


def is_on_gpu(tensor):
    return getattr(tensor, "_on_fake_gpu", False)


class _Marks(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.moved, self.pinned = 0, 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name, kwargs = getattr(function, "__name__", ""), dict(kwargs or {})
        given = args[:1] if name == "__deepcopy__" else (args, kwargs)  # without the memo of what was copied before
        tensors = [leaf for leaf in tree_leaves(given) if isinstance(leaf, torch.Tensor)]
        if function == torch.Tensor.device.__get__:
            return DEVICE if is_on_gpu(args[0]) else torch.device("cpu")
        if name == "_parse_to":  # of Module.to, which then moves each tensor
            return function(*args, **kwargs)
        target = next((leaf for leaf in tree_leaves((args[1:], kwargs)) if isinstance(leaf, torch.device)), None)
        if name not in CROSSING:
            sides = {is_on_gpu(tensor) for tensor in tensors if tensor.ndim}
            if len(sides) > 1:
                raise RuntimeError(f"{name}: expected all tensors to be on the same device")
        args, kwargs = ([_real(value) for value in args], {key: _real(value) for key, value in kwargs.items()})
        result = function(*args, **kwargs)
        if name == "__set__":
            if isinstance(args[1], torch.Tensor):
                args[0]._on_fake_gpu = is_on_gpu(args[1])
            return result
        if name == "copy_":
            return result
        on_gpu = any(map(is_on_gpu, tensors)) if target is None else target.type == "cuda"
        if name == "cpu":
            on_gpu = False
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                if name in ("to", "cpu") and on_gpu != is_on_gpu(args[0]):
                    self.moved += 1
                    if leaf is args[0]:  # a real move makes a copy
                        leaf = result = leaf.clone()
                leaf._on_fake_gpu = on_gpu
        return result


def _real(value):
    return torch.device("cpu") if isinstance(value, torch.device) and value.type == "cuda" else value


@contextmanager
def fake_gpu():
    """For as long as it lasts, torch sees one GPU; yields an object that counts `moved` and `pinned` tensors."""
    marks, state = _Marks(), {"rng": torch.zeros(16, dtype=torch.uint8)}

    def pin_memory(tensor):
        marks.pinned += 1
        return tensor

    copied = torch.nn.Parameter.__deepcopy__

    def deepcopy(parameter, memo):  # which makes a parameter without any function that could be seen
        result = copied(parameter, memo)
        result._on_fake_gpu = is_on_gpu(parameter)
        return result

    with (
        mock.patch.object(torch.nn.Parameter, "__deepcopy__", deepcopy),
        mock.patch("torch.cuda.is_available", lambda: True),
        mock.patch("torch.cuda.device_count", lambda: 1),
        mock.patch("torch.cuda.current_device", lambda: 0),
        mock.patch("torch.cuda.get_rng_state", lambda device="cuda": state["rng"].clone()),
        mock.patch("torch.cuda.set_rng_state", lambda new, device="cuda": state.update(rng=new)),
        mock.patch.object(torch.Tensor, "pin_memory", pin_memory),
        marks,
    ):
        yield marks
