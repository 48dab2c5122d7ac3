"""Layer-wise relevance propagation: the logit, handed back from layer to layer in proportion to contributions."""

from __future__ import annotations

import logging
import math
from collections import Counter
from numbers import Real

import torch

from voxelwhy.errors import ConfigError
from voxelwhy.explain._shared.gradients import keep_sign
from voxelwhy.explain._shared.lrp_graph import Operators, exported_graph
from voxelwhy.explain._shared.lrp_layers import steps_of
from voxelwhy.explain._shared.lrp_rules import AlphaBeta, Epsilon, leaves_of
from voxelwhy.explain._shared.prepare import class_score, each_image, pick_target, run_model

log = logging.getLogger(__name__)
RULES = ("epsilon", "alpha_beta")


def lrp(
    model,
    image,
    target_class=None,
    rule="epsilon",
    apply_softmax=False,
    cuda=None,
    verbose=False,
    *,
    epsilon=1e-6,
    alpha=2.0,
    beta=None,
    positive_only=False,
    device="auto",
):
    """Relevance of each voxel: its share of the logit, followed back through the layers.

    Every operator of the network has a rule, whoever wrote it: convolutions, dense layers, sums (residual, too),
    means and scalings are linear layers with `rule`; the largest input of a max-pool takes all; activations pass
    relevance as it is. Batch normalisation is folded into the convolution or dense layer that it alone reads, and is
    a scaling with a bias elsewhere. Biases take their share, and it is lost: only without biases does the map add up
    to the logit. On networks of ReLU, epsilon near 0 makes the map that of input x gradient.

    Parameters
    ----------
    model : torch.nn.Module in eval mode; gives logits (n, classes), or one logit (n, 1) for class 1 against class 0. It
        is left as it was.
    image : numpy, torch or nibabel; one image or a batch, 2D or 3D, (channels, *spatial) or channels last.
    target_class : the class to explain, or one for each image of a batch; None is the predicted one.
    rule : "epsilon" or "alpha_beta", see `voxelwhy.explain._shared.lrp_rules`.
    epsilon : above 0, in units of the layers' outputs: what weaker outputs hand on is damped.
    alpha, beta : weights of contributions of the output's own sign, and of the other; alpha - beta = 1, alpha 1 or
        more. beta None is alpha - 1.
    apply_softmax : False, as in the paper, starts from the logit z. True starts from the probability p instead, with
        the sign of z (so that what speaks for the class stays positive): the same map times p / abs(z), of which maps
        of several images can be compared. It is no explanation of the softmax, which LRP has no rule for.
    cuda, device : device is "auto", "cpu", "cuda" or "cuda:N"; cuda=True is the first CUDA device.
    verbose : print what was predicted and what is done, and show a progress bar.
    positive_only : True makes negative relevance 0; False keeps the sign.

    Returns
    -------
    heatmap : float32 array (float64 where the model is), (*spatial), or (n, *spatial) for a batch; summed over
        channels, in units of the logit (or of the probability).

    Raises
    ------
    ConfigError : an unknown rule, epsilon not above 0, alpha and beta that would not conserve relevance.
    ModelError : an operator that LRP has no rule for, by name (products of two parts of the network, as in attention
        or squeeze-and-excitation; normalisation by the image's own statistics); a network that torch.export cannot
        follow; training mode, an unknown class.
    ShapeError : an image that does not fit the model, has two readings, or holds NaN.

    References
    ----------
    Bach et al. 2015, On pixel-wise explanations for non-linear classifier decisions by layer-wise relevance propagation
    (PLoS ONE 10, e0130140). Böhle et al. 2019, Layer-wise relevance propagation for explaining deep neural network
    decisions in MRI-based Alzheimer's disease classification (Front. Aging Neurosci. 11, 194; arXiv 1903.07317).

    Examples
    --------
    Without biases the map adds up to the logit, by either rule:

    >>> import torch
    >>> from torch import nn
    >>> from voxelwhy import lrp
    >>> _ = torch.manual_seed(0)
    >>> layers = [nn.Conv3d(1, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(4000, 2, bias=False)]
    >>> network, scan = nn.Sequential(*layers).eval(), torch.randn(12, 12, 12)
    >>> print(f"{network(scan[None, None])[0, 1]:.4f}")
    0.2427
    >>> for rule in ("epsilon", "alpha_beta"):
    ...     print(f"{lrp(network, scan, target_class=1, rule=rule).sum():.4f}")
    0.2427
    0.2427
    """
    rule, walks = _rule(rule, epsilon, alpha, beta), []

    def explain(batch, target):
        if not walks:  # one graph for all images of a batch, which have one shape
            walks.append(_Walk(model, batch, rule))
        walk = walks[0]
        logits = run_model(walk.forward, batch)
        target = pick_target(logits, target)
        z = class_score(logits, target, False)
        start = z.sign() * class_score(logits, target, True) if apply_softmax else z
        relevance = torch.zeros_like(logits)
        relevance[0, target if logits.shape[1] > 1 else 0] = start[0]
        found = walk.backward(relevance)[0].sum(dim=0)
        log.info("relevance of %.6g starts at the logit, %.6g arrives at the image", start, found.double().sum())
        return keep_sign(found, positive_only)

    return each_image(explain, model, image, target_class=target_class, device=device, cuda=cuda, verbose=verbose)


def _rule(name, epsilon, alpha, beta):
    """The rule of that name; all options are checked, also those of the other rule."""
    if name not in RULES:
        raise ConfigError("there is no such rule of LRP", found=name, allowed=RULES)
    if not _is_number(epsilon) or epsilon <= 0:
        raise ConfigError("epsilon of LRP", found=epsilon, allowed="a number above 0")
    beta = alpha - 1 if beta is None and _is_number(alpha) else beta
    if not _is_number(alpha) or not _is_number(beta) or alpha < 1 or not math.isclose(alpha - beta, 1):
        raise ConfigError(
            "alpha and beta of LRP would not conserve relevance",
            found=f"alpha={alpha}, beta={beta}",
            allowed="alpha of 1 or more, beta = alpha - 1",
        )
    return Epsilon(float(epsilon)) if name == "epsilon" else AlphaBeta(float(alpha), float(beta))


def _is_number(value):
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


class _Walk:
    """One image through the network, step by step, and relevance the same way back.

    The output of each step lives until what reads it has run, and beyond that only where a rule needs it; on the way
    back what a step kept is dropped after it.
    """

    def __init__(self, model, batch, rule):
        operators = Operators(exported_graph(model, batch))
        self.image, self.output = operators.image, operators.output
        self.steps, self.rule = steps_of(operators), rule

    def forward(self, batch):
        """The output of the network; what `backward` needs is kept."""
        values, self.kept = {self.image: batch}, []
        unread = Counter(source for step in self.steps for source in step.sources)
        unread[self.output] += 1
        with torch.no_grad():
            for step in self.steps:
                values[step.node] = self._run(step, [values[source] for source in step.sources])
                for source in step.sources:
                    unread[source] -= 1
                    if not unread[source]:
                        del values[source]
        self.shape = values[self.output].shape
        return values[self.output]

    def _run(self, step, inputs):
        if step.kind == "linear":
            output, kept = self.rule.forward(step.run, inputs)
        elif step.kind == "copy":
            leaves = leaves_of(inputs)
            with torch.enable_grad():
                whole = step.run(leaves)
            output, kept = whole.detach(), (leaves, whole)
        else:
            output, kept = step.run(inputs), None
        self.kept.append(kept)
        return output

    def backward(self, relevance):
        """Relevance of the image (1, channels, *spatial), from that of the output."""
        found = {self.output: relevance.reshape(self.shape)}
        for step in reversed(self.steps):
            kept, relevance = self.kept.pop(), found.pop(step.node)
            if step.kind == "linear":
                shares = self.rule.backward(kept, relevance)
            elif step.kind == "copy":
                shares = torch.autograd.grad(kept[1], kept[0], relevance)
            else:
                shares = [relevance]
            for source, share in zip(step.sources, shares, strict=True):
                found[source] = found[source] + share if source in found else share
        return found[self.image]
