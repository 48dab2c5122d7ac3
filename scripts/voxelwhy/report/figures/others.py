"""Average heatmaps that others made, over our template, and marked as theirs."""

from __future__ import annotations

from voxelwhy.report.figures import slices as sl
from voxelwhy.report.figures.relevance import LEFT_IS, SCALE_NOTE, mosaic
from voxelwhy.report.figures.style import WARN, save_figure, styled
from voxelwhy.report.wording import describe_other


@styled
def draw_others(maps, template_path, out, *, group, axis="coronal", slices_mm=sl.DEFAULT_SLICES_MM, dpi=150):
    """Maps of others of one group of scans: maps in columns, slices in rows, as `draw_group_maps` draws our own.

    Parameters
    ----------
    maps : list of (path of a NIfTI on the template's grid, card of `others.import_heatmap`)
    template_path : path; brain, 0 outside
    out : path without suffix; writes .png, .svg, .json
    group : str, as the config has it

    Returns
    -------
    str, the caption

    Raises
    ------
    ShapeError : a map is not of the template's shape.
    InputError : a slice lies outside the template, or there is no map.
    """
    fig = mosaic({card["name"]: path for path, card in maps}, template_path, template_path, axis, slices_mm)
    fig.text(0.07, 0.0, "heatmaps of others, not of this study", color=WARN, fontsize=8, style="italic", va="top")
    described = "; ".join(describe_other(card) for _, card in maps)
    caption = (
        f"Made by others, not by this study, of {group} scans: {described}. {SCALE_NOTE}. "
        f"{axis.capitalize()} slices, coordinates in template space; left of the picture is {LEFT_IS[axis]}. "
        "Relevance outside the brain is left out."
    )
    title = f"Heatmaps of others, {group}"
    return save_figure(fig, out, simulated=False, title=title, caption=caption, category="heatmaps", dpi=dpi)
