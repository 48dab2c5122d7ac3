"""Occlusion: how much the score drops when a window of the image is blanked."""

from __future__ import annotations

from itertools import product

import numpy as np

from voxelwhy.errors import ConfigError
from voxelwhy.heatmaps.blanking import Part, drops
from voxelwhy.heatmaps.placement import draw_at_centres, window_centres
from voxelwhy.heatmaps.prepare import as_map, explaining


def occlusion(
    model,
    image,
    *,
    target_class=None,
    size=40,
    stride=20,
    occlusion_value=0.0,
    resize=True,
    batch_size=None,
    apply_softmax=True,
    device="auto",
):
    """Relevance of each place: the drop of the class probability when a window around it is blanked.

    The windows lie as in the published code: centred at 0, stride, 2 · stride …, reaching from centre - size // 2 up
    to, and without, centre + size // 2 (an odd size counts as the even one below), and clipped at the border.

    Parameters
    ----------
    model : torch.nn.Module in eval mode; gives logits (n, classes). It is left as it was.
    image : array-like or tensor, (channels, *spatial), 2D or 3D.
    target_class : the class to explain; None is the predicted one.
    size, stride : voxels; one number, or one for each axis.
    occlusion_value : what a blanked voxel becomes, in the image as the network sees it: after voxel-wise z-scoring 0
        is the training mean, not the background.
    resize : True draws each value at the centre of its (clipped) window, linear in between; False gives one value a
        window, (*windows).
    batch_size : windows run together; None is a good number for the device (see `blanking`).
    apply_softmax : True explains the probability, False the logit.
    device : "auto", "cpu", "cuda" or "cuda:N".

    Returns
    -------
    heatmap : float32 array, (*spatial) (float64 where the model is); signed drop, positive where the window speaks
        for the class.

    Raises
    ------
    ConfigError : a size below 2, a stride below 1, or not one for each axis; an occlusion value that is not finite.
    ModelError : training mode, an unknown class.
    ShapeError : an image of other axes than the model's, or one with NaN.

    References
    ----------
    Zeiler & Fergus 2014, Visualizing and understanding convolutional networks (arXiv 1311.2901); Rieke et al. 2018,
    section 2.3, with size 40 and stride 20.
    """
    with explaining(model, image, device) as batch:
        shape = tuple(batch.shape[2:])
        sizes = _for_each_axis("size", size, len(shape), least=2)
        strides = _for_each_axis("stride", stride, len(shape), least=1)
        windows = [_windows(*axis) for axis in zip(shape, sizes, strides, strict=True)]
        parts = (Part(box) for box in product(*([slice(*w) for w in axis] for axis in windows)))
        values = drops(
            model,
            batch,
            parts,
            value=occlusion_value,
            target_class=target_class,
            apply_softmax=apply_softmax,
            batch_size=batch_size,
        ).reshape([len(axis) for axis in windows])
        if resize:
            centres = [window_centres(*zip(*axis, strict=True)) for axis in windows]
            values = draw_at_centres(values, centres, shape)
        return as_map(values, batch)


def _windows(length, size, stride):
    """[start, stop) of each window along an axis of `length` voxels."""
    return [(max(0, c - size // 2), min(length, c + size // 2)) for c in range(0, length, stride)]


def _for_each_axis(name, value, axes, least):
    """`value` as a list of one whole number an axis, each at least `least`."""
    numbers = np.atleast_1d(np.asarray(value))
    if numbers.ndim != 1 or len(numbers) not in (1, axes) or not np.issubdtype(numbers.dtype, np.integer):
        raise ConfigError(f"{name} of the windows", found=value, allowed=f"a whole number, or {axes} of them")
    if numbers.min() < least:
        raise ConfigError(f"{name} of the windows is too small", found=value, allowed=f"{least} or more voxels")
    return [int(number) for number in np.broadcast_to(numbers, axes)]
