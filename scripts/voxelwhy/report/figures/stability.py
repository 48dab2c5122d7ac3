"""Figure of the stability of maps: agreement between trainings, and the ranks of the first regions in each."""

from __future__ import annotations

import numpy as np

from voxelwhy.io.text import method_title, number
from voxelwhy.report.figures.style import ACCENT, INK, MUTED, RULE, SECOND, new_figure, save_figure, styled

#: Methods in one row of the figure, and regions in a strip.
COLUMNS, SHOWN = 2, 10
#: A matrix of more trainings has no numbers in it.
NUMBERED = 6
#: Titles of more characters have two lines, and names of regions are cut.
LONG, LONG_NAME = 18, 26


@styled
def draw_stability(summary, regions, matrices, ranks, out, *, atlas, simulated, dpi=150):
    """Matrix of trainings and strips of ranks, for each method.

    Parameters
    ----------
    summary, regions : DataFrames by trust_tables.STABILITY and STABILITY_REGIONS
    matrices, ranks : as in `evaluation.stability.Stability`

    Returns
    -------
    str, the caption
    """
    methods = list(matrices)
    n_trainings, n_subjects = (int(summary[name].max()) for name in ("n_trainings", "n_subjects"))
    rows, columns = -(-len(methods) // COLUMNS), min(len(methods), COLUMNS)
    fig, panels = new_figure(
        rows, 2 * columns, squeeze=False, layout="constrained", figsize=(5.3 * columns, 2.35 * rows + 0.5),
        width_ratios=[1, 1.25] * columns,
    )  # fmt: skip
    for place, method in enumerate(methods):
        matrix, strip = panels.flat[2 * place : 2 * place + 2]
        drawn = _matrix(matrix, matrices[method], method)
        own = regions[regions["method"] == method].reset_index(drop=True)
        _strips(strip, own, ranks[method])
    for axes in panels.flat[2 * len(methods) :]:
        axes.set_visible(False)
    bar = fig.colorbar(drawn, ax=panels[:, -1], shrink=0.5, pad=0.02, label="Spearman's ρ")
    bar.outline.set_visible(False)
    rank = f"the {SHOWN} {atlas} regions with the lowest mean rank by enrichment in the positive class"
    caption = (
        f"Agreement of {n_trainings} trainings of each fold that differ in initial weights and order of scans; "
        "training 1 is that of the study. Matrices: above the diagonal, the correlation of maps of the same scan, mean "
        f"over {n_subjects} test subjects; below it, that of the tables of regions. Strips: ranks of {rank}, one dot "
        "for each training (orange: training 1), with a line from the lowest to the highest."
    )
    title = "Does another training give the same map?"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="trust", dpi=dpi)


def _matrix(axes, values, method):
    n = len(values)
    shown = np.ma.masked_array(values, mask=np.eye(n, dtype=bool))
    drawn = axes.imshow(shown, cmap="Blues", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(values):
        if row != column and n <= NUMBERED:
            colour = "white" if value > 0.6 else INK
            axes.text(column, row, number(value), ha="center", va="center", fontsize=6.5, color=colour)
    names = range(1, n + 1)
    axes.set_xticks(range(n), names, fontsize=7)
    axes.set_yticks(range(n), names, fontsize=7)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    title = method_title(method)
    axes.set_title(title.replace(" ", "\n", 1) if len(title) > LONG else title, fontsize=9)
    axes.set_xlabel("training", fontsize=7)
    return drawn


def _strips(axes, regions, ranks):
    order = np.argsort(regions["rank"].to_numpy(), kind="stable")[:SHOWN]
    places = np.arange(len(order))
    axes.hlines(places, ranks[:, order].min(axis=0), ranks[:, order].max(axis=0), color=RULE, lw=2.5)
    for own in ranks[1:, order]:
        axes.plot(own, places, "o", color=ACCENT, ms=3.5, alpha=0.75, mew=0)
    axes.plot(ranks[0, order], places, "o", color=SECOND, ms=4, mew=0)
    axes.axvline(SHOWN + 0.5, color=MUTED, lw=0.7, ls=":")
    names = [name.replace("_", " ") for name in regions["region"].iloc[order]]
    axes.set_yticks(
        places, [name if len(name) <= LONG_NAME else f"{name[: LONG_NAME - 1]}…" for name in names], fontsize=6.5
    )
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.set_xlim(0, max(2 * SHOWN, float(ranks[:, order].max()) + 1))
    axes.set_xlabel("rank", fontsize=7)
    axes.tick_params(axis="x", labelsize=7)
    axes.tick_params(axis="y", length=0)
