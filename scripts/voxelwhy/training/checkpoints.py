"""Where a training stands, kept after each epoch, so that one that was killed goes on to the same weights."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

import torch

log = logging.getLogger(__name__)


@dataclass
class Progress:
    """Where a training stands; all that a resumed one needs, since random numbers are drawn by epoch."""

    epoch: int = 0
    history: list = field(default_factory=list)
    best_loss: float = float("inf")
    best_weights: dict | None = None


def checkpoint_key(content):
    """A name for a training run by all that decides its outcome: inputs, settings, code (any JSON-able content)."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


def save_checkpoint(path, model, optimiser, progress):
    """Write where a training stands, whole or not at all; nothing where `path` is None."""
    if path is None:
        return
    buffer = io.BytesIO()
    state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "progress": vars(progress)}
    torch.save(state, buffer)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of this run's alone: a job whose controller died may still train while its successor does.
    beside = path.with_name(f".partial.{path.name}.{secrets.token_hex(4)}")
    try:
        beside.write_bytes(buffer.getbuffer())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def resume(path, model, optimiser, device):
    """Bring `model` and `optimiser` to where the checkpoint at `path` stands; returns that Progress, or a new one.

    What a killed predecessor left half-written is swept up. A checkpoint that cannot be read, or whose weights are not
    finite, counts for nothing: the training is what can be done anew.
    """
    if path is None:
        return Progress()
    for left in Path(path).parent.glob(f".partial.{Path(path).name}*"):
        left.unlink(missing_ok=True)
    if not Path(path).exists():
        return Progress()
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # a half-copied or foreign file
        log.warning("the checkpoint %s cannot be read (%s): training starts afresh", path, error)
        return Progress()
    if not (all_finite(state["model"]) and all_finite(state["optimiser"])):
        log.warning("the checkpoint %s holds weights that are not finite: training starts afresh", path)
        return Progress()
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    progress = Progress(**state["progress"])
    log.info("going on after epoch %d from %s", progress.epoch, path)
    return progress


def all_finite(state):
    """Whether every tensor in nested dicts and lists (a state_dict) is free of NaN and infinity."""
    if isinstance(state, torch.Tensor):
        return not state.is_floating_point() or bool(torch.isfinite(state).all())
    if isinstance(state, dict):
        return all(all_finite(value) for value in state.values())
    return all(all_finite(value) for value in state) if isinstance(state, (list, tuple)) else True
