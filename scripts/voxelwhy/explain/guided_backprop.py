"""Guided backpropagation: the gradient, with only its positive part passed at each ReLU."""

from __future__ import annotations

from voxelwhy.explain._shared.gradients import check_postprocess, combine_channels
from voxelwhy.explain._shared.guiding import guided_gradient
from voxelwhy.explain._shared.prepare import each_image


def guided_backprop(
    model, image, target_class=None, postprocess="abs", apply_softmax=True, cuda=None, verbose=False, *, device="auto"
):
    """Relevance of each voxel: the gradient of the class score, with negative parts dropped at each ReLU.

    A ReLU is guided however it is written: `nn.ReLU` at any depth, `F.relu`, `torch.relu`, in-place, one module used
    several times, clamp(x, 0). A ReLU with an upper bound (ReLU6, Hardtanh from 0, clamp(x, 0, top)) is guided as well:
    positive gradients pass where the input lies between 0 and the bound. Checkpointed networks work, and so do networks
    from `torch.compile`, which run uncompiled.

    The paper does not define the method for other rectifiers (ELU, LeakyReLU, GELU, SiLU …), so they are refused. A
    rectifier composed of arithmetic (x * (x > 0), torch.where, a torch.autograd.Function) cannot be recognised: its
    plain gradient passes. If a network has no other ReLU, it is refused.

    Parameters
    ----------
    model : torch.nn.Module in eval mode that returns logits (n, classes), or one logit (n, 1) for class 1 against
        class 0. It is not modified.
    image : one image or a batch (numpy, torch or nibabel), 2D or 3D, (channels, *spatial) or channels last.
    target_class : the class to explain, or one class per image of a batch; None explains the predicted class.
    postprocess : "abs" (maximum over channels), "square" (summed over channels) or None (signed, summed over channels).
    apply_softmax : True explains the probability, False the logit.
    cuda, device : device is "auto", "cpu", "cuda" or "cuda:N"; cuda=True selects the first CUDA device.
    verbose : print the prediction and what the method does, and show a progress bar.

    Returns
    -------
    heatmap : float32 array (float64 for a float64 model), (*spatial), or (n, *spatial) for a batch.

    Raises
    ------
    ModelError : the network has a rectifier other than ReLU (it is named) or no ReLU at all, or it is a TorchScript
        model, whose ReLUs cannot be reached; the model is in training mode, or the class does not exist.
    ShapeError : the image does not fit the model, its shape is ambiguous, or it contains NaN.
    ConfigError : `postprocess` is unknown.

    References
    ----------
    Springenberg et al. 2015, Striving for simplicity (arXiv 1412.6806).

    Examples
    --------
    Fewer voxels are relevant than with the plain gradient, since negative parts are dropped at each ReLU:

    >>> import torch
    >>> from torch import nn
    >>> from voxelwhy import guided_backprop, sensitivity_analysis
    >>> _ = torch.manual_seed(0)
    >>> network = nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(4 * 5**3, 2))
    >>> scan = torch.randn(12, 12, 12)
    >>> guided, plain = guided_backprop(network.eval(), scan), sensitivity_analysis(network, scan)
    >>> print(f"{(guided > 0).mean():.2f} of the voxels, {(plain > 0).mean():.2f} with the plain gradient")
    0.90 of the voxels, 0.97 with the plain gradient

    A network without ReLU is refused: its plain gradient must not pass for guided backpropagation:

    >>> network[1] = nn.GELU().eval()
    >>> guided_backprop(network, scan)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    voxelwhy.errors.ModelError: guided backpropagation is defined for ReLU; the network uses GELU...
    """
    check_postprocess(postprocess)

    def explain(batch, target):
        return combine_channels(guided_gradient(model, batch, target, apply_softmax), postprocess)

    return each_image(explain, model, image, target_class=target_class, device=device, cuda=cuda, verbose=verbose)
