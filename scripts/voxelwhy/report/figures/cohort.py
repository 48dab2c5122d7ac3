"""Figures of the cohort: the flow from table rows to scans, the registration pictures and their quality."""

from __future__ import annotations

import matplotlib.image
import numpy as np
import pandas as pd

from voxelwhy.io.text import count, number
from voxelwhy.report.figures.style import ACCENT, INK, MUTED, RULE, WARN, new_figure, save_figure, styled
from voxelwhy.report.strip import EMBEDDED, rank_registrations
from voxelwhy.report.wording import describe_registration


def count_flow(scans, dropped, selected, excluded, *, classes):
    """The numbers of the flow figure, counted in the tables of the cohort.

    Parameters
    ----------
    scans, dropped, selected, excluded : DataFrames by the schemas of those names
    classes : {"positive": name, "negative": name}

    Returns
    -------
    dict
        rows, dropped {reason: n}, scans, failed {reason: {class: n}} (after parsing), used {class: (scans, subjects)}.
    """
    later = excluded[excluded["stage"] != "parse_tables"]
    names = [classes["positive"], classes["negative"]]
    return {
        "rows": len(scans) + len(dropped),
        "dropped": {str(reason): int(n) for reason, n in _by_size(dropped["reason"])},
        "scans": len(scans),
        "failed": {
            str(reason): {name: int((later.loc[later["reason"] == reason, "label"] == name).sum()) for name in names}
            for reason, _ in _by_size(later["reason"])
        },
        "used": {name: _scans_subjects(selected, name) for name in names},
        "subjects": int(selected["subject_id"].nunique()),
    }


def _by_size(values):
    # Ties are sorted by name, so that equal tables give equal figures.
    counts = values.value_counts()
    return sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))


def _scans_subjects(selected, name):
    rows = selected[selected["label"] == name]
    return len(rows), int(rows["subject_id"].nunique())


@styled
def draw_flow(flow, out, *, simulated, dpi=150):
    """From table rows to the scans used: remaining counts on the left, exclusions with their reasons on the right.

    Parameters
    ----------
    flow : dict from `count_flow`

    Returns
    -------
    str, the caption
    """
    n_used = sum(scans for scans, _ in flow["used"].values())
    n_dropped, n_failed = sum(flow["dropped"].values()), flow["scans"] - n_used
    left = [("Rows of the table", flow["rows"]), ("Scans to register", flow["scans"]), ("Scans used", n_used)]
    failed = [f"{reason}: {_by_class(by_class)}" for reason, by_class in flow["failed"].items()]
    right = [
        (f"Dropped: {n_dropped}", [f"{reason}: {n}" for reason, n in flow["dropped"].items()]),
        (f"Not registered or excluded: {n_failed}", failed),
    ]
    gaps = [0.55 + 0.19 * max(len(lines), 1) for _, lines in right]
    fig, axes = new_figure(figsize=(6.6, 1.5 + sum(gaps) + 1.1))
    height = 0.42
    tops = [0, -(height + gaps[0]), -(2 * height + gaps[0] + gaps[1])]
    for (title, n), top in zip(left, tops, strict=True):
        _box(axes, 0, top, 1.9, height, f"{n:,}", title)
    for start, end, gap, (title, lines) in zip(tops, tops[1:], gaps, right, strict=False):
        _arrow(axes, 0.95, start - height, end)
        middle = start - height - gap / 2
        axes.annotate("", (2.25, middle), (0.95, middle), arrowprops={"arrowstyle": "-|>", "color": MUTED, "lw": 0.9})
        body = "\n".join(lines) if lines else "none"
        axes.text(2.33, middle, f"{title}\n", va="center", fontsize=8.5, weight="bold", color=INK, linespacing=1)
        axes.text(2.33, middle - 0.04, body, va="top", fontsize=7.5, color=INK, linespacing=1.35)
    bottom = _draw_classes(axes, flow["used"], tops[-1] - height)
    axes.set(xlim=(-0.3, 6.2), ylim=(bottom - 0.05, 0.1))
    axes.axis("off")
    used = ", ".join(f"{name} {count(s, 'scan')} of {count(p, 'subject')}" for name, (s, p) in flow["used"].items())
    caption = (
        f"From {count(flow['rows'], 'row')} of the table to {count(n_used, 'scan')} of "
        f"{count(flow['subjects'], 'subject')}: {count(n_dropped, 'row')} dropped when the table was read, "
        f"{count(n_failed, 'scan')} excluded later. Used: {used}. A subject with scans of both classes "
        "is counted in both."
    )
    title = "From table to scans"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="cohort", dpi=dpi)


def _by_class(by_class):
    return ", ".join(f"{n} {name}" for name, n in by_class.items())


def _draw_classes(axes, used, top):
    bottom = top - 0.35
    for place, (name, (scans, subjects)) in enumerate(used.items()):
        x = place * 1.25 - 0.2
        _arrow(axes, 0.95, top, bottom, end_x=x + 0.55)
        _box(axes, x, bottom, 1.1, 0.5, f"{scans}", name, f"{count(subjects, 'subject')}")
    return bottom - 0.5


def _box(axes, x, top, width, height, figure, title, small=""):
    axes.add_patch(
        matplotlib.patches.FancyBboxPatch(
            (x, top - height), width, height, boxstyle="round,pad=0,rounding_size=0.05", fc="#f3f6f9", ec=RULE, lw=0.9
        )
    )
    middle = top - height / 2
    axes.text(x + 0.1, middle + (0.09 if small else 0), title, va="center", fontsize=8.5)
    axes.text(
        x + width - 0.1, middle + (0.09 if small else 0), figure, va="center", ha="right", fontsize=11, color=ACCENT
    )
    if small:
        axes.text(x + 0.1, middle - 0.13, small, va="center", fontsize=7.5, color=MUTED)


def _arrow(axes, x, start, end, end_x=None):
    style = {"arrowstyle": "-|>", "color": MUTED, "lw": 0.9, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (x if end_x is None else end_x, end), (x, start), arrowprops=style)


@styled
def draw_registration_page(quality, out, *, settings, simulated, most=EMBEDDED, columns=2, dpi=110):
    """Contact sheet of the registration pictures: failed scans first, then the lowest correlation.

    Parameters
    ----------
    quality : DataFrame with scan_id, label, status, correlation_brain, mask_dice, check (path of a picture, or None)
    settings : dict, the study's registration settings
    most : int, the largest number of pictures shown

    Returns
    -------
    str, the caption
    """
    r = quality["correlation_brain"].astype(float)
    measured, ordered = bool(r.notna().any()), rank_registrations(quality)
    shown = [row for row in ordered.itertuples() if isinstance(row.check, str) or row.check is not None][:most]
    pictures = [matplotlib.image.imread(row.check) for row in shown]
    columns = max(1, min(columns, len(pictures)))
    rows = max(1, -(-len(pictures) // columns))
    ratio = np.median([picture.shape[0] / picture.shape[1] for picture in pictures]) if pictures else 0.4
    width = 8.4 / columns
    size = (8.4, rows * (width * ratio + 0.24))
    fig, grid = new_figure(rows, columns, squeeze=False, figsize=size, layout="constrained")
    fig.get_layout_engine().set(h_pad=0.02, w_pad=0.02, hspace=0.02, wspace=0.02)
    for axes in grid.ravel():
        axes.axis("off")
    for axes, row, picture in zip(grid.ravel(), shown, pictures, strict=False):
        axes.imshow(picture, cmap="gray", interpolation="antialiased")
        figures = f"  r = {number(row.correlation_brain)}, Dice {number(row.mask_dice)}" * measured
        axes.set_title(f"{row.scan_id} ({row.label}){figures}", fontsize=6.5, weight="normal", pad=2)
    first = "worst" if measured else "those that could not be read"
    caption = (
        f"Registered scans with the outline of the template, {first} first: {len(shown)} of "
        f"{count(len(quality), 'scan')}. "
    )
    if measured:
        caption += f"Correlation r with the template inside the brain: median {number(r.median())}, lowest "
        caption += f"{number(r.min())}. "
    caption += f"Registered {describe_registration(settings)}."
    title = f"Registration, {first} first"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="registration", dpi=dpi)


@styled
def draw_quality(selected, out, *, classes, simulated, dpi=150):
    """Correlation with the template and overlap of the brain masks by class, one point per scan.

    Parameters
    ----------
    selected : DataFrame by the SELECTED schema
    classes : {"positive": name, "negative": name}

    Returns
    -------
    str, the caption
    """
    fig, panels = new_figure(1, 2, figsize=(6.2, 1.7), layout="constrained")
    names = [classes["positive"], classes["negative"]]
    panels_of = (("correlation_brain", "correlation inside the brain"), ("mask_dice", "brain-mask overlap (Dice)"))
    for axes, (column, label) in zip(panels, panels_of, strict=True):
        for place, (name, colour) in enumerate(zip(names, (WARN, ACCENT), strict=True)):
            values = np.sort(selected.loc[selected["label"] == name, column].to_numpy(float))
            # Points are spread by rank, not at random, so that equal tables give equal figures.
            spread = (np.arange(len(values)) * 0.618034 % 1 - 0.5) * 0.45
            axes.plot(values, place + spread, "o", ms=3, color=colour, alpha=0.65, mew=0)
            if len(values):
                axes.plot([np.median(values)] * 2, [place - 0.34, place + 0.34], color=INK, lw=1.2)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel(label)
        if selected[column].isna().all():
            axes.set_xticks([])
            axes.text(0.5, 0.5, "not measured", color=MUTED, ha="center", va="center", transform=axes.transAxes)
        axes.grid(axis="x", color=RULE, lw=0.6)
        axes.tick_params(axis="y", length=0)
    medians = selected.groupby("label")["correlation_brain"].median()
    words = ", ".join(f"{name} {number(medians.get(name, np.nan))}" for name in names)
    caption = (
        f"Registration quality by class, one point per scan (n = {count(len(selected), 'scan')} of "
        f"{count(pd.Series(selected['subject_id']).nunique(), 'subject')}); bars: median. Median correlation: {words}. "
        "A difference between the classes would be a cue that is unrelated to anatomy."
    )
    if medians.isna().all():
        caption = (
            "How scans correlate with the T1-weighted template is not measured for images of another kind "
            f"(n = {count(len(selected), 'scan')})."
        )
    title = "Registration quality by class"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="registration", dpi=dpi)
