"""Training one fold: it learns, it resumes to the same weights, and its failures speak."""

import numpy as np
import pytest
import torch
from torch import nn

from voxelwhy import training
from voxelwhy.errors import InputError
from voxelwhy.fold_training import load_fold, train_fold
from voxelwhy.models.weights import hash_weights, load_model, save_model
from voxelwhy.tables import HISTORY, PREDICTIONS, write_table
from voxelwhy.volumes import Normaliser

SETTINGS = {
    "network": "small",
    "crop": "none",
    "normalisation": "voxelwise",
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "batch_size": 4,
    "epochs": 4,
    "dropout": 0.5,
    "keep": "last",
    "threads": 1,
    "precision": "float32",
}


def run(small_cohort, classes, checkpoints, **changes):
    mask, paths, folds = small_cohort
    return train_fold(
        folds, paths, mask, SETTINGS | changes, fold=0, classes=classes, seed=3, code={}, checkpoints=checkpoints
    )


def test_a_fold_learns_and_its_tables_follow_their_schemas(small_cohort, classes, tmp_path):
    _, card, history, predictions = run(small_cohort, classes, tmp_path / "c", epochs=30, normalisation="scan")
    write_table(history, tmp_path / "history.tsv", HISTORY)
    write_table(predictions, tmp_path / "predictions.tsv", PREDICTIONS)
    assert history["train_loss"].iloc[-1] < 0.5 * history["train_loss"].iloc[0]
    assert ((predictions["probability"] >= 0.5) == (predictions["label"] == "AD")).all()
    assert sorted(predictions["scan_id"]) == ["scan00", "scan01", "scan08", "scan09"]
    assert card["n_train"] == 8
    assert len(list((tmp_path / "c").iterdir())) == 1, "the caller removes it, when the model is stored"


def test_same_seed_gives_the_same_file_and_another_seed_another(small_cohort, classes, tmp_path):
    files = []
    for name in ("one.pt", "two.pt"):
        model, card, *_ = run(small_cohort, classes, tmp_path / name[:3])
        save_model(tmp_path / name, model, card)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]
    other, *_ = run(small_cohort, classes, tmp_path / "d", dropout=0.4)
    assert hash_weights(other) != card["weights_sha256"]


@pytest.mark.parametrize("keep", ["last", "best_validation"])
def test_a_killed_training_resumes_to_the_same_weights(small_cohort, classes, tmp_path, monkeypatch, keep):
    whole, _, history, _ = run(small_cohort, classes, tmp_path / "whole", keep=keep)
    save, calls = training._save, []

    def killed_after_two(*arguments):
        save(*arguments)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_save", killed_after_two)
    with pytest.raises(KeyboardInterrupt):
        run(small_cohort, classes, tmp_path / "killed", keep=keep)
    monkeypatch.setattr(training, "_save", save)
    epochs = []
    one_epoch = training._one_epoch
    monkeypatch.setattr(training, "_one_epoch", lambda *a: epochs.append(a[-1]) or one_epoch(*a))
    resumed, _, again, _ = run(small_cohort, classes, tmp_path / "killed", keep=keep)
    assert epochs == [3, 4]
    assert hash_weights(resumed) == hash_weights(whole)
    assert again.equals(history)


def test_other_settings_start_afresh(small_cohort, classes, tmp_path, monkeypatch):
    def no_end(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "_validate", no_end)
    with pytest.raises(KeyboardInterrupt):
        run(small_cohort, classes, tmp_path)
    monkeypatch.undo()
    run(small_cohort, classes, tmp_path)
    epochs = []
    one_epoch = training._one_epoch
    monkeypatch.setattr(training, "_one_epoch", lambda *a: epochs.append(a[-1]) or one_epoch(*a))
    run(small_cohort, classes, tmp_path, dropout=0.4)
    assert epochs == [1, 2, 3, 4]
    run(small_cohort, classes, tmp_path)
    assert epochs == [1, 2, 3, 4], "the finished run of the first settings is still there"
    assert len(list(tmp_path.glob("*.pt"))) == 2


def test_a_damaged_checkpoint_starts_afresh(small_cohort, classes, tmp_path, caplog):
    mask, paths, folds = small_cohort
    data, _ = load_fold(folds, paths, mask, SETTINGS, fold=0, classes=classes)
    (tmp_path / "half.pt").write_bytes(b"not a checkpoint")
    _, history = training.train_network(data, SETTINGS, seed=1, fold=0, checkpoint=tmp_path / "half.pt")
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert "training starts afresh" in caplog.text


def test_best_validation_keeps_the_best_epoch(small_cohort, classes):
    mask, paths, folds = small_cohort
    settings = SETTINGS | {"keep": "best_validation", "learning_rate": 3e-2, "epochs": 5}
    data, _ = load_fold(folds, paths, mask, settings, fold=0, classes=classes)
    model, history = training.train_network(data, settings, seed=1, fold=0)
    logits = torch.from_numpy(training.predict_logits(model, data, data.sides["validation"], settings))
    loss = nn.functional.cross_entropy(logits, torch.from_numpy(data.targets[data.sides["validation"]]))
    assert abs(loss.item() - history["validation_loss"].min()) < 1e-6
    assert history["validation_loss"].idxmin() != len(history) - 1


def test_no_validation_scans_is_fine(small_cohort, classes):
    mask, paths, folds = small_cohort
    folds = folds.assign(side=folds["side"].replace("validation", "train"))
    data, _ = load_fold(folds, paths, mask, SETTINGS, fold=0, classes=classes)
    _, history = training.train_network(data, SETTINGS | {"epochs": 1}, seed=1, fold=0)
    assert history["validation_loss"].isna().all()


def test_a_loss_that_turns_nan_says_where(small_cohort, classes):
    mask, paths, folds = small_cohort
    data, _ = load_fold(folds, paths, mask, SETTINGS, fold=0, classes=classes)
    data.normaliser = Normaliser("voxelwise", data.normaliser.mean * np.float32("nan"), data.normaliser.scale)
    with pytest.raises(InputError, match=r"turned nan in epoch 1, batch 1[\s\S]*learning_rate"):
        training.train_network(data, SETTINGS, seed=1, fold=0)


def test_the_loss_and_step_are_those_of_a_plain_loop(small_cohort, classes):
    """One epoch without dropout against Adam written out for the last bias."""
    mask, paths, folds = small_cohort
    settings = SETTINGS | {"epochs": 1, "dropout": 0.0, "batch_size": 8}
    data, _ = load_fold(folds, paths, mask, settings, fold=0, classes=classes)
    model, history = training.train_network(data, settings, seed=5, fold=0)
    torch.manual_seed(training._stream(5, 0, 0))
    start = training.build_network("small", data.volumes.shape, dropout=0.0).train()
    scans, targets = data.batch(data.sides["train"])
    probabilities = start(scans).softmax(1).double()
    loss = -probabilities[torch.arange(8), targets].log().mean()
    assert abs(history["train_loss"][0] - loss.item()) < 1e-5
    gradient = (probabilities - nn.functional.one_hot(targets, 2)).mean(0)
    bias = [p for p in start.parameters() if p.shape == (2,)][-1].detach().double()
    # The first step of Adam moves by the learning rate against the gradient's sign.
    expected = bias - settings["learning_rate"] * gradient / (gradient.abs() + 1e-8)
    after = [p for p in model.parameters() if p.shape == (2,)][-1].double()
    torch.testing.assert_close(after, expected, atol=1e-6, rtol=0)


def test_the_stored_model_gives_the_same_logits(small_cohort, classes, tmp_path):
    mask, paths, folds = small_cohort
    model, card, _, predictions = run(small_cohort, classes, tmp_path / "c", crop="brain", normalisation="scan")
    save_model(tmp_path / "model.pt", model, card)
    loaded, stored = load_model(tmp_path / "model.pt")
    data, _ = load_fold(folds, paths, mask, SETTINGS | stored["settings"], fold=0, classes=classes)
    logits = training.predict_logits(loaded, data, data.sides["test"], stored["settings"])
    np.testing.assert_allclose(logits[:, 1], predictions["logit_positive"], atol=1e-6)
    assert stored["spatial_shape"] == [18, 17, 17]
