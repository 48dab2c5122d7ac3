"""Logits of an image with sets of its parts blanked, where each set differs by few parts from the one before."""

from __future__ import annotations

import logging

import numpy as np
import torch

from voxelwhy.errors import ConfigError
from voxelwhy.explain._shared.blanking import (
    ENGINES,
    WORTH_IT,
    Part,
    PlainLoop,
    check_options,
    checked,
    cut_part,
    faithful_engine,
)
from voxelwhy.explain._shared.prepare import bare, class_score, pick_target, progress
from voxelwhy.explain.incremental.engine import MAX_BYTES
from voxelwhy.explain.incremental.graph import NotExportable

log = logging.getLogger(__name__)

#: Fixed cost of blanking or restoring a part, in multiply-adds of the plain loop: about a millisecond on one core.
BESIDE = 10_000_000


def logits_of_states(
    model,
    batch,
    parts: list[Part],
    states,
    *,
    value,
    batch_size=None,
    engine="auto",
    max_bytes=MAX_BYTES,
    look=lambda whole: None,
) -> torch.Tensor:
    """Logits (1 + n_states, classes): those of the image, then those with each set of parts blanked.

    Parameters
    ----------
    model : torch.nn.Module in eval mode
    batch : tensor (1, channels, *spatial), on the model's device
    parts : parts of the image that do not overlap
    states : bool array (n_states, n_parts), the parts that are blanked. Their order decides the cost of the incremental
        engine, which goes from one to the next and computes what is different
    value : what blanked voxels become: a number, or those of a tensor (channels, *spatial)
    batch_size : images per batch of the plain engine; None chooses a suitable number
    engine : "incremental", "plain", or "auto": "incremental" where it saves work and torch.export can follow the
        network
    look : called with the logits of the image, before any state is run

    Raises
    ------
    ConfigError : `value` is not a finite number, `batch_size` is below 1, or the engine is unknown.
    ModelError : the engine is "incremental" and torch.export cannot follow the network.
    """
    if engine not in ENGINES:
        raise ConfigError("there is no such engine", found=engine, allowed=ENGINES)
    check_options(value, batch_size)
    states = np.asarray(states, dtype=bool).reshape(-1, len(parts))
    if engine == "auto" and len(states) * batch[0].numel() < WORTH_IT:
        engine = "plain"
    model = bare(model)
    with torch.inference_mode():
        if engine != "plain":
            try:
                return _walked(model, batch, parts, states, value, max_bytes, look, must=engine == "incremental")
            except NotExportable as error:
                if engine == "incremental":
                    raise
                log.info("the whole network is run for each image: %s", error)
        loop = PlainLoop(model, batch, value, batch_size)
        look(loop.whole)
        return torch.cat([loop.whole, loop(_Unions(parts, states, tuple(batch.shape[2:])))[0]])


def _walked(model, batch, parts, states, value, max_bytes, look, must):
    """The logits by the incremental engine; NotExportable, unless it `must`, if that would not save work."""
    walk = Walk(model, batch, parts, value, max_bytes)
    route = route_through(states)
    if not must and not walk.saves(route):
        raise NotExportable("the parts reach most of its layers")
    look(walk.engine.whole)
    return walk(route)


def scores_of_states(model, batch, parts, states, *, target_class, apply_softmax, **options) -> np.ndarray:
    """Scores of one class, float64 (1 + n_states,), with the options of `logits_of_states`."""
    targets = []

    def look(whole):
        targets.append(pick_target(whole, target_class))

    logits = logits_of_states(model, batch, parts, states, look=look, **options)
    with torch.inference_mode():
        return class_score(logits, targets[0], apply_softmax).double().cpu().numpy()


def route_through(states) -> list[tuple[bool, np.ndarray]]:
    """How to reach each state from the one before: whether to begin again at the image, and the parts to change.

    Parameters
    ----------
    states : bool array (n_states, n_parts)
    """
    route, now = [], np.zeros(states.shape[1], dtype=bool)
    for state in states:
        again = state.sum() < (state ^ now).sum()
        route.append((bool(again), np.flatnonzero(state if again else state ^ now)))
        now = state
    return route


class Walk:
    """The incremental engine on one image whose parts are blanked and restored one after the other.

    Parameters
    ----------
    model, batch, parts, value, max_bytes : see `logits_of_states`

    Raises
    ------
    NotExportable : torch.export cannot follow the network, or its layers take more than `max_bytes`.
    """

    def __init__(self, model, batch, parts, value, max_bytes=MAX_BYTES):
        self.engine, self.image, self.value = faithful_engine(model, batch, max_bytes), batch[0], value
        differs = (self.image != value).any(dim=0).cpu().numpy()
        self.parts = [cut_part(part, differs) for part in parts]
        self.plans = [part and self._plan(part) for part in self.parts]
        self.blank = np.zeros(len(parts), dtype=bool)

    def _plan(self, part):
        lo, hi = (np.array([[getattr(axis, end) for axis in part.box]]) for end in ("start", "stop"))
        mask = None if part.mask is None else torch.as_tensor(part.mask, device=self.image.device)
        return self.engine.plan_of(lo, hi), lo, hi, mask

    def saves(self, route) -> bool:
        """Whether a route takes less work than whole images, by multiply-adds and a fixed cost of each change."""
        costs = [plan[0].multiply_adds + BESIDE if plan else 0 for plan in self.plans]
        whole = next((plan[0].full_multiply_adds for plan in self.plans if plan), 0)
        return sum(costs[number] for _, changes in route for number in changes) < whole * len(route)

    def __call__(self, route) -> torch.Tensor:
        """Logits (1 + n_states, classes) of the image and of the states of a route from it; once for each `Walk`."""
        again = any(restart for restart, _ in route)
        layers = dict(self.engine.base) if again else {}
        self.engine.own_layers(1 + again, max((plan[0].bytes_each for plan in self.plans if plan), default=0))
        rows = [self.engine.whole]
        for restart, changes in progress(route, what="regions"):
            if restart:
                self._restore(layers)
            now = self.engine.whole if restart else rows[-1]
            for number in changes:
                now = self._change(number, now)
            rows.append(now)
        return checked(torch.cat(rows))

    def _restore(self, layers):
        for node, layer in layers.items():
            self.engine.base[node].copy_(layer)
        self.blank[:] = False

    def _change(self, number, now):
        self.blank[number] ^= True
        if self.plans[number] is None:  # blank already
            return now
        plan, lo, hi, mask = self.plans[number]
        inside = (slice(None), *self.parts[number].box)
        value = self.value if self.blank[number] else self.image
        return self.engine.move(plan, lo, hi, mask, value[inside] if isinstance(value, torch.Tensor) else value)


class _Unions:
    """The blanked voxels of each state as one part, made when it is needed."""

    def __init__(self, parts, states, shape):
        self.parts, self.states, self.shape = parts, states, shape

    def __len__(self):
        return len(self.states)

    def __iter__(self):
        everything = tuple(slice(0, length) for length in self.shape)
        blank = np.zeros(self.shape, dtype=bool)
        now = np.zeros(len(self.parts), dtype=bool)
        for state in self.states:
            for number in np.flatnonzero(state ^ now):
                part = self.parts[number]
                blank[part.box] ^= True if part.mask is None else part.mask
            now = state
            yield Part(everything, blank.copy())
