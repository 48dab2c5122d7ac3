"""Occlusion: the drop of the score when a window of the image is blanked."""

from __future__ import annotations

from itertools import product

import numpy as np

from voxelwhy.errors import ConfigError
from voxelwhy.explain._shared.blanking import MAX_BYTES, Part, drops
from voxelwhy.explain._shared.placement import check_interpolation, draw_at_centres, window_centres
from voxelwhy.explain._shared.prepare import each_image


def occlusion(
    model,
    image,
    target_class=None,
    size=40,
    stride=20,
    occlusion_value=0.0,
    apply_softmax=True,
    three_d=None,
    resize=True,
    interpolation="linear",
    cuda=None,
    verbose=False,
    *,
    positive_only=True,
    engine="auto",
    max_bytes=MAX_BYTES,
    batch_size=None,
    device="auto",
):
    """Relevance of each position: the drop of the class probability when a window around it is blanked.

    Windows are placed as in the published code: centred at 0, stride, 2 · stride …, and clipped at the border. Each one
    spans [centre - size // 2, centre + size // 2), so an odd size is rounded down to the next even one.

    Parameters
    ----------
    model : torch.nn.Module in eval mode that returns logits (n, classes), or one logit (n, 1) for class 1 against
        class 0. It is not modified.
    image : one image or a batch (numpy, torch or nibabel), 2D or 3D, (channels, *spatial) or channels last.
    target_class : the class to explain, or one class per image of a batch; None explains the predicted class.
    size, stride : in voxels; one number, or one per axis.
    occlusion_value : the value of blanked voxels, on the intensity scale that the network sees. After voxel-wise
        z-scoring, 0 is the training mean, not the background.
    resize : True draws each value at the centre of its (clipped) window; False returns one value per window,
        (*windows).
    interpolation : between the centres, "linear" or "nearest".
    three_d : True or False states whether images are 3D; None infers it from the model.
    positive_only : True, as in the original package, sets negative relevance to 0; False keeps the sign.
    engine : "incremental" recomputes only what each change reaches, which is exact and many times faster; "plain" runs
        the whole network each time; "auto" takes the one that is expected to be faster, for all images of a batch
        together, from multiply-adds: torch.export has to follow the network first, which takes seconds once, and
        spares little behind operators that need a whole layer (group normalisation, squeeze-and-excitation).
    max_bytes : approximate extra memory of the incremental engine, in bytes.
    batch_size : windows per batch; None chooses a suitable number.
    apply_softmax : True explains the probability, False the logit.
    cuda, device : device is "auto", "cpu", "cuda" or "cuda:N"; cuda=True selects the first CUDA device.
    verbose : print the prediction and what the method does, and show a progress bar.

    Returns
    -------
    heatmap : float32 array (float64 for a float64 model), (*spatial), or (n, *spatial) for a batch; the drop,
        positive where the window supports the class.

    Raises
    ------
    ConfigError : a size is below 2 or a stride below 1, their number does not match the axes, or the occlusion value is
        not finite.
    ModelError : the model is in training mode, or the class does not exist.
    ShapeError : the image does not fit the model, its shape is ambiguous, or it contains NaN.

    References
    ----------
    Zeiler & Fergus 2014, Visualizing and understanding convolutional networks (arXiv 1311.2901); Rieke et al. 2018,
    section 2.3, with size 40 and stride 20.

    Examples
    --------
    A network that measures how bright a scan is, and a scan with one bright block. The window that covers it scores
    highest:

    >>> import numpy as np
    >>> import torch
    >>> from torch import nn
    >>> from voxelwhy import occlusion
    >>> network = nn.Sequential(nn.Conv3d(1, 1, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16**3, 1)).eval()
    >>> for weights in network.parameters():
    ...     _ = nn.init.constant_(weights, 0.01)
    >>> scan = torch.zeros(16, 16, 16)
    >>> scan[2:6, 8:12, 4:8] = 5
    >>> heatmap = occlusion(network, scan, size=4, stride=2)
    >>> heatmap.shape
    (16, 16, 16)
    >>> windows = occlusion(network, scan, size=4, stride=2, resize=False)
    >>> window = np.unravel_index(windows.argmax(), windows.shape)
    >>> print(f"{windows[window]:.2f} at {[2 * int(number) for number in window]}, of {windows.size} windows")
    0.18 at [4, 10, 6], of 512 windows
    """
    check_interpolation(interpolation)

    def explain(batch, target):
        shape = tuple(batch.shape[2:])
        sizes = _for_each_axis("size", size, len(shape), least=2)
        strides = _for_each_axis("stride", stride, len(shape), least=1)
        windows = [_windows(*axis) for axis in zip(shape, sizes, strides, strict=True)]
        parts = [Part(box) for box in product(*([slice(*w) for w in axis] for axis in windows))]
        values = drops(
            model,
            batch,
            parts,
            value=occlusion_value,
            target_class=target,
            apply_softmax=apply_softmax,
            batch_size=batch_size,
            engine=engine,
            max_bytes=max_bytes,
        ).reshape([len(axis) for axis in windows])
        if resize:
            centres = [window_centres(*zip(*axis, strict=True)) for axis in windows]
            values = draw_at_centres(values, centres, shape, interpolation)
        return np.maximum(values, 0) if positive_only else values

    options = {"target_class": target_class, "device": device, "cuda": cuda, "verbose": verbose, "three_d": three_d}
    return each_image(explain, model, image, **options)


def _windows(length, size, stride):
    """[start, stop) of each window along an axis of `length` voxels."""
    return [(max(0, c - size // 2), min(length, c + size // 2)) for c in range(0, length, stride)]


def _for_each_axis(name, value, axes, least):
    """`value` as a list of one whole number per axis, each at least `least`."""
    numbers = np.atleast_1d(np.asarray(value))
    if numbers.ndim != 1 or len(numbers) not in (1, axes) or not np.issubdtype(numbers.dtype, np.integer):
        raise ConfigError(
            f"{name} of the windows is invalid", found=value, allowed=f"a whole number, or {axes} of them"
        )
    if numbers.min() < least:
        raise ConfigError(f"{name} of the windows is too small", found=value, allowed=f"{least} or more voxels")
    return [int(number) for number in np.broadcast_to(numbers, axes)]
