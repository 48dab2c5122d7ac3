"""SmoothGrad: the mean gradient over copies of the image with noise."""

from __future__ import annotations

import math
from numbers import Real

import torch

from voxelwhy.errors import ConfigError
from voxelwhy.explain._shared.gradients import check_postprocess, combine_channels
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
    """Relevance of each voxel: the gradient of the class, averaged over noisy copies of the image.

    Parameters
    ----------
    model : torch.nn.Module in eval mode; gives logits (n, classes), or one logit (n, 1) for class 1 against class 0. It
        is left as it was.
    image : numpy, torch or nibabel; one image or a batch, 2D or 3D, (channels, *spatial) or channels last.
    target_class : the class to explain, or one for each image of a batch; None is the predicted one of the image
        without noise.
    postprocess : of the mean: "abs" (over several channels the largest), "square" (summed over channels) or None
        (signed, summed).
    apply_softmax : True explains the probability, False the logit.
    cuda, device : device is "auto", "cpu", "cuda" or "cuda:N"; cuda=True is the first CUDA device.
    verbose : print what was predicted and what is done, and show a progress bar.
    n_samples : noisy copies, 1 or more.
    noise : SD of the noise as a part of the image's range (largest less smallest value), 0 or more; 0.1 to 0.2 in the
        paper.
    seed : of the noise; the same seed gives the same map, and torch's own generators are left as they were.

    Returns
    -------
    heatmap : float32 array (float64 where the model is), (*spatial), or (n, *spatial) for a batch; score per unit of
        intensity.

    Raises
    ------
    ConfigError : an unknown `postprocess`, fewer than 1 sample, noise that is negative or no number.
    ModelError : training mode, an unknown class, an output without gradient.
    ShapeError : an image that does not fit the model, has two readings, or holds NaN.

    References
    ----------
    Smilkov et al. 2017, SmoothGrad: removing noise by adding noise (arXiv 1706.03825). The sampling is Captum's.

    Examples
    --------
    The same seed gives the same map; without noise it is the plain gradient:

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
        raise ConfigError("noise of SmoothGrad", found=noise, allowed="a number, 0 or more")

    def explain(batch, target):
        with torch.no_grad():
            target = pick_target(run_model(model, batch.clone()), target)
        gradient = _mean_gradient(model, batch, target, apply_softmax, n_samples, float(noise), seed)
        return combine_channels(gradient, postprocess)

    return each_image(explain, model, image, target_class=target_class, device=device, cuda=cuda, verbose=verbose)


def _mean_gradient(model, batch, target, apply_softmax, n_samples, noise, seed):
    """Captum's mean of gradients over noisy copies, one at a time: (channels, *spatial)."""
    from captum.attr import NoiseTunnel, Saliency  # here, because it takes a second to load

    bar = progress(range(n_samples), what="SmoothGrad")

    def score(images):
        next(bar, None)
        return class_score(run_model(model, images.to(batch.dtype, copy=True)), target, apply_softmax)

    devices = [batch.device] if batch.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        torch.manual_seed(seed)
        found = NoiseTunnel(Saliency(score)).attribute(
            # Noise is drawn in the order of memory: a scan read in another order would get other noise from one seed.
            batch.clone(memory_format=torch.contiguous_format).requires_grad_(),
            nt_type="smoothgrad",
            nt_samples=n_samples,
            nt_samples_batch_size=1,
            stdevs=noise * float(batch.max() - batch.min()),
            abs=False,
        )
    next(bar, None)
    return found[0].detach()
