"""The figures of a new scan: its map next to those of the study, and its score among those of the study's subjects."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup, escape

from voxelwhy.report.figures import slices as sl
from voxelwhy.report.figures.headline import panels
from voxelwhy.report.figures.relevance import LEFT_IS
from voxelwhy.report.figures.style import save_figure, styled

#: Width and height of a row of the strip of scores, its margin at the left, and the radius of a dot, in CSS pixels.
WIDTH, ROW, LEFT, DOT = 460, 46, 60, 2.6
#: Dots of a row lie on so many lines, so that few of them overlap.
LINES = 7


@styled
def draw_map(map_path, t1_path, means, template_path, out, *, words, simulated, axis="coronal", dpi=150):
    """Relevance of one scan over its own registered anatomy, and below it the mean maps of the study's subjects.

    Parameters
    ----------
    map_path, t1_path : paths, on the study's grid
    means : {group: path of a mean map}
    template_path : path; brain, 0 outside. All images are interpolated linearly to its grid
    out : path without suffix; writes .png, .svg and .json
    words : str, what the caption says first
    simulated : bool, whether the study's subjects are; the caption states it, since the new scan may be real

    Returns
    -------
    str, the caption
    """
    plane = sl.AXES[axis]
    template, affine = sl.load_canonical(template_path)
    brain, shape = template > 0, template.shape
    box = sl.crop_box(brain, plane)
    indices = [sl.slice_index(affine, plane, mm, shape[plane]) for mm in sl.DEFAULT_SLICES_MM]
    own = np.where(brain, sl.on_grid(t1_path, shape, affine), 0)
    rows = {"This\nscan": (map_path, own)} | {f"Mean\n{group}": (path, template) for group, path in means.items()}
    fig, grid, bar = panels(len(rows), len(indices), sl.take_slice(template, plane, indices[0])[box].shape)
    bar.axis("off")
    for row, (name, (path, anatomy)) in enumerate(rows.items()):
        values = np.where(brain, sl.on_grid(path, shape, affine), 0)
        scale, greys = sl.colour_scale(values, brain), sl.grey_range(anatomy)
        for column, index in enumerate(indices):
            below, above = (sl.take_slice(data, plane, index)[box] for data in (anatomy, values))
            sl.draw_overlay(grid[row, column], below, above, scale, greys)
            if row == 0:
                grid[0, column].set_title(sl.slice_label(affine, plane, index), fontsize=8, weight="normal")
        grid[row, 0].set_ylabel(name, fontsize=9, weight="bold", rotation=0, ha="right", va="center")
    kind = "simulated subjects" if simulated else "subjects"
    caption = (
        f"{words} Below it the mean maps of the study's {kind} over the template. Each row has its own colours, from "
        f"the {sl.SHOWN_FROM}th to the {sl.SCALE_TO}th percentile of positive relevance in the brain; lower values are "
        f"transparent. The left of each slice is {LEFT_IS[axis]}."
    )
    return save_figure(
        fig, out, simulated=False, title="Map of the scan", caption=caption, category="single_scans", dpi=dpi
    )


def draw_scores(scores, value, low, high, *, words):
    """A strip of the scores of the study's subjects by class, with that of the new scan, as SVG.

    Parameters
    ----------
    scores : {class: sequence of probabilities}
    value, low, high : float, the probability of the new scan: mean, smallest and largest over the networks
    words : str, the alternative text

    Returns
    -------
    Markup
    """
    span, height = WIDTH - LEFT - 12, ROW * len(scores) + 34

    def at(share):
        return round(LEFT + span * float(share), 1)

    parts = [f'<svg class="strip" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(words)}">']
    middle = ROW * len(scores) + 12
    width = max(at(high) - at(low), 1)
    parts.append(f'<rect class="range" x="{at(low)}" y="6" width="{width:g}" height="{middle - 10:g}"/>')
    for row, (name, own) in enumerate(scores.items()):
        centre = 12 + ROW * (row + 0.5)
        parts.append(f'<text x="{LEFT - 10}" y="{centre + 4:g}" text-anchor="end">{escape(name)}</text>')
        for number, share in enumerate(np.sort(np.asarray(own, dtype=float))):
            y = centre + (number * 3 % LINES - LINES // 2) * (ROW - 14) / LINES
            parts.append(f'<circle class="dot" cx="{at(share)}" cy="{y:.1f}" r="{DOT}"/>')
    parts.append(f'<line class="axis" x1="{at(0)}" x2="{at(1)}" y1="{middle}" y2="{middle}"/>')
    for share in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<text class="tick" x="{at(share)}" y="{middle + 15}" text-anchor="middle">{share:g}</text>')
    parts.append(f'<line class="value" x1="{at(value)}" x2="{at(value)}" y1="4" y2="{middle}"/></svg>')
    return Markup("".join(parts))
