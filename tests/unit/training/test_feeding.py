"""Batches that are read ahead come in order, with the same bytes, while the step computes; failures arrive in turn."""

import threading
import time

import pytest
import torch

from helpers.training_settings import SETTINGS
from voxelwhy.networks.weights import hash_weights
from voxelwhy.training import feeding
from voxelwhy.training.feeding import read_ahead
from voxelwhy.training.fold import load_fold
from voxelwhy.training.loop import train_network


@pytest.mark.parametrize("readers", [1, 3])
def test_parts_come_in_order_whatever_the_time_they_take(readers):
    def read(part):
        time.sleep(0.02 * (part % 3 == 0))
        return torch.full((2,), float(part))

    found = list(read_ahead(range(20), read, readers=readers))
    assert [part for part, _ in found] == list(range(20))
    assert all(torch.equal(values, torch.full((2,), float(part))) for part, values in found)


def test_the_next_batches_are_read_while_a_step_computes():
    started = []
    fed = read_ahead(range(10), lambda part: started.append(part) or torch.zeros(1))
    next(fed)
    deadline = time.monotonic() + 5
    while len(started) < 1 + feeding.AHEAD and time.monotonic() < deadline:
        time.sleep(0.01)
    assert started == [0, 1, 2], "two batches ahead, and no more"
    fed.close()


def test_a_failure_is_raised_when_its_part_is_due_and_ends_the_threads():
    before = threading.active_count()

    def read(part):
        if part == 2:
            raise OSError("scan 2 is gone")
        return torch.zeros(1)

    seen = []
    with pytest.raises(OSError, match="scan 2 is gone"):
        for part, _ in read_ahead(range(9), read, readers=2):
            seen.append(part)
    assert seen == [0, 1]
    assert threading.active_count() == before


def test_a_reader_uses_as_many_threads_of_torch_as_the_training():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        found = [values.item() for _, values in read_ahead(range(3), lambda _: torch.tensor(torch.get_num_threads()))]
    finally:
        torch.set_num_threads(before)
    assert found == [1, 1, 1]


@pytest.mark.parametrize("augmentation", [{}, {"flip": 0.5, "shift_mm": 4.0, "intensity": 0.1}])
def test_a_training_ends_with_the_same_weights_however_its_scans_are_read(
    small_cohort, classes, monkeypatch, augmentation
):
    """Read when they are needed, one after another, against threads; kept in memory, against read in each epoch."""
    mask, paths, folds = small_cohort
    settings = SETTINGS | {"augmentation": augmentation, "epochs": 2}

    def trained():
        data, _ = load_fold(folds, paths, mask, settings, fold=0, classes=classes)
        model, history = train_network(data, settings, seed=3, fold=0)
        return hash_weights(model), history, sorted(data._kept)

    (first, history, kept), (threads, *_) = trained(), _with(monkeypatch, trained, readers=3)
    plain, same, none = _with(monkeypatch, trained, readers=0)
    assert first == threads == plain and history.equals(same)
    data, _ = load_fold(folds, paths, mask, settings, fold=0, classes=classes)
    assert kept == sorted([*data.sides["train"], *data.sides["validation"]]) and none == []


def _with(monkeypatch, run, *, readers):
    """Run with so many threads; with none, nothing is read ahead or kept in memory."""

    def plainly(parts, read, **_):
        return ((part, read(part)) for part in parts)

    def threads(parts, read, **_):
        return read_ahead(parts, read, readers=readers)

    with monkeypatch.context() as patch:
        patch.setattr("voxelwhy.training.loop.read_ahead", threads if readers else plainly)
        if not readers:
            patch.setattr(feeding, "KEPT_MB", 0)
        return run()
