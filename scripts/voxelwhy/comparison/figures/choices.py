"""Figure: how accuracy and heatmaps depend on choices, with one row per combination and one column per method."""

from __future__ import annotations

from itertools import cycle

import numpy as np
from matplotlib.colors import TwoSlopeNorm
from matplotlib.lines import Line2D

from voxelwhy.io.text import count, method_title, number
from voxelwhy.report.figures.style import CYCLE, INK, MUTED, RULE, new_figure, save_figure, styled
from voxelwhy.report.wording import describe_planted, describe_repeats


@styled
def draw_choices(combinations, found, columns, out, *, simulated, repeated, same_scans, dpi=150):
    """Draw the AUC with its interval by combination, and next to it how well each method detects the planted disease.

    Parameters
    ----------
    combinations, found : DataFrames of `comparison.summary.combination_table` and `found_table` (None if no planted
        disease is known: then only the AUC is drawn)
    columns : names of the choices; the last one defines colours and panels, the others define the rows
    out : path without suffix
    repeated : list of str, the seeds that differ between repeats
    same_scans : bool; whether repeats use the same scans

    Returns
    -------
    str, the caption
    """
    *rows_by, panel_by = columns
    rows = list(dict.fromkeys(map(tuple, combinations[rows_by].to_numpy().tolist())))
    panels_by = list(dict.fromkeys(combinations[panel_by]))
    methods = [] if found is None else list(dict.fromkeys(found["method"]))
    widths = [2.4] + [0.74 * len(methods)] * (len(panels_by) if methods else 0)
    fig, panels = new_figure(
        1,
        len(widths),
        squeeze=False,
        figsize=(sum(widths) + 2.6, 0.42 * len(rows) + 1.7),
        layout="constrained",
        width_ratios=widths,
    )
    _accuracy(panels[0][0], combinations, rows_by, rows, panel_by, panels_by)
    chance = 0.5 if found is None or found["region_chance"].isna().all() else float(found["region_chance"].mean())
    for axes, value in zip(panels[0][1:], panels_by, strict=False):
        drawn = _truth(axes, found[found[panel_by] == value], rows_by, rows, methods, chance)
        axes.set_title(value)
    if methods:
        bar = fig.colorbar(drawn, ax=panels[0][1:].tolist(), shrink=0.8, pad=0.01, ticks=[0, round(chance, 2), 0.5, 1])
        below = "; small: shuffled diagnoses; bold: detected" if (found["n_shuffled"] > 0).any() else ""
        bar.set_label(f"AUPRC over regions{below}", fontsize=7.5)
        bar.outline.set_visible(False)
    marks = [Line2D([], [], color=colour, marker="o", ms=5.5) for colour, _ in zip(cycle(CYCLE), panels_by)]
    fig.legend(marks, panels_by, loc="outside upper left", ncols=len(panels_by))
    caption = _caption(combinations, found, describe_planted(columns), repeated, same_scans, chance)
    title = "Accuracy and heatmaps by choices of preprocessing and network"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="comparison", dpi=dpi)


def _accuracy(axes, combinations, rows_by, rows, panel_by, panels_by):
    offsets = np.linspace(0.17, -0.17, len(panels_by)) if len(panels_by) > 1 else [0]
    for place, row in zip(range(len(rows))[::-1], rows, strict=True):
        for colour, offset, value in zip(cycle(CYCLE), offsets, panels_by, strict=False):
            own = combinations[combinations[panel_by] == value]
            own = own[(own[rows_by].to_numpy() == np.array(row)).all(axis=1)] if rows_by else own
            for cell in own.itertuples():
                axes.hlines(place + offset, cell.auc_low, cell.auc_high, color=colour, lw=1.6)
                axes.plot(cell.auc, place + offset, "o", color=colour, ms=5.5)
    axes.axvline(0.5, color=MUTED, lw=0.8, ls=":")
    axes.set(title="AUC", xlim=(0.25, 1.02), ylim=(-0.6, len(rows) - 0.4))
    axes.set_yticks(range(len(rows))[::-1], [" · ".join(row) for row in rows])
    axes.grid(axis="x", color=RULE, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)


def _truth(axes, found, rows_by, rows, methods, chance):
    """Draw a matrix of mean AUPRC, with that of shuffled diagnoses below each."""
    values = np.full((len(rows), len(methods)), np.nan)
    for cell in found.to_dict("records"):
        row = rows.index(tuple(cell[name] for name in rows_by))
        column = methods.index(cell["method"])
        auprc = values[row, column] = cell["region_auprc"]
        strong = abs(auprc - chance) > 0.5 * (1 - chance if auprc > chance else chance)
        middle = {"ha": "center", "va": "center", "color": "white" if strong else INK}
        weight = "bold" if cell["found"] else "normal"
        axes.text(column, row - 0.12, number(auprc), fontsize=8, weight=weight, **middle)
        if cell["n_shuffled"]:
            axes.text(column, row + 0.26, number(cell["shuffled_auprc"]), fontsize=5.5, **middle)
    drawn = axes.imshow(values, cmap="PuOr_r", norm=TwoSlopeNorm(chance, 0, 1), aspect="auto")
    titles = [method_title(name).replace(" ", "\n", 1) for name in methods]
    axes.set_xticks(range(len(methods)), titles, fontsize=6.5, linespacing=1.1)
    axes.set_yticks([])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return drawn


def _caption(combinations, found, planted, repeated, same_scans, chance):
    repeats, subjects = combinations["n_repeats"], combinations["n_subjects"]
    each = count(int(repeats.max()), "repeat")
    how = (
        "over subjects, with all repeats together"
        if same_scans
        else "by Student's t over repeats, each with its own cohort"
    )
    words = (
        f"Left: out-of-sample AUC by subject, within folds, for each combination of choices, mean of {each} "
        f"({describe_repeats(repeated)}), with its 95 % interval {how} ({int(subjects.max())} subjects); dotted: 0.5."
    )
    if found is None:
        return words
    null = found["null_95"].mean()
    below = (
        "below it, in small type, that of the same networks trained on shuffled diagnoses (bold: larger than "
        "these by a rank test, corrected over methods)"
        if (found["n_shuffled"] > 0).any()
        else "without networks trained on shuffled diagnoses there is no verdict"
    )
    return (
        f"{words} Right: how well the enrichment of regions in the maps of the positive class detects {planted}, as "
        f"area under the precision-recall curve over regions, mean over repeats; {below}. For permuted regions, the "
        f"mean is {chance:.2f} (white) and the 95th percentile {number(null)}."
    )
