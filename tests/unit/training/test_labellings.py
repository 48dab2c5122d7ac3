"""Several labellings trained side by side: each network is that of a training alone, bit for bit; and schedules."""

import numpy as np
import pytest
import torch

from helpers.training_settings import SETTINGS
from voxelwhy.errors import InputError
from voxelwhy.networks.weights import hash_weights
from voxelwhy.training import learner
from voxelwhy.training import loop as training
from voxelwhy.training.fold import load_fold, train_draws, train_fold

#: Everything that draws random numbers or keeps a state from step to step.
DEMANDING = SETTINGS | {"network": "compact", "dropout": 0.4, "augmentation": {"flip": 0.5, "shift_mm": 4.0}}
DEMANDING |= {"optimiser": "adamw", "weight_decay": 0.01, "class_weights": "balanced", "keep": "best_validation"}
DEMANDING |= {"schedule": "one_cycle", "epochs": 3, "batch_size": 3}


@pytest.fixture
def data(small_cohort, classes):
    mask, paths, folds = small_cohort
    return load_fold(folds, paths, mask, SETTINGS, fold=0, classes=classes)[0]


def labellings(data):
    """The true labels, one permutation of them, and the opposite."""
    return [data.targets, np.random.default_rng(4).permutation(data.targets), 1 - data.targets]


def train(data, targets, settings, *, folder=None, names="abc"):
    checkpoints = [folder and folder / f"{name}.pt" for name, _ in zip(names, targets, strict=False)]
    how = {"seed": 3, "fold": 0, "device": "cpu"}
    return training.train_networks(data, targets, settings, checkpoints=checkpoints, **how)


def same(first, second):
    return hash_weights(first[0]) == hash_weights(second[0]) and first[1].equals(second[1])


@pytest.mark.parametrize("settings", [
    SETTINGS,
    SETTINGS | {"schedule": "cosine"},
    SETTINGS | {"schedule": "one_cycle"},
    DEMANDING,
])  # fmt: skip
def test_each_network_is_the_one_that_is_trained_alone(data, settings):
    assert settings["dropout"] > 0
    together = train(data, labellings(data), settings)
    assert len({hash_weights(model) for model, _ in together}) == 3
    for targets, own in zip(labellings(data), together, strict=True):
        assert same(own, train(data, [targets], settings)[0])
    assert same(together[0], training.train_network(data, settings, seed=3, fold=0, device="cpu"))


def killed(monkeypatch, *, after):
    """Kill the training after so many checkpoints; returns the names of those that are written."""
    save, written = learner.save_checkpoint, []

    def save_and_die(path, *arguments):
        save(path, *arguments)
        written.append(path.stem)
        if len(written) == after:
            raise KeyboardInterrupt

    monkeypatch.setattr(learner, "save_checkpoint", save_and_die)
    return written


@pytest.mark.parametrize("after", [2, 3])
@pytest.mark.parametrize("settings", [
    SETTINGS,
    SETTINGS | {"schedule": "cosine"},
    SETTINGS | {"schedule": "one_cycle", "keep": "best_validation"},
    DEMANDING,
])  # fmt: skip
def test_a_training_that_was_killed_between_networks_ends_with_the_same_weights(
    data, tmp_path, monkeypatch, settings, after
):
    """After an epoch of both networks, and after the first has ended an epoch more than the second."""
    targets = labellings(data)[:2]
    whole = train(data, targets, settings)
    written = killed(monkeypatch, after=after)
    with pytest.raises(KeyboardInterrupt):
        train(data, targets, settings, folder=tmp_path)
    resumed = train(data, targets, settings, folder=tmp_path)
    assert written == (["a", "b"] * settings["epochs"])
    assert all(same(*pair) for pair in zip(whole, resumed, strict=True))
    # Once more, from checkpoints of finished trainings.
    assert all(same(*pair) for pair in zip(whole, train(data, targets, settings, folder=tmp_path), strict=True))
    assert len(written) == 2 * settings["epochs"]


def test_a_labelling_that_comes_later_is_trained_beside_a_finished_one(data, tmp_path):
    """Its batches are those of the beginning, and the finished network is left as it is."""
    first, second = labellings(data)[:2]
    alone = train(data, [first], SETTINGS, folder=tmp_path, names="a")[0]
    both = train(data, [first, second], SETTINGS, folder=tmp_path, names="ab")
    assert same(both[0], alone) and same(both[1], train(data, [second], SETTINGS)[0])


def test_scans_are_read_once_for_all_labellings(data, monkeypatch):
    def reads(targets):
        read, seen = type(data).batch, []
        settings = SETTINGS | {"epochs": 1}
        with monkeypatch.context() as patch:
            patch.setattr(type(data), "batch", lambda self, indices: seen.append(tuple(indices)) or read(self, indices))
            patch.setattr(learner.Learner, "validate", lambda *a: {"validation_loss": 0.0, "validation_accuracy": 0.0})
            train(data, targets, settings)
        return seen

    assert reads(labellings(data)) == reads([data.targets])


def test_a_labelling_that_fails_names_its_own_checkpoint(data, tmp_path, monkeypatch):
    """The second network's weights turn NaN in its second epoch: its first epoch is what is kept."""
    steps, step = [], torch.optim.Adam.step

    def spoil(self, *arguments):
        step(self, *arguments)
        steps.append(1)
        if len(steps) == 6:  # two networks with two batches an epoch: the second one's first batch of epoch 2
            self.param_groups[0]["params"][0].data[0] = float("nan")

    monkeypatch.setattr(torch.optim.Adam, "step", spoil)
    with pytest.raises(InputError) as stop:
        train(data, labellings(data)[:2], SETTINGS, folder=tmp_path)
    assert f"kept:    {tmp_path / 'b.pt'}, after epoch 1" in str(stop.value)
    for name in "ab":
        assert torch.load(tmp_path / f"{name}.pt", weights_only=True)["progress"]["epoch"] == 1


def test_draws_of_a_fold_differ_from_the_study_in_their_labels_alone(small_cohort, classes, tmp_path):
    """The draw with the study's labels is the study's model; each draw has a checkpoint of its own."""
    mask, paths, folds = small_cohort
    other = folds.assign(label=folds["label"].map({"AD": "CN", "CN": "AD"}))
    how = {"fold": 0, "classes": classes, "seed": 3, "code": {}}
    settings = SETTINGS | {"normalisation": "voxelwise", "schedule": "one_cycle"}
    shuffled_rows = folds.sample(frac=1, random_state=1)
    models, card = train_draws(
        folds, [shuffled_rows, other], paths, mask, settings, checkpoints=tmp_path / "draws", **how
    )
    own, own_card, *_ = train_fold(folds, paths, mask, settings, checkpoints=tmp_path / "own", **how)
    swapped, *_ = train_fold(other, paths, mask, settings, checkpoints=tmp_path / "swapped", **how)
    assert [hash_weights(model) for model in models] == [hash_weights(own), hash_weights(swapped)]
    assert (card["crop"], card["channels"]) == (own_card["crop"], own_card["channels"])
    for name, values in own_card["normalisation"].items():
        assert np.array_equal(card["normalisation"][name], values)
    assert len(list((tmp_path / "draws").glob("*.pt"))) == 2
    names = {path.name for path in (tmp_path / "draws").glob("*.pt")}
    assert {path.name for folder in ("own", "swapped") for path in (tmp_path / folder).glob("*.pt")} == names


# Schedules of the learning rate, and AdamW.


def cosine(step, steps, rate):
    return rate * (1 + np.cos(np.pi * step / steps)) / 2


def one_cycle(step, steps, rate):
    """PyTorch's defaults: from 1/25 of the rate up for 30 % of the steps, and down to 1/10000 of that; by cosines."""
    top = 0.3 * steps - 1
    first, second, share = (1 / 25, 1, step / top) if step <= top else (1, 1e-4 / 25, (step - top) / (steps - 1 - top))
    return rate * (second + (first - second) * (1 + np.cos(np.pi * share)) / 2)


@pytest.mark.parametrize(("schedule", "expected"), [("cosine", cosine), ("one_cycle", one_cycle)])
@pytest.mark.parametrize("after", [None, 1, 3])
def test_every_step_has_the_rate_of_its_schedule_also_when_resumed(
    data, tmp_path, monkeypatch, schedule, expected, after
):
    """4 epochs of 2 batches against the closed form, uninterrupted or killed after an epoch."""
    rates, step = [], torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: rates.append(self.param_groups[0]["lr"]) or step(self))
    settings = SETTINGS | {"schedule": schedule, "learning_rate": 0.02}
    if after is not None:
        killed(monkeypatch, after=after)
        with pytest.raises(KeyboardInterrupt):
            train(data, [data.targets], settings, folder=tmp_path)
        assert len(rates) == 2 * after
    train(data, [data.targets], settings, folder=tmp_path)
    np.testing.assert_allclose(rates, [expected(k, 8, 0.02) for k in range(8)], rtol=1e-9)
    assert 0.9 * 0.02 < max(rates) <= 0.02


def test_a_constant_rate_is_constant(data, monkeypatch):
    rates, step = [], torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: rates.append(self.param_groups[0]["lr"]) or step(self))
    train(data, [data.targets], SETTINGS)
    assert rates == [SETTINGS["learning_rate"]] * 8


def test_adamw_decays_weights_apart_from_their_gradients(data):
    """The first step by hand, for the last bias: it shrinks by rate times decay, and moves by rate against the sign.

    Adam, for which the decay is a part of the gradient, moves it elsewhere."""
    settings = SETTINGS | {"epochs": 1, "dropout": 0.0, "batch_size": 8, "weight_decay": 5.0, "learning_rate": 0.01}
    torch.manual_seed(training._stream((3, 0, 0), 0))
    start = learner.build_network("small", data.volumes.shape, dropout=0.0).train()
    scans, targets = data.batch(data.sides["train"])
    gradient = (start(scans).softmax(1).double() - torch.nn.functional.one_hot(targets, 2)).mean(0)
    before = [p for p in start.parameters() if p.shape == (2,)][-1].detach().double()
    expected = {
        "adamw": before * (1 - 0.01 * 5.0) - 0.01 * gradient.sign(),
        "adam": before - 0.01 * (gradient + 5.0 * before).sign(),
    }
    assert (expected["adamw"] - expected["adam"]).abs().max() > 1e-3
    for name, after in expected.items():
        ((model, _),) = train(data, [data.targets], settings | {"optimiser": name})
        found = [p for p in model.parameters() if p.shape == (2,)][-1].double()
        torch.testing.assert_close(found.detach(), after.detach(), atol=1e-5, rtol=0)
