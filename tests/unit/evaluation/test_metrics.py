"""Metrics against scikit-learn, pair counting and a plain bootstrap loop."""

import time

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk
from sklearn.metrics import roc_auc_score

from voxelwhy.errors import InputError
from voxelwhy.evaluation.metrics import by_subject, confusion, roc_band, score_predictions, weighted_auc
from voxelwhy.io.tables import METRICS, ROC, write_table

CLASSES = {"positive": "AD", "negative": "CN"}


def make_predictions(n_subjects=40, seed=0, tied=True):
    """Subjects with one or two scans each, in five folds; some probabilities tied."""
    rng = np.random.default_rng(seed)
    rows = []
    for subject in range(n_subjects):
        label = "AD" if subject % 2 else "CN"
        for scan in range(1 + subject % 3 % 2):
            probability = 1 / (1 + np.exp(-(rng.normal() + (0.8 if label == "AD" else -0.8))))
            rows.append((subject // 2 % 5, f"s{subject}_{scan}", f"p{subject}", label, 0.0, 0.0, probability))
    frame = pd.DataFrame(
        rows, columns=["fold", "scan_id", "subject_id", "label", "logit_negative", "logit_positive", "probability"]
    )
    if tied:
        frame["probability"] = frame["probability"].round(1)
    return frame


def pick(scored, level, fold, metric):
    chosen = scored.query("level == @level and fold == @fold and metric == @metric")
    assert len(chosen) == 1
    return chosen.iloc[0]


def direct(rows):
    truth, probability = rows["label"] == "AD", rows["probability"]
    guess = probability >= 0.5
    return {
        "accuracy": sk.accuracy_score(truth, guess),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, guess),
        "sensitivity": sk.recall_score(truth, guess),
        "specificity": sk.recall_score(~truth, ~guess),
        "auc": sk.roc_auc_score(truth, probability),
    }


@pytest.mark.parametrize("level", ["scan", "subject"])
def test_values_equal_scikit_learn(level, tmp_path):
    frame = make_predictions()
    scored = score_predictions(frame, model="cnn", classes=CLASSES, n_bootstrap=20, seed=0)
    write_table(scored, tmp_path / "metrics.tsv", METRICS)
    for fold in ["all", *map(str, range(5))]:
        part = frame if fold == "all" else frame[frame["fold"] == int(fold)]
        rows = part if level == "scan" else part.groupby(["subject_id", "label"], as_index=False)["probability"].mean()
        for metric, value in direct(rows).items():
            row = pick(scored, level, fold, metric)
            assert row["value"] == pytest.approx(value, abs=1e-12)
            assert (row["n_scans"], row["n_subjects"]) == (len(part), part["subject_id"].nunique())


def test_auc_is_the_share_of_pairs_in_the_right_order():
    frame = make_predictions(12)
    positive = frame.loc[frame["label"] == "AD", "probability"]
    negative = frame.loc[frame["label"] == "CN", "probability"]
    pairs = [1.0 if p > n else 0.5 if p == n else 0.0 for p in positive for n in negative]
    assert 0.5 in pairs  # the case of a tie is met
    scored = score_predictions(frame, model="m", classes=CLASSES, n_bootstrap=5, seed=0)
    assert pick(scored, "scan", "all", "auc")["value"] == pytest.approx(np.mean(pairs), abs=1e-12)


@pytest.mark.parametrize("level", ["scan", "subject"])
def test_intervals_equal_a_loop_that_copies_the_scans_of_drawn_subjects(level):
    frame = make_predictions(14, seed=3)
    scored = score_predictions(frame, model="m", classes=CLASSES, n_bootstrap=60, seed=7)
    rows = frame if level == "scan" else by_subject(frame)
    subjects = np.unique(rows["subject_id"])
    of_subject = {subject: rows[rows["subject_id"] == subject] for subject in subjects}
    resampled = []
    for draw in np.random.default_rng(7).integers(len(subjects), size=(60, len(subjects))):
        copy = pd.concat([of_subject[subjects[index]] for index in draw])
        if copy["label"].nunique() == 2:
            resampled.append(direct(copy))
    assert len(resampled) == 60
    for metric in resampled[0]:
        low, high = np.percentile([values[metric] for values in resampled], [2.5, 97.5])
        row = pick(scored, level, "all", metric)
        assert (row["low"], row["high"]) == pytest.approx((low, high), abs=1e-12)


def test_repeat_scans_widen_the_interval():
    # Ten copies of every scan tell nothing new: resampling scans would shrink the interval by a factor of three.
    frame = make_predictions(30, tied=False)
    copies = pd.concat([frame.assign(scan_id=frame["scan_id"] + f"_{n}") for n in range(10)])
    width = []
    for rows in (frame, copies):
        row = pick(score_predictions(rows, model="m", classes=CLASSES, seed=1), "scan", "all", "auc")
        width.append(row["high"] - row["low"])
    assert width[1] == pytest.approx(width[0], rel=1e-9)


def test_a_subject_with_both_diagnoses_counts_once_for_each():
    frame = make_predictions(10)
    frame.loc[len(frame)] = [0, "extra", "p1", "CN", 0.0, 0.0, 0.2]
    both = by_subject(frame)
    assert list(both[both["subject_id"] == "p1"]["label"]) == ["AD", "CN"]
    assert len(both) == frame["subject_id"].nunique() + 1


def test_one_class_gives_nan_where_nothing_is_defined():
    frame = make_predictions(10).query("label == 'AD'")
    scored = score_predictions(frame, model="m", classes=CLASSES, n_bootstrap=10, seed=0)
    for metric in ("balanced_accuracy", "specificity", "auc"):
        assert np.isnan(pick(scored, "scan", "all", metric)[["value", "low", "high"]].astype(float)).all()
    assert np.isfinite(pick(scored, "scan", "all", "sensitivity")["value"])
    band = roc_band(frame, model="m", classes=CLASSES, n_bootstrap=10)
    assert band[["tpr", "low", "high"]].isna().all(axis=None)


def test_roc_follows_scikit_learn_and_its_band_holds_it(tmp_path):
    frame = make_predictions(60, seed=2)
    band = roc_band(frame, model="m", classes=CLASSES, n_bootstrap=300, seed=0)
    write_table(band, tmp_path / "roc.tsv", ROC)
    fpr, tpr, _ = sk.roc_curve(frame["label"] == "AD", frame["probability"], drop_intermediate=False)
    for rate in np.unique(fpr[np.isclose(fpr * 100 % 1, 0)]):
        highest = tpr[fpr == rate].max()
        assert band.loc[np.isclose(band["fpr"], rate), "tpr"].iloc[0] == pytest.approx(highest, abs=1e-12)
    assert np.trapezoid(band["tpr"], band["fpr"]) == pytest.approx(sk.auc(fpr, tpr), abs=0.01)
    inside = (band["low"] <= band["tpr"] + 1e-12) & (band["tpr"] <= band["high"] + 1e-12)
    assert inside.mean() > 0.97
    assert (band["high"] - band["low"]).max() > 0.1


def test_confusion_counts_scans():
    frame = make_predictions()
    table = confusion(frame, CLASSES)
    expected = sk.confusion_matrix(frame["label"] == "AD", frame["probability"] >= 0.5, labels=[True, False])
    assert table.to_numpy().tolist() == expected.tolist()
    assert list(table.index) == list(table.columns) == ["AD", "CN"]


def test_a_thousand_resamples_take_less_than_two_seconds():
    frame = make_predictions(45)
    start = time.process_time()
    score_predictions(frame, model="m", classes=CLASSES, n_bootstrap=1000, seed=0)
    assert len(frame) >= 60
    assert time.process_time() - start < 2


def test_same_seed_same_figures_another_seed_others():
    frame = make_predictions(20)
    first, again, other = (
        score_predictions(frame, model="m", classes=CLASSES, n_bootstrap=100, seed=seed) for seed in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(first, again)
    assert (first["low"] != other["low"]).any()


def test_refuses_other_labels_and_no_rows():
    frame = make_predictions(6)
    with pytest.raises(InputError, match="outside the classes"):
        score_predictions(frame.assign(label="MCI"), model="m", classes=CLASSES)
    with pytest.raises(InputError, match="no predictions"):
        roc_band(frame.head(0), model="m", classes=CLASSES)


def test_batches_of_resamples_draw_what_one_draw_gives(monkeypatch):
    rng = np.random.default_rng(3)
    labels = rng.choice(["AD", "CN"], 60)
    probability = np.round(rng.uniform(size=60), 1)  # with ties
    predictions = pd.DataFrame({"fold": 0, "scan_id": [f"s{i}" for i in range(60)], "label": labels})
    predictions = predictions.assign(subject_id=[f"p{i // 2}" for i in range(60)], probability=probability)
    how = {"model": "cnn", "classes": {"positive": "AD", "negative": "CN"}, "n_bootstrap": 100, "seed": 4}
    whole, band = score_predictions(predictions, **how), roc_band(predictions, **how)
    monkeypatch.setattr("voxelwhy.evaluation.metrics.BATCH_VALUES", 7 * 60)
    pd.testing.assert_frame_equal(score_predictions(predictions, **how), whole, check_exact=True)
    pd.testing.assert_frame_equal(roc_band(predictions, **how), band, check_exact=True)


def test_weighted_auc_is_that_of_scikit_learn(rng):
    scores, positive = rng.integers(0, 12, 50) / 12, rng.random(50) < 0.4
    weights = rng.integers(0, 4, (20, 50))
    expected = [roc_auc_score(positive, scores, sample_weight=row) for row in weights]
    np.testing.assert_allclose(weighted_auc(scores, positive, weights), expected, atol=1e-12)
