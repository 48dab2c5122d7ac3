"""The planted disease: its location, and the methods that detected it."""

from __future__ import annotations

import numpy as np

from voxelwhy.io.text import listing, method_title, p_value, people
from voxelwhy.report.figures import slices as sl
from voxelwhy.report.figures.relevance import SCALE_NOTE, describe_interpolation, mosaic
from voxelwhy.report.figures.style import ACCENT, INK, MUTED, RULE, SECOND, new_figure, save_figure, styled
from voxelwhy.report.relevance_tables import describe_reference
from voxelwhy.report.wording import describe_signal, describe_target, name_truth

#: Titles of the columns next to that of Grad-CAM.
CEILING, CELLWISE = "planted loss on its cells", "cell by cell"
_SUBTYPES = ", the mean over the subtypes of the disease; patients differ in its strength and in their subtype"


@styled
def draw_truth_map(
    log_jacobian_path,
    template_path,
    out,
    *,
    threshold,
    simulated,
    planted=True,
    axis="coronal",
    slices_mm=sl.DEFAULT_SLICES_MM,
    dpi=150,
):
    """Log volume change of the disease over slices of the template; losses beyond the threshold are outlined.

    Parameters
    ----------
    log_jacobian_path : path of a NIfTI in template space
    template_path : path; brain, 0 outside. A map on another grid is interpolated linearly to its grid
    threshold : float; a voxel counts as lost if its log-Jacobian is below -threshold
    planted : bool, or str; False for a null cohort, for which the disease of an effect of 1 is drawn. A str names the
        structure whose volume defines the classes, which is drawn with the difference between them

    Returns
    -------
    str, the caption
    """
    number = sl.AXES[axis]
    anatomy, affine = sl.load_canonical(template_path)
    change = sl.on_grid(log_jacobian_path, anatomy.shape, affine)
    brain = anatomy > 0
    rows, columns = sl.crop_box(brain, number)
    limit = float(np.percentile(np.abs(change[brain]), 99.9)) or 1.0
    low, high = sl.grey_range(anatomy)
    fig, panels = new_figure(
        1, len(slices_mm), squeeze=False, figsize=(1.75 * len(slices_mm), 2.1), layout="constrained"
    )
    for axes, mm in zip(panels[0], slices_mm, strict=True):
        index = sl.slice_index(affine, number, mm, anatomy.shape[number])
        below, above = (sl.take_slice(data, number, index)[rows, columns] for data in (anatomy, change * brain))
        axes.imshow(below, cmap="gray", vmin=low, vmax=high * 1.25)
        drawn = axes.imshow(
            above, cmap="RdBu", vmin=-limit, vmax=limit, alpha=np.where(np.abs(above) > threshold, 0.85, 0.0)
        )
        if (above < -threshold).any():
            axes.contour(-above, [threshold], colors=INK, linewidths=0.5)
        axes.set_title(sl.slice_label(affine, number, index), fontsize=8, weight="normal", loc="center")
        axes.axis("off")
    bar = fig.colorbar(drawn, ax=panels[0].tolist(), shrink=0.7, pad=0.01, label="log-Jacobian")
    bar.outline.set_visible(False)
    lost, gained = float((change[brain] < -threshold).mean()), float((change[brain] > threshold).mean())
    what = "The planted disease" if planted else "No disease was planted; the disease that an effect of 1 would plant"
    title = "The planted disease" if planted else "No planted disease: where a detection would be false"
    caption = (
        f"{what}: log volume change relative to the template (−0.29 is a loss of a quarter of the volume). Red, "
        f"outlined: voxels below −{threshold:g}, the loss that heatmaps are compared with ({lost:.1%} of "
        f"{int(brain.sum()):,} brain voxels). Blue: voxels above {threshold:g} ({gained:.1%}), mostly fluid that takes "
        f"up the lost volume; they are not part of the truth. {axis.capitalize()} slices; n = 1 planted map"
        f"{_SUBTYPES if simulated else ', planted in real scans'}."
    )
    if isinstance(planted, str):
        title = f"The structure whose volume defines the classes: {name_truth(planted)}"
        caption = (
            f"{describe_signal(planted)} Red, outlined: voxels of the structure below −{threshold:g}, with which "
            f"heatmaps are compared ({lost:.1%} of {int(brain.sum()):,} brain voxels); the value is the difference of "
            f"the mean log volumes, small minus large, times the share of the voxel that the structure fills. "
            f"{axis.capitalize()} slices; n = 1 map."
        )
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="truth", dpi=dpi)


@styled
def draw_truth_scores(truth, out, *, settings, n_subjects, n_scans, group, simulated, planted=True, dpi=150):
    """Each method compared with the planted loss: regional AUPRC next to shuffled diagnoses, and other measures.

    Parameters
    ----------
    truth : DataFrame by the TRUTH schema
    settings : dict, the study's heatmap settings
    group : str, the group whose maps are scored

    Returns
    -------
    str, the caption
    """
    fig, panels = new_figure(
        1, 4, sharey=True, figsize=(9.2, 0.34 * len(truth) + 1.2), layout="constrained", width_ratios=(1.7, 1, 1, 1)
    )
    places = np.arange(len(truth))[::-1]
    _auprc_panel(panels[0], truth, places)
    beside = (
        ("region_ndcg", "ndcg_chance", "NDCG, regions"),
        ("voxel_auprc", "voxel_chance", "AUPRC over voxels"),
        ("share_inside", "share_chance", "relevance inside"),
    )
    for axes, (value, chance, title) in zip(panels[1:], beside, strict=True):
        axes.hlines(places, truth[chance], truth[value], color=ACCENT, lw=1.4)
        axes.plot(truth[value], places, "o", color=ACCENT, ms=5)
        axes.plot(truth[chance], places, "|", color=MUTED, ms=11, mew=1.4)
        axes.set_title(title)
        drawn = np.append(truth[[value, chance]].to_numpy(float), 0)
        room = 0.06 * np.ptp(drawn[np.isfinite(drawn)])  # for a dot at either end
        axes.set_xlim(np.nanmin(drawn) - room, np.nanmax(drawn) + room)
    for axes in panels:
        axes.grid(axis="x", color=RULE, lw=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(places, [method_title(name) for name in truth["method"]])
    panels[0].set_ylim(-0.6, len(truth) - 0.4)
    row = truth.iloc[0]
    structure = name_truth(planted) if isinstance(planted, str) else None
    against = "the planted disease" if planted else "the disease that an effect of 1 would plant (none was planted)"
    against = f"the structure whose volume defines the classes, the {structure}" if structure else against
    belong = "are part of it" if structure else "lost volume"
    found = [method_title(name) for name in truth.loc[truth["verdict"] == "detected", "method"]]
    what = f"{structure or 'atrophy'} detected" if planted else "false detection"
    verdict = f"{what} ({listing(found) if found else 'no method'})"
    verdict = f" Filled dots: {verdict}." if (truth["verdict"] != "no verdict").any() else ""
    bars = "bars: range of networks trained on shuffled diagnoses, diamonds: their mean"
    bars = f"; {bars}" if row["n_shuffled"] else ""
    caption = (
        f"Maps of {group} scans ({people(n_subjects, n_scans)}) compared with {against}. Relevance explains the "
        f"{describe_target(settings)}. Dots: the method; ticks: expected by chance. Left: area under the "
        f"precision-recall curve (AUPRC) over {row['n_regions']} atlas regions ranked by enrichment, "
        f"{row['n_truth_regions']} of which {belong} (mean log-Jacobian below {-row['threshold']:g}){bars}. "
        f"{describe_reference(truth)}{verdict}"
    )
    title = f"Detection of the {name_truth(planted)} by method" if planted else "False detections of atrophy by method"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="truth", dpi=dpi)


@styled
def draw_cam(
    columns, template_path, out, *, facts, own, simulated, axis="coronal", slices_mm=sl.DEFAULT_SLICES_MM, dpi=150
):
    """Grad-CAM next to the planted loss on its cells, and to the maps in which each cell has its own weight.

    Parameters
    ----------
    columns : {"ceiling", "grad_cam", "cellwise"}: path of each map
    template_path : path; brain, 0 outside
    facts : dict of `evaluation.cam.examine_grad_cam`
    own : row of Grad-CAM in tables.TRUTH

    Returns
    -------
    str, the caption
    """
    titles = {
        "ceiling": (CEILING, facts["ceiling_auprc"]),
        "grad_cam": ("grad_cam", own.region_auprc),
        "cellwise": (CELLWISE, facts["cellwise_auprc"]),
    }
    maps = {titles[name][0]: path for name, path in columns.items()}
    notes = {title: f"AUPRC {auprc:.2f}" for title, auprc in titles.values()}
    fig = mosaic(maps, template_path, template_path, axis, slices_mm, notes=notes)
    caption = f"{describe_cam(facts, own)} {SCALE_NOTE}{describe_interpolation(columns['ceiling'], template_path)}."
    title = "Why Grad-CAM shows what it shows"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="truth", dpi=dpi)


def describe_cam(facts, own):
    """What limits Grad-CAM, in sentences whose numbers are those of `evaluation.cam.examine_grad_cam`."""
    beyond = facts["ceiling_auprc"] > np.nanmax([own.region_chance, own.shuffled_high])
    shuffled = f" (shuffled diagnoses: up to {own.shuffled_high:.2f})" if own.n_shuffled else ""
    cells, step = " x ".join(map(str, facts["cells"])), float(np.nanmean(facts["step_mm"]))
    kept = f"{facts['kept']:.0%} ({facts['kept_low']:.0%} to {facts['kept_high']:.0%})"
    return (
        f"Grad-CAM draws {cells} cells, {step:g} mm apart. Left: the planted loss itself on these cells; its AUPRC "
        f"over regions is {facts['ceiling_auprc']:.2f}{shuffled}, so the size of the cells alone "
        f"{'does not keep' if beyond else 'may keep'} the method from detecting it. Middle: Grad-CAM, "
        f"{own.region_auprc:.2f}. It weights a channel by its mean gradient over all cells, which here keeps {kept} of "
        "the gradient's size; the rest cancels between cells of opposite sign. Right: each cell multiplied by its own "
        f"gradient instead (HiResCAM, option `cellwise`), {facts['cellwise_auprc']:.2f}. Means of scaled maps, "
        f"{people(facts['n_subjects'], facts['n_scans'])}."
    )


def _auprc_panel(axes, truth, places):
    axes.plot(truth["region_chance"], places, "|", color=MUTED, ms=11, mew=1.4)
    for place, row in zip(places, truth.itertuples(), strict=True):
        axes.hlines(place, row.shuffled_low, row.shuffled_high, color=RULE, lw=9, zorder=0)
        axes.plot(row.shuffled_auprc, place, "D", color=SECOND, ms=4.5, mfc="none", mew=1.2)
        filled = ACCENT if row.verdict == "detected" else "white"
        axes.plot(row.region_auprc, place, "o", color=ACCENT, ms=6.5, mfc=filled, mew=1.4)
        end = np.nanmax([row.region_auprc, row.shuffled_high, 0.0])
        axes.text(end + 0.04, place, p_value(row.p_family), va="center", fontsize=7.5, color=MUTED)
    axes.set_title("AUPRC over regions")
    axes.set_xlim(0, max(1.0, float(np.nanmax(np.append(truth["region_auprc"], 0))) + 0.3))
