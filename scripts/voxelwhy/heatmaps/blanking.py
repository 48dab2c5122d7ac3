"""What the network says of an image with a part of it blanked, for many parts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
from typing import NamedTuple

import numpy as np
import torch

from voxelwhy.errors import ConfigError
from voxelwhy.heatmaps.prepare import class_score, pick_target, run_model

# Two images at a time on a CPU, by measurement (docstring of PlainLoop); a GPU wants more to be busy.
BATCH_SIZE = {"cpu": 2}
BATCH_SIZE_ELSEWHERE = 16


class Part(NamedTuple):
    """A part of an image: a box (one slice an axis) and, where it does not fill the box, a mask of the box's shape."""

    box: tuple[slice, ...]
    mask: np.ndarray | None = None


class PlainLoop:
    """Logits of an image with parts of it blanked, by running the whole network on batches of blanked copies.

    One buffer is made and each copy in it is reset after use, so memory does not grow with the number of parts. A
    part that is `value` throughout already is not run.

    Measured: network `small`, 49 x 61 x 53 voxels, one thread, per window: 19 ms one by one (torch leaves oneDNN
    aside for a single image), 9.0 ms in twos and threes, 13 ms in fours, 20 ms in eights and above (activations past
    32 MB come from the system as fresh pages each time). Hence two.
    """

    def __init__(self, model, batch, value, batch_size=None):
        if not isinstance(value, Real) or not math.isfinite(value):
            raise ConfigError("occlusion_value is not a finite number", found=value)
        if batch_size is not None and int(batch_size) < 1:
            raise ConfigError("batch_size is too small", found=batch_size, allowed="1 or more, or None")
        size = int(batch_size) if batch_size else BATCH_SIZE.get(batch.device.type, BATCH_SIZE_ELSEWHERE)
        self.model, self.image, self.value = model, batch[0], float(value)
        self.buffer = batch.repeat(size, *[1] * (batch.ndim - 1))
        # Every pass is a full batch, this one too: kernels differ between batch sizes in the last digits.
        self.whole = run_model(model, self.buffer)[:1]
        # A network that begins with an in-place layer writes into the buffer: it gets a copy each time.
        self.writes_input = not torch.equal(self.buffer[0], self.image)
        if self.writes_input:
            self.buffer.copy_(batch.expand_as(self.buffer))

    def __call__(self, parts: Iterable[Part]):
        """Logits for each part (n, classes), and whether it was run (n,); where not, they are those of the image."""
        rows, was_run, waiting = [], [], []
        for number, part in enumerate(parts):
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


def drops(model, batch, parts: Iterable[Part], *, value, target_class, apply_softmax, batch_size=None) -> np.ndarray:
    """How much the score of a class drops when each part is blanked, (n_parts,) float64; 0 where nothing changes.

    Raises
    ------
    ConfigError : a `value` that is no finite number, or a `batch_size` below 1.
    """
    with torch.inference_mode():
        loop = PlainLoop(model, batch, value, batch_size)
        target = pick_target(loop.whole, target_class)
        logits, was_run = loop(parts)
        scores = class_score(torch.cat([loop.whole, logits]), target, apply_softmax).cpu().numpy()
    return np.where(was_run, scores[0] - scores[1:], 0.0)
