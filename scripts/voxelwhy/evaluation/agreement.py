"""Agreement of mean maps: between the classes for each method, and between methods."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from voxelwhy.errors import InputError, ShapeError


def compare_maps(maps, mask, *, classes):
    """Compute the Euclidean distance and the rank correlation of mean maps over brain voxels.

    Parameters
    ----------
    maps : {method: {group: array (x, y, z)}}, raw mean maps of both classes and any further groups
    mask : boolean array (x, y, z), the brain
    classes : {"positive": name, "negative": name}

    Returns
    -------
    DataFrame by the AGREEMENT schema
        "classes": each method's mean map of the positive class against that of the negative class, both raw (in the
        units of the method) and scaled so that the absolute values inside the mask sum to 1. "methods": each pair of
        methods for each group, scaled because raw maps have different units. A map that is zero everywhere cannot be
        scaled, so its distance is NaN; the rank correlation of a constant map is NaN too.

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
    rows = []
    positive, negative = classes["positive"], classes["negative"]
    for method, groups in inside.items():
        pair = (groups[positive], groups[negative])
        for scaling, (first, second) in (("raw", pair), ("scaled", [_scaled(values) for values in pair])):
            rows.append(_row("classes", scaling, f"{positive} - {negative}", method, method, first, second))
    shared = [group for group in next(iter(inside.values()), {}) if all(group in groups for groups in inside.values())]
    for group in shared:
        for one, other in combinations(inside, 2):
            first, second = _scaled(inside[one][group]), _scaled(inside[other][group])
            rows.append(_row("methods", "scaled", group, one, other, first, second))
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


def _row(comparison, scaling, group, first_name, second_name, first, second):
    defined = np.isfinite(first).all() and np.isfinite(second).all() and np.ptp(first) > 0 and np.ptp(second) > 0
    return {
        "comparison": comparison,
        "scaling": scaling,
        "group": group,
        "first": first_name,
        "second": second_name,
        "distance": float(np.linalg.norm(first - second)),
        "spearman": float(spearmanr(first, second).statistic) if defined else np.nan,
        "n_voxels": len(first),
    }
