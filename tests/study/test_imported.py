"""A study of weights and heatmaps of others end to end: with a split that they were trained on, and without."""

from __future__ import annotations

import copy
import json
import re
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import nn

from helpers.digests import assert_named
from helpers.studies import Study, small_study
from voxelwhy.io.images import Grid, save_image
from voxelwhy.networks.build import build_network

pytestmark = pytest.mark.slow

METHODS = {"sensitivity_analysis": {}, "occlusion": {"size_mm": 64, "stride_mm": 64}}
GRID = Grid.icbm(4)
SCAN = "sub-999S0001_ses-Screening_I32010"
IMPORTED = [
    {"name": "occlusion", "file": "others.npz", "array": "ad", "group": "AD", "n_subjects": 30, "note": "made up"},
    {"name": "their_gradients", "file": "gradients.nii.gz", "group": "AD"},
    {"name": "occlusion", "file": "others.npz", "array": "cn", "group": "CN"},
]
FOREIGN = small_study(
    "foreign",
    splits=[{"kind": "kfold", "folds": 2}, {"name": "theirs", "kind": "holdout", "test_subjects": 2}],
    training={"network": "small"},
    model={"weights": "2018.pt", "normalisation": "theirs", "trained_on": "theirs"},
    heatmaps={"methods": METHODS, "others": IMPORTED, "scans": [SCAN]},
    figures={"slices_mm": [-20, 0], "dpi": 60},
)
UNNAMED = FOREIGN | {"model": {"weights": "2018.pt", "normalisation": "scan"}}
OF_ACCURACY = ("metrics", "roc", "confusion", "baseline", "learning_curves", "history")


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(11)
    model = build_network("small", GRID.shape)
    for layer in model:
        if isinstance(layer, nn.BatchNorm3d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
    model.dense_2.weight.data *= 100  # probabilities that differ from scan to scan
    return model.eval()


def save_as_in_2018(net, path):
    """Legacy format, storages on a GPU, DataParallel, no counters, within a checkpoint."""
    state = {f"module.{key}": t for key, t in net.state_dict().items() if not key.endswith("num_batches_tracked")}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        torch.save({"epoch": 20, "state_dict": state}, path, _use_new_zipfile_serialization=False)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory, net):
    """The study with `trained_on`, run to its end."""
    study = Study(tmp_path_factory.mktemp("foreign"), FOREIGN)
    save_as_in_2018(net, study.folder / "2018.pt")
    maps = np.random.default_rng(4).normal(size=(3, *GRID.shape)).astype(np.float32)
    np.savez_compressed(study.folder / "others.npz", ad=maps[0], cn=maps[1])
    save_image(study.folder / "gradients.nii.gz", maps[2], GRID.affine)
    study.maps = maps
    study.text = study.run_and_record()
    study.report = study.result("report.html").read_text()
    return study


@pytest.fixture(scope="module")
def unnamed(foreign):
    """The same study without it, in the same folder: what is registered stays."""
    study = copy.copy(foreign)
    study.before = foreign.rows("splits/theirs/fold-0/predictions.tsv")
    shutil.copy(foreign.result("splits/theirs/fold-0/model.pt"), foreign.folder / "own.pt")
    study.configure(UNNAMED)
    study.jobs = study.would_run()
    study.text = study.run()
    study.report = re.sub(r"data:image/png;base64,[^\"]+", "", study.result("report.html").read_text())
    return study


def scans_of(study):
    """scan_id to array, masked; and the mask."""
    mask = nib.load(study.result("template/brain_mask.nii.gz")).get_fdata() > 0
    rows = study.rows("cohort/selected.tsv")
    return {row["scan_id"]: nib.load(study.folder / row["t1"]).get_fdata() * mask for row in rows}, mask


def probabilities(net, images):
    with torch.no_grad():
        return net(torch.from_numpy(np.stack(images)[:, None].astype(np.float32))).softmax(1)[:, 1].numpy()


def test_weights_of_2018_predict_the_test_scans_as_by_hand(foreign, net):
    images, mask = scans_of(foreign)
    sides = {row["scan_id"]: row["side"] for row in foreign.rows("splits/theirs/folds.tsv")}
    trained = np.stack([images[scan] for scan, side in sides.items() if side == "train"])
    mean, sd = trained.mean(0), trained.std(0)
    usable = mask & (sd > 0.01 * np.median(sd[mask & (sd > 0)]))
    rows = foreign.rows("splits/theirs/fold-0/predictions.tsv")
    assert sorted(row["scan_id"] for row in rows) == sorted(scan for scan, side in sides.items() if side == "test")
    normal = [np.divide(images[r["scan_id"]] - mean, sd, out=np.zeros(mask.shape), where=usable) for r in rows]
    found = [float(row["probability"]) for row in rows]
    np.testing.assert_allclose(found, probabilities(net, normal), atol=5e-4)
    assert np.std(found) > 0.02


def test_with_a_split_there_is_accuracy_beside_the_baseline_and_no_history(foreign):
    models = {row["model"] for row in foreign.rows("splits/theirs/evaluation/metrics.tsv")}
    assert models == {"cnn", "baseline"}
    assert json.loads(foreign.result("splits/theirs/audit.json").read_text())["passed"]
    assert not list(foreign.result("splits").rglob("*history*"))
    assert not list(foreign.result("splits").rglob("*learning*"))
    assert not foreign.result("splits/kfold").exists(), "one file of weights is not the models of several folds"
    assert "Accuracy by subject (95 % CI)" in foreign.text
    assert "was not trained by this study: its weights are those of 2018.pt" in foreign.report
    assert 'id="performance"' in foreign.report and 'id="training"' not in foreign.report


def test_the_card_says_where_the_weights_come_from(foreign):
    weights = torch.load(foreign.result("splits/theirs/fold-0/model.pt"), weights_only=True)
    source = weights["card"]["source"]
    assert (source["file"], source["trained_on"], source["normalisation"]) == ("2018.pt", "theirs", "theirs")
    assert source["sha256"] == json.loads(foreign.result("template/weights.json").read_text())["sha256"]


def test_maps_of_others_are_in_the_report_and_marked(foreign):
    mask = nib.load(foreign.result("template/brain_mask.nii.gz")).get_fdata() > 0
    for name, values in zip(("occlusion_AD", "occlusion_CN", "their_gradients_AD"), foreign.maps, strict=True):
        image = nib.load(foreign.result(f"imported_maps/maps/{name}.nii.gz"))
        np.testing.assert_array_equal(image.get_fdata(), values * mask)
        np.testing.assert_allclose(image.affine, GRID.affine)
    labels = nib.load(foreign.result("atlas/labels.nii.gz")).get_fdata()
    rows = {row["region"]: row for row in foreign.rows("imported_maps/maps/occlusion_AD.tsv")}
    names = {row["region"]: int(row["region_id"]) for row in foreign.rows("atlas/regions.tsv")}
    assert set(rows) == set(names)
    positive = np.maximum(foreign.maps[0] * mask, 0)
    share = positive[labels == names["Precuneus_L"]].sum() / positive.sum()
    np.testing.assert_allclose(float(rows["Precuneus_L"]["share"]), share, rtol=1e-4)
    heatmaps = foreign.report.split('id="heatmaps"')[1].split("</section>")[0]
    assert "<h3>imported heatmaps</h3>" in heatmaps
    assert (
        "Occlusion (others.npz, array ad; 30 subjects; made up); Their gradients (gradients.nii.gz; n not given)"
        in (heatmaps)
    )
    assert heatmaps.index("Relevance, AD scans") < heatmaps.index("Imported heatmaps, AD")
    regions = foreign.report.split('id="regions"')[1].split("</section>")[0]
    assert "Relevance by region in imported heatmaps, CN" in regions


def test_the_modules_that_a_job_loads_are_those_that_its_digest_names(foreign):
    rules = {"check_weights", "adopt_weights", "import_heatmap", "draw_imported_maps", "publish_imported_maps"}
    assert rules <= {job["rule"] for job in foreign.loaded}
    assert "train_fold" not in {job["rule"] for job in foreign.loaded}
    for job in foreign.loaded:
        assert_named(job)


def test_without_a_split_there_is_no_accuracy_anywhere(unnamed):
    assert not {"register_scan", "register_batch"} & set(unnamed.jobs) and unnamed.jobs["adopt_weights"] == 1
    assert not {"evaluate_predictions", "train_baseline", "draw_performance"} & set(unnamed.jobs)
    files = [
        path.relative_to(unnamed.result("splits/all_scans")) for path in unnamed.result("splits/all_scans").rglob("*")
    ]
    assert len(files) > 40
    assert not [path for path in files if any(word in str(path) for word in OF_ACCURACY)]
    said = "The training data of these weights are unknown, so accuracy is not reported"
    sentences = json.loads(unnamed.result("splits/all_scans/evaluation/summary.json").read_text())["sentences"]
    assert sentences[0].startswith(said)
    assert said in unnamed.text and unnamed.report.count(said) == 2  # the summary, and the methods
    assert 'id="performance"' not in unnamed.report
    for word in (
        "Accuracy",
        "AUC",
        "ROC",
        "Confusion",
        "own fold",
        "out of sample",
        "test scans",
        "was not trained on it",
    ):
        assert word not in unnamed.report, word
    assert "Table 1" in unnamed.report
    assert f"One scan, {SCAN}: diagnosis CN, predicted" in unnamed.report


def test_without_a_split_all_scans_are_explained(unnamed, net):
    images, mask = scans_of(unnamed)
    predictions = unnamed.rows("splits/all_scans/fold-0/predictions.tsv")
    assert {row["scan_id"] for row in predictions} == set(images) and len(images) == 8
    normal = []
    for row in predictions:
        values = images[row["scan_id"]].copy()
        values[mask] = (values[mask] - values[mask].mean()) / values[mask].std()
        normal.append(values)
    found = [float(row["probability"]) for row in predictions]
    np.testing.assert_allclose(found, probabilities(net, normal), atol=5e-4)
    for method in METHODS:
        relevance = unnamed.rows(f"splits/all_scans/heatmaps/{method}/relevance.tsv")
        assert {row["scan_id"] for row in relevance} == set(images)
        groups = {row["group"]: row for row in unnamed.rows(f"splits/all_scans/heatmaps/{method}/groups.tsv")}
        assert (
            int(groups["all"]["n_scans"]) == int(groups["AD"]["n_scans"]) + int(groups["CN"]["n_scans"]) == len(images)
        )
        regions = [row for row in unnamed.rows(f"splits/all_scans/regions/{method}.tsv") if row["group"] == "all"]
        assert {int(row["n_scans"]) for row in regions} == {len(images)}
    caption = json.loads(unnamed.result("splits/all_scans/figures/heatmaps_AD.json").read_text())["caption"]
    assert f"{groups['AD']['n_scans']} scans; mean of maps scaled" in caption


def test_an_own_model_takes_the_place_of_a_training(unnamed):
    """The model that stood for the foreign weights, given as a checkpoint: its own normalisation, the same numbers."""
    unnamed.configure(FOREIGN | {"model": {"weights": "own.pt", "trained_on": "theirs"}})
    try:
        unnamed.run("--", "results/foreign/splits/theirs/fold-0/predictions.tsv")
        assert unnamed.rows("splits/theirs/fold-0/predictions.tsv") == unnamed.before
        unnamed.configure(FOREIGN | {"model": {"weights": "own.pt", "normalisation": "scan"}})
        text = unnamed.run("--", "results/foreign/template/weights.json", code=1)
        assert "these weights are a model of voxelwhy, which contains its own" in text
    finally:
        unnamed.configure(UNNAMED)


def test_weights_that_do_not_fit_are_refused_before_any_scan_is_registered(tmp_path):
    study = Study(tmp_path / "early", FOREIGN | {"study": "early", "model": {"weights": "w.pt"}})
    torch.save(build_network("small", (32, 32, 32)).state_dict(), study.folder / "w.pt")
    text = study.run("--", "results/early/template/weights.json", code=1)
    assert "model.normalisation is missing" in text and "Traceback" not in text
    study.configure(study.config | {"model": {"weights": "w.pt", "normalisation": "scan"}})
    text = study.run("--", "results/early/template/weights.json", code=1)
    assert "dense_1.weight is (64, 512) there, (64, 1728) in the network" in text
    assert not study.result("template/weights.json").exists() and not study.result("registered").exists()
