"""Imported mean heatmaps over the template, marked as imported."""

from __future__ import annotations

from voxelwhy.report.figures import slices as sl
from voxelwhy.report.figures.relevance import LEFT_IS, SCALE_NOTE, describe_interpolation, mosaic
from voxelwhy.report.figures.style import WARN, save_figure, styled
from voxelwhy.report.wording import describe_other


@styled
def draw_imported(maps, template_path, out, *, group, axis="coronal", slices_mm=sl.DEFAULT_SLICES_MM, dpi=150):
    """Imported maps of one group of scans: maps in columns, slices in rows, as in `draw_group_maps`.

    Parameters
    ----------
    maps : list of (path of a NIfTI in template space, card from `heatmaps.imported.import_heatmap`)
    template_path : path; brain, 0 outside
    out : path without suffix; writes .png, .svg, .json
    group : str, as the config has it

    Returns
    -------
    str, the caption

    Raises
    ------
    InputError : a slice lies outside the template, or there is no map.
    """
    fig = mosaic({card["name"]: path for path, card in maps}, template_path, template_path, axis, slices_mm)
    fig.text(0.07, 0.0, "imported heatmaps, not of this study", color=WARN, fontsize=8, style="italic", va="top")
    described = "; ".join(describe_other(card) for _, card in maps)
    caption = (
        f"Imported heatmaps of {group} scans, not computed by this study: {described}. {SCALE_NOTE}"
        f"{describe_interpolation(maps[0][0], template_path) if maps else ''}. "
        f"{axis.capitalize()} slices, coordinates in template space; the left of each slice is {LEFT_IS[axis]}. "
        "Relevance outside the brain is not shown."
    )
    title = f"Imported heatmaps, {group}"
    return save_figure(fig, out, simulated=False, title=title, caption=caption, category="heatmaps", dpi=dpi)
