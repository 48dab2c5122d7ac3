"""Rows of the bench about occlusion by windows, against Captum, MONAI and the loop that anybody writes first."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from bench import cases, peers
from bench.lattice import Lattice, mean_over_windows, n_windows, picked
from bench.peers import TARGET
from bench.plan_rows import plan
from bench.results import LEAST_TOP, compare, faster
from bench.timing import Outcome, in_turn, timed
from voxelwhy.explain._shared.blanking import Part, drops
from voxelwhy.explain.occlusion import occlusion

ENGINE = "incremental"  # also for a few windows, of which the plain loop would make less work
LOOP, CAPTUM, MONAI = "one by one", "Captum Occlusion", "MONAI OcclusionSensitivity"


@dataclass(frozen=True)
class Case:
    """One network, one image, windows on a lattice.

    per_axis : windows along each axis that peers run; None is all of them
    engine : of ours
    every : of our windows each so-manieth is run, and the time scaled, where even ours takes many minutes
    """

    model: nn.Module
    batch: torch.Tensor
    lattice: Lattice
    per_axis: int | None
    every: int
    engine: str = ENGINE

    @property
    def numbers(self):
        """Windows of ours that peers run, by number along each axis."""
        return self.lattice.all() if self.per_axis is None else self.lattice.some(self.per_axis)

    @property
    def options(self):
        """Of `occlusion`, for the values of the windows themselves."""
        own = {"size": self.lattice.size, "stride": self.lattice.stride}
        return own | {
            "target_class": TARGET,
            "positive_only": False,
            "resize": False,
            "device": "cpu",
            "engine": self.engine,
        }

    def ours(self) -> Outcome:
        """All windows, or some of them as if they were all: the pass for the image itself is scaled up with them."""
        if self.every == 1:
            return timed(partial(occlusion, self.model, self.batch[0], **self.options))()
        boxes = self.lattice.boxes(self.lattice.all())
        outcome = timed(partial(self.drops, boxes[:: self.every]))()
        return Outcome(outcome.values, outcome.seconds * len(boxes) / len(boxes[:: self.every]))

    def drops(self, boxes) -> np.ndarray:
        """Our figures for any boxes."""
        options = {"value": 0.0, "target_class": TARGET, "apply_softmax": True, "engine": self.engine}
        return drops(self.model, self.batch, [Part(box) for box in boxes], **options)

    def theirs(self, name) -> Outcome:
        """What a peer finds in its part of the windows, in its form."""
        if name == MONAI:
            return peers.monai_occlusion(self.model, self.batch, TARGET, self.lattice, self.per_axis)
        way = {LOOP: peers.one_by_one, CAPTUM: peers.captum_occlusion}[name]
        return way(self.model, self.batch, TARGET, self.lattice, self.numbers)

    def as_theirs(self, name, found) -> np.ndarray:
        """Our figures in the form of a peer; `found` are those of all windows, or None."""
        if name == MONAI:  # its windows lie elsewhere: they are blanked again
            boxes, inner = peers.monai_windows(self.lattice, self.per_axis)
            with torch.inference_mode():
                whole = float(peers.probability(self.model, TARGET)(self.batch)[0])
            return peers.as_monai_draws(whole - self.drops(boxes), boxes, inner, self.lattice.shape)
        boxes = self.lattice.boxes(self.numbers)
        values = self.drops(boxes) if found is None else picked(found, self.numbers)
        return values if name == LOOP else mean_over_windows(values, boxes, self.lattice.shape)

    def ran(self, name) -> str:
        """How much of its work a peer was asked for, and where it was not the whole, how much of ours."""
        if name == MONAI:
            run, whole = (len(peers.monai_windows(self.lattice, count)[0]) for count in (self.per_axis, None))
        else:
            run, whole = n_windows(self.numbers), n_windows(self.lattice.all())
        said = f"{run:,} of {'its ' if name == MONAI else ''}{whole:,} windows"
        return said if self.every == 1 else f"{said}; ours 1 of {self.every}"


def windows(network, size, stride, per_axis, targets, *, repeats, full, every=1, batch=None, model=None):
    """Occlusion by windows against those peers that `targets` names (with the least ratio, or None)."""
    batch = cases.brain() if batch is None else batch
    model = cases.network(network) if model is None else model
    lattice = Lattice(tuple(batch.shape[2:]), size, stride)
    case = Case(model, batch, lattice, None if full else per_axis, every)
    work, lines, taken = f"occlusion {size}/{stride}, {network}", [], []
    found = case.ours().values if every == 1 else None
    for name, target in targets.items():
        top, difference = compare(
            case.as_theirs(name, found), case.theirs(name).values, f"{work} and {name}", LEAST_TOP
        )
        seconds = in_turn({"ours": case.ours, name: partial(case.theirs, name)}, 1 if full else repeats)
        lines.append(faster(work, name, seconds["ours"], seconds[name], target, top, difference, case.ran(name)))
        taken += seconds["ours"]
    boxes = lattice.boxes(lattice.all())
    # As much memory with windows further apart: how many run together follows from the size of one.
    options = case.options | {"stride": stride if every == 1 else 3 * stride}
    return [*lines, plan(work, model, batch, boxes, [None] * len(boxes), taken, "occlusion", **options)]
