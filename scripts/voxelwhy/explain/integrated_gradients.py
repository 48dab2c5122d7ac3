"""Integrated gradients: the gradient, accumulated along the path from a baseline to the image."""

from __future__ import annotations

import logging
from itertools import chain
from numbers import Real

import torch

from voxelwhy.errors import ShapeError
from voxelwhy.explain._shared.gradients import keep_sign
from voxelwhy.explain._shared.half import captum_gradients
from voxelwhy.explain._shared.inputs import as_values
from voxelwhy.explain._shared.prepare import (
    check_count,
    class_score,
    each_image,
    images_are_separate,
    pick_target,
    progress,
    run_model,
)

log = logging.getLogger(__name__)

#: Bytes of layers that the steps of a batch may keep together, and the most steps of a batch, by device. Measured on a
#: processor, milliseconds a step alone, in batches of 2, 4 and 8 or 10: `compact` on 49 x 58 x 49 voxels 10, 7, 7, 6; a
#: network with group normalisation on 32 x 32 x 32 30, 17, 16, 22; MobileNetV3 on 224 x 224 32, 26, 22, 30. A GPU needs
#: more to be busy.
TOGETHER = {"cpu": (80_000_000, 4)}
TOGETHER_ELSEWHERE = (2_000_000_000, 64)


def integrated_gradients(
    model,
    image,
    target_class=None,
    apply_softmax=True,
    cuda=None,
    verbose=False,
    *,
    baseline=0.0,
    n_steps=64,
    batch_size=None,
    positive_only=False,
    device="auto",
):
    """Relevance of each voxel: its share of the difference between the scores of the image and of a baseline.

    The shares sum to the whole difference, up to the error of a Gauss-Legendre sum with `n_steps` steps; `verbose`
    prints both.

    Parameters
    ----------
    model : torch.nn.Module in eval mode that returns logits (n, classes), or one logit (n, 1) for class 1 against
        class 0. It is not modified.
    image : one image or a batch (numpy, torch or nibabel), 2D or 3D, (channels, *spatial) or channels last.
    target_class : the class to explain, or one class per image of a batch; None explains the predicted class.
    apply_softmax : True explains the probability, False the logit.
    cuda, device : device is "auto", "cpu", "cuda" or "cuda:N"; cuda=True selects the first CUDA device.
    verbose : print the prediction and what the method does, and show a progress bar.
    baseline : the reference for the image: one number for all voxels, or an image, (*spatial) or (channels, *spatial),
        on the intensity scale that the network sees. After voxel-wise z-scoring, 0 is the training mean.
    n_steps : number of gradients along the path, at least 2.
    batch_size : steps per batch; None chooses a few if their layers are small, and one for large scans. Networks that
        mix the images of a batch take one step at a time.
    positive_only : True sets negative relevance to 0; False keeps the sign.

    Returns
    -------
    heatmap : float32 array (float64 for a float64 model), (*spatial), or (n, *spatial) for a batch; summed over
        channels, in units of the score.

    Raises
    ------
    ConfigError : `n_steps` is below 2, or `batch_size` below 1.
    ModelError : the model is in training mode, the class does not exist, or the output has no gradient.
    ShapeError : the image does not fit the model, its shape is ambiguous, or it contains NaN; the baseline has another
        shape than the image.

    References
    ----------
    Sundararajan, Taly & Yan 2017, Axiomatic attribution for deep networks (arXiv 1703.01365). The sum is Captum's.

    Examples
    --------
    The map sums to the difference between the probabilities of the scan and of the baseline:

    >>> import torch
    >>> from torch import nn
    >>> from voxelwhy import integrated_gradients
    >>> _ = torch.manual_seed(0)
    >>> network = nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(4 * 5**3, 2))
    >>> scan = torch.randn(12, 12, 12)
    >>> heatmap = integrated_gradients(network.eval(), scan, target_class=1, baseline=0)
    >>> both = network(torch.stack([scan, torch.zeros_like(scan)])[:, None]).softmax(dim=1)[:, 1]
    >>> print(f"{both[0] - both[1]:.3f}")
    0.176
    >>> bool(abs(heatmap.sum() / (both[0] - both[1]) - 1) < 0.01)
    True
    """
    check_count("n_steps", n_steps, least=2)
    if batch_size is not None:
        check_count("batch_size", batch_size, least=1)

    def explain(batch, target):
        start = _baseline(baseline, batch)
        logits, kept = _first_pass(model, batch)
        target = pick_target(logits, target)
        size, most = TOGETHER.get(batch.device.type, TOGETHER_ELSEWHERE)
        each = min(n_steps, batch_size or max(1, min(most, size // kept)))
        each = each if each == 1 or images_are_separate(model, batch) else 1
        relevance = _along_the_way(model, batch, start, target, apply_softmax, n_steps, each)
        _say(model, batch, start, target, apply_softmax, relevance, n_steps)
        return keep_sign(relevance.sum(dim=0), positive_only)

    return each_image(explain, model, image, target_class=target_class, device=device, cuda=cuda, verbose=verbose)


def _first_pass(model, batch):
    """The logits of an image, and how many bytes its layers keep for the backward pass, weights not counted."""
    layers = {}

    def keep(tensor):
        if tensor.layout == torch.strided:
            storage = tensor.untyped_storage()
            layers[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = run_model(model, batch.clone().requires_grad_().clone())
    for weight in chain(model.parameters(), model.buffers()):
        layers.pop(weight.data_ptr(), None)
    return logits.detach(), max(1, batch.nbytes, sum(layers.values()))


def _say(model, batch, start, target, apply_softmax, relevance, n_steps):
    """Log how complete the map is, which takes another forward pass: only if INFO messages are shown."""
    if not log.isEnabledFor(logging.INFO):
        return
    with torch.no_grad():
        scores = class_score(run_model(model, torch.cat([batch, start])), target, apply_softmax)
    found, wanted = float(relevance.double().sum()), float(scores[0] - scores[1])
    log.info("%d steps: the map sums to %.6g; the difference between the scores is %.6g", n_steps, found, wanted)


def _along_the_way(model, batch, start, target, apply_softmax, n_steps, batch_size):
    """Captum's sum of gradients, times the difference from the baseline: (channels, *spatial)."""
    from captum.attr import IntegratedGradients  # imported here because it takes a second to load

    bar = progress(range(-(-n_steps // batch_size)), what="integrated gradients")

    def score(images):
        next(bar, None)
        return class_score(run_model(model, images.clone()), target, apply_softmax)

    with torch.enable_grad():
        method = IntegratedGradients(score)
        method.gradient_func = captum_gradients
        found = method.attribute(batch, baselines=start, n_steps=n_steps, internal_batch_size=batch_size)
    next(bar, None)
    return found[0].detach()


def _baseline(baseline, batch):
    """The baseline as a batch of one."""
    try:
        values = torch.as_tensor(baseline).to(batch) if isinstance(baseline, Real) else as_values(baseline)[0].to(batch)
    except ShapeError as error:
        raise ShapeError(f"the baseline is neither a number nor an image: {error}") from error
    if values.ndim and values.shape not in (batch.shape, batch.shape[1:], batch.shape[2:]):
        raise ShapeError(f"the baseline has shape {tuple(values.shape)}, the image {tuple(batch.shape[1:])}")
    if not bool(torch.isfinite(values).all()):
        raise ShapeError("the baseline holds NaN or infinity")
    return values.expand_as(batch).clone()
