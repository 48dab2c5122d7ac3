"""Rows of the bench about heatmaps: first whether two ways give the same map, then how long each takes."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from scipy import ndimage

from bench import cases, peers
from bench.gradient_peers import PEERS, STEPS
from bench.lattice import Lattice, mean_over_windows, n_windows, picked
from bench.peers import TARGET
from bench.plan_rows import plan
from bench.results import LEAST_TOP, Line, compare
from bench.timing import Spread, in_turn, ratios, timed
from voxelwhy import registry
from voxelwhy.heatmaps.blanking import Part, drops

AREAS_RUN = 16  # of 116, by a peer that would take minutes for all of them


def method(name):
    """A method by name, on the CPU."""
    return partial(getattr(registry.load(registry.METHODS, name, "method"), name), device="cpu")


def windows(network, size, stride, per_axis, targets, *, repeats, full, batch=None, model=None):
    """Occlusion by windows against those peers that `targets` names (with the least ratio, or None)."""
    batch = cases.brain() if batch is None else batch
    model = cases.network(network) if model is None else model
    lattice = Lattice(tuple(batch.shape[2:]), size, stride)
    numbers = lattice.all() if full else lattice.some(per_axis)
    boxes = lattice.boxes(numbers)
    options = {"target_class": TARGET, "size": size, "stride": stride, "positive_only": False, "resize": False}
    ours = timed(lambda: method("occlusion")(model, batch[0], **options))
    part = f"{n_windows(numbers):,} of {n_windows(lattice.all()):,} windows"
    ways = {
        "one by one": partial(peers.one_by_one, model, batch, TARGET, lattice, numbers),
        "Captum Occlusion": partial(peers.captum_occlusion, model, batch, TARGET, lattice, numbers),
        "MONAI OcclusionSensitivity": partial(
            peers.monai_occlusion, model, batch, TARGET, lattice, None if full else per_axis
        ),
    }
    drawn = {
        "one by one": lambda found: picked(found, numbers),
        "Captum Occlusion": lambda found: mean_over_windows(picked(found, numbers), boxes, lattice.shape),
        "MONAI OcclusionSensitivity": lambda found: _as_monai(model, batch, lattice, None if full else per_axis),
    }
    work = f"occlusion {size}/{stride}, {network}"
    first, lines, taken = ours(), [], []
    for name, target in targets.items():
        run = part if name != "MONAI OcclusionSensitivity" else _monai_part(lattice, None if full else per_axis)
        top, difference = compare(drawn[name](first.values), ways[name]().values, f"{work} and {name}", LEAST_TOP)
        seconds = in_turn({"ours": ours, name: ways[name]}, repeats)
        lines.append(_faster(work, name, seconds["ours"], seconds[name], target, top, difference, run))
        taken += seconds["ours"]
    every = lattice.boxes(lattice.all())
    return [*lines, plan(work, model, batch, every, [None] * len(every), taken, "occlusion", **options)]


def areas(network, least, *, repeats, full, batch=None, model=None, labels=None):
    """Area occlusion against Captum's FeatureAblation."""
    batch = cases.brain() if batch is None else batch
    model = cases.network(network) if model is None else model
    labels = cases.areas() if labels is None else labels
    names = np.unique(labels[labels > 0])
    some = names if full else names[:: max(1, len(names) // AREAS_RUN)]
    options = {"target_class": TARGET, "positive_only": False}
    ours = timed(lambda: method("area_occlusion")(model, batch[0], labels, **options))
    theirs = partial(peers.captum_areas, model, batch, TARGET, labels, some)
    work = f"area occlusion, {len(names)} regions, {network}"
    drawn = np.where(np.isin(labels, some), ours().values, 0)
    top, difference = compare(drawn, theirs().values, f"{work} and Captum FeatureAblation", LEAST_TOP)
    seconds = in_turn({"ours": ours, "theirs": theirs}, repeats)
    part = f"{len(some)} of {len(names)} regions"
    line = _faster(work, "Captum FeatureAblation", seconds["ours"], seconds["theirs"], least, top, difference, part)
    boxes = ndimage.find_objects(np.searchsorted([0, *names], labels))
    masks = [labels[box] == name for box, name in zip(boxes, names, strict=True)]
    options |= {"area_masks": labels}
    return [line, plan(work, model, batch, boxes, masks, seconds["ours"], "area_occlusion", **options)]


def gradients(name, network, most, *, repeats, full, batch=None, model=None):
    """A gradient method against one forward and backward pass, and against the same by Captum.

    Methods that take steps are measured over `STEPS` of them, by the step.
    """
    del full  # nothing here takes long enough to be run in part
    batch = cases.brain() if batch is None else batch
    model = cases.network(network) if model is None else model
    options, steps = OPTIONS[name], STEPS if name in BY_STEP else 1
    run = partial(method(name), model, batch[0], target_class=TARGET, apply_softmax=False, **options)
    work = f"{name}, {network}" + (", each step" if steps > 1 else "")
    found, figures, others = run(), {}, {}
    for peer, theirs in PEERS.get(name, {}).items():
        others[peer] = timed(partial(theirs, cases.copies(model), batch))
        figures[peer] = compare(found, others[peer]().values, f"{work} and {peer}")
    one_pass = timed(partial(peers.forward_backward, model, batch, TARGET))
    one_pass()
    seconds = in_turn({"ours": timed(run), "one pass": one_pass, **others}, repeats)
    seconds = {key: [s / (1 if key == "one pass" else steps) for s in taken] for key, taken in seconds.items()}
    lines = [_as_long(work, "one forward and backward", seconds["ours"], seconds["one pass"], most)]
    for peer, (top, difference) in figures.items():
        lines.append(_faster(work, peer, seconds["ours"], seconds[peer], None, top, difference, "whole"))
    return lines


def _faster(work, against, ours, theirs, target, top, difference, run):
    ratio = ratios(theirs, ours)
    return Line(work, against, "times faster", ratio, Spread.of(ours), Spread.of(theirs), target, top, difference, run)


def _as_long(work, against, ours, theirs, target):
    return Line(work, against, "times the time", ratios(ours, theirs), Spread.of(ours), Spread.of(theirs), target)


def _monai_part(lattice, per_axis):
    run, whole = (len(peers.monai_windows(lattice, count)[0]) for count in (per_axis, None))
    return f"{run:,} of its {whole:,} windows"


def _as_monai(model, batch, lattice, per_axis):
    """MONAI's map from our figures: its windows lie elsewhere, so they are blanked anew."""
    boxes, inner = peers.monai_windows(lattice, per_axis)
    options = {"value": 0.0, "target_class": TARGET, "apply_softmax": True}
    found = drops(model, batch, [Part(box) for box in boxes], **options)
    with torch.inference_mode():
        whole = float(peers.probability(model, TARGET)(batch)[0])
    return peers.as_monai_draws(whole - found, boxes, inner, lattice.shape)


BY_STEP = ("integrated_gradients", "smoothgrad")
OPTIONS = {
    "sensitivity_analysis": {"postprocess": None},
    "guided_backprop": {"postprocess": None},
    "input_x_gradient": {},
    "grad_cam": {"resize": False},
    "integrated_gradients": {"n_steps": STEPS},
    "smoothgrad": {"postprocess": None, "n_samples": STEPS},
    "lrp": {},
}
