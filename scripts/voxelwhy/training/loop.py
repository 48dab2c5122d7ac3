"""The training loop of one fold: optimise a network, validate it after each epoch, and predict scans."""

from __future__ import annotations

import copy
import logging
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import cross_entropy

from voxelwhy.errors import InputError
from voxelwhy.networks.build import build_network, network_options
from voxelwhy.networks.devices import pick_device
from voxelwhy.networks.layers import in_channels_last, takes_lone_scan
from voxelwhy.training.augmentation import Augmentation
from voxelwhy.training.bfloat16 import refuse_wrong_gradients
from voxelwhy.training.checkpoints import all_finite, resume, save_checkpoint
from voxelwhy.training.volumes import Normaliser

log = logging.getLogger(__name__)

OPTIMISERS = {"adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop}


@dataclass
class FoldData:
    """The data of one fold: the volumes, their class (0 or 1), the scans of each side, and their names."""

    volumes: object
    targets: np.ndarray
    sides: dict
    normaliser: Normaliser
    scan_ids: list

    def batch(self, indices):
        """Return normalised scans as (n, channels, x, y, z) float32, and their classes."""
        scans = [self.normaliser(self.volumes[i], self.volumes.mask) for i in indices]
        return torch.from_numpy(np.stack(scans)), torch.from_numpy(self.targets[indices])


def train_network(data, settings, *, seed, fold, checkpoint=None, device="auto"):
    """Train a network with the settings of the study.

    The loss is the cross-entropy of the network's two logits, or the binary cross-entropy for a network with one logit.

    Parameters
    ----------
    data : FoldData
    settings : dict
        network, channels, dropout (or options, for a user's own network), optimiser (adam or rmsprop, otherwise with
        PyTorch's defaults), learning_rate, weight_decay, batch_size, epochs, keep (last or best_validation),
        class_weights (none or balanced), augmentation (of training scans only, see `augmentation.Augmentation`),
        precision (float32 or bfloat16), threads.
    seed, fold : int
        They determine, together with the epoch, the initial weights, order of scans, dropout and augmentation. So a
        training that was killed and resumed ends with the weights of an uninterrupted one, bit for bit on the CPU.
    checkpoint : path, optional
        Written after each epoch, completely or not at all, and read if it exists.

    Returns
    -------
    model : torch.nn.Module, in eval mode
    history : DataFrame, one row per epoch

    Raises
    ------
    InputError
        Classes are weighted and one has no training scan; or the network cannot be trained on these batches. Or the
        loss, the weights or the validation loss became NaN or infinite: the message names the epoch, the batch, its
        scans, the last good checkpoint, and what to try.
    ModelError
        bfloat16 on a processor gives wrong gradients for this network and grid.
    ConfigError
        The augmentation may move scans out of the network's input.
    """
    torch.set_num_threads(settings["threads"])
    torch.use_deterministic_algorithms(True, warn_only=True)
    # By default, that mode also fills each new tensor with NaN, which takes a tenth of a step's time and changes no
    # result.
    torch.utils.deterministic.fill_uninitialized_memory = False
    device = pick_device(device)
    _warn_of_slow_precision(settings, device)
    torch.manual_seed(_stream(seed, fold, 0))
    channels, options = len(settings["channels"]), network_options(settings)
    model = build_network(settings["network"], data.volumes.shape, image_channels=channels, **options)
    model = in_channels_last(model).to(device)
    if settings["precision"] == "bfloat16" and device.type == "cpu":
        refuse_wrong_gradients(model, data.batch(data.sides["train"][:1])[0])
    augmentation = Augmentation.of(settings["augmentation"], data.volumes)
    weights = class_weights(data, settings)
    optimiser = OPTIMISERS[settings["optimiser"]](
        model.parameters(), lr=settings["learning_rate"], weight_decay=settings["weight_decay"]
    )
    progress = resume(checkpoint, model, optimiser, device)
    started, first = time.monotonic(), progress.epoch
    for epoch in range(progress.epoch + 1, settings["epochs"] + 1):
        try:
            stream = _stream(seed, fold, epoch)
            row = _one_epoch(model, optimiser, data, settings, weights, augmentation, stream, device, epoch)
            row |= _validate(model, data, settings, weights, device)
        except _NotFiniteError as error:
            raise _for_people(error, data, epoch, progress, checkpoint) from error
        progress.epoch = epoch
        progress.history.append(row)
        if settings["keep"] == "best_validation" and row["validation_loss"] < progress.best_loss:
            progress.best_loss = row["validation_loss"]
            progress.best_weights = copy.deepcopy(model.state_dict())
        save_checkpoint(checkpoint, model, optimiser, progress)
        left = (time.monotonic() - started) / (epoch - first) * (settings["epochs"] - epoch)
        log.info(
            "epoch %d/%d  loss %.4f  accuracy %.3f  validation loss %.4f  about %.0f s left",
            epoch, settings["epochs"], row["train_loss"], row["train_accuracy"], row["validation_loss"], left,
        )  # fmt: skip
    if progress.best_weights is not None:
        model.load_state_dict(progress.best_weights)
    return model.eval().cpu(), pd.DataFrame(progress.history)


def _stream(seed, fold, epoch):
    """Return a separate seed for each fold and epoch; epoch 0 stands for the initial weights."""
    return int(np.random.SeedSequence([seed, fold, epoch]).generate_state(1, np.uint64)[0] >> 1)


def class_weights(data, settings):
    """Compute the weight of each class in the loss, (2,) float32, from the training scans; None without weighting.

    `balanced` is n / (2 n_class), so that both classes contribute equally. The loss of a batch is the weighted mean, as
    in torch.

    Raises
    ------
    InputError : a class has no training scan.
    """
    if settings["class_weights"] == "none":
        return None
    counts = np.bincount(data.targets[data.sides["train"]], minlength=2)
    if not counts.all():
        raise InputError(
            "training.class_weights: a class has no training scan in this fold",
            found=f"{counts[0]} scans of the negative class, {counts[1]} of the positive",
            allowed="at least one of each",
        )
    return torch.from_numpy(counts.sum() / (2 * counts)).float()


def _loss(logits, targets, weights):
    return cross_entropy(logits, targets, weights if weights is None else weights.to(logits))


def batches(model, data, order, size):
    """Divide the scans of an epoch, `order`, into batches of `size`; the last batch may be smaller.

    A single last scan joins the previous batch if the network cannot be trained on it alone, because batch
    normalisation would see a single value (a deep network on a coarse grid).

    Raises
    ------
    InputError : there is no batch that it could join.
    """
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    if len(parts[-1]) == 1 and not takes_lone_scan(model, data.batch(parts[-1])[0].shape):
        if size == 1 or len(parts) == 1:
            raise InputError(
                "this network cannot be trained on one scan at a time: its batch normalisation would see one value",
                found=f"training.batch_size {size}, {len(order)} training scans",
                allowed="batches of two scans or more, or a finer grid",
            )
        parts[-2:] = [np.concatenate(parts[-2:])]
    return parts


def _one_epoch(model, optimiser, data, settings, weights, augmentation, stream, device, epoch):
    torch.manual_seed(stream)
    order = np.random.default_rng(stream).permutation(data.sides["train"])
    model.train()
    losses, right, before = 0.0, 0, order[:0]
    parts = batches(model, data, order, settings["batch_size"])
    for number, indices in enumerate(parts, start=1):
        scans, targets = data.batch(indices)
        if augmentation is not None:
            scans = augmentation.batch(scans, indices, stream)
        scans, targets = scans.to(device), targets.to(device)
        with _precision(settings, device):
            logits = two_logits(model(scans))
        loss = _loss(logits.float(), targets, weights)
        if not torch.isfinite(loss):
            if all_finite(list(model.parameters())):
                raise _NotFiniteError(f"the training loss turned {loss.item()}", f"batch {number}", indices)
            raise _NotFiniteError("the weights turned NaN or infinite", f"in the step of batch {number - 1}", before)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        losses += loss.item() * len(indices)
        right += int((logits.argmax(1) == targets).sum())
        before = indices
    # No later loss would reveal that the last step failed, and its weights are kept.
    if not (all_finite(model.state_dict()) and all_finite(optimiser.state_dict())):
        raise _NotFiniteError("the weights turned NaN or infinite", f"in the step of batch {number}", indices)
    return {"epoch": epoch, "train_loss": losses / len(order), "train_accuracy": right / len(order)}


class _NotFiniteError(Exception):
    """A value is NaN or infinite: which one, where in the epoch, and the indices of the scans concerned."""

    def __init__(self, what, at, indices):
        super().__init__(what)
        self.what, self.at, self.indices = what, at, indices


def _for_people(error, data, epoch, progress, checkpoint):
    scans = [data.scan_ids[i] for i in error.indices]
    batch, _ = data.batch(error.indices)
    broken = [name for name, scan in zip(scans, batch, strict=True) if not all_finite(scan)]
    if broken:
        found = f"voxels that are NaN or infinite after normalisation, in {', '.join(broken)}"
        hint = "look at check.png of these scans, and list those that you reject in registration.skip"
    else:
        found = "every voxel of these scans is finite: the network's own values grew too large"
        hint = "lower training.learning_rate (to a tenth), or use training.precision: float32 if it is bfloat16"
    kept = "nothing yet: this is the first epoch"
    if checkpoint is not None and progress.epoch:
        kept = f"{checkpoint}, after epoch {progress.epoch}, the last good one"
    return InputError(
        f"{error.what} in epoch {epoch}, {error.at}\n  scans:   {', '.join(scans)}\n  kept:    {kept}",
        found=found,
        hint=f"{hint}; with other settings training starts again, with the same ones it fails again",
    )


def _validate(model, data, settings, weights, device):
    indices = data.sides["validation"]
    if not len(indices):
        return {"validation_loss": float("nan"), "validation_accuracy": float("nan")}
    logits = torch.from_numpy(predict_logits(model, data, indices, settings, device))
    targets = torch.from_numpy(data.targets[indices])
    loss = _loss(logits, targets, weights).item()
    if not np.isfinite(loss):
        at_fault = indices[~torch.isfinite(logits).all(1).numpy()]
        raise _NotFiniteError(f"the validation loss turned {loss}", "in its validation", at_fault)
    return {
        "validation_loss": loss,
        "validation_accuracy": float((logits.argmax(1) == targets).double().mean()),
    }


def predict_logits(model, data, indices, settings, device="cpu"):
    """Compute the logits of the scans `indices`, float64, (n, 2), by `two_logits`; leaves the model in eval mode."""
    model.eval()
    logits = []
    with torch.inference_mode():
        for start in range(0, len(indices), settings["batch_size"]):
            scans, _ = data.batch(indices[start : start + settings["batch_size"]])
            with _precision(settings, device):
                logits.append(two_logits(model(scans.to(device))).double().cpu())
    return torch.cat(logits).numpy()


def _precision(settings, device):
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=settings["precision"] == "bfloat16")


def _warn_of_slow_precision(settings, device):
    # Measured for `rieke2018` on whole volumes, on a processor with AVX2 only: 75 s per step, 12 s in float32.
    if settings["precision"] == "bfloat16" and device.type == "cpu" and not has_bfloat16():
        log.warning(
            "this processor has no bfloat16 arithmetic (AVX-512 or better): training is several times slower than "
            "with training.precision: float32"
        )


def has_bfloat16():
    """Tell whether this processor computes convolutions in bfloat16 rather than converting values back and forth."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def two_logits(logits) -> torch.Tensor:
    """Return logits (n, 2) of the negative and the positive class; a single logit z becomes -z/2 and z/2.

    Their softmax is then 1 - sigmoid(z) and sigmoid(z), and their cross-entropy is the binary cross-entropy of z, so
    that everything defined for two logits also works for one. Logits of two or more classes are returned unchanged.
    """
    return torch.cat([-logits / 2, logits / 2], dim=1) if logits.shape[1] == 1 else logits
