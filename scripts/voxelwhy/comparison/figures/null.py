"""Figure: cohorts without any planted disease, with accuracy by chance and the detections that methods claim."""

from __future__ import annotations

import numpy as np

from voxelwhy.comparison.summary import ANY, AUDIT, NOMINAL
from voxelwhy.evaluation.intervals import student_interval
from voxelwhy.io.text import interval, method_title
from voxelwhy.report.figures.style import ACCENT, INK, MUTED, RULE, SECOND, WARN, new_figure, save_figure, styled


@styled
def draw_null(cells, methods, claims, out, *, simulated, dpi=150):
    """Draw the AUC of each repeat, the p values of each method, and how often it claims a detection.

    Parameters
    ----------
    `cells`, methods, claims : DataFrames of `comparison.summary.cell_table`, `method_table` and `claims_table`
    out : path without suffix

    Returns
    -------
    str, the caption
    """
    names = [name for name in claims["method"] if name in set(methods["method"])]
    fig, panels = new_figure(
        1, 3, figsize=(9.6, 0.42 * max(len(names) + 1, 6) + 1.5), layout="constrained", width_ratios=(1.2, 1.4, 1.2)
    )
    mean = cells["auc"].mean()
    low, high = student_interval(cells["auc"])
    _aucs(panels[0], cells, mean, low, high)
    places = np.arange(len(names))[::-1]
    for place, name in zip(places, names, strict=True):
        own = methods[methods["method"] == name]
        for offset, colour, column in ((0.16, SECOND, "p_regions"), (-0.16, ACCENT, "p")):
            panels[1].plot(own[column], np.full(len(own), place + offset), "|", color=colour, ms=8, mew=1.2)
    panels[1].axvspan(0, NOMINAL, color=WARN, alpha=0.12, lw=0)
    panels[1].set(title="p of each cohort", xlim=(-0.02, 1.02))
    _claims(panels[2], claims, [*names, ANY, *[AUDIT] * (AUDIT in set(claims["method"]))])
    for axes in panels[1:]:
        axes.grid(axis="x", color=RULE, lw=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
    panels[1].set_yticks(places, [method_title(name) for name in names])
    panels[1].set_ylim(-0.6, len(names) - 0.4)
    fig.legend(*panels[2].get_legend_handles_labels(), loc="outside lower right", ncols=4)
    caption = (
        f"{len(cells)} cohorts of {int(cells['n_subjects'].max())} subjects without any planted atrophy. Left: AUC "
        "within folds of each cohort with its 95 % interval over subjects, and their mean, "
        f"{interval(mean, low, high)} (95 %, Student; band); dotted: 0.5. Middle: p of each method in each cohort, for "
        f"the regions that an effect of 1 would have changed; shaded: up to {NOMINAL:g}. Right: share of cohorts with "
        f"p of at most {NOMINAL:g}, and share in which a study would report a detection (corrected over methods; row "
        '"any of them": by any method), with exact 95 % intervals; dashed: the nominal rate. Orange: compared with '
        "permuted regions"
        f"{'; blue: compared with networks trained on shuffled diagnoses' * bool(methods['p'].notna().any())}"
        f"{_of_trust(claims)}."
    )
    title = "Where nothing was planted"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="comparison", dpi=dpi)


def _of_trust(claims):
    words = ""
    if claims["n_regions"].notna().any():
        words += "; black: any region that differs between the classes (corrected over regions, not over methods)"
    if AUDIT in set(claims["method"]):
        words += ". Lowest row: share in which the audit of shortcuts raises any property (corrected over all of them)"
    return words


def _aucs(axes, cells, mean, low, high):
    ordered = cells.sort_values("auc", ignore_index=True)
    places = np.arange(len(ordered))
    if np.isfinite(low):
        axes.axvspan(low, high, color=ACCENT, alpha=0.15, lw=0)
    axes.axvline(mean, color=ACCENT, lw=1.2)
    axes.axvline(0.5, color=MUTED, lw=0.8, ls=":")
    axes.hlines(places, ordered["auc_low"], ordered["auc_high"], color=MUTED, lw=0.9)
    axes.plot(ordered["auc"], places, "o", color=ACCENT, ms=3.5)
    axes.set(title="AUC of each cohort", xlim=(0, 1), yticks=[])


def _claims(axes, claims, names):
    places = np.arange(len(names))[::-1]
    kinds = (
        (0.27, SECOND, "permuted", "permuted regions"),
        (0.09, ACCENT, "shuffled", "shuffled diagnoses"),
        (-0.09, WARN, "claims", "claims of a study"),
        (-0.27, INK, "regions", "regions by class"),
    )
    for place, name in zip(places, names, strict=True):
        row = claims[claims["method"] == name].iloc[0]
        for offset, colour, kind, label in kinds:
            if np.isfinite(row[f"share_{kind}"]):
                axes.hlines(place + offset, row[f"{kind}_low"], row[f"{kind}_high"], color=colour, lw=1.4)
                label = label if name == names[0] else None
                axes.plot(row[f"share_{kind}"], place + offset, "o", color=colour, ms=4.5, label=label)
    axes.axvline(NOMINAL, color=MUTED, lw=0.9, ls="--")
    axes.set(title="Share of cohorts", xlim=(-0.02, 1.02), ylim=(-0.6, len(names) - 0.4))
    titles = {ANY: "any of them", AUDIT: AUDIT}
    axes.set_yticks(places, [titles.get(name) or method_title(name) for name in names])
