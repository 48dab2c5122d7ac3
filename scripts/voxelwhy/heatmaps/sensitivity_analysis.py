"""Sensitivity analysis: how much the score changes when a voxel changes a little."""

from __future__ import annotations

from voxelwhy.heatmaps.gradients import check_postprocess, combine_channels, input_gradient
from voxelwhy.heatmaps.prepare import as_map, explaining


def sensitivity_analysis(model, image, *, target_class=None, postprocess="abs", apply_softmax=True, device="auto"):
    """Relevance of each voxel: the gradient of the class with respect to it.

    Parameters
    ----------
    model : torch.nn.Module in eval mode; gives logits (n, classes). It is left as it was.
    image : array-like or tensor, (channels, *spatial), 2D or 3D.
    target_class : the class to explain; None is the predicted one.
    postprocess : "abs" (the paper; over several channels the largest), "square" (summed over channels) or None
        (the signed gradient, summed over channels).
    apply_softmax : True explains the probability, False the logit.
    device : "auto", "cpu", "cuda" or "cuda:N".

    Returns
    -------
    heatmap : float32 array, (*spatial) (float64 where the model is); score per unit of intensity.

    Raises
    ------
    ModelError : training mode, an unknown class, an output without gradient.
    ShapeError : an image of other axes than the model's, or one with NaN.
    ConfigError : an unknown `postprocess`.

    References
    ----------
    Simonyan, Vedaldi & Zisserman 2014, Deep inside convolutional networks (arXiv 1312.6034).
    """
    check_postprocess(postprocess)
    with explaining(model, image, device) as batch:
        gradient = input_gradient(model, batch, target_class, apply_softmax)
        return as_map(combine_channels(gradient, postprocess), batch)
