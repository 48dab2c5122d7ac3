"""Grad-CAM: the activations of the last convolution, weighted by how much the class depends on each channel."""

from __future__ import annotations

from voxelwhy.heatmaps.cam import channel_weights, draw, look, positive_sum
from voxelwhy.heatmaps.placement import check_interpolation
from voxelwhy.heatmaps.prepare import as_map, class_score, explaining


def grad_cam(
    model,
    image,
    *,
    target_class=None,
    last_conv_layer=None,
    resize=True,
    interpolation="linear",
    apply_softmax=True,
    device="auto",
):
    """Relevance of each place: channels of a layer, weighted by their mean gradient, summed, and the positive part.

    Parameters
    ----------
    model : torch.nn.Module in eval mode; gives logits (n, classes). It is left as it was.
    image : array-like or tensor, (channels, *spatial), 2D or 3D.
    target_class : the class to explain; None is the predicted one.
    last_conv_layer : the layer to look at, a module of the model (of any kind) or its name; None is the convolution
        that runs last of those on which the class depends. In a network that ends in parallel branches that is one
        branch: name the module in which they meet.
    resize : True draws each cell at the centre of its receptive field; False gives the layer's own grid, (*cells).
    interpolation : "linear" between the centres, or "nearest": each voxel has the value of the nearest centre.
    apply_softmax : True explains the probability, False the logit.
    device : "auto", "cpu", "cuda" or "cuda:N".

    Returns
    -------
    heatmap : float32 array, (*spatial) (float64 where the model is); 0 or more.

    Raises
    ------
    ModelError : no convolution with a grid (a TorchScript model: none can be reached), an unknown layer, one without a
        grid or on which the class does not depend, one whose receptive fields are not known (`resize=False` works
        then); training mode, an unknown class.
    ShapeError : an image of other axes than the model's, or one with NaN.
    ConfigError : an unknown `interpolation`.

    References
    ----------
    Selvaraju et al. 2017, Grad-CAM (arXiv 1610.02391).
    """
    check_interpolation(interpolation)

    def score(logits, target):
        return class_score(logits, target, apply_softmax)

    with explaining(model, image, device) as batch:
        seen = look(model, batch, target_class, last_conv_layer, score)
        cells = positive_sum(channel_weights(seen.gradient), seen)
        return as_map(draw(cells, seen, batch, interpolation) if resize else cells, batch)
