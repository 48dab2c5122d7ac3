"""The averaged weights are those of the recursion written out by hand, also after resuming."""

import numpy as np
import pytest
import torch

from helpers.training_settings import SETTINGS
from voxelwhy.networks.weights import hash_weights
from voxelwhy.training import learner
from voxelwhy.training.averaging import averaged_model
from voxelwhy.training.fold import load_fold
from voxelwhy.training.loop import train_network

AVERAGED = SETTINGS | {"average": "ema", "epochs": 3}


@pytest.fixture
def data(small_cohort, classes):
    mask, paths, folds = small_cohort
    return load_fold(folds, paths, mask, AVERAGED, fold=0, classes=classes)[0]


def by_hand(states, steps):
    """The recursion: the first state, then shares of 1/9, 2/10, … up to 1 - 10 / steps of what came before."""
    average = states[0].double()
    for number, state in enumerate(states[1:], start=1):
        share = min(1 - 1 / max(1, steps / 10), (1 + number) / (10 + number))
        average = share * average + (1 - share) * state.double()
    return average


@pytest.mark.parametrize("steps", [6, 40, 1000])
def test_the_average_is_the_recursion(steps):
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    average, states = averaged_model(network, steps), []
    rng = torch.Generator().manual_seed(1)
    for _ in range(40):
        with torch.no_grad():
            network[0].weight.copy_(torch.randn(2, 3, generator=rng))
            network(torch.randn(5, 3, generator=rng))  # moves the statistics of batch normalisation
        average.update_parameters(network)
        states.append([network[0].weight.clone(), network[1].running_var.clone()])
    for number, found in enumerate((average.module[0].weight, average.module[1].running_var)):
        torch.testing.assert_close(found.double(), by_hand([s[number] for s in states], steps), atol=1e-5, rtol=0)
    assert average.module[1].num_batches_tracked == 40


def test_the_average_of_the_steps_is_what_a_training_keeps_and_validates(data, monkeypatch):
    states, step = [], torch.optim.Adam.step

    def watch(self):
        step(self)
        states.append(self.param_groups[0]["params"][0].detach().clone())

    monkeypatch.setattr(torch.optim.Adam, "step", watch)
    model, history = train_network(data, AVERAGED, seed=3, fold=0)
    assert len(states) == 6
    torch.testing.assert_close(next(model.parameters()).double(), by_hand(states, 6), atol=1e-6, rtol=0)
    logits = learner.predict_logits(model, data, data.sides["validation"], AVERAGED)
    truth = data.targets[data.sides["validation"]]
    loss = np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(truth)), truth])
    assert history["validation_loss"].iloc[-1] == pytest.approx(loss, abs=1e-6)
    plain, _ = train_network(data, AVERAGED | {"average": "none"}, seed=3, fold=0)
    assert torch.equal(next(plain.parameters()), states[-1])


@pytest.mark.parametrize("keep", ["last", "best_validation"])
def test_a_killed_training_resumes_to_the_same_average(data, tmp_path, monkeypatch, keep):
    settings = AVERAGED | {"keep": keep, "schedule": "cosine"}
    whole, _ = train_network(data, settings, seed=3, fold=0)
    save = learner.save_checkpoint

    def killed(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(learner, "save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        train_network(data, settings, seed=3, fold=0, checkpoint=tmp_path / "c.pt")
    monkeypatch.undo()
    resumed, history = train_network(data, settings, seed=3, fold=0, checkpoint=tmp_path / "c.pt")
    assert hash_weights(resumed) == hash_weights(whole)
    assert history["epoch"].tolist() == [1, 2, 3]
