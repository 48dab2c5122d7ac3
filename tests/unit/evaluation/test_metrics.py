"""Metrics against scikit-learn, pair counting, closed forms and a plain bootstrap loop."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import proportion_confint

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
        "auc": within_folds(rows, sk.roc_auc_score),
        "auc_pooled": sk.roc_auc_score(truth, probability),
    }


def within_folds(rows, score):
    """The mean of a score over folds with both classes, weighted by their numbers of pairs; fold by fold."""
    values, pairs = [], []
    for _, own in rows.groupby("fold"):
        truth = own["label"] == "AD"
        if truth.any() and not truth.all():
            values.append(score(truth, own["probability"]))
            pairs.append(truth.sum() * (~truth).sum())
    return np.average(values, weights=pairs, axis=0)


@pytest.mark.parametrize("level", ["scan", "subject"])
def test_values_equal_scikit_learn(level, tmp_path):
    frame = make_predictions()
    scored = score_predictions(frame, model="cnn", classes=CLASSES, n_permutations=20, seed=0)
    write_table(scored, tmp_path / "metrics.tsv", METRICS)
    for fold in ["all", *map(str, range(5))]:
        part = frame if fold == "all" else frame[frame["fold"] == int(fold)]
        by = ["subject_id", "label", "fold"]
        rows = part if level == "scan" else part.groupby(by, as_index=False)["probability"].mean()
        for metric, value in direct(rows).items():
            row = pick(scored, level, fold, metric)
            assert row["value"] == pytest.approx(value, abs=1e-12)
            assert (row["n_scans"], row["n_subjects"]) == (len(part), part["subject_id"].nunique())


def test_auc_is_the_share_of_pairs_in_the_right_order():
    frame = make_predictions(24)
    positive, negative = (frame[frame["label"] == label][["fold", "probability"]].to_numpy() for label in ("AD", "CN"))
    pairs = [(k == m, 1.0 if p > n else 0.5 if p == n else 0.0) for k, p in positive for m, n in negative]
    within = [right for same, right in pairs if same]
    assert 0.5 in within  # the case of a tie is met
    scored = score_predictions(frame, model="m", classes=CLASSES, n_permutations=5, seed=0)
    assert pick(scored, "scan", "all", "auc")["value"] == pytest.approx(np.mean(within), abs=1e-12)
    pooled = pick(scored, "scan", "all", "auc_pooled")["value"]
    assert pooled == pytest.approx(np.mean([right for _, right in pairs]), abs=1e-12)
    assert pooled != pytest.approx(np.mean(within), abs=1e-3)


def test_intervals_by_subject_are_wilsons_over_subjects():
    """Forty subjects with one or two scans: n is 40 for accuracy and 20 for sensitivity."""
    frame = make_predictions()
    scored = score_predictions(frame, model="m", classes=CLASSES, n_permutations=1)
    means = by_subject(frame)
    right = (means["probability"] >= 0.5) == (means["label"] == "AD")
    for metric, own in (("accuracy", right), ("sensitivity", right[means["label"] == "AD"])):
        row = pick(scored, "subject", "all", metric)
        assert len(own) in (40, 20) and 0 < own.sum() < len(own)
        assert (row["low"], row["high"]) == pytest.approx(proportion_confint(own.sum(), len(own), method="wilson"))
    assert (scored["low"].dropna() <= scored["value"][scored["low"].notna()]).all()


def test_all_correct_is_not_certain():
    """Every resample of a perfect classification is perfect: the bootstrap gave an interval from 1 to 1."""
    frame = make_predictions(20)
    frame["probability"] = np.where(frame["label"] == "AD", 0.9, 0.1)
    pooled = score_predictions(frame, model="m", classes=CLASSES, n_permutations=99).query("fold == 'all'")
    assert (pooled["value"] == 1).all() and (pooled["high"] == 1).all()
    assert pooled["low"].between(0.4, 0.95).all()
    row = pick(pooled, "subject", "all", "accuracy")
    assert row["low"] == pytest.approx(proportion_confint(20, 20, method="wilson")[0])
    assert row["p"] == 1 / 100


@pytest.mark.parametrize("level", ["scan", "subject"])
def test_repeat_scans_do_not_narrow_an_interval(level):
    # Ten copies of every scan tell nothing new: intervals over scans would shrink by a factor of three.
    frame = make_predictions(30, tied=False).drop_duplicates("subject_id")
    copies = pd.concat([frame.assign(scan_id=frame["scan_id"] + f"_{n}") for n in range(10)])
    once, often = (score_predictions(rows, model="m", classes=CLASSES, n_permutations=1) for rows in (frame, copies))
    once, often = (scored[(scored["level"] == level) & (scored["fold"] == "all")] for scored in (once, often))
    for column in ("value", "low", "high"):
        np.testing.assert_allclose(once[column], often[column], atol=1e-12)


def test_unequal_numbers_of_scans_count_as_fewer_subjects():
    """Three patients with one scan and one with three are 36/12 = 3 subjects of 6 scans, of which three are right."""
    rows = [(0, f"s{k}", f"p{max(k - 2, 0) if k > 2 else 0}", "AD", 0.9 if k < 3 else 0.1) for k in range(6)]
    frame = pd.DataFrame(rows, columns=["fold", "scan_id", "subject_id", "label", "probability"])
    assert frame["subject_id"].value_counts().tolist() == [3, 1, 1, 1]
    row = pick(score_predictions(frame, model="m", classes=CLASSES, n_permutations=1), "scan", "all", "sensitivity")
    assert row["value"] == 0.5
    assert (row["low"], row["high"]) == pytest.approx(proportion_confint(1.5, 3, method="wilson"))


def test_a_subject_with_both_diagnoses_counts_once_for_each():
    frame = make_predictions(10)
    frame.loc[len(frame)] = [0, "extra", "p1", "CN", 0.0, 0.0, 0.2]
    both = by_subject(frame)
    assert list(both[both["subject_id"] == "p1"]["label"]) == ["AD", "CN"]
    assert len(both) == frame["subject_id"].nunique() + 1


def test_one_class_gives_nan_where_nothing_is_defined():
    frame = make_predictions(10).query("label == 'AD'")
    scored = score_predictions(frame, model="m", classes=CLASSES, n_permutations=10, seed=0)
    for metric in ("balanced_accuracy", "specificity", "auc", "auc_pooled"):
        assert np.isnan(pick(scored, "subject", "all", metric)[["value", "low", "high", "p"]].astype(float)).all()
    assert np.isfinite(pick(scored, "subject", "all", "sensitivity")[["value", "low", "high"]].astype(float)).all()
    band = roc_band(frame, model="m", classes=CLASSES, n_bootstrap=10)
    assert band[["tpr", "low", "high"]].isna().all(axis=None)


def test_roc_follows_scikit_learn_and_its_band_holds_it(tmp_path):
    frame = make_predictions(60, seed=2).assign(fold=0)
    band = roc_band(frame, model="m", classes=CLASSES, n_bootstrap=300, seed=0)
    write_table(band, tmp_path / "roc.tsv", ROC)
    means = by_subject(frame)
    assert len(means) < len(frame)
    fpr, tpr, _ = sk.roc_curve(means["label"] == "AD", means["probability"], drop_intermediate=False)
    for rate in np.unique(fpr[np.isclose(fpr * 100 % 1, 0)]):
        highest = tpr[fpr == rate].max()
        assert band.loc[np.isclose(band["fpr"], rate), "tpr"].iloc[0] == pytest.approx(highest, abs=1e-12)
    assert np.trapezoid(band["tpr"], band["fpr"]) == pytest.approx(sk.auc(fpr, tpr), abs=0.01)
    inside = (band["low"] <= band["tpr"] + 1e-12) & (band["tpr"] <= band["high"] + 1e-12)
    assert inside.mean() > 0.97
    assert (band["high"] - band["low"]).max() > 0.1


def test_the_area_below_the_curve_is_the_auc_within_folds():
    """Up to the lattice of 101 rates, on which each vertical step is a ramp of width 0.01."""
    frame = make_predictions(60, seed=2)
    frame["probability"] -= 0.3 * (frame["fold"] == 1)
    band = roc_band(frame, model="m", classes=CLASSES, n_bootstrap=100)
    scored = score_predictions(frame, model="m", classes=CLASSES, n_permutations=1)
    area = np.trapezoid(band["tpr"], band["fpr"])
    assert area == pytest.approx(pick(scored, "subject", "all", "auc")["value"], abs=0.005)
    assert area != pytest.approx(pick(scored, "subject", "all", "auc_pooled")["value"], abs=0.005)
    inside = (band["low"] <= band["tpr"] + 1e-12) & (band["tpr"] <= band["high"] + 1e-12)
    assert inside.mean() > 0.97


def test_a_curve_comes_from_the_folds_that_have_both_classes():
    frame = make_predictions(20).query("fold != 3 or label == 'AD'")
    how = {"model": "m", "classes": CLASSES, "n_bootstrap": 5}
    np.testing.assert_array_equal(roc_band(frame, **how)["tpr"], roc_band(frame.query("fold != 3"), **how)["tpr"])


def test_a_shift_of_one_fold_changes_the_pooled_auc_alone():
    """Logits of different networks have different zeros."""
    # One scan each: the mean of a subject's probabilities, and so its rank, may change with the zero.
    frame = make_predictions(40, tied=False).drop_duplicates("subject_id")
    logit = np.log(frame["probability"] / (1 - frame["probability"])) + 3.0 * (frame["fold"] == 1)
    shifted = frame.assign(probability=1 / (1 + np.exp(-logit)))
    scored = [score_predictions(own, model="m", classes=CLASSES, n_permutations=200) for own in (frame, shifted)]
    for level in ("subject", "scan"):
        within = [pick(own, level, "all", "auc")[["value", "low", "high", "p"]].astype(float) for own in scored]
        np.testing.assert_allclose(*within, rtol=1e-9)
        pooled = [pick(own, level, "all", "auc_pooled")["value"] for own in scored]
        assert pooled[0] > pooled[1] + 0.02
    pd.testing.assert_frame_equal(*(roc_band(own, model="m", classes=CLASSES) for own in (frame, shifted)))


def test_a_single_fold_has_the_figures_that_it_had_before_folds_counted(tmp_path):
    """Frozen from the version that pooled all folds (24 subjects, 32 scans, one network)."""
    frame = make_predictions(24, seed=5).assign(fold=0)
    scored = score_predictions(frame, model="m", classes=CLASSES, n_permutations=99, seed=3)
    before = {
        ("subject", "accuracy"): (0.8333333333333334, 0.641469293503009, 0.9332132367136706, 0.01),
        ("subject", "auc"): (0.888888888888889, 0.6739377835110443, 0.9653780776406515, 0.01),
        ("scan", "balanced_accuracy"): (0.8125, 0.602150866805689, 0.9089222759952194, np.nan),
        ("scan", "auc"): (0.861328125, 0.6484718746358683, 0.9502912796007512, np.nan),
    }
    for (level, metric), expected in before.items():
        found = pick(scored, level, "all", metric)[["value", "low", "high", "p"]].astype(float)
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    for level in ("subject", "scan"):
        both = [pick(scored, level, "all", name).drop("metric") for name in ("auc", "auc_pooled")]
        pd.testing.assert_series_equal(*both, check_names=False)


def test_confusion_counts_scans():
    frame = make_predictions()
    table = confusion(frame, CLASSES)
    expected = sk.confusion_matrix(frame["label"] == "AD", frame["probability"] >= 0.5, labels=[True, False])
    assert table.to_numpy().tolist() == expected.tolist()
    assert list(table.index) == list(table.columns) == ["AD", "CN"]


def test_the_seed_decides_p_and_the_band():
    frame = make_predictions(20)
    how = {"model": "m", "classes": CLASSES}
    first, again, other = (score_predictions(frame, n_permutations=2000, seed=seed, **how) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert (first["p"].dropna() != other["p"].dropna()).any()
    pd.testing.assert_frame_equal(first.drop(columns="p"), other.drop(columns="p"))
    bands = [roc_band(frame, n_bootstrap=50, seed=seed, **how) for seed in (1, 1, 2)]
    pd.testing.assert_frame_equal(bands[0], bands[1])
    assert (bands[0]["low"] != bands[2]["low"]).any()


def test_the_band_equals_a_loop_that_copies_the_drawn_subjects():
    means = by_subject(make_predictions(14, seed=3))
    band = roc_band(make_predictions(14, seed=3), model="m", classes=CLASSES, n_bootstrap=60, seed=7)
    curves, lattice = [], np.linspace(0, 1, 101)
    for draw in np.random.default_rng(7).integers(14, size=(60, 14)):
        copy = pd.concat([means[means["subject_id"] == np.unique(means["subject_id"])[index]] for index in draw])
        curves.append(within_folds(copy, lambda *own: np.interp(lattice, *sk.roc_curve(*own)[:2])))
    low, high = np.percentile(curves, [2.5, 97.5], axis=0)
    np.testing.assert_allclose(band[["low", "high"]], np.column_stack([low, high]), atol=1e-12)


def test_refuses_other_labels_and_no_rows():
    frame = make_predictions(6)
    with pytest.raises(InputError, match="outside the classes"):
        score_predictions(frame.assign(label="MCI"), model="m", classes=CLASSES)
    with pytest.raises(InputError, match="no predictions"):
        roc_band(frame.head(0), model="m", classes=CLASSES)


@pytest.mark.parametrize("missing", [np.nan, None, pd.NA])
@pytest.mark.parametrize("score", [score_predictions, roc_band])
def test_refuses_probabilities_that_are_not_numbers(missing, score):
    """A NaN is not below 0.5, so it would count as a correct rejection or a miss, and as the lowest of all scores."""
    frame = make_predictions(6)
    frame["probability"] = frame["probability"].astype(object)
    frame.loc[3, "probability"] = missing
    name = frame.loc[3, "scan_id"]
    with pytest.raises(InputError, match=rf"probability of scan {name} is not a number[\s\S]*1 of {len(frame)}"):
        score(frame, model="m", classes=CLASSES)


def test_batches_of_resamples_draw_what_one_draw_gives(monkeypatch):
    rng = np.random.default_rng(3)
    labels = rng.choice(["AD", "CN"], 60)
    probability = np.round(rng.uniform(size=60), 1)  # with ties
    predictions = pd.DataFrame({"fold": 0, "scan_id": [f"s{i}" for i in range(60)], "label": labels})
    predictions = predictions.assign(subject_id=[f"p{i // 2}" for i in range(60)], probability=probability)
    how = {"model": "cnn", "classes": {"positive": "AD", "negative": "CN"}, "n_bootstrap": 100, "seed": 4}
    band = roc_band(predictions, **how)
    monkeypatch.setattr("voxelwhy.evaluation.metrics.BATCH_VALUES", 7 * 60)
    pd.testing.assert_frame_equal(roc_band(predictions, **how), band, check_exact=True)


def test_weighted_auc_is_that_of_scikit_learn(rng):
    scores, positive = rng.integers(0, 12, 50) / 12, rng.random(50) < 0.4
    weights = rng.integers(0, 4, (20, 50))
    expected = [roc_auc_score(positive, scores, sample_weight=row) for row in weights]
    np.testing.assert_allclose(weighted_auc(scores, positive, weights), expected, atol=1e-12)
    with pytest.raises(InputError, match="a score is not a number"):
        weighted_auc(np.where(np.arange(50) == 7, np.nan, scores), positive, weights)
