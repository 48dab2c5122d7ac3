"""Figures of the section Trust: calibration and net benefit, regions beyond chance."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import TwoSlopeNorm

from voxelwhy.io.text import count, interval, method_title, number
from voxelwhy.io.trust_tables import MEASURES
from voxelwhy.report.figures.style import ACCENT, INK, MUTED, RULE, SECOND, new_figure, save_figure, styled

SIGNIFICANT = 0.05
#: Regions in the figure of differences between the classes.
SHOWN = 20


@styled
def draw_clinical(clinical, curves, out, *, simulated, of="", dpi=150):
    """Calibration curve, net benefit by threshold probability, and the AUC of strata.

    Parameters
    ----------
    clinical, curves : DataFrames by trust_tables.CLINICAL and CLINICAL_CURVES
    of : str, names the cohort if the scans are another study's (io.text.of_cohort)

    Returns
    -------
    str, the caption
    """
    fig, panels = new_figure(1, 3, figsize=(9.4, 2.9), layout="constrained", width_ratios=(1, 1.15, 1.1))
    groups = curves[curves["curve"] == "calibration"]
    panels[0].plot([0, 1], [0, 1], color=MUTED, lw=0.8, ls=":")
    bars = np.abs(groups[["low", "high"]].to_numpy().T - groups["y"].to_numpy())
    panels[0].errorbar(groups["x"], groups["y"], np.nan_to_num(bars), fmt="o-", color=ACCENT, ms=5, lw=1.3)
    panels[0].set(title="Calibration", xlabel="mean probability", ylabel="share of patients", xlim=(0, 1), ylim=(0, 1))
    for curve, colour, label in (("net_benefit", ACCENT, "network"), ("treat_all", SECOND, "everybody")):
        own = curves[curves["curve"] == curve]
        panels[1].plot(own["x"], own["y"], color=colour, lw=1.6, label=label)
    panels[1].axhline(0, color=MUTED, lw=0.9, label="nobody")
    top = max(float(curves.loc[curves["curve"] == "net_benefit", "y"].max()), 0.05)
    panels[1].set(title="Net benefit", xlabel="threshold probability", xlim=(0, 1), ylim=(-0.3 * top, 1.15 * top))
    panels[1].legend(loc="upper right", fontsize=7)
    strata = clinical[clinical["measure"] == "auc"]
    places = np.arange(len(strata))[::-1]
    panels[2].hlines(places, strata["low"], strata["high"], color=ACCENT, lw=1.6)
    panels[2].plot(strata["value"], places, "o", color=ACCENT, ms=5.5)
    panels[2].axvline(0.5, color=MUTED, lw=0.8, ls=":")
    names = [f"{row.group} (n = {row.n_subjects})" for row in strata.itertuples()]
    panels[2].set_yticks(places, names)
    panels[2].set(title="AUC by stratum" if len(strata) else "no stratum is known", xlim=(0, 1.02))
    panels[2].set_ylim(-0.6, max(len(strata), 1) - 0.4)
    for axes in panels:
        axes.grid(color=RULE, lw=0.6)
        axes.set_axisbelow(True)
    by_measure = clinical[clinical["group"] == "all"].set_index("measure")
    said = "; ".join(
        f"{MEASURES[name]} {interval(*by_measure.loc[name, ['value', 'low', 'high']])}"
        for name in ("calibration_intercept", "calibration_slope", "brier")
    )
    n = int(by_measure.loc["brier", "n_subjects"])
    caption = (
        f"Out-of-sample probabilities of the network, {count(n, 'subject')}{of}. Left: share of patients in groups of "
        f"equal size by mean probability, with Wilson's 95 % intervals; dotted: perfect calibration ({said}). Middle: "
        "net benefit (Vickers & Elkin 2006) by the probability from which a person would be treated, compared with "
        "treating everybody or nobody. Right: AUC within folds of strata of sex and of age at its median, with 95 % "
        "intervals."
    )
    title = "Calibration, net benefit and strata"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="trust", dpi=dpi)


@styled
def draw_class_regions(tables, out, *, classes, atlas, simulated, of="", several_folds=True, dpi=150):
    """Regions in which the relevance of patients and controls differs, by method: t, and what is beyond chance.

    Parameters
    ----------
    tables : {method: DataFrame by trust_tables.CLASS_REGIONS}
    classes : {"positive": name, "negative": name}
    several_folds : bool, whether subjects are explained by networks of several folds

    Returns
    -------
    str, the caption
    """
    methods, first = list(tables), next(iter(tables.values()))
    largest = np.max([np.nan_to_num(own["t"].abs()) for own in tables.values()], axis=0)
    chosen = np.argsort(-largest, kind="stable")[:SHOWN]
    regions = [first["region"].iloc[k] for k in chosen]
    values = np.array([[tables[m]["t"].iloc[k] for m in methods] for k in chosen], dtype=float)
    beyond = np.array([[tables[m]["p_family"].iloc[k] <= SIGNIFICANT for m in methods] for k in chosen])
    limit = max(float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 0.0, 1.0)
    fig, axes = new_figure(figsize=(0.8 * len(methods) + 3.4, 0.2 * len(regions) + 1.5), layout="constrained")
    drawn = axes.imshow(values, cmap="PuOr_r", norm=TwoSlopeNorm(0, -limit, limit), aspect="auto")
    for (row, column), t in np.ndenumerate(values):
        strong = abs(t) > 0.6 * limit
        axes.text(
            column, row, number(t, 1), ha="center", va="center", fontsize=6.5, color="white" if strong else INK,
            weight="bold" if beyond[row, column] else "normal",
        )  # fmt: skip
    axes.set_xticks(range(len(methods)), [method_title(name).replace(" ", "\n", 1) for name in methods], fontsize=7)
    axes.set_yticks(range(len(regions)), [name.replace("_", " ") for name in regions], fontsize=7)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = fig.colorbar(
        drawn, ax=axes, shrink=0.6, pad=0.02, label=f"t, {classes['positive']} minus {classes['negative']}"
    )
    bar.outline.set_visible(False)
    n = first.iloc[0]
    adjusted = (
        f"adjusted for {n['covariates'].replace('female', 'sex')} and fold" if n["covariates"] else "within folds"
    )
    given = " given these networks: each fold's subjects are explained by another one" if several_folds else ""
    caption = (
        f"{atlas} regions with the largest |t| of any method: enrichment in maps that explain {classes['positive']}, "
        f"in {classes['positive']} (n = {n['n_positive']}) minus {classes['negative']} (n = {n['n_negative']}) "
        f"subjects{of}, {adjusted}. Bold: p of at most 0.05, two-sided, by permutation within folds and corrected "
        f"over the regions of a method (max-T). The test holds{given or ' for new subjects of the same network'}."
    )
    title = f"Regions whose relevance differs between {classes['positive']} and {classes['negative']}"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="trust", dpi=dpi)
