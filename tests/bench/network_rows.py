"""Rows of the bench about architectures: `engine="auto"` against the plain loop, and all against Captum and MONAI."""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch.nn import functional as F

from bench import cases, heatmap_rows
from bench.gradient_peers import NETWORK_PEERS
from bench.lattice import Lattice
from bench.networks import NETWORKS
from bench.peers import TARGET
from bench.results import as_long, compare, faster
from bench.timing import in_turn, timed
from bench.window_rows import CAPTUM, MONAI, Case
from voxelwhy.explain.incremental.known import forget
from voxelwhy.explain.occlusion import occlusion

#: At most 5 % slower than the plain loop, and at most 10 % than a peer.
PLAIN_MOST, PEER_LEAST = 1.05, 1 / 1.1
#: Values of an image from which windows have half the side and not a quarter, as many would take an hour.
MANY = 500_000


def image_of(axes, side) -> torch.Tensor:
    """The brain with `side` voxels along each axis; in 2D, its middle slice as an image of three channels."""
    if axes == 3:
        return F.interpolate(cases.brain(2), size=(side,) * 3, mode="trilinear")
    brain = cases.brain(2)
    slices = F.interpolate(brain[..., brain.shape[-1] // 2], size=(side,) * 2, mode="bilinear")
    return slices.repeat(1, 3, 1, 1)


def network_of(name, side, batch):
    """A network with random weights that is unsure of the image, in eval mode."""
    torch.manual_seed(2018)
    # Several images, because a layer with a single cell has no variance over one.
    several = torch.cat([batch, batch.flip(-1), 0.5 * batch, batch.flip(-2)])
    return cases.unsure(NETWORKS[name].make(side), batch, several)


def network(name, side, *, repeats, full, batch=None, model=None):
    """Occlusion by windows, integrated gradients and Grad-CAM of one network."""
    axes = NETWORKS[name].axes
    batch = image_of(axes, side) if batch is None else batch
    model = network_of(name, side, batch) if model is None else model
    # Small images have more windows: below a number of voxels nothing but the plain loop is considered.
    size = side // 2 if batch.numel() > MANY else side // 4
    lattice = Lattice(tuple(batch.shape[2:]), size, size // 2)
    work = f"{name}, {' x '.join(map(str, batch.shape[2:]))}"
    lines = [*_engines(model, batch, lattice, work, repeats), *_peers(model, batch, lattice, work, repeats, full)]
    for method in ("integrated_gradients", "grad_cam"):
        options = {"repeats": repeats, "full": full, "batch": batch, "model": model}
        options |= {"peers_of": NETWORK_PEERS[method], "least": PEER_LEAST}
        lines += heatmap_rows.gradients(method, work, None, **options)
    return lines


def _engines(model, batch, lattice, work, repeats):
    """The first call of "auto", with all that a network needs once, and the next ones, against the plain loop."""
    options = {"size": lattice.size, "stride": lattice.stride, "target_class": TARGET, "device": "cpu"}
    options |= {"positive_only": False, "resize": False, "apply_softmax": False}

    def first():
        new = copy.deepcopy(model)
        forget(new)
        return timed(partial(occlusion, new, batch[0], engine="auto", **options))()

    auto, plain = (timed(partial(occlusion, model, batch[0], engine=one, **options)) for one in ("auto", "plain"))
    compare(auto().values, plain().values, f"occlusion, {work}, auto and plain")
    seconds = in_turn({"first": first, "auto": auto, "plain": plain}, repeats)
    return [
        as_long(f"occlusion, {work}, {call}", "plain engine", seconds[key], seconds["plain"], PLAIN_MOST)
        for key, call in (("first", "first call"), ("auto", "next calls"))
    ]


def _peers(model, batch, lattice, work, repeats, full):
    case = Case(model, batch, lattice, None if full else 2, 1, "auto")
    found, lines = case.ours().values, []
    for peer in (CAPTUM, MONAI):
        top, difference = compare(case.as_theirs(peer, found), case.theirs(peer).values, f"{work} and {peer}")
        seconds = in_turn({"ours": case.ours, peer: partial(case.theirs, peer)}, repeats)
        ours, theirs = seconds["ours"], seconds[peer]
        lines.append(faster(f"occlusion, {work}", peer, ours, theirs, PEER_LEAST, top, difference, case.ran(peer)))
    return lines
