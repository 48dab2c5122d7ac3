"""SmoothGrad: the mean gradient over noisy copies of the image."""

from __future__ import annotations

import math
from numbers import Real

import torch

from voxelwhy.errors import ConfigError
from voxelwhy.explain._shared.gradients import check_postprocess, combine_channels
from voxelwhy.explain._shared.half import captum_gradients
from voxelwhy.explain._shared.prepare import check_count, class_score, each_image, pick_target, progress, run_model


def smoothgrad(
    model,
    image,
    target_class=None,
    postprocess="abs",
    apply_softmax=True,
    cuda=None,
    verbose=False,
    *,
    n_samples=25,
    noise=0.15,
    seed=0,
    device="auto",
):
    """Relevance of each voxel: the gradient of the class score, averaged over noisy copies of the image.

    Parameters
    ----------
    model : torch.nn.Module in eval mode that returns logits (n, classes), or one logit (n, 1) for class 1 against
        class 0. It is not modified.
    image : one image or a batch (numpy, torch or nibabel), 2D or 3D, (channels, *spatial) or channels last.
    target_class : the class to explain, or one class per image of a batch; None explains the class predicted for the
        image without noise.
    postprocess : applied to the mean: "abs" (maximum over channels), "square" (summed over channels) or None (signed,
        summed over channels).
    apply_softmax : True explains the probability, False the logit.
    cuda, device : device is "auto", "cpu", "cuda" or "cuda:N"; cuda=True selects the first CUDA device.
    verbose : print the prediction and what the method does, and show a progress bar.
    n_samples : number of noisy copies, at least 1.
    noise : SD of the noise as a fraction of the image's range (maximum minus minimum), at least 0; 0.1 to 0.2 in the
        paper.
    seed : seed of the noise. The same seed gives the same map, and torch's own generators are not affected.

    Returns
    -------
    heatmap : float32 array (float64 for a float64 model), (*spatial), or (n, *spatial) for a batch; score per unit of
        intensity.

    Raises
    ------
    ConfigError : `postprocess` is unknown, `n_samples` is below 1, or `noise` is negative or not a number.
    ModelError : the model is in training mode, the class does not exist, or the output has no gradient.
    ShapeError : the image does not fit the model, its shape is ambiguous, or it contains NaN.

    References
    ----------
    Smilkov et al. 2017, SmoothGrad: removing noise by adding noise (arXiv 1706.03825). The sampling is Captum's.

    Examples
    --------
    The same seed gives the same map, and without noise the map is the plain gradient:

    >>> import torch
    >>> from torch import nn
    >>> from voxelwhy import sensitivity_analysis, smoothgrad
    >>> _ = torch.manual_seed(0)
    >>> network = nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(4 * 5**3, 2))
    >>> scan = torch.randn(12, 12, 12)
    >>> heatmap = smoothgrad(network.eval(), scan, n_samples=10, noise=0.1, seed=1)
    >>> bool((heatmap == smoothgrad(network, scan, n_samples=10, noise=0.1, seed=1)).all())
    True
    >>> plain, without_noise = sensitivity_analysis(network, scan), smoothgrad(network, scan, n_samples=1, noise=0)
    >>> bool(abs(plain - without_noise).max() < 1e-6 * plain.max())
    True
    """
    check_postprocess(postprocess)
    check_count("n_samples", n_samples, least=1)
    check_count("seed", seed, least=0)
    if not isinstance(noise, Real) or not math.isfinite(noise) or noise < 0:
        raise ConfigError("noise of SmoothGrad is invalid", found=noise, allowed="a number of at least 0")

    def explain(batch, target):
        with torch.no_grad():
            target = pick_target(run_model(model, batch.clone()), target)
        gradient = _mean_gradient(model, batch, target, apply_softmax, n_samples, float(noise), seed)
        return combine_channels(gradient, postprocess)

    return each_image(explain, model, image, target_class=target_class, device=device, cuda=cuda, verbose=verbose)


def _mean_gradient(model, batch, target, apply_softmax, n_samples, noise, seed):
    """Captum's mean gradient over noisy copies, one copy at a time: (channels, *spatial)."""
    from captum.attr import NoiseTunnel, Saliency  # imported here because it takes a second to load

    bar = progress(range(n_samples), what="SmoothGrad")

    def score(images):
        next(bar, None)
        return class_score(run_model(model, images.to(batch.dtype, copy=True)), target, apply_softmax)

    devices = [batch.device] if batch.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        torch.manual_seed(seed)
        method = Saliency(score)
        method.gradient_func = captum_gradients
        found = NoiseTunnel(method).attribute(
            # Noise is drawn in memory order. Without this copy, the noise of a seed would depend on the memory layout.
            batch.clone(memory_format=torch.contiguous_format).requires_grad_(),
            nt_type="smoothgrad",
            nt_samples=n_samples,
            nt_samples_batch_size=1,
            stdevs=noise * float(batch.max() - batch.min()),
            abs=False,
        )
    next(bar, None)
    return found[0].detach()
