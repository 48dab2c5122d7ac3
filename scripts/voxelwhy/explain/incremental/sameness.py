"""Whether two networks do the same with different weights, so that the graph of one is that of the other."""

from __future__ import annotations

import types
from enum import Enum
from functools import partial

import torch
from torch import nn
from torch.nn.modules import module as hooks
from torch.nn.utils.parametrize import is_parametrized

#: Types whose equal values are the same for any program; floats are compared by their bits (0.0 is not -0.0).
PLAIN = (
    bool, int, str, bytes, type(None), type(...), torch.dtype, torch.device, torch.layout, torch.memory_format,
)  # fmt: skip
#: What every module has, apart from `training`. Parameters, buffers, submodules and hooks are looked at one by one.
INTERNAL = set(vars(nn.Module())) - {"training"}
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
GLOBAL_HOOKS = tuple(name for name in vars(hooks) if name.startswith("_global_") and name.endswith("_hooks"))
#: Members of a class that do nothing when a network runs. What `__init__` did is in the attributes.
SILENT = {
    "__init__", "__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__",
    "__firstlineno__", "__static_attributes__", "__annotate__", "__annotate_func__", "__parameters__",
    "__orig_bases__", "__abstractmethods__", "_abc_impl", "__repr__", "extra_repr",
}  # fmt: skip


class _Unproven(Exception):
    """Two equal descriptions would not prove that two networks do the same."""


def structure_of(model) -> tuple | None:
    """A description of a network without its weights: two networks with equal ones differ in their weights alone.

    It consists of the tree of modules, their types and all their attributes; of the methods that forward calls, as far
    as names show, and what these read; and of name, shape, strides, type and device of each parameter and buffer,
    including which of them are one and the same.

    Returns
    -------
    structure : hashable, or None if it proves nothing: hooks, parametrizations, methods with closures, attributes
        other than numbers, text, containers of these, classes and functions (such as a tensor that is neither a
        parameter nor a buffer), or global variables of such a kind in a method.
    """
    if any(getattr(hooks, name) for name in GLOBAL_HOOKS):
        return None
    numbers, tensors = {}, {}
    try:
        found = []
        for name, module in model.named_modules(remove_duplicate=False):
            known = id(module) in numbers  # a module that is used twice
            number = numbers.setdefault(id(module), len(numbers))
            found.append((name, number, None if known else _module(module, tensors)))
        return tuple(found), _code({type(module) for module in model.modules()})
    except _Unproven:
        return None


def _module(module, tensors):
    if is_parametrized(module) or any(getattr(module, name) for name in HOOKS):
        raise _Unproven
    attributes = tuple((name, _value(value)) for name, value in vars(module).items() if name not in INTERNAL)
    weights = tuple(
        (name, value if value is None else _tensor(value, tensors))
        for group in (module._parameters, module._buffers)
        for name, value in group.items()
    )
    absent = tuple(name for name, child in module._modules.items() if child is None)
    return type(module), attributes, weights, absent


def _tensor(tensor, tensors):
    """All about a weight but its values; its number is that of the first place where it occurs."""
    if type(tensor) not in (torch.Tensor, nn.Parameter, nn.Buffer) or tensor.layout != torch.strided or vars(tensor):
        raise _Unproven
    number = tensors.setdefault(id(tensor), len(tensors))
    laid = tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device
    return number, type(tensor), *laid, tensor.requires_grad, tensor.is_inference()


def _code(kinds):
    """The methods of classes other than PyTorch's own that forward reaches by name, at present, and what they read."""
    own = sorted({base for kind in kinds for base in kind.__mro__ if not _is_torch(base)}, key=id)
    seen = {"forward", *(name for base in own for name in vars(base) if name.startswith("__"))} - SILENT
    found, waiting = [], sorted(seen)
    while waiting:
        name = waiting.pop()
        for base in own:
            if name in vars(base):
                found.append((base, name, _member(vars(base)[name])))
                new = set().union(*map(_names, _codes(vars(base)[name]))) - seen
                seen |= new
                waiting += sorted(new)
    return tuple(found)


def _is_torch(one):
    return one is object or (one.__module__ or "").partition(".")[0] == "torch"


def _member(one):
    if isinstance(one, property):
        return tuple(map(_value, (one.fget, one.fset, one.fdel)))
    if isinstance(one, (staticmethod, classmethod)):
        return type(one), _value(one.__func__)
    return _value(one)


def _codes(one):
    """The code of a member of a class; several for a property, none for a value."""
    parts = (one.fget, one.fset, one.fdel) if isinstance(one, property) else (getattr(one, "__func__", one),)
    return [part.__code__ for part in parts if hasattr(part, "__code__")]


def _value(value):
    """What an attribute is, so that two equal ones act the same."""
    kind = type(value)
    if kind in PLAIN:
        return kind, value
    if kind is float:
        return kind, value.hex()
    if kind in (tuple, list, torch.Size) or (isinstance(value, tuple) and hasattr(kind, "_fields")):
        return kind, tuple(map(_value, value))
    if isinstance(value, dict) and kind.__module__ in ("builtins", "collections"):
        return kind, tuple((_value(key), _value(one)) for key, one in value.items())
    if kind in (set, frozenset):
        return kind, frozenset(map(_value, value))
    if isinstance(value, Enum):
        return kind, value.name
    if kind is partial:
        return kind, *map(_value, (value.func, value.args, value.keywords))
    if isinstance(value, type):
        return "class", value
    if kind is types.BuiltinFunctionType and (
        value.__self__ is None or isinstance(value.__self__, (types.ModuleType, type))
    ):
        return "function", value
    if kind is types.FunctionType:
        return _function(value)
    raise _Unproven


def _function(function):
    """A function: itself, and unless it is PyTorch's own, its code and the global variables that this reads."""
    if _is_torch(function):
        return "function", function
    code = function.__code__
    if set(code.co_freevars) - {"__class__"}:
        raise _Unproven  # a closure
    read = tuple(
        (name, _global(function.__globals__[name])) for name in sorted(_names(code) & set(function.__globals__))
    )
    return "function", function, code, _value(function.__defaults__), _value(function.__kwdefaults__), read


def _names(code):
    """All names in a code, of variables and attributes, and text, which may name an attribute."""
    text = {one for one in code.co_consts if isinstance(one, str)}
    inner = (_names(one) for one in code.co_consts if isinstance(one, types.CodeType))
    return text.union(code.co_names, *inner)


def _global(value):
    """A global variable. Modules, classes and functions count as they are: what they read in turn is not followed."""
    return ("global", value) if isinstance(value, (types.ModuleType, type, types.FunctionType)) else _value(value)
