"""Verdicts on the planted truth: ranks among networks trained on shuffled diagnoses, over all methods."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t
from sklearn.metrics import average_precision_score

from voxelwhy.evaluation import truth as tr
from voxelwhy.io.tables import TRUTH, TRUTH_DRAWS, write_table

N = 20
#: The first four of 20 regions have lost volume.
LOST = np.arange(N) < 4


@pytest.fixture
def planted():
    labels = np.arange(1, N + 1).reshape(N, 1, 1)
    regions = pd.DataFrame({"region_id": labels.ravel(), "region": [f"r{i}" for i in range(N)]})
    change = np.where(LOST, -0.3, 0.0).reshape(N, 1, 1)
    return tr.PlantedRegions(change, labels, np.ones(change.shape, bool), regions)


def score(planted, enrichment, shuffled):
    """The table of truth by method, and the table of draws."""
    maps = {method: np.reshape(values, (N, 1, 1)) for method, values in enrichment.items()}
    mask = np.ones((N, 1, 1), bool)
    frame, draws = tr.score_truth(maps, enrichment, planted, mask, n_permutations=99, shuffled=shuffled)
    return frame.set_index("method"), draws


def ranked(*places):
    """An enrichment in which the lost regions have these places, 1 for the largest."""
    others = [place for place in range(1, N + 1) if place not in places]
    return 2.0 - np.array([*places, *others]) / N


def auprc(values):
    return average_precision_score(LOST, values)


SECOND_BEST, BEST = ranked(1, 2, 3, 5), ranked(1, 2, 3, 4)


def test_nineteen_draws_that_are_all_worse_are_a_detection_and_eighteen_are_none(planted, rng, tmp_path):
    """By hand: p is 1/20 with 19 draws and 1/19 with 18, and only 19 draws can give a verdict."""
    draws = np.array([ranked(*rng.permutation(np.arange(5, 21))[:4]) for _ in range(19)])
    frame, drawn = score(planted, {"m": BEST}, {"m": draws})
    write_table(frame.reset_index(), tmp_path / "truth.tsv", TRUTH)
    write_table(drawn, tmp_path / "draws.tsv", TRUTH_DRAWS)
    row, values = frame.loc["m"], [auprc(draw) for draw in draws]
    assert drawn["draw"].tolist() == list(range(1, 20))
    assert drawn["region_auprc"].tolist() == pytest.approx(values)
    figures = [np.mean(values), np.std(values, ddof=1), min(values), max(values)]
    names = ["shuffled_auprc", "shuffled_sd", "shuffled_low", "shuffled_high"]
    assert row[names].tolist() == pytest.approx(figures)
    together = [1.0, *values]
    assert row["z"] == pytest.approx((1 - np.mean(together)) / np.std(together, ddof=1))
    assert (row["n_shuffled"], row["p"], row["p_family"], row["verdict"]) == (19, 1 / 20, 1 / 20, "detected")
    fewer = score(planted, {"m": BEST}, {"m": draws[:18]})[0].loc["m"]
    assert (fewer["n_shuffled"], fewer["p_family"], fewer["verdict"]) == (18, 1 / 19, "no verdict")
    assert fewer[names].notna().all()


def test_one_draw_that_is_as_good_is_enough_not_to_detect(planted, rng):
    draws = np.array([ranked(*rng.permutation(np.arange(5, 21))[:4]) for _ in range(19)])
    draws[7] = SECOND_BEST
    frame, _ = score(planted, {"m": SECOND_BEST}, {"m": draws})
    assert (frame.loc["m", "p_family"], frame.loc["m", "verdict"]) == (2 / 20, "not detected")
    assert score(planted, {"m": BEST}, {"m": draws})[0].loc["m", "verdict"] == "detected"


def test_four_draws_give_a_range_and_no_verdict_where_student_was_sure(planted):
    """The old rule: t of one more value with 3 degrees of freedom. Nothing below 1/5 is known from four draws."""
    draws = np.array([ranked(2, 4, 6, 9), ranked(2, 4, 6, 10), ranked(2, 4, 6, 11), ranked(2, 4, 6, 12)])
    values = np.array([auprc(draw) for draw in draws])
    p_by_t = t.sf((1 - values.mean()) / (values.std(ddof=1) * np.sqrt(1 + 1 / 4)), 3)
    row = score(planted, {"m": BEST}, {"m": draws})[0].loc["m"]
    assert p_by_t < 0.001
    assert (row["p"], row["verdict"]) == (0.2, "no verdict")
    assert (row["shuffled_low"], row["shuffled_high"]) == pytest.approx((values.min(), values.max()))


def test_what_a_method_likes_whatever_was_learnt_is_not_detected(planted, rng):
    """Permuted regions take a method's liking for a detection; networks of shuffled diagnoses have the same liking."""
    liking = np.where(LOST, 1.5, 1.0)
    draws = liking + rng.normal(0, 0.01, (19, N))
    row = score(planted, {"m": liking + rng.normal(0, 0.01, N)}, {"m": draws})[0].loc["m"]
    assert row["p_regions"] < 0.05 and row["shuffled_auprc"] == 1
    assert (row["p"], row["verdict"]) == (1, "not detected")


def test_verdicts_are_corrected_over_the_methods(planted):
    """By a loop over labellings: the largest z of each, over all methods, is the reference of every method."""
    rng, methods = np.random.default_rng(0), [f"m{k}" for k in range(6)]
    draws = {method: rng.random((19, N)) for method in methods}
    observed = {m: rng.random(N) + (0.3 + 0.5 * (m == "m5")) * LOST for m in methods}
    frame, drawn = score(planted, observed, draws)
    values = np.array([[auprc(observed[m])] + [auprc(draw) for draw in draws[m]] for m in methods])
    z = (values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, ddof=1, keepdims=True)
    largest = [max(z[m, k] for m in range(6)) for k in range(20)]
    for number, method in enumerate(methods):
        own = frame.loc[method]
        assert own["z"] == pytest.approx(z[number, 0])
        assert own["p"] == sum(value >= values[number, 0] for value in values[number]) / 20
        assert own["p_family"] == pytest.approx((1 + sum(v >= z[number, 0] for v in largest[1:])) / 20)
        assert own["verdict"] == ("detected" if own["p_family"] <= 0.05 else "not detected")
        assert drawn.loc[drawn["method"] == method, "region_auprc"].tolist() == pytest.approx(
            values[number, 1:].tolist()
        )
    assert frame.loc["m5", "verdict"] == "detected"
    assert ((frame["p"] <= 0.05) & (frame["verdict"] == "not detected")).any()


def test_a_region_without_enrichment_in_a_draw_comes_last_there(planted):
    draw = np.where(LOST, np.nan, 1.0)
    _, drawn = score(planted, {"m": BEST}, {"m": draw[None]})
    assert drawn["region_auprc"].item() == pytest.approx(auprc(np.nan_to_num(draw, nan=0.0)))
