"""Gathering heatmaps over a study: means by group, region sums, options; against maps made one by one."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from helpers.training_settings import SETTINGS
from voxelwhy.errors import ConfigError, InputError
from voxelwhy.explain.area_occlusion import area_occlusion
from voxelwhy.explain.grad_cam import grad_cam
from voxelwhy.explain.occlusion import occlusion
from voxelwhy.explain.sensitivity_analysis import sensitivity_analysis
from voxelwhy.heatmaps.explain_scans import (
    Explainer,
    choose_subjects,
    explain_scans,
    method_options,
    part_of,
    write_part,
)
from voxelwhy.heatmaps.groups import Groups
from voxelwhy.heatmaps.merge_parts import group_maps, group_table, merge_parts
from voxelwhy.heatmaps.sums import MapSums
from voxelwhy.io.tables import RELEVANCE, read_table
from voxelwhy.networks.ensemble import Ensemble
from voxelwhy.networks.weights import load_model, save_model
from voxelwhy.training.fold import train_fold
from voxelwhy.training.volumes import Normaliser, Volumes, counted_voxels

TRAINING = SETTINGS | {"crop": "brain", "normalisation": "scan", "epochs": 2, "dropout": 0.0}


@pytest.fixture
def study(small_cohort, classes, tmp_path):
    """Two trained folds, their predictions, and an atlas of two regions."""
    mask, paths, folds = small_cohort
    models, predictions = {}, []
    for fold in (0, 1):
        arguments = {"fold": fold, "classes": classes, "seed": 1, "code": {}, "checkpoints": tmp_path}
        model, card, _, tested = train_fold(folds, paths, mask, TRAINING, **arguments)
        models[fold] = tmp_path / f"model{fold}.pt"
        save_model(models[fold], model, card)
        predictions.append(tested)
    labels = np.zeros(mask.shape, np.int16)
    labels[2:9, 3:18, 2:17], labels[9:18, 3:18, 2:17] = 1, 2
    sizes = [int((labels == n).sum()) for n in (1, 2)]
    regions = pd.DataFrame({"region_id": [1, 2], "region": ["Left_L", "Left_R"], "voxels": sizes})
    regions["volume_mm3"] = regions["voxels"] * 64.0
    return (
        models,
        pd.concat(predictions, ignore_index=True),
        paths,
        (nib.Nifti1Image(labels, mask.affine), regions, mask),
    )


def settings(**changes):
    return {"target": "positive", "output": "probability", "scans": [], "options": {}} | changes


def explain(method, study, explained, classes, folder, *, n_parts=1, network_mask=None):
    """The maps of a study in so many parts, put together below `folder`; (relevance, groups)."""
    models, predictions, paths, atlas = study
    parts = []
    for number in range(n_parts):
        parts.append(folder / "parts" / f"{number + 1}-of-{n_parts}")
        parts[-1].mkdir(parents=True)
        part = part_of(predictions, number, n_parts)
        made = explain_scans(
            method, models, part, paths, atlas, explained,
            classes=classes, maps_dir=parts[-1], network_mask=network_mask,
        )  # fmt: skip
        write_part(parts[-1], *made)
    groups = merge_parts(
        parts, atlas[2], counted_voxels(atlas[2], network_mask or atlas[2]), explained,
        method=method.__name__, classes=classes, relevance_path=folder / "relevance.tsv", maps_dir=folder,
    )  # fmt: skip
    return read_table(folder / "relevance.tsv", RELEVANCE), groups


def one_by_one(study, method, *, target=None, **options):
    """Each scan's map made alone, straight from the file."""
    models, predictions, paths, (_, _, mask) = study
    maps = {}
    brain = np.asarray(mask.dataobj) > 0
    for scan in predictions.itertuples():
        model, _ = load_model(models[scan.fold])
        volumes = Volumes([paths[scan.scan_id]], brain, crop="brain")
        image = Normaliser("scan")(volumes[0], volumes.mask)
        maps[scan.scan_id] = brain * volumes.uncrop(method(model, image, target_class=target, **options))
    return maps


def test_group_means_are_the_means_of_single_maps(study, classes, tmp_path):
    _, predictions, _, atlas = study
    explained = settings(scans=["scan00"])
    (tmp_path / "maps").mkdir()
    relevance, groups = explain(sensitivity_analysis, study, explained, classes, tmp_path / "maps")
    maps = one_by_one(study, sensitivity_analysis, target=1)
    members = predictions.loc[predictions["label"] == "AD", "scan_id"]
    mean = np.mean([maps[s] for s in members], axis=0)
    scaled = np.mean([maps[s] / np.abs(maps[s]).sum() for s in members], axis=0)
    shown = one_by_one(study, sensitivity_analysis)
    for name, expected in (("mean_AD", mean), ("mean_AD_scaled", scaled), ("scan_scan00", shown["scan00"])):
        image = nib.load(tmp_path / "maps" / f"{name}.nii.gz")
        np.testing.assert_allclose(image.get_fdata(), expected, atol=1e-6 * expected.max())
        np.testing.assert_array_equal(image.affine, atlas[2].affine)
    counts = groups.set_index("group")["n_scans"]
    assert counts["AD"] == len(members)
    assert counts["all"] == counts[["TP", "FP", "TN", "FN"]].sum() == len(predictions)
    card = json.loads((tmp_path / "maps" / "mean_AD.json").read_text())
    assert (card["n_scans"], card["method"]) == (len(members), "sensitivity_analysis")
    assert (card["explained_class"], card["negative_set_to_0"]) == ("positive", False)
    single = json.loads((tmp_path / "maps" / "scan_scan00.json").read_text())
    probability = predictions.set_index("scan_id").loc["scan00", "probability"]
    assert (single["target"], single["explained_class"]) == ("AD" if probability >= 0.5 else "CN", "predicted")
    assert set(relevance.loc[relevance["scan_id"] == "scan00", "target"]) == {"AD", single["target"]}
    assert 0 < groups.set_index("group").loc["all", "share_outside"] < 0.9
    brain = np.asarray(atlas[2].dataobj) > 0
    assert not nib.load(tmp_path / "maps" / "mean_all.nii.gz").get_fdata()[~brain].any()
    assert not list((tmp_path / "maps").glob("*nan*"))


def test_relevance_counts_only_in_the_brain_that_the_network_sees(study, classes, tmp_path):
    models, predictions, paths, atlas = study
    seen = np.zeros(atlas[2].shape, np.uint8)
    seen[6:15, 4:16, 3:17] = 1
    seen[1, 2, 1] = seen[18, 18, 17] = 1  # so that its box is that of the brain; the first lies outside the brain
    network_mask = nib.Nifti1Image(seen, atlas[2].affine)
    explained = settings(scans=["scan00"])
    _, groups = explain(sensitivity_analysis, study, explained, classes, tmp_path, network_mask=network_mask)
    found = nib.load(tmp_path / "scan_scan00.nii.gz").get_fdata()
    alone = one_by_one((models, predictions, paths, (*atlas[:2], network_mask)), sensitivity_analysis)["scan00"]
    assert alone[1, 2, 1] > 0
    assert not np.asarray(atlas[2].dataobj)[1, 2, 1]
    alone[1, 2, 1] = 0
    np.testing.assert_allclose(found, alone, atol=1e-6 * alone.max())
    assert groups.set_index("group").loc["all", "share_outside"] > 0.1


@pytest.mark.parametrize("target", ["positive", "true", "predicted"])
def test_the_target_is_the_class_that_was_asked_for(study, classes, tmp_path, target):
    """Totals against maps made one by one; with `positive`, a scan predicted negative is explained for both classes."""
    _, predictions, _, atlas = study
    relevance, _ = explain(sensitivity_analysis, study, settings(target=target, output="logit"), classes, tmp_path)
    decided = [("CN", "AD")[int(p >= 0.5)] for p in predictions["probability"]]
    assert set(decided) == {"AD", "CN"}
    wanted = {"positive": ["AD"] * len(decided), "true": list(predictions["label"]), "predicted": decided}[target]
    pairs = set(zip(predictions["scan_id"], wanted, strict=True))
    if target == "positive":
        pairs |= set(zip(predictions["scan_id"], decided, strict=True))
    assert set(zip(relevance["scan_id"], relevance["target"], strict=True)) == pairs
    labels, brain = np.asarray(atlas[0].dataobj), np.asarray(atlas[2].dataobj) > 0
    for name, number in (("CN", 0), ("AD", 1)):
        maps = one_by_one(study, sensitivity_analysis, target=number, apply_softmax=False)
        rows = relevance[(relevance["region_id"] == 2) & (relevance["target"] == name)]
        for row in rows.itertuples():
            values = maps[row.scan_id].astype(float)
            np.testing.assert_allclose(row.total, values[labels == 2].sum() / values[brain].sum(), rtol=1e-4)
        assert len(rows) >= 2


@pytest.mark.parametrize("method", [sensitivity_analysis, grad_cam, area_occlusion])
def test_the_map_of_an_ensemble_is_the_mean_of_those_of_its_members(study, method):
    models, _, paths, (labels, _, mask) = study
    (first, card), (second, _) = (load_model(models[fold]) for fold in (0, 1))
    how = {"options": {}, "output": "probability"}
    together, *alone = (
        Explainer(method, model, card, mask, np.asarray(labels.dataobj).astype(np.int32), how)
        for model in (Ensemble([first, second]).eval(), first, second)
    )
    maps = [explain(explain.read(paths["scan00"]), 1) for explain in alone]
    assert np.abs(maps[0] - maps[1]).max() > 0.01 * np.abs(maps[0]).max()
    found = together(together.read(paths["scan00"]), 1)
    np.testing.assert_allclose(found, np.mean(maps, axis=0), atol=1e-6 * np.abs(maps[0]).max())


def test_area_occlusion_gets_the_atlas_cut_like_the_scan(study, classes, tmp_path):
    models, predictions, paths, atlas = study
    scan = predictions.iloc[0]
    explained = settings(scans=[scan["scan_id"]])
    relevance, _ = explain(area_occlusion, study, explained, classes, tmp_path)
    labels = np.asarray(atlas[0].dataobj)
    model, _ = load_model(models[0])
    brain = np.asarray(atlas[2].dataobj) > 0
    volumes = Volumes([paths[scan["scan_id"]]], brain, crop="brain")
    image = torch.from_numpy(Normaliser("scan")(volumes[0], volumes.mask)[None])
    drops = {}
    for region in (1, 2):
        blanked = image.clone()
        blanked[0, 0][torch.from_numpy(labels[volumes.box] == region)] = 0
        with torch.no_grad():
            before, after = (model(i).softmax(1)[0] for i in (image, blanked))
        drops[region] = (before - after).tolist()
    shown = nib.load(tmp_path / f"scan_{scan['scan_id']}.nii.gz").get_fdata()
    target = int(before.argmax())
    for region in (1, 2):
        np.testing.assert_allclose(shown[(labels == region) & brain], drops[region][target], atol=1e-6)
    # The relevance is that of the positive class, as a share of all: a drop counts once for each voxel of its region.
    sums = {region: drops[region][1] * ((labels == region) & brain).sum() for region in (1, 2)}
    rows = relevance[(relevance["scan_id"] == scan["scan_id"]) & (relevance["target"] == "AD")].set_index("region_id")
    outside = (labels == 0) & brain
    assert not shown[outside].any()
    for region in (1, 2):
        assert rows.loc[region, "total"] == pytest.approx(sums[region] / sum(map(abs, sums.values())), abs=1e-4)


def test_a_network_with_one_logit_is_explained_by_its_sigmoid(small_cohort, classes, tmp_path, tiny_one_logit):
    """The gradient of sigmoid(z) by plain autograd, for each scan's class; and of z where the logit is asked."""
    mask, paths, folds = small_cohort
    training = TRAINING | {"network": tiny_one_logit, "normalisation": "voxelwise_sd", "crop": "none"}
    arguments = {"fold": 0, "classes": classes, "seed": 1, "code": {}, "checkpoints": tmp_path}
    model, card, _, tested = train_fold(folds, paths, mask, training, **arguments)
    save_model(tmp_path / "model.pt", model, card)
    labels = nib.Nifti1Image(np.asarray(mask.dataobj).astype(np.int16), mask.affine)
    regions = pd.DataFrame({"region_id": [1], "region": ["All"], "voxels": [int(np.sum(mask.dataobj))]})
    atlas = (labels, regions.assign(volume_mm3=64.0 * regions["voxels"]), mask)
    brain, normalisation = np.asarray(mask.dataobj) > 0, card["normalisation"]
    for output, score in (("probability", torch.sigmoid), ("logit", lambda z: z)):
        explained = settings(output=output, scans=list(tested["scan_id"]))
        explain_scans(
            sensitivity_analysis, {0: tmp_path / "model.pt"}, tested, paths, atlas, explained,
            classes=classes, maps_dir=tmp_path,
        )  # fmt: skip
        for scan in tested.itertuples():
            image = torch.from_numpy(nib.load(paths[scan.scan_id]).get_fdata(dtype=np.float32)) * torch.from_numpy(
                brain
            )
            image = (image * normalisation["scale"])[None].requires_grad_()
            z = model(image)
            assert abs(torch.sigmoid(z).item() - scan.probability) < 1e-5
            (gradient,) = torch.autograd.grad(score(z).sum(), image)
            expected = brain * gradient[0, 0].abs().numpy()
            found = nib.load(tmp_path / f"scan_{scan.scan_id}.nii.gz").get_fdata()
            np.testing.assert_allclose(found, expected, atol=1e-4 * expected.max())
            assert expected.max() > 0


def test_lengths_in_mm_become_voxels_and_unknown_options_are_named():
    labels = np.zeros((3, 3, 3), int)
    made = method_options(occlusion, {"size_mm": 40, "stride_mm": 1}, voxel_mm=np.array([3.0, 3, 3]), labels=labels)
    assert made == {"size": 14, "stride": 1, "positive_only": False}  # the study keeps the sign
    assert method_options(area_occlusion, {}, voxel_mm=np.ones(3), labels=labels)["area_masks"] is labels
    with pytest.raises(ConfigError, match="'sise'"):
        method_options(occlusion, {"sise": 4}, voxel_mm=np.ones(3), labels=labels)


class Scan:
    def __init__(self, subject, label, probability):
        self.scan_id, self.subject_id, self.label = f"scan_of_{subject}", subject, label
        self.fold, self.probability = 0, probability


def test_a_zero_map_counts_as_zero_when_scaled(classes):
    counted, groups = np.ones((2, 2, 2), bool), Groups(classes)
    sums = MapSums(groups, counted)
    zero, half = np.zeros((2, 2, 2), np.float32), np.full((2, 2, 2), 0.5, np.float32)
    sums.add(zero, Scan("s1", "AD", 1.0), explained="AD", saturated=True, outside=0.0)
    sums.add(half, Scan("s2", "AD", 0.6), explained="AD", saturated=False, outside=0.5)
    table = group_table(sums.facts(), groups)
    made = group_maps([sums.values], counted, table, groups)
    found = {(row.group, scaled): (mean.sum(), row.n_scans) for row, scaled, mean, _ in made}
    assert found == {(g, s): (0.5 if s else 2.0, 2) for g in ("AD", "all", "TP") for s in (False, True)}
    assert table.set_index("group").loc["TP", "share_saturated"] == 0.5
    assert table.set_index("group").loc["AD", "share_outside"] == 0.25
    assert table.set_index("group").loc["CN", ["n_scans", "n_subjects"]].tolist() == [0, 0]


def test_parts_put_together_are_the_whole(study, classes, tmp_path):
    """Means and deviations of three parts against those of the maps of all scans one by one; one part has no scan."""
    models, predictions, paths, atlas = study
    predictions = predictions.iloc[[0, 1, 2, 3, 6]]
    few = (models, predictions, paths, atlas)
    explained = settings(scans=["scan00"])
    relevance, groups = explain(sensitivity_analysis, few, explained, classes, tmp_path / "three", n_parts=3)
    at_once, groups_at_once = explain(sensitivity_analysis, few, explained, classes, tmp_path / "one")
    empty, _ = explain(sensitivity_analysis, few, explained, classes, tmp_path / "eight", n_parts=8)
    pd.testing.assert_frame_equal(relevance, at_once, check_exact=True)
    pd.testing.assert_frame_equal(empty, at_once, check_exact=True)
    pd.testing.assert_frame_equal(groups, groups_at_once, check_exact=True)
    maps, shown = one_by_one(few, sensitivity_analysis, target=1), one_by_one(few, sensitivity_analysis)
    chosen = [maps[scan] for scan in predictions["scan_id"]]
    scaled = [m / np.abs(m).sum() for m in chosen]
    assert len(chosen) == groups.set_index("group").loc["all", "n_scans"] == 5
    for name, expected in (
        ("mean_all", np.mean(chosen, axis=0)),
        ("sd_all", np.std(chosen, axis=0, ddof=1)),
        ("mean_all_scaled", np.mean(scaled, axis=0)),
        ("sd_all_scaled", np.std(scaled, axis=0, ddof=1)),
        ("scan_scan00", shown["scan00"]),
    ):
        for folder in ("one", "three", "eight"):
            found = nib.load(tmp_path / folder / f"{name}.nii.gz").get_fdata()
            np.testing.assert_allclose(found, expected, atol=1e-6 * expected.max())
    card = json.loads((tmp_path / "three" / "sd_all.json").read_text())
    assert (card["statistic"], card["n_maps"]) == ("standard deviation over maps", 5)
    assert sorted(card["models_sha256"]) == ["0", "1"]


def test_a_scan_in_two_parts_is_refused(study, classes, tmp_path):
    models, predictions, paths, atlas = study
    for number in (1, 2):
        (tmp_path / f"{number}-of-2").mkdir()
        made = explain_scans(
            sensitivity_analysis, models, predictions.iloc[:1], paths, atlas, settings(),
            classes=classes, maps_dir=tmp_path,
        )  # fmt: skip
        write_part(tmp_path / f"{number}-of-2", *made)
    with pytest.raises(InputError, match=r"two parts[\s\S]*scan00"):
        merge_parts(
            [tmp_path / "1-of-2", tmp_path / "2-of-2"], atlas[2], counted_voxels(atlas[2], atlas[2]), settings(),
            method="sensitivity_analysis", classes=classes, relevance_path=tmp_path / "r.tsv", maps_dir=tmp_path,
        )  # fmt: skip


def test_so_many_subjects_of_each_class_are_explained(rng):
    """Drawn by subject, each with all scans of the class; scans whose own map is asked for come on top."""
    n = 60
    scans = pd.DataFrame(
        {"scan_id": [f"s{k:02d}" for k in range(n)], "subject_id": [f"p{k // 2:02d}" for k in range(n)]}
    )
    scans["label"], scans["fold"] = np.where(np.arange(n) < 36, "CN", "AD"), np.arange(n) % 3
    chosen = choose_subjects(scans, 5, seed=3)
    assert chosen.groupby("label")["subject_id"].nunique().to_dict() == {"AD": 5, "CN": 5}
    assert len(chosen) == 20  # two scans each
    assert chosen.equals(choose_subjects(scans.sample(frac=1, random_state=1).sort_values("scan_id"), 5, seed=3))
    assert set(chosen["scan_id"]) != set(choose_subjects(scans, 5, seed=4)["scan_id"])
    left = sorted(set(scans["scan_id"]) - set(chosen["scan_id"]))
    assert len(choose_subjects(scans, 5, kept=left[:2], seed=3)) == 22
    assert choose_subjects(scans, None) is scans
    assert len(choose_subjects(scans, 100)) == n
