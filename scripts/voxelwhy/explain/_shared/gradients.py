"""Shared by the gradient methods: the gradient of a class score with respect to the image."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from voxelwhy.errors import ConfigError, ModelError
from voxelwhy.explain._shared.half import scaled_gradients
from voxelwhy.explain._shared.prepare import class_score, pick_target, run_model

POSTPROCESS = ("abs", "square", None)


def check_postprocess(postprocess):
    """Raise ConfigError unless `combine_channels` knows `postprocess`."""
    if postprocess not in POSTPROCESS:
        raise ConfigError("there is no such postprocess", found=postprocess, allowed=POSTPROCESS)


def input_gradient(model, batch, target_class, apply_softmax) -> torch.Tensor:
    """Gradient (channels, *spatial) of a class score with respect to the single image in `batch`.

    Gradients of the weights are neither computed nor changed.

    Raises
    ------
    ModelError : the output has no gradient with respect to the image.
    """
    leaf = batch.detach().clone().requires_grad_()
    with torch.enable_grad():
        logits = run_model(model, leaf.clone())  # a copy, because the network may start with an in-place layer
        score = class_score(logits, pick_target(logits, target_class), apply_softmax)
        gradient = gradients_of(score, [leaf])[0]
    if gradient is None:
        raise ModelError("the output of the network has no gradient with respect to the image")
    return gradient[0]


def gradients_of(score, tensors) -> tuple[torch.Tensor | None, ...]:
    """The gradient of a score with respect to each tensor; None for a tensor on which the score does not depend.

    Raises
    ------
    ModelError : torch cannot compute it, for example because the network uses reentrant checkpointing.
    """
    if not tensors or not score.requires_grad:
        return (None,) * len(tensors)
    try:
        return scaled_gradients(score, tensors)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ModelError(f"the gradient of the network cannot be computed: {error}") from error


@contextmanager
def as_written() -> Iterator[None]:
    """Run models, or parts of them, from `torch.compile` uncompiled, operator by operator.

    Compiled code fuses operators, so that single ones can be neither seen nor changed.
    """
    if "torch._dynamo" not in sys.modules:  # nothing is compiled then, and the import would take seconds
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def combine_channels(gradient, postprocess) -> torch.Tensor:
    """One value per voxel: the maximum absolute value ("abs"), the sum of squares ("square") or the sum (None)."""
    if postprocess == "abs":
        return gradient.abs().amax(dim=0)
    if postprocess == "square":
        return gradient.square().sum(dim=0)
    return gradient.sum(dim=0)


def keep_sign(relevance, positive_only) -> torch.Tensor:
    """The map itself, or with its negative values set to 0."""
    return relevance.clamp(min=0) if positive_only else relevance
