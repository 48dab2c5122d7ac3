"""Figures of relevance: mean maps, as in the paper, single scans, and relevance by region."""

from __future__ import annotations

import nibabel as nib
import numpy as np

from voxelwhy.errors import InputError
from voxelwhy.io.text import count, method_title, p_value, people
from voxelwhy.report.figures import slices as sl
from voxelwhy.report.figures.style import ACCENT, CYCLE, MUTED, RULE, new_figure, save_figure, styled
from voxelwhy.report.wording import describe_clipping, describe_method, describe_target, group_title, name_truth

LEFT_IS = {"coronal": "the left of the brain", "axial": "the left of the brain", "sagittal": "posterior"}
LETTER_AT_LEFT = {"coronal": "L", "axial": "L", "sagittal": "P"}
#: Size in points of a verdict over its maps and of the n below them, readable in a page half as wide as the figure.
NOTE_PT = 8
#: Title of the column of the planted loss, and what it is of in a simulated cohort.
PLANTED, OF_DISEASE = "planted loss", " of the disease at severity 1"
#: Largest p at which a region is marked as more relevant than chance.
ALPHA = 0.05
SCALE_NOTE = (
    "Positive relevance in colour over the template in grey; each column has its own colour scale, from the "
    f"{sl.SHOWN_FROM}th to the {sl.SCALE_TO}th percentile of positive relevance over brain voxels; lower values are "
    "transparent"
)


@styled
def draw_group_maps(
    maps,
    template_path,
    out,
    *,
    group,
    n_subjects,
    n_scans,
    settings,
    simulated,
    n_folds=None,
    of="",
    truth=None,
    log_jacobian_path=None,
    planted=True,
    controls=None,
    axis="coronal",
    slices_mm=sl.DEFAULT_SLICES_MM,
    dpi=150,
):
    """Mean relevance of a group: methods in columns, slices in rows, as in the figure of the paper.

    Parameters
    ----------
    maps : {method: path of a NIfTI in template space}, means of maps scaled to a sum of absolute values of 1
    template_path : path; brain, 0 outside. Maps on another grid are interpolated linearly to its grid
    out : path without suffix; writes .png, .svg, .json
    group : str; a class, "all", "TP", "FP", "TN" or "FN"
    settings : dict, the study's heatmap settings (target, output, methods)
    of : str, names the cohort if the scans are another study's (io.text.of_cohort)
    truth : DataFrame by tables.TRUTH, optional; the verdict of each method stands over its maps
    log_jacobian_path : path of a NIfTI, optional; the planted loss of volume is drawn in the first column
    planted : True, or a str: the structure whose volume defines the classes, drawn in place of a loss
    controls : {method: text}, optional; stands over its maps: whether it detects a loss planted in the controls

    Returns
    -------
    str, the caption

    Raises
    ------
    InputError : a slice lies outside the template, or there is no map.

    References
    ----------
    Rieke et al. 2018, figure 2.
    """
    columns, notes, first = dict(maps), {}, ""
    if log_jacobian_path is not None:
        structure = name_truth(planted) if isinstance(planted, str) else None
        columns = {structure or PLANTED: planted_loss(log_jacobian_path)} | columns
        notes = {row.method: _verdict_note(row) for row in truth.itertuples()}
        what = (
            f"the {structure}, whose volume defines the classes (with a scale of its own)"
            if structure
            else f"the planted loss of volume{OF_DISEASE * bool(simulated)} (in percent, with a scale of its own)"
        )
        first = f"First column: {what}, which the networks have not seen; above each method, its verdict. "
    if controls:
        notes = {name: "\n".join(filter(None, [notes.get(name), controls.get(name)])) for name in maps}
        first += "Controls: whether the method detects a loss of volume planted in the study's own controls. "
    scales = {name: loss_percent for name in columns if name not in maps}
    fig = mosaic(columns, template_path, template_path, axis, slices_mm, notes=notes, scales=scales)
    write_below(fig, f"Mean over {group_title(group)}: {people(n_subjects, n_scans)}")
    described = [describe_method(name, settings.get("methods", {}).get(name)) for name in maps]
    folds = f"; {count(n_folds, 'fold')}, each scan explained with the network of its own fold" if n_folds else ""
    caption = (
        f"Mean relevance of {group_title(group)} ({people(n_subjects, n_scans, of)}{folds}; mean of maps scaled to a "
        "sum of absolute values of 1, so that no network with large gradients dominates). Relevance explains the "
        f"{describe_target(settings)}{describe_clipping(settings)}. {first}Methods: {'; '.join(described)}. "
        f"{SCALE_NOTE}{describe_interpolation(next(iter(maps.values())), template_path)}. "
        f"{axis.capitalize()} slices, coordinates in template space; the left of each slice is {LEFT_IS[axis]}. "
        "Relevance outside the brain or the network's mask is not shown."
    )
    title = f"Relevance, {group_title(group)}"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="heatmaps", dpi=dpi)


@styled
def draw_scan_maps(
    maps,
    anatomy_path,
    template_path,
    out,
    *,
    scan_id,
    label,
    probability,
    classes,
    settings,
    simulated,
    unseen=True,
    axis="coronal",
    slices_mm=sl.DEFAULT_SLICES_MM,
    dpi=150,
):
    """Relevance of one scan over its own registered anatomy: methods in columns, slices in rows.

    Parameters
    ----------
    maps : {method: path of the scan's map}
    anatomy_path : path, the registered scan
    template_path : path, the template, which defines the brain
    label : str, the scan's class; probability : float, of the positive class; classes : {"positive", "negative"}
    unseen : bool; whether the network is known not to have been trained on this scan

    Returns
    -------
    str, the caption
    """
    fig = mosaic(maps, anatomy_path, template_path, axis, slices_mm)
    predicted = classes["positive"] if probability >= 0.5 else classes["negative"]
    described = [describe_method(name, settings.get("methods", {}).get(name)) for name in maps]
    by_whom = ", by a network that was not trained on it" if unseen else ""
    caption = (
        f"One scan, {scan_id}: diagnosis {label}, predicted {predicted} (probability of {classes['positive']} "
        f"{probability:.3f}){by_whom}. Relevance explains the {describe_target(settings, single=True)}. "
        f"Methods: {'; '.join(described)}. {SCALE_NOTE.replace('template', 'registered scan')}. n = 1 scan."
    )
    title = f"Scan {scan_id}: {label}, predicted {predicted}"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="single_scans", dpi=dpi)


def planted_loss(log_jacobian_path):
    """The loss of volume of a log-Jacobian image, as an image: its negative, 0 where volume is gained."""
    image = nib.load(log_jacobian_path)
    return nib.Nifti1Image(np.maximum(-np.asarray(image.dataobj, dtype=np.float32), 0), image.affine)


def _verdict_note(row):
    """The verdict of a method (a row of tables.TRUTH) and, below, its p; nothing without enough draws."""
    return "" if row.verdict == "no verdict" else f"{row.verdict}\n{p_value(row.p_family)}"


def loss_percent(negative_log_jacobian):
    """A loss of volume in percent of the volume, as text, from its negative log-Jacobian."""
    return f"{100 * -np.expm1(-negative_log_jacobian):.0f} %"


def write_below(fig, text):
    """Write a line below everything that is drawn, at the left edge of the first column."""
    bottom = fig.get_tightbbox().y0 - 0.04
    left = fig.axes[0].get_position().x0
    fig.text(left, round(bottom / fig.get_size_inches()[1], 6), text, ha="left", va="top", fontsize=NOTE_PT)


def describe_interpolation(map_path, template_path):
    """The clause of a caption that tells at which voxel size the maps were computed, if they are drawn at another."""
    own, drawn = (float(nib.load(path).header.get_zooms()[0]) for path in (map_path, template_path))
    return "" if abs(own - drawn) < 1e-3 else f"; maps of {own:g} mm, interpolated linearly to {drawn:g} mm"


def mosaic(maps, anatomy_path, brain_path, axis_name, slices_mm, *, notes=None, scales=None):
    """A figure of maps over anatomy: maps in columns, each with its scale and title; slices in rows.

    Parameters
    ----------
    maps : {name: path or nibabel image}; a map on another grid is interpolated linearly to that of the anatomy
    anatomy_path, brain_path : paths on one grid
    notes : {name: text}, optional; lines below the title of a map
    scales : {name: function}, optional; how the ends of the colour scale of a map are written, from their value
    """
    if not maps:
        raise InputError("there is no relevance map to draw")
    axis = sl.AXES[axis_name]
    anatomy, affine = sl.load_canonical(anatomy_path)
    brain = sl.load_canonical(brain_path)[0] > 0
    anatomy = np.where(brain, anatomy, 0)
    greys = sl.grey_range(anatomy)
    rows, columns = sl.crop_box(brain, axis)
    indices = [sl.slice_index(affine, axis, mm, anatomy.shape[axis]) for mm in slices_mm]
    shape = sl.take_slice(anatomy, axis, indices[0])[rows, columns].shape
    cell = 1.45
    height = cell * shape[0] / shape[1]
    notes, scales = notes or {}, scales or {}
    lines = max((note.count("\n") + 1 for note in notes.values() if note), default=0)
    heights = [height] * len(indices) + [0.09]
    fig, grid = new_figure(
        len(indices) + 1,
        len(maps),
        squeeze=False,
        figsize=(cell * len(maps) + 0.7, sum(heights) + 0.6),
        gridspec_kw={
            "height_ratios": heights,
            "hspace": 0.05,
            "wspace": 0.06,
            "left": 0.07,
            "right": 0.99,
            "top": 0.94,  # titles and notes may lie above the figure, which is saved with all that is drawn
            "bottom": 0.03,
        },
    )
    grid[0, 0].text(0.03, 0.97, LETTER_AT_LEFT[axis_name], ha="left", va="top", fontsize=NOTE_PT, color="white",
        transform=grid[0, 0].transAxes)  # fmt: skip
    for column, (method, path) in enumerate(maps.items()):
        relevance = sl.on_grid(path, anatomy.shape, affine)
        scale = sl.colour_scale(relevance, brain)
        relevance = np.where(brain, relevance, 0)
        for row, index in enumerate(indices):
            below, above = (sl.take_slice(data, axis, index)[rows, columns] for data in (anatomy, relevance))
            sl.draw_overlay(grid[row, column], below, above, scale, greys)
            if column == 0:
                grid[row, 0].set_ylabel(sl.slice_label(affine, axis, index), fontsize=8)
        sl.draw_scale(grid[-1, column], scale, scales.get(method, sl.SCIENTIFIC))
        title = method_title(method).replace(" ", "\n", 1)
        grid[0, column].set_title(title, fontsize=8.5, loc="center", pad=6 + 1.2 * NOTE_PT * lines)
        if note := notes.get(method):
            grid[0, column].annotate(
                note, (0.5, 1), (0, 3), xycoords="axes fraction", textcoords="offset points", ha="center",
                fontsize=NOTE_PT, color=ACCENT if note.replace("not detected", "").count("detected") else MUTED,
            )  # fmt: skip
    return fig


@styled
def draw_region_ranking(tables, out, *, group, settings, simulated, atlas="AAL", top=10, of="", dpi=150):
    """The regions with the largest enrichment, one panel per method, with intervals over subjects.

    Parameters
    ----------
    tables : {method: DataFrame by the REGIONS schema}
    group : str, a group of scans in the tables
    of : str, names the cohort if the scans are another study's (io.text.of_cohort)

    Returns
    -------
    str, the caption

    Raises
    ------
    InputError : a table has no row for this group.
    """
    fig, panels = _ranking_panels(len(tables), top)
    for position, (method, table) in enumerate(tables.items()):
        chosen = table[table["group"] == group]
        if not len(chosen):
            raise InputError(f"the region table of {method} lacks a group", found=group, allowed=set(table["group"]))
        rows = chosen.sort_values("rank").head(top)
        _bars(panels[position], rows, method_title(method), CYCLE[position % len(CYCLE)])
    n = chosen.iloc[0]
    described = "; ".join(describe_method(name, settings.get("methods", {}).get(name)) for name in tables)
    shuffled = (
        f" Crosses: mean of {n['n_shuffled']} draws of networks trained on shuffled diagnoses; filled points: larger "
        "than these, p (corrected over the regions of a method) of at most 0.05."
        if n["n_shuffled"]
        else ""
    )
    caption = (
        f"The {top} {atlas} regions with the largest enrichment, {group_title(group)} "
        f"({people(n['n_subjects'], n['n_scans'], of)}): a region's share of positive relevance divided by its share "
        "of volume, which is 1 for a map that is the same everywhere. Points: mean over subjects; lines: 95 % interval "
        f"over subjects (from 8 subjects on), given these networks.{shuffled} Relevance explains the "
        f"{describe_target(settings)}{describe_clipping(settings)}. Methods: {described}."
    )
    title = f"Relevance by region, {group_title(group)}"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="regions", dpi=dpi)


def _ranking_panels(n_methods, top):
    columns = min(n_methods, 3)
    rows = -(-n_methods // columns)
    fig, grid = new_figure(
        rows, columns, squeeze=False, figsize=(3.1 * columns, rows * (0.19 * top + 0.75)), layout="constrained"
    )
    for axes in grid.ravel()[n_methods:]:
        axes.axis("off")
    return fig, grid.ravel()


def _bars(axes, rows, title, colour):
    places = np.arange(len(rows))[::-1]
    value = rows["enrichment"].to_numpy(float)
    tested = rows["n_shuffled"].to_numpy() > 0
    beyond = ~tested | (rows["p_family"].to_numpy(float) <= ALPHA)
    axes.axvline(1, color=MUTED, lw=0.8, ls=":")
    axes.hlines(places, rows["enrichment_low"], rows["enrichment_high"], color=colour, lw=1.4)
    axes.scatter(value, places, s=18, color=np.where(beyond, colour, "white"), edgecolors=colour, zorder=3)
    axes.plot(rows["shuffled_mean"], places, "x", color=MUTED, ms=4)
    axes.set_yticks(places, rows["region"], fontsize=7)
    axes.set_xlim(left=min(0, float(np.nanmin(value))))
    axes.set_title(title)
    axes.set_xlabel("enrichment", fontsize=7.5)
    axes.grid(axis="x", color=RULE, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


@styled
def draw_saturation(saturated, out, *, n_scans, simulated, of="", dpi=150):
    """Share of scans by group with a probability above 0.999, at which the gradient of a probability vanishes.

    Parameters
    ----------
    saturated : {group: share between 0 and 1}
    n_scans : {group: number}
    of : str, names the cohort if the scans are another study's (io.text.of_cohort)
    """
    fig, axes = new_figure(figsize=(4.2, 0.28 * len(saturated) + 0.8), layout="constrained")
    places = np.arange(len(saturated))[::-1]
    axes.barh(places, [100 * share for share in saturated.values()], color=ACCENT, height=0.55)
    axes.set_yticks(places, [f"{group_title(group)} (n = {n_scans[group]})" for group in saturated])
    axes.set_xlim(0, 100)
    axes.set_xlabel("scans with a probability above 0.999, %")
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", color=MUTED)
    caption = (
        "Share of scans whose predicted class has a probability above 0.999. The gradient of such a probability is "
        "close to zero, so these scans contribute little to a mean of raw maps. n = "
        f"{n_scans.get('all', sum(n_scans.values()))} scans{of}."
    )
    title = "Saturated probabilities"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="heatmaps", dpi=dpi)
