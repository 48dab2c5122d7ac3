"""The rules of layer-wise relevance propagation for a linear layer: epsilon and alpha-beta (Bach et al. 2015)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass
class Linear:
    """A linear layer, as a function of its weights: convolutions, dense layers, sums, means, scalings.

    Attributes
    ----------
    apply : function of (inputs, weight, bias), linear in the inputs and in the weight; bias None is none
    weight : tensor
    bias : tensor that the output can be added to, or None
    """

    apply: Callable
    weight: torch.Tensor
    bias: torch.Tensor | None = None

    def __call__(self, inputs):
        return self.apply(inputs, self.weight, self.bias)


class Epsilon:
    """Relevance by contribution: R_i = x_i w_ij R_j / (z_j + epsilon sign z_j), summed over outputs j.

    What epsilon and the bias take is lost; a weak output z_j loses most.
    """

    def __init__(self, epsilon):
        self.epsilon = epsilon

    def forward(self, layer, inputs):
        """Output of the layer, and what `backward` needs."""
        leaves = leaves_of(inputs)
        with torch.enable_grad():
            output = layer(leaves)
        return output.detach(), (leaves, output)

    def backward(self, kept, relevance):
        """Relevance of each input, by one backward pass through this layer alone."""
        leaves, output = kept
        z = output.detach()
        # Memory traffic is what this costs on a large layer: one new tensor, and all else in it.
        ratio = torch.full_like(z, self.epsilon).copysign_(z).add_(z)
        torch.div(relevance, ratio, out=ratio)
        gradients = torch.autograd.grad(output, leaves, ratio)
        return [leaf.detach() * gradient for leaf, gradient in zip(leaves, gradients, strict=True)]


class AlphaBeta:
    """Contributions of the output's own sign weigh alpha, the others -beta; alpha - beta = 1.

    R_i = (alpha c+_ij / Z+_j - beta c-_ij / Z-_j) R_j, summed over outputs j, where c+_ij and c-_ij are the positive
    and negative part of x_i w_ij and Z the sums of all of one sign, the bias among them. For an output below 0, a
    negative logit as well, + and - change places: with alpha on what is positive, what speaks for a class of
    negative logit would count against it. Where one sign does not occur at all the other gets the whole, for
    otherwise relevance would be lost or made.
    """

    def __init__(self, alpha, beta):
        self.alpha, self.beta = alpha, beta

    def forward(self, layer, inputs):
        """Output of the layer, and what `backward` needs."""
        return layer(inputs), (layer, inputs)

    def backward(self, kept, relevance):
        """Relevance of each input: contributions of either sign from the positive and negative parts."""
        layer, inputs = kept
        above = leaves_of([x.clamp(min=0) for x in inputs])
        below = leaves_of([x.clamp(max=0) for x in inputs]) if any(bool((x < 0).any()) for x in inputs) else []
        with torch.enable_grad():
            sums = _sums_by_sign(layer, above, below)
        positive, negative = (total.detach() for total in sums)
        factors = self._factors(positive, negative, relevance)
        gradients = torch.autograd.grad(sums, [*above, *below], factors)
        shares = [part.detach() * gradient for part, gradient in zip([*above, *below], gradients, strict=True)]
        if not below:
            return shares
        return [a + b for a, b in zip(shares[: len(above)], shares[len(above) :], strict=True)]

    def _factors(self, positive, negative, relevance):
        """What each unit of positive, and of negative, contribution gets."""
        least = torch.finfo(positive.dtype).tiny / torch.finfo(positive.dtype).eps  # below: no quotient of use
        some_positive, some_negative = positive > least, negative < -least
        own_is_negative = positive + negative < 0
        own = torch.where(some_positive & some_negative, self.alpha, 1.0)
        other = torch.where(some_positive & some_negative, -self.beta, 1.0)
        for_positive = torch.where(own_is_negative, other, own) * relevance / positive
        for_negative = torch.where(own_is_negative, own, other) * relevance / negative
        return for_positive.masked_fill_(~some_positive, 0), for_negative.masked_fill_(~some_negative, 0)


def _sums_by_sign(layer, above, below):
    """Sums of the positive and of the negative contributions, from the parts of inputs, weight and bias."""
    weights = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
    biases = (None, None) if layer.bias is None else (layer.bias.clamp(min=0), layer.bias.clamp(max=0))
    positive, negative = (layer.apply(above, w, b) for w, b in zip(weights, biases, strict=True))
    if below:
        positive = positive + layer.apply(below, weights[1], None)
        negative = negative + layer.apply(below, weights[0], None)
    return positive, negative


def leaves_of(tensors):
    """The same tensors, as starts of a graph of their own."""
    return [tensor.detach().requires_grad_() for tensor in tensors]
