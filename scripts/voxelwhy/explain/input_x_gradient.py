"""Input x gradient: what each voxel would contribute to the score if the network were linear around the image."""

from __future__ import annotations

from voxelwhy.explain._shared.gradients import input_gradient, keep_sign
from voxelwhy.explain._shared.prepare import each_image


def input_x_gradient(
    model,
    image,
    target_class=None,
    apply_softmax=True,
    cuda=None,
    verbose=False,
    *,
    positive_only=False,
    device="auto",
):
    """Relevance of each voxel: its value times the gradient of the class score with respect to it.

    A voxel with the value 0 has no relevance, however sensitive the network is to it. After voxel-wise z-scoring, 0 is
    the training mean.

    Parameters
    ----------
    model : torch.nn.Module in eval mode that returns logits (n, classes), or one logit (n, 1) for class 1 against
        class 0. It is not modified.
    image : one image or a batch (numpy, torch or nibabel), 2D or 3D, (channels, *spatial) or channels last.
    target_class : the class to explain, or one class per image of a batch; None explains the predicted class.
    apply_softmax : True explains the probability, False the logit.
    cuda, device : device is "auto", "cpu", "cuda" or "cuda:N"; cuda=True selects the first CUDA device.
    verbose : print the prediction and what the method does, and show a progress bar.
    positive_only : True sets negative relevance to 0; False keeps the sign.

    Returns
    -------
    heatmap : float32 array (float64 for a float64 model), (*spatial), or (n, *spatial) for a batch; summed over
        channels, in units of the score.

    Raises
    ------
    ModelError : the model is in training mode, the class does not exist, or the output has no gradient.
    ShapeError : the image does not fit the model, its shape is ambiguous, or it contains NaN.

    References
    ----------
    Shrikumar et al. 2016, Not just a black box (arXiv 1605.01713).

    Examples
    --------
    A ReLU network without biases is linear around the image, so the map sums to the logit:

    >>> import torch
    >>> from torch import nn
    >>> from voxelwhy import input_x_gradient
    >>> _ = torch.manual_seed(0)
    >>> network = nn.Sequential(nn.Conv3d(1, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(4000, 2, bias=False))
    >>> scan = torch.randn(12, 12, 12)
    >>> heatmap = input_x_gradient(network.eval(), scan, target_class=1, apply_softmax=False)
    >>> print(f"{heatmap.sum():.4f} {network(scan[None, None])[0, 1]:.4f}")
    0.2427 0.2427
    """

    def explain(batch, target):
        relevance = (batch[0] * input_gradient(model, batch, target, apply_softmax)).sum(dim=0)
        return keep_sign(relevance, positive_only)

    return each_image(explain, model, image, target_class=target_class, device=device, cuda=cuda, verbose=verbose)
