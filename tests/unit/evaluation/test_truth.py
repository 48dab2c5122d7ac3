"""The planted truth: scores against scikit-learn and loops, loss and expansion, permuted regions, and verdicts."""

from itertools import permutations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, ndcg_score

from voxelwhy.errors import InputError, ShapeError
from voxelwhy.evaluation import truth as tr
from voxelwhy.heatmaps.region_sums import relevance_by_region
from voxelwhy.io.images import Grid
from voxelwhy.io.tables import SCORED_REGIONS, TRUTH, TRUTH_DRAWS, write_table

N_PAIRS, N_SINGLE, VOXELS = 30, 4, 8
N = 2 * N_PAIRS + N_SINGLE


@pytest.fixture(scope="module")
def atlas():
    """64 regions of 8 voxels in a row of blocks; 30 pairs and 4 without a partner; 64 voxels of background."""
    labels = np.concatenate([np.repeat(np.arange(1, N + 1), VOXELS), np.zeros(64, int)]).reshape(8, 8, -1)
    names = [f"R{i // 2}_{'LR'[i % 2]}" for i in range(2 * N_PAIRS)] + [f"Vermis_{i}" for i in range(N_SINGLE)]
    return labels, pd.DataFrame({"region_id": range(1, N + 1), "region": names})


@pytest.fixture(scope="module")
def log_jacobian(atlas):
    """Five pairs have lost a quarter, one more than the other; a sixth pair has expanded by as much.

    One region is only grazed: 1 of 8 voxels at -0.1 is a mean of -0.0125.
    """
    labels = atlas[0]
    change = np.where((labels >= 1) & (labels <= 10), -0.29 - labels / 1000, 0.0)
    change[(labels == 11) | (labels == 12)] = 0.29
    change[tuple(np.argwhere(labels == 20)[0])] = -0.1
    return change


def planted_in(log_jacobian, atlas, mask=None):
    mask = np.ones(log_jacobian.shape, bool) if mask is None else mask
    return tr.PlantedRegions(log_jacobian, atlas[0], mask, atlas[1])


def score_all(maps, log_jacobian, atlas, *, enrichment=None, **options):
    """Truth and draws of maps, with the enrichment that regions have in each map unless another is given."""
    mask, planted = np.ones(log_jacobian.shape, bool), planted_in(log_jacobian, atlas)
    if enrichment is None:
        tables = {m: relevance_by_region(values, atlas[0], planted.regions, mask) for m, values in maps.items()}
        enrichment = {method: table["enrichment"].to_numpy() for method, table in tables.items()}
    return tr.score_truth(maps, enrichment, planted, mask, **({"n_permutations": 500} | options))


def score(*arguments, **options):
    return score_all(*arguments, **options)[0]


def by_voxel(values, atlas):
    """The map in which each region has its value."""
    return np.append(0, values)[atlas[0]]


def test_figures_equal_scikit_learn_and_scipy(atlas, log_jacobian, tmp_path):
    relevance = np.random.default_rng(0).normal(size=log_jacobian.shape).round(1) + 2 * np.abs(log_jacobian)
    frame, draws = score_all({"m": relevance}, log_jacobian, atlas)
    write_table(frame, tmp_path / "truth.tsv", TRUTH)
    write_table(draws, tmp_path / "draws.tsv", TRUTH_DRAWS)
    assert len(draws) == 0
    row, positive = frame.iloc[0], np.maximum(relevance, 0)
    lost, changed = log_jacobian < -0.02, np.abs(log_jacobian) > 0.02
    ids = atlas[1]["region_id"]
    mean, size, relevant = (
        np.round([values[atlas[0] == i].mean() for i in ids], 12)
        for values in (log_jacobian, np.abs(log_jacobian), positive)
    )
    loss = np.maximum(-mean, 0)
    assert (loss > 0.02).sum() == row["n_truth_regions"] == 10
    assert (size > 0.02).sum() == row["n_changed_regions"] == 12
    assert row["region_auprc"] == pytest.approx(average_precision_score(loss > 0.02, relevant), abs=1e-12)
    assert row["region_ndcg"] == pytest.approx(ndcg_score(loss[None], relevant[None]), abs=1e-12)
    assert row["region_spearman"] == pytest.approx(spearmanr(loss, relevant).statistic, abs=1e-12)
    assert row["change_auprc"] == pytest.approx(average_precision_score(size > 0.02, relevant), abs=1e-12)
    assert row["voxel_auprc"] == pytest.approx(average_precision_score(lost.ravel(), positive.ravel()), abs=1e-12)
    gains = np.maximum(-log_jacobian, 0).ravel()
    assert row["voxel_ndcg"] == pytest.approx(ndcg_score(gains[None], positive.reshape(1, -1)), abs=1e-12)
    expected = average_precision_score(changed.ravel(), positive.ravel())
    assert row["change_voxel_auprc"] == pytest.approx(expected, abs=1e-12)
    assert row["share_inside"] == pytest.approx(positive[lost].sum() / positive.sum())
    assert row["voxel_chance"] == row["share_chance"] == pytest.approx(81 / 576)
    assert row["change_voxel_chance"] == pytest.approx(97 / 576)
    assert (row["n_truth_voxels"], row["n_voxels"], row["n_regions"]) == (81, 576, 64)


def test_average_precision_of_many_truths_equals_scikit_learn_with_ties():
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 4, 25).astype(float)
    truths = rng.random((50, 25)) < 0.3
    truths[:, 0] = True
    expected = [average_precision_score(truth, scores) for truth in truths]
    np.testing.assert_allclose(tr.average_precision(scores, truths), expected, atol=1e-12)


def test_ndcg_of_permuted_gains_equals_scikit_learn_with_ties(rng):
    scores, gains = rng.integers(0, 4, 25).astype(float), rng.gamma(1, 1, 25)
    orders = np.array([rng.permutation(25) for _ in range(40)])
    expected = [ndcg_score(gains[order][None], scores[None]) for order in orders]
    np.testing.assert_allclose(tr.expected_ndcg(gains, scores, orders), expected, atol=1e-12)


def test_the_ndcg_of_voxels_by_chance_is_the_mean_over_all_their_orders():
    """By enumeration of all 720 orders of six voxels, and as scikit-learn has it for a map without any difference."""
    change, labels = np.array([-0.3, -0.1, 0.0, 0.2, -0.05, 0.0]).reshape(6, 1, 1), np.arange(6).reshape(6, 1, 1)
    names = pd.DataFrame({"region_id": range(1, 6), "region": list("abcde")})
    maps = {"m": labels.astype(float), "flat": np.ones((6, 1, 1))}
    frame = score(maps, change, (labels, names)).set_index("method")
    gains = np.array([0.3, 0.1, 0, 0, 0.05, 0])
    values = [ndcg_score([gains], [list(order)]) for order in permutations(range(6))]
    assert frame.loc["m", "voxel_ndcg_chance"] == pytest.approx(np.mean(values))
    assert frame.loc["flat", "voxel_ndcg"] == pytest.approx(np.mean(values))
    assert frame.loc["m", "voxel_ndcg"] == pytest.approx(ndcg_score([gains], [range(6)]))


def test_a_region_that_expands_is_a_change_and_no_loss():
    """By hand, five regions of two voxels: a loses 0.3; fluid that takes it up makes b expand by 0.3; c loses at one
    end what it gains at the other; d and e stay. The method that shows where b is has found no atrophy."""
    labels = np.repeat([1, 2, 3, 4, 5], 2).reshape(10, 1, 1)
    change = np.array([-0.3, -0.3, 0.3, 0.3, -0.3, 0.3, 0, 0, 0, 0]).reshape(10, 1, 1)
    atlas = labels, pd.DataFrame({"region_id": range(1, 6), "region": list("abcde")})
    planted = planted_in(change, atlas)
    assert (planted.loss > 0.02).tolist() == [True, False, False, False, False]
    assert (planted.change > 0.02).tolist() == [True, True, True, False, False]
    maps = {"fluid": by_voxel([0.2, 1, 0.5, 0.3, 0], atlas), "tissue": by_voxel([1, 0, 0, 0.1, 0.2], atlas)}
    frame = score(maps, change, atlas).set_index("method")
    # Ranks by the map of fluid: b, c, d, a, e. By |log-Jacobian|, precision is 1, 1 and 3/4; by net loss, 1/4.
    assert frame.loc["fluid", "change_auprc"] == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert frame.loc["fluid", "region_auprc"] == pytest.approx(1 / 4)
    # Those by the map of tissue: a, e, d, and then b and c together.
    assert frame.loc["tissue", "change_auprc"] == pytest.approx((1 + 2 * 3 / 5) / 3)
    assert frame.loc["tissue", "region_auprc"] == 1
    # So any change puts fluid before tissue, and the loss of tissue the other way round. Voxels likewise.
    assert frame.loc["fluid", "change_auprc"] > frame.loc["tissue", "change_auprc"]
    assert frame.loc["fluid", "change_voxel_auprc"] > frame.loc["tissue", "change_voxel_auprc"]
    assert frame.loc["fluid", "voxel_auprc"] < frame.loc["tissue", "voxel_auprc"]
    # 0.4 and 0.5 of the relevance of fluid (4) lie in a and in the half of c that is lost.
    assert frame.loc["fluid", "share_inside"] == pytest.approx((2 * 0.2 + 0.5) / 4)
    assert frame["n_truth_voxels"].tolist() == [3, 3]


def test_a_loss_is_graded_and_an_expansion_is_none():
    """NDCG by hand, three regions with losses of 0.4 and 0.1 and a gain: the gain has no grade below 0."""
    labels = np.array([1, 2, 3, 0]).reshape(4, 1, 1)
    change = np.array([-0.4, -0.1, 0.5, 0.0]).reshape(4, 1, 1)
    atlas = labels, pd.DataFrame({"region_id": [1, 2, 3], "region": list("abc")})
    row = score({"m": by_voxel([0.5, 1, 0.2], atlas)}, change, atlas).iloc[0]
    discounts = 1 / np.log2([2, 3, 4])
    ideal = 0.4 * discounts[0] + 0.1 * discounts[1]
    assert row["region_ndcg"] == pytest.approx((0.1 * discounts[0] + 0.4 * discounts[1]) / ideal)
    assert row["region_auprc"] == 1  # which does not see the order within the truth


def test_the_size_of_a_region_neither_helps_nor_hides_it():
    """By hand: the diseased region has 2 of 100 voxels and three times the relevance of the others in each. By share of
    relevance, as before, it is the last of three regions; by enrichment, the first."""
    labels = np.repeat([1, 2, 3], [2, 28, 70]).reshape(100, 1, 1)
    change = np.where(labels == 1, -0.3, 0.0)
    atlas = labels, pd.DataFrame({"region_id": [1, 2, 3], "region": list("abc")})
    heatmap = np.where(labels == 1, 3.0, 1.0)
    table = relevance_by_region(heatmap, labels, atlas[1], labels > 0)
    assert average_precision_score([1, 0, 0], table["share"]) == pytest.approx(1 / 3)
    assert score({"m": heatmap}, change, atlas)["region_auprc"].item() == 1


def test_the_table_of_regions_has_the_loss_with_its_sign(atlas, log_jacobian, tmp_path):
    """Volume changes by hand: exp(-0.291) - 1 is a loss of a quarter, exp(0.29) - 1 a gain of a third."""
    planted = planted_in(log_jacobian, atlas)
    table = planted.table({"a": np.arange(64.0), "b": np.full(64, np.nan)}, 0.02)
    write_table(table, tmp_path / "regions.tsv", SCORED_REGIONS)
    assert table["log_jacobian"].is_monotonic_increasing and len(table) == 2 * 64
    rows = table[table["method"] == "a"].set_index("region_id")
    assert rows.loc[1, "log_jacobian"] == pytest.approx(-0.291)
    assert rows.loc[1, "volume_change"] == pytest.approx(-0.2525, abs=1e-4)
    assert rows.loc[11, "volume_change"] == pytest.approx(0.3364, abs=1e-4)
    assert rows.loc[[1, 11, 20, 30], "loss"].tolist() == [True, False, False, False]
    assert rows.loc[[1, 11, 20, 30], "change"].tolist() == [True, True, False, False]
    assert rows["enrichment"].to_dict() == {i + 1: float(i) for i in range(64)}


def test_the_volume_change_is_the_mean_over_voxels_and_not_that_of_the_mean():
    labels = np.ones((2, 1, 1), int)
    atlas = labels, pd.DataFrame({"region_id": [1], "region": ["a"]})
    planted = planted_in(np.log([0.5, 1.5]).reshape(2, 1, 1), atlas)
    assert planted.volume_change.tolist() == pytest.approx([0]) and planted.mean[0] < -0.1


def test_regions_outside_the_brain_are_not_scored(atlas, log_jacobian):
    mask = atlas[0] <= 32
    planted = planted_in(log_jacobian, atlas, mask)
    assert planted.regions["region_id"].tolist() == list(range(1, 33))
    with pytest.raises(InputError, match="no atlas region lies inside"):
        planted_in(log_jacobian, atlas, atlas[0] == 0)


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
    row = score({"m": np.maximum(-log_jacobian, 0)}, log_jacobian, (merged, kept)).iloc[0]
    assert row["n_regions"] == N_PAIRS + N_SINGLE and row["n_truth_regions"] == 5
    assert row["region_auprc"] == 1 and row["p_regions"] < 0.01
    orders = tr.permute_regions(kept["region"], 50, np.random.default_rng(0))
    assert (np.sort(orders, axis=1) == np.arange(len(kept))).all() and len(np.unique(orders, axis=0)) > 1


def test_the_null_equals_a_loop_over_permutations(atlas, log_jacobian):
    relevance = np.random.default_rng(5).random(log_jacobian.shape) + np.abs(log_jacobian)
    row = score({"m": relevance}, log_jacobian, atlas, n_permutations=300, seed=4).iloc[0]
    means = np.array([relevance[atlas[0] == i].mean() for i in atlas[1]["region_id"]])
    loss = np.where(np.arange(64) < 10, 0.29 + np.arange(1, 65) / 1000, 0)
    loss[19] = 0.1 / 8
    changed = np.arange(64) < 12
    orders = tr.permute_regions(atlas[1]["region"], 300, np.random.default_rng(4))
    null = np.array([average_precision_score(loss[order] > 0.02, means) for order in orders])
    assert row["null_95"] == pytest.approx(np.percentile(null, 95), abs=1e-12)
    assert row["region_chance"] == pytest.approx(null.mean(), abs=1e-12)
    assert row["p_regions"] == (1 + (null >= row["region_auprc"] - 1e-12).sum()) / 301
    of_loss = [(ndcg_score(loss[o][None], means[None]), spearmanr(loss[o], means).statistic) for o in orders]
    assert (row["ndcg_chance"], row["spearman_chance"]) == pytest.approx(tuple(np.mean(of_loss, axis=0)), abs=1e-9)
    of_change = [average_precision_score(changed[order], means) for order in orders]
    assert row["change_chance"] == pytest.approx(np.mean(of_change), abs=1e-12)


def test_the_truth_itself_scores_1_and_its_opposite_does_not(atlas, log_jacobian):
    lost = np.maximum(-log_jacobian, 0)
    maps = {"truth": lost, "opposite": 1 - lost, "negative": -lost}
    frame = score(maps, log_jacobian, atlas, n_permutations=2000).set_index("method")
    perfect = ["region_auprc", "region_ndcg", "voxel_auprc", "voxel_ndcg", "share_inside"]
    assert frame.loc["truth", perfect].tolist() == pytest.approx([1] * 5)
    assert frame.loc["truth", "p_regions"] == 1 / 2001
    assert (frame.loc["opposite", perfect] < frame.loc["truth", perfect]).all()
    assert frame.loc["opposite", "p_regions"] > 0.9
    # Without any positive relevance every region is tied: the prevalence is what remains.
    assert frame.loc["negative", "region_auprc"] == pytest.approx(10 / 64)
    assert np.isnan(frame.loc["negative", "share_inside"])
    # Without draws there is no verdict, however small the p of permuted regions.
    assert set(frame["verdict"]) == {"no verdict"} and (frame["n_shuffled"] == 0).all()
    assert frame[["z", "p", "p_family", "shuffled_auprc"]].isna().all(axis=None)


@pytest.mark.slow
def test_permuted_regions_reject_noise_at_the_nominal_rate_only_if_sides_move_together(atlas, log_jacobian):
    """Noise alike on both sides, as anatomy makes it: with left and right permuted singly it often has a small p."""
    rng = np.random.default_rng(3)
    names_alone = atlas[1].assign(region=[f"alone_{i}" for i in range(len(atlas[1]))])
    p, p_alone = [], []
    for seed in range(30):
        values = [np.append(np.repeat(rng.random(N_PAIRS), 2), rng.random(N_SINGLE)) for _ in range(8)]
        maps = {f"noise_{i}": by_voxel(by_region, atlas) for i, by_region in enumerate(values)}
        p.extend(score(maps, log_jacobian, atlas, n_permutations=200, seed=seed)["p_regions"])
        if seed < 15:
            alone = score(maps, log_jacobian, (atlas[0], names_alone), n_permutations=200, seed=seed)
            p_alone.extend(alone["p_regions"])
    # 5 % nominal; three standard deviations are 4.2 points for 240 maps.
    assert np.mean(np.array(p) < 0.05) <= 0.092
    assert np.mean(np.array(p_alone) < 0.05) > 0.12


def test_a_constant_map_ranks_no_region(atlas, log_jacobian):
    # Regions of different size, whose sums of 0.1 differ in the last bit after division.
    labels = np.where(np.arange(576).reshape(8, 8, 9) % 3 == 1, 0, atlas[0])
    row = score({"m": np.full(log_jacobian.shape, 0.1)}, log_jacobian, (labels, atlas[1])).iloc[0]
    assert row["region_auprc"] == pytest.approx(row["n_truth_regions"] / row["n_regions"])
    assert row["p_regions"] == 1 and np.isnan(row["region_spearman"])


def test_nothing_planted_is_not_defined_and_without_verdict(atlas, log_jacobian, rng):
    draws = {"m": rng.random((19, 64))}
    row = score({"m": np.abs(log_jacobian)}, 0 * log_jacobian, atlas, shuffled=draws).iloc[0]
    undefined = [
        "region_auprc",
        "region_ndcg",
        "change_auprc",
        "p_regions",
        "p",
        "p_family",
        "voxel_auprc",
        "voxel_ndcg",
    ]
    assert np.isnan(row[undefined].astype(float)).all()
    assert row["verdict"] == "no verdict"


def test_a_region_without_enrichment_comes_last(atlas, log_jacobian):
    values = np.where(np.arange(64) < 10, 2.0, 1.0)
    values[[0, 1]] = np.nan
    row = score({"m": np.ones(log_jacobian.shape)}, log_jacobian, atlas, enrichment={"m": values}).iloc[0]
    expected = average_precision_score(np.arange(64) < 10, np.nan_to_num(values, nan=0))
    assert row["region_auprc"] == pytest.approx(expected) and expected < 1


def test_refuses_another_grid_and_no_map(atlas, log_jacobian):
    planted, mask = planted_in(log_jacobian, atlas), np.ones(log_jacobian.shape, bool)
    with pytest.raises(ShapeError, match=r"m has shape \(2, 2, 2\)"):
        tr.score_truth({"m": np.zeros((2, 2, 2))}, {"m": np.zeros(64)}, planted, mask)
    with pytest.raises(ShapeError, match=r"log-Jacobian has shape \(2, 2, 2\)"):
        planted_in(np.zeros((2, 2, 2)), atlas, mask)
    with pytest.raises(ShapeError, match=r"label image has shape"):
        planted_in(log_jacobian, (atlas[0][:2], atlas[1]))
    with pytest.raises(InputError, match="no map"):
        tr.score_truth({}, {}, planted, mask)


def test_log_jacobian_comes_to_the_grid_through_the_affines():
    fine = Grid.icbm(4)
    x = fine.affine[0, 3] + fine.affine[0, 0] * np.arange(fine.shape[0])
    ramp = np.broadcast_to(x[:, None, None], fine.shape).astype(np.float32)
    coarse = Grid.icbm(6)
    moved = tr.resample_log_jacobian(nib.Nifti1Image(ramp, fine.affine), coarse)
    assert moved.shape == coarse.shape
    own = coarse.affine[0, 3] + coarse.affine[0, 0] * np.arange(coarse.shape[0])
    np.testing.assert_allclose(moved[2:-2, 20, 16], own[2:-2], atol=1e-3)


def test_a_relevance_that_is_nan_has_no_rank():
    """NaN is sorted to the top of descending scores: it would count as the most relevant region."""
    truths = np.array([[True, False, False]])
    assert tr.average_precision(np.array([0.9, 0.5, 0.1]), truths) == 1
    with pytest.raises(InputError, match=r"a score is not a number[\s\S]*position 1"):
        tr.average_precision(np.array([0.9, np.nan, 0.1]), truths)
