"""The permutation test against chance, compared with a list of all permutations and with cases worked by hand."""

from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from voxelwhy.evaluation.label_permutations import permutation_p, permuted_labels
from voxelwhy.evaluation.metrics import by_subject, score_predictions

CLASSES = {"positive": "AD", "negative": "CN"}


def table(rows):
    return pd.DataFrame(rows, columns=["fold", "subject_id", "label", "probability"])


def scores(truth, probability, fold):
    guess = probability >= 0.5
    aucs = [(sk.roc_auc_score(truth[own], probability[own]), truth[own]) for own in (fold == 0, fold == 1)]
    return [
        sk.accuracy_score(truth, guess),
        sk.balanced_accuracy_score(truth, guess),
        np.average([auc for auc, _ in aucs], weights=[own.sum() * (~own).sum() for _, own in aucs]),
        sk.roc_auc_score(truth, probability),
    ]


@pytest.fixture
def rows():
    """Two folds of four subjects, of whom p7 has scans of both classes; some probabilities tied."""
    first = [("p0", "AD", 0.9), ("p1", "CN", 0.4), ("p2", "AD", 0.6), ("p3", "CN", 0.6)]
    second = [("p4", "AD", 0.7), ("p5", "CN", 0.2), ("p6", "CN", 0.4), ("p7", "AD", 0.8), ("p7", "CN", 0.6)]
    return table([(fold, *row) for fold, own in enumerate((first, second)) for row in own])


def every_labelling(rows):
    """All labellings: subjects of one class exchange labels in their fold, p7 may exchange its two."""
    truth = (rows["label"] == "AD").to_numpy()
    folds = [np.flatnonzero((rows["fold"] == fold) & (rows["subject_id"] != "p7")) for fold in (0, 1)]
    both = np.flatnonzero(rows["subject_id"] == "p7")
    for first, second, swapped in product(*(permutations(own) for own in folds), (False, True)):
        drawn = truth.copy()
        for own, order in zip(folds, (first, second), strict=True):
            drawn[own] = truth[list(order)]
        drawn[both] ^= swapped
        yield drawn


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_p_is_the_share_of_all_permutations(rows, shift):
    """With another zero in one fold, the AUC within folds and the pooled one have p of their own."""
    if shift:
        rows["probability"] = (rows["probability"] - shift * (rows["fold"] == 1)).mask(rows["subject_id"] == "p4", 0)
    probability, fold = rows["probability"].to_numpy(), rows["fold"].to_numpy()
    truth = (rows["label"] == "AD").to_numpy()
    null = np.array([scores(drawn, probability, fold) for drawn in every_labelling(rows)])
    assert len(null) == 24 * 6 * 2
    exact = (null >= np.array(scores(truth, probability, fold)) - 1e-12).mean(axis=0)
    assert (exact[2] != exact[3]) == (shift > 0)
    found = list(permutation_p(rows, CLASSES, n_permutations=20_000, seed=1).values())
    for own, expected in zip(found, exact, strict=True):
        assert own == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 20_000))


def test_labels_stay_in_their_fold_and_with_their_subject(rows):
    truth = (rows["label"] == "AD").to_numpy()
    several = pd.concat([rows, rows.assign(probability=0.5)], ignore_index=True)  # two scans each
    drawn = next(permuted_labels(several["subject_id"], np.tile(truth, 2), several["fold"], 500, 3))
    first, second = drawn[:, :9], drawn[:, 9:]
    assert (first == second).all()
    assert (first[:, rows["fold"] == 0].sum(axis=1) == 2).all() and (first[:, rows["fold"] == 1].sum(axis=1) == 2).all()
    assert (first[:, 7] != first[:, 8]).all()
    assert {tuple(row) for row in first} == {tuple(row) for row in every_labelling(rows)}


def test_models_of_several_folds_share_the_labels_of_a_subject(rows):
    """On another cohort each of two models classifies each subject, which is one unit all the same."""
    one = rows[rows["fold"] == 0]
    both = pd.concat([one, one.assign(fold=1)], ignore_index=True)
    how = {"n_permutations": 400, "seed": 2}
    assert permutation_p(both, CLASSES, **how) == permutation_p(one, CLASSES, **how)


def test_folds_that_differ_in_calibration_are_no_evidence():
    """A network that outputs the share of patients of its training fold knows nothing about a subject.

    Folds with many patients get 0.8, those with few 0.2: the pooled AUC is 0.9, and the percentile interval over
    subjects lies far above 0.5. Within folds all subjects are tied: the AUC is 0.5, and every permutation reaches it.
    """
    rows = [
        (fold, f"p{fold}_{k}", "AD" if (k > 0) == (fold == 0) else "CN", 0.8 - 0.6 * fold)
        for fold in (0, 1)
        for k in range(10)
    ]
    frame = table(rows).assign(scan_id=lambda own: own["subject_id"])
    scored = score_predictions(frame, model="m", classes=CLASSES, n_permutations=200)
    pooled = scored.query("level == 'subject' and fold == 'all'").set_index("metric")
    assert pooled.loc["auc_pooled", "value"] == pytest.approx(0.9) and pooled.loc["auc_pooled", "low"] > 0.5
    assert pooled.loc["auc", "value"] == 0.5 and pooled.loc["auc", "low"] < 0.3
    rng, truth = np.random.default_rng(0), (frame["label"] == "AD").to_numpy()
    drawn = [rng.integers(20, size=20) for _ in range(300)]
    resampled = [sk.roc_auc_score(truth[own], frame["probability"].to_numpy()[own]) for own in drawn]
    assert np.percentile(resampled, 2.5) > 0.7  # what the study called better than chance before
    assert pooled.loc[["accuracy", "balanced_accuracy", "auc", "auc_pooled"], "p"].tolist() == [1, 1, 1, 1]


def test_folds_of_one_class_have_no_pairs_and_no_p():
    frame = table([(k // 4, f"p{k}", "AD" if k < 4 else "CN", 0.1 * k) for k in range(8)])
    p = permutation_p(frame, CLASSES, n_permutations=9)
    assert np.isnan(p.pop("auc")) and set(p.values()) == {1.0}


def test_p_is_never_zero_and_ties_count():
    perfect = table([(0, f"p{k}", "AD" if k < 9 else "CN", 0.9 if k < 9 else 0.1) for k in range(18)])
    assert permutation_p(perfect, CLASSES, n_permutations=99)["auc"] == 1 / 100
    constant = permutation_p(perfect.assign(probability=0.7), CLASSES, n_permutations=99)
    assert set(constant.values()) == {1.0}
    one_class = permutation_p(perfect[perfect["label"] == "AD"], CLASSES, n_permutations=9)
    assert np.isnan(list(one_class.values())).all()


def test_scans_are_averaged_before_they_are_permuted():
    scans = table([(0, f"p{k // 3}", "AD" if k < 15 else "CN", 0.1 + 0.025 * k) for k in range(30)])
    scans = scans.assign(scan_id=[f"s{k}" for k in range(30)])
    scored = score_predictions(scans, model="m", classes=CLASSES, n_permutations=300, seed=4)
    own = scored.query("level == 'subject' and fold == 'all'").set_index("metric")["p"]
    expected = permutation_p(by_subject(scans), CLASSES, n_permutations=300, seed=4)
    assert own[list(expected)].to_dict() == expected
    others = scored.query("level == 'scan' or fold != 'all' or metric in ('sensitivity', 'specificity')")
    assert others["p"].isna().all()


def test_batches_draw_as_many_labellings(rows, monkeypatch):
    monkeypatch.setattr("voxelwhy.evaluation.label_permutations.BATCH_VALUES", 7 * len(rows))
    drawn = list(permuted_labels(rows["subject_id"], (rows["label"] == "AD").to_numpy(), rows["fold"], 20, 0))
    assert [len(batch) for batch in drawn] == [7, 7, 6]
