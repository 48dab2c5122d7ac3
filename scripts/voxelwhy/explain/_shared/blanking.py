"""How the score of an image drops when a part of it is blanked, for many parts."""

from __future__ import annotations

import logging
import math
from functools import partial
from numbers import Real
from typing import NamedTuple

import numpy as np
import torch

from voxelwhy.errors import ConfigError, ModelError, ShapeError
from voxelwhy.explain._shared.prepare import (
    bare,
    check_count,
    class_score,
    expected,
    images_are_separate,
    pick_target,
    progress,
    run_model,
    same_logits,
    two_axes,
)
from voxelwhy.explain.incremental.engine import MAX_BYTES, Incremental
from voxelwhy.explain.incremental.gathering import FORMATS, fill_part
from voxelwhy.explain.incremental.graph import NotExportable
from voxelwhy.explain.incremental.known import forget
from voxelwhy.explain.incremental.worth import is_worth_following, miss

log = logging.getLogger(__name__)

ENGINES = ("auto", "incremental", "plain")
#: Parts times voxels below which a job is small: to follow the network, or to estimate what that spares, takes longer.
WORTH_IT = 5_000_000

# Two images at a time were fastest on a CPU (see PlainLoop); a GPU needs more to be busy.
BATCH_SIZE = {"cpu": 2}
BATCH_SIZE_ELSEWHERE = 16


class Part(NamedTuple):
    """A part of an image: a box (one slice per axis) and, unless the part fills the box, a mask of the box's shape."""

    box: tuple[slice, ...]
    mask: np.ndarray | None = None


def check_options(value, batch_size):
    """Raise ConfigError unless `value` is a finite number (or a tensor) and `batch_size` a whole number or None."""
    if not isinstance(value, torch.Tensor) and (not isinstance(value, Real) or not math.isfinite(value)):
        raise ConfigError("occlusion_value must be a finite number", found=value)
    if batch_size is not None:
        check_count("batch_size", batch_size, least=1)


class PlainLoop:
    """Logits of an image with parts of it blanked, computed by the whole network on batches of blanked copies.

    Blanked voxels become `value`: a number, or those of another image, a tensor (channels, *spatial).

    A single buffer holds the copies, and each copy is reset after use, so memory does not grow with the number of
    parts. Parts that already have the constant `value` are not run.

    The batch size of two was measured with the network `small` on 49 x 61 x 53 voxels, one thread. A window takes 19 ms
    in batches of one (torch does not use oneDNN for a single image), 9.0 ms in batches of two or three, 13 ms in
    batches of four, and 20 ms in batches of eight or more (the system provides fresh pages for activations above 32 MB
    each time).
    """

    def __init__(self, model, batch, value, batch_size=None):
        check_options(value, batch_size)
        size = int(batch_size) if batch_size else BATCH_SIZE.get(batch.device.type, BATCH_SIZE_ELSEWHERE)
        self.model, self.image = model, batch[0]
        self.value = value if isinstance(value, torch.Tensor) else float(value)
        if size > 1 and not images_are_separate(model, batch):
            size = 1  # otherwise the other parts would influence the result of each part
        self.buffer = batch.repeat(size, *[1] * (batch.ndim - 1))
        # Every pass, including this one, uses a full batch: between batch sizes, results differ in the last digits.
        self.whole = run_model(model, self.buffer)[:1]
        # A network that starts with an in-place layer would overwrite the buffer, so it receives a copy each time.
        self.writes_input = not torch.equal(self.buffer[0], self.image)
        if self.writes_input:
            self.buffer.copy_(batch.expand_as(self.buffer))

    def __call__(self, parts: list[Part]):
        """Logits of each part (n, classes), and whether it was run (n,); otherwise they are those of the image."""
        rows, was_run, waiting = [], [], []
        for number, part in enumerate(progress(parts, what="occlusion")):
            rows.append(self.whole[0])
            was_run.append(self._blank(len(waiting), part))
            if was_run[-1]:
                waiting.append((number, part.box))
            if len(waiting) == len(self.buffer):
                self._run(waiting, rows)
        if waiting:
            self._run(waiting, rows)
        return torch.stack(rows) if rows else self.whole[:0], np.array(was_run, dtype=bool)

    def _blank(self, slot, part):
        """Blank `part` in one copy; return False if that would not change the image."""
        region = self.buffer[slot][(slice(None), *part.box)]
        value = self.value[(slice(None), *part.box)] if isinstance(self.value, torch.Tensor) else self.value
        changes = region != value
        if part.mask is not None:
            changes &= torch.as_tensor(part.mask, device=region.device)
        if not bool(changes.any()):
            return False
        fill_part(region, part.mask, value)
        return True

    def _run(self, waiting, rows):
        logits = run_model(self.model, self.buffer.clone() if self.writes_input else self.buffer)
        for slot, (number, box) in enumerate(waiting):
            rows[number] = logits[slot].clone()  # a view would keep the logits of the whole batch alive
            inside = (slice(None), *box)
            self.buffer[slot][inside] = self.image[inside]
        waiting.clear()


class IncrementalLoop:
    """The same logits, computed incrementally: only what each part reaches (see `voxelwhy.explain.incremental`).

    Raises
    ------
    NotExportable : torch.export cannot follow the network, or its graph gives other logits than the network.
    """

    def __init__(self, model, batch, value, batch_size=None, max_bytes=MAX_BYTES):
        check_options(value, batch_size)
        self.value, self.batch_size = float(value), batch_size
        self.differs = (batch[0] != self.value).any(dim=0).cpu().numpy()
        self.engine = faithful_engine(model, batch, max_bytes)
        self.whole = self.engine.whole

    def __call__(self, parts: list[Part]):
        """Logits of each part (n, classes), and whether it was run (n,); otherwise they are those of the image."""
        cut = [cut_part(part, self.differs) for part in parts]
        was_run = np.array([part is not None for part in cut], dtype=bool)
        logits = self.whole.expand(len(parts), -1).clone()
        run = [part for part in cut if part is not None]
        if run:
            lo, hi = (np.array([[getattr(s, end) for s in part.box] for part in run]) for end in ("start", "stop"))
            masks = [part.mask for part in run]
            found = self.engine(lo, hi, masks, self.value, self.batch_size, partial(progress, what="occlusion"))
            logits[torch.as_tensor(was_run, device=logits.device)] = checked(found)
        return logits, was_run


def faithful_engine(model, batch, max_bytes=MAX_BYTES) -> Incremental:
    """The incremental engine of an image, after comparing its logits with those of the network.

    Raises
    ------
    NotExportable : torch.export cannot follow the network, its graph gives other logits than the network, or the
        network mixes the images of a batch.
    """
    whole = _logits(model, batch)
    for _ in range(2):
        engine = Incremental(model, batch, max_bytes)
        engine.whole = two_axes(engine.whole)
        if engine.whole.shape == whole.shape and same_logits(engine.whole, whole):
            if not images_are_separate(model, batch):
                raise NotExportable("its logits for an image depend on the other images of the batch")
            return engine
        forget(model)  # the cached graph is outdated: an option of the model changed that its repr does not show
    raise NotExportable("its graph gives other logits than the network itself")


def cut_part(part, differs) -> Part | None:
    """The part, cropped to the box of the voxels that it changes, those where `differs`; None if it changes none."""
    changes = differs[part.box] if part.mask is None else differs[part.box] & part.mask
    if not changes.any():
        return None
    if changes.all():
        return part
    others = [tuple(a for a in range(changes.ndim) if a != axis) for axis in range(changes.ndim)]
    along = [np.flatnonzero(changes.any(axis=axes)) for axes in others]
    inside = tuple(slice(int(places[0]), int(places[-1]) + 1) for places in along)
    starts = [whole.start or 0 for whole in part.box]
    box = tuple(slice(start + s.start, start + s.stop) for start, s in zip(starts, inside, strict=True))
    return Part(box, None if part.mask is None else part.mask[inside])


def _logits(model, batch):
    """The logits of the network, with channels-last memory if possible: 3D takes a third less time there."""
    try:
        return run_model(model, batch.clone(memory_format=FORMATS[batch.ndim]))
    except ShapeError:  # the network uses view, which depends on the memory layout
        return run_model(model, batch.clone())


def checked(logits) -> torch.Tensor:
    """The logits (n, classes), or ModelError if they are not finite."""
    if not bool(torch.isfinite(logits).all()):
        raise ModelError("the network returns NaN or infinite logits for the image with a part blanked")
    return two_axes(logits)


def drops(
    model,
    batch,
    parts: list[Part],
    *,
    value,
    target_class,
    apply_softmax,
    batch_size=None,
    engine="auto",
    max_bytes=MAX_BYTES,
) -> np.ndarray:
    """The drop of a class score when each part is blanked, (n_parts,) float64; 0 for parts that change nothing.

    Parameters
    ----------
    engine : "incremental" recomputes only what a part reaches; "plain" runs the whole network for each part; "auto" is
        the one that is expected to be faster (incremental/worth.py), and "plain" for networks that torch.export cannot
        follow.

    Raises
    ------
    ConfigError : `value` is not a finite number, `batch_size` is below 1, or the engine is unknown.
    ModelError : the engine is "incremental" and torch.export cannot follow the network.
    """
    if engine not in ENGINES:
        raise ConfigError("there is no such engine", found=engine, allowed=ENGINES)
    model = bare(model)
    with torch.inference_mode():
        if engine == "auto" and not _pays_off(model, batch, parts):
            engine = "plain"
        if engine != "plain":
            try:
                loop = IncrementalLoop(model, batch, value, batch_size, max_bytes)
                return _drops(loop, parts, target_class, apply_softmax)
            except NotExportable as error:
                if engine == "incremental":
                    raise
                log.info("the whole network is run for each part: %s", error)
        return _drops(PlainLoop(model, batch, value, batch_size), parts, target_class, apply_softmax)


def _pays_off(model, batch, parts):
    """Whether the incremental engine is expected to be faster for these parts."""
    if len(parts) * batch[0].numel() < WORTH_IT:
        return False
    lo, hi = (np.array([[getattr(side, end) for side in part.box] for part in parts]) for end in ("start", "stop"))
    try:
        worth = is_worth_following(model, batch, lo, hi, expected())
        if not worth:
            miss(model, batch, lo, hi)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        # The network itself reports what is wrong with it, or runs only outside of such a count.
        log.info("what parts of the image spare cannot be estimated: %s", error)
        return True
    if not worth:
        log.info("the whole network is run for each part: little is spared, or less than torch.export takes")
    return worth


def _drops(loop, parts, target_class, apply_softmax):
    target = pick_target(loop.whole, target_class)
    logits, was_run = loop(parts)
    scores = class_score(torch.cat([loop.whole, logits]), target, apply_softmax).cpu().numpy()
    return np.where(was_run, scores[0] - scores[1:], 0.0)
