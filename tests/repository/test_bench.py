"""The bench itself on small networks: it compares before it times, scales rightly, makes its page of what it has."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench import cases, gradient_peers, heatmap_rows, peers, plan_rows, results, table, training_rows, window_rows
from bench.lattice import Lattice, mean_over_windows, n_windows
from bench.memory import extra_memory
from bench.results import Different, Line
from bench.rows import ONLY_WHEN_ASKED, ROWS
from bench.timing import Outcome, Spread, in_turn, ratios
from helpers.paths import ROOT
from voxelwhy.explain._shared.areas import areas_of
from voxelwhy.explain.incremental.known import followed
from voxelwhy.explain.incremental.plan import Plan
from voxelwhy.networks.build import build_network

pytestmark = pytest.mark.slow
SHAPE = (23, 29, 23)


@pytest.fixture(scope="module")
def tiny():
    """A small network that is unsure of a small image, and the image."""
    torch.manual_seed(0)
    batch = torch.randn(1, 1, *SHAPE)
    layers = {"conv_1": nn.Conv3d(1, 4, 3), "norm": nn.BatchNorm3d(4), "relu_1": nn.ReLU(), "pool": nn.MaxPool3d(2)}
    layers |= {"conv_2": nn.Conv3d(4, 6, 3), "relu_2": nn.ReLU(), "flat": nn.Flatten(), "dense": nn.LazyLinear(2)}
    model = nn.Sequential()
    for name, layer in layers.items():
        model.add_module(name, layer)
    model(batch)
    return cases.unsure(model, batch), batch


def test_random_weights_are_unsure_and_far_from_flat(tiny):
    model, batch = tiny
    with torch.no_grad():
        logits = model(batch)[0]
        changes = [abs(float(cases._gaps(model(probe)) - cases._gaps(logits[None]))) for probe in cases._probes(batch)]
    assert float(logits[1] - logits[0]) == pytest.approx(cases.GAP, abs=1e-4)
    assert max(changes) == pytest.approx(cases.MOST_CHANGE, rel=1e-3)
    assert not any(module.training for module in model.modules())


def test_a_lattice_has_the_windows_of_the_original():
    lattice = Lattice((193, 229, 193), 40, 20)
    assert n_windows(lattice.all()) == 1200
    assert n_windows(Lattice((193, 229, 193), 20, 10).all()) == 9200
    boxes = lattice.boxes(lattice.all())
    assert (boxes[0][0], boxes[-1][1]) == (slice(0, 20), slice(200, 229))
    some = lattice.boxes(lattice.some(3))
    assert len(some) == 27
    assert all(axis.stop - axis.start == 40 for box in some for axis in box)
    assert lattice.padded_shape == (220, 260, 220)
    assert [axis.step * lattice.stride for axis in lattice.some(2)] == [40, 40, 40], "Captum allows no gaps"


def test_windows_with_a_border_are_those_without_it(rng):
    lattice = Lattice((23, 29), 8, 4)
    image = rng.random((23, 29))
    padded = np.zeros(lattice.padded_shape)
    padded[lattice.inside] = image
    starts = [(8 // 2 * 0 + 4 * i, 4 * j) for i in range(lattice.counts[0]) for j in range(lattice.counts[1])]
    for box, (i, j) in zip(lattice.boxes(lattice.all()), starts, strict=True):
        blanked, other = image.copy(), padded.copy()
        blanked[box] = 0
        other[i : i + 8, j : j + 8] = 0
        np.testing.assert_array_equal(other[lattice.inside], blanked)


def test_means_over_windows():
    boxes = [(slice(0, 2),), (slice(1, 4),)]
    np.testing.assert_array_equal(mean_over_windows([3.0, 5.0], boxes, (5,)), [3, 4, 5, 5, 0])


@pytest.fixture
def no_child(monkeypatch):
    """Memory is not measured in a process of its own."""
    monkeypatch.setattr(plan_rows, "extra_memory", lambda *case, **options: 10**9)


@pytest.mark.usefixtures("no_child")
@pytest.mark.parametrize("full", [False, True])
def test_peers_find_what_we_find_with_part_of_the_windows_and_with_all(tiny, full):
    model, batch = tiny
    targets = {"one by one": 400, "Captum Occlusion": None, "MONAI OcclusionSensitivity": None}
    *lines, plan = window_rows.windows("tiny", 8, 4, 2, targets, repeats=2, full=full, batch=batch, model=model)
    assert [line.against for line in lines] == list(targets)
    assert [line.run for line in lines[:2]] == (["288 of 288 windows"] if full else ["8 of 288 windows"]) * 2
    assert lines[2].run == ("175 of its 175 windows" if full else "8 of its 175 windows")
    assert all(line.top > 0.1 and line.difference < 1e-4 and line.ratio.n == (1 if full else 2) for line in lines)
    assert [line.met for line in lines] == [False, None, None]
    assert (plan.parts, plan.taken.n) == (288, 3 if full else 6)


def test_ours_may_be_run_in_part_as_well(tiny):
    """Memory is that of all of it, measured with windows further apart."""
    model, batch = tiny
    options = {"repeats": 1, "full": False, "every": 7, "batch": batch, "model": model}
    *lines, plan = window_rows.windows("tiny", 8, 4, 2, {"one by one": None, "Captum Occlusion": None}, **options)
    assert all(line.top > 0.1 and line.difference < 1e-4 for line in lines)
    assert {line.run for line in lines} == {"8 of 288 windows; ours 1 of 7"}
    assert plan.extra_memory > 0


def test_a_part_is_scaled_to_the_whole(tiny):
    """By the number of passes, that of the whole image among them."""
    model, batch = tiny
    lattice = Lattice(SHAPE, 6, 3)

    def slow(images):
        passes.append(1)
        return model(images)

    passes, ran = [], {}
    for per_axis in (2, 3):
        passes.clear()
        peers.one_by_one(slow, batch, 1, lattice, lattice.some(per_axis))
        ran[per_axis] = len(passes)
    assert ran == {2: 9, 3: 28}
    assert peers._scaled(9.0, 8, 287) == pytest.approx(288.0)


def test_areas_are_those_of_captum(tiny, rng):
    model, batch = tiny
    labels = rng.integers(0, 40, SHAPE)
    line, plan = heatmap_rows.areas("tiny", 20, repeats=1, full=False, batch=batch, model=model, labels=labels)
    assert line.run == "20 of 39 regions"
    assert line.difference < 1e-4
    assert plan.parts == plan.changing == 39
    assert plan.extra_memory > 0


@pytest.mark.parametrize(("full", "run"), [(False, "5 of 39 steps"), (True, "39 of 39 steps")])
def test_deletion_curves_are_those_of_whole_passes(tiny, rng, full, run):
    model, batch = tiny
    labels = rng.integers(0, 40, SHAPE)
    options = {"batch": batch, "model": model, "labels": labels, "steps_run": 5}
    (line,) = heatmap_rows.deletion("tiny", 1, 30, repeats=2, full=full, **options)
    assert (line.run, line.against) == (run, "one by one")
    assert line.top > 0.01 and line.difference < 1e-4


@pytest.mark.parametrize(("name", "resolution"), [("rieke2018", 1), ("small", 3), ("compact", 3)])
def test_the_docs_state_what_multiply_adds_allow_for_deletion_curves(name, resolution):
    """One region after the other, compared with a pass each; the plan needs the layers and no run of the network."""
    batch, pool = cases.brain(resolution), {"first_pool": 2} if name == "compact" else {}
    graph, steps = followed(build_network(name, tuple(batch.shape[2:]), **pool).eval(), batch)
    boxes = [part.box for part in areas_of(cases.areas(resolution), tuple(batch.shape[2:])).values()]
    ends = (np.array([[getattr(axis, end) for axis in box] for box in boxes]) for end in ("start", "stop"))
    plans = [Plan(graph, steps, lo[None], hi[None]) for lo, hi in zip(*ends, strict=True)]
    allowed = len(plans) * plans[0].full_multiply_adds / sum(plan.multiply_adds for plan in plans)
    text = (ROOT / "docs" / "explaining" / "incremental_occlusion.md").read_text()
    (row,) = re.findall(rf"^\| `{name}`.*{resolution} mm \| ([\d.]+) times \|", text, re.M)
    assert len(plans) == 116 and row == f"{allowed:.2g}"


@pytest.mark.usefixtures("no_child")
def test_a_plan_is_held_against_the_whole_networks_multiply_adds(tiny):
    """Torch's own counter knows what the plain loop costs; blank windows count as parts and cost nothing."""
    model, batch = tiny
    batch = batch.clone()
    batch[..., :12] = 0
    boxes = Lattice(SHAPE, 6, 6).boxes(Lattice(SHAPE, 6, 6).all())
    blank = sum(box[2].stop <= 12 for box in boxes)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(batch)
    one = counter.get_flop_counts()["Global"][torch.ops.aten.convolution] / 2
    plan = plan_rows.plan("tiny", model, batch, boxes, [None] * len(boxes), [2.0, 4.0], "occlusion")
    assert plan.of_plain_loop == len(boxes) * one
    assert plan.changing == len(boxes) - blank
    assert 0 < plan.multiply_adds < plan.of_plain_loop
    assert plan.ratio.median == pytest.approx(3.0 / plan.needed)
    assert not plan.met, "milliseconds are needed, and seconds were taken"
    assert replace(plan, ratio=Spread(2.4, 2, 3, 3)).met
    assert not replace(plan, ratio=Spread(2.4, 2, 3, 3), extra_memory=3 * 10**9).met


@pytest.mark.parametrize("name", gradient_peers.PEERS)
def test_gradient_methods_are_those_of_their_peers(tiny, name):
    model, batch = tiny
    lines = heatmap_rows.gradients(name, "tiny", 1.2, repeats=1, full=False, batch=batch, model=model)
    assert [line.against for line in lines] == ["one forward and backward", *gradient_peers.PEERS[name]]
    assert all(line.difference <= 1e-4 for line in lines[1:])
    assert not any(parameter.grad is not None for parameter in model.parameters())


def test_another_map_is_told_before_any_time_is_taken(tiny, monkeypatch):
    model, batch = tiny
    wrong = {"Captum Saliency": lambda model, batch: np.ones(SHAPE)}
    monkeypatch.setitem(heatmap_rows.PEERS, "sensitivity_analysis", wrong)
    monkeypatch.setattr(heatmap_rows, "in_turn", lambda *arguments: pytest.fail("times were taken"))
    with pytest.raises(Different, match="sensitivity_analysis, tiny and Captum Saliency: they differ by"):
        heatmap_rows.gradients("sensitivity_analysis", "tiny", 1.2, repeats=1, full=False, batch=batch, model=model)


def test_a_map_that_is_nearly_zero_says_nothing():
    with pytest.raises(Different, match=r"maximum is 0.001, and 0.01 is the least"):
        results.compare(np.full(3, 0.001), np.full(3, 0.001), "occlusion", results.LEAST_TOP)
    assert results.compare([1, 2.001], [1, 2], "two maps") == (2, pytest.approx(5e-4))


def test_times_are_taken_in_turn_and_divided_round_by_round():
    order, clock = [], {"ours": iter([1.0, 2.0, 4.0]), "theirs": iter([10.0, 22.0, 36.0])}

    def run(name):
        return lambda: order.append(name) or Outcome(None, next(clock[name]))

    seconds = in_turn({name: run(name) for name in clock}, 3)
    assert order == ["ours", "theirs"] * 3
    assert ratios(seconds["theirs"], seconds["ours"]) == Spread(10.0, 9.0, 11.0, 3)


def test_training_as_the_original_and_ours_see_the_same_scans(tmp_path):
    """Read from gzip or from a memory map, with the same voxel-wise scores: one batch, one loss."""
    # Large enough that the last layer has 3 cells along each axis: with 2, oneDNN's bfloat16 gradients are garbage.
    shape, affine = (28, 28, 28), np.diag([4.0, 4, 4, 1])
    inside = np.zeros(shape, np.uint8)
    inside[2:26, 2:27, 1:27] = 1
    t1 = nib.Nifti1Image(np.random.default_rng(3).random(shape).astype(np.float32) * inside, affine)
    template = (t1, nib.Nifti1Image(inside, affine))
    folds, paths = training_rows.write_scans(tmp_path, 6, template)
    settings = training_rows._settings("small", 1, crop="none")
    data, _ = training_rows.load_fold(folds, paths, template[1], settings, fold=0, classes=training_rows.CLASSES)
    scans = training_rows.NiftiScans(
        [f"{path}.gz" for path in paths.values()], data.targets, data.normaliser.mean[0], data.normaliser.scale[0]
    )
    ours, targets = data.batch([0, 1, 2, 3, 4, 5])
    assert targets.tolist() == [scans[n][1] for n in range(6)] == [1, 0] * 3
    theirs = torch.stack([scans[n][0] for n in range(6)])
    assert float((ours - theirs).abs().max()) < 1e-2  # int16 against float32, in standard deviations
    lines = training_rows.training(4, repeats=1, full=False, template=template, network="small", n_scans=6)
    assert [line.target for line in lines].count(4) == 1
    assert all(line.ours.median > 0 for line in lines)


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Every row as if it had been measured."""
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    monkeypatch.setattr(table, "FOLDER", tmp_path)
    monkeypatch.setattr(table, "PAGE", tmp_path / "speed.md")
    line = Line("a work", "a peer", "times faster", Spread(110.0, 90, 130, 3), Spread(7, 6, 8, 3), Spread(770, 1, 2, 3))
    line = replace(line, target=100, top=0.2, difference=3e-6, run="27 of 1,200 windows")
    for name in ROWS:
        results.save(name, [line], [1.0, 2.0])
    return tmp_path


def test_the_page_is_made_when_all_rows_are_there(measured):
    found = table.read()
    assert table.missing(found) == []
    text = table.page(found)
    wanted = (
        "| a peer | 27 of 1,200 windows | 0.2 | 3e-06 | 7 | 770 | 110 (90 to 130) times faster | at least 100 | yes |"
    )
    assert text.count(wanted) == len(ROWS)
    assert f"{len(ROWS)} of {len(ROWS)} targets are met." in text


def test_the_page_is_not_made_of_rows_that_do_not_belong_together(measured):
    path = measured / "lrp_rieke2018.json"
    row = json.loads(path.read_text())
    path.write_text(json.dumps(row | {"machine": row["machine"] | {"torch": "1.0"}}))
    assert table.missing(table.read()) == ["rows were measured on different machines or with different versions"]
    path.write_text(json.dumps(row | {"code": "another"}))
    assert table.missing(table.read()) == ["lrp_rieke2018 was measured with other code"]
    path.unlink()
    assert table.missing(table.read()) == ["lrp_rieke2018 was not measured"]


def test_a_missed_target_is_named(measured):
    row = json.loads((measured / "lrp_rieke2018.json").read_text())
    missed = replace(Line(**{k: row["lines"][0][k] for k in asdict(_line())}), ratio=Spread(99.0, 98, 100, 3))
    missed = replace(missed, ours=Spread(1, 1, 1, 1), theirs=Spread(1, 1, 1, 1))
    results.save("lrp_rieke2018", [missed], [1.0, 1.0])
    assert f"{len(ROWS) - 1} of {len(ROWS)} targets are met; missed: a work against a peer." in table.page(table.read())


def _line():
    return Line("", "", "times faster", *[Spread(1, 1, 1, 1)] * 3)


def test_most_and_least():
    at_most = replace(_line(), kind="times the time", target=1.2)
    assert replace(at_most, ratio=Spread(1.19, 1, 2, 3)).met
    assert not replace(at_most, ratio=Spread(1.21, 1, 2, 3)).met
    assert _line().met is None


def test_what_takes_long_is_run_when_asked_for():
    assert set(ONLY_WHEN_ASKED) < set(ROWS)


def test_memory_is_that_of_a_process_of_its_own():
    """A layer of 128 MB is 128 MB, whatever this process held before; an image of 16 MB that is not run is none."""
    held = np.ones(2 * 10**8, np.uint8)
    batch = torch.zeros(1, 1, 160, 160, 160)
    layers = nn.Sequential(nn.Upsample(scale_factor=2), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(1, 2)).eval()
    assert 120e6 < extra_memory(layers, batch) < 350e6
    assert extra_memory(nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(1, 2)).eval(), batch) < 30e6
    assert held.nbytes == 2 * 10**8
