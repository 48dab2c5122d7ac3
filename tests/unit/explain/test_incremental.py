"""The incremental engine: boxes and plans in integers, memory, and networks that it follows or refuses."""

import logging
import weakref
from itertools import combinations, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from helpers.networks_elsewhere import ResNet
from helpers.random_networks import Call
from voxelwhy.explain._shared import blanking
from voxelwhy.explain.incremental.boxes import Window, around, union
from voxelwhy.explain.incremental.engine import Incremental, TooLarge
from voxelwhy.explain.incremental.graph import Graph, NotExportable, export
from voxelwhy.explain.incremental.plan import Plan, alike, spans
from voxelwhy.explain.incremental.steps import steps_of
from voxelwhy.explain.occlusion import occlusion
from voxelwhy.networks import rieke2018

# ------------------------------------------------------------------ boxes


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    st.integers(1, 5), st.integers(1, 4), st.integers(0, 3), st.integers(1, 3), st.integers(0, 20), st.integers(1, 12)
)
def test_reached_and_needed_are_those_of_a_convolution_cell_by_cell(kernel, stride, padding, dilation, start, extent):
    length = 30
    stop = min(length, start + extent)
    image = torch.zeros(1, 1, length, requires_grad=True)
    weight = torch.ones(1, 1, kernel)
    out = F.conv1d(image, weight, stride=stride, padding=padding, dilation=dilation)
    changed = image.detach().clone()
    changed[..., start:stop] = 1
    moved = F.conv1d(changed, weight, stride=stride, padding=padding, dilation=dilation)[0, 0].nonzero().flatten()
    window = Window((kernel,), (stride,), (padding,), (dilation,))
    found = window.reached(around(np.array([[start]]), np.array([[stop]]), (length,)), (out.shape[-1],))
    first, last = int(found.lo[0, 0]), int(found.lo[0, 0]) + found.extent[0]
    assert all(first <= cell < last for cell in moved.tolist())
    if len(moved) and not found.whole and dilation == 1:  # no more than the cells between the first and the last
        assert (first, last) == (int(moved[0]), int(moved[-1]) + 1)
    begin, (size,) = window.needed(found)
    out[0, 0, first:last].sum().backward()
    read = image.grad[0, 0].nonzero().flatten()
    assert all(int(begin[0, 0]) <= cell < int(begin[0, 0]) + size for cell in read.tolist())
    assert size == (last - first - 1) * stride + (kernel - 1) * dilation + 1


def test_boxes_have_one_extent_and_are_moved_inward_at_the_border():
    boxes = around(np.array([[0, 3], [8, 9], [4, -2]]), np.array([[3, 5], [12, 12], [5, 1]]), (10, 11))
    assert boxes.extent == (3, 2) and boxes.lo.tolist() == [[0, 3], [7, 9], [4, 0]]
    assert not boxes.whole and boxes.cells == 6
    nearly = around(np.array([[1, 1]]), np.array([[9, 10]]), (10, 10))  # 72 of 100 cells: the whole layer is cheaper
    assert nearly.whole and nearly.lo.tolist() == [[0, 0]]
    other = around(np.array([[1, 3], [6, 9], [4, 1]]), np.array([[3, 5], [8, 10], [5, 2]]), (10, 11))
    both = union([boxes, other])  # of what each part reached itself, not of what was added for one extent
    assert both.extent == (4, 2) and both.lo.tolist() == [[0, 3], [6, 9], [4, 0]]
    assert both.last.tolist() == [[3, 5], [10, 11], [5, 2]]


EXTENTS = st.lists(st.tuples(*[st.integers(1, 50)] * 3), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(EXTENTS)
def test_groups_hold_every_part_once_and_waste_little(extents):
    extents = np.array(extents)
    groups = alike(np.zeros_like(extents), extents, beside=0)
    assert sorted(np.concatenate(groups)) == list(range(len(extents)))
    for group in groups:
        largest = extents[group].max(axis=0).prod() * len(group)
        assert largest <= 1.1 * extents[group].prod(axis=1).sum()


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(EXTENTS, st.sampled_from([100, 3_000, 100_000]))
def test_groups_that_cost_less_together_than_apart_are_put_together(extents, beside):
    extents = np.array(extents)

    def cost(group):
        return beside + extents[group].max(axis=0).prod() * len(group)

    groups = alike(np.zeros_like(extents), extents, beside=beside)
    assert sorted(np.concatenate(groups)) == list(range(len(extents)))
    assert sum(map(cost, groups)) <= sum(map(cost, alike(np.zeros_like(extents), extents, beside=0)))
    for one, other in combinations(groups, 2):
        assert cost(one) + cost(other) <= cost(np.concatenate([one, other]))


def test_a_few_small_parts_go_with_larger_ones_where_a_batch_of_their_own_costs_more():
    extents = np.array([[20, 20, 20]] * 50 + [[20, 20, 14]] * 3 + [[4, 4, 4]])  # of 8,000, 5,600 and 64 voxels
    sizes = {
        beside: [len(group) for group in alike(extents * 0, extents, waste=1, beside=beside)]
        for beside in (5_500, 5_600, 9_500, 9_700)
    }
    assert sizes == {5_500: [50, 3, 1], 5_600: [50, 4], 9_500: [50, 4], 9_700: [54]}  # 5,536, and 4 x 2,400 voxels


# ------------------------------------------------------------------ the plan


def planned(net, shape, lo, hi):
    with torch.inference_mode():
        engine = Incremental(net.eval(), torch.zeros(1, *shape))
        return engine, Plan(engine.graph, engine.steps, np.array([lo]), np.array([hi]))


def test_the_plan_counts_the_multiply_adds_of_two_convolutions_by_hand():
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 5, stride=2), nn.Flatten(), nn.Linear(2 * 28**2, 2)
    )
    _, plan = planned(net, (1, 61, 61), (20, 30), (24, 34))
    # 4 voxels are seen by 6 cells of 59, and those (18 to 23, 28 to 33) by cells 7 to 11 and 12 to 16 of 28.
    assert plan.multiply_adds == 6**2 * 4 * 9 + 5**2 * 2 * 4 * 25
    assert plan.full_multiply_adds == 59**2 * 4 * 9 + 28**2 * 2 * 4 * 25


def test_the_plan_allows_what_is_known_for_the_network_of_the_paper():
    """1,200 windows of 40 voxels, 20 apart: multiply-adds alone allow 90 times the speed of whole images."""
    shape = (193, 229, 193)
    network = rieke2018.build(shape).eval()
    graph = Graph(network, export(network, torch.zeros(1, 1, *shape)))
    steps = steps_of(graph)
    axes = [[(max(0, c - 20), min(n, c + 20)) for c in range(0, n, 20)] for n in shape]
    windows = np.array(list(product(*axes)))
    lo, hi = windows[..., 0], windows[..., 1]
    assert len(lo) == 1200
    plans = [
        (Plan(graph, steps, lo[group], hi[group]), len(group)) for group in alike(lo, hi, spans(graph, steps, lo, hi))
    ]
    gain = plans[0][0].full_multiply_adds * 1200 / sum(plan.multiply_adds * count for plan, count in plans)
    alone = np.mean([Plan(graph, steps, lo[n : n + 1], hi[n : n + 1]).multiply_adds for n in range(0, 1200, 7)])
    assert 88 < plans[0][0].full_multiply_adds / alone < 93  # each window by itself
    assert 80 < gain < 93  # with one extent for all of a group
    assert all(plan.bytes_each < 20e6 for plan, _ in plans)


# ------------------------------------------------------------------ memory


class Alive(TorchDispatchMode):
    """Bytes of all tensors made inside, at most at once."""

    def __init__(self):
        super().__init__()
        self.alive, self.most, self.known = 0, 0, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor):
                self._note(tensor.untyped_storage())
        return found

    def _note(self, storage):
        key = storage._cdata
        if key not in self.known:
            self.known.add(key)
            self.alive += storage.nbytes()
            self.most = max(self.most, self.alive)
            weakref.finalize(storage, self._gone, key, storage.nbytes())

    def _gone(self, key, nbytes):
        self.known.discard(key)
        self.alive -= nbytes


GRID = (40, 44, 36)


def case():
    torch.manual_seed(0)
    net = ResNet(3, (8, 12, 16, 24)).eval()
    image = torch.randn(1, 1, *GRID)
    lo = np.stack(np.meshgrid(*[np.arange(0, n - 8, 8) for n in GRID], indexing="ij"), axis=-1).reshape(-1, 3)
    return net, image, lo, lo + 8


@pytest.mark.parametrize("max_bytes", [3_000_000, 8_000_000])
def test_what_is_alive_at_once_stays_below_max_bytes(max_bytes):
    net, image, lo, hi = case()
    with torch.inference_mode():
        free = Incremental(net, image)
        wanted = free(lo, hi, [None] * len(lo), 0.0)
        graph_only = Alive()
        with graph_only:
            bound = Incremental(net, image, max_bytes)
            found = bound(lo, hi, [None] * len(lo), 0.0, batch_size=len(lo))
    assert image.nbytes < graph_only.most <= max_bytes
    assert float((found - wanted).abs().max()) < 1e-5


def test_a_bound_that_not_even_one_part_keeps_is_refused_and_the_plain_loop_runs(caplog, monkeypatch):
    monkeypatch.setattr(blanking, "WORTH_IT", 0)
    net, image, lo, hi = case()
    with torch.inference_mode(), pytest.raises(TooLarge, match=r"max_bytes allows 0.0001 GB"):
        Incremental(net, image, 100_000)(lo, hi, [None] * len(lo), 0.0)
    options = {"size": 12, "stride": 12, "resize": False, "positive_only": False, "target_class": 0}
    with caplog.at_level(logging.INFO, "voxelwhy"):
        found = occlusion(net, image[0], max_bytes=100_000, **options)
    assert "the whole network is run for each part: its layers take" in caplog.text
    wanted = occlusion(net, image[0], engine="plain", **options)
    assert np.array_equal(found, wanted) and np.abs(wanted).max() > 0
    with pytest.raises(TooLarge, match="max_bytes"):
        occlusion(net, image[0], max_bytes=100_000, engine="incremental", **options)


# ------------------------------------------------------------------ followed, or refused


def layer():
    return nn.Conv2d(1, 4, 3, padding=1)


def dense(n=3):
    return nn.Linear(4 * 20 * 20, n)


FOLLOWED = {
    "one logit, no axis of classes": lambda: Call(
        lambda x, a, b: b(a(x).relu().flatten(1))[:, 0], a=layer(), b=dense(1)
    ),
    "writes into its input": lambda: Call(
        lambda x, a, b: b(a(F.relu(x, inplace=True)).flatten(1)), a=layer(), b=dense()
    ),
    "weight normalisation": lambda: nn.Sequential(
        nn.utils.parametrizations.weight_norm(layer()), nn.ReLU(), nn.Flatten(), dense()
    ),
    "an instance norm": lambda: nn.Sequential(layer(), nn.InstanceNorm2d(4), nn.Flatten(), dense()),
    "one convolution twice": lambda: Call(
        lambda x, a, c, b: b(c(c(a(x)).relu()).flatten(1)), a=layer(), c=nn.Conv2d(4, 4, 3, padding=1), b=dense()
    ),
}
REFUSED = {
    "normalises over all images": lambda: nn.Sequential(
        layer(), nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU(), nn.Flatten(), dense()
    ),
    "torch.export cannot follow it: RuntimeError": lambda: Call(
        lambda x, a, b: b(a(x).relu().view(1, -1)), a=layer(), b=dense()
    ),
    "torch.export cannot follow it: GuardOnDataDependent": lambda: Call(
        lambda x, a, b: b((a(x).relu() if x.abs().sum() > 0 else a(x)).flatten(1)), a=layer(), b=dense()
    ),
    "torch.export cannot follow it: UserError": lambda: Call(
        lambda x, a, b: torch.stack([b(a(one[None]).flatten()) for one in x]), a=layer(), b=dense()
    ),
    "TorchScript": lambda: torch.jit.trace(
        nn.Sequential(layer(), nn.Flatten(), dense()).eval(), torch.zeros(2, 1, 20, 20)
    ),
}  # fmt: skip
WINDOWS = {"size": 6, "stride": 5, "resize": False, "positive_only": False, "apply_softmax": False, "target_class": 0}


def compared(make):
    """The network, an image, and the map of windows run one by one."""
    torch.manual_seed(3)
    net, image = make().double().eval(), torch.randn(1, 20, 20, dtype=torch.float64)
    wanted = occlusion(net, image, engine="plain", batch_size=1, **WINDOWS)
    assert np.abs(wanted).max() > 1e-3
    return net, image, wanted


@pytest.mark.parametrize("name", FOLLOWED)
def test_it_follows(name):
    net, image, wanted = compared(FOLLOWED[name])
    found = occlusion(net, image, engine="incremental", **WINDOWS)
    assert np.abs(found - wanted).max() <= 1e-10 * np.abs(wanted).max()


@pytest.mark.parametrize("reason", REFUSED)
def test_it_refuses_and_the_plain_loop_is_right(reason):
    net, image, wanted = compared(REFUSED[reason])
    with pytest.raises(NotExportable, match=reason):
        occlusion(net, image, engine="incremental", **WINDOWS)
    found = occlusion(net, image, engine="plain", **WINDOWS)
    assert np.abs(found - wanted).max() <= 1e-10 * np.abs(wanted).max()


def test_a_part_is_cut_to_what_it_changes(monkeypatch):
    seen = []
    run = Incremental.__call__

    def note(self, lo, hi, masks, *rest):
        seen.append((lo, hi, masks))
        return run(self, lo, hi, masks, *rest)

    monkeypatch.setattr(Incremental, "__call__", note)
    net, image, _ = compared(FOLLOWED["an instance norm"])
    image[:, :, 9:] = 0
    found = occlusion(net, image, engine="incremental", **WINDOWS)
    ((_, hi, _),) = seen
    assert hi[:, 1].max() == 9 and len(hi) == 12  # windows of columns [0, 3), [2, 8), [7, 13); [12, 18) changes nothing
    assert np.abs(found - occlusion(net, image, engine="plain", **WINDOWS)).max() <= 1e-12


def test_the_model_is_left_as_it_was():
    net = ResNet(2, (4, 6, 8, 10)).eval()
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in net.modules()]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    occlusion(net, torch.randn(1, 40, 36), engine="incremental", size=12, stride=12)
    assert not any(module.training for module in net.modules())
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()] == hooks
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(value.grad is None and value.requires_grad and not value.is_inference() for value in net.parameters())
