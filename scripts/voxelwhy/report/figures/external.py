"""Performance of the same models on the test scans of their own study and on other cohorts."""

from __future__ import annotations

import numpy as np

from voxelwhy.io.text import count, interval, listing, people
from voxelwhy.report.figures.style import ACCENT, MUTED, RULE, SECOND, new_figure, save_figure, styled
from voxelwhy.report.wording import INTERVALS, METRIC_TITLES, describe_auc

SHOWN = ("auc", "balanced_accuracy")


@styled
def draw_external(tables, out, *, split, n_models, model_titles, simulated, dpi=150):
    """AUC and balanced accuracy by subject with their intervals, one row per cohort and one colour per model.

    Parameters
    ----------
    tables : {cohort: DataFrame by the METRICS schema}; the study's own test scans first
    out : path without suffix
    split : str, the split whose models are tested; n_models : int
    model_titles : {model: displayed name}

    Returns
    -------
    str, the caption
    """
    fig, panels = new_figure(1, 2, figsize=(7.2, 0.62 * len(tables) + 1.2), layout="constrained", sharey=True)
    words, places = [], np.arange(len(tables))[::-1]
    for axes, metric in zip(panels, SHOWN, strict=True):
        for place, (cohort, table) in zip(places, tables.items(), strict=True):
            rows = table[(table["level"] == "subject") & (table["metric"] == metric)]
            said = [
                _draw_row(axes, rows[rows["model"] == model], place + offset, colour)
                for offset, colour, model in zip((0.14, -0.14), (ACCENT, SECOND), model_titles, strict=False)
            ]
            words.append(f"{METRIC_TITLES[metric]} on {cohort}: {said[0]}")
        axes.axvline(0.5, color=MUTED, lw=0.8, ls=":")
        axes.set(title=METRIC_TITLES[metric], xlim=(-0.02, 1.02), ylim=(-0.6, len(tables) - 0.4))
        axes.grid(axis="x", color=RULE, lw=0.6)
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(places, [f"{cohort}\n{_n(table)}" for cohort, table in tables.items()])
    for colour, title in zip((ACCENT, SECOND), model_titles.values(), strict=False):
        panels[1].plot([], [], "o-", color=colour, label=title)
    fig.legend(*panels[1].get_legend_handles_labels(), loc="outside lower right", ncols=2)
    caption = (
        f"The {count(n_models, 'model')} of {split} tested on {listing(tables)}, by subject. Large points: all "
        "models, with the 95 % interval; small points: single models; dotted line: 0.5. Each scan of another study is "
        f"classified by each model. {describe_auc(next(iter(tables.values())))}{INTERVALS} {'; '.join(words)}."
    )
    title = f"Internal and external performance, {split}"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="external", dpi=dpi)


def _draw_row(axes, rows, height, colour):
    """Draw one model on one cohort; returns its value over all folds with the interval, in words."""
    row, folds = rows[rows["fold"] == "all"].iloc[0], rows[rows["fold"] != "all"]
    axes.hlines(height, row["low"], row["high"], color=colour, lw=1.6)
    axes.plot(row["value"], height, "o", color=colour, ms=5.5)
    if len(folds) > 1:
        axes.plot(folds["value"], np.full(len(folds), height - 0.09), "o", color=colour, ms=2.2, alpha=0.5)
    return interval(row["value"], row["low"], row["high"])


def _n(table):
    row = table[table["fold"] == "all"].iloc[0]
    return people(int(row["n_subjects"]), int(row["n_scans"]))
