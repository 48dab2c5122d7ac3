"""Whether it pays to follow a network: what parts of an image spare, estimated without torch.export, and what it costs.

All figures follow from the network, the parts and the number of images alone. Nothing is timed, so that the same study
takes the same engine, and gives the same bytes, on a busy machine.
"""

from __future__ import annotations

import math
import sys
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from voxelwhy.explain.incremental.known import is_followed, key_of
from voxelwhy.explain.incremental.steps import ALONG_CHANNELS, MAX_POOLS, MEAN_POOLS, OVER_CHANNELS, SAME_CELL

#: Multiply-adds and bytes of results per second of a fast processor: what is spared is rather underestimated. On a GPU
#: they cost a hundredth.
MULTIPLY_ADDS, BYTES = 4e10, 1e10
ELSEWHERE = 100
#: Seconds that torch.export takes, once and for each operator; and its import, once in a process.
EXPORT, EXPORT_EACH, IMPORT = 0.5, 0.012, 2.0
#: Small boxes keep a processor less busy than whole layers, and are gathered first; whole layers are completed first.
LESS_BUSY, GATHERED = 2, 0.05

WINDOWED = {"convolution", "constant_pad_nd", *MAX_POOLS, *MEAN_POOLS}
BATCH_NORMS = {"native_batch_norm", "_native_batch_norm_legit", "cudnn_batch_norm", "miopen_batch_norm"}
PRODUCTS = {"mm", "bmm", "addmm", "baddbmm", "linear", "matmul"}

_WORK, _MISSED = WeakKeyDictionary(), WeakKeyDictionary()


class Work(NamedTuple):
    """What one image costs, and of that what a part reaches: multiply-adds and bytes of results; and its operators."""

    whole: tuple[float, float]
    reached: tuple[float, float]
    operators: int


def is_worth_following(model, batch, lo, hi, images=1) -> bool:
    """Whether the incremental engine is expected to be faster, including torch.export if the network is not known yet.

    Parameters
    ----------
    model : torch.nn.Module in eval mode
    batch : tensor (1, channels, *spatial)
    lo, hi : integer arrays (n_parts, axes), the boxes of the parts
    images : number of images that will be explained; the network is followed once for all
    """
    work = work_of(model, batch, lo, hi)
    spared = _spared(work, batch, len(lo))
    if is_followed(model, batch):
        return spared > 0
    export = EXPORT + EXPORT_EACH * work.operators + (0 if "torch._dynamo" in sys.modules else IMPORT)
    return spared * images + _MISSED.get(model, 0.0) > export


def miss(model, batch, lo, hi):
    """Note that a network was not followed for an image: what that would have spared counts for the next images.

    So a network that explains many images, one call after the other, is followed after the first few.
    """
    _MISSED[model] = _MISSED.get(model, 0.0) + max(0.0, _spared(work_of(model, batch, lo, hi), batch, len(lo)))


def _spared(work, batch, n_parts):
    """Seconds that the incremental engine is expected to spare for one image."""
    scale = 1 if batch.device.type == "cpu" else ELSEWHERE
    whole, reached = (adds / MULTIPLY_ADDS / scale + size / BYTES / scale for adds, size in work[:2])
    return n_parts * (whole - LESS_BUSY * reached - GATHERED * whole)


def work_of(model, batch, lo, hi) -> Work:
    """The work of one image, and what parts in these boxes reach on average; one pass of the network, cached."""
    key = key_of(model, batch)[:-1], lo.tobytes(), hi.tobytes()
    found = _WORK.get(model)
    if found is None or found[0] != key:
        # Inference mode would show other operators, which are not decomposed.
        with torch.inference_mode(False), torch.no_grad():
            counting = _Reach(batch, lo, hi)
            with counting:
                model(counting.image)
        _WORK[model] = found = key, counting.work()
    return found[1]


class _Reach(TorchDispatchMode):
    """Counts the work of each operator, and follows the boxes that parts reach, in cells of each layer.

    Like the engine's plan (plan.py), but from one pass of the network: a layer is reached in part if it comes from
    layers reached in part by a convolution, a pool, or an operator that works cell by cell.
    """

    @classmethod
    def _should_skip_dynamo(cls):
        return False  # otherwise the first use would import torch.compile, which takes a second

    def __init__(self, batch, lo, hi):
        super().__init__()
        self.image, self.axes = batch.clone(), batch.ndim - 2
        self.boxes = WeakTensorKeyDictionary()
        self.boxes[self.image] = lo, hi
        self.counts, self.operators = np.zeros((2, 2)), 0

    def work(self) -> Work:
        return Work(*(tuple(map(float, counts)) for counts in self.counts), self.operators)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        outputs = list(result) if isinstance(result, (list, tuple)) else [result]
        if outputs and isinstance(outputs[0], torch.Tensor):
            name = func.overloadpacket.__name__.removesuffix("_")
            boxes = self._after(func, name, args, outputs[0])
            self._count(name, args, outputs[0], boxes)
            for output in outputs if boxes is not None else []:
                if isinstance(output, torch.Tensor) and output.shape[2:] == outputs[0].shape[2:]:
                    self.boxes[output] = boxes
        return result

    def _count(self, name, args, output, boxes):
        share = 1.0
        if boxes is not None:
            share = float((boxes[1] - boxes[0]).clip(0).prod(axis=1).mean()) / math.prod(output.shape[2:])
        adds = 0.0
        if name == "convolution":
            adds = (args[0] if args[6] else output).numel() * args[1][0].numel()  # 6: transposed
        elif name in PRODUCTS:
            factors = [arg for arg in args if isinstance(arg, torch.Tensor)]
            adds = output.numel() * factors[0 if name == "linear" else -2].shape[-1]
        cost = np.array([adds, output.numel() * output.element_size()])
        self.counts += [cost, share * cost]
        self.operators += 1

    def _after(self, func, name, args, output):
        """The boxes that parts reach in the output; None where that is the whole layer."""
        flat = [value for arg in args for value in (arg if isinstance(arg, (list, tuple)) else [arg])]
        layers = [one for one in flat if isinstance(one, torch.Tensor) and one.ndim == output.ndim == self.axes + 2]
        known = [self.boxes[one] for one in layers if one in self.boxes]
        if not known:
            return None
        if name in WINDOWED and not (name == "convolution" and args[6]):
            return self._through(name, args, output, known[0])
        local = torch.Tag.pointwise in func.tags or name in SAME_CELL or name in ALONG_CHANNELS or name in OVER_CHANNELS
        local |= name in BATCH_NORMS and not args[5]  # 5: training
        on_grid = [one for one in layers if one.shape[2:] == output.shape[2:]]
        if not local or not on_grid or any(one not in self.boxes for one in on_grid):
            return None
        lo, hi = zip(*(self.boxes[one] for one in on_grid), strict=True)
        return np.minimum.reduce(lo), np.maximum.reduce(hi)

    def _through(self, name, args, output, boxes):
        if name == "constant_pad_nd":
            before = [*args[1][::2], *[0] * self.axes][: self.axes][::-1]
            return boxes[0] + before, boxes[1] + before
        if name == "convolution":
            options = args[1].shape[2:], *args[3:6]
        else:  # input, kernel, stride = kernel, padding = 0, then (max) dilation = 1
            rest = [*args[2:], *[None] * 3]
            options = args[1], rest[0] or args[1], rest[1] or 0, (rest[2] or 1) if name in MAX_POOLS else 1
        kernel, stride, padding, dilation = (np.array(_each(option, self.axes)) for option in options)
        lo = np.maximum(0, -((boxes[0] + padding - (kernel - 1) * dilation) // -stride))
        return lo, np.minimum(output.shape[2:], (boxes[1] - 1 + padding) // stride + 1)


def _each(value, axes):
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return values * axes if len(values) == 1 else values
