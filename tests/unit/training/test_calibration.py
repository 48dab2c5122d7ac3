"""The temperature is the one of largest likelihood, it is in the weights, and it changes no order."""

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch import nn

from helpers.training_settings import SETTINGS
from voxelwhy.errors import InputError, ModelError
from voxelwhy.networks.build import build_network
from voxelwhy.networks.ensemble import two_logits
from voxelwhy.training.calibration import calibrate, divide_logits, fit_temperature
from voxelwhy.training.fold import load_fold, train_draws, train_fold
from voxelwhy.training.learner import predict_logits

CALIBRATED = SETTINGS | {"calibrate": "temperature", "normalisation": "scan", "epochs": 6}


def overconfident(n, factor, seed=0):
    """Logits that are `factor` times the true log odds, and classes drawn from these odds."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 2, n)
    return factor * np.stack([-odds / 2, odds / 2], axis=1), (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(int)


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_the_temperature_undoes_a_known_factor(factor):
    assert fit_temperature(*overconfident(40_000, factor)) == pytest.approx(factor, rel=0.05)


def test_the_derivative_of_the_likelihood_is_zero_there():
    """Σ (y - p) z = 0, solved by bracketing, with the targets of Platt."""
    logits, truth = overconfident(60, 3.0, seed=2)
    z, n = logits[:, 1] - logits[:, 0], truth.sum()
    y = np.where(truth == 1, (n + 1) / (n + 2), 1 / (60 - n + 2))
    root = brentq(lambda t: ((y - 1 / (1 + np.exp(-z / t))) * z).sum(), 0.1, 15)
    assert fit_temperature(logits, truth) == pytest.approx(root, rel=1e-4)


def test_separated_scans_keep_a_probability_below_one():
    """Two scans with odds of e² and e⁻²: targets of 2/3 and 1/3, so odds of 2."""
    assert fit_temperature([[1.0, -1.0], [-1.0, 1.0]], [0, 1]) == pytest.approx(2 / np.log(2), rel=1e-4)


def test_one_class_is_refused():
    with pytest.raises(InputError, match=r"training.calibrate[\s\S]*0 scans .* negative class, 2 of the pos"):
        fit_temperature(np.zeros((2, 2)), [1, 1])


@pytest.mark.parametrize("network", ["compact", "small", "small_dataset", "resnet18"])
def test_the_logits_of_a_network_are_divided_in_its_last_layer(network):
    torch.manual_seed(1)
    shape = (72, 72, 72) if network == "small_dataset" else (20, 20, 20)
    model, images = build_network(network, shape).eval(), torch.randn(2, 1, *shape)
    with torch.inference_mode():
        before = two_logits(model(images))
        divide_logits(model, 2.5, images)
        torch.testing.assert_close(two_logits(model(images)), before / 2.5)


@pytest.mark.parametrize("end", [nn.Tanh(), nn.Softplus()])
def test_a_network_with_another_end_is_refused(end):
    model = nn.Sequential(nn.Flatten(), nn.Linear(8, 2), end)
    with pytest.raises(ModelError, match="calibrate: none"):
        divide_logits(model, 2.0, torch.ones(1, 1, 2, 2, 2))


def test_the_model_of_a_fold_is_calibrated_on_its_validation_scans(small_cohort, classes, tmp_path):
    mask, paths, folds = small_cohort
    how = {"fold": 0, "classes": classes, "seed": 3, "code": {}, "checkpoints": tmp_path}
    model, card, _, predictions = train_fold(folds, paths, mask, CALIBRATED, **how)
    _, _, _, plain = train_fold(folds, paths, mask, CALIBRATED | {"calibrate": "none"}, **how)
    temperature = card["trainings"][0]["temperature"]
    assert abs(np.log(temperature)) > 0.05
    np.testing.assert_allclose(predictions["logit_positive"], plain["logit_positive"] / temperature, atol=1e-5)
    data, _ = load_fold(folds, paths, mask, CALIBRATED, fold=0, classes=classes)
    validation = data.sides["validation"]
    again = fit_temperature(predict_logits(model, data, validation, CALIBRATED), data.targets[validation])
    assert again == pytest.approx(1, rel=1e-3)


def test_a_draw_whose_validation_scans_are_of_one_class_is_left_as_it_is(small_cohort, classes, tmp_path, caplog):
    mask, paths, folds = small_cohort
    data, rows = load_fold(folds, paths, mask, CALIBRATED, fold=0, classes=classes)
    seen = rows.loc[rows["side"] == "validation", "scan_id"]
    lopsided = folds.assign(label=folds["label"].where(~folds["scan_id"].isin(seen), classes["positive"]))
    how = {"fold": 0, "classes": classes, "seed": 3, "code": {}}
    models, _ = train_draws(folds, [lopsided], paths, mask, CALIBRATED, checkpoints=tmp_path / "a", **how)
    plain = CALIBRATED | {"calibrate": "none"}
    others, _ = train_draws(folds, [lopsided], paths, mask, plain, checkpoints=tmp_path / "b", **how)
    assert "of one class: it is not calibrated" in caplog.text
    for ours, theirs in zip(models[0].parameters(), others[0].parameters(), strict=True):
        assert torch.equal(ours, theirs)
    with pytest.raises(InputError, match=r"training.calibrate"):
        calibrate(models[0], data, np.ones_like(data.targets), CALIBRATED)
