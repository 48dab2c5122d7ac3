"""Figures of the probes of single maps: curves of blanking, and similarity of maps as weights are reset."""

from __future__ import annotations

from itertools import cycle

import numpy as np

from voxelwhy.io.text import method_title
from voxelwhy.report.figures.style import CYCLE, MUTED, RULE, new_figure, save_figure, styled

#: Panels of a figure in one row.
COLUMNS = 4
ORDERS = {"most": ("#d55e00", "most relevant first"), "least": ("#0072b2", "least relevant first")}
MEASURES = {"spearman": "Spearman's ρ", "spearman_absolute": "ρ of absolute values", "ssim": "SSIM"}


@styled
def draw_faithfulness(curves, summary, out, *, simulated, dpi=150):
    """Drop of the score as regions are blanked, with one panel per method.

    Parameters
    ----------
    curves : DataFrame of `evaluation.faithfulness.curves_of`
    summary : DataFrame by trust_tables.FAITHFULNESS_SUMMARY

    Returns
    -------
    str, the caption
    """
    own = curves[curves["fill"] == "mean"]
    methods = [name for name in dict.fromkeys(own["method"]) if name]
    bands = dict(iter(own.groupby(["method", "order"])))
    random = bands["", "random"]
    fig, panels = _grid(len(methods))
    by_method = summary[summary["fill"] == "mean"].set_index("method")
    for axes, method in zip(panels, methods, strict=False):
        axes.plot(100 * random["step"], random["mean"], color=MUTED, lw=1.3, ls="--", label="random order")
        for order, (colour, label) in ORDERS.items():
            band = bands[method, order]
            axes.plot(100 * band["step"], band["mean"], color=colour, lw=1.6, label=label)
            axes.fill_between(100 * band["step"], band["low"], band["high"], color=colour, alpha=0.15, lw=0)
        found = by_method.loc[method, "p_family"]
        axes.set_title(method_title(method) + (" *" if found <= 0.05 else ""), fontsize=9)
        axes.set(xlim=(0, 52))
        axes.grid(color=RULE, lw=0.6)
    panels[0].set_ylabel("drop of the logit difference")
    fig.supxlabel("blanked share of the brain, %", fontsize=8.5)
    fig.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    n = int(summary["n_subjects"].max())
    caption = (
        f"Change of the score when regions are blanked one after the other, in the order of each scan's own map ({n} "
        "test subjects, each by the network of its fold). Blanked voxels become the mean of the training controls. "
        "Lines: mean over subjects; bands: Student's 95 % interval; dashed: mean of 10 random orders, the same for "
        "all methods. *: blanking the most relevant regions first lowers the score more than random orders do, p of "
        "at most 0.05 by sign flips over subjects, corrected over methods (max-T)."
    )
    title = "Does blanking what a map marks change the score?"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="trust", dpi=dpi)


@styled
def draw_randomised(summary, out, *, simulated, dpi=150):
    """Similarity of maps to those of the trained network as its layers are reset, with one panel per method.

    Parameters
    ----------
    summary : DataFrame by trust_tables.RANDOMISED_SUMMARY

    Returns
    -------
    str, the caption
    """
    methods = list(dict.fromkeys(summary["method"]))
    fig, panels = _grid(len(methods))
    for axes, method in zip(panels, methods, strict=False):
        own = summary[summary["method"] == method]
        for colour, (measure, label) in zip(cycle(CYCLE), MEASURES.items()):
            part = own[own["measure"] == measure].sort_values("depth")
            reset, floor = part[part["depth"] > 0], part[part["depth"] == 0]
            x = np.append(0, reset["depth"])
            axes.plot(x, np.append(1, reset["value"]), "o-", color=colour, ms=3.5, lw=1.4, label=label)
            axes.fill_between(reset["depth"], reset["low"], reset["high"], color=colour, alpha=0.15, lw=0)
            axes.axhline(float(floor["value"].iloc[0]), color=colour, lw=0.9, ls=":")
        names = reset["layer"].str.rsplit(".", n=1).str[-1]
        axes.set_xticks(x, ["trained", *names], rotation=60, ha="right", fontsize=6.5)
        axes.set_title(method_title(method), fontsize=9)
        axes.set(ylim=(min(-0.1, float(summary["value"].min())) - 0.05, 1.05))
        axes.axhline(0, color=MUTED, lw=0.7)
        axes.grid(axis="y", color=RULE, lw=0.6)
    panels[0].set_ylabel("similarity to the trained map")
    fig.supxlabel("layers reset, from the last one on", fontsize=8.5)
    fig.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    n = int(summary["n_subjects"].max())
    caption = (
        "Similarity of a scan's map to that of the same network after its layers were reset one after the other, "
        f"from the last to the first ({n} test subjects; bands: Student's 95 % interval). Statistics of batch "
        "normalisation are estimated again on training scans. Dotted: similarity to the map of another subject of "
        "the same class by the trained network. If the similarity falls, maps show what was learnt; if it stays, they "
        "show the image or the architecture (Adebayo 2018)."
    )
    title = "Do maps depend on what the network has learnt?"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="trust", dpi=dpi)


def _grid(n):
    rows = -(-n // COLUMNS)
    columns = min(n, COLUMNS)
    fig, panels = new_figure(
        rows, columns, squeeze=False, sharey=True, layout="constrained", figsize=(2.3 * columns + 0.6, 2.3 * rows + 0.7)
    )
    for axes in panels.flat[n:]:
        axes.set_visible(False)
    return fig, list(panels.flat)
