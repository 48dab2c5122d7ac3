"""The gradient of guided backpropagation, in which each ReLU passes only the positive part."""

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
CLAMPS = {"clamp", "clip", "clamp_min"}  # also in place, with a trailing _


class _ClampsAsReLUs(TorchFunctionMode):
    """Runs clamp(x, 0) as a ReLU, and clamp(x, 0, top) as a ReLU6 with another upper bound.

    Exported and converted networks write ReLUs this way. The values are the same, but the gradient of a clamp has no
    operator of its own that could be guided.

    The recomputation of a checkpoint, inside torch.autograd.grad, bypasses this mode: its clamps run as clamps. The
    values that they save are positive, or below the upper bound, in the same places. Rectifiers were already checked in
    the first pass.
    """

    def __init__(self, guide):
        super().__init__()
        self.guide = guide

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        self.guide.refuses = func is not torch.autograd.grad
        name = getattr(func, "__name__", "").partition(".")[0]  # without the overload, as in clamp.default
        if name.removesuffix("_") in CLAMPS and args and args[0].is_floating_point():
            low, high = (_number(bound) for bound in _bounds(args[1:], kwargs))
            if low == 0 and (high is None or high > 0):
                in_place = name.endswith("_")
                return F.relu(args[0], in_place) if high is None else F.hardtanh(args[0], 0.0, high, in_place)
        return func(*args, **kwargs)


def _bounds(args, kwargs):
    """The bounds of a clamp, given by position or by name; None for a bound that is not given."""
    low = args[0] if args else kwargs.get("min")
    high = args[1] if len(args) > 1 else kwargs.get("max")
    return low, high


def _number(bound):
    """A bound as a Python number; NaN if it is computed from the image or differs between voxels."""
    if isinstance(bound, torch.Tensor):
        return float(bound) if bound.numel() == 1 and bound.grad_fn is None else float("nan")
    return bound if bound is None or isinstance(bound, numbers.Real) else float("nan")


class _Guide(TorchDispatchMode):
    """Sees every operator of the forward and backward pass, below the level of modules and autograd.

    nn.ReLU, F.relu, torch.relu and Tensor.relu_, nested or used twice, all share one backward operator,
    `threshold_backward`. ReLU6 uses `hardtanh_backward`, which is 0 at and beyond both bounds. The results of these
    operators are reduced to their positive part. Hooks on modules would see only nn.ReLU.
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
    """Raise ModelError for a rectifier other than ReLU: its plain gradient must not be presented as guided."""
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
    ModelError : the network has a rectifier other than ReLU (it is named) or no ReLU at all, or it is a TorchScript
        model.
    """
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise ModelError("guided backpropagation cannot reach the ReLUs of a TorchScript model")
    with as_written(), _Guide() as guide, _ClampsAsReLUs(guide):
        gradient = input_gradient(model, batch, target, apply_softmax)
    if not guide.guided:
        raise ModelError("guided backpropagation is defined for ReLU; there is none between image and output")
    return gradient
