"""Checkpoints after each epoch, so that a killed training resumes and ends with the same weights."""

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
    """Progress of a training. Nothing else is needed to resume it, since random numbers are seeded by epoch."""

    epoch: int = 0
    history: list = field(default_factory=list)
    best_loss: float = float("inf")
    best_weights: dict | None = None


def checkpoint_key(content):
    """Return a name for a training run, hashed from everything that determines its outcome (any JSON content)."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


def save_checkpoint(path, model, optimiser, progress, average=None):
    """Write a checkpoint, completely or not at all; do nothing if `path` is None."""
    if path is None:
        return
    buffer = io.BytesIO()
    state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "progress": vars(progress)}
    if average is not None:
        state["average"] = average.state_dict()
    torch.save(state, buffer)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name is unique to this run: the job of a dead controller may still be training alongside its successor.
    beside = path.with_name(f".partial.{path.name}.{secrets.token_hex(4)}")
    try:
        beside.write_bytes(buffer.getbuffer())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def resume(path, model, optimiser, device, *, average=None):
    """Load the checkpoint at `path` into a model, its optimiser and its averaged copy, if it has one.

    Returns its Progress, or a new one if there is no checkpoint.

    Incomplete files of a killed predecessor are removed. A checkpoint that cannot be read, or whose weights are not
    finite, is ignored, and the training starts from the beginning.
    """
    if path is None:
        return Progress()
    for left in Path(path).parent.glob(f".partial.{Path(path).name}*"):
        left.unlink(missing_ok=True)
    if not Path(path).exists():
        return Progress()
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # an incomplete or unrelated file
        log.warning("the checkpoint %s cannot be read (%s): training starts from the beginning", path, error)
        return Progress()
    if not all(all_finite(state[part]) for part in ("model", "optimiser", "average") if part in state):
        log.warning("the checkpoint %s holds weights that are not finite: training starts from the beginning", path)
        return Progress()
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    if average is not None:
        average.load_state_dict(state["average"])
    progress = Progress(**state["progress"])
    log.info("resuming after epoch %d from %s", progress.epoch, path)
    return progress


def all_finite(state):
    """Tell whether all tensors in nested dicts and lists (a state_dict) are free of NaN and infinity."""
    if isinstance(state, torch.Tensor):
        return not state.is_floating_point() or bool(torch.isfinite(state).all())
    if isinstance(state, dict):
        return all(all_finite(value) for value in state.values())
    return all(all_finite(value) for value in state) if isinstance(state, (list, tuple)) else True
