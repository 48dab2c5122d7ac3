"""What every method does first and last: check model, image and target; leave the model as it was."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import numpy as np
import torch
from torch import nn

from voxelwhy.errors import ModelError, ShapeError
from voxelwhy.models.devices import pick_device

AXES = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}


@contextmanager
def explaining(model, image, device="auto") -> Iterator[torch.Tensor]:
    """Give the image as a batch of one, (1, channels, *spatial), of the model's type and on the device of the work.

    A model that has to move for it is moved back afterwards. `auto` is where the model lies if that is no CPU, else
    what `pick_device` finds.

    Raises
    ------
    ModelError : not a torch module, or one (or a part of it) in training mode.
    ShapeError : an image that is not (channels, *spatial) with the model's number of axes, or holds NaN or infinity.
    """
    _check_model(model)
    first = next((t for t in chain(model.parameters(), model.buffers()) if t.is_floating_point()), None)
    home = first.device if first is not None else torch.device("cpu")
    work = home if str(device) == "auto" and home.type != "cpu" else pick_device(device)
    with torch.inference_mode(False):
        batch = _as_batch(image, first.dtype if first is not None else None)
        _check_image(batch, model)
        try:
            if work != home:
                model.to(work)
            yield batch.to(work)
        finally:
            if work != home:
                model.to(home)


def _check_model(model):
    if not isinstance(model, nn.Module):
        raise ModelError(f"the model is a {type(model).__name__}; a torch.nn.Module is wanted")
    training = [name or type(model).__name__ for name, module in model.named_modules() if module.training]
    if training:
        raise ModelError(
            f"the model is in training mode ({training[0]}): dropout and batch normalisation would change the answer. "
            "Call model.eval() first"
        )


def _as_batch(image, dtype):
    try:
        tensor = torch.as_tensor(image if isinstance(image, torch.Tensor) else np.asarray(image))
    except TypeError as error:
        raise ShapeError(f"the image is not an array of numbers: {error}") from error
    if tensor.is_complex():
        raise ShapeError(f"the image is complex ({tensor.dtype}); real numbers are wanted")
    if dtype is None:
        dtype = tensor.dtype if tensor.is_floating_point() else torch.float32
    return tensor.detach().to(dtype)[None]


def _check_image(batch, model):
    axes = next((n for module in model.modules() for kind, n in AXES.items() if isinstance(module, kind)), None)
    found = batch.ndim - 2
    if found != axes if axes else found not in (2, 3):
        raise ShapeError(
            f"the image has shape {tuple(batch.shape[1:])}; (channels, *spatial) with "
            f"{axes or '2 or 3'} spatial axes is wanted, without a batch axis"
        )
    if not bool(torch.isfinite(batch).all()):
        raise ShapeError(f"the image holds {int((~torch.isfinite(batch)).sum())} values that are NaN or infinite")


def run_model(model, batch) -> torch.Tensor:
    """The logits (n, classes) of a batch.

    Raises
    ------
    ShapeError : the network cannot take images of this shape.
    ModelError : its output is not one row of finite, real logits for each image, at least two of them.
    """
    try:
        logits = model(batch)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ShapeError(f"the network cannot take an image of shape {tuple(batch.shape[1:])}: {error}") from error
    if not isinstance(logits, torch.Tensor):
        raise ModelError(f"the network gives a {type(logits).__name__}; a tensor of logits (n, classes) is wanted")
    if logits.ndim != 2 or len(logits) != len(batch) or not logits.is_floating_point():
        raise ModelError(
            f"the network gives {logits.dtype} of shape {tuple(logits.shape)} for {len(batch)} image(s); "
            "real logits of shape (n, classes) are wanted"
        )
    if logits.shape[1] < 2:
        raise ModelError("the network gives one logit; at least two (one for each class) are wanted")
    if not bool(torch.isfinite(logits).all()):
        raise ModelError("the network gives NaN or infinite logits for this image")
    return logits


def pick_target(logits, target_class) -> int:
    """The class to explain: `target_class`, or the predicted one where that is None.

    Raises
    ------
    ModelError : a class that the network does not have.
    """
    if target_class is None:
        return int(logits[0].argmax())
    classes = logits.shape[1]
    try:
        target = operator.index(target_class)
    except TypeError as error:
        raise ModelError(f"target_class is {target_class!r}; None or a whole number is wanted") from error
    if not 0 <= target < classes:
        raise ModelError(f"target_class is {target}; the network has the classes 0 to {classes - 1}")
    return target


def class_score(logits, target, apply_softmax) -> torch.Tensor:
    """Probability (or logit) of class `target` for each row, in float64.

    A float32 softmax that is sure rounds to exactly 1 and has no gradient left; in float64 a logit gap of 20 still
    has its gradient of 2e-9.
    """
    scores = logits.double()
    return (scores.softmax(dim=1) if apply_softmax else scores)[:, target]


def as_map(values, batch) -> np.ndarray:
    """A heatmap as numpy array, float32, or float64 where the model works in float64.

    Raises
    ------
    ModelError : the map holds NaN or infinity.
    """
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().double().numpy()
    if not np.isfinite(values).all():
        raise ModelError("the heatmap holds NaN or infinite values: the network has no finite gradient at this image")
    return np.ascontiguousarray(values, dtype=np.float64 if batch.dtype == torch.float64 else np.float32)
