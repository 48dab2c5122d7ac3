"""Guided backpropagation: the gradient with only its positive part let through each ReLU."""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from voxelwhy.errors import ModelError
from voxelwhy.heatmaps.gradients import check_postprocess, combine_channels, input_gradient
from voxelwhy.heatmaps.prepare import each_image

OTHER_RECTIFIERS = {
    "hardtanh": "ReLU6 (or Hardtanh)",
    "relu6": "ReLU6",
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


class _Guide(TorchDispatchMode):
    """Sees every operator of the forward and backward pass, whoever called it, below modules and autograd.

    nn.ReLU, F.relu, torch.relu, Tensor.relu_, nested or used twice: all come down to one operator with one backward
    operator, `threshold_backward`. It is handed the positive part of the gradient. Hooks on modules would miss all
    but the first of these.
    """

    def __init__(self):
        super().__init__()
        self.guided = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name == "threshold_backward":
            self.guided += 1
            args = (args[0].clamp(min=0), *args[1:])
        else:
            _refuse_other_rectifiers(name.removesuffix("_"), args, kwargs or {})
        return func(*args, **(kwargs or {}))


def _refuse_other_rectifiers(name, args, kwargs):
    """Raise ModelError for an operator that rectifies but is no ReLU: its plain gradient must not pass as guided."""
    found = OTHER_RECTIFIERS.get(name)
    if name == "threshold" and (args[1] != 0 or args[2] != 0):
        found = "Threshold"
    if name in ("clamp", "clamp_min", "clip"):
        low = args[1] if len(args) > 1 else kwargs.get("min")
        found = "clamp at 0" if _is_zero(low) else None
    if name in ("maximum", "fmax") and (_is_zero(args[0]) or _is_zero(args[1])):
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


def guided_backprop(
    model, image, target_class=None, postprocess="abs", apply_softmax=True, cuda=None, verbose=False, *, device="auto"
):
    """Relevance of each voxel: the gradient of the class, negative parts dropped at each ReLU on the way back.

    Any way to write a ReLU is guided: `nn.ReLU` at any depth, `F.relu`, `torch.relu`, in-place, one module used
    several times.

    Parameters
    ----------
    model : torch.nn.Module in eval mode; gives logits (n, classes), or one logit (n, 1) for class 1 against class 0. It
        is left as it was.
    image : numpy, torch or nibabel; one image or a batch, 2D or 3D, (channels, *spatial) or channels last.
    target_class : the class to explain, or one for each image of a batch; None is the predicted one.
    postprocess : "abs" (over several channels the largest), "square" (summed over channels) or None (signed, summed).
    apply_softmax : True explains the probability, False the logit.
    cuda, device : device is "auto", "cpu", "cuda" or "cuda:N"; cuda=True is the first CUDA device.
    verbose : print what was predicted and what is done, and show a progress bar.

    Returns
    -------
    heatmap : float32 array (float64 where the model is), (*spatial), or (n, *spatial) for a batch.

    Raises
    ------
    ModelError : a rectifier other than ReLU (named), no ReLU at all, a TorchScript model (its ReLUs cannot be
        reached); training mode, an unknown class.
    ShapeError : an image that does not fit the model, has two readings, or holds NaN.
    ConfigError : an unknown `postprocess`.

    References
    ----------
    Springenberg et al. 2015, Striving for simplicity (arXiv 1412.6806).
    """
    check_postprocess(postprocess)

    def explain(batch, target):
        if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
            raise ModelError("guided backpropagation cannot reach the ReLUs of a TorchScript model")
        with _Guide() as guide:
            gradient = input_gradient(model, batch, target, apply_softmax)
        if not guide.guided:
            raise ModelError("guided backpropagation is defined for ReLU; there is none between image and output")
        return combine_channels(gradient, postprocess)

    return each_image(explain, model, image, target_class=target_class, device=device, cuda=cuda, verbose=verbose)
