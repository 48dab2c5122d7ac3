"""The incremental engine equals the plain loop: hundreds of random networks, boxes, masks and values, in float64."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from helpers.examples import examples
from helpers.random_networks import Several, networks
from voxelwhy.explain.incremental.engine import Incremental
from voxelwhy.explain.incremental.plan import Plan

TOLERANCE = 1e-10  # of the largest change that any part makes
GRIDS = {2: [(9, 12), (14, 7), (11, 11)], 3: [(7, 6, 8), (9, 5, 6), (6, 6, 6)]}
AT_ONCE = 6  # networks that share an export, which takes most of the time


@st.composite
def parts(draw, shape):
    """Boxes, and a mask for some of them."""
    lo = [[draw(st.integers(0, n - 1)) for n in shape] for _ in range(draw(st.integers(1, 6)))]
    hi = [[draw(st.integers(a + 1, min(n, a + 4))) for a, n in zip(low, shape, strict=True)] for low in lo]
    masks = []
    for low, high in zip(lo, hi, strict=True):
        extent = np.subtract(high, low)
        mask = np.random.default_rng(draw(st.integers(0, 99))).random(extent) < 0.6
        masks.append(mask if draw(st.booleans()) and mask.any() else None)
    return np.array(lo), np.array(hi), masks


def blanked(image, lo, hi, masks, value):
    """Copies of the image with one part each set to `value`."""
    copies = image.repeat(len(lo), *[1] * (image.ndim - 1))
    for copy, first, last, mask in zip(copies, lo, hi, masks, strict=True):
        inside = copy[(slice(None), *(slice(a, b) for a, b in zip(first, last, strict=True)))]
        if mask is None:
            inside.fill_(value)
        else:
            inside.masked_fill_(torch.as_tensor(mask), value)
    return copies


def check(nets, image, lo, hi, masks, value, batch_size=None):
    """Compare the changes that each part makes; how many networks had changes large enough to tell."""
    with torch.inference_mode():
        engine = Incremental(Several(nets).eval(), image)
        found = engine(lo, hi, masks, value, batch_size) - engine.whole
        told = 0
        for number, net in enumerate(nets):
            whole = net(image.clone())
            wanted = net(blanked(image, lo, hi, masks, value)) - whole
            largest = float(wanted.abs().max())
            if largest < 1e-4 * float(whole.abs().max()):
                continue  # the digits of the logits themselves do not carry ten of their difference
            mine = found[:, 3 * number : 3 * number + 3]
            assert float((mine - wanted).abs().max()) <= TOLERANCE * largest, net
            told += 1
    return told


def check_moves(nets, image, lo, hi, masks, value):
    """The same with parts that stay blank one after the other."""
    with torch.inference_mode():
        engine = Incremental(Several(nets).eval(), image)
        engine.own_layers()
        copy, told = image.clone(), 0
        for first, last, mask in zip(lo, hi, masks, strict=True):
            way = Plan(engine.graph, engine.steps, first[None], last[None])
            found = engine.move(way, first[None], last[None], mask, value) - engine.whole
            copy = blanked(copy, first[None], last[None], [mask], value)
            for number, net in enumerate(nets):
                whole = net(image.clone())
                wanted = net(copy.clone()) - whole
                largest = float(wanted.abs().max())
                if largest >= 1e-4 * float(whole.abs().max()):
                    mine = found[:, 3 * number : 3 * number + 3]
                    assert float((mine - wanted).abs().max()) <= TOLERANCE * largest, net
                    told += 1
    return told


@pytest.mark.random
@pytest.mark.parametrize("compare", [check, check_moves], ids=["each part", "parts that stay"])
@pytest.mark.parametrize("axes", [2, 3])
def test_random_networks_equal_the_plain_loop(axes, compare):
    compared = []

    @settings(
        max_examples=examples(30),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def run(data):
        shape = data.draw(st.sampled_from(GRIDS[axes]))
        channels = data.draw(st.integers(1, 2))
        nets = [data.draw(networks(shape, channels)) for _ in range(AT_ONCE)]
        image = torch.randn(1, channels, *shape, dtype=torch.float64)
        value = data.draw(st.sampled_from([0.0, -1.5, 3.0]))
        batch_size = {"batch_size": data.draw(st.sampled_from([None, 1, 3]))} if compare is check else {}
        told = compare(nets, image, *data.draw(parts(shape)), value, **batch_size)
        assume(told)
        compared.append(told)

    run()
    assert sum(compared) >= examples(100)  # networks
