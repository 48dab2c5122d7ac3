"""Rows of the bench about areas and gradients: first whether two ways give the same map, then how long each takes."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy import ndimage

from bench import cases, peers
from bench.gradient_peers import NOISE, PEERS, STEPS
from bench.peers import TARGET
from bench.plan_rows import plan
from bench.results import LEAST_TOP, as_long, compare, faster
from bench.timing import in_turn, timed
from bench.window_rows import ENGINE
from voxelwhy import deletion_curve, registry

AREAS_RUN = 16  # of 116, by a peer that would take minutes for all of them
BY_STEP = ("integrated_gradients", "smoothgrad")
#: Of each method, so that its values are the peers' own.
OPTIONS = {
    "sensitivity_analysis": {"postprocess": None},
    "guided_backprop": {"postprocess": None},
    "input_x_gradient": {},
    "grad_cam": {"resize": False},
    "integrated_gradients": {"n_steps": STEPS},
    "smoothgrad": {"postprocess": None, "n_samples": STEPS, "noise": NOISE},
    "lrp": {},
    "lrp_alpha_beta": {"rule": "alpha_beta"},
}


def method(name):
    """A method by name, on the CPU."""
    return partial(getattr(registry.load(registry.METHODS, name, "method"), name), device="cpu")


def areas(network, least, *, repeats, full, batch=None, model=None, labels=None):
    """Area occlusion against Captum's FeatureAblation."""
    batch = cases.brain() if batch is None else batch
    model = cases.network(network) if model is None else model
    labels = cases.areas() if labels is None else labels
    names = np.unique(labels[labels > 0])
    some = names if full else names[:: max(1, len(names) // AREAS_RUN)]
    options = {"target_class": TARGET, "positive_only": False, "engine": ENGINE}
    ours = timed(lambda: method("area_occlusion")(model, batch[0], labels, **options))
    theirs = partial(peers.captum_areas, model, batch, TARGET, labels, some)
    work = f"area occlusion, {len(names)} regions, {network}"
    drawn = np.where(np.isin(labels, some), ours().values, 0)
    top, difference = compare(drawn, theirs().values, f"{work} and Captum FeatureAblation", LEAST_TOP)
    seconds = in_turn({"ours": ours, "theirs": theirs}, 1 if full else repeats)
    part = f"{len(some)} of {len(names)} regions"
    line = faster(work, "Captum FeatureAblation", seconds["ours"], seconds["theirs"], least, top, difference, part)
    boxes = ndimage.find_objects(np.searchsorted([0, *names], labels))
    masks = [labels[box] == name for box, name in zip(boxes, names, strict=True)]
    options |= {"area_masks": labels}
    return [line, plan(work, model, batch, boxes, masks, seconds["ours"], "area_occlusion", **options)]


def deletion(network, resolution, least, *, repeats, full, batch=None, model=None, labels=None, steps_run=AREAS_RUN):
    """The deletion curve of the regions in a random order against a pass for each step."""
    batch = cases.brain(resolution) if batch is None else batch
    model = cases.network(network, resolution) if model is None else model
    labels = cases.areas(resolution) if labels is None else labels
    order = np.random.default_rng(0).permutation(np.unique(labels[labels > 0]))
    steps = np.unique(np.linspace(1, len(order), len(order) if full else min(steps_run, len(order))).astype(int))
    options = {"target_class": TARGET, "engine": ENGINE, "device": "cpu"}
    ours = timed(lambda: deletion_curve(model, batch[0], labels, order, **options))
    theirs = partial(peers.deletion_one_by_one, model, batch, TARGET, labels, order, steps)
    work = f"deletion curve, {len(order)} regions, {network}" + (f" at {resolution} mm" if resolution > 1 else "")
    found = ours().values
    top, difference = compare(found[0] - found[steps], theirs().values, f"{work} and one by one", LEAST_TOP)
    seconds = in_turn({"ours": ours, "theirs": theirs}, 1 if full else repeats)
    part = f"{len(steps)} of {len(order)} steps"
    return [faster(work, "one by one", seconds["ours"], seconds["theirs"], least, top, difference, part)]


def gradients(name, network, most, *, repeats, full, batch=None, model=None, peers_of=None, least=None):
    """A gradient method against one forward and backward pass, and against the same by Captum.

    Methods that take steps are measured over `STEPS` of them, by the step.

    Parameters
    ----------
    peers_of : functions of a model and a batch by name; those of `PEERS` if None
    least : how many times faster than these at least
    """
    del full  # nothing here takes long enough to be run in part
    batch = cases.brain() if batch is None else batch
    model = cases.network(network) if model is None else model
    options, steps = OPTIONS[name], STEPS if name in BY_STEP else 1
    run = partial(
        method("lrp" if name.startswith("lrp") else name),
        model,
        batch[0],
        target_class=TARGET,
        apply_softmax=False,
        **options,
    )
    work = f"{name}, {network}" + (", each step" if steps > 1 else "")
    found, figures, others = run(), {}, {}
    for peer, theirs in (PEERS.get(name, {}) if peers_of is None else peers_of).items():
        others[peer] = timed(partial(theirs, cases.copies(model), batch))
        figures[peer] = compare(found, others[peer]().values, f"{work} and {peer}")
    one_pass = timed(partial(peers.forward_backward, model, batch, TARGET))
    one_pass()
    seconds = in_turn({"ours": timed(run), "one pass": one_pass, **others}, repeats)
    seconds = {key: [s / (1 if key == "one pass" else steps) for s in taken] for key, taken in seconds.items()}
    lines = [as_long(work, "one forward and backward", seconds["ours"], seconds["one pass"], most)]
    for peer, (top, difference) in figures.items():
        lines.append(faster(work, peer, seconds["ours"], seconds[peer], least, top, difference, "whole"))
    return lines
