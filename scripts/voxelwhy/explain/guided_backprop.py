"""Guided backpropagation: the gradient with only its positive part let through each ReLU."""

from __future__ import annotations

from voxelwhy.explain._shared.gradients import check_postprocess, combine_channels
from voxelwhy.explain._shared.guiding import guided_gradient
from voxelwhy.explain._shared.prepare import each_image


def guided_backprop(
    model, image, target_class=None, postprocess="abs", apply_softmax=True, cuda=None, verbose=False, *, device="auto"
):
    """Relevance of each voxel: the gradient of the class, negative parts dropped at each ReLU on the way back.

    Any way to write a ReLU is guided: `nn.ReLU` at any depth, `F.relu`, `torch.relu`, in-place, one module used
    several times, clamp(x, 0). So is one with a top (ReLU6, Hardtanh from 0, clamp(x, 0, top)), at both ends: what is
    positive passes where the input lies between 0 and top. A checkpointed network is guided, and one from
    `torch.compile`, which is run as it was written.

    For other rectifiers (ELU, LeakyReLU, GELU, SiLU …) the paper defines nothing: they are refused. One that is put
    together from arithmetic (x * (x > 0), torch.where, a torch.autograd.Function) cannot be told from other
    arithmetic: its plain gradient passes, and where there is nothing else to guide, the network is refused.

    Parameters
    ----------
    model : torch.nn.Module in eval mode; gives logits (n, classes), or one logit (n, 1) for class 1 against class 0. It
        is left as it was.
    image : numpy, torch or nibabel; one image or a batch, 2D or 3D, (channels, *spatial) or channels last.
    target_class : the class to explain, or one for each image of a batch; None is the predicted one.
    postprocess : "abs" (over several channels the largest), "square" (summed over channels) or None (signed, summed).
    apply_softmax : True explains the probability, False the logit.
    cuda, device : device is "auto", "cpu", "cuda" or "cuda:N"; cuda=True is the first CUDA device.
    verbose : print what was predicted and what is done, and show a progress bar.

    Returns
    -------
    heatmap : float32 array (float64 where the model is), (*spatial), or (n, *spatial) for a batch.

    Raises
    ------
    ModelError : a rectifier other than ReLU (named), no ReLU at all, a TorchScript model (its ReLUs cannot be
        reached); training mode, an unknown class.
    ShapeError : an image that does not fit the model, has two readings, or holds NaN.
    ConfigError : an unknown `postprocess`.

    References
    ----------
    Springenberg et al. 2015, Striving for simplicity (arXiv 1412.6806).

    Examples
    --------
    Less passes than by the plain gradient, since negative parts are dropped at each ReLU:

    >>> import torch
    >>> from torch import nn
    >>> from voxelwhy import guided_backprop, sensitivity_analysis
    >>> _ = torch.manual_seed(0)
    >>> network = nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(4 * 5**3, 2))
    >>> scan = torch.randn(12, 12, 12)
    >>> guided, plain = guided_backprop(network.eval(), scan), sensitivity_analysis(network, scan)
    >>> print(f"{(guided > 0).mean():.2f} of the voxels, {(plain > 0).mean():.2f} by the plain gradient")
    0.90 of the voxels, 0.97 by the plain gradient

    Where there is no ReLU, the plain gradient does not pass under this name:

    >>> network[1] = nn.GELU().eval()
    >>> guided_backprop(network, scan)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    voxelwhy.errors.ModelError: guided backpropagation is defined for ReLU; the network uses GELU...
    """
    check_postprocess(postprocess)

    def explain(batch, target):
        return combine_channels(guided_gradient(model, batch, target, apply_softmax), postprocess)

    return each_image(explain, model, image, target_class=target_class, device=device, cuda=cuda, verbose=verbose)
