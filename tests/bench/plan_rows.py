"""Rows of the bench about the plan of the incremental engine: time and memory against what its own figures allow."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch

from bench.memory import PASS, extra_memory
from bench.timing import Spread
from voxelwhy.explain.incremental.engine import Incremental
from voxelwhy.explain.incremental.steps import Windowed, channels_of, grid_of

MOST_TIME, MOST_MEMORY = 2.5, 2e9
REPEATS = 5


@dataclass(frozen=True)
class Plan:
    """What a method needed, compared with the multiply-adds of its plan.

    multiply_adds, of_plain_loop : in convolutions, by the plan (the image's layers once, and all parts) and by running
        the whole network for each part
    needed : seconds that the plan's multiply-adds take at the speed of each convolution on its whole layer
    taken : seconds of the method from call to map; `ratio` is taken / needed
    extra_memory, pass_memory : bytes by which a process grows, by the method and by the network alone
    """

    work: str
    parts: int
    changing: int
    multiply_adds: int
    of_plain_loop: int
    needed: float
    taken: Spread
    ratio: Spread
    extra_memory: int
    pass_memory: int

    @property
    def met(self) -> bool:
        """Whether time and memory keep their targets."""
        return self.ratio.median <= MOST_TIME and self.extra_memory <= MOST_MEMORY


def plan(work, model, batch, boxes, masks, seconds, method, value=0.0, **options) -> Plan:
    """Compare the `seconds` of a method with what the plan for these boxes needs."""
    image = batch[0].numpy()
    changing = [
        box
        for box, mask in zip(boxes, masks, strict=True)
        if (image[(slice(None), *box)][:, ... if mask is None else mask] != value).any()
    ]
    with torch.inference_mode():
        net = Incremental(model, batch)
        by_plan, by_image = _multiply_adds(net, changing)
        speed = _speeds(net)
    needed = sum(count / speed[step] for step, count in by_plan.items())
    return Plan(
        work,
        len(boxes),
        len(changing),
        sum(by_plan.values()),
        by_image * len(boxes),
        needed,
        Spread.of(seconds),
        Spread.of(second / needed for second in seconds),
        extra_memory(model, batch, method, **options),
        extra_memory(model, batch, PASS),
    )


def _multiply_adds(net, boxes):
    """Multiply-adds of each convolution by the plan, of the image and all parts in sum, and of one whole image."""
    lo = np.array([[axis.start for axis in box] for box in boxes])
    hi = np.array([[axis.stop for axis in box] for box in boxes])
    counts = {step: math.prod(grid_of(step.node)) * step.multiplications for step in _convolutions(net)}
    for way, group in net.plans(lo, hi):
        for step in counts:
            cells = way.boxes[step.node].cells if step.node in way.boxes else math.prod(grid_of(step.node))
            counts[step] += cells * step.multiplications * len(group)
    return counts, way.full_multiply_adds


def _speeds(net):
    """Multiply-adds a second of each convolution on its whole layer, as the engine runs it."""
    speeds = {}
    for step in _convolutions(net):
        (source,) = step.inputs
        layer = torch.randn(1, channels_of(source), *grid_of(source))
        layer = layer.contiguous(memory_format=torch.channels_last_3d if layer.ndim == 5 else torch.channels_last)
        times = []
        for _ in range(REPEATS + 1):
            started = time.perf_counter()
            step.whole(lambda node, layer=layer: layer)
            times.append(time.perf_counter() - started)
        speeds[step] = math.prod(grid_of(step.node)) * step.multiplications / statistics.median(times[1:])
    return speeds


def _convolutions(net):
    return [step for step in net.steps if isinstance(step, Windowed) and step.multiplications]
