"""Training one fold: it learns, it resumes to the same weights, and its failures speak."""

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

from helpers.training_settings import SETTINGS
from voxelwhy.io.tables import HISTORY, PREDICTIONS, write_table
from voxelwhy.networks.ensemble import members_of
from voxelwhy.networks.weights import hash_weights, load_model, save_model
from voxelwhy.training import bfloat16, learner
from voxelwhy.training import loop as training
from voxelwhy.training.fold import load_fold, train_fold


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


@pytest.mark.parametrize(
    ("keep", "schedule"), [("last", "constant"), ("best_validation", "constant"), ("last", "one_cycle")]
)
def test_a_killed_training_resumes_to_the_same_weights(small_cohort, classes, tmp_path, monkeypatch, keep, schedule):
    how = {"keep": keep, "schedule": schedule}
    whole, _, history, _ = run(small_cohort, classes, tmp_path / "whole", **how)
    save, calls = learner.save_checkpoint, []

    def killed_after_two(*arguments):
        save(*arguments)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(learner, "save_checkpoint", killed_after_two)
    with pytest.raises(KeyboardInterrupt):
        run(small_cohort, classes, tmp_path / "killed", **how)
    monkeypatch.setattr(learner, "save_checkpoint", save)
    epochs = []
    one_epoch = training._one_epoch
    monkeypatch.setattr(training, "_one_epoch", lambda *a: epochs.append(a[-1]) or one_epoch(*a))
    resumed, _, again, _ = run(small_cohort, classes, tmp_path / "killed", **how)
    assert epochs == [3, 4]
    assert hash_weights(resumed) == hash_weights(whole)
    assert again.equals(history)


def test_other_settings_start_afresh(small_cohort, classes, tmp_path, monkeypatch):
    def no_end(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(learner.Learner, "validate", no_end)
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


def test_a_training_ends_when_the_validation_loss_has_not_fallen_for_so_many_epochs(small_cohort, classes, tmp_path):
    """Against a training of all epochs: the same history up to the end, which follows from it; also when resumed."""
    mask, paths, folds = small_cohort
    settings = SETTINGS | {"learning_rate": 3e-2, "epochs": 12}
    data, _ = load_fold(folds, paths, mask, settings, fold=0, classes=classes)
    _, whole = training.train_network(data, settings, seed=1, fold=0)
    losses = whole["validation_loss"].to_numpy()
    for patience in (1, 2, 3):
        since, end = 0, len(losses)
        for epoch in range(1, len(losses)):
            since = 0 if losses[epoch] < losses[:epoch].min() else since + 1
            if since == patience:
                end = epoch + 1
                break
        assert end < 12
        how = {"seed": 1, "fold": 0, "checkpoint": tmp_path / f"{patience}.pt"}
        model, history = training.train_network(data, settings | {"patience": patience}, **how)
        assert history.equals(whole.iloc[:end])
        again, same = training.train_network(data, settings | {"patience": patience}, **how)
        assert same.equals(history) and hash_weights(again) == hash_weights(model)


def test_a_network_that_goes_on_is_trained_beside_one_that_has_stopped(small_cohort, classes):
    mask, paths, folds = small_cohort
    settings = SETTINGS | {"learning_rate": 3e-2, "epochs": 8, "patience": 1}
    data, _ = load_fold(folds, paths, mask, settings, fold=0, classes=classes)
    labels = [data.targets, 1 - data.targets, np.roll(data.targets, 3)]
    how = {"seed": 1, "fold": 0}
    together = training.train_networks(data, labels, settings, checkpoints=[None] * 3, **how)
    alone = [training.train_networks(data, [own], settings, checkpoints=[None], **how)[0] for own in labels]
    assert [hash_weights(model) for model, _ in together] == [hash_weights(model) for model, _ in alone]
    assert len({len(history) for _, history in together}) > 1


@pytest.mark.parametrize("changes", [{}, {"average": "ema"}])
def test_networks_that_share_their_first_pool_are_those_that_compute_it_each(
    small_cohort, classes, monkeypatch, changes
):
    mask, paths, folds = small_cohort
    settings = SETTINGS | {"network": "compact", "first_pool": 2, "epochs": 3} | changes
    data, _ = load_fold(folds, paths, mask, settings, fold=0, classes=classes)
    how = {"seed": 1, "fold": 0, "checkpoints": [None] * 2}
    labels, pooled, pool = [data.targets, 1 - data.targets], [], nn.AvgPool3d.forward
    monkeypatch.setattr(nn.AvgPool3d, "forward", lambda layer, x: pooled.append(len(x)) or pool(layer, x))
    shared, calls = training.train_networks(data, labels, settings, **how), len(pooled)
    monkeypatch.setattr(learner, "split_stem", lambda model: (nn.Identity(), model))
    each = training.train_networks(data, labels, settings, **how)
    assert [hash_weights(model) for model, _ in shared] == [hash_weights(model) for model, _ in each]
    validated = 2 * settings["epochs"]  # a batch for each network and epoch
    assert len(pooled) - calls - validated == 2 * (calls - validated) > 0


def test_a_network_derived_from_sequential_keeps_its_forward():
    class Own(nn.Sequential):
        def forward(self, x):
            return super().forward(x) + 1

    own = Own(nn.AvgPool3d(2), nn.Flatten())
    stem, body = learner.split_stem(own)
    assert isinstance(stem, nn.Identity) and body is own


def test_an_ensemble_is_several_trainings_of_a_fold(small_cohort, classes, tmp_path):
    """The first is the training alone; all are stored, resume on their own, and predict together."""
    model, card, history, predictions = run(small_cohort, classes, tmp_path / "three", seeds=3, epochs=2)
    _, own, _, _ = run(small_cohort, classes, tmp_path / "one", epochs=2)
    members = members_of(model)
    assert hash_weights(members[0]) == own["weights_sha256"]
    assert [hash_weights(m) for m in members] == [one["weights_sha256"] for one in card["trainings"]]
    assert len({hash_weights(m) for m in members}) == card["seeds"] == 3
    write_table(history, tmp_path / "history.tsv", HISTORY)
    assert history["member"].tolist() == [0, 0, 1, 1, 2, 2] and history["epoch"].tolist() == [1, 2] * 3
    assert len(list((tmp_path / "three").glob("*.pt"))) == 3
    mask, paths, folds = small_cohort
    data, _ = load_fold(folds, paths, mask, SETTINGS, fold=0, classes=classes)
    logits = [learner.predict_logits(m, data, data.sides["test"], SETTINGS) for m in members]
    wanted = np.mean([1 / (1 + np.exp(z[:, 0] - z[:, 1])) for z in logits], axis=0)
    np.testing.assert_allclose(predictions["probability"], wanted, atol=1e-6)
    save_model(tmp_path / "model.pt", model, card)
    assert hash_weights(load_model(tmp_path / "model.pt")[0]) == card["weights_sha256"]


def test_a_repeat_is_another_training_that_no_ensemble_of_the_study_holds(small_cohort, classes, tmp_path):
    """With two trainings each, the second repeat has those that would be the third and the fourth."""
    ensemble, *_ = run(small_cohort, classes, tmp_path / "four", seeds=4, epochs=1)
    mask, paths, folds = small_cohort
    how = {"fold": 0, "classes": classes, "seed": 3, "code": {}, "checkpoints": tmp_path / "again", "repeat": 1}
    again, card, _, _ = train_fold(folds, paths, mask, SETTINGS | {"seeds": 2, "epochs": 1}, **how)
    assert [hash_weights(m) for m in members_of(again)] == [hash_weights(m) for m in members_of(ensemble)[2:]]
    assert card["repeat"] == 1 and card["seeds"] == 2


def test_best_validation_keeps_the_best_epoch(small_cohort, classes):
    mask, paths, folds = small_cohort
    settings = SETTINGS | {"keep": "best_validation", "learning_rate": 3e-2, "epochs": 5}
    data, _ = load_fold(folds, paths, mask, settings, fold=0, classes=classes)
    model, history = training.train_network(data, settings, seed=1, fold=0)
    logits = torch.from_numpy(learner.predict_logits(model, data, data.sides["validation"], settings))
    loss = nn.functional.cross_entropy(logits, torch.from_numpy(data.targets[data.sides["validation"]]))
    assert abs(loss.item() - history["validation_loss"].min()) < 1e-6
    assert history["validation_loss"].idxmin() != len(history) - 1


def test_no_validation_scans_is_fine(small_cohort, classes):
    mask, paths, folds = small_cohort
    folds = folds.assign(side=folds["side"].replace("validation", "train"))
    data, _ = load_fold(folds, paths, mask, SETTINGS, fold=0, classes=classes)
    _, history = training.train_network(data, SETTINGS | {"epochs": 1}, seed=1, fold=0)
    assert history["validation_loss"].isna().all()


def test_the_loss_and_step_are_those_of_a_plain_loop(small_cohort, classes):
    """One epoch without dropout against Adam written out for the last bias."""
    mask, paths, folds = small_cohort
    settings = SETTINGS | {"epochs": 1, "dropout": 0.0, "batch_size": 8}
    data, _ = load_fold(folds, paths, mask, settings, fold=0, classes=classes)
    model, history = training.train_network(data, settings, seed=5, fold=0)
    torch.manual_seed(training._stream((5, 0, 0), 0))
    start = learner.build_network("small", data.volumes.shape, dropout=0.0).train()
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
    logits = learner.predict_logits(loaded, data, data.sides["test"], stored["settings"])
    np.testing.assert_allclose(logits[:, 1], predictions["logit_positive"], atol=1e-6)
    assert stored["spatial_shape"] == [18, 17, 17]


def test_one_logit_is_trained_with_binary_cross_entropy_and_rmsprop_by_hand(small_cohort, classes, tiny_one_logit):
    """One step from the same start, loss and step of the last bias written out in numpy."""
    mask, paths, folds = small_cohort
    changes = {"network": tiny_one_logit, "optimiser": "rmsprop", "epochs": 1, "dropout": 0.0, "batch_size": 8}
    data, _ = load_fold(folds, paths, mask, SETTINGS | changes, fold=0, classes=classes)
    model, history = training.train_network(data, SETTINGS | changes, seed=5, fold=0)
    torch.manual_seed(training._stream((5, 0, 0), 0))
    start = learner.build_network(tiny_one_logit, data.volumes.shape, dropout=0.0)
    scans, targets = data.batch(data.sides["train"])
    z, y = start(scans).detach().double().numpy()[:, 0], targets.numpy()
    assert (len(y), y.sum()) == (8, 4)
    positive = 1 / (1 + np.exp(-z))
    loss = -np.mean(y * np.log(positive) + (1 - y) * np.log(1 - positive))
    assert abs(history["train_loss"][0] - loss) < 1e-5
    assert history["train_accuracy"][0] == np.mean((positive > 0.5) == y)
    gradient = np.mean(positive - y)
    # PyTorch's RMSprop: the running mean of squares begins at 0 and keeps 0.99 of itself.
    expected = start[-1].bias.item() - 1e-3 * gradient / (np.sqrt(0.01 * gradient**2) + 1e-8)
    assert abs(model[-1].bias.item() - expected) < 1e-6
    assert abs(start[-1].bias.item() - expected) == pytest.approx(0.01, rel=1e-3)


def test_predictions_of_one_logit_are_its_sigmoid(small_cohort, classes, tmp_path, tiny_one_logit):
    changes = {"network": tiny_one_logit, "normalisation": "scan", "dropout": 0.0, "epochs": 40}
    model, _, history, predictions = run(small_cohort, classes, tmp_path, **changes)
    write_table(history, tmp_path / "history.tsv", HISTORY)
    write_table(predictions, tmp_path / "predictions.tsv", PREDICTIONS)
    mask, paths, folds = small_cohort
    data, rows = load_fold(folds, paths, mask, SETTINGS | changes, fold=0, classes=classes)
    with torch.inference_mode():
        z = model(data.batch(data.sides["test"])[0])[:, 0].double().numpy()
    np.testing.assert_allclose(predictions["probability"], 1 / (1 + np.exp(-z)), atol=1e-6)
    np.testing.assert_allclose(predictions["logit_positive"], z / 2, atol=1e-6)
    np.testing.assert_allclose(predictions["logit_negative"], -z / 2, atol=1e-6)
    assert history["train_loss"].iloc[-1] < 0.5 * history["train_loss"].iloc[0]
    assert ((predictions["probability"] >= 0.5) == (predictions["label"] == "AD")).all()
    assert rows["scan_id"].iloc[data.sides["test"]].tolist() == predictions["scan_id"].tolist()


def test_what_lies_outside_the_mask_changes_nothing(small_cohort, classes, tmp_path, tiny_one_logit):
    mask, paths, folds = small_cohort
    seen = np.zeros(mask.shape, np.uint8)
    seen[4:12, 4:12, 4:12] = 1
    network_mask = nib.Nifti1Image(seen, mask.affine)
    cohorts = [(network_mask, paths, folds), (network_mask, {}, folds), (mask, paths, folds)]
    for name, path in paths.items():
        image = nib.load(path)
        changed = np.where(seen, image.get_fdata(), 1 + image.get_fdata()[::-1])
        cohorts[1][1][name] = str(tmp_path / f"changed_{name}.nii")
        nib.save(nib.Nifti1Image(changed, image.affine), cohorts[1][1][name])
    logits = [
        run(cohort, classes, tmp_path / str(n), network=tiny_one_logit, epochs=1)[3]["logit_positive"]
        for n, cohort in enumerate(cohorts)
    ]
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-4)
    assert np.abs(logits[0] - logits[2]).max() > 1e-2


@pytest.mark.parametrize("has", [False, True])
def test_bfloat16_on_a_processor_without_it_is_told(small_cohort, classes, monkeypatch, caplog, tiny_one_logit, has):
    mask, paths, folds = small_cohort
    monkeypatch.setattr(bfloat16, "has_bfloat16", lambda: has)
    # Not `small`: where a layer has two cells along each axis, oneDNN's bfloat16 gradients are garbage.
    settings = SETTINGS | {"precision": "bfloat16", "epochs": 1, "network": tiny_one_logit}
    data, _ = load_fold(folds, paths, mask, settings, fold=0, classes=classes)
    training.train_network(data, settings, seed=1, fold=0, device="cpu")
    assert ("this processor has no bfloat16 arithmetic" in caplog.text) == (not has)
