"""Figure of the section Trust: what else the score follows, one line with a verdict for each check."""

from __future__ import annotations

import numpy as np

from voxelwhy.io.trust_tables import SHORTCUTS, TESTED
from voxelwhy.report.figures.style import ACCENT, INK, MUTED, RULE, SECOND, new_figure, save_figure, styled
from voxelwhy.report.shortcuts import property_title, verdict

SIGNIFICANT = 0.05
#: How a measure is brought to the scale of a correlation.
SCALED = {"Spearman": lambda value: value, "AUC": lambda value: 2 * value - 1, "η²": np.sqrt}
DECODED = ("decoded_network", "decoded_regions")
#: Names of the lines of the second panel, by check.
NAMES = {
    "nuisances_alone": "properties alone",
    "matched": "network, matched pairs",
    "silhouette": "network on silhouettes alone",
    "background": "network on background alone",
    "decoded_network": "features of the network",
    "decoded_regions": "region means",
    "outside": "outside the brain",
}


@styled
def draw_shortcuts(shortcuts, out, *, simulated, of="", dpi=150):
    """Forest plot: how closely the score follows each property within a class, and what is left without them.

    Parameters
    ----------
    shortcuts : DataFrame by trust_tables.SHORTCUTS
    of : str, names the cohort if the scans are another study's (io.text.of_cohort)

    Returns
    -------
    str, the caption
    """
    shortcuts = shortcuts[list(SHORTCUTS.columns)]
    tested = shortcuts[shortcuts["check"].isin(TESTED)]
    numbers = shortcuts[shortcuts["check"].isin(DECODED) & (shortcuts["measure"] == "Spearman")]
    shares = shortcuts[shortcuts["check"].isin(NAMES) & (shortcuts["measure"] != "Spearman")]
    parts = [[*tested.to_dict("records"), *numbers.to_dict("records")], shares.to_dict("records")]
    sizes = [max(len(part), 1) for part in parts]
    height = 0.24 * sum(sizes) + 1.7
    fig, panels = new_figure(2, 1, figsize=(9.0, height), layout="constrained", height_ratios=sizes)
    _draw_lines(panels[0], [_scaled(row) for row in parts[0]], 0.0)
    panels[0].set(title="Rank correlations with each property", xlim=(-1, 1))
    _draw_lines(panels[1], parts[1], 0.5)
    panels[1].set(title="AUC, or share of relevance", xlim=(0, 1.02))
    caption = (
        f"What else the score of the network follows{of}. Above: rank correlation of the score with each property "
        "within a class, or of the property with the class (by class), within folds, with 95 % intervals (for two "
        "values 2 AUC - 1, for more categories η); filled: p of at most 0.05, by permutation and corrected over all "
        "of them (Holm). Below: AUC of the properties alone "
        "(logistic regression on the same folds), and of the network in pairs of a patient and a control that are "
        "alike."
    )
    if shortcuts["check"].isin(["silhouette", "background"]).any():
        caption += (
            " Silhouettes and background: scores of images in which everything else has the mean of training scans."
        )
    if shortcuts["check"].isin(DECODED).any():
        caption += (
            " Features: a property of test controls, predicted from the last features of the network, and from "
            "region means, by a regression on training controls."
        )
    title = "What else the score follows"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="trust", dpi=dpi)


def _scaled(row):
    scale = SCALED[row["measure"]]
    return row | {name: scale(row[name]) for name in ("value", "low", "high")}


def _draw_lines(axes, rows, zero):
    places = np.arange(len(rows))[::-1]
    for place, row in zip(places, rows, strict=True):
        raised = row["p_family"] <= SIGNIFICANT
        colour = SECOND if raised else ACCENT
        axes.hlines(place, row["low"], row["high"], color=colour, lw=1.6)
        axes.plot(row["value"], place, "o", color=colour, ms=5.5, mfc=colour if raised else "white")
        axes.text(1.02, place, verdict(row), transform=axes.get_yaxis_transform(), va="center", fontsize=7, color=INK)
    axes.axvline(zero, color=MUTED, lw=0.9, ls=":")
    axes.set_ylim(-0.6, max(len(rows), 1) - 0.4)
    axes.set_yticks(places, [_name(row) for row in rows])
    axes.grid(axis="x", color=RULE, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)


def _name(row):
    n = f"(n = {row['n_subjects']})"
    if row["check"] == "follows":
        return f"{row['property']}, {row['group']} {n}"
    if row["check"] == "differs":
        return f"{row['property']}, by class {n}"
    if row["check"] in DECODED:
        return f"{row['property']} from {NAMES[row['check']]}, {row['group']} {n}"
    if row["check"] == "outside":
        return f"{property_title(row)}, {NAMES['outside']}, {row['group']} {n}"
    return f"{NAMES[row['check']]} {n}"
