"""Probes of one fold on a small trained network: drops and similarities as by hand, from the files of the study."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from helpers.training_settings import SETTINGS as TRAINING
from voxelwhy import sensitivity_analysis
from voxelwhy.evaluation.probes import probe_fold
from voxelwhy.evaluation.shortcut_probes import UNSEEN
from voxelwhy.io.tables import write_table
from voxelwhy.io.trust_tables import FAITHFULNESS, RANDOMISED, SHORTCUT_PROBES
from voxelwhy.networks.weights import load_model, save_model
from voxelwhy.training.fold import train_fold

METHODS = {"sensitivity_analysis": {}, "input_x_gradient": {}}
SETTINGS = {"methods": METHODS, "output": "logit", "subjects": 2, "network": None}


@pytest.fixture
def probed(small_cohort, classes, tmp_path):
    """Fold 0 of a cohort whose regions are four slabs, its model, and what the probes found."""
    mask, paths, folds = small_cohort
    settings = TRAINING | {"normalisation": "none"}
    how = {"fold": 0, "classes": classes, "seed": 1, "code": {}, "checkpoints": tmp_path / "checkpoints"}
    model, card, _, predictions = train_fold(folds, paths, mask, settings, **how)
    save_model(tmp_path / "model.pt", model, card)
    slabs = np.tile(np.repeat(np.arange(1, 5), 5)[:, None, None], (1, 20, 20)).astype(np.int16)
    table = pd.DataFrame({"region_id": range(1, 5), "region": list("ABCD"), "voxels": 2000, "volume_mm3": 128000.0})
    atlas = (nib.Nifti1Image(slabs, mask.affine), table, mask)
    fold = folds[folds["fold"] == 0]
    ages = pd.DataFrame({"age": np.random.default_rng(8).uniform(60, 80, len(paths))}, index=list(paths))
    given = (tmp_path / "model.pt", predictions, fold, paths, atlas, mask, SETTINGS)
    found = probe_fold(*given, classes=classes, seed=3, properties=ages)
    return tmp_path, paths, fold, slabs, np.asarray(mask.dataobj) > 0, found


def test_a_drop_is_that_of_the_image_with_the_mean_of_training_controls(probed, classes):
    folder, paths, fold, slabs, brain, (faithful, _, _) = probed
    write_table(faithful, folder / "faithfulness.tsv", FAITHFULNESS)
    model, _ = load_model(folder / "model.pt")

    def read(scan):
        return np.where(brain, nib.load(paths[scan]).get_fdata(), 0).astype(np.float32)

    controls = fold[(fold["side"] == "train") & (fold["label"] == classes["negative"])]["scan_id"]
    fill = np.mean([read(scan) for scan in controls], axis=0)
    scan = faithful["scan_id"].iloc[0]
    heatmap = sensitivity_analysis(model, read(scan), 1, apply_softmax=False) * brain
    density = [heatmap[(slabs == k) & brain].mean() for k in range(1, 5)]
    first = 1 + int(np.argmax(density))

    def score(image):
        with torch.no_grad():
            logits = model(torch.from_numpy(image[None, None]))[0]
        return float(logits[1] - logits[0])

    blanked = np.where((slabs == first) & brain, fill, read(scan))
    row = faithful.query("scan_id == @scan and fill == 'mean' and method == 'sensitivity_analysis' and order == 'most'")
    row = row[np.isclose(row["step"], 0.05)].iloc[0]
    assert row["drop"] == pytest.approx(score(read(scan)) - score(blanked), abs=1e-4)
    assert row["fraction"] == pytest.approx(((slabs == first) & brain).sum() / brain.sum())
    assert set(faithful["fill"]) == {"mean", "blur"} and set(faithful["method"]) == {"", *METHODS}
    assert faithful.groupby("label")["subject_id"].nunique().tolist() == [2, 2]


def test_the_floor_is_the_map_of_another_subject_of_the_class(probed):
    folder, paths, _, _, brain, (_, reset, _) = probed
    write_table(reset, folder / "randomised.tsv", RANDOMISED)
    model, _ = load_model(folder / "model.pt")
    floor = reset[(reset["depth"] == 0) & (reset["method"] == "sensitivity_analysis")]
    for _, own in floor.groupby("label"):
        maps = [
            sensitivity_analysis(model, np.where(brain, nib.load(paths[scan]).get_fdata(), 0).astype(np.float32), 1,
                                 apply_softmax=False)[brain]
            for scan in own["scan_id"]
        ]  # fmt: skip
        expected = stats.spearmanr(*maps).statistic
        np.testing.assert_allclose(own["spearman"], expected, atol=1e-3)
    depths = reset.groupby("depth")["layer"].first()
    assert depths.loc[1] == "dense_2" and len(depths) > 3
    assert (reset.loc[reset["depth"] > 0, "spearman"] < 1).all()


def test_a_silhouette_is_scored_by_the_network_of_the_fold(probed):
    """Noise fills the whole grid: all silhouettes are that of the mask, and there is no background to read."""
    folder, paths, fold, _, brain, (_, _, shortcuts) = probed
    write_table(shortcuts, folder / "shortcuts.tsv", SHORTCUT_PROBES)
    tested = fold.loc[fold["side"] == "test", "scan_id"]
    silhouettes = shortcuts[shortcuts["probe"] == "silhouette"]
    assert sorted(silhouettes["scan_id"]) == sorted(tested)
    learnt = fold.loc[fold["side"] == "train", "scan_id"]
    mean = np.mean([np.where(brain, nib.load(paths[scan]).get_fdata(), 0) for scan in learnt], axis=0)
    model, _ = load_model(folder / "model.pt")
    with torch.no_grad():
        logits = model(torch.from_numpy(mean[None, None].astype(np.float32)))[0]
    np.testing.assert_allclose(silhouettes["value"], float(logits[1] - logits[0]), atol=1e-4)
    assert set(shortcuts.loc[shortcuts["probe"] == "background", "of"]) == {UNSEEN}
    # Four training controls are too few to learn age from.
    assert set(shortcuts["probe"]) == {"silhouette", "background"}
