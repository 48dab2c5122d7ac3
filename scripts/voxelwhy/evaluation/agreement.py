"""Agreement of mean maps: between the classes for each method, and between methods."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from voxelwhy.errors import InputError, ShapeError


def compare_maps(maps, mask, enrichment, *, classes, raw=None):
    """Compute the Euclidean distance and the rank correlation of mean maps, over brain voxels and over regions.

    Parameters
    ----------
    maps : {method: {group: array (x, y, z)}}
        Mean maps of both classes and any further groups, each scan's map scaled to a sum of absolute values of 1. Means
        of raw maps of several networks would be those of the network with the largest gradients.
    mask : boolean array (x, y, z), the brain
    enrichment : {method: {group: array (regions,)}}, mean enrichment of the regions of an atlas, in one order
    classes : {"positive": name, "negative": name}
    raw : mean maps that are not scaled, as `maps`; only if one network explains all scans

    Returns
    -------
    DataFrame by the AGREEMENT schema
        "classes": each method's mean map of the positive class against that of the negative class, as it is and, if
        given, raw (in the units of the method). "methods": each pair of methods for each group. Mean maps are scaled
        again so that their absolute values inside the mask sum to 1. A map that is zero everywhere cannot be scaled, so
        its distance is NaN; the rank correlation of a constant map is NaN too. Rows over regions have no distance;
        regions without enrichment in one of both are left out.

    Raises
    ------
    InputError
        A method has no map of a class.
    ShapeError
        A map differs in shape from the mask.

    References
    ----------
    Rieke et al. 2018, section 3 (distances between mean heatmaps).
    """
    mask = np.asarray(mask, dtype=bool)
    inside = {method: _inside(method, groups, mask, classes) for method, groups in maps.items()}
    unscaled = {method: _inside(method, groups, mask, classes) for method, groups in (raw or {}).items()}
    rows = []
    positive, negative = classes["positive"], classes["negative"]
    for method, groups in inside.items():
        names = ("classes", f"{positive} - {negative}", method, method)
        if unscaled:
            rows.append(_row(*names, "raw", unscaled[method][positive], unscaled[method][negative]))
        rows.append(_row(*names, "scaled", _scaled(groups[positive]), _scaled(groups[negative])))
        rows.append(_region_row(*names, enrichment[method][positive], enrichment[method][negative]))
    shared = [group for group in next(iter(inside.values()), {}) if all(group in groups for groups in inside.values())]
    for group in shared:
        for one, other in combinations(inside, 2):
            names = ("methods", group, one, other)
            rows.append(_row(*names, "scaled", _scaled(inside[one][group]), _scaled(inside[other][group])))
            rows.append(_region_row(*names, enrichment[one][group], enrichment[other][group]))
    return pd.DataFrame(rows)


def _inside(method, groups, mask, classes):
    missing = [name for name in (classes["positive"], classes["negative"]) if name not in groups]
    if missing:
        raise InputError(f"method {method} has no mean map of a class", found=list(groups), allowed=missing)
    for group, values in groups.items():
        if np.shape(values) != mask.shape:
            raise ShapeError(f"mean map {group} of {method} has shape {np.shape(values)}, the mask has {mask.shape}")
    return {group: np.asarray(values, dtype=float)[mask] for group, values in groups.items()}


def _scaled(values):
    total = np.abs(values).sum()
    return values / total if total > 0 else np.full_like(values, np.nan)


def _row(comparison, group, one, other, scaling, first, second):
    names = {"comparison": comparison, "scaling": scaling, "group": group, "first": one, "second": other}
    figures = {"distance": float(np.linalg.norm(first - second)), "spearman": _rank_correlation(first, second)}
    return names | figures | {"over": "voxels", "n": len(first)}


def _region_row(comparison, group, one, other, first, second):
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    known = np.isfinite(first) & np.isfinite(second)
    names = {"comparison": comparison, "scaling": "enrichment", "group": group, "first": one, "second": other}
    figures = {"distance": np.nan, "spearman": _rank_correlation(first[known], second[known])}
    return names | figures | {"over": "regions", "n": int(known.sum())}


def _rank_correlation(first, second):
    values = np.concatenate([first, second])
    defined = len(first) > 1 and np.isfinite(values).all() and np.ptp(first) > 0 and np.ptp(second) > 0
    return float(spearmanr(first, second).statistic) if defined else np.nan
