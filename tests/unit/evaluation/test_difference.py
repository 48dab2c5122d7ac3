"""The network compared with the baseline: published tables, all sign flips, and leaving out one subject."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar

from voxelwhy.errors import InputError
from voxelwhy.evaluation.difference import compare_models, sign_flip_p
from voxelwhy.evaluation.metrics import score_predictions
from voxelwhy.io.tables import DIFFERENCES, write_table

CLASSES = {"positive": "AD", "negative": "CN"}


def predictions(probability, truth, fold=0, subjects=None):
    names = [f"p{k:03d}" for k in (range(len(truth)) if subjects is None else subjects)]
    scans = [f"s{k:03d}" for k in range(len(truth))]
    frame = pd.DataFrame({"fold": fold, "scan_id": scans, "subject_id": names})
    labels = np.where(truth, "AD", "CN")
    return frame.assign(label=labels, logit_negative=0.0, logit_positive=0.0, probability=probability)


def compare(*tables, **options):
    found = DIFFERENCES.validate(compare_models(*tables, classes=CLASSES, **options)[list(DIFFERENCES.columns)])
    return found.set_index("metric")


def test_accuracy_has_the_published_interval_and_mcnemars_p(tmp_path):
    """Cavo 2012 in Fagerland et al. 2017: 59 pairs right both times, 6 and 16 once, 80 never."""
    right = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], (59, 6, 16, 80), axis=0).astype(bool)
    truth = np.arange(161) % 2 == 0
    tables = [predictions(np.where(right[:, k] == truth, 0.7, 0.3), truth) for k in (0, 1)]
    row = compare(*tables).loc["accuracy"]
    assert (row["network"], row["baseline"]) == pytest.approx((65 / 161, 75 / 161))
    assert (row["difference"], row["low"], row["high"]) == pytest.approx((-0.0621, -0.1186, -0.0046), abs=5e-5)
    assert row["p"] == pytest.approx(mcnemar([[59, 6], [16, 80]], exact=True).pvalue)
    assert row["p"] == pytest.approx(2 * stats.binom.cdf(6, 22, 0.5))
    assert (row["test"], row["n_subjects"]) == ("exact McNemar", 161)
    write_table(compare_models(*tables, classes=CLASSES), tmp_path / "difference.tsv", DIFFERENCES)


def test_auc_has_the_p_of_delong_by_leaving_out_subjects(rng):
    truth = np.arange(36) < 18
    scores = stats.norm.cdf(rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 36).T + truth * [[1.4], [0.5]])
    row = compare(*(predictions(own, truth) for own in scores)).loc["auc"]
    moves = []
    for side in (truth, ~truth):
        out = [[roc_auc_score(np.delete(truth, k), np.delete(own, k)) for k in np.flatnonzero(side)] for own in scores]
        moves.append(np.subtract(*out) - (roc_auc_score(truth, scores[0]) - roc_auc_score(truth, scores[1])))
    variance = sum((len(own) - 1) / len(own) * own @ own for own in moves)
    t = row["difference"] / np.sqrt(variance)
    assert row["difference"] == pytest.approx(roc_auc_score(truth, scores[0]) - roc_auc_score(truth, scores[1]))
    assert row["p"] == pytest.approx(2 * stats.t.sf(abs(t), 34))
    half = stats.norm.ppf(0.975) * np.sqrt(variance)
    assert row["low"] < row["difference"] < row["high"]
    assert row["high"] - row["low"] == pytest.approx(2 * half, rel=0.15)  # near Wald's, away from 1


def test_two_perfect_models_do_not_differ_but_are_not_certain_to_be_equal():
    truth = np.arange(20) < 10
    found = compare(*(predictions(np.where(truth, high, 0.1), truth) for high in (0.8, 0.9)))
    for _, row in found.iterrows():
        assert (row["difference"], row["p"]) == (0, 1)
        assert -0.5 < row["low"] < 0 < row["high"] < 0.5


def test_equal_predictions_of_imperfect_models_have_p_1(rng):
    truth = np.arange(20) < 10
    found = compare(*[predictions(stats.norm.cdf(rng.normal(size=20) + truth), truth)] * 2)
    assert (found["p"] == 1).all() and (found["difference"] == 0).all()


def test_a_constant_baseline_has_no_variance_and_the_test_is_undefined():
    truth = np.arange(20) < 10
    row = compare(predictions(np.where(truth, 0.8, 0.1), truth), predictions(np.full(20, 0.4), truth)).loc["auc"]
    assert row["difference"] == 0.5 and np.isnan(row["p"]) and row["low"] > 0


def test_several_models_on_another_cohort_count_subjects(rng):
    """Classified by three models each, five subjects are five: the signs of their sums are flipped."""
    truth = np.array([True, True, False, False, False])
    tables = [[predictions(rng.random(5), truth, fold) for fold in range(3)] for _ in range(2)]
    network, baseline = (pd.concat(own, ignore_index=True) for own in tables)
    row = compare(network, baseline, n_permutations=20_000).loc["accuracy"]
    right = [(own.sort_values(["subject_id", "fold"])["probability"] >= 0.5).to_numpy() for own in (network, baseline)]
    sums = np.subtract(*[(own.reshape(5, 3) == truth[:, None]).sum(axis=1) for own in right])
    flipped = [abs(np.array(signs) @ sums) >= abs(sums.sum()) for signs in product((1, -1), repeat=5)]
    assert 0.05 < np.mean(flipped) < 0.95  # something is tested
    assert row["p"] == pytest.approx(np.mean(flipped), abs=4 * np.sqrt(0.25 / 20_000))
    assert (row["test"], row["n_subjects"]) == ("sign flips of subjects", 5)
    scored = [score_predictions(own, model="m", classes=CLASSES, n_permutations=1) for own in (network, baseline)]
    values = [
        own.query("level == 'subject' and fold == 'all' and metric == 'accuracy'")["value"].item() for own in scored
    ]
    assert row["difference"] == pytest.approx(values[0] - values[1])


@pytest.mark.parametrize("counts", [(3, 9), (0, 6), (4, 4), (1, 0), (0, 0)])
def test_sign_flips_of_single_classifications_are_mcnemars_test(counts):
    """(0, 6) is the textbook case: six discordant pairs in one direction, two-sided p = 2/64."""
    values = np.repeat([1, -1, 0], (*counts, 5))
    exact = mcnemar([[0, counts[0]], [counts[1], 0]], exact=True).pvalue if sum(counts) else 1.0
    assert sign_flip_p(values, 20_000, 0) == pytest.approx(exact, abs=4 * np.sqrt(0.25 / 20_000))
    if counts == (0, 6):
        assert exact == pytest.approx(2 / 64)


def test_repeated_scans_are_one_subject(rng):
    """Nine scans of a subject are averaged; as nine they would make the difference significant."""
    truth = np.arange(8) < 4
    single = (
        predictions(np.where(truth, 0.8, 0.2), truth),
        predictions(np.where(truth == (np.arange(8) > 2), 0.8, 0.2), truth),
    )
    many = [
        pd.concat([own.assign(scan_id=own["scan_id"] + f"_{k}") for k in range(9)], ignore_index=True) for own in single
    ]
    pd.testing.assert_frame_equal(compare(*single), compare(*many))
    as_scans = [own.assign(subject_id=own["scan_id"]) for own in many]
    assert compare(*as_scans).loc["accuracy", "p"] < 0.001 < compare(*single).loc["accuracy", "p"]


def test_refuses_other_scans():
    truth = np.arange(6) < 3
    whole = predictions(np.linspace(0, 1, 6), truth)
    with pytest.raises(InputError, match=r"did not classify the same scans[\s\S]*s005 in fold 0"):
        compare_models(whole, whole.iloc[:5], classes=CLASSES)
    with pytest.raises(InputError, match="probability of scan s002 is not a number"):
        compare_models(
            whole, whole.assign(probability=whole["probability"].where(whole["scan_id"] != "s002")), classes=CLASSES
        )
