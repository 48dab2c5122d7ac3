"""Sensitivity analysis: how much the score changes for a small change of a voxel."""

from __future__ import annotations

from voxelwhy.explain._shared.gradients import check_postprocess, combine_channels, input_gradient
from voxelwhy.explain._shared.prepare import each_image


def sensitivity_analysis(
    model, image, target_class=None, postprocess="abs", apply_softmax=True, cuda=None, verbose=False, *, device="auto"
):
    """Relevance of each voxel: the gradient of the class score with respect to it.

    Parameters
    ----------
    model : torch.nn.Module in eval mode that returns logits (n, classes), or one logit (n, 1) for class 1 against
        class 0. It is not modified.
    image : one image or a batch (numpy, torch or nibabel), 2D or 3D, (channels, *spatial) or channels last.
    target_class : the class to explain, or one class per image of a batch; None explains the predicted class.
    postprocess : "abs" (as in the paper; the maximum over channels), "square" (summed over channels) or None (the
        signed gradient, summed over channels).
    apply_softmax : True explains the probability, False the logit.
    cuda, device : device is "auto", "cpu", "cuda" or "cuda:N"; cuda=True selects the first CUDA device.
    verbose : print the prediction and what the method does, and show a progress bar.

    Returns
    -------
    heatmap : float32 array (float64 for a float64 model), (*spatial), or (n, *spatial) for a batch; score per
        unit of intensity.

    Raises
    ------
    ModelError : the model is in training mode, the class does not exist, or the output has no gradient.
    ShapeError : the image does not fit the model, its shape is ambiguous, or it contains NaN.
    ConfigError : `postprocess` is unknown.

    References
    ----------
    Simonyan, Vedaldi & Zisserman 2014, Deep inside convolutional networks (arXiv 1312.6034).

    Examples
    --------
    It needs only a network in eval mode and a scan:

    >>> import torch
    >>> from torch import nn
    >>> from voxelwhy import sensitivity_analysis
    >>> _ = torch.manual_seed(0)
    >>> network = nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(4 * 5**3, 2))
    >>> scan = torch.randn(12, 12, 12)
    >>> heatmap = sensitivity_analysis(network.eval(), scan, target_class=1)
    >>> heatmap.shape
    (12, 12, 12)

    The map predicts how a small change of a voxel changes the probability:

    >>> brighter, darker = scan.clone(), scan.clone()
    >>> brighter[5, 6, 7] += 0.01
    >>> darker[5, 6, 7] -= 0.01
    >>> both = network(torch.stack([brighter, darker])[:, None]).softmax(dim=1)[:, 1]
    >>> signed = sensitivity_analysis(network, scan, target_class=1, postprocess=None)
    >>> print(f"{(both[0] - both[1]) / 0.02:.4f} {signed[5, 6, 7]:.4f}")
    0.0015 0.0015
    """
    check_postprocess(postprocess)

    def explain(batch, target):
        return combine_channels(input_gradient(model, batch, target, apply_softmax), postprocess)

    return each_image(explain, model, image, target_class=target_class, device=device, cuda=cuda, verbose=verbose)
