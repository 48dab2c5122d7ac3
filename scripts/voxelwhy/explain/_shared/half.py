"""Gradients of networks in float16 and bfloat16, which would vanish where the network is sure.

The gradient of a probability near 0 or 1 is far below 6e-8, the smallest number of float16. It is multiplied by a power
of two before it enters the network, as in training with a scaled loss (Micikevicius et al. 2018, arXiv 1710.03740), and
divided by it, in float32, where it leaves.
"""

from __future__ import annotations

import math

import torch

HALF = (torch.float16, torch.bfloat16)
#: The largest gradient of a logit after scaling; the next one is tried if gradients inside the network overflow.
WANTED = (2.0**10, 1.0, 2.0**-10)


class Scale:
    """The factor by which the gradients of a score are multiplied inside the network."""

    def __init__(self):
        self.wanted, self.factor = None, 1.0  # unscaled, until `scaled_gradients` asks for more

    def on(self, score):
        """The same score, of which `scaled_gradients` knows the scale."""
        score.gradient_scale = self
        return score


class _NoScale:
    @staticmethod
    def on(score):
        return score


class _Widened(torch.autograd.Function):
    @staticmethod
    def forward(context, logits, scale):
        context.scale, context.dtype = scale, logits.dtype
        return logits.double()

    @staticmethod
    def backward(context, gradient):
        largest, scale = float(gradient.abs().max()), context.scale
        scaled = scale.wanted is not None and largest > 0
        scale.factor = 2.0 ** math.floor(math.log2(scale.wanted / largest)) if scaled else 1.0
        return (gradient * scale.factor).to(context.dtype), None


def widened(logits):
    """The logits in float64, and the scale of their gradients."""
    if logits.dtype not in HALF:
        return logits.double(), _NoScale
    scale = Scale()
    return _Widened.apply(logits, scale), scale


def scaled_gradients(score, tensors):
    """The gradient of the sum of a score with respect to each tensor; in float32 for a network in half precision."""
    scale = getattr(score, "gradient_scale", None)
    if scale is None:
        return torch.autograd.grad(score.sum(), tensors, allow_unused=True)
    for scale.wanted in WANTED:
        found = torch.autograd.grad(score.sum(), tensors, allow_unused=True, retain_graph=True)
        found = tuple(gradient if gradient is None else gradient.float() / scale.factor for gradient in found)
        if all(bool(torch.isfinite(gradient).all()) for gradient in found if gradient is not None):
            break
    return found


def captum_gradients(forward_fn, inputs, target_ind=None, additional_forward_args=None):
    """What Captum's methods call for the gradients of a score (`gradient_func`)."""
    with torch.enable_grad():
        return scaled_gradients(forward_fn(*inputs), inputs)
