"""Checkpoints of a training: never bad, never half; and a training that turns NaN says what is to be known of it."""

import errno
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from helpers.training_settings import SETTINGS
from voxelwhy.errors import InputError
from voxelwhy.networks.weights import hash_weights
from voxelwhy.training import checkpoints, learner
from voxelwhy.training import loop as training
from voxelwhy.training.fold import load_fold


@pytest.fixture
def data(small_cohort, classes):
    mask, paths, folds = small_cohort
    return load_fold(folds, paths, mask, SETTINGS, fold=0, classes=classes)[0]


def train(data, checkpoint=None, **changes):
    return training.train_network(data, SETTINGS | changes, seed=1, fold=0, checkpoint=checkpoint)


def batches(data, epoch):
    """The names of the scans in each batch of an epoch."""
    order = np.random.default_rng(training._stream((1, 0, 0), epoch)).permutation(data.sides["train"])
    return [[data.scan_ids[i] for i in order[start : start + 4]] for start in (0, 4)]


@pytest.fixture
def disturbed(monkeypatch):
    """Call with `spoil(parameters, epoch, batch)`, done after each step; returns the list of epochs that were begun."""

    def disturb(spoil):
        epochs, steps = [], [0]
        one_epoch, step = training._one_epoch, torch.optim.Adam.step

        def counted(*arguments):
            epochs.append(arguments[-1])
            steps[0] = 0
            return one_epoch(*arguments)

        def spoilt(self, *arguments):
            step(self, *arguments)
            steps[0] += 1
            spoil(self.param_groups[0]["params"], epochs[-1], steps[0])

        monkeypatch.setattr(training, "_one_epoch", counted)
        monkeypatch.setattr(torch.optim.Adam, "step", spoilt)
        return epochs

    return disturb


def test_a_scan_with_nan_stops_the_training_and_is_named(data):
    bad, normalise = data.scan_ids.index("scan11"), data.normaliser

    def with_a_bad_scan(volume, mask):
        values = normalise(volume, mask)
        return values * np.float32("nan") if np.array_equal(volume, data.volumes[bad]) else values

    data.normaliser = with_a_bad_scan
    with pytest.raises(InputError) as stop:
        train(data)
    number = 1 + int("scan11" in batches(data, 1)[1])
    text = str(stop.value)
    assert f"the training loss turned nan in epoch 1, batch {number}\n" in text
    assert f"scans:   {', '.join(batches(data, 1)[number - 1])}\n" in text
    assert "after normalisation, in scan11'" in text
    assert "registration.skip" in text


@pytest.mark.parametrize("batch", [1, 2])
def test_weights_that_turn_nan_leave_the_last_good_checkpoint(data, tmp_path, monkeypatch, disturbed, batch):
    """In the last batch of an epoch no loss sees it: the checkpoint would be poisoned, and every rerun with it."""
    path = tmp_path / "c.pt"

    def spoil(parameters, epoch, number):
        if (epoch, number) == (3, batch):
            parameters[0].data[0] = float("nan")

    epochs = disturbed(spoil)
    for begun in ([1, 2, 3], [1, 2, 3, 3]):
        with pytest.raises(InputError) as stop:
            train(data, path)
        assert epochs == begun
        text = str(stop.value)
        assert f"the weights turned NaN or infinite in epoch 3, in the step of batch {batch}\n" in text
        assert f"scans:   {', '.join(batches(data, 3)[batch - 1])}\n" in text
        assert f"kept:    {path}, after epoch 2, the last good one" in text
        assert "lower training.learning_rate" in text
        state = torch.load(path, weights_only=True)
        assert state["progress"]["epoch"] == 2
        assert checkpoints.all_finite([state["model"], state["optimiser"]])
    monkeypatch.undo()
    resumed, _ = train(data, path)
    assert hash_weights(resumed) == hash_weights(train(data)[0])


def test_an_optimiser_that_overflows_is_not_kept(data, tmp_path, monkeypatch):
    """Squares of gradients beyond float32: the loss and the weights are finite, and Adam stands still for good."""
    monkeypatch.setattr(learner, "cross_entropy", lambda *a: 1e30 * nn.functional.cross_entropy(*a))
    with pytest.raises(InputError, match=r"infinite in epoch 1, in the step of batch 2\n[\s\S]*kept:    nothing yet"):
        train(data, tmp_path / "c.pt")
    assert not list(tmp_path.glob("*.pt*"))


def test_a_validation_loss_that_turns_nan_names_the_scans_behind_it(data, tmp_path, monkeypatch):
    predict = learner.predict_logits

    def one_is_nan(model, data, indices, *arguments):
        logits = predict(model, data, indices, *arguments)
        logits[indices == data.scan_ids.index("scan14")] = np.nan
        return logits

    monkeypatch.setattr(learner, "predict_logits", one_is_nan)
    with pytest.raises(
        InputError, match=r"validation loss turned nan in epoch 1, in its validation\n  scans:   scan14"
    ):
        train(data, tmp_path / "c.pt")
    assert not list(tmp_path.glob("*.pt*"))


def test_a_checkpoint_that_is_not_finite_is_not_resumed(data, tmp_path, caplog):
    path = tmp_path / "c.pt"
    whole, _ = train(data, path)
    state = torch.load(path, weights_only=True)
    next(iter(state["optimiser"]["state"].values()))["exp_avg_sq"][0] = float("inf")
    torch.save(state, path)
    again, history = train(data, path)
    assert "not finite: training starts from the beginning" in caplog.text
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert hash_weights(again) == hash_weights(whole)


def test_a_damaged_checkpoint_starts_afresh(data, tmp_path, caplog):
    (tmp_path / "half.pt").write_bytes(b"not a checkpoint")
    _, history = train(data, tmp_path / "half.pt")
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert "training starts from the beginning" in caplog.text


def test_two_trainings_of_one_fold_do_not_write_into_each_other(data, tmp_path, monkeypatch):
    """A dead controller's job is half-way through its checkpoint while its successor starts, trains and ends."""
    path, ended, write = tmp_path / "c.pt", [], Path.write_bytes

    def half_written(self, content):
        write(self, content[:100])
        monkeypatch.setattr(Path, "write_bytes", write)
        ended.append(hash_weights(train(data, path)[0]))
        assert not self.exists(), "the successor swept up what it took for a dead job's"

    monkeypatch.setattr(Path, "write_bytes", half_written)
    with pytest.raises(FileNotFoundError):
        train(data, path)
    assert ended == [hash_weights(train(data)[0])]
    assert torch.load(path, weights_only=True)["progress"]["epoch"] == 4
    assert [p.name for p in tmp_path.glob("*c.pt*")] == ["c.pt"]


def test_a_disk_that_fills_up_leaves_the_checkpoint_before(data, tmp_path, monkeypatch):
    path, write = tmp_path / "c.pt", Path.write_bytes
    train(data, path, epochs=1)

    def full(self, content):
        write(self, content[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        train(data, path)
    assert [p.name for p in tmp_path.glob("*c.pt*")] == ["c.pt"]
    assert torch.load(path, weights_only=True)["progress"]["epoch"] == 1
