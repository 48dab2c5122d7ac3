"""A network of one's own in a study: found, built, checked, trained, loaded again; and its code counts."""

import importlib
import sys

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from helpers.onnx_models import Maker, run
from helpers.own_networks import BLOCKS, NET
from helpers.paths import SCHEMA, SCRIPTS
from voxelwhy.config.model import network_settings
from voxelwhy.config.own_modules import find_module, source_files
from voxelwhy.config.settings import load_settings
from voxelwhy.config.splits import studied_splits
from voxelwhy.errors import ConfigError, ModelError
from voxelwhy.jobs import code_digest as digests
from voxelwhy.jobs.code_digest import code_digest
from voxelwhy.networks.build import build_network
from voxelwhy.networks.layers import in_channels_last
from voxelwhy.networks.weights import fit_weights, load_model, save_model
from voxelwhy.registry import NETWORKS
from voxelwhy.report.methods_text import methods_text
from voxelwhy.report.wording import describe_loss
from voxelwhy.training.existing_weights import adopt_weights
from voxelwhy.training.fold import train_fold

SHAPE = (20, 20, 20)
OWN_MODULES = ("own_net", "fails", "crashes", "of_keras")


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The folder of a config with the package `own_net` beside it, as a job finds it."""
    folder = tmp_path / "config"
    (folder / "own_net").mkdir(parents=True)
    (folder / "own_net" / "__init__.py").write_text("")
    (folder / "own_net" / "nets.py").write_text(NET)
    (folder / "own_net" / "blocks.py").write_text(BLOCKS)
    (folder / "own_net" / "notes.py").write_text("raise RuntimeError('nobody imports this')\n")
    (folder / "fails.py").write_text("import there_is_no_such_package\n")
    (folder / "crashes.py").write_text("\n1 / 0\n")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(str(folder))
    digests._hash.cache_clear()
    yield folder
    digests._hash.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] in OWN_MODULES]:
        del sys.modules[name]
    importlib.invalidate_caches()


# ------------------------------------------------------------------ built


def test_a_factory_gets_the_shape_and_its_options(own):
    torch.manual_seed(4)
    net = build_network("own_net.nets:build", (20, 16, 12), width=3)
    torch.manual_seed(4)
    again = build_network("own_net.nets:build", (20, 16, 12), width=3)
    assert net[0].out_channels == 3
    assert net.training
    assert net(torch.zeros(2, 1, 20, 16, 12)).shape == (2, 2)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))


def test_a_network_that_looks_at_its_data_is_checked_on_them(own):
    net = build_network("own_net.nets:looks_at_the_data", SHAPE)
    assert net(torch.zeros(1, 1, *SHAPE)).shape == (1, 2)


@pytest.mark.parametrize(
    ("name", "options", "error", "match"),
    [
        ("no_such:build", {}, ConfigError, r"no such module(.|\n)*no_such:build(.|\n)*next to the config"),
        ("own_net.other:build", {}, ConfigError, "there is no such module"),
        ("fails:build", {}, ModelError, r"cannot be imported: ModuleNotFoundError: .*there_is_no.*fails.py, line 1"),
        ("crashes:build", {}, ModelError, r"cannot be imported: ZeroDivisionError: .*crashes.py, line 2"),
        ("own_net.nets:biuld", {}, ConfigError, r"does not exist: biuld in .*nets.py(.|\n)*own_net.nets:build"),
        ("own_net.nets:NUMBER", {}, ConfigError, "is not a function: NUMBER"),
        ("own_net.nets:build", {"widht": 3}, ConfigError, r"cannot be called(.|\n)*widht(.|\n)*model.options"),
        ("own_net.nets:broken", {}, ModelError, r"fails on the grid \(20, 20, 20\).*NameError: .*undefined_name.*nets"),
        ("own_net.nets:a_number", {}, ModelError, "returns a int; a torch.nn.Module is expected"),
        (
            "own_net.nets:for_another_grid",
            {},
            ModelError,
            r"cannot take an image of shape \(1, 1, 20, 20, 20\): Runtime",
        ),
        ("own_net.nets:two_heads", {}, ModelError, r"returns <class 'tuple'> for one image"),
        ("own_net.nets:of_images", {}, ModelError, r"of shape \(1, 2, 18, 18, 18\) for one image; logits of shape"),
        ("own_net.nets:of_labels", {}, ModelError, r"torch.int64 of shape \(1, 2\)"),
        ("own_net.nets:build", {"logits": 3}, ModelError, r"of shape \(1, 3\)(.|\n)*\(1, 2\), or \(1, 1\)"),
    ],
)
def test_what_cannot_be_a_network_is_said(own, name, options, error, match):
    with pytest.raises(error, match=match):
        build_network(name, SHAPE, **options)


def test_2d_convolutions_keep_their_memory_format():
    flat = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv3d(2, 3, 3))
    assert in_channels_last(flat)[1].weight.is_contiguous()
    deep = in_channels_last(nn.Sequential(nn.Conv3d(2, 3, 3)))
    assert deep[0].weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_a_network_of_an_onnx_file_is_a_factory_of_three_lines(own):
    """How a study explains a network of Keras: the factory reads the file, `model.weights` names its weights."""
    net = Maker((1, *SHAPE, 1))
    net.add("Reshape", "", net.constant([-1, 1, *SHAPE]))
    net.conv(1, 2, [20] * 3)
    net.batch_norm(2)
    net.add("Flatten")
    net.add("Softmax")
    path = net.save(own / "net.onnx")
    (own / "of_keras.py").write_text(
        "from pathlib import Path\nfrom voxelwhy import load_onnx\n\n"
        "def build(shape):\n    return load_onnx(Path(__file__).with_name('net.onnx'))\n"
    )
    importlib.invalidate_caches()
    model, image = build_network("of_keras:build", SHAPE), torch.randn(1, 1, *SHAPE)
    np.testing.assert_allclose(model(image).softmax(1).detach(), run(path, image.movedim(1, -1).numpy()), atol=1e-6)
    fit_weights(build_network("of_keras:build", SHAPE), model.state_dict(), "its own")


# ------------------------------------------------------------------ settings

MINIMAL = "study: mine\ncohort: {source: folder, data_dir: scans, classes: {positive: {name: AD, values: [1]}, negative: {name: CN, values: [0]}}}\n"  # noqa: E501


def settings_of(text):
    return load_settings(yaml.safe_load(MINIMAL + text), SCHEMA)


def test_the_architecture_takes_the_place_of_the_network(own):
    settings = settings_of("model: {architecture: 'own_net.nets:build', options: {width: 3, rate: 1e-3, name: x}}")
    assert not {"network", "dropout"} & set(settings["training"])
    assert load_settings(settings, SCHEMA) == settings
    wanted = {"network": "own_net.nets:build", "options": {"width": 3, "rate": 0.001, "name": "x"}}
    assert network_settings(settings) == wanted
    assert list(studied_splits(settings)) == ["kfold"]  # it is trained
    assert network_settings(settings_of("")) == {"network": "rieke2018", "dropout": 0.8}
    weights = settings_of("model: {architecture: 'own_net.nets:build', weights: w.pt, normalisation: scan}")
    assert list(studied_splits(weights)) == ["all_scans"]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("model: {architecture: own_net}", r"model.architecture cannot be used(.|\n)*module:factory"),
        ("model: {architecture: 'own_net:build()'}", "model.architecture cannot be used"),
        (
            "model: {architecture: 'own_net.nets:build'}\ntraining: {network: small}",
            r"training.network belongs to a network of voxelwhy(.|\n)*remove one of them",
        ),
        (
            "model: {architecture: 'own_net.nets:build'}\ntraining: {dropout: 0.1}",
            r"training.dropout(.|\n)*in model.options",
        ),
        ("model: {weights: w.pt, options: {width: 3}}", "belong to model.architecture, which is missing"),
        ("model: {}", r"model.weights is missing(.|\n)*architecture"),
        (
            "model: {architecture: 'own_net.nets:build', normalisation: scan}",
            r"model.normalisation applies to existing weights(.|\n)*both this and model.weights",
        ),
        ("model: {architecture: 'own_net.nets:build', options: {a b: 3}}", "model.options cannot be used"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(text, match):
    with pytest.raises(ConfigError, match=match):
        settings_of(text)


def test_a_module_that_is_nowhere_is_said_before_anything_runs(own):
    settings = settings_of("model: {architecture: 'own_net.other:build'}")
    with pytest.raises(ConfigError, match=r"no module of the name(.|\n)*own_net/other.py next to the config \(there\)"):
        network_settings(settings, "there")


# ------------------------------------------------------------------ code that counts


def digest(own):
    digests._hash.cache_clear()
    importlib.invalidate_caches()
    return code_digest(SCRIPTS / "train_fold.py", ["own_net.nets"])


def test_the_code_of_an_own_network_counts(own):
    before = digest(own)
    assert {"own_net", "own_net.nets", "own_net.blocks"} <= set(before)
    assert {"own_net.notes", "torch", "torch.nn"}.isdisjoint(before)
    assert "own_net" not in sys.modules  # nothing was imported to know
    assert set(code_digest(SCRIPTS / "train_fold.py", [])) == set(before) - {
        "own_net",
        "own_net.nets",
        "own_net.blocks",
    }
    (own / "own_net" / "blocks.py").write_text("# why\n" + BLOCKS)
    assert digest(own) == before
    (own / "own_net" / "blocks.py").write_text(BLOCKS.replace("padding=1", "padding='same'"))
    changed = {key for key, value in digest(own).items() if value != before[key]}
    assert changed == {"own_net.blocks"}


def test_a_plain_file_and_its_relative_and_voxelwhy_imports_count(own):
    (own / "own_net" / "nets.py").write_text("from . import blocks\nfrom .blocks import block\n")
    assert set(source_files("own_net.nets")) == {"own_net", "own_net.nets", "own_net.blocks"}
    (own / "alone.py").write_text("import beside\nfrom voxelwhy import load_onnx\n")
    (own / "beside.py").write_text("import alone, numpy\n")
    importlib.invalidate_caches()
    assert set(source_files("alone")) == {"alone", "beside"}
    found = code_digest(SCRIPTS / "train_fold.py", ["alone"])
    assert {"alone", "beside", "voxelwhy.networks.files.onnx_import", "voxelwhy.networks.files.onnx_file"} <= set(found)


def test_of_an_installed_module_its_own_file_counts():
    assert set(source_files("captum.attr._core.occlusion")) == {"captum.attr._core.occlusion"}
    assert source_files("no_such_module") == {}
    assert find_module("captum.no_such_module") is None


def test_names_of_the_registry_still_count_as_they_did():
    found = code_digest(SCRIPTS / "train_fold.py", [NETWORKS["small"]])
    assert "voxelwhy.networks.small" in found and "voxelwhy.networks.rieke2018" not in found


# ------------------------------------------------------------------ trained, stored, loaded

TRAINING = {
    "network": "own_net.nets:build",
    "options": {"width": 3},
    "channels": ["t1"],
    "crop": "none",
    "normalisation": "scan",
    "optimiser": "adam",
    "schedule": "constant",
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "class_weights": "none",
    "augmentation": {},
    "batch_size": 3,
    "epochs": 1,
    "keep": "last",
    "average": "none",
    "seeds": 1,
    "calibrate": "none",
    "precision": "float32",
    "threads": 1,
}


@pytest.fixture
def trained(own, small_cohort, classes, tmp_path):
    mask, paths, folds = small_cohort
    model, card, _, predictions = train_fold(
        folds, paths, mask, TRAINING, fold=0, classes=classes, seed=1, code={}, checkpoints=tmp_path / "checkpoints"
    )
    save_model(tmp_path / "model.pt", model, card)
    return model, predictions, tmp_path / "model.pt"


def test_an_own_network_is_trained_and_loaded_again(trained):
    model, predictions, path = trained
    assert model[0].out_channels == 3
    assert np.isfinite(predictions["probability"]).all()
    loaded, card = load_model(path, own="own_net.nets:build")
    assert card["network"] == "own_net.nets:build"
    assert card["options"] == {"width": 3}
    assert torch.equal(loaded[0].weight, model[0].weight)


def test_a_file_that_names_code_runs_none_unless_it_is_asked_for(trained, tmp_path):
    _, _, path = trained
    with pytest.raises(ModelError, match=r"own_net.nets:build, whose code is not in the file(.|\n)*own='own_net"):
        load_model(path)
    card = {"network": "os:mkdir", "options": {}, "spatial_shape": [3, 3, 3]}
    save_model(tmp_path / "hostile.pt", nn.Linear(2, 2), card)
    with pytest.raises(ModelError, match="os:mkdir, whose code is not in the file"):
        load_model(tmp_path / "hostile.pt", own="own_net.nets:build")


def test_weights_that_exist_already_go_into_an_own_network(trained, small_cohort, classes):
    model, predictions, path = trained
    mask, paths, folds = small_cohort
    how = {"weights": str(path)}
    adopted, card, again = adopt_weights(folds[folds["fold"] == 0], paths, mask, how, TRAINING, classes=classes)
    assert card["options"] == {"width": 3}
    assert torch.equal(adopted[0].weight.contiguous(), model[0].weight.contiguous())
    np.testing.assert_allclose(again["probability"], predictions["probability"], atol=1e-6)


def test_the_words_of_the_report_say_whose_network_it_was():
    settings = {"training": TRAINING | {"mask": "brain"}}
    settings |= {"model": {"architecture": "own_net.nets:build", "options": {"width": 3}}}
    text = " ".join(methods_text(settings, simulated=False, n_subjects=4, n_scans=4))
    assert "The network own_net.nets:build was trained" in text
    assert "network options: {'width': 3}" in text
    assert "dropout" not in text
    assert "binary, if the network has one logit" in describe_loss(TRAINING)
