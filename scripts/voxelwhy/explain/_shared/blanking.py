"""What the network says of an image with a part of it blanked, for many parts."""

from __future__ import annotations

import logging
import math
from functools import partial
from numbers import Real
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from voxelwhy.errors import ConfigError, ModelError, ShapeError
from voxelwhy.explain._shared.prepare import check_count, class_score, pick_target, progress, run_model, two_axes
from voxelwhy.explain.incremental.engine import MAX_BYTES, Incremental
from voxelwhy.explain.incremental.gathering import FORMATS
from voxelwhy.explain.incremental.graph import NotExportable
from voxelwhy.explain.incremental.known import forget

log = logging.getLogger(__name__)

ENGINES = ("auto", "incremental", "plain")
#: Parts times voxels from which it is worth the second or two in which the network is followed.
WORTH_IT = 10_000_000
#: How far the graph's logits may lie from the network's, relative: they are summed in another order.
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4}

# Two images at a time on a CPU, by measurement (docstring of PlainLoop); a GPU wants more to be busy.
BATCH_SIZE = {"cpu": 2}
BATCH_SIZE_ELSEWHERE = 16


class Part(NamedTuple):
    """A part of an image: a box (one slice an axis) and, where it does not fill the box, a mask of the box's shape."""

    box: tuple[slice, ...]
    mask: np.ndarray | None = None


def _check_options(value, batch_size):
    if not isinstance(value, Real) or not math.isfinite(value):
        raise ConfigError("occlusion_value is not a finite number", found=value)
    if batch_size is not None:
        check_count("batch_size", batch_size, least=1)


class PlainLoop:
    """Logits of an image with parts of it blanked, by running the whole network on batches of blanked copies.

    One buffer is made and each copy in it is reset after use, so memory does not grow with the number of parts. A
    part that is `value` throughout already is not run.

    Measured: network `small`, 49 x 61 x 53 voxels, one thread, per window: 19 ms one by one (torch leaves oneDNN
    aside for a single image), 9.0 ms in twos and threes, 13 ms in fours, 20 ms in eights and above (activations past
    32 MB come from the system as fresh pages each time). Hence two.
    """

    def __init__(self, model, batch, value, batch_size=None):
        _check_options(value, batch_size)
        size = int(batch_size) if batch_size else BATCH_SIZE.get(batch.device.type, BATCH_SIZE_ELSEWHERE)
        self.model, self.image, self.value = model, batch[0], float(value)
        if any(isinstance(module, _BatchNorm) and module.running_mean is None for module in model.modules()):
            size = 1  # it normalises over all images of a batch: each part would be told from the others in it
        self.buffer = batch.repeat(size, *[1] * (batch.ndim - 1))
        # Every pass is a full batch, this one too: kernels differ between batch sizes in the last digits.
        try:
            self.whole = run_model(model, self.buffer)[:1]
        except (ModelError, ShapeError):
            if batch_size or size == 1:
                raise
            self.buffer = batch.clone()  # a network that is written for one image, as by view(1, -1)
            self.whole = run_model(model, self.buffer)
        # A network that begins with an in-place layer writes into the buffer: it gets a copy each time.
        self.writes_input = not torch.equal(self.buffer[0], self.image)
        if self.writes_input:
            self.buffer.copy_(batch.expand_as(self.buffer))

    def __call__(self, parts: list[Part]):
        """Logits for each part (n, classes), and whether it was run (n,); where not, they are those of the image."""
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
        """Blank `part` in one copy; False, and nothing done, where that would change nothing."""
        region = self.buffer[slot][(slice(None), *part.box)]
        if part.mask is None:
            if bool((region == self.value).all()):
                return False
            region.fill_(self.value)
            return True
        mask = torch.as_tensor(part.mask, device=region.device)
        if bool(((region == self.value) | ~mask).all()):
            return False
        region.masked_fill_(mask, self.value)
        return True

    def _run(self, waiting, rows):
        logits = run_model(self.model, self.buffer.clone() if self.writes_input else self.buffer)
        for slot, (number, box) in enumerate(waiting):
            rows[number] = logits[slot].clone()  # not a view: that would keep the whole batch of logits
            inside = (slice(None), *box)
            self.buffer[slot][inside] = self.image[inside]
        waiting.clear()


class IncrementalLoop:
    """The same logits, by computing again only what each part reaches (see `voxelwhy.explain.incremental`).

    Raises
    ------
    NotExportable : the network cannot be followed, or what was followed does not say of the image what it says.
    """

    def __init__(self, model, batch, value, batch_size=None, max_bytes=MAX_BYTES):
        _check_options(value, batch_size)
        self.value, self.batch_size = float(value), batch_size
        self.differs = (batch[0] != self.value).any(dim=0).cpu().numpy()
        self.whole = _logits(model, batch)
        for _ in range(2):
            self.engine = Incremental(model, batch, max_bytes)
            if self._agrees():
                self.whole = self.engine.whole
                return
            forget(model)  # an option of the model that is not seen from outside has changed
        raise NotExportable("its graph does not give what the network gives")

    def _agrees(self):
        found = two_axes(self.engine.whole)
        if found.shape != self.whole.shape:
            return False
        self.engine.whole = found
        allowed = ROUNDING.get(found.dtype, 0.03) * (1 + float(self.whole.abs().max()))
        return float((found - self.whole).abs().max()) <= allowed

    def __call__(self, parts: list[Part]):
        """Logits for each part (n, classes), and whether it was run (n,); where not, they are those of the image."""
        cut = [self._cut(part) for part in parts]
        was_run = np.array([part is not None for part in cut], dtype=bool)
        logits = self.whole.expand(len(parts), -1).clone()
        run = [part for part in cut if part is not None]
        if run:
            lo, hi = (np.array([[getattr(s, end) for s in part.box] for part in run]) for end in ("start", "stop"))
            masks = [part.mask for part in run]
            found = self.engine(lo, hi, masks, self.value, self.batch_size, partial(progress, what="occlusion"))
            logits[torch.as_tensor(was_run, device=logits.device)] = _checked(found)
        return logits, was_run

    def _cut(self, part):
        """The part cut down to the box of what it changes; None where that is nothing."""
        changes = self.differs[part.box] if part.mask is None else self.differs[part.box] & part.mask
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
    """What the network says, of channels-last memory where it takes that: 3D takes a third less time there."""
    try:
        return run_model(model, batch.clone(memory_format=FORMATS[batch.ndim]))
    except ShapeError:  # a network that views its layers in the order of memory
        return run_model(model, batch.clone())


def _checked(logits):
    if not bool(torch.isfinite(logits).all()):
        raise ModelError("the network gives NaN or infinite logits for the image with a part blanked")
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
    """How much the score of a class drops when each part is blanked, (n_parts,) float64; 0 where nothing changes.

    Parameters
    ----------
    engine : "incremental" computes again only what a part reaches, "plain" runs the whole network for each; "auto" is
        the first, and the second for a network that cannot be followed or where there is little to do.

    Raises
    ------
    ConfigError : a `value` that is no finite number, a `batch_size` below 1, an unknown engine.
    ModelError : a network that cannot be followed, where the engine is "incremental".
    """
    if engine not in ENGINES:
        raise ConfigError("there is no such engine", found=engine, allowed=ENGINES)
    if engine == "auto" and len(parts) * batch[0].numel() < WORTH_IT:
        engine = "plain"
    with torch.inference_mode():
        if engine != "plain":
            try:
                loop = IncrementalLoop(model, batch, value, batch_size, max_bytes)
                return _drops(loop, parts, target_class, apply_softmax)
            except NotExportable as error:
                if engine == "incremental":
                    raise
                log.info("the whole network is run for each part: %s", error)
        return _drops(PlainLoop(model, batch, value, batch_size), parts, target_class, apply_softmax)


def _drops(loop, parts, target_class, apply_softmax):
    target = pick_target(loop.whole, target_class)
    logits, was_run = loop(parts)
    scores = class_score(torch.cat([loop.whole, logits]), target, apply_softmax).cpu().numpy()
    return np.where(was_run, scores[0] - scores[1:], 0.0)
