"""Networks that see other images than intensities, or several: through training, prediction, explanation and checks."""

from __future__ import annotations

from functools import partial

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch import nn

from helpers.paths import ROOT
from helpers.training_settings import SETTINGS
from voxelwhy.config.settings import load_settings
from voxelwhy.errors import ConfigError, InputError, ModelError
from voxelwhy.explain.sensitivity_analysis import sensitivity_analysis
from voxelwhy.heatmaps.explain_scans import explain_scans
from voxelwhy.heatmaps.groups import Groups
from voxelwhy.io.channels import channel_path, maps_needed
from voxelwhy.io.images import Grid
from voxelwhy.io.tables import SCANS, SELECTED, read_table, write_table
from voxelwhy.jobs.costs import registration_seconds
from voxelwhy.networks.build import build_network
from voxelwhy.networks.own_network import own_network
from voxelwhy.networks.weights import load_model, save_model
from voxelwhy.registration.selection import select_scans
from voxelwhy.registry import NETWORKS
from voxelwhy.training.baseline_maps import BrainRegions
from voxelwhy.training.existing_weights import open_weights
from voxelwhy.training.fold import train_fold
from voxelwhy.training.region_baseline import region_features
from voxelwhy.training.volumes import Normaliser, Volumes, registered_paths

load = partial(load_settings, schema_path=ROOT / "workflow" / "schemas" / "config.schema.yaml")
BOTH = ["t1", "log_jacobian"]


@pytest.fixture
def two_channels(small_cohort, tmp_path, rng):
    """The small cohort, each scan in a folder of its own with a log-Jacobian beside it, in which patients lack "
    "volume."""
    mask, paths, folds = small_cohort
    patients = set(folds.loc[folds["label"] == "AD", "scan_id"])
    placed = {}
    for scan, path in paths.items():
        folder = tmp_path / "registered" / scan
        folder.mkdir(parents=True)
        image = nib.load(path)
        nib.save(nib.Nifti1Image(rng.normal(100, 5, image.shape).astype(np.float32), image.affine), folder / "t1.nii")
        change = rng.normal(0, 0.05, image.shape)
        change[6:11, 6:11, 6:11] -= 0.4 * (scan in patients)
        nib.save(nib.Nifti1Image(change.astype(np.float32), image.affine), folder / "log_jacobian.nii")
        placed[scan] = folder / "t1.nii"
    return mask, placed, folds


def train(cohort, classes, folder, **changes):
    mask, paths, folds = cohort
    changes = {"normalisation": "scan", "epochs": 25, "dropout": 0.0} | changes
    return train_fold(
        folds, paths, mask, SETTINGS | changes, fold=0, classes=classes, seed=3, code={}, checkpoints=folder
    )


def test_what_is_in_the_second_channel_alone_is_learnt_from_it(two_channels, classes, tmp_path):
    """Intensities are noise here: only a network that sees the log-Jacobian can tell the classes apart."""
    right = {}
    for channels in (["t1"], ["log_jacobian"], BOTH):
        _, card, _, predictions = train(two_channels, classes, tmp_path / "-".join(channels), channels=channels)
        right["+".join(channels)] = ((predictions["probability"] > 0.5) == (predictions["label"] == "AD")).mean()
        assert card["channels"] == channels
    assert right["log_jacobian"] == right["t1+log_jacobian"] == 1
    assert right["t1"] < 1


def test_a_stored_model_of_two_channels_is_explained_where_they_differ(two_channels, classes, tmp_path, rng):
    """Its map is that of the method itself on both channels, and it lies where patients lack volume."""
    mask, paths, _ = two_channels
    model, card, _, predictions = train(two_channels, classes, tmp_path / "c", channels=BOTH)
    save_model(tmp_path / "model.pt", model, card)
    again, stored = load_model(tmp_path / "model.pt")
    assert stored["channels"] == BOTH
    assert next(again.parameters()).shape[1] == 2
    grid, brain = Grid.of(mask), np.asarray(mask.dataobj) > 0
    labels = np.where(brain, 1, 0)
    regions = pd.DataFrame({"region_id": [1], "region": ["all"], "volume_mm3": [brain.sum() * grid.voxel_mm3]})
    (tmp_path / "maps").mkdir()
    settings = {"target": "positive", "output": "logit", "scans": list(predictions["scan_id"]), "options": {}}
    _, sums, _ = explain_scans(
        sensitivity_analysis, {0: tmp_path / "model.pt"}, predictions, paths,
        (nib.Nifti1Image(labels.astype(np.int32), grid.affine), regions, mask), settings,
        classes=classes, maps_dir=tmp_path / "maps", device="cpu",
    )  # fmt: skip
    of_positive = 0
    for scan in predictions.itertuples():
        found = nib.load(tmp_path / "maps" / f"scan_{scan.scan_id}.nii.gz").get_fdata()
        volumes = Volumes([paths[scan.scan_id]], brain, channels=BOTH)
        image = Normaliser("scan")(volumes[0], volumes.mask)
        maps = [
            np.where(brain, sensitivity_analysis(again, image, target_class=k, apply_softmax=False, device="cpu"), 0)
            for k in (0, 1)
        ]
        expected = maps[int(scan.probability >= 0.5)]
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
        of_positive = of_positive + maps[1]
    groups = Groups(classes)
    total = sum(sums.values[groups.cells.index(cell), 0] for cell in groups.cells_in("all"))
    np.testing.assert_allclose(total, of_positive[brain], rtol=1e-4, atol=1e-4 * of_positive.max())
    inside = np.zeros(brain.shape, bool)
    inside[6:11, 6:11, 6:11] = True
    assert of_positive[inside].mean() > 1.5 * of_positive[brain & ~inside].mean()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_takes_several_channels(name):
    with torch.device("meta"):
        network = build_network(name, (130, 130, 130), image_channels=3)
    assert next(weight for weight in network.parameters() if weight.ndim == 5).shape[1] == 3


def of_two(shape, width=2):
    return nn.Sequential(nn.Conv3d(2, width, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(width, 2))


def test_a_network_of_ones_own_is_tried_on_as_many_channels(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "mine", sys.modules[__name__])
    assert own_network("mine:of_two", (9, 9, 9), {}, 2)
    with pytest.raises(ModelError, match=r"cannot take an image of shape \(1, 1, 9, 9, 9\)"):
        own_network("mine:of_two", (9, 9, 9), {})


def test_weights_of_another_number_of_channels_are_refused(two_channels, classes, tmp_path):
    mask = two_channels[0]
    model, card, *_ = train(two_channels, classes, tmp_path / "c", channels=BOTH, epochs=1)
    save_model(tmp_path / "model.pt", model, card)
    how = {"weights": str(tmp_path / "model.pt")}
    training = {"network": "small", "crop": "none", "channels": BOTH}
    opened, _ = open_weights(how, training, mask, classes=classes)
    assert next(opened.parameters()).shape[1] == 2
    with pytest.raises(ConfigError, match=r"mismatch of channels(.|\n)*training\.channels"):
        open_weights(how, training | {"channels": ["t1"]}, mask, classes=classes)


def test_a_normalisation_file_has_an_array_for_each_channel(two_channels, classes, tmp_path, rng):
    mask, paths, _ = two_channels
    network = build_network("small", mask.shape, image_channels=2)
    torch.save(network.state_dict(), tmp_path / "w.pt")
    mean, sd = rng.normal(size=(2, *mask.shape)), rng.uniform(0.5, 2, (2, *mask.shape))
    np.savez(tmp_path / "n.npz", mean=mean, sd=sd)
    how = {"weights": str(tmp_path / "w.pt"), "normalisation": str(tmp_path / "n.npz")}
    training = {"network": "small", "crop": "none", "channels": BOTH}
    _, card = open_weights(how, training, mask, classes=classes)
    brain = np.asarray(mask.dataobj) > 0
    volumes = Volumes(list(paths.values())[:1], brain, channels=BOTH)
    found = Normaliser.of_card(card["normalisation"])(volumes[0], brain)
    np.testing.assert_allclose(found, np.where(brain, (volumes[0] - mean) / sd, 0), rtol=1e-4, atol=1e-4)
    np.savez(tmp_path / "n.npz", mean=mean[0], sd=sd[0])
    with pytest.raises(InputError, match=r"for each of 2 channels"):
        open_weights(how, training, mask, classes=classes)


def test_the_baseline_sees_the_same_channels(two_channels, rng):
    mask, paths, _ = two_channels
    brain = np.asarray(mask.dataobj) > 0
    labels = rng.integers(1, 3, brain.shape) * brain
    selected = pd.DataFrame({"scan_id": list(paths)[:3], "t1": [str(path) for path in paths.values()][:3]})
    features = region_features(selected, BrainRegions(brain, labels, [1, 2]), ["a", "b"], BOTH)
    assert list(features.columns) == ["t1 a", "t1 b", "log_jacobian a", "log_jacobian b"]
    scan = list(paths)[1]
    change = nib.load(channel_path(paths[scan], "log_jacobian")).get_fdata()
    # A Jacobian has no gain to be divided by.
    assert features.loc[scan, "log_jacobian b"] == pytest.approx(change[labels == 2].mean(), rel=1e-5)


def test_an_image_that_is_gone_is_named(two_channels):
    paths = two_channels[1]
    selected = pd.DataFrame({"scan_id": list(paths), "t1": [str(path) for path in paths.values()]})
    assert len(registered_paths(selected, BOTH)) == len(paths)
    channel_path(paths["scan03"], "log_jacobian").unlink()
    assert registered_paths(selected)
    with pytest.raises(InputError, match=r"1 of 32 registered images no longer exist(.|\n)*scan03/log_jacobian.nii"):
        registered_paths(selected, BOTH)


def test_a_map_that_changed_changes_the_table_that_follows(tmp_path):
    """selected.tsv has a hash of the maps, so that trainings are run again when, and only when, one changed."""
    facts = {"session": None, "age": None, "sex": None, "scan_date": None, "image_id": None}
    names = [{"scan_id": f"s{k}", "subject_id": f"p{k}", "label": ("CN", "AD")[k], "path": f"{k}"} for k in (0, 1)]
    rows = [facts | name for name in names]
    write_table(pd.DataFrame(rows), tmp_path / "scans.tsv", SCANS)
    scans = read_table(tmp_path / "scans.tsv", SCANS)
    nobody = pd.DataFrame(columns=["scan_id", "reason"])
    quality = {"status": "ok", "skull_stripped": True, "scan_cm3": 1300.0, "correlation_brain": 0.9, "mask_dice": 0.9}
    quality |= {"jacobian_min": 0.5, "jacobian_max": 2.0, "t1_hash": "b" * 64}

    def selected(**maps):
        hashes = {n: {"hash": h} for n, h in maps.items()}
        each = {f"s{k}": quality | {"maps": hashes, "voxel_hash": f"{k}" * 64} for k in (0, 1)}
        table, _ = select_scans(scans, nobody, each, {"s0": "0/t1.nii", "s1": "1/t1.nii"})
        write_table(table, tmp_path / "selected.tsv", SELECTED)
        return (tmp_path / "selected.tsv").read_text()

    texts = [selected(), selected(log_jacobian="c"), selected(log_jacobian="d"), selected(log_jacobian="c")]
    assert len(set(texts)) == 3 and texts[1] == texts[3]


@pytest.mark.parametrize("transform", ["rigid", "affine", "none"])
@pytest.mark.parametrize("channels", ["[log_jacobian]", "[t1, grey_matter_modulated]"])
def test_channels_of_a_deformation_are_refused_without_one(transform, channels):
    settings = f"training: {{channels: {channels}}}, registration: {{transform: {transform}}}"
    given = yaml.safe_load(f"{{study: s, simulation: {{}}, {settings}}}")
    with pytest.raises(ConfigError, match=f"transform: {transform}(.|\n)*syn_quick or syn_cc"):
        load(given)


def test_maps_are_refused_without_a_deformation_and_limits_need_one():
    with pytest.raises(ConfigError, match=r"registration\.maps: log_jacobian"):
        load({"study": "s", "simulation": {}, "registration": {"transform": "affine", "maps": ["log_jacobian"]}})
    limits = {"transform": "syn_cc", "limits": {"jacobian_min": 0.2}}
    assert load({"study": "s", "simulation": {}, "registration": limits})["registration"]["transform"] == "syn_cc"


def test_the_images_that_are_needed_are_those_of_channels_and_those_asked_for():
    assert maps_needed(["t1"]) == []
    assert maps_needed(BOTH, ["grey_matter_modulated"]) == ["grey_matter_modulated", "log_jacobian"]


def test_local_correlation_and_maps_cost_more():
    how = {"resolution_mm": 3, "n4": False, "transform": "syn_quick", "maps": []}
    quick = registration_seconds(how)
    assert registration_seconds(how | {"transform": "syn_cc"}) - quick == pytest.approx(3 * 3)
    assert registration_seconds(how | {"maps": ["grey_matter_modulated"]}) > quick + 10
