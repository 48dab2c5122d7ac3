"""Comparison of heatmaps with the planted disease: does the relevance lie where volume was lost?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from nilearn.image import resample_img
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, ndcg_score

from voxelwhy.errors import InputError, ShapeError
from voxelwhy.evaluation.chance import compare_with_draws, verdicts
from voxelwhy.evaluation.delong import require_scores
from voxelwhy.heatmaps.region_sums import region_means

NULL_PERCENTILE = 95


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
    enrichment,
    planted,
    brain_mask,
    *,
    threshold=0.02,
    n_permutations=10_000,
    seed=0,
    shuffled=None,
):
    """Score each method against the planted disease: its regions by enrichment, its voxels by the mean map.

    The truth is the net loss of volume. Where tissue is lost, nearby fluid expands and takes up the volume: such gains
    are changes as well, but no atrophy.

    Parameters
    ----------
    maps : {method: array (x, y, z)}, mean maps of the positive class; relevance is max(map, 0)
    enrichment : {method: array (regions,)}, mean enrichment of the regions in the positive class, in the order of
        `planted.regions`; a region without a value has none
    planted : PlantedRegions, the truth by region
    brain_mask : boolean array (x, y, z)
    threshold : float; a voxel is in the truth if its log-Jacobian is below -threshold, and a region if the mean over
        its brain voxels is, so that both extent and strength of the loss count
    n_permutations : int
    seed : int
    shuffled : {method: array (draws, regions)}, optional: enrichment by networks trained on shuffled diagnoses, with
        the same draws for all methods

    Returns
    -------
    truth : DataFrame by the TRUTH schema
    draws : DataFrame by the TRUTH_DRAWS schema

    Notes
    -----
    `truth` has one row per method, each score together with its value expected by chance:

    - AUPRC over regions ranked by enrichment (chance: mean over the permutations of regions, which exceeds the
      prevalence if there are few regions); NDCG graded by the loss; Spearman correlation of enrichment and loss
    - AUPRC (chance: prevalence) and NDCG over brain voxels, and the share of relevance inside the truth
    - AUPRC with any change as truth, over regions and voxels
    - `p_regions` of the regional AUPRC, by permuting the regions with left and right together. It rejects too often,
      since a method favours some regions for any weights, and neighbours look alike; no verdict rests on it
    - z, p and `p_family` of the regional AUPRC among networks trained on shuffled diagnoses
      (`chance.compare_with_draws`, corrected over the methods), and the verdict by p_family

    Scores that are not defined are NaN.

    Raises
    ------
    ShapeError : a map or the log-Jacobian differs in shape from the mask (nothing is resampled here).
    InputError : there is no map.

    References
    ----------
    Järvelin & Kekäläinen 2002 (NDCG); Adebayo 2018 (shuffled diagnoses).
    """
    if not maps:
        raise InputError("there is no map to compare with the planted disease")
    mask = np.asarray(brain_mask, dtype=bool)
    for name, array in {"log-Jacobian": planted.log_jacobian, **maps}.items():
        if np.shape(array) != mask.shape:
            raise ShapeError(f"{name} has shape {np.shape(array)}, the brain mask has {mask.shape}")
    change = np.asarray(planted.log_jacobian, dtype=float)[mask]
    lost, changed = planted.loss > threshold, np.abs(planted.change) > threshold
    orders = permute_regions(planted.regions["region"], n_permutations, np.random.default_rng(seed))
    sizes = {
        "n_regions": len(planted.regions),
        "n_truth_regions": int(lost.sum()),
        "n_changed_regions": int(changed.sum()),
        "n_voxels": int(mask.sum()),
        "n_truth_voxels": int((change < -threshold).sum()),
        "threshold": threshold,
        "n_permutations": n_permutations,
    }
    rows, references = [], []
    for method, values in maps.items():
        relevance = np.maximum(np.asarray(values, dtype=float), 0)[mask]
        by_region = np.nan_to_num(np.asarray(enrichment[method], dtype=float), nan=0.0)
        row = {"method": method} | _region_scores(by_region, planted.loss, lost, changed, orders)
        row |= _voxel_scores(relevance, change, threshold)
        draws = np.nan_to_num((shuffled or {}).get(method, np.empty((0, len(lost)))), nan=0.0)
        references.append([float(average_precision(np.round(draw, 9), lost[None])[0]) for draw in draws])
        rows.append(row | _beside_shuffled(references[-1]) | sizes)
    drawn = {method: pd.Series(auprc, dtype=float) for method, auprc in zip(maps, references, strict=True)}
    drawn = pd.concat(drawn, names=["method", "draw"]).rename("region_auprc").reset_index()
    return _decide(pd.DataFrame(rows), references), drawn.assign(draw=drawn["draw"] + 1)


class PlantedRegions:
    """The planted disease in the regions of an atlas.

    Attributes
    ----------
    regions : DataFrame, the regions of the atlas with a voxel inside the brain
    log_jacobian : array (x, y, z)
    loss : array (regions,), minus the mean log-Jacobian, at least 0: the grades of NDCG
    change : array (regions,), mean of |log-Jacobian|
    """

    def __init__(self, log_jacobian, labels, brain_mask, atlas_table):
        mask = np.asarray(brain_mask, dtype=bool)
        for name, array in {"log-Jacobian": log_jacobian, "label image": labels}.items():
            if np.shape(array) != mask.shape:
                raise ShapeError(f"{name} has shape {np.shape(array)}, the brain mask has {mask.shape}")
        present = np.unique(np.asarray(labels)[mask])
        kept = atlas_table[atlas_table["region_id"].isin(present) & (atlas_table["region_id"] != 0)]
        if not len(kept):
            raise InputError("no atlas region lies inside the brain mask", hint="check the grid of the atlas")
        self.regions, self.log_jacobian = kept.reset_index(drop=True), np.asarray(log_jacobian, dtype=float)
        ids = self.regions["region_id"]
        self.mean = region_means(self.log_jacobian, labels, mask, ids)
        self.volume_change = region_means(np.expm1(self.log_jacobian), labels, mask, ids)
        self.loss = np.maximum(-self.mean, 0)
        self.change = region_means(np.abs(self.log_jacobian), labels, mask, ids)

    def table(self, enrichment, threshold):
        """Return a DataFrame by tables.SCORED_REGIONS, the largest loss first, with the enrichment by each method."""
        own = pd.DataFrame(
            {
                "region_id": self.regions["region_id"],
                "region": self.regions["region"],
                "log_jacobian": self.mean,
                "volume_change": self.volume_change,
                "loss": self.loss > threshold,
                "change": self.change > threshold,
            }
        )
        rows = [own.assign(method=method, enrichment=np.asarray(values)) for method, values in enrichment.items()]
        return pd.concat(rows).sort_values(["log_jacobian", "region_id"], kind="stable", ignore_index=True)


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


def expected_ndcg(gains, scores, orders):
    """Compute the NDCG of one score vector (n,) against gains (n,) permuted by each row of `orders` (m, n).

    Tied scores share the mean of their discounts. Equal to scikit-learn's `ndcg_score`, which takes one order at a
    time.
    """
    discounts = 1 / np.log2(np.arange(len(scores)) + 2)
    place, counts = np.unique(-np.asarray(scores), return_inverse=True, return_counts=True)[1:]
    sums, ends = np.append(0, np.cumsum(discounts)), np.cumsum(counts)
    shared = (sums[ends] - sums[ends - counts]) / counts
    return gains[orders] @ shared[place] / (np.sort(gains)[::-1] @ discounts)


def _voxel_scores(relevance, change, threshold):
    lost, changed = change < -threshold, np.abs(change) > threshold
    gains, total = np.maximum(-change, 0), relevance.sum()
    share = float(lost.mean())
    discounts = 1 / np.log2(np.arange(len(gains)) + 2)
    # The expected value of a random order: each voxel has the mean of all discounts.
    by_chance = gains.sum() * discounts.mean() / (np.sort(gains)[::-1] @ discounts) if gains.any() else np.nan
    return {
        "voxel_auprc": _auprc(relevance, lost),
        "voxel_chance": share,
        "voxel_ndcg": float(ndcg_score(gains[None], relevance[None])) if gains.any() else np.nan,
        "voxel_ndcg_chance": float(by_chance),
        "share_inside": float(relevance[lost].sum() / total) if total > 0 else np.nan,
        "share_chance": share,
        "change_voxel_auprc": _auprc(relevance, changed),
        "change_voxel_chance": float(changed.mean()),
    }


def _auprc(scores, truth):
    return float(average_precision_score(truth, scores)) if truth.any() else np.nan


def _region_scores(by_region, loss, lost, changed, orders):
    names = ("region_auprc", "region_chance", "region_ndcg", "ndcg_chance", "region_spearman", "spearman_chance")
    scores = dict.fromkeys((*names, "change_auprc", "change_chance", "null_95", "p_regions"), np.nan)
    # Regions whose values differ in the last bit only are tied.
    by_region = np.round(by_region, 9)
    if lost.any() and not lost.all():
        observed = float(average_precision(by_region, lost[None])[0])
        null = average_precision(by_region, lost[orders])
        scores |= {
            "region_auprc": observed,
            "region_chance": float(null.mean()),
            "null_95": float(np.percentile(null, NULL_PERCENTILE)),
            # Equal values may differ in their last bit, depending on the order of summation.
            "p_regions": (1 + int((null >= observed - 1e-12).sum())) / (1 + len(null)),
            "region_ndcg": float(ndcg_score(loss[None], by_region[None])),
            "ndcg_chance": float(expected_ndcg(loss, by_region, orders).mean()),
        }
    if changed.any() and not changed.all():
        null = average_precision(by_region, changed[orders])
        scores |= {
            "change_auprc": float(average_precision(by_region, changed[None])[0]),
            "change_chance": float(null.mean()),
        }
    if np.ptp(by_region) > 0 and np.ptp(loss) > 0:
        first, second = (_standardised_ranks(values) for values in (by_region, loss))
        scores |= {
            "region_spearman": float(first @ second),
            "spearman_chance": float((second[orders] @ first).mean()),
        }
    return scores


def _standardised_ranks(values):
    ranks = rankdata(values) - (len(values) + 1) / 2
    return ranks / np.linalg.norm(ranks)


def _beside_shuffled(auprc):
    """Return number, mean, standard deviation and range of the AUPRC of networks trained on shuffled diagnoses."""
    names = ("shuffled_auprc", "shuffled_sd", "shuffled_low", "shuffled_high")
    if not auprc:
        return {"n_shuffled": 0} | dict.fromkeys(names, np.nan)
    sd = np.std(auprc, ddof=1) if len(auprc) > 1 else np.nan
    return {"n_shuffled": len(auprc)} | dict(zip(names, (np.mean(auprc), sd, min(auprc), max(auprc)), strict=True))


def _decide(frame, references):
    """Add the tests against networks trained on shuffled diagnoses, of which all methods have the same draws."""
    n_draws = len(references[0])
    tested = compare_with_draws(frame["region_auprc"].to_numpy(), np.array(references).T.reshape(n_draws, len(frame)))
    return frame.assign(**tested, verdict=verdicts(tested["p_family"], n_draws))
