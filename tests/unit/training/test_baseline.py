"""The linear baseline: its features against a plain loop, its folds against scikit-learn by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from voxelwhy.io.tables import PREDICTIONS, write_table
from voxelwhy.training.baseline import predict_baseline
from voxelwhy.training.region_baseline import RegionBaseline, region_means
from voxelwhy.training.volumes import Volumes


def test_region_means_against_a_plain_loop(small_cohort, rng):
    mask, paths, _ = small_cohort
    brain = np.asarray(mask.dataobj) > 0
    labels = rng.integers(0, 4, brain.shape) * brain
    volumes = Volumes(list(paths.values())[:3], brain)
    means = region_means(volumes, labels, [1, 2, 3])
    for index in range(3):
        regions = [volumes[index][0][labels == region].mean(dtype=float) for region in (1, 2, 3)]
        whole = volumes[index][0][labels > 0].mean(dtype=float)
        np.testing.assert_allclose(means[index], np.array(regions) / whole, rtol=1e-6)


@pytest.mark.parametrize("kind", ["logistic_regression", "linear_svm"])
def test_test_scans_are_predicted_from_the_others(small_cohort, classes, rng, tmp_path, kind):
    folds = small_cohort[2]
    scans = sorted(folds["scan_id"].unique())
    features = pd.DataFrame(rng.normal(size=(len(scans), 3)), index=scans, columns=list("abc"))
    features["a"] += 3 * (np.arange(len(scans)) % 2)
    predictions = predict_baseline(folds, RegionBaseline(features, kind), classes=classes)
    write_table(predictions, tmp_path / "p.tsv", PREDICTIONS)
    tested = folds[folds["side"] == "test"]
    assert sorted(zip(predictions["fold"], predictions["scan_id"], strict=True)) == sorted(
        zip(tested["fold"], tested["scan_id"], strict=True)
    )
    assert ((predictions["probability"] > 0.5) == (predictions["label"] == "AD")).mean() >= 0.75


def test_logistic_regression_by_hand(small_cohort, classes, rng):
    folds = small_cohort[2]
    scans = sorted(folds["scan_id"].unique())
    features = pd.DataFrame(rng.normal(size=(len(scans), 2)), index=scans)
    predictions = predict_baseline(folds, RegionBaseline(features, "logistic_regression"), classes=classes)
    known = folds[(folds["fold"] == 1) & (folds["side"] != "test")]
    train = features.loc[known["scan_id"]].to_numpy()
    tested = predictions[predictions["fold"] == 1]
    mean, sd = train.mean(0), train.std(0)
    model = LogisticRegression(max_iter=5000).fit((train - mean) / sd, known["label"] == "AD")
    expected = model.predict_proba((features.loc[tested["scan_id"]].to_numpy() - mean) / sd)[:, 1]
    np.testing.assert_allclose(tested["probability"], expected, atol=1e-6)
