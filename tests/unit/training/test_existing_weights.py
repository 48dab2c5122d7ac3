"""Weights that exist already in the place of a training: they are used where they fit, and nowhere else."""

import os
from collections import OrderedDict

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from helpers.paths import SCHEMA
from voxelwhy.config.settings import load_settings
from voxelwhy.config.splits import studied_splits
from voxelwhy.errors import ConfigError, InputError, ModelError
from voxelwhy.io.tables import PREDICTIONS, write_table
from voxelwhy.networks.build import build_network
from voxelwhy.networks.weights import hash_weights, load_model, save_model
from voxelwhy.report.methods_text import methods_text
from voxelwhy.report.sentences import three_sentences
from voxelwhy.splits.audit import audit_folds
from voxelwhy.splits.folds import split_folds
from voxelwhy.splits.table1 import cohort_table
from voxelwhy.training.existing_weights import adopt_weights, file_normaliser, open_weights
from voxelwhy.training.fold import train_fold
from voxelwhy.training.volumes import Volumes

SHAPE = (20, 20, 20)
TRAINING = {
    "network": "small",
    "channels": ["t1"],
    "crop": "none",
    "normalisation": "voxelwise",
    "batch_size": 3,
    "precision": "float32",
    "threads": 1,
}
LEGACY = {"_use_new_zipfile_serialization": False}


@pytest.fixture
def net():
    torch.manual_seed(5)
    model = build_network("small", SHAPE)
    for layer in model:
        if isinstance(layer, nn.BatchNorm3d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return model.eval()


def without_counters(state):
    return OrderedDict((key, value) for key, value in state.items() if not key.endswith("num_batches_tracked"))


class Hostile:
    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return os.mkdir, (self.victim,)


# ------------------------------------------------------------------ normalisation


@pytest.fixture
def volumes(small_cohort):
    mask, paths, _ = small_cohort
    return Volumes(list(paths.values()), np.asarray(mask.dataobj) > 0, crop="brain")


def saved(path, **arrays):
    np.savez_compressed(path, **arrays)
    return str(path)


def test_a_normalisation_file_lies_on_the_grid_or_its_crop(tmp_path, volumes, rng):
    mean, sd = rng.normal(100, 5, volumes.grid_shape), rng.uniform(1, 2, volumes.grid_shape)
    box, mask = volumes.box, volumes.mask
    expected = np.where(mask, (volumes[0] - mean[box]) / sd[box], 0)
    for arrays in (
        {"mean": mean, "sd": sd},
        {"mean": mean[box], "scale": 1 / sd[box]},
        {"mean": mean, "scale": (1 / sd).astype(np.float32)[box]},
    ):
        normalise = file_normaliser(saved(tmp_path / "n.npz", **arrays), volumes)
        assert normalise.mean.dtype == normalise.scale.dtype == np.float32
        np.testing.assert_allclose(normalise(volumes[0], mask), expected, atol=2e-4)


def test_a_voxel_with_hardly_any_spread_becomes_0_and_what_lies_outside_the_brain_does_not_matter(tmp_path, volumes):
    mean, sd = np.zeros(volumes.shape), np.ones(volumes.shape)
    inside = tuple(np.argwhere(volumes.mask)[100])
    outside = tuple(np.argwhere(~volumes.mask)[0])
    sd[inside], sd[outside], mean[outside] = 1e-4, np.nan, np.inf
    normalise = file_normaliser(saved(tmp_path / "n.npz", mean=mean, sd=sd), volumes)
    normal = normalise(volumes[0], volumes.mask)[0]
    assert normal[inside] == normal[outside] == 0
    assert np.isfinite(normal).all()


def test_a_normalisation_that_cannot_be_used_is_refused(tmp_path, volumes):
    ones, path = np.ones(volumes.shape), tmp_path / "n.npz"
    inside = tuple(np.argwhere(volumes.mask)[0])
    bad = ones.copy()
    bad[inside] = np.nan
    below = ones.copy()
    below[inside] = -1
    for arrays, match in (
        ({"mean": ones}, r"no normalisation(.|\n)*\['mean'\](.|\n)*either sd or scale"),
        ({"mean": ones, "sd": ones, "scale": ones}, "no normalisation"),
        (
            {"mean": ones, "sd": np.ones((3, 3, 3))},
            r"sd(.|\n)*\(3, 3, 3\)(.|\n)*\(20, 20, 20\) \(the grid\), or \(18, 17, 17\)",
        ),
        ({"mean": bad, "sd": ones}, r"column mean(.|\n)*1 voxels of NaN"),
        ({"mean": ones, "sd": below}, r"column sd(.|\n)*1 below 0"),
        ({"mean": ones, "sd": np.array(["a"])}, "other than arrays of numbers"),
    ):
        with pytest.raises(InputError, match=match):
            file_normaliser(saved(path, **arrays), volumes)
    with pytest.raises(InputError, match="does not exist"):
        file_normaliser(tmp_path / "none.npz", volumes)
    path.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(InputError, match="cannot be read as arrays"):
        file_normaliser(path, volumes)


def test_a_hostile_normalisation_file_does_not_run(tmp_path, volumes):
    victim = tmp_path / "was_run"
    objects = np.empty(1, object)
    objects[0] = Hostile(str(victim))
    path = saved(tmp_path / "n.npz", mean=objects, sd=objects)
    with pytest.raises(InputError, match="no code in it was run"):
        file_normaliser(path, volumes)
    assert not victim.exists()
    np.load(path, allow_pickle=True)["mean"]
    assert victim.exists()  # it is hostile indeed


# ------------------------------------------------------------------ in the place of a training


@pytest.fixture
def foreign(tmp_path, net):
    path = tmp_path / "foreign.pt"
    torch.save(without_counters(net.state_dict()), path, **LEGACY)
    return str(path)


def holdout(folds):
    return folds[folds["fold"] == 0].reset_index(drop=True)


def masked(paths, scans, brain):
    return np.stack([nib.load(paths[scan]).get_fdata() * brain for scan in scans])


def direct(net, images):
    with torch.no_grad():
        return net(torch.from_numpy(images[:, None].astype(np.float32))).softmax(1)[:, 1].numpy()


def test_the_test_scans_are_predicted_as_by_hand(small_cohort, classes, foreign, net, tmp_path):
    """Normalisation learnt from the training scans of the split, against numpy, and a forward pass of the network."""
    mask, paths, folds = small_cohort
    folds = holdout(folds)
    how = {"weights": foreign, "normalisation": "holdout", "trained_on": "holdout"}
    model, card, predictions = adopt_weights(folds, paths, mask, how, TRAINING, classes=classes, learnt_from=folds)
    write_table(predictions, tmp_path / "predictions.tsv", PREDICTIONS)
    brain = np.asarray(mask.dataobj) > 0
    trained = masked(paths, folds.loc[folds["side"] == "train", "scan_id"], brain)
    images = masked(paths, predictions["scan_id"], brain) - trained.mean(0)
    images = np.divide(images, trained.std(0), out=np.zeros_like(images), where=np.broadcast_to(brain, images.shape))
    assert predictions["scan_id"].tolist() == sorted(folds.loc[folds["side"] == "test", "scan_id"])
    np.testing.assert_allclose(predictions["probability"], direct(net, images), atol=1e-5)
    assert predictions["probability"].std() > 1e-4
    assert card["source"]["file"] == "foreign.pt"
    assert len(card["source"]["sha256"]) == 64
    assert card["source"]["trained_on"] == "holdout"
    assert card["weights_sha256"] == hash_weights(net)
    save_model(tmp_path / "model.pt", model, card)
    again, stored = load_model(tmp_path / "model.pt")
    assert hash_weights(again) == hash_weights(net)
    np.testing.assert_allclose(stored["normalisation"]["mean"].numpy()[0], trained.mean(0), atol=1e-3)


def test_without_a_split_all_scans_are_predicted(small_cohort, classes, foreign, net):
    mask, paths, folds = small_cohort
    everybody = holdout(folds).assign(side="test")
    how = {"weights": foreign, "normalisation": "scan"}
    _, card, predictions = adopt_weights(everybody, paths, mask, how, TRAINING, classes=classes)
    assert len(predictions) == 16
    brain = np.asarray(mask.dataobj) > 0
    images = masked(paths, predictions["scan_id"], brain)
    inside = images[:, brain]
    images[:, brain] = (inside - inside.mean(1, keepdims=True)) / inside.std(1, keepdims=True)
    np.testing.assert_allclose(predictions["probability"], direct(net, images), atol=1e-5)
    assert card["normalisation"]["kind"] == "scan"
    assert card["source"]["trained_on"] is None
    # The normalisation may come from the training scans of a split, whoever is predicted.
    how = {"weights": foreign, "normalisation": "holdout"}
    learnt = adopt_weights(everybody, paths, mask, how, TRAINING, classes=classes, learnt_from=holdout(folds))
    trained = masked(paths, holdout(folds).query("side == 'train'")["scan_id"], brain)
    np.testing.assert_allclose(learnt[1]["normalisation"]["mean"][0], trained.mean(0), atol=1e-3)


def test_foreign_weights_need_their_normalisation_named(small_cohort, classes, foreign):
    with pytest.raises(ConfigError, match=r"model.normalisation is missing(.|\n)*\.npz(.|\n)*scan, or none"):
        open_weights({"weights": foreign}, TRAINING, small_cohort[0], classes=classes)


def test_foreign_weights_are_held_against_network_and_grid(small_cohort, classes, foreign, tmp_path):
    mask = small_cohort[0]
    how = {"weights": foreign, "normalisation": "none"}
    open_weights(how, TRAINING, mask, classes=classes)
    larger = nib.Nifti1Image(np.ones((32, 32, 32), np.uint8), mask.affine)
    with pytest.raises(ModelError, match=r"dense_1.weight is \(64, 64\) there, \(64, 512\) in the network"):
        open_weights(how, TRAINING, larger, classes=classes)
    how["normalisation"] = saved(tmp_path / "n.npz", mean=np.zeros(3), sd=np.ones(3))
    with pytest.raises(InputError, match="not on the study's grid"):
        open_weights(how, TRAINING, mask, classes=classes)


@pytest.fixture
def own(small_cohort, classes, tmp_path):
    """A model that this project trained on fold 0, and its predictions."""
    mask, paths, folds = small_cohort
    training = TRAINING | {
        "optimiser": "adam",
        "schedule": "constant",
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
        "class_weights": "none",
        "augmentation": {},
        "epochs": 1,
        "dropout": 0.4,
        "keep": "last",
        "average": "none",
        "seeds": 1,
        "calibrate": "none",
    }
    run = {"fold": 0, "classes": classes, "seed": 3, "code": {}, "checkpoints": tmp_path / "c"}
    model, card, _, predictions = train_fold(folds, paths, mask, training, **run)
    save_model(tmp_path / "own.pt", model, card)
    return str(tmp_path / "own.pt"), predictions


def test_an_own_model_predicts_what_it_predicted(small_cohort, classes, own):
    mask, paths, folds = small_cohort
    path, before = own
    how = {"weights": path, "trained_on": "holdout"}
    _, card, predictions = adopt_weights(holdout(folds), paths, mask, how, TRAINING, classes=classes)
    pd.testing.assert_frame_equal(predictions, before, check_exact=True)
    assert card["source"]["normalisation"] == "its own"
    assert (card["n_train"], card["options"]) == (8, {"dropout": 0.4})


def test_an_own_model_is_used_for_what_it_was_made_for(small_cohort, classes, own):
    mask = small_cohort[0]
    how = {"weights": own[0]}
    with pytest.raises(ConfigError, match=r"contains its own(.|\n)*'scan'(.|\n)*remove"):
        open_weights(how | {"normalisation": "scan"}, TRAINING, mask, classes=classes)
    with pytest.raises(ConfigError, match=r"match of network(.|\n)*'small'(.|\n)*rieke2018(.|\n)*set training.network"):
        open_weights(how, TRAINING | {"network": "rieke2018"}, mask, classes=classes)
    with pytest.raises(ConfigError, match=r"mismatch of crop(.|\n)*'none'(.|\n)*brain(.|\n)*set training.crop"):
        open_weights(how, TRAINING | {"crop": "brain"}, mask, classes=classes)
    with pytest.raises(ConfigError, match=r"mismatch of classes"):
        open_weights(how, TRAINING, mask, classes={"positive": "AD", "negative": "MCI"})
    shifted = mask.affine.copy()
    shifted[0, 3] += 4
    with pytest.raises(ConfigError, match=r"mismatch of affine"):
        open_weights(how, TRAINING, nib.Nifti1Image(np.asarray(mask.dataobj), shifted), classes=classes)
    other = np.asarray(mask.dataobj).copy()
    other[2, 9, 9] = 0
    with pytest.raises(ConfigError, match=r"mismatch of mask sha256"):
        open_weights(how, TRAINING, nib.Nifti1Image(other, mask.affine), classes=classes)
    larger = nib.Nifti1Image(np.ones((32, 32, 32), np.uint8), mask.affine)
    with pytest.raises(ConfigError, match=r"mismatch of spatial shape(.|\n)*\[20, 20, 20\](.|\n)*32, 32, 32"):
        open_weights(how, TRAINING, larger, classes=classes)


def test_a_model_that_was_saved_without_a_normalisation_needs_one_named(small_cohort, classes, net, tmp_path):
    save_model(tmp_path / "m.pt", net, {"network": "small", "options": {}, "spatial_shape": SHAPE})
    how = {"weights": str(tmp_path / "m.pt")}
    with pytest.raises(ConfigError, match=r"model\.normalisation is missing"):
        open_weights(how, TRAINING, small_cohort[0], classes=classes)
    _, card = open_weights(how | {"normalisation": "scan"}, TRAINING, small_cohort[0], classes=classes)
    assert (card["normalisation"]["kind"], card["crop"], card["classes"]) == ("scan", "none", classes)


def test_an_own_model_is_not_tested_on_subjects_that_it_has_seen(small_cohort, classes, own):
    """Fold 1 tests subjects that fold 0 trained on."""
    mask, paths, folds = small_cohort
    wrong = folds[folds["fold"] == 1].assign(fold=0)
    how = {"weights": own[0], "trained_on": "other"}
    with pytest.raises(InputError, match=r"trained on test subjects of the split other(.|\n)*4 of 4 test subjects"):
        adopt_weights(wrong, paths, mask, how, TRAINING, classes=classes)
    del how["trained_on"]
    adopt_weights(wrong.assign(side="test"), paths, mask, how, TRAINING, classes=classes)


# ------------------------------------------------------------------ the config, and what follows from it

SPLITS = [{"kind": "kfold"}, {"kind": "holdout"}, {"kind": "paper_holdout", "name": "paper"}]


def settings_with(splits=SPLITS, **model):
    config = {"study": "x", "cohort": {"table": "t.csv"}, "splits": splits, "model": {"weights": "w.pt", **model}}
    return load_settings(config, SCHEMA)


def test_without_weights_every_split_is_studied():
    settings = load_settings({"study": "x", "cohort": {"table": "t.csv"}, "splits": SPLITS}, SCHEMA)
    assert "model" not in settings
    assert list(studied_splits(settings)) == ["kfold", "holdout", "paper"]


@pytest.mark.parametrize("normalisation", ["scan", "none", "paper", "a/b.npz", None])
def test_weights_are_the_model_of_one_split_or_of_all_scans(normalisation):
    named = {} if normalisation is None else {"normalisation": normalisation}
    settings = settings_with(trained_on="paper", **named)
    assert load_settings(settings, SCHEMA) == settings
    assert studied_splits(settings) == {"paper": settings["splits"][2]}
    everybody = studied_splits(settings_with(**named))
    assert [split["kind"] for split in everybody.values()] == ["all_scans"]


@pytest.mark.parametrize(
    ("model", "match"),
    [
        ({"trained_on": "kfold"}, r"several folds\n.*'kfold'\n.*holdout, paper\n.*accuracy is not reported"),
        ({"trained_on": "houldout"}, r"must name a split of one fold(.|\n)*'houldout'"),
        ({"normalisation": "kfold"}, r"cannot be used\n.*'kfold'\n.*the split holdout, the split paper, scan"),
        ({"normalisation": "norm.nii"}, r"normalisation cannot be used\n.*'norm.nii'\n.*a \.npz file"),
        ({"normalisation": "paper", "trained_on": "holdout"}, r"may test\n.*'paper'\n.*holdout"),
        ({"weight": "w.pt"}, r"no setting model.weight\n(.|\n)*did you mean model.weights"),
        ({"splits": [{"kind": "holdout", "name": "scan"}]}, r"has another meaning\n.*'scan'"),
        ({"splits": [{"kind": "holdout", "name": "all_scans"}]}, r"has another meaning\n.*'all_scans'"),
    ],
)
def test_a_model_section_that_does_not_go_with_the_splits_is_refused(model, match):
    with pytest.raises(ConfigError, match=match):
        settings_with(**model)


def test_all_scans_is_a_split_that_nobody_trains(classes):
    n = 6
    selected = pd.DataFrame({"scan_id": [f"s{k}" for k in range(n)], "subject_id": [f"p{k // 2}" for k in range(n)]})
    selected = selected.assign(label=["AD", "AD", "CN", "CN", "AD", "AD"], age=70.0, sex="F")
    selected = selected.assign(voxel_hash=selected["scan_id"], t1_hash=selected["scan_id"])
    split = next(iter(studied_splits(settings_with()).values()))
    folds = split_folds(selected, split, classes=classes, seed=0)
    assert folds["scan_id"].tolist() == selected["scan_id"].tolist()
    assert set(folds["side"]) == {"test"}
    assert audit_folds(folds, selected, classes=classes, trains=False)["passed"]
    assert not audit_folds(folds, selected, classes=classes)["passed"]
    lost = audit_folds(folds.assign(side=["train", *["test"] * 5]), selected, classes=classes, trains=False)
    assert "scan s0 tested 0 times" in str(lost["checks"])
    assert not audit_folds(folds, selected.assign(label="AD"), classes=classes, trains=False)["passed"]
    assert cohort_table(folds, selected, classes)["fold"].tolist() == ["all"] * 3


def test_the_sentences_and_the_methods_say_why_there_is_no_accuracy(classes):
    regions = pd.DataFrame({"group": ["AD", "all"], "region": ["Insula_L", "Insula_L"], "rank": 1})
    regions = regions.assign(n_subjects=[3, 5], n_scans=[4, 7], n_shuffled=0)
    sentences = three_sentences(None, simulated=False, classes=classes, regions={"occlusion": regions})
    assert len(sentences) == 3
    assert "data of these weights are unknown, so accuracy is not reported: 5 subjects, 7 scans" in sentences[0]
    assert "Insula_L" in sentences[1]
    people = {"simulated": False, "n_subjects": 5, "n_scans": 7}
    text = " ".join(methods_text(settings_with(normalisation="scan"), **people))
    assert "not trained by this study: its weights are those of w.pt. Normalisation: scan" in text
    assert "so accuracy is not reported" in text
    assert "Adam" not in text and "own fold" not in text
    text = " ".join(methods_text(settings_with(normalisation="paper", trained_on="paper"), **people))
    assert "estimated from the training scans of the split paper (voxelwise)" in text
    assert "the split paper (the holdout of Rieke et al. 2018)" in text
    assert "accuracy is not reported" not in text
