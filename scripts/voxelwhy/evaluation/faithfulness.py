"""Faithfulness: does blanking what a heatmap marks change the score, more than blanking anything else?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from scipy import ndimage

from voxelwhy.errors import InputError
from voxelwhy.evaluation.intervals import student_interval
from voxelwhy.explain._shared.areas import part_of
from voxelwhy.explain._shared.states import logits_of_states
from voxelwhy.io.tables import read_table
from voxelwhy.io.trust_tables import FAITHFULNESS, FAITHFULNESS_SUMMARY
from voxelwhy.networks.ensemble import two_logits

#: Shares of the brain's volume that are blanked, at least.
STEPS = tuple(np.round(np.arange(0.05, 0.501, 0.05), 2))
RANDOM_ORDERS = 10
#: Standard deviation of the Gaussian that blurs a scan for the second fill, mm.
BLUR_MM = 8.0
#: Images of a pass on small grids.
BATCH = 16
#: Voxels of an image from which the incremental engine is tried; below, a pass takes about as long as a region.
LEAST_VOXELS = 200_000
#: With fewer subjects no interval and no test is given.
LEAST_SUBJECTS = 8


def blank_regions(model, volume, fills, regions, orders):
    """Blank regions one after the other, and return the change of the score.

    Parameters
    ----------
    model : torch.nn.Module in eval mode
    volume : array (channels, x, y, z), as the model reads it
    fills : {name: array (channels, x, y, z)}, what blanked voxels become
    regions : list of bool arrays (x, y, z), the regions in the order of the atlas; they do not overlap
    orders : {name: sequence of places in `regions`}

    Returns
    -------
    DataFrame with fill, order, step, fraction and drop: the first regions of the order that together have at least the
    share `step` of the volume of all regions are blanked, which is the share `fraction`; `drop` is the score of the
    whole image (logit of the positive class minus that of the negative class) minus that of the blanked one
    """
    rows, states = _steps(orders, np.array([own.sum() for own in regions], dtype=float))
    parts = [part_of(own) for own in regions]
    tables = []
    for fill, values in fills.items():
        scores = _scores(model, volume, values, parts, states)
        tables.append(rows.assign(drop=scores[0] - scores[1:]))
        tables[-1].insert(0, "fill", fill)
    return pd.concat(tables, ignore_index=True)


def _steps(orders, sizes):
    """The orders and steps as a table, and which regions are blanked at each step, bool (steps, regions)."""
    rows, states = [], []
    for name, order in orders.items():
        shares = np.cumsum(sizes[list(order)]) / sizes.sum()
        for step in STEPS:
            n = int(np.searchsorted(shares, step - 1e-9)) + 1
            rows.append({"order": name, "step": step, "fraction": float(shares[n - 1])})
            states.append(np.isin(np.arange(len(sizes)), order[:n]))
    return pd.DataFrame(rows), np.array(states)


def _scores(model, volume, values, parts, states):
    """Scores of the image and of each set of parts replaced by `values`."""
    batch, fill = (torch.from_numpy(own).to(next(model.parameters()).device) for own in (volume[None], values))
    how = {"engine": "auto"} if fill[0].numel() >= LEAST_VOXELS else {"engine": "plain", "batch_size": BATCH}
    logits = logits_of_states(model, batch, parts, states, value=fill, **how)
    return _differences(logits)


def score_images(model, images):
    """Return the score (logit of the positive class minus that of the negative class) of each image, as an array."""
    device, found = next(model.parameters()).device, []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(np.stack(images[start : start + BATCH])).to(device)
            found.append(_differences(model(batch)))
    return np.concatenate(found)


def _differences(logits):
    logits = two_logits(logits).float().cpu().numpy()
    return logits[:, 1] - logits[:, 0]


def blurred(volume, mask, voxel_mm):
    """Blur a scan inside the mask; voxels outside stay 0."""
    sigma = [0, *(BLUR_MM / np.asarray(voxel_mm))]
    weight = np.maximum(ndimage.gaussian_filter(mask.astype(np.float32), sigma[1:]), 1e-6)
    return (ndimage.gaussian_filter(volume * mask, sigma) / weight * mask).astype(volume.dtype)


def orders_of(enrichment, rng):
    """Orders in which the regions are blanked, by name.

    Parameters
    ----------
    enrichment : {method: array (regions,)} of one scan; NaN counts as 0
    rng : numpy Generator, of the random orders that all methods share

    Returns
    -------
    {"most|<method>", "least|<method>", "random|<k>": array (regions,)}; ties are broken at random
    """
    n = len(next(iter(enrichment.values())))
    orders = {}
    for method, values in enrichment.items():
        ascending = np.lexsort((rng.permutation(n), np.nan_to_num(values)))
        orders |= {f"most|{method}": ascending[::-1], f"least|{method}": ascending}
    return orders | {f"random|{k}": rng.permutation(n) for k in range(RANDOM_ORDERS)}


def scan_rows(table, facts):
    """Name method and order of `blank_regions`, average the random orders, and add the facts of the scan."""
    split = table["order"].str.split("|", expand=True)
    table = table.assign(order=split[0], method=split[1].where(split[0] != "random", ""))
    keys = ["fill", "method", "order", "step"]
    return table.groupby(keys, as_index=False, sort=False)[["fraction", "drop"]].mean().assign(**facts)


def join_faithfulness(paths, *, n_flips=10_000, seed=0):
    """Read the probes of all folds: their curves (`curves_of`), and their summary (`summarise_faithfulness`)."""
    rows = pd.concat([read_table(path, FAITHFULNESS) for path in paths], ignore_index=True)
    return curves_of(rows), summarise_faithfulness(rows, n_flips=n_flips, seed=seed)


def curves_of(rows):
    """Average the drops over subjects, with Student's 95 % interval.

    Returns
    -------
    DataFrame with fill, method ("" for random orders), order, step, mean, low, high
    """
    keys = ["fill", "method", "order", "step"]
    rows = rows.assign(method=rows["method"].fillna(""))  # of random orders, in a table that was read
    by_subject = rows.groupby([*keys, "subject_id"], sort=False)["drop"].mean()
    curves = by_subject.groupby(keys, sort=False).agg([("mean", "mean"), ("limits", student_interval)]).reset_index()
    low, high = zip(*curves.pop("limits"), strict=True)
    return curves.assign(low=low, high=high)


def summarise_faithfulness(rows, *, n_flips=10_000, seed=0):
    """Compare each method's orders with random ones, with the subject as the unit.

    Parameters
    ----------
    rows : DataFrame by trust_tables.FAITHFULNESS
    n_flips, seed : int, of the sign flips

    Returns
    -------
    DataFrame by trust_tables.FAITHFULNESS_SUMMARY, for each fill and method

    - most, least, random: area over the perturbation curve (AOPC), the mean drop over the steps, mean over subjects
    - gain: most minus random, with Student's 95 % interval; `contrast`: most minus least
    - p, p_family: one-sided, by flips of the sign of the subjects' gains, alone and corrected over the methods of a
      fill by the maximum of t. A gain is not due to the method if it is as probable as its negative

    References
    ----------
    Samek 2017 (AOPC); Winkler 2014 (sign flips); Westfall & Young 1993 (maximum).
    """
    if not len(rows):
        raise InputError("there is no scan whose regions were blanked")
    rows = rows.assign(method=rows["method"].fillna(""))  # of random orders, in a table that was read
    aopc = rows.groupby(["fill", "method", "order", "subject_id"])["drop"].mean()
    methods = [name for name in rows["method"].unique() if name]
    tables = [
        _summarise_fill(aopc[fill].unstack("subject_id"), fill, methods, n_flips, seed)
        for fill in rows["fill"].unique()
    ]
    return pd.concat(tables, ignore_index=True)[list(FAITHFULNESS_SUMMARY.columns)]


def _summarise_fill(aopc, fill, methods, n_flips, seed):
    random = aopc.loc[("", "random")]
    gains = np.stack([(aopc.loc[(name, "most")] - random).to_numpy() for name in methods])
    n = gains.shape[1]
    tested = _flip_test(gains, n_flips, np.random.default_rng(seed))
    limits = [student_interval(own) if n >= LEAST_SUBJECTS else (np.nan, np.nan) for own in gains]
    table = pd.DataFrame(limits, columns=["low", "high"]).assign(fill=fill, method=methods, n_subjects=n)
    table = table.assign(gain=gains.mean(axis=1), random=float(random.mean()), **tested)
    for order in ("most", "least"):
        table[order] = [float(aopc.loc[(name, order)].mean()) for name in methods]
    return table.assign(contrast=table["most"] - table["least"])


def _flip_test(gains, n_flips, rng):
    if gains.shape[1] < LEAST_SUBJECTS:
        return {"p": np.nan, "p_family": np.nan}

    def t_of(values):
        spread = values.std(axis=-1, ddof=1)
        return values.mean(axis=-1) / np.where(spread > 0, spread, np.inf) * np.sqrt(values.shape[-1])

    found = t_of(gains)
    signs = rng.choice([-1.0, 1.0], size=(n_flips, 1, gains.shape[1]))
    larger, largest = np.ones(len(gains)), np.ones(len(gains))
    for start in range(0, n_flips, 500):
        drawn = t_of(signs[start : start + 500] * gains)
        larger += (drawn >= found - 1e-9).sum(axis=0)
        largest += (drawn.max(axis=1, keepdims=True) >= found - 1e-9).sum(axis=0)
    return {"p": larger / (1 + n_flips), "p_family": largest / (1 + n_flips)}
