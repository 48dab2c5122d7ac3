"""The planted truth: AUPRC against scikit-learn, the permutation null, and how often noise is found."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr, ttest_ind
from sklearn.metrics import average_precision_score
from statsmodels.stats.multitest import multipletests

from voxelwhy.errors import InputError, ShapeError
from voxelwhy.evaluation import truth as tr
from voxelwhy.io.images import Grid
from voxelwhy.io.tables import TRUTH, write_table

N_PAIRS, N_SINGLE, VOXELS = 30, 4, 8


@pytest.fixture(scope="module")
def atlas():
    """64 regions of 8 voxels in a row of blocks; 30 pairs and 4 without a partner; 64 voxels of background."""
    n = 2 * N_PAIRS + N_SINGLE
    labels = np.concatenate([np.repeat(np.arange(1, n + 1), VOXELS), np.zeros(64, int)]).reshape(8, 8, -1)
    names = [f"R{i // 2}_{'LR'[i % 2]}" for i in range(2 * N_PAIRS)] + [f"Vermis_{i}" for i in range(N_SINGLE)]
    return labels, pd.DataFrame({"region_id": range(1, n + 1), "region": names})


@pytest.fixture(scope="module")
def log_jacobian(atlas):
    # Five pairs have lost a quarter, one region is only grazed: 1 of 8 voxels at -0.1 is a mean of 0.0125.
    change = np.where((atlas[0] >= 1) & (atlas[0] <= 10), -0.29, 0.0)
    change[tuple(np.argwhere(atlas[0] == 20)[0])] = -0.1
    return change


def score(maps, log_jacobian, atlas, **options):
    mask = np.ones(log_jacobian.shape, bool)
    return tr.score_truth(maps, log_jacobian, mask, *atlas, **({"n_permutations": 500} | options))


def test_figures_equal_scikit_learn_and_scipy(atlas, log_jacobian, tmp_path):
    relevance = np.random.default_rng(0).normal(size=log_jacobian.shape).round(1) + 2 * np.abs(log_jacobian)
    frame = score({"m": relevance}, log_jacobian, atlas)
    write_table(frame, tmp_path / "truth.tsv", TRUTH)
    row, positive, change = frame.iloc[0], np.maximum(relevance, 0), np.abs(log_jacobian)
    inside = change > 0.02
    means = [[values[atlas[0] == i].mean() for i in atlas[1]["region_id"]] for values in (positive, change)]
    means = np.round(means, 12)
    regional = means[1] > 0.02
    assert regional.sum() == row["n_truth_regions"] == 10
    assert row["voxel_auprc"] == pytest.approx(average_precision_score(inside.ravel(), positive.ravel()), abs=1e-12)
    assert row["region_auprc"] == pytest.approx(average_precision_score(regional, means[0]), abs=1e-12)
    assert row["region_spearman"] == pytest.approx(spearmanr(*means).statistic, abs=1e-12)
    assert row["share_inside"] == pytest.approx(positive[inside].sum() / positive.sum())
    assert row["voxel_chance"] == row["share_chance"] == pytest.approx(81 / 576)


def test_average_precision_of_many_truths_equals_scikit_learn_with_ties():
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 4, 25).astype(float)
    truths = rng.random((50, 25)) < 0.3
    truths[:, 0] = True
    expected = [average_precision_score(truth, scores) for truth in truths]
    np.testing.assert_allclose(tr.average_precision(scores, truths), expected, atol=1e-12)


def test_left_and_right_move_together_and_singles_stay_among_themselves(atlas):
    names = atlas[1]["region"]
    orders = tr.permute_regions(names, 200, np.random.default_rng(0))
    assert (np.sort(orders, axis=1) == np.arange(len(names))).all()
    left, right = np.arange(0, 2 * N_PAIRS, 2), np.arange(1, 2 * N_PAIRS, 2)
    assert (orders[:, right] == orders[:, left] + 1).all()
    assert (orders[:, 2 * N_PAIRS :] >= 2 * N_PAIRS).all()
    # Every region comes to every place of its kind: about 200 / 30 times.
    assert len(np.unique(orders[:, 0])) > 0.9 * N_PAIRS
    assert set(orders[:, -1]) == set(range(2 * N_PAIRS, len(names)))


def test_merged_sides_are_single_regions_that_change_places_among_themselves(atlas, log_jacobian):
    """As with atlas.merge_sides: no pair is left, and the truth counts both sides once."""
    labels, table = atlas
    # Odd numbers are the left ones of the 30 pairs.
    merged = np.where((labels <= 2 * N_PAIRS) & (labels > 0) & (labels % 2 == 0), labels - 1, labels)
    kept = table[table["region_id"].isin(np.unique(merged))]
    kept = kept.assign(region=kept["region"].str.removesuffix("_L"))
    row = score({"m": np.abs(log_jacobian)}, log_jacobian, (merged, kept)).iloc[0]
    assert row["n_regions"] == N_PAIRS + N_SINGLE and row["n_truth_regions"] == 5
    assert row["region_auprc"] == 1 and row["found"]
    orders = tr.permute_regions(kept["region"], 50, np.random.default_rng(0))
    assert (np.sort(orders, axis=1) == np.arange(len(kept))).all() and len(np.unique(orders, axis=0)) > 1


def test_the_null_equals_a_loop_over_permutations(atlas, log_jacobian):
    relevance = np.random.default_rng(5).random(log_jacobian.shape) + np.abs(log_jacobian)
    row = score({"m": relevance}, log_jacobian, atlas, n_permutations=300, seed=4).iloc[0]
    means = np.array([relevance[atlas[0] == i].mean() for i in atlas[1]["region_id"]])
    regional = np.arange(64) < 10
    orders = tr.permute_regions(atlas[1]["region"], 300, np.random.default_rng(4))
    null = np.array([average_precision_score(regional[order], means) for order in orders])
    assert row["null_95"] == pytest.approx(np.percentile(null, 95), abs=1e-12)
    assert row["region_chance"] == pytest.approx(null.mean(), abs=1e-12)
    assert row["p"] == (1 + (null >= row["region_auprc"] - 1e-12).sum()) / 301


def test_the_truth_itself_is_found_and_its_opposite_is_not(atlas, log_jacobian):
    maps = {"truth": np.abs(log_jacobian), "opposite": 1 - np.abs(log_jacobian), "negative": -np.abs(log_jacobian)}
    frame = score(maps, log_jacobian, atlas, n_permutations=2000).set_index("method")
    assert frame["found"].to_dict() == {"truth": True, "opposite": False, "negative": False}
    assert frame.loc["truth", ["region_auprc", "voxel_auprc", "share_inside"]].tolist() == [1, 1, 1]
    assert frame.loc["truth", "p"] == 1 / 2001
    # Without any positive relevance every region is tied: the prevalence is what remains.
    assert frame.loc["negative", "region_auprc"] == pytest.approx(10 / 64)
    assert np.isnan(frame.loc["negative", "share_inside"])


def test_holm_over_methods(atlas, log_jacobian):
    rng = np.random.default_rng(2)
    maps = {f"m{i}": rng.random(log_jacobian.shape) + 0.25 * i * np.abs(log_jacobian) for i in range(5)}
    frame = score(maps, log_jacobian, atlas)
    np.testing.assert_allclose(frame["p_holm"], multipletests(frame["p"], method="holm")[1])
    assert (frame["p_holm"] > frame["p"]).any()
    assert (frame["found"] == ((frame["p_holm"] < 0.05) & (frame["region_auprc"] > frame["null_95"]))).all()


@pytest.mark.slow
def test_noise_is_found_at_no_more_than_the_nominal_rate(atlas, log_jacobian):
    # Noise alike on both sides, as anatomy makes it: with left and right permuted singly it would be found too often.
    rng = np.random.default_rng(3)
    names_alone = atlas[1].assign(region=[f"alone_{i}" for i in range(len(atlas[1]))])
    p, p_alone, families = [], [], 0
    for seed in range(30):
        values = [np.append(np.repeat(rng.random(N_PAIRS), 2), rng.random(N_SINGLE)) for _ in range(8)]
        maps = {f"noise_{i}": np.append(0, by_region)[atlas[0]] for i, by_region in enumerate(values)}
        frame = score(maps, log_jacobian, atlas, n_permutations=200, seed=seed)
        p.extend(frame["p"])
        families += frame["found"].any()
        if seed < 15:
            p_alone.extend(score(maps, log_jacobian, (atlas[0], names_alone), n_permutations=200, seed=seed)["p"])
    # 5 % nominal; three standard deviations are 4.2 points for 240 maps and 12 points for 30 families of methods.
    assert np.mean(np.array(p) < 0.05) <= 0.092
    assert families / 30 <= 0.17
    assert np.mean(np.array(p_alone) < 0.05) > 0.12


def test_a_constant_map_ranks_no_region(atlas, log_jacobian):
    # Regions of different size, whose sums of 0.1 differ in the last bit after division.
    labels = np.where(np.arange(576).reshape(8, 8, 9) % 3 == 1, 0, atlas[0])
    row = score({"m": np.full(log_jacobian.shape, 0.1)}, log_jacobian, (labels, atlas[1])).iloc[0]
    assert row["region_auprc"] == pytest.approx(row["n_truth_regions"] / row["n_regions"])
    assert row["p"] == 1


def test_nothing_planted_is_not_defined_and_not_found(atlas, log_jacobian):
    row = score({"m": np.abs(log_jacobian)}, 0 * log_jacobian, atlas).iloc[0]
    assert np.isnan(row[["region_auprc", "p", "p_holm", "voxel_auprc"]].astype(float)).all()
    assert not row["found"]


def test_refuses_another_grid(atlas, log_jacobian):
    with pytest.raises(ShapeError, match=r"m has shape \(2, 2, 2\)"):
        score({"m": np.zeros((2, 2, 2))}, log_jacobian, atlas)


def test_log_jacobian_comes_to_the_grid_through_the_affines():
    fine = Grid.icbm(4)
    x = fine.affine[0, 3] + fine.affine[0, 0] * np.arange(fine.shape[0])
    ramp = np.broadcast_to(x[:, None, None], fine.shape).astype(np.float32)
    coarse = Grid.icbm(6)
    moved = tr.resample_log_jacobian(nib.Nifti1Image(ramp, fine.affine), coarse)
    assert moved.shape == coarse.shape
    own = coarse.affine[0, 3] + coarse.affine[0, 0] * np.arange(coarse.shape[0])
    np.testing.assert_allclose(moved[2:-2, 20, 16], own[2:-2], atol=1e-3)


def shuffled_draws(atlas, rng, *, n=8, favoured=0.0):
    """What networks that know nothing show: noise, and a method's liking for the regions that are truth."""
    regions = np.arange(1, len(atlas[1]) + 1)
    liking = favoured * (regions <= 10)
    return [
        pd.DataFrame({"method": "m", "region_id": regions, "relevance": liking + rng.random(len(regions))})
        for _ in range(n)
    ]


def test_p_beside_shuffled_networks_is_students_of_one_more_draw(atlas, log_jacobian, rng):
    draws = shuffled_draws(atlas, rng)
    row = score({"m": np.abs(log_jacobian)}, log_jacobian, atlas, shuffled=draws).iloc[0]
    truth = np.arange(64) < 10
    values = [average_precision_score(truth, draw["relevance"]) for draw in draws]
    assert row["shuffled_auprc"] == pytest.approx(np.mean(values))
    assert row["shuffled_sd"] == pytest.approx(np.std(values, ddof=1))
    # A two-sample t test with one observation on one side is the same.
    expected = ttest_ind([1.0], values, alternative="greater").pvalue
    assert row["region_auprc"] == pytest.approx(1) and row["p_shuffled"] == pytest.approx(expected)
    assert row["found"] and row["p_holm"] == pytest.approx(expected)
    assert row["n_shuffled"] == 8


def test_what_a_method_likes_whatever_was_learnt_is_no_find(atlas, log_jacobian, rng):
    """Permuted regions take a method's liking for a find; networks that know nothing show it too: it is none."""
    liked = np.where(atlas[0] <= 10, 1.0, 0.0) * (atlas[0] > 0) + np.random.default_rng(5).random(atlas[0].shape) * 0.1
    alone = score({"m": liked}, log_jacobian, atlas).iloc[0]
    assert alone["found"] and alone["p"] < 0.01 and alone["n_shuffled"] == 0 and np.isnan(alone["p_shuffled"])
    beside = score({"m": liked}, log_jacobian, atlas, shuffled=shuffled_draws(atlas, rng, favoured=1.0)).iloc[0]
    assert beside["p"] == alone["p"]
    assert not beside["found"] and beside["p_shuffled"] > 0.05


def test_holm_corrects_what_decides(atlas, log_jacobian, rng):
    maps = {name: np.abs(log_jacobian) + rng.random(log_jacobian.shape) for name in ("a", "b", "c")}
    draws = [
        pd.concat([draw.assign(method=name) for name in maps], ignore_index=True) for draw in shuffled_draws(atlas, rng)
    ]
    frame = score(maps, log_jacobian, atlas, shuffled=draws)
    np.testing.assert_allclose(frame["p_holm"], multipletests(frame["p_shuffled"], method="holm")[1])


def test_a_relevance_that_is_nan_has_no_rank():
    """NaN is sorted to the top of descending scores: it would count as the most relevant region."""
    truths = np.array([[True, False, False]])
    assert tr.average_precision(np.array([0.9, 0.5, 0.1]), truths) == 1
    with pytest.raises(InputError, match=r"a score is not a number[\s\S]*position 1"):
        tr.average_precision(np.array([0.9, np.nan, 0.1]), truths)
