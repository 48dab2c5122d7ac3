"""Tests against shuffled diagnoses: by hand, and the rate at which they reject where nothing is to be found."""

import itertools

import numpy as np
import pytest

from voxelwhy.errors import ShapeError
from voxelwhy.evaluation.chance import compare_with_draws, verdicts

NAN = np.nan


def test_p_is_the_share_of_labellings_at_least_as_good():
    """By hand: 3 of 4 labellings reach 0.5 (a tie counts), 1 of 4 reaches 0.9."""
    found = compare_with_draws([0.5, 0.9], [[0.5, 0.1], [0.7, 0.2], [0.3, 0.3]])
    assert found["p"].tolist() == [0.75, 0.25]


def test_the_family_is_judged_by_the_best_method_of_each_draw():
    """Three methods, of which each draw favours another one: alone each is the best of four, together none is."""
    draws = np.array([[3.0, 0, 0], [0, 3, 0], [0, 0, 3]])
    found = compare_with_draws([3.5, 3.5, 3.5], draws)
    assert found["p"].tolist() == [0.25] * 3
    z = (np.vstack([[3.5] * 3, draws]) - 1.625) / np.std([3.5, 3, 0, 0], ddof=1)
    assert found["z"].tolist() == pytest.approx(z[0].tolist())
    assert found["p_family"].tolist() == [0.25] * 3
    # The third method's best labelling is a draw, and by z it stands out more than the others' observed values do.
    weaker = compare_with_draws([3.5, 3.5, 1.0], draws)
    assert weaker["p"].tolist() == [0.25, 0.25, 0.5]
    assert weaker["p_family"].tolist() == [0.5, 0.5, 1.0]


def test_student_s_t_calls_this_detected_and_ranks_do_not():
    """Four draws close together: t with 3 degrees of freedom gives p of 0.0005, but nothing below 1/5 is known."""
    from scipy.stats import t

    draws = np.array([0.30, 0.31, 0.32, 0.33])
    p_by_t = t.sf((0.5 - draws.mean()) / (draws.std(ddof=1) * np.sqrt(1 + 1 / 4)), 3)
    found = compare_with_draws([0.5], draws[:, None])
    assert p_by_t < 0.001
    assert found["p"].item() == found["p_family"].item() == 0.2
    assert verdicts(found["p_family"], 4) == ["no verdict"]


def test_a_verdict_needs_nineteen_draws():
    assert verdicts([1 / 19, 0.05, NAN], 18) == ["no verdict"] * 3
    assert verdicts([0.05, 0.1, NAN], 19) == ["detected", "not detected", "no verdict"]


def test_a_method_with_the_same_map_for_all_weights_is_never_detected():
    found = compare_with_draws([0.4, 0.9], np.column_stack([np.full(19, 0.4), np.linspace(0, 0.8, 19)]))
    assert found["z"][0] == 0 and found["p"][0] == 1 and found["p_family"][0] == 1
    assert found["p_family"][1] == 0.05


def test_what_is_not_defined_has_no_p_and_does_not_affect_the_others():
    draws = np.column_stack([np.linspace(0, 0.8, 19), np.full(19, NAN)])
    found = compare_with_draws([0.9, 0.3], draws)
    assert found["p_family"][0] == 0.05 and found.loc[1].isna().all()
    assert compare_with_draws([0.9], np.empty((0, 1))).isna().all(axis=None)


def test_draws_of_another_shape_are_refused():
    with pytest.raises(ShapeError, match=r"\(draws, 2\) is expected"):
        compare_with_draws([1, 2], np.zeros((19, 3)))


def test_every_labelling_as_the_observed_one_rejects_exactly_at_the_rate():
    """Each of 20 labellings takes its turn as the observed one: p of at most 0.05 for exactly one of them by method,
    and for exactly one in the family, however the scores are distributed and correlated."""
    rng = np.random.default_rng(4)
    scores = np.exp(rng.normal(size=(20, 1)) + rng.normal(size=(20, 5)))
    found = [compare_with_draws(scores[k], np.delete(scores, k, axis=0)) for k in range(20)]
    assert sum((f["p"] <= 0.05).to_numpy().astype(int) for f in found).tolist() == [1] * 5
    assert sum((f["p_family"].min() <= 0.05) for f in found) == 1


def test_permutations_of_a_small_group_give_the_p_of_all_of_them():
    """Against enumeration: difference of means of 3 and 3 numbers, over all 20 labellings."""
    values = np.array([1.0, 2, 4, 7, 8, 9])
    labellings = list(itertools.combinations(range(6), 3))
    differences = [values[list(own)].mean() - np.delete(values, own).mean() for own in labellings]
    observed = labellings.index((3, 4, 5))
    found = compare_with_draws([differences[observed]], np.delete(differences, observed)[:, None])
    assert found["p"].item() == 1 / 20
