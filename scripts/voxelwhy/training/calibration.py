"""Calibration of a trained network by one temperature, fitted to its validation scans."""

from __future__ import annotations

import logging

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import nn

from voxelwhy.errors import InputError, ModelError
from voxelwhy.networks.ensemble import two_logits
from voxelwhy.training.learner import predict_logits

log = logging.getLogger(__name__)

#: Temperatures that are tried.
LOWEST, HIGHEST = 0.05, 20.0


def calibrate(model, data, targets, settings, *, required=True):
    """Divide the logits of a network by the temperature that fits its validation scans, if the settings ask for it.

    Parameters
    ----------
    model : torch.nn.Module, in eval mode on the CPU; it is changed in place
    data : FoldData
    targets : int64 array (scans,), the classes by which the network was trained
    settings : dict with calibrate (none or temperature), batch_size and precision
    required : bool
        If False, a network whose validation scans are all of one class, as shuffled diagnoses may have it, is left as
        it is; otherwise that is refused.

    Returns
    -------
    float, the temperature; None if nothing was changed

    Raises
    ------
    InputError, ModelError : as in `fit_temperature` and `divide_logits`.
    """
    if settings["calibrate"] == "none":
        return None
    validation = data.sides["validation"]
    if not required and len(np.unique(targets[validation])) < 2:
        log.warning("the validation scans of a draw of shuffled diagnoses are all of one class: it is not calibrated")
        return None
    temperature = fit_temperature(predict_logits(model, data, validation, settings), targets[validation])
    divide_logits(model, temperature, data.batch(validation[:1])[0])
    return temperature


def fit_temperature(logits, targets):
    """Find the temperature by which logits are divided so that the likelihood of the classes is largest.

    Classes count as (n + 1)/(n + 2) instead of 1, and 1/(n + 2) instead of 0, where n is the number of scans of the
    class. Otherwise the likelihood of scans that are separated perfectly would grow without limit as the temperature
    falls, and every probability would become 0 or 1.

    Parameters
    ----------
    logits : array (scans, 2)
    targets : array (scans,), class 0 or 1

    Returns
    -------
    float, 0.05 to 20

    Raises
    ------
    InputError : there are no scans of one class, whose probabilities could not be calibrated.

    References
    ----------
    Guo, Pleiss, Sun & Weinberger 2017, On calibration of modern neural networks; Platt 1999 for the
    targets.
    """
    logits, targets = np.asarray(logits, dtype=float), np.asarray(targets)
    counts = np.bincount(targets, minlength=2)
    if not counts.all():
        raise InputError(
            "training.calibrate: a class has no validation scan in this fold",
            found=f"{counts[0]} scans of the negative class, {counts[1]} of the positive",
            allowed="at least one of each",
            hint="raise validation_fraction of the split",
        )

    share = (counts + 1) / (counts + 2)
    of_positive = np.where(targets == 1, share[1], 1 - share[0])

    def loss(log_temperature):
        logs = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -(of_positive * logs[:, 1] + (1 - of_positive) * logs[:, 0]).mean()

    found = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def divide_logits(model, temperature, images):
    """Divide all logits of `model` by a temperature, in the weights of its last dense layer.

    The calibrated network has no further layer, so every method explains it like any other.

    Parameters
    ----------
    model : torch.nn.Module, in eval mode
    temperature : float
    images : tensor (n, channels, x, y, z), on which the result is checked

    Raises
    ------
    ModelError : the logits do not come from the last dense layer alone, as in a user's own network with another end.
    """
    with torch.inference_mode():
        before = two_logits(model(images))
    dense = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    if dense:
        with torch.no_grad():
            for values in (dense[-1].weight, dense[-1].bias):
                if values is not None:
                    values /= temperature
    with torch.inference_mode():
        after = two_logits(model(images))
    if not dense or not torch.allclose(after, before / temperature, rtol=1e-4, atol=1e-5):
        raise ModelError(
            "training.calibrate: the logits of this network are not those of its last dense layer (torch.nn.Linear), "
            "so they cannot be divided by a temperature; use calibrate: none"
        )
