"""A network in training: its labels, optimiser, schedule and averaged weights, step by step."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from voxelwhy.errors import InputError
from voxelwhy.networks.build import build_network, network_options
from voxelwhy.networks.ensemble import two_logits
from voxelwhy.networks.layers import in_channels_last
from voxelwhy.training.averaging import averaged_model
from voxelwhy.training.bfloat16 import autocast
from voxelwhy.training.checkpoints import all_finite, resume, save_checkpoint
from voxelwhy.training.feeding import batches

OPTIMISERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "rmsprop": torch.optim.RMSprop}
SCHEDULES = {
    "one_cycle": lambda optimiser, rate, steps, **how: OneCycleLR(optimiser, max_lr=rate, total_steps=steps, **how),
    "cosine": lambda optimiser, rate, steps, **how: CosineAnnealingLR(optimiser, T_max=steps, **how),
}


class Learner:
    """One network of `loop.train_networks`; parameters as there.

    Parameters
    ----------
    targets : int64 array (scans,), the class (0 or 1) of each scan of `data` for this network
    stream : int, seed of the initial weights
    checkpoint : path or None
    """

    def __init__(self, data, targets, settings, *, stream, checkpoint, device):
        torch.manual_seed(stream)
        channels, options = len(settings["channels"]), network_options(settings)
        model = build_network(settings["network"], data.volumes.shape, image_channels=channels, **options)
        self.model, self.targets, self.checkpoint = in_channels_last(model).to(device), targets, checkpoint
        self.stem, self.body = split_stem(self.model)
        self.settings, self.data, self.device = settings, data, device
        self.weights = class_weights(targets[data.sides["train"]], settings)
        self.optimiser = OPTIMISERS[settings["optimiser"]](
            self.model.parameters(), lr=settings["learning_rate"], weight_decay=settings["weight_decay"]
        )
        each = len(batches(self.model, data, data.sides["train"], settings["batch_size"]))
        averaged = settings["average"] == "ema"
        self.average = averaged_model(self.model, settings["epochs"] * each) if averaged else None
        self.progress = resume(checkpoint, self.model, self.optimiser, device, average=self.average)
        self.schedule = self._schedule(each)

    def _schedule(self, each):
        """The schedule of the learning rate; each step's rate follows from its number, also after resuming."""
        if (make := SCHEDULES.get(self.settings["schedule"])) is None:
            return None
        resumed = copy.deepcopy(self.optimiser.state_dict())
        how = {"last_epoch": self.progress.epoch * each - 1}
        schedule = make(self.optimiser, self.settings["learning_rate"], self.settings["epochs"] * each, **how)
        if self.progress.epoch:  # a new schedule takes its first step; that of the resumed one lies behind
            self.optimiser.load_state_dict(resumed)
        return schedule

    @property
    def result(self):
        """The network that is validated and kept: the averaged one, if there is an average."""
        return self.model if self.average is None else self.average.module

    @property
    def stopped(self):
        """Whether the validation loss has not fallen below its lowest value for `patience` epochs."""
        if (patience := self.settings.get("patience")) is None or not self.progress.history:
            return False
        losses = [row["validation_loss"] for row in self.progress.history]
        return len(losses) - 1 - int(np.argmin(losses)) >= patience

    def start_epoch(self, stream, n_scans):
        torch.manual_seed(stream)
        self.random, self.n_scans = self._random_state(), n_scans
        self.model.train()
        self.losses, self.right, self.before = 0.0, 0, np.zeros(0, int)

    def step(self, stemmed, indices, number, epoch):
        """One step of the optimiser on a batch, with the random numbers of a network that is trained alone.

        `stemmed` is the output of `stem` for the scans of the batch.
        """
        self._set_random_state(self.random)
        targets = torch.from_numpy(self.targets[indices]).to(self.device)
        with autocast(self.settings, self.device):
            logits = two_logits(self.body(stemmed))
        loss = _loss(logits.float(), targets, self.weights)
        if not torch.isfinite(loss):
            if all_finite(list(self.model.parameters())):
                raise self._failed(f"the training loss turned {loss.item()}", f"batch {number}", indices, epoch)
            where = f"in the step of batch {number - 1}"
            raise self._failed("the weights turned NaN or infinite", where, self.before, epoch)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        if self.schedule is not None:
            self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.losses += loss.item() * len(indices)
        self.right += int((logits.argmax(1) == targets).sum())
        self.before, self.random = indices, self._random_state()

    def last_step(self, number, epoch):
        """The figures of the epoch, once its last step is known to be finite."""
        # No later loss would reveal that the last step failed, and its weights are kept.
        if not (all_finite(self.model.state_dict()) and all_finite(self.optimiser.state_dict())):
            where = f"in the step of batch {number}"
            raise self._failed("the weights turned NaN or infinite", where, self.before, epoch)
        return {
            "epoch": epoch,
            "train_loss": self.losses / self.n_scans,
            "train_accuracy": self.right / self.n_scans,
        }

    def validate(self, epoch):
        indices = self.data.sides["validation"]
        if not len(indices):
            return {"validation_loss": float("nan"), "validation_accuracy": float("nan")}
        logits = torch.from_numpy(predict_logits(self.result, self.data, indices, self.settings, self.device))
        targets = torch.from_numpy(self.targets[indices])
        loss = _loss(logits, targets, self.weights).item()
        if not np.isfinite(loss):
            at_fault = indices[~torch.isfinite(logits).all(1).numpy()]
            raise self._failed(f"the validation loss turned {loss}", "in its validation", at_fault, epoch)
        accuracy = float((logits.argmax(1) == targets).double().mean())
        return {"validation_loss": loss, "validation_accuracy": accuracy}

    def end_epoch(self, row):
        progress = self.progress
        progress.epoch = row["epoch"]
        progress.history.append(row)
        if self.settings["keep"] == "best_validation" and row["validation_loss"] < progress.best_loss:
            progress.best_loss = row["validation_loss"]
            progress.best_weights = copy.deepcopy(self.result.state_dict())
        save_checkpoint(self.checkpoint, self.model, self.optimiser, progress, self.average)

    def finished(self):
        """The network to keep, in eval mode on the CPU, and its history."""
        if self.progress.best_weights is not None:
            self.result.load_state_dict(self.progress.best_weights)
        return self.result.eval().cpu(), pd.DataFrame(self.progress.history)

    def _random_state(self):
        on_gpu = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        return torch.get_rng_state(), on_gpu

    def _set_random_state(self, state):
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1], self.device)

    def _failed(self, what, at, indices, epoch):
        return not_finite(what, at, indices, self.data, epoch, self.progress, self.checkpoint)


def split_stem(model):
    """Divide a network into the pool with which it begins, which does not learn, and the rest.

    Networks that are trained on the same batches share what the pool makes of them: an eighth of the work of `compact`.

    Returns
    -------
    stem : torch.nn.Module, the identity if the network begins otherwise
    body : torch.nn.Module, on the same weights as `model`
    """
    # A network of somebody's own that is derived from Sequential may do more in its forward.
    first = next(iter(model), None) if type(model) is torch.nn.Sequential else None
    return (first, model[1:]) if isinstance(first, torch.nn.AvgPool3d) else (torch.nn.Identity(), model)


def predict_logits(model, data, indices, settings, device="cpu"):
    """Compute the logits of the scans `indices`, float64, (n, 2), by `two_logits`; leaves the model in eval mode."""
    model.eval()
    logits = []
    with torch.inference_mode():
        for start in range(0, len(indices), settings["batch_size"]):
            scans, _ = data.batch(indices[start : start + settings["batch_size"]])
            with autocast(settings, device):
                logits.append(two_logits(model(scans.to(device))).double().cpu())
    return torch.cat(logits).numpy()


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
