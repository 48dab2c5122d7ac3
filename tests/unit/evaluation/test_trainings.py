"""Maps by several trainings: correlations as by SciPy, the map of an ensemble, and what a fold's job writes."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from helpers.training_settings import SETTINGS as TRAINING
from voxelwhy import sensitivity_analysis
from voxelwhy.evaluation.trainings import compare_maps, compare_trainings, comparisons
from voxelwhy.heatmaps.region_sums import relevance_by_region
from voxelwhy.io.tables import write_table
from voxelwhy.io.trust_tables import TRAININGS_MAPS, TRAININGS_REGIONS
from voxelwhy.networks.weights import load_model, save_model
from voxelwhy.training.fold import train_fold

METHODS = {"sensitivity_analysis": {}, "input_x_gradient": {}}
SETTINGS = {"methods": METHODS, "output": "logit", "subjects": 2, "network": None}


@pytest.mark.parametrize("n", range(2, 11))
def test_each_training_is_compared_as_often_as_any_other(n):
    for averaged in range(1, n // 2 + 1):
        found = comparisons(n, averaged)
        assert (
            len(set(found))
            == len(found)
            == (n * (n - 1) // 2 if averaged == 1 else n // (2 if 2 * averaged == n else 1))
        )
        assert all(len(one) == len(other) == averaged and not {*one} & {*other} for one, other in found)
        assert len(set(np.bincount([k for pair in found for side in pair for k in side], minlength=n))) == 1


def test_correlations_of_maps_and_of_their_means(rng):
    maps = rng.normal(size=(5, 300)) + rng.normal(size=300)
    rows = pd.DataFrame(compare_maps(maps)).set_index(["first", "second"])
    assert rows["averaged"].value_counts().to_dict() == {1: 10, 2: 5}
    assert rows.loc[("1", "3"), "spearman"] == pytest.approx(stats.spearmanr(maps[1], maps[3]).statistic)
    means = maps[[0, 1]].mean(axis=0), maps[[2, 3]].mean(axis=0)
    assert rows.loc[("0+1", "2+3"), "spearman"] == pytest.approx(stats.spearmanr(*means).statistic)
    assert rows.loc[("0+4", "1+2"), "averaged"] == 2
    by_number = rows.groupby("averaged")["spearman"].mean()
    assert by_number[2] > by_number[1] + 0.1, "the mean over trainings is more stable"
    dead = compare_maps(np.stack([maps[0], np.zeros(300)]))
    assert [row["spearman"] for row in dead] == [0.0]


@pytest.fixture
def trained(small_cohort, classes, tmp_path):
    """Fold 0 trained twice: paths of the models, and what a comparison needs."""
    mask, paths, folds = small_cohort
    settings = TRAINING | {"normalisation": "none"}
    how = {"fold": 0, "classes": classes, "seed": 1, "code": {}, "checkpoints": tmp_path / "checkpoints"}
    models = []
    for repeat in range(2):
        model, card, _, predictions = train_fold(folds, paths, mask, settings, repeat=repeat, **how)
        assert card["repeat"] == repeat
        models.append(tmp_path / f"{repeat}.pt")
        save_model(models[-1], model, card)
    slabs = np.tile(np.repeat(np.arange(1, 5), 5)[:, None, None], (1, 20, 20)).astype(np.int16)
    table = pd.DataFrame({"region_id": range(1, 5), "region": list("ABCD"), "voxels": 2000, "volume_mm3": 128000.0})
    return models, predictions, paths, (nib.Nifti1Image(slabs, mask.affine), table, mask), mask


def test_a_fold_is_compared_on_test_scans_of_both_classes(trained, tmp_path):
    models, predictions, paths, atlas, mask = trained
    of_maps, of_regions = compare_trainings(models, predictions, paths, atlas, mask, SETTINGS, seed=3)
    write_table(of_maps, tmp_path / "maps.tsv", TRAININGS_MAPS)
    write_table(of_regions, tmp_path / "regions.tsv", TRAININGS_REGIONS)
    assert of_maps.groupby("label")["subject_id"].nunique().tolist() == [2, 2]
    assert len(of_maps) == 4 * 2 and len(of_regions) == 4 * 2 * 2 * 4
    scan, brain = of_maps["scan_id"].iloc[0], np.asarray(mask.dataobj) > 0
    maps = []
    for path in models:
        model, _ = load_model(path)
        volume = np.where(brain, nib.load(paths[scan]).get_fdata(), 0).astype(np.float32)
        maps.append(sensitivity_analysis(model, volume, 1, apply_softmax=False))
    row = of_maps.query("scan_id == @scan and method == 'sensitivity_analysis'").iloc[0]
    assert row["spearman"] == pytest.approx(stats.spearmanr(*(own[brain] for own in maps)).statistic, abs=1e-3)
    labels = np.asarray(atlas[0].dataobj).astype(int)
    expected = relevance_by_region(maps[1], labels, atlas[1], brain)["enrichment"]
    own = of_regions.query("scan_id == @scan and method == 'sensitivity_analysis' and training == 1")
    np.testing.assert_allclose(own["enrichment"], expected, rtol=1e-4)


def test_the_same_network_twice_gives_one_and_the_same_seed_the_same_bytes(trained, tmp_path):
    models, *rest = trained
    of_maps, of_regions = compare_trainings([models[0], models[0]], *rest, SETTINGS, seed=3)
    np.testing.assert_allclose(of_maps["spearman"], 1.0)
    wide = of_regions.pivot(index=["scan_id", "method", "region_id"], columns="training", values="enrichment")
    np.testing.assert_array_equal(wide[0], wide[1])
    for name in "ab":
        write_table(compare_trainings(models, *rest, SETTINGS, seed=3)[0], tmp_path / name, TRAININGS_MAPS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
