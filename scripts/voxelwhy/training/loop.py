"""The training loop of one fold: networks learn from the same batches and are validated after each epoch."""

from __future__ import annotations

import logging
import time

import numpy as np
import torch

from voxelwhy.networks.devices import pick_device
from voxelwhy.training.augmentation import Augmentation
from voxelwhy.training.bfloat16 import autocast, refuse_wrong_gradients, warn_if_slow
from voxelwhy.training.feeding import batches, read_ahead
from voxelwhy.training.learner import Learner

log = logging.getLogger(__name__)


def train_network(data, settings, *, seed, fold, member=0, checkpoint=None, device="auto"):
    """Train a network with the settings of the study: `train_networks` for the true classes of the scans.

    Returns
    -------
    model : torch.nn.Module, in eval mode
    history : DataFrame, one row per epoch
    """
    how = {"seed": seed, "fold": fold, "member": member, "device": device}
    return train_networks(data, [data.targets], settings, checkpoints=[checkpoint], **how)[0]


def train_networks(data, targets, settings, *, seed, fold, checkpoints, member=0, device="auto"):
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
        epochs, patience (optional; epochs without a lower validation loss after which the training ends), average (none
        or ema, see `averaging.averaged_model`), keep (last or best_validation), class_weights (none or balanced),
        augmentation (of training scans only, see `augmentation.Augmentation`), precision (float32 or bfloat16),
        threads.
    seed, fold, member : int
        They determine, together with the epoch, the initial weights, order of scans, dropout and augmentation. So a
        training that was killed and resumed ends with the weights of an uninterrupted one, bit for bit on the CPU.
        Trainings of the same fold for an ensemble differ in `member`.
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
    device, key = pick_device(device), [seed, fold, member]
    learners = [
        Learner(data, own, settings, stream=_stream(key, 0), checkpoint=checkpoint, device=device)
        for own, checkpoint in zip(targets, checkpoints, strict=True)
    ]
    if settings["precision"] == "bfloat16" and device.type == "cpu":
        warn_if_slow()
        refuse_wrong_gradients(learners[0].model, data.batch(data.sides["train"][:1])[0])
    augmentation = Augmentation.of(settings["augmentation"], data.volumes)
    started, first = time.monotonic(), min(learner.progress.epoch for learner in learners)
    for epoch in range(first + 1, settings["epochs"] + 1):
        behind = [learner for learner in learners if learner.progress.epoch < epoch and not learner.stopped]
        if not behind:
            continue
        rows = _one_epoch(behind, data, settings, augmentation, _stream(key, epoch), device, epoch)
        for learner, row in zip(behind, rows, strict=True):
            learner.end_epoch(row | learner.validate(epoch))
        left = (time.monotonic() - started) / (epoch - first) * (settings["epochs"] - epoch)
        row = behind[0].progress.history[-1]
        log.info(
            "epoch %d/%d  loss %.4f  accuracy %.3f  validation loss %.4f%s  about %.0f s left",
            epoch, settings["epochs"], row["train_loss"], row["train_accuracy"], row["validation_loss"],
            f"  (first of {len(learners)} networks)" if len(learners) > 1 else "", left,
        )  # fmt: skip
    return [learner.finished() for learner in learners]


def _stream(key, epoch):
    """Return a separate seed for each training (seed, fold, member) and epoch; epoch 0 stands for initial weights."""
    seed, fold, member = key
    entropy = [seed, fold, epoch] + [member] * (member > 0)
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)


def _one_epoch(learners, data, settings, augmentation, stream, device, epoch):
    """Train each network on every batch of an epoch; returns the figures of each."""
    order = np.random.default_rng(stream).permutation(data.sides["train"])
    for learner in learners:
        learner.start_epoch(stream, len(order))
    parts = batches(learners[0].model, data, order, settings["batch_size"])

    def read(indices):
        scans, _ = data.batch(indices)
        return scans if augmentation is None else augmentation.batch(scans, indices, stream)

    on_gpu = device.type == "cuda"
    fed = read_ahead(parts, read, readers=settings["threads"] if on_gpu else 1, pinned=on_gpu)
    for number, (indices, scans) in enumerate(fed, start=1):
        with autocast(settings, device):
            stemmed = learners[0].stem(scans.to(device, non_blocking=True))
        for learner in learners:
            learner.step(stemmed, indices, number, epoch)
    return [learner.last_step(number, epoch) for learner in learners]
