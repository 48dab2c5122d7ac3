"""Whether maps come out again, for readers: tables, and one sentence for each method."""

from __future__ import annotations

import numpy as np
import pandas as pd

from voxelwhy.io.text import interval, method_title, number
from voxelwhy.report.tables import publish_table

PART = "Does another training give the same map?"
#: Comparisons of STABILITY by (of, comparison), as a table shows them; means are numbered.
COMPARED = {
    ("maps", "trainings"): "maps of the same scan, two trainings",
    ("regions", "trainings"): "regions, two trainings of all folds",
    ("regions", "folds"): "regions, two folds",
    ("regions", "halves"): "regions, two halves of the subjects",
    ("regions", "methods"): "regions, another method",
}
#: Fewest regions in which ten are a minority.
MANY = 20


def stability_row(summary, regions):
    """Answer whether the maps of one method come out again, as a row of trust_tables.TRUST.

    Parameters
    ----------
    summary, regions : the rows of one method in tables by trust_tables.STABILITY and STABILITY_REGIONS
    """
    title, found = method_title(summary["method"].iloc[0]), summary.set_index(["of", "comparison", "measure"])
    of_maps = found.loc[("maps", "trainings", "spearman")]

    def said(*key):
        return interval(*found.loc[key, ["value", "low", "high"]])

    words = f"{title}: maps of the same scan by two trainings correlate at ρ {said('maps', 'trainings', 'spearman')}"
    if ("maps", "means of 2", "spearman") in found.index:
        words += f", means over two trainings at ρ {said('maps', 'means of 2', 'spearman')}"
    words += f". Tables of regions share {_share(found.loc[('regions', 'trainings', 'first_ten'), 'value'], regions)}"
    words += f" and correlate at ρ {said('regions', 'trainings', 'spearman')}"
    if ("regions", "halves", "spearman") in found.index:
        words += f" (halves of the subjects: {number(found.loc[('regions', 'halves', 'spearman'), 'value'])})"
    words += f"; the median ICC of a region is {number(_median(regions))}."
    if of_maps["n_trainings"] == 2:
        words += " All this holds for these two trainings; others may differ."
    return _answer(title, of_maps, words)


def not_compared_row(reason):
    """The row where no trainings are compared, with the reason."""
    nothing = {"value": np.nan, "low": np.nan, "high": np.nan, "n_subjects": 0}
    return _answer("all methods", nothing, f"Not examined: {reason}.")


def _answer(of, row, sentence):
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    answer = {"part": PART, "of": of, "measure": "Spearman, two trainings", "value": value, "low": low, "high": high}
    return answer | {"p": np.nan, "n_subjects": int(row["n_subjects"]), "sentence": sentence}


def _share(share, regions):
    if len(regions) >= MANY:
        return f"{number(10 * share, 1)} of the first ten regions"
    return f"{100 * share:.0f} % of the first half of the regions"


def _median(regions):
    known = regions["icc"].dropna()
    return float(known.median()) if len(known) else np.nan


def publish_stability(summary, out, *, atlas):
    """How far maps and tables of regions agree, one row for each method and comparison.

    Parameters
    ----------
    summary : DataFrame by trust_tables.STABILITY
    atlas : str
    """
    rows = []
    for (method, of, comparison), own in summary.groupby(["method", "of", "comparison"], sort=False):
        said = {row.measure: interval(row.value, row.low, row.high) for row in own.itertuples()}
        compared = COMPARED.get((of, comparison), f"maps of the same scan, {comparison} trainings")
        row = {"Method": method_title(method), "Compared": compared, "ρ (95 % CI)": said["spearman"]}
        row |= {"Share of the first ten (95 % CI)": said.get("first_ten", "–")}
        rows.append(row | {"n": own["n_subjects"].iloc[0]})
    n_trainings = int(summary["n_trainings"].max())
    caption = (
        f"Agreement of maps that explain the positive class by {n_trainings} trainings of each fold, and of tables of "
        f"{atlas} regions (mean enrichment over subjects of the positive class; n: subjects). Spearman's ρ, mean over "
        "all pairs. Halves: two halves of the subjects of each fold by the same networks, stepped up to all subjects "
        "(Spearman-Brown); other methods cannot be expected to agree better than a method agrees with itself. "
        f"Intervals: {_intervals(n_trainings)}, by the jackknife (correlations) and by random weights (shares)."
    )
    title = "Stability of maps and regions"
    return publish_table(summary, pd.DataFrame(rows), out, title=title, caption=caption, category="trust")


def _intervals(n_trainings):
    return "over subjects and trainings" if n_trainings > 2 else "over subjects, given these two trainings"


def publish_stability_regions(regions, out, *, atlas, top=10):
    """ICC and ranks of the first regions of each method.

    Parameters
    ----------
    regions : DataFrame by trust_tables.STABILITY_REGIONS
    atlas : str
    top : int, regions by mean rank
    """
    chosen = pd.concat(
        [own.sort_values("rank", kind="stable").head(top) for _, own in regions.groupby("method", sort=False)]
    )
    shown = pd.DataFrame(
        {
            "Method": chosen["method"].map(method_title),
            "Region": chosen["region"],
            "Rank (lowest to highest)": [
                f"{number(row.rank_mean, 1)} ({row.rank_low:.0f} to {row.rank_high:.0f})"
                for row in chosen.rename(columns={"rank": "rank_mean"}).itertuples()
            ],
            "ICC (95 % CI)": [interval(row.icc, row.low, row.high) for row in chosen.itertuples()],
            "n": chosen["n_subjects"],
        }
    )
    medians = "; ".join(
        f"{method_title(method)} {number(_median(own))}" for method, own in regions.groupby("method", sort=False)
    )
    n_trainings = int(regions["n_trainings"].max())
    caption = (
        f"The {top} {atlas} regions with the lowest mean rank over {n_trainings} trainings of each fold, by method, "
        "and the range of their ranks. ICC(2,1): share of the variance of a subject's enrichment that is due to "
        "differences between subjects of a fold and not to the training (Shrout & Fleiss 1979). Medians over all "
        f"regions: {medians}. Intervals: {_intervals(n_trainings)}, by the jackknife."
    )
    title = "Regions in several trainings"
    return publish_table(regions, shown, out, title=title, caption=caption, category="trust")
