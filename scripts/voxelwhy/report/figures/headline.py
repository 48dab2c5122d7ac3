"""The figure at the top of the report: the mean maps of the best-supported method, one class in each row."""

from __future__ import annotations

import numpy as np

from voxelwhy.io.text import method_name, people
from voxelwhy.report.figures import slices as sl
from voxelwhy.report.figures.relevance import LEFT_IS, describe_interpolation
from voxelwhy.report.figures.style import new_figure, save_figure, styled
from voxelwhy.report.wording import describe_method, describe_target, group_title

#: Width of a slice, and of the column with the names of the rows, in inches.
SLICE, NAMES = 1.55, 0.55


@styled
def draw_headline(
    maps,
    template_path,
    out,
    *,
    method,
    counts,
    settings,
    simulated,
    phrase,
    n_folds=None,
    axis="coronal",
    slices_mm=sl.DEFAULT_SLICES_MM,
    dpi=150,
):
    """Mean relevance by one method: classes in rows with one scale, slices in columns.

    Parameters
    ----------
    maps : {group: path of a NIfTI in template space}, means of maps scaled to a sum of absolute values of 1; the first
        group defines the scale
    template_path : path; brain, 0 outside. Maps on another grid are interpolated linearly to its grid
    out : path without suffix; writes .png, .svg, .json
    method : str
    counts : {group: (subjects, scans)}
    settings : dict, the study's heatmap settings
    phrase : str, whether the method detects a known loss (`badges.Support.phrase`)

    Returns
    -------
    str, the caption
    """
    plane = sl.AXES[axis]
    anatomy, affine = sl.load_canonical(template_path)
    brain = anatomy > 0
    anatomy, greys = np.where(brain, anatomy, 0), sl.grey_range(anatomy)
    box = sl.crop_box(brain, plane)
    indices = [sl.slice_index(affine, plane, mm, anatomy.shape[plane]) for mm in slices_mm]
    relevance = {group: np.where(brain, sl.on_grid(path, anatomy.shape, affine), 0) for group, path in maps.items()}
    scale = sl.colour_scale(next(iter(relevance.values())), brain)
    fig, grid, bar = panels(len(maps), len(indices), sl.take_slice(anatomy, plane, indices[0])[box].shape)
    for row, (group, values) in enumerate(relevance.items()):
        for column, index in enumerate(indices):
            below, above = (sl.take_slice(data, plane, index)[box] for data in (anatomy, values))
            sl.draw_overlay(grid[row, column], below, above, scale, greys)
            if row == 0:
                grid[0, column].set_title(
                    sl.slice_label(affine, plane, index), fontsize=8, loc="center", weight="normal"
                )
        grid[row, 0].set_ylabel(group, fontsize=10, weight="bold", rotation=0, ha="right", va="center")
    sl.draw_scale(bar, scale)
    n = "; ".join(f"{group} {people(*counts[group])}" for group in maps)
    folds = ", each scan explained with the network of its own fold" if n_folds else ""
    caption = (
        f"Mean relevance by {method_name(method)}, the best-supported method of this study, {phrase} ({n}{folds}). "
        f"{describe_method(method, settings.get('methods', {}).get(method))} explains the {describe_target(settings)}. "
        f"One colour scale for all rows, from the {sl.SHOWN_FROM}th to the {sl.SCALE_TO}th percentile of positive "
        f"relevance in {group_title(next(iter(maps)))}; lower values are transparent"
        f"{describe_interpolation(next(iter(maps.values())), template_path)}. "
        f"The left of each slice is {LEFT_IS[axis]}."
    )
    title = f"What the network relies on, by {method_name(method)}"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="heatmaps", dpi=dpi)


def panels(rows, columns, shape):
    """A grid of slices without gaps, and below it the axes of the scale."""
    height = SLICE * shape[0] / shape[1]
    size = (NAMES + SLICE * columns, rows * height + 0.62)
    fig, grid = new_figure(
        rows + 1,
        columns,
        squeeze=False,
        figsize=size,
        gridspec_kw={
            "height_ratios": [height] * rows + [0.09],
            "hspace": 0.06,
            "wspace": 0.03,
            "left": NAMES / size[0],
            "right": 0.995,
            "top": 1 - 0.24 / size[1],
            "bottom": 0.22 / size[1],
        },
    )
    for axes in grid[rows, 1:]:
        axes.axis("off")
    return fig, grid, grid[rows, 0]
