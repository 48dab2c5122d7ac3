"""Comparison of heatmaps with the planted disease: does the relevance lie where the brain was changed?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from nilearn.image import resample_img
from scipy.stats import rankdata, t
from sklearn.metrics import average_precision_score
from statsmodels.stats.multitest import multipletests

from voxelwhy.errors import InputError, ShapeError
from voxelwhy.evaluation.delong import require_scores
from voxelwhy.heatmaps.region_sums import region_means

FOUND_BELOW = 0.05
NULL_PERCENTILE = 95
#: Smallest SD between draws. Some methods give almost the same map for any weights, where rounding errors must not
#: decide.
LEAST_SD = 1e-6


def resample_log_jacobian(image, grid):
    """Resample the log-Jacobian map to the study's grid by linear interpolation, with 0 outside its field of view.

    Parameters
    ----------
    image : nibabel image, log volume relative to the template
    grid : object with `shape` and `affine` (voxelwhy.io.images.Grid)

    Returns
    -------
    float32 array of `grid.shape`
    """
    moved = resample_img(
        image,
        target_affine=grid.affine,
        target_shape=grid.shape,
        interpolation="linear",
        fill_value=0,
        force_resample=True,
        copy_header=True,
    )
    return np.asarray(moved.dataobj, dtype=np.float32)


def score_truth(
    maps,
    log_jacobian,
    brain_mask,
    labels,
    atlas_table,
    *,
    threshold=0.02,
    n_permutations=10_000,
    seed=0,
    shuffled=None,
):
    """Score each method's mean map of the positive class against the planted disease.

    Parameters
    ----------
    maps : {method: array (x, y, z)}; relevance is max(map, 0)
    log_jacobian : array (x, y, z), the log volume change of the disease on the same grid
    brain_mask : boolean array (x, y, z)
    labels : integer array (x, y, z), atlas; 0 is background
    atlas_table : DataFrame with columns region_id and region; names that differ only in `_L`/`_R` are a pair
    threshold : float; a voxel is truth if |log_jacobian| > threshold. A *region* is truth if the mean of |log_jacobian|
        over its brain voxels exceeds the threshold, so that both extent and strength of the change count and a barely
        touched neighbour is no truth
    n_permutations : int
    seed : int
    shuffled : list of DataFrame by tables.SHUFFLED, optional; one per draw of networks trained on shuffled diagnoses

    Returns
    -------
    DataFrame by the TRUTH schema, one row per method, each score together with its chance level:

    - AUPRC over brain voxels (chance: prevalence)
    - AUPRC over regions, ranked by relevance density (chance: mean over the permutations, which exceeds the prevalence
      if there are few regions)
    - share of the relevance inside the truth (chance: the truth's share of the brain)
    - Spearman correlation of relevance and |log_jacobian| over regions (chance: mean over the permutations)
    - `p` of the regional AUPRC, by permuting the regions with left and right together: (1 + #>=) / (1 + n). This test
      alone rejects too often, since a method favours some regions for any weights, and neighbours look alike
    - `p_shuffled`, whether the regional AUPRC exceeds that of networks trained on shuffled diagnoses, by Student's t
      for one more draw
    - `found`, whether the disease is detected: the regional AUPRC exceeds the 95th percentile of the permutations, and
      p_shuffled (or p, without such networks), Holm-corrected over methods, is below 0.05

    Scores that are not defined are NaN.

    Raises
    ------
    ShapeError : a map, the mask, the labels or the log-Jacobian differ in shape (nothing is resampled here).
    InputError : there is no map, or no atlas region inside the brain.
    """
    if not maps:
        raise InputError("there is no map to compare with the planted disease")
    mask = np.asarray(brain_mask, dtype=bool)
    for name, array in {"log-Jacobian": log_jacobian, "label image": labels, **maps}.items():
        if np.shape(array) != mask.shape:
            raise ShapeError(f"{name} has shape {np.shape(array)}, the brain mask has {mask.shape}")
    change = np.abs(np.asarray(log_jacobian, dtype=float))
    regions = _regions(labels, mask, atlas_table)
    region_change = region_means(change, labels, mask, regions["region_id"])
    truth = region_change > threshold
    orders = permute_regions(regions["region"], n_permutations, np.random.default_rng(seed))
    shuffled = [] if shuffled is None else shuffled
    sizes = {
        "n_regions": len(regions),
        "n_truth_regions": int(truth.sum()),
        "n_voxels": int(mask.sum()),
        "n_truth_voxels": int((change[mask] > threshold).sum()),
        "threshold": threshold,
        "n_permutations": n_permutations,
    }
    rows = []
    for method, values in maps.items():
        relevance = np.maximum(np.asarray(values, dtype=float), 0)
        by_region = region_means(relevance, labels, mask, regions["region_id"])
        row = _voxel_scores(relevance[mask], change[mask] > threshold)
        row |= _region_scores(by_region, region_change, truth, orders)
        others = [_by_region(draw, method, regions["region_id"]) for draw in shuffled]
        rows.append({"method": method} | row | _beside_shuffled(row["region_auprc"], others, truth) | sizes)
    return _decide(pd.DataFrame(rows))


def permute_regions(names, n_permutations, rng):
    """Permute the regions, (n_permutations, regions), keeping left and right together.

    Pairs (`X_L`, `X_R`) are permuted as pairs, left to left; regions without a partner are permuted among themselves.
    Left and right are similar, so permuting them separately would count the same evidence twice.
    """
    place = {name: index for index, name in enumerate(names)}
    pairs = [(i, place[f"{name[:-2]}_R"]) for name, i in place.items() if _is_left(name, place)]
    paired = {index for pair in pairs for index in pair}
    single = np.array([i for i in place.values() if i not in paired], dtype=int)
    pairs = np.array(pairs, dtype=int).reshape(-1, 2)
    orders = np.tile(np.arange(len(place)), (n_permutations, 1))
    moved = rng.permuted(np.tile(np.arange(len(pairs)), (n_permutations, 1)), axis=1)
    for side in (0, 1):
        orders[:, pairs[:, side]] = pairs[moved, side]
    orders[:, single] = rng.permuted(np.tile(single, (n_permutations, 1)), axis=1)
    return orders


def average_precision(scores, truths):
    """Compute the average precision of one score vector (n,) against many truths (m, n); ties form one step.

    Equal to scikit-learn's `average_precision_score`, but NaN if a truth has no positive. A NaN score is an InputError.
    """
    scores = require_scores(scores)
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(truths[:, order], axis=1, dtype=float)[:, ends]
    gained = np.diff(hits, axis=1, prepend=0)
    with np.errstate(invalid="ignore"):
        return (gained * hits / (ends + 1)).sum(axis=1) / hits[:, -1]


def _is_left(name, place):
    return name.endswith("_L") and f"{name[:-2]}_R" in place


def _regions(labels, mask, atlas_table):
    present = np.unique(np.asarray(labels)[mask])
    regions = atlas_table[atlas_table["region_id"].isin(present) & (atlas_table["region_id"] != 0)]
    if not len(regions):
        raise InputError("no atlas region lies inside the brain mask", hint="check the grid of the atlas")
    return regions.reset_index(drop=True)


def _voxel_scores(relevance, truth):
    share = float(truth.mean())
    total = relevance.sum()
    return {
        "voxel_auprc": float(average_precision_score(truth, relevance)) if truth.any() else np.nan,
        "voxel_chance": share,
        "share_inside": float(relevance[truth].sum() / total) if total > 0 else np.nan,
        "share_chance": share,
    }


def _region_scores(by_region, region_change, truth, orders):
    names = ("region_auprc", "region_chance", "region_spearman", "spearman_chance", "null_95", "p")
    scores = dict.fromkeys(names, np.nan)
    if truth.any() and not truth.all():
        observed = float(average_precision(by_region, truth[None])[0])
        null = average_precision(by_region, truth[orders])
        # Equal values may differ in their last bit, depending on the order of summation.
        at_least = int((null >= observed - 1e-12).sum())
        scores |= {
            "region_auprc": observed,
            "region_chance": float(null.mean()),
            "null_95": float(np.percentile(null, NULL_PERCENTILE)),
            "p": (1 + at_least) / (1 + len(null)),
        }
    if np.ptp(by_region) > 0 and np.ptp(region_change) > 0:
        first, second = (_standardised_ranks(values) for values in (by_region, region_change))
        scores |= {
            "region_spearman": float(first @ second),
            "spearman_chance": float((second[orders] @ first).mean()),
        }
    return scores


def _standardised_ranks(values):
    ranks = rankdata(values) - (len(values) + 1) / 2
    return ranks / np.linalg.norm(ranks)


def _by_region(draw, method, region_ids):
    own = draw[draw["method"] == method].set_index("region_id")["relevance"]
    return own.loc[region_ids].to_numpy()


def _beside_shuffled(observed, others, truth):
    """Return the AUPRC of networks trained on shuffled diagnoses, and p that one more of them reaches `observed`."""
    scores = {"n_shuffled": len(others)} | dict.fromkeys(("shuffled_auprc", "shuffled_sd", "p_shuffled"), np.nan)
    if others and np.isfinite(observed):
        values = np.array([average_precision(relevance, truth[None])[0] for relevance in others])
        mean, sd = values.mean(), values.std(ddof=1)
        p = p_of_one_more_draw(observed, mean, sd, len(values))
        scores |= {"shuffled_auprc": mean, "shuffled_sd": sd, "p_shuffled": p}
    return scores


def p_of_one_more_draw(value, mean, sd, n):
    """Return p that one more draw, after n with this mean and standard deviation, reaches `value`, by Student's t."""
    return float(t.sf((value - mean) / (max(sd, LEAST_SD) * np.sqrt(1 + 1 / n)), n - 1))


def _decide(frame):
    frame["p_holm"] = np.nan
    deciding = "p_shuffled" if frame["p_shuffled"].notna().any() else "p"
    tested = frame[deciding].notna().to_numpy()
    if tested.any():
        frame.loc[tested, "p_holm"] = multipletests(frame.loc[tested, deciding], method="holm")[1]
    frame["found"] = (frame["p_holm"] < FOUND_BELOW) & (frame["region_auprc"] > frame["null_95"])
    return frame
