"""How often methods detect what separates the classes, over cohorts that differ, and what an earlier rule claimed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from voxelwhy.comparison.summary import NOMINAL
from voxelwhy.evaluation.intervals import exact_interval, student_interval

#: Draws of shuffled diagnoses by which the earlier rule decided.
EARLIER_DRAWS = 5


def detection_table(methods, columns):
    """Make a table with one row per combination and method: mean AUPRC over cohorts, and how many detect.

    Parameters
    ----------
    methods : DataFrame of `summary.method_table`; each repeat is a cohort of its own
    columns : names of the choices

    Returns
    -------
    DataFrame with

    - n_cohorts; region_auprc, auprc_low, auprc_high: mean over cohorts with Student's 95 % interval
    - shuffled_auprc, region_chance: means over cohorts of what shuffled diagnoses and permuted regions give
    - n_shuffled: draws of shuffled diagnoses in each cohort
    - n_found, share_found, found_low, found_high: cohorts in which the study detects, with the exact 95 % interval
    """
    rows = []
    for key, own in methods.groupby([*columns, "method"], sort=False):
        n, found = len(own), int((own["verdict"] == "detected").sum())
        low, high = exact_interval(found, n)
        mean_low, mean_high = student_interval(own["region_auprc"])
        rows.append(
            dict(zip([*columns, "method"], key, strict=True))
            | {"n_cohorts": n, "region_auprc": own["region_auprc"].mean(skipna=False)}
            | {"auprc_low": mean_low, "auprc_high": mean_high}
            | {name: own[name].mean() for name in ("shuffled_auprc", "region_chance")}
            | {"n_shuffled": int(own["n_shuffled"].min()), "n_found": found, "share_found": found / n}
            | {"found_low": low, "found_high": high}
        )
    return pd.DataFrame(rows)


def earlier_claims(methods):
    """Tell what studies would have claimed by the rule of voxelwhy 0.1, which is no longer used.

    A method claimed a detection if its AUPRC exceeded both those of permuted regions and those of five draws of
    shuffled diagnoses, the latter by Student's t for one further value, with Holm's correction over the methods.

    Parameters
    ----------
    methods : DataFrame of `summary.method_table` of one combination: repeat, p_regions, region_auprc, draws

    Returns
    -------
    Series of bool by the rows of `methods`; None if there are fewer draws
    """
    if min(map(len, methods["draws"])) < EARLIER_DRAWS:
        return None
    draws = np.array([own[:EARLIER_DRAWS] for own in methods["draws"]])
    spread = draws.std(axis=1, ddof=1) * np.sqrt(1 + 1 / EARLIER_DRAWS)
    t = (methods["region_auprc"].to_numpy() - draws.mean(axis=1)) / np.maximum(spread, 1e-9)
    p = np.maximum(stats.t.sf(t, EARLIER_DRAWS - 1), methods["p_regions"])
    corrected = pd.Series(p, methods.index).groupby(methods["repeat"]).transform(
        lambda own: multipletests(own, method="holm")[1]
    )  # fmt: skip
    return corrected <= NOMINAL
