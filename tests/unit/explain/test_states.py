"""Sets of blanked parts, one after the other: the incremental engine, the plain loop and copies made by hand."""

import numpy as np
import pytest
import torch

from helpers.heatmap_cases import SHAPES, network, picture
from helpers.networks_elsewhere import ResNet, unsure
from voxelwhy.errors import ConfigError, ModelError
from voxelwhy.explain._shared import states as of_states
from voxelwhy.explain._shared.areas import areas_of
from voxelwhy.explain._shared.states import Walk, logits_of_states, route_through
from voxelwhy.explain.incremental.engine import Incremental, TooLarge
from voxelwhy.networks import compact, rieke2018, small
from voxelwhy.networks.ensemble import Ensemble

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def by_hand(net, image, labels, states, value):
    """The logits of the image and of copies with the areas 1, 2 … of each state replaced."""
    rows = [image]
    for state in states:
        inside = torch.as_tensor(np.isin(labels, 1 + np.flatnonzero(state)))
        rows.append(torch.where(inside, torch.as_tensor(value, dtype=image.dtype), image))
    with torch.inference_mode():
        return torch.cat([net(one[None]) for one in rows])


def some_states(rng, n_parts, n=30):
    """Sets of all sizes in no order, the empty one and the same one twice among them."""
    states = rng.random((n, n_parts)) < rng.random((n, 1))
    states[5], states[7] = False, states[6]
    return states


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("fill", ["number", "image"])
def test_both_engines_give_the_logits_of_copies_made_by_hand(ndim, dtype, fill, rng):
    net, image = network(ndim, dtype, channels=2), picture(ndim, dtype, channels=2)
    labels = np.arange(np.prod(SHAPES[ndim])).reshape(SHAPES[ndim]) // 37 % 9
    parts, before = list(areas_of(labels, SHAPES[ndim]).values()), image.clone()
    states, value = some_states(rng, len(parts)), 0.4 if fill == "number" else image.flip(1)
    wanted = by_hand(net, image, labels, states, value)
    assert float(wanted.std(dim=0).min()) > 0.5
    for engine in ("incremental", "plain"):
        found = logits_of_states(net, image[None], parts, states, value=value, engine=engine)
        assert float((found - wanted).abs().max()) <= TOLERANCE[dtype] * float(wanted.abs().max())
    assert torch.equal(image, before)


CASES = {
    "rieke2018": (lambda: rieke2018.build((78,) * 3), (1, 78, 78, 78)),
    "small": (lambda: small.build((49, 57, 48)), (1, 49, 57, 48)),
    "compact": (lambda: compact.build((49, 57, 48), first_pool=2), (1, 49, 57, 48)),
    "ensemble": (lambda: Ensemble([small.build((33, 40, 36)) for _ in range(2)]), (1, 33, 40, 36)),
    "resnet": (lambda: ResNet(3, (8, 12, 16, 24)), (1, 48, 52, 44)),
}


@pytest.mark.parametrize("name", CASES)
def test_whole_networks_in_float32_stay_exact_along_a_walk_there_and_back(name, rng):
    """27 blocks blanked one by one and restored in the same order: rounding errors do not add up."""
    build, shape = CASES[name]
    torch.manual_seed(1)
    net, image = build().eval(), torch.randn(shape, generator=torch.Generator().manual_seed(2)) + 0.5
    blocks = np.ravel_multi_index(
        np.indices(shape[1:]) // (np.array(shape[1:]) // 3 + 1)[:, None, None, None], (3,) * 3
    )
    labels = 1 + blocks
    parts = list(areas_of(labels, shape[1:]).values())
    unsure(net, image[None], torch.stack([image * torch.as_tensor(labels != k) for k in (7, 14)]))
    turn = np.argsort(rng.permutation(len(parts)))
    there = turn <= np.arange(len(parts))[:, None]
    states = np.concatenate([there, ~there])
    found = logits_of_states(net, image[None], parts, states, value=0.0, engine="incremental")
    some = [*range(3, len(states), 10), len(states) - 1]
    found = found[[0, *(1 + k for k in some)]]
    wanted = by_hand(net, image, labels, states[some], 0.0)
    assert float((wanted - wanted[0]).abs().max()) > 0.1
    assert float((found - wanted).abs().max()) <= 1e-5 * max(1.0, float(wanted.abs().max()))


def test_a_route_changes_what_is_different_or_begins_again():
    states = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]], dtype=bool)
    route = [(again, changes.tolist()) for again, changes in route_through(states)]
    assert route == [(False, [0, 1]), (False, [2]), (False, []), (True, [3]), (True, []), (False, [1])]


def test_what_is_blank_already_costs_nothing(monkeypatch):
    net, image = network(3), picture(3)
    image[:, 6:] = 0
    labels = np.repeat(np.arange(1, 14), 132).reshape(SHAPES[3])
    moved, move = [], Incremental.move
    monkeypatch.setattr(Incremental, "move", lambda self, *rest: moved.append(1) or move(self, *rest))
    parts = list(areas_of(labels, SHAPES[3]).values())
    found = logits_of_states(net, image[None], parts, np.tri(13, dtype=bool), value=0.0, engine="incremental")
    assert len(moved) == 6 and float(found[6:].std(dim=0).max()) == 0 and float(found[:7].std(dim=0).min()) > 0.1


def test_auto_takes_the_engine_that_saves_work(monkeypatch):
    net, image = network(2), picture(2)
    labels = np.arange(304).reshape(SHAPES[2]) // 38 + 1
    parts = list(areas_of(labels, SHAPES[2]).values())
    calls, run = [], Walk.__call__
    monkeypatch.setattr(Walk, "__call__", lambda self, route: calls.append(1) or run(self, route))

    def taken():
        calls.clear()
        logits_of_states(net, image[None], parts, np.tri(8, dtype=bool), value=0.0)
        return bool(calls)

    assert not taken()  # little to do: not worth following the network
    monkeypatch.setattr(of_states, "WORTH_IT", 0)
    assert not taken()  # a change costs more than the whole of a network as small as this one
    monkeypatch.setattr(of_states, "BESIDE", 0)
    assert taken()


def test_memory_and_options_are_checked():
    net, image = network(3).requires_grad_(False), picture(3)
    parts = list(areas_of(np.arange(13 * 11 * 12).reshape(SHAPES[3]) // 150 + 1, SHAPES[3]).values())
    states = np.tri(len(parts), dtype=bool)
    options = {"value": 0.0, "engine": "incremental"}
    with pytest.raises(TooLarge, match="max_bytes allows"):
        logits_of_states(net, image[None], parts, states, max_bytes=10_000, **options)
    walk = Walk(net, image[None], parts, 0.0)
    kept = sum(layer.nbytes for layer in walk.engine.base.values())
    walk.engine.max_bytes = 2 * kept  # room for the layers and a copy, not for the parts
    with torch.inference_mode(), pytest.raises(TooLarge):
        walk(route_through(np.concatenate([states, states])))
    for more, words in (
        ({"engine": "fast"}, "no such engine"),
        ({"value": np.nan}, "finite"),
        ({"batch_size": 0}, "1"),
    ):
        with pytest.raises(ConfigError, match=words):
            logits_of_states(net, image[None], parts, states, **options | more)
    with pytest.raises(ModelError, match="TorchScript"):
        logits_of_states(torch.jit.trace(net, image[None]).eval(), image[None], parts, states, **options)
