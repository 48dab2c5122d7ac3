"""The gradient with only its positive part let through each ReLU: what guided backpropagation is made of."""

from __future__ import annotations

import numbers

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from voxelwhy.errors import ModelError
from voxelwhy.explain._shared.gradients import as_written, input_gradient

OTHER_RECTIFIERS = {
    "elu": "ELU (or SELU, CELU)",
    "selu": "SELU",
    "celu": "CELU",
    "leaky_relu": "LeakyReLU (or RReLU)",
    "rrelu_with_noise": "RReLU",
    "_prelu_kernel": "PReLU",
    "prelu": "PReLU",
    "gelu": "GELU",
    "silu": "SiLU",
    "mish": "Mish",
    "softplus": "Softplus",
    "hardswish": "Hardswish",
    "hardshrink": "Hardshrink",
    "softshrink": "Softshrink",
}
CLAMPS = {"clamp", "clip", "clamp_min"}  # also with _ for in place


class _ClampsAsReLUs(TorchFunctionMode):
    """Runs clamp(x, 0) as the ReLU that it is, and clamp(x, 0, top) as ReLU6 with another top.

    Exported and converted networks are written so. The values are the same; but the gradient of a clamp has no
    operator of its own that could be guided.

    What a checkpoint computes a second time, within torch.autograd.grad, passes this by: clamps run as such, and save
    values of which the same are positive, or below the top. They were looked at the first time.
    """

    def __init__(self, guide):
        super().__init__()
        self.guide = guide

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        self.guide.refuses = func is not torch.autograd.grad
        name = getattr(func, "__name__", "").partition(".")[0]  # of an operator with overload: clamp.default
        if name.removesuffix("_") in CLAMPS and args and args[0].is_floating_point():
            low, high = (_number(bound) for bound in _bounds(args[1:], kwargs))
            if low == 0 and (high is None or high > 0):
                in_place = name.endswith("_")
                return F.relu(args[0], in_place) if high is None else F.hardtanh(args[0], 0.0, high, in_place)
        return func(*args, **kwargs)


def _bounds(args, kwargs):
    """The bounds of a clamp, by position or name; None where there is none."""
    low = args[0] if args else kwargs.get("min")
    high = args[1] if len(args) > 1 else kwargs.get("max")
    return low, high


def _number(bound):
    """A bound as Python number; NaN for one that is computed from the image or differs from place to place."""
    if isinstance(bound, torch.Tensor):
        return float(bound) if bound.numel() == 1 and bound.grad_fn is None else float("nan")
    return bound if bound is None or isinstance(bound, numbers.Real) else float("nan")


class _Guide(TorchDispatchMode):
    """Sees every operator of the forward and backward pass, whoever called it, below modules and autograd.

    nn.ReLU, F.relu, torch.relu, Tensor.relu_, nested or used twice: all come down to one operator with one backward
    operator, `threshold_backward`, as ReLU6 does to `hardtanh_backward`, which is 0 at and beyond both ends. What
    they give is cut to its positive part. Hooks on modules would miss all but the first of these.
    """

    def __init__(self):
        super().__init__()
        self.guided, self.refuses = 0, True

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if self.refuses:
            _refuse_other_rectifiers(name.removesuffix("_"), args, kwargs or {})
        result = func(*args, **(kwargs or {}))
        if name in ("threshold_backward", "hardtanh_backward"):
            self.guided += 1
            result.clamp_(min=0)
        return result


def _refuse_other_rectifiers(name, args, kwargs):
    """Raise ModelError for an operator that rectifies but is no ReLU: its plain gradient must not pass as guided."""
    found = OTHER_RECTIFIERS.get(name)
    if name == "threshold" and (args[1] != 0 or args[2] != 0):
        found = "Threshold"
    if name == "hardtanh":
        low = _bounds(args[1:], kwargs)[0]
        found = "Hardtanh" if (-1 if low is None else low) != 0 else None
    if name in CLAMPS and args[0].is_floating_point():
        found = "clamp at 0" if _is_zero(_bounds(args[1:], kwargs)[0]) else None
    if name in ("maximum", "fmax") and args[0].is_floating_point() and (_is_zero(args[0]) or _is_zero(args[1])):
        found = "maximum with 0"
    if found:
        raise ModelError(
            f"guided backpropagation is defined for ReLU; the network uses {found}. "
            "Use sensitivity_analysis, which is the plain gradient, or a network with torch.nn.ReLU"
        )


def _is_zero(value):
    if isinstance(value, torch.Tensor):
        return not bool(value.any())
    return value is not None and value == 0


def guided_gradient(model, batch, target, apply_softmax) -> torch.Tensor:
    """`input_gradient` with each ReLU guided: (channels, *spatial).

    Raises
    ------
    ModelError : a rectifier other than ReLU (named), no ReLU at all, a TorchScript model.
    """
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise ModelError("guided backpropagation cannot reach the ReLUs of a TorchScript model")
    with as_written(), _Guide() as guide, _ClampsAsReLUs(guide):
        gradient = input_gradient(model, batch, target, apply_softmax)
    if not guide.guided:
        raise ModelError("guided backpropagation is defined for ReLU; there is none between image and output")
    return gradient
