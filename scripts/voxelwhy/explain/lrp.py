"""Layer-wise relevance propagation: the logit, passed back from layer to layer in proportion to contributions."""

from __future__ import annotations

import logging
import math
from collections import Counter
from numbers import Real

import torch

from voxelwhy.errors import ConfigError
from voxelwhy.explain._shared.gradients import keep_sign
from voxelwhy.explain._shared.lrp_layers import followed_steps, forget_steps
from voxelwhy.explain._shared.lrp_rules import AlphaBeta, Epsilon, leaves_of
from voxelwhy.explain._shared.prepare import class_score, each_image, pick_target, run_model, same_logits

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
    """Relevance of each voxel: its share of the logit, propagated back through the layers.

    Each operator of the network has a rule. Convolutions, dense layers, sums (including residual connections), means
    and scalings are linear layers and follow `rule`. In a max-pool, the largest input receives all the relevance.
    Activations pass relevance unchanged. Batch normalisation is folded into the convolution or dense layer before it if
    nothing else reads that layer; otherwise it is a scaling with a bias. The share of biases is lost, so the map sums
    to the logit only without biases. For a ReLU network, the map approaches that of input x gradient as epsilon goes to
    0.

    Parameters
    ----------
    model : torch.nn.Module in eval mode that returns logits (n, classes), or one logit (n, 1) for class 1 against
        class 0. It is not modified.
    image : one image or a batch (numpy, torch or nibabel), 2D or 3D, (channels, *spatial) or channels last.
    target_class : the class to explain, or one class per image of a batch; None explains the predicted class.
    rule : "epsilon" or "alpha_beta", see `voxelwhy.explain._shared.lrp_rules`.
    epsilon : above 0, in units of the layers' outputs: relevance of weaker outputs is damped.
    alpha, beta : weights of contributions with the sign of the output and with the opposite sign. alpha is at least 1,
        and alpha - beta = 1; beta None is alpha - 1.
    apply_softmax : False, as in the paper, starts from the logit z. True starts from the probability p with the sign of
        z, so that support for the class stays positive. The result is the same map times p / abs(z), which makes maps
        of different images comparable. It does not explain the softmax, for which LRP has no rule.
    cuda, device : device is "auto", "cpu", "cuda" or "cuda:N"; cuda=True selects the first CUDA device.
    verbose : print the prediction and what the method does, and show a progress bar.
    positive_only : True sets negative relevance to 0; False keeps the sign.

    Returns
    -------
    heatmap : float32 array (float64 for a float64 model), (*spatial), or (n, *spatial) for a batch; summed over
        channels, in units of the logit (or of the probability).

    Raises
    ------
    ConfigError : the rule is unknown, epsilon is not above 0, or alpha and beta would not conserve relevance.
    ModelError : LRP has no rule for an operator, which is named (products of two parts of the network, as in attention
        or squeeze-and-excitation; normalisation by the statistics of the image itself); torch.export cannot follow the
        network; the model is in training mode, or the class does not exist.
    ShapeError : the image does not fit the model, its shape is ambiguous, or it contains NaN.

    References
    ----------
    Bach et al. 2015, On pixel-wise explanations for non-linear classifier decisions by layer-wise relevance propagation
    (PLoS ONE 10, e0130140). Böhle et al. 2019, Layer-wise relevance propagation for explaining deep neural network
    decisions in MRI-based Alzheimer's disease classification (Front. Aging Neurosci. 11, 194; arXiv 1903.07317).

    Examples
    --------
    Without biases the map sums to the logit, with either rule:

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
    rule = _rule(rule, epsilon, alpha, beta)

    def explain(batch, target):
        walk, logits = _walked(model, batch, rule)
        target = pick_target(logits, target)
        z = class_score(logits, target, False)
        start = z.sign() * class_score(logits, target, True) if apply_softmax else z
        relevance = torch.zeros_like(logits)
        relevance[0, target if logits.shape[1] > 1 else 0] = start[0]
        found = walk.backward(relevance)[0].sum(dim=0)
        log.info("relevance of %.6g starts at the logit, %.6g reaches the image", start, found.double().sum())
        return keep_sign(found, positive_only)

    return each_image(explain, model, image, target_class=target_class, device=device, cuda=cuda, verbose=verbose)


def _walked(model, batch, rule):
    """A walk through the network after its forward pass, and its logits."""
    walk = _Walk(model, batch, rule)
    logits = run_model(walk.forward, batch)
    with torch.no_grad():
        if not walk.cached or same_logits(logits, run_model(model, batch.clone())):
            return walk, logits
    forget_steps(model)  # an option of the model changed that its repr does not show
    return _walked(model, batch, rule)


def _rule(name, epsilon, alpha, beta):
    """The rule of that name. The options of both rules are checked."""
    if name not in RULES:
        raise ConfigError("there is no such LRP rule", found=name, allowed=RULES)
    if not _is_number(epsilon) or epsilon <= 0:
        raise ConfigError("epsilon of LRP is invalid", found=epsilon, allowed="a number above 0")
    beta = alpha - 1 if beta is None and _is_number(alpha) else beta
    if not _is_number(alpha) or not _is_number(beta) or alpha < 1 or not math.isclose(alpha - beta, 1):
        raise ConfigError(
            "alpha and beta of LRP would not conserve relevance",
            found=f"alpha={alpha}, beta={beta}",
            allowed="alpha of at least 1, and beta = alpha - 1",
        )
    return Epsilon(float(epsilon)) if name == "epsilon" else AlphaBeta(float(alpha), float(beta))


def _is_number(value):
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


class _Walk:
    """One image propagated forward through the network step by step, and its relevance propagated back.

    To save memory, the output of a step is freed once all its readers have run, unless a rule needs it. In the backward
    pass, whatever a step kept is freed right after that step.
    """

    def __init__(self, model, batch, rule):
        operators, self.steps, self.cached = followed_steps(model, batch)
        self.image, self.output, self.rule = operators.image, operators.output, rule

    def forward(self, batch):
        """The output of the network. What `backward` needs is kept."""
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
        """Relevance of the image, (1, channels, *spatial), from the relevance of the output."""
        found = {self.output: relevance.reshape(self.shape)}
        for step in reversed(self.steps):
            kept, relevance = self.kept.pop(), found.pop(step.node)
            if step.kind == "linear":
                shares = self.rule.backward(kept, relevance)
            elif step.kind == "copy":
                # What is written over, as by circular padding, has no share.
                shares = torch.autograd.grad(kept[1], kept[0], relevance, allow_unused=True, materialize_grads=True)
            else:
                shares = [relevance]
            for source, share in zip(step.sources, shares, strict=True):
                found[source] = found[source] + share if source in found else share
        return found[self.image]
