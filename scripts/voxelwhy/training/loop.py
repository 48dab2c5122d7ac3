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
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from voxelwhy.errors import InputError
from voxelwhy.networks.build import build_network, network_options
from voxelwhy.networks.devices import pick_device
from voxelwhy.networks.layers import in_channels_last, takes_lone_scan
from voxelwhy.training.augmentation import Augmentation
from voxelwhy.training.bfloat16 import refuse_wrong_gradients
from voxelwhy.training.checkpoints import all_finite, resume, save_checkpoint
from voxelwhy.training.volumes import Normaliser

log = logging.getLogger(__name__)

OPTIMISERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "rmsprop": torch.optim.RMSprop}
SCHEDULES = {
    "one_cycle": lambda optimiser, rate, steps, **how: OneCycleLR(optimiser, max_lr=rate, total_steps=steps, **how),
    "cosine": lambda optimiser, rate, steps, **how: CosineAnnealingLR(optimiser, T_max=steps, **how),
}


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
    """Train a network with the settings of the study: `train_networks` for the true classes of the scans.

    Returns
    -------
    model : torch.nn.Module, in eval mode
    history : DataFrame, one row per epoch
    """
    how = {"seed": seed, "fold": fold, "device": device}
    return train_networks(data, [data.targets], settings, checkpoints=[checkpoint], **how)[0]


def train_networks(data, targets, settings, *, seed, fold, checkpoints, device="auto"):
    """Train one network for each labelling of the scans, all on the same batches, which are read and normalised once.

    The networks differ in the labels alone. Initial weights, order of scans, dropout and augmentation are the same, so
    each network equals, bit for bit on the CPU, the one that is trained alone. The loss is the cross-entropy of the
    network's two logits, or the binary cross-entropy for a network with one logit.

    Parameters
    ----------
    data : FoldData
    targets : list of int64 arrays (scans,), the class (0 or 1) of each scan of `data`
    settings : dict
        network, channels, dropout (or options, for a user's own network), optimiser (adam, adamw or rmsprop, otherwise
        with PyTorch's defaults), schedule (constant, one_cycle or cosine), learning_rate, weight_decay, batch_size,
        epochs, keep (last or best_validation), class_weights (none or balanced), augmentation (of training scans only,
        see `augmentation.Augmentation`), precision (float32 or bfloat16), threads.
    seed, fold : int
        They determine, together with the epoch, the initial weights, order of scans, dropout and augmentation. So a
        training that was killed and resumed ends with the weights of an uninterrupted one, bit for bit on the CPU.
    checkpoints : list of path or None, one for each network
        Written after each epoch, completely or not at all, and read if it exists.

    Returns
    -------
    list of (model, history) : torch.nn.Module in eval mode; DataFrame, one row per epoch

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
    learners = [
        _Learner(data, own, settings, seed=seed, fold=fold, checkpoint=checkpoint, device=device)
        for own, checkpoint in zip(targets, checkpoints, strict=True)
    ]
    if settings["precision"] == "bfloat16" and device.type == "cpu":
        refuse_wrong_gradients(learners[0].model, data.batch(data.sides["train"][:1])[0])
    augmentation = Augmentation.of(settings["augmentation"], data.volumes)
    started, first = time.monotonic(), min(learner.progress.epoch for learner in learners)
    for epoch in range(first + 1, settings["epochs"] + 1):
        behind = [learner for learner in learners if learner.progress.epoch < epoch]
        rows = _one_epoch(behind, data, settings, augmentation, _stream(seed, fold, epoch), device, epoch)
        for learner, row in zip(behind, rows, strict=True):
            learner.end_epoch(row | learner.validate(data, settings, device, epoch), settings)
        left = (time.monotonic() - started) / (epoch - first) * (settings["epochs"] - epoch)
        row = behind[0].progress.history[-1]
        log.info(
            "epoch %d/%d  loss %.4f  accuracy %.3f  validation loss %.4f%s  about %.0f s left",
            epoch, settings["epochs"], row["train_loss"], row["train_accuracy"], row["validation_loss"],
            f"  (first of {len(learners)} networks)" if len(learners) > 1 else "", left,
        )  # fmt: skip
    return [learner.finished() for learner in learners]


class _Learner:
    """A network in training: its labels, optimiser, progress, and the state of its random numbers."""

    def __init__(self, data, targets, settings, *, seed, fold, checkpoint, device):
        torch.manual_seed(_stream(seed, fold, 0))
        channels, options = len(settings["channels"]), network_options(settings)
        model = build_network(settings["network"], data.volumes.shape, image_channels=channels, **options)
        self.model, self.targets, self.checkpoint = in_channels_last(model).to(device), targets, checkpoint
        self.weights = class_weights(targets[data.sides["train"]], settings)
        self.optimiser = OPTIMISERS[settings["optimiser"]](
            self.model.parameters(), lr=settings["learning_rate"], weight_decay=settings["weight_decay"]
        )
        self.progress = resume(checkpoint, self.model, self.optimiser, device)
        self.device, self.schedule = device, None
        if (make := SCHEDULES.get(settings["schedule"])) is not None:
            # The rate of each step follows from its number, so that a resumed training continues where it ended.
            each = len(batches(self.model, data, data.sides["train"], settings["batch_size"]))
            how, resumed = {"last_epoch": self.progress.epoch * each - 1}, copy.deepcopy(self.optimiser.state_dict())
            self.schedule = make(self.optimiser, settings["learning_rate"], settings["epochs"] * each, **how)
            if self.progress.epoch:  # a new schedule takes its first step; that of the resumed one lies behind
                self.optimiser.load_state_dict(resumed)

    def start_epoch(self, stream, n_scans):
        torch.manual_seed(stream)
        self.random, self.n_scans = self._random_state(), n_scans
        self.model.train()
        self.losses, self.right, self.before = 0.0, 0, np.zeros(0, int)

    def step(self, scans, indices, number, settings, data, epoch):
        """One step of the optimiser on a batch, with the random numbers of a network that is trained alone."""
        self._set_random_state(self.random)
        targets = torch.from_numpy(self.targets[indices]).to(self.device)
        with _precision(settings, self.device):
            logits = two_logits(self.model(scans))
        loss = _loss(logits.float(), targets, self.weights)
        if not torch.isfinite(loss):
            if all_finite(list(self.model.parameters())):
                raise self._failed(f"the training loss turned {loss.item()}", f"batch {number}", indices, data, epoch)
            where = f"in the step of batch {number - 1}"
            raise self._failed("the weights turned NaN or infinite", where, self.before, data, epoch)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        if self.schedule is not None:
            self.schedule.step()
        self.losses += loss.item() * len(indices)
        self.right += int((logits.argmax(1) == targets).sum())
        self.before, self.random = indices, self._random_state()

    def last_step(self, number, data, epoch):
        """The figures of the epoch, once its last step is known to be finite."""
        # No later loss would reveal that the last step failed, and its weights are kept.
        if not (all_finite(self.model.state_dict()) and all_finite(self.optimiser.state_dict())):
            where = f"in the step of batch {number}"
            raise self._failed("the weights turned NaN or infinite", where, self.before, data, epoch)
        return {
            "epoch": epoch,
            "train_loss": self.losses / self.n_scans,
            "train_accuracy": self.right / self.n_scans,
        }

    def validate(self, data, settings, device, epoch):
        indices = data.sides["validation"]
        if not len(indices):
            return {"validation_loss": float("nan"), "validation_accuracy": float("nan")}
        logits = torch.from_numpy(predict_logits(self.model, data, indices, settings, device))
        targets = torch.from_numpy(self.targets[indices])
        loss = _loss(logits, targets, self.weights).item()
        if not np.isfinite(loss):
            at_fault = indices[~torch.isfinite(logits).all(1).numpy()]
            what = f"the validation loss turned {loss}"
            raise self._failed(what, "in its validation", at_fault, data, epoch)
        accuracy = float((logits.argmax(1) == targets).double().mean())
        return {"validation_loss": loss, "validation_accuracy": accuracy}

    def end_epoch(self, row, settings):
        progress = self.progress
        progress.epoch = row["epoch"]
        progress.history.append(row)
        if settings["keep"] == "best_validation" and row["validation_loss"] < progress.best_loss:
            progress.best_loss = row["validation_loss"]
            progress.best_weights = copy.deepcopy(self.model.state_dict())
        save_checkpoint(self.checkpoint, self.model, self.optimiser, progress)

    def finished(self):
        if self.progress.best_weights is not None:
            self.model.load_state_dict(self.progress.best_weights)
        return self.model.eval().cpu(), pd.DataFrame(self.progress.history)

    def _random_state(self):
        on_gpu = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        return torch.get_rng_state(), on_gpu

    def _set_random_state(self, state):
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1], self.device)

    def _failed(self, what, at, indices, data, epoch):
        return not_finite(what, at, indices, data, epoch, self.progress, self.checkpoint)


def _stream(seed, fold, epoch):
    """Return a separate seed for each fold and epoch; epoch 0 stands for the initial weights."""
    return int(np.random.SeedSequence([seed, fold, epoch]).generate_state(1, np.uint64)[0] >> 1)


def class_weights(targets, settings):
    """Compute the weight of each class in the loss, (2,) float32, from the training scans; None without weighting.

    `balanced` is n / (2 n_class), so that both classes contribute equally. The loss of a batch is the weighted mean, as
    in torch. `targets` are the classes (0 or 1) of the training scans.

    Raises
    ------
    InputError : a class has no training scan.
    """
    if settings["class_weights"] == "none":
        return None
    counts = np.bincount(targets, minlength=2)
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


def _one_epoch(learners, data, settings, augmentation, stream, device, epoch):
    """Train each network on every batch of an epoch; returns the figures of each."""
    order = np.random.default_rng(stream).permutation(data.sides["train"])
    for learner in learners:
        learner.start_epoch(stream, len(order))
    parts = batches(learners[0].model, data, order, settings["batch_size"])
    for number, indices in enumerate(parts, start=1):
        scans, _ = data.batch(indices)
        if augmentation is not None:
            scans = augmentation.batch(scans, indices, stream)
        scans = scans.to(device)
        for learner in learners:
            learner.step(scans, indices, number, settings, data, epoch)
    return [learner.last_step(number, data, epoch) for learner in learners]


def not_finite(what, at, indices, data, epoch, progress, checkpoint):
    """Return the InputError for a value that is NaN or infinite: which one, where, in which scans, what to try."""
    scans = [data.scan_ids[i] for i in indices]
    batch, _ = data.batch(indices)
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
        f"{what} in epoch {epoch}, {at}\n  scans:   {', '.join(scans)}\n  kept:    {kept}",
        found=found,
        hint=f"{hint}; with other settings training starts again, with the same ones it fails again",
    )


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
