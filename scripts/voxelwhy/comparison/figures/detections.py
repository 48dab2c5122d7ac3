"""Figures of what methods detect over cohorts: by the number of subjects, and by the structure of the signal."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import NullFormatter, NullLocator, StrMethodFormatter

from voxelwhy.io.text import count, interval, listing, method_title
from voxelwhy.report.figures.style import ACCENT, INK, MUTED, RULE, SECOND, new_figure, save_figure, styled

#: Panels of the figure of sizes in one row.
COLUMNS = 4


@styled
def draw_sizes(combinations, found, size, out, *, simulated, dpi=150):
    """Draw AUC and, for each method, its agreement with the planted loss by the number of subjects.

    Parameters
    ----------
    combinations, found : DataFrames of `summary.combination_table` and `detections.detection_table`
    size : str, the column with the number of subjects, as text
    out : path without suffix

    Returns
    -------
    str, the caption
    """
    methods = list(dict.fromkeys(found["method"]))
    rows = -(-(len(methods) + 1) // COLUMNS)
    fig, panels = new_figure(
        rows, COLUMNS, squeeze=False, figsize=(2.35 * COLUMNS, 2.15 * rows + 0.3), layout="constrained"
    )
    first, *others = panels.flat
    _curve(first, combinations, size, "auc", ("auc_low", "auc_high"), ACCENT, "network")
    _curve(first, combinations, size, "auc_baseline", ("auc_baseline_low", "auc_baseline_high"), SECOND, "baseline")
    first.axhline(0.5, color=MUTED, lw=0.8, ls=":")
    first.set(title="AUC", ylim=(0.4, 1.02))
    first.legend(loc="lower right", fontsize=7)
    for axes, method in zip(others, methods, strict=False):
        own = found[found["method"] == method]
        _curve(axes, own, size, "region_auprc", ("auprc_low", "auprc_high"), ACCENT, None)
        axes.plot(own[size].astype(float), own["shuffled_auprc"], "D", color=MUTED, ms=3.2, ls=":", lw=0.8)
        for cell in own.to_dict("records"):
            words = f"{cell['n_found']}/{cell['n_cohorts']}"
            axes.annotate(words, (float(cell[size]), 1.0), ha="center", va="bottom", fontsize=7, color=INK)
        axes.set(title=method_title(method), ylim=(0, 1.12))
    for axes in [first, *others[: len(methods)]]:
        _log_axis(axes, combinations[size].astype(float))
    for axes in others[len(methods) :]:
        axes.set_visible(False)
    n = int(found["n_cohorts"].min())
    caption = (
        f"{count(n, 'cohort')} of each number of subjects (horizontal axis, logarithmic), half of them patients. First "
        "panel: AUC within folds of the network and of the baseline; dotted: 0.5. Others: agreement of each method's "
        "mean map of patients with the planted loss, as area under the precision-recall curve (AUPRC) over regions; "
        "diamonds: the same networks trained on shuffled diagnoses; above: cohorts in which the method detects the "
        "loss. Points are means over cohorts, bars Student's 95 % intervals over cohorts. For permuted regions, the "
        f"mean AUPRC is {found['region_chance'].mean():.2f}."
    )
    title = "How many subjects until a map is right?"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="comparison", dpi=dpi)


def _curve(axes, table, size, value, limits, colour, label):
    x, y = table[size].astype(float).to_numpy(), table[value].to_numpy()
    low, high = (table[name].to_numpy() for name in limits)
    bars = np.nan_to_num([y - low, high - y], nan=0.0)
    axes.errorbar(x, y, bars, fmt="o-", color=colour, ms=4, lw=1.4, elinewidth=1.2, label=label)


def _log_axis(axes, sizes):
    axes.set_xscale("log")
    axes.set_xticks(sorted(set(sizes)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(min(sizes) * 0.8, max(sizes) * 1.25)
    axes.grid(color=RULE, lw=0.6)
    axes.set_axisbelow(True)


@styled
def draw_signals(combinations, found, columns, out, *, simulated, dpi=150):
    """Draw how well each method points at the structure that separates the classes, with one panel per combination.

    Parameters
    ----------
    combinations, found : DataFrames of `summary.combination_table` and `detections.detection_table`
    columns : names of the choices, the structure first
    out : path without suffix

    Returns
    -------
    str, the caption
    """
    methods = list(dict.fromkeys(found["method"]))
    fig, panels = new_figure(
        1, len(combinations), squeeze=False, sharey=True, layout="constrained",
        figsize=(2.3 * len(combinations) + 1.6, 0.27 * len(methods) + 1.3),
    )  # fmt: skip
    places = dict(zip(methods, np.arange(len(methods))[::-1], strict=True))
    for axes, cell in zip(panels[0], combinations.to_dict("records"), strict=True):
        own = found[(found[columns] == [cell[name] for name in columns]).all(axis=1)]
        for row in own.itertuples():
            colour, place = ACCENT if row.n_found else MUTED, places[row.method]
            axes.hlines(place, row.auprc_low, row.auprc_high, color=colour, lw=1.5)
            axes.plot(row.region_auprc, place, "o", color=colour, ms=5)
            axes.plot(row.shuffled_auprc, place, "D", color=MUTED, ms=3.2, mfc="none")
            axes.text(1.04, place, f"{row.n_found}/{row.n_cohorts}", va="center", fontsize=7)
        words = " · ".join(cell[name].replace("_", " ") for name in columns)
        axes.set_title(f"{words}\nAUC {interval(cell['auc'], cell['auc_low'], cell['auc_high'])}", fontsize=8)
        axes.set(xlim=(-0.02, 1.2), xticks=[0, 0.5, 1], xlabel="AUPRC over regions")
        axes.grid(axis="x", color=RULE, lw=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
    panels[0][0].set_yticks(list(places.values()), [method_title(name) for name in methods])
    panels[0][0].set_ylim(-0.6, len(methods) - 0.4)
    structures = listing(dict.fromkeys(word.replace("_", " ") for word in combinations[columns[0]]))
    n, subjects = int(found["n_cohorts"].min()), int(combinations["n_subjects"].max())
    caption = (
        f"{count(n, 'cohort')} of {subjects} healthy simulated people for each structure ({structures}), classed by "
        "whether its volume for their age is below or above the median. Dots: area under the precision-recall curve "
        "(AUPRC) over regions ranked by enrichment in the mean map of the smaller half, mean over cohorts with "
        "Student's 95 % interval; diamonds: the same networks trained on shuffled classes. Right: cohorts in which the "
        "method detects the structure (coloured: at least one). Above: AUC of the network within folds, mean over "
        f"cohorts. For permuted regions, the mean AUPRC is {found['region_chance'].mean():.2f}."
    )
    title = "Which methods point at the structure that separates the classes"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="comparison", dpi=dpi)
