"""Guided backpropagation: the gradient with only its positive part let through each ReLU."""

from __future__ import annotations

from voxelwhy.heatmaps.gradients import check_postprocess, combine_channels
from voxelwhy.heatmaps.guiding import guided_gradient
from voxelwhy.heatmaps.prepare import as_map, explaining


def guided_backprop(model, image, *, target_class=None, postprocess="abs", apply_softmax=True, device="auto"):
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
    model : torch.nn.Module in eval mode; gives logits (n, classes). It is left as it was.
    image : array-like or tensor, (channels, *spatial), 2D or 3D.
    target_class : the class to explain; None is the predicted one.
    postprocess : "abs" (over several channels the largest), "square" (summed over channels) or None (signed, summed).
    apply_softmax : True explains the probability, False the logit.
    device : "auto", "cpu", "cuda" or "cuda:N".

    Returns
    -------
    heatmap : float32 array, (*spatial) (float64 where the model is).

    Raises
    ------
    ModelError : a rectifier other than ReLU (named), no ReLU at all, a TorchScript model (its ReLUs cannot be
        reached); training mode, an unknown class.
    ShapeError : an image of other axes than the model's, or one with NaN.
    ConfigError : an unknown `postprocess`.

    References
    ----------
    Springenberg et al. 2015, Striving for simplicity (arXiv 1412.6806).
    """
    check_postprocess(postprocess)
    with explaining(model, image, device) as batch:
        gradient = guided_gradient(model, batch, target_class, apply_softmax)
        return as_map(combine_channels(gradient, postprocess), batch)
