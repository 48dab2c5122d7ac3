"""A 2D network on the slices of a 3D scan: each slice is explained by itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from voxelwhy.errors import ConfigError, ShapeError
from voxelwhy.explain._shared.inputs import as_values, convolutions, is_nibabel


def by_slice(method: Callable, model, image, *, axis, **options) -> np.ndarray:
    """Explain each slice of a 3D scan by a 2D network, and stack the maps in the shape of the scan.

    Parameters
    ----------
    method : an explanation method of this package, such as `occlusion`
    model : torch.nn.Module, a 2D network in eval mode that takes one channel
    image : one scan, (x, y, z): numpy, torch or nibabel
    axis : 0, 1 or 2, along which the scan is cut; 2 gives axial slices of a scan in RAS+
    options : of the method. `target_class` None explains the predicted class of each slice. `area_masks`, of the scan's
        shape, is cut like the scan; a slice without an area has the map 0

    Returns
    -------
    heatmap : (x, y, z), float32 or float64 as from the method. Values of different slices belong to different
        predictions, each with its own score.

    Raises
    ------
    ShapeError : the image does not have three axes, or the network is not 2D.
    ConfigError : `axis` is not 0, 1 or 2; or `resize=False`, whose maps do not have the shape of the slices.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from voxelwhy import by_slice, sensitivity_analysis
    >>> _ = torch.manual_seed(0)
    >>> network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 8 * 6, 2)).eval()
    >>> by_slice(sensitivity_analysis, network, torch.randn(10, 8, 5), axis=2).shape
    (10, 8, 5)
    """
    if axis not in (0, 1, 2) or isinstance(axis, bool):
        raise ConfigError("there is no such axis to cut a scan along", found=axis, allowed="0, 1 or 2")
    if options.get("resize") is False:
        raise ConfigError("maps of slices are stacked in the shape of the scan", found="resize=False", allowed="True")
    values, _ = as_values(image)
    if values.ndim != 3:
        raise ShapeError(f"the image has shape {tuple(values.shape)}; one scan of three axes (x, y, z) is expected")
    if any(axes == 3 for axes, _ in convolutions(model)):
        raise ShapeError("the network is 3D and sees the whole scan: call the method itself")
    slices = values.movedim(axis, 0)[:, None]
    if "area_masks" in options:
        maps = _by_area(method, model, slices, axis, **options)
    else:
        maps = method(model, slices, **options)
    return np.moveaxis(maps, 0, axis)


def _by_area(method, model, slices, axis, *, area_masks, **options):
    several = isinstance(area_masks, (list, tuple))
    masks = [_cut(mask, axis) for mask in area_masks] if several else _cut(area_masks, axis)
    if any(len(mask) != len(slices) for mask in (masks if several else [masks])):
        raise ShapeError("the areas do not have the shape of the scan; nothing is resampled here")
    maps = []
    for number, one in enumerate(slices):
        areas = [mask[number] for mask in masks] if several else masks[number]
        areas = [area for area in areas if area.any()] if several else areas
        found = bool(areas) if several else bool(areas.any())
        maps.append(method(model, one, area_masks=areas, **options) if found else np.zeros(one.shape[1:], np.float32))
    return np.stack(maps)


def _cut(mask, axis):
    if is_nibabel(mask):
        mask = mask.dataobj
    mask = mask.detach().cpu().numpy() if isinstance(mask, torch.Tensor) else np.asanyarray(mask)
    return np.moveaxis(mask, axis, 0)
