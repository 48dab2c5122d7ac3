"""The rules of layer-wise relevance propagation for linear layers: epsilon and alpha-beta (Bach et al. 2015)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

# Values per block of pointwise work on a CPU. A block stays in the cache and needs no new memory. It is also too small
# for torch to split among threads: next to another job, threads would wait for each other longer than the work takes.
BLOCK = 1 << 15


@dataclass
class Linear:
    """A linear layer as a function of its weights: a convolution, dense layer, sum, mean or scaling.

    Attributes
    ----------
    apply : function of (inputs, weight, bias), linear in the inputs and in the weight; bias may be None
    weight : tensor
    bias : tensor that broadcasts to the output, or None
    groups : groups of a convolution whose weight is (groups x outputs, inputs, *kernel); None for all other layers
    """

    apply: Callable
    weight: torch.Tensor
    bias: torch.Tensor | None = None
    groups: int | None = None

    def __call__(self, inputs):
        return self.apply(inputs, self.weight, self.bias)


class Epsilon:
    """Relevance in proportion to contributions: R_i = x_i w_ij R_j / (z_j + epsilon sign z_j), summed over outputs j.

    The shares of epsilon and of the bias are lost; a weak output z_j loses most.
    """

    def __init__(self, epsilon):
        self.epsilon = epsilon

    def forward(self, layer, inputs):
        """The output of the layer, and what `backward` needs."""
        leaves = leaves_of(inputs)
        with torch.enable_grad():
            output = layer(leaves)
        return output.detach(), (leaves, output)

    def backward(self, kept, relevance):
        """Relevance of each input, from one backward pass through this layer alone."""
        leaves, output = kept
        ratio = torch.empty_like(relevance, memory_format=torch.contiguous_format)
        for z, amount, quotient in _blocks(output.detach(), relevance, ratio):
            torch.div(amount, torch.full_like(z, self.epsilon).copysign_(z).add_(z), out=quotient)
        return _shares(leaves, torch.autograd.grad(output, leaves, ratio))


class AlphaBeta:
    """Contributions with the sign of the output are weighted by alpha, the others by -beta; alpha - beta = 1.

    R_i = (alpha c+_ij / Z+_j - beta c-_ij / Z-_j) R_j, summed over outputs j. Here c+_ij and c-_ij are the positive and
    negative parts of x_i w_ij, and Z+_j and Z-_j their sums, including the bias. For a negative output, including a
    negative logit, + and - are swapped: otherwise, evidence for a class with a negative logit would count against it.
    If only one sign occurs, it receives all the relevance: otherwise relevance would be lost or created.
    """

    def __init__(self, alpha, beta):
        self.alpha, self.beta = alpha, beta

    def forward(self, layer, inputs):
        """The output of the layer, and what `backward` needs."""
        return layer(inputs), (layer, inputs)

    def backward(self, kept, relevance):
        """Relevance of each input, from the positive and negative parts of inputs, weights and bias."""
        layer, inputs = kept
        above, below = inputs, []
        if any(x.numel() and float(x.min()) < 0 for x in inputs):
            above, below = [x.clamp(min=0) for x in inputs], [x.clamp(max=0) for x in inputs]
        by_sign = _sums_apart if layer.groups is None else _sums_of_convolution
        leaves = leaves_of([*above, *below])
        with torch.enable_grad():
            sums, positive, negative = by_sign(layer, leaves[: len(above)], leaves[len(above) :])
        for parts in zip(positive, negative, _like(positive, relevance), strict=True):
            for p, n, amount in _blocks(*parts):
                self._factors(p, n, amount)
        # The factors overwrite the sums, which is safe: the backward pass of a linear layer does not read its output.
        gradients = torch.autograd.grad(sums, leaves, [total.detach() for total in sums])
        shares = _shares(leaves, gradients)
        return [a + b for a, b in zip(shares[: len(above)], shares[len(above) :], strict=True)] if below else shares

    def _factors(self, positive, negative, relevance):
        """Overwrite the sums by the relevance per unit of positive and of negative contribution."""
        least = torch.finfo(positive.dtype).tiny  # quotients overflow below this
        none_positive, none_negative = positive <= least, negative >= -least
        own, other = positive.new_tensor(self.alpha), positive.new_tensor(-self.beta)
        own_is_negative = positive + negative < 0
        for_positive = torch.where(own_is_negative, other, own).masked_fill_(none_negative, 1)
        for_negative = torch.where(own_is_negative, own, other).masked_fill_(none_positive, 1)
        torch.div(for_positive.mul_(relevance), positive, out=positive).masked_fill_(none_positive, 0)
        torch.div(for_negative.mul_(relevance), negative, out=negative).masked_fill_(none_negative, 0)


def _sums_apart(layer, above, below):
    """Sums of the positive and of the negative contributions: together, and each as a list of tensors (same memory)."""
    weights = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
    biases = (None, None) if layer.bias is None else (layer.bias.clamp(min=0), layer.bias.clamp(max=0))
    positive, negative = (layer.apply(above, w, b).contiguous() for w, b in zip(weights, biases, strict=True))
    if below:
        positive = positive + layer.apply(below, weights[1], None)
        negative = negative + layer.apply(below, weights[0], None)
    return [positive, negative], [positive.detach()], [negative.detach()]


def _sums_of_convolution(layer, above, below):
    """The same sums from one convolution with twice the channels, which is cheaper than two or four convolutions.

    Within each group, the inputs are first the positive and then the negative parts; the outputs are first the positive
    and then the negative sums.
    """
    groups = layer.groups
    weight = layer.weight.unflatten(0, (groups, -1))
    up, down = weight.clamp(min=0), weight.clamp(max=0)
    inputs = above[0]
    if below:
        inputs = torch.cat([x.unflatten(1, (groups, -1)) for x in (*above, *below)], dim=2).flatten(1, 2)
        up, down = torch.cat([up, down], dim=2), torch.cat([down, up], dim=2)
    bias = layer.bias
    if bias is not None:
        bias = torch.stack([b.reshape(groups, -1) for b in (bias.clamp(min=0), bias.clamp(max=0))], dim=1).flatten()
    both = layer.apply([inputs], torch.cat([up, down], dim=1).flatten(0, 1), bias).contiguous()
    by_group = both.detach().unflatten(1, (groups, 2, -1)).flatten(0, 1)  # (images x groups, 2, outputs, *spatial)
    return [both], [group[0] for group in by_group], [group[1] for group in by_group]


def _like(parts, relevance):
    """Relevance, split into parts of the same number and shapes."""
    return relevance.reshape(len(parts), *parts[0].shape)


def _blocks(*tensors):
    """Corresponding blocks of tensors of one shape; for contiguous tensors, the blocks are views."""
    flat = [tensor.contiguous().view(-1) for tensor in tensors]
    size = BLOCK if flat[0].device.type == "cpu" else max(1, len(flat[0]))
    return zip(*(tensor.split(size) for tensor in flat), strict=True)


def _shares(leaves, gradients):
    return [leaf.detach() * gradient for leaf, gradient in zip(leaves, gradients, strict=True)]


def leaves_of(tensors):
    """The same tensors, detached, as leaves of a new graph."""
    return [tensor.detach().requires_grad_() for tensor in tensors]
