"""Style and saving of every figure: the same colours and type, equal bytes for equal input, simulated data marked."""

from __future__ import annotations

import textwrap
from pathlib import Path

import matplotlib
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from voxelwhy.io.images import write_json

INK, MUTED, RULE, PAPER = "#22272e", "#6b7480", "#d7dce2", "#ffffff"
ACCENT, SECOND, WARN = "#1f5f8b", "#c8702a", "#a3323a"
#: Colour-blind safe (Okabe and Ito), in the order of methods or folds.
CYCLE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5c3e", "#555b66")
SIMULATED = "simulated data"
#: Approximate width of a character of that mark, which is wrapped at the width of the figure.
INCHES_A_CHARACTER = 0.07

_RC = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    # Text stays text in svg, so that it can be searched and edited; a fixed salt makes element ids reproducible.
    "svg.fonttype": "none",
    "svg.hashsalt": "voxelwhy",
    "axes.prop_cycle": matplotlib.cycler(color=CYCLE),
}

#: Black to red, orange and white, as in the paper, without the darkest end, which would look like anatomy.
HOT = LinearSegmentedColormap.from_list("voxelwhy_hot", matplotlib.colormaps["hot"](range(70, 256)))


def styled(function):
    """Decorator of a drawing function: applies the style inside the function only, so the caller's settings stay."""
    return matplotlib.rc_context(_RC)(function)


def new_figure(rows=1, columns=1, *, figsize, layout=None, **options):
    """A figure and its axes, like `pyplot.subplots`, but without the global state and backend of pyplot."""
    fig = Figure(figsize=figsize, layout=layout)
    return fig, fig.subplots(rows, columns, **options)


def save_figure(fig, path_without_suffix, *, simulated, title, caption, category, dpi=150):
    """Write a figure as png and svg, together with a JSON that holds title, caption and report section.

    Parameters
    ----------
    path_without_suffix : path; ".png", ".svg" and ".json" are appended to its name
    simulated : bool, or str; if true, "simulated data" is written on the figure; a str also names the planted confound
    title, caption : str; the caption gives n, method and settings
    category : str, the report's section (voxelwhy.report.sections.SECTIONS)

    Returns
    -------
    str, the caption
    """
    stem = Path(path_without_suffix)
    stem.parent.mkdir(parents=True, exist_ok=True)
    _settle(fig)
    if simulated:
        _mark(fig, simulated)
    # Without metadata, which hold the date and the version of matplotlib: equal input must give equal bytes.
    options = {"bbox_inches": "tight", "pad_inches": 0.08, "dpi": dpi}
    fig.savefig(f"{stem}.png", metadata={"Software": None}, **options)
    fig.savefig(f"{stem}.svg", metadata={"Date": None, "Creator": None}, **options)
    write_json(f"{stem}.json", {"title": title, "caption": caption, "category": category, "kind": "figure", "dpi": dpi})
    return caption


def _settle(fig):
    # The last bits of the layout solver's result depend on memory addresses, so run it once, then round.
    fig.draw_without_rendering()
    fig.set_layout_engine("none")
    for axes in fig.axes:
        axes.set_position(_rounded(axes.get_position(original=True)))


def _rounded(box):
    return [round(float(edge), 6) for edge in box.bounds]


def _mark(fig, simulated):
    # Above the drawing, wherever the layout has placed it.
    box = fig.get_tightbbox()
    width, height = fig.get_size_inches()
    place = (round(box.x1 / width, 6), round((box.y1 + 0.05) / height, 6))
    words = SIMULATED if simulated is True else f"{SIMULATED}; {simulated}"
    words = textwrap.fill(words, max(len(SIMULATED) + 1, int(box.width / INCHES_A_CHARACTER)))
    fig.text(*place, words, ha="right", va="bottom", color=WARN, fontsize=8, style="italic")
