"""Training and performance of the network: learning curves, ROC, confusion matrix and metrics."""

from __future__ import annotations

from operator import itemgetter

import numpy as np

from voxelwhy.io.text import count, interval, people
from voxelwhy.report.figures.style import ACCENT, CYCLE, INK, MUTED, RULE, SECOND, new_figure, save_figure, styled
from voxelwhy.report.wording import (
    INTERVALS,
    METRIC_TITLES,
    describe_auc,
    describe_loss,
    describe_mask,
    describe_normalisation,
    has_folds,
    name_auc,
)


@styled
def draw_learning_curves(histories, out, *, settings, simulated, dpi=150):
    """Loss and accuracy by epoch, one colour per fold; training dashed, validation solid.

    Parameters
    ----------
    histories : {fold: DataFrame by the HISTORY schema}
    out : path without suffix
    settings : dict, the study's training settings

    Returns
    -------
    str, the caption
    """
    fig, panels = new_figure(1, 2, figsize=(7.2, 2.7), layout="constrained")
    validated = False
    for position, (fold, history) in enumerate(sorted(histories.items())):
        colour = CYCLE[position % len(CYCLE)]
        for _, own in history.groupby("member"):
            for axes, quantity in zip(panels, ("loss", "accuracy"), strict=True):
                axes.plot(own["epoch"], own[f"train_{quantity}"], "--", color=colour, lw=1.1)
                if own[f"validation_{quantity}"].notna().any():
                    axes.plot(own["epoch"], own[f"validation_{quantity}"], color=colour)
                    validated = True
        panels[0].plot([], [], color=colour, label=f"fold {fold}")
    panels[0].plot([], [], "--", color=MUTED, lw=1.1, label="training")
    if validated:
        panels[0].plot([], [], color=MUTED, label="validation")
    panels[0].set(title="Loss", xlabel="epoch", ylabel=describe_loss(settings))
    panels[0].set_ylim(bottom=0)
    panels[1].set(title="Accuracy", xlabel="epoch", ylabel="share of scans", ylim=(0, 1.02))
    fig.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
    for axes in panels:
        axes.grid(axis="y", color=RULE, lw=0.6)
        axes.xaxis.get_major_locator().set_params(integer=True)
    seeds = settings.get("seeds", 1)
    caption = (
        f"Learning curves of {count(len(histories), 'fold')}{f', {seeds} trainings each' if seeds > 1 else ''}: "
        f"training{' and validation' if validated else ' (no validation scans)'}. "
        f"{_training_words(settings)}. Training values are means over an epoch, with dropout active."
    )
    title = "Learning curves"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="training", dpi=dpi)


def _training_words(settings):
    names = {"learning_rate": "learning rate", "batch_size": "batch size", "keep": "weights kept", "mask": "input:"}
    keys = ("network", "options", "optimiser", "learning_rate", "batch_size", "epochs", "patience", "dropout")
    keys += ("mask", "normalisation", "crop", "keep")
    names |= {"average": "average of weights"}
    keys += tuple(key for key in ("average", "calibrate") if settings.get(key, "none") != "none")
    described = {"network": itemgetter("network"), "mask": describe_mask, "normalisation": describe_normalisation}
    values = {key: str(settings[key]).replace("_", " ") for key in keys if key in settings}
    values |= {key: describe(settings) for key, describe in described.items() if key in settings}
    words = [f"{names.get(key, key)} {value}" for key, value in values.items()]
    return "Settings: " + ", ".join(words) if words else "Settings: defaults"


@styled
def draw_roc(bands, metrics, out, *, model_titles, simulated, n_bootstrap, of="", dpi=150):
    """ROC curves with their bootstrap bands, one colour per model.

    Parameters
    ----------
    bands : DataFrame by the ROC schema, one or more models
    metrics : DataFrame by the METRICS schema, for AUC and n
    model_titles : {model: displayed name}, in the order of drawing
    of : str, names the cohort if the scans are another study's (io.text.of_cohort)

    Returns
    -------
    str, the caption
    """
    fig, axes = new_figure(figsize=(3.7, 3.6), layout="constrained")
    axes.plot([0, 1], [0, 1], color=MUTED, lw=0.8, ls=":")
    axes.annotate("chance", (0.72, 0.69), rotation=45, color=MUTED, fontsize=7, rotation_mode="anchor", va="top")
    words = []
    for colour, (model, title) in zip((ACCENT, SECOND, *CYCLE), model_titles.items(), strict=False):
        band = bands[bands["model"] == model]
        auc = _of_all_folds(metrics, model, "auc")
        axes.fill_between(band["fpr"], band["low"], band["high"], color=colour, alpha=0.14, lw=0)
        axes.plot(band["fpr"], band["tpr"], color=colour, label=f"{title}, AUC {auc['value']:.2f}")
        words.append(f"{title} {interval(auc['value'], auc['low'], auc['high'])}")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set(xlabel="false positive rate (1 - specificity)", ylabel="true positive rate (sensitivity)")
    axes.legend(loc="lower right")
    mean = ", mean over folds weighted by their numbers of pairs (vertical averaging)" if has_folds(metrics) else ""
    caption = (
        f"ROC curves by subject{mean} ({people(auc['n_subjects'], auc['n_scans'], of)}). Bands: pointwise "
        f"percentiles (95 %) of {n_bootstrap:,} bootstrap resamples of subjects, given these networks. "
        f"{name_auc(metrics)} (95 % CI): {', '.join(words)}."
    )
    title = "ROC curve"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="performance", dpi=dpi)


@styled
def draw_confusion(table, out, *, n_subjects, n_scans, model_title, simulated, of="", dpi=150):
    """Confusion matrix: predictions by class and predicted class, with the share of each row.

    Parameters
    ----------
    table : DataFrame from evaluation.metrics.confusion, of subjects (evaluation.metrics.by_subject)
    n_subjects, n_scans : int; several models may classify the same subject, and a subject may be in both classes
    of : str, names the cohort if the scans are another study's (io.text.of_cohort)

    Returns
    -------
    str, the caption
    """
    counts = table.to_numpy()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    fig, axes = new_figure(figsize=(2.9, 2.7), layout="constrained")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.15)
    for (row, column), n in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.6 else INK
        axes.text(column, row - 0.06, f"{n}", ha="center", va="center", color=colour, fontsize=14)
        axes.text(column, row + 0.24, f"{shares[row, column]:.0%}", ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(table.columns)), table.columns)
    axes.set_yticks(range(len(table.index)), table.index)
    axes.set(xlabel="predicted", ylabel="diagnosis")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    judged = f"; {counts.sum():,} classifications" if counts.sum() != n_subjects else ""
    caption = (
        f"Confusion matrix by subject, {model_title}, folds pooled ({people(n_subjects, n_scans, of)}{judged}). "
        f"{table.index[0]} is predicted at a probability of 0.5 or more; percentages refer to rows."
    )
    title = f"Confusion matrix, {model_title}"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="performance", dpi=dpi)


@styled
def draw_metrics(metrics, out, *, model_titles, level, simulated, of="", dpi=150):
    """Every metric with its interval, models side by side; small points are single folds.

    Parameters
    ----------
    metrics : DataFrame by the METRICS schema
    level : "scan" or "subject"
    of : str, names the cohort if the scans are another study's (io.text.of_cohort)

    Returns
    -------
    str, the caption
    """
    fig, axes = new_figure(figsize=(5.2, 2.7), layout="constrained")
    shown = metrics[metrics["level"] == level]
    for offset, colour, (model, title) in zip((-0.13, 0.13), (ACCENT, SECOND), model_titles.items(), strict=False):
        for place, metric in enumerate(METRIC_TITLES):
            rows = shown[(shown["model"] == model) & (shown["metric"] == metric)]
            row, folds = rows[rows["fold"] == "all"].iloc[0], rows[rows["fold"] != "all"]
            axes.vlines(place + offset, row["low"], row["high"], color=colour, lw=1.6)
            axes.plot(place + offset, row["value"], "o", color=colour, ms=5.5)
            axes.plot(np.full(len(folds), place + offset + 0.07), folds["value"], "o", color=colour, ms=2.2, alpha=0.5)
        axes.plot([], [], "o-", color=colour, label=title)
    axes.set_xticks(range(len(METRIC_TITLES)), METRIC_TITLES.values())
    axes.axhline(0.5, color=MUTED, lw=0.8, ls=":")
    axes.set(ylim=(0, 1.03))
    axes.grid(axis="y", color=RULE, lw=0.6)
    axes.legend(loc="lower right", ncols=2)
    caption = (
        f"Out-of-sample performance by {level} ({people(row['n_subjects'], row['n_scans'], of)}). Large points: all "
        f"folds, with the 95 % interval; small points: single folds; dotted line: 0.5. {describe_auc(metrics)}"
        f"{INTERVALS}"
    )
    title = f"Performance by {level}"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="performance", dpi=dpi)


def _of_all_folds(metrics, model, metric):
    chosen = metrics[
        (metrics["model"] == model)
        & (metrics["metric"] == metric)
        & (metrics["fold"] == "all")
        & (metrics["level"] == "subject")
    ]
    return chosen.iloc[0]
