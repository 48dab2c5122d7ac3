"""Where a new scan stands among the subjects of a study: its score, the relevance of each region, and its volume."""

from __future__ import annotations

import numpy as np
import pandas as pd

from voxelwhy.evaluation.new_scan.reference import percentile

FIGURES = ("total", "share", "enrichment")


def compare_score(reference, scores):
    """The probability over folds, and its percentile among the subjects of each class.

    Parameters
    ----------
    reference : reference.Reference
    scores : DataFrame with fold and probability, of the new scan

    Returns
    -------
    dict : probability (mean over folds), low, high (smallest and largest), sd (over folds; NaN for one), folds
        {fold: probability}, percentiles {class: dict of `percentile`}
    """
    values = scores["probability"].to_numpy()
    mean = float(values.mean())
    return {
        "probability": mean,
        "low": float(values.min()),
        "high": float(values.max()),
        "sd": float(values.std(ddof=1)) if len(values) > 1 else np.nan,
        "folds": {str(fold): float(value) for fold, value in zip(scores["fold"], values, strict=True)},
        "percentiles": {name: percentile(mean, own) for name, own in reference.scores.items()},
    }


def compare_regions(reference, method, tables, explained):
    """Relevance of each region, mean over folds, and the percentile of its enrichment among the subjects of each class.

    Parameters
    ----------
    reference : reference.Reference
    method : str
    tables : list of DataFrame of `relevance_by_region`, one a fold
    explained : str, the class that the maps explain; maps of the study that explain the other one are not compared

    Returns
    -------
    DataFrame with method, region_id, region, total, share, enrichment, rank, and for each class `percentile_<class>`,
    its interval `low_<class>` and `high_<class>`, and `n_<class>`, the subjects whose maps the study has
    """
    means = pd.concat(tables).groupby("region_id", sort=False)[list(FIGURES)].mean()
    known = reference.relevance(method, explained)
    found = reference.study.regions[["region_id", "region"]].merge(means, on="region_id")
    found.insert(0, "method", method)
    found["rank"] = found["enrichment"].round(9).fillna(-1).rank(method="first", ascending=False).astype(int)
    return _with_percentiles(found, "enrichment", known)


def compare_volumes(reference, means):
    """The volume of each region, or what stands for it, and its percentile among the subjects of each class.

    Parameters
    ----------
    reference : reference.Reference
    means : DataFrame of one row, by region

    Returns
    -------
    DataFrame with region_id, region, value, and the percentiles of `compare_regions`
    """
    found = reference.study.regions[["region_id", "region"]].assign(
        value=means.iloc[0].loc[reference.study.regions["region_id"]].to_numpy()
    )
    return _with_percentiles(found, "value", reference.volumes())


def _with_percentiles(table, column, known):
    for name, subjects in known.items():
        rows = [
            percentile(value, subjects.get(region, []))
            for region, value in zip(table["region_id"], table[column], strict=True)
        ]
        for figure in ("percentile", "low", "high", "n"):
            table[f"{figure}_{name}"] = [row[figure] for row in rows]
    return table
