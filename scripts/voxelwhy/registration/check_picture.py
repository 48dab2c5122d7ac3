"""The quality-control picture of a registration: slices of the scan under the outline and edges of the template."""

from __future__ import annotations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

# Slices through the regions that are misregistered first: temporal lobes and hippocampus, ventricles, vertex,
# cerebellum.
SLICES_MM = {0: (-28, -4, 28), 1: (-64, -20, 20), 2: (-20, 8, 44)}
AXES = "xyz"
SCAN_INCHES, TITLE_INCHES, DPI = 2.0, 0.45, 100
# A palette reduces the file to a third of its size, and a study has hundreds of these. The title has 16 greys of its
# own.
COLOURS, GREYS = 64, 16
MARGIN_MM = 14


def draw_panels(path, scan, template, mask, affine):
    """Draw nine slices of the registered scan with the template overlaid, and save them as PNG without a title.

    Parameters
    ----------
    scan, template, mask : arrays (x, y, z) on one RAS+ grid without rotation; the outline of `mask` is drawn in
        yellow, the border between grey and white matter of `template` in red
    affine : (4, 4), of the grid
    """
    figure = _black(3 * SCAN_INCHES)
    inside = scan[mask > 0]
    high = float(np.percentile(inside, 99.5)) if inside.any() else 1.0
    edge = _white_matter_border(template, mask)
    origin, step = affine[:3, 3], np.diag(affine)[:3]
    window = _window(mask, step)
    # One row per axis, because sagittal slices are as wide as the brain is long. Each row is one picture: nine pairs of
    # axes and contours would take a fifth of the time of a registration at 4 mm.
    for row, (axis, positions) in enumerate(SLICES_MM.items()):
        indices = [int(np.clip(round((mm - origin[axis]) / step[axis]), 0, scan.shape[axis] - 1)) for mm in positions]
        across, up = (a for a in range(3) if a != axis)
        rows, width = [_side_by_side(v, axis, indices, window) for v in (scan, template, mask)], step[across]
        height = step[up] * rows[0].shape[0]
        centres = [step[a] * (np.arange(n) + 0.5) for a, n in ((across, rows[0].shape[1]), (up, rows[0].shape[0]))]
        panel = figure.add_axes([0.005, (2 - row) / 3 + 0.005, 0.99, 0.32])
        panel.set_axis_off()
        extent = [0, width * rows[0].shape[1], 0, height]
        panel.imshow(rows[0], cmap="gray", vmin=0, vmax=high, origin="lower", extent=extent, interpolation="nearest")
        _contour(panel, centres, rows[1], edge, "#ff4040", 0.5)
        _contour(panel, centres, rows[2], 0.5, "#ffd800", 0.9)
        each = width * rows[0].shape[1] / len(indices)
        for column, index in enumerate(indices):
            label = f"{AXES[axis]} = {origin[axis] + index * step[axis]:g} mm"
            panel.text(each * (column + 0.02), 0.02 * height, label, color="white", fontsize=7)
        for place, side in zip((0.02, 0.94), "PA" if axis == 0 else "LR", strict=True):
            panel.text(each * place, 0.95 * height, side, color="white", fontsize=7)
    _save(_pixels(figure), path)


def add_title(panels, path, title):
    """Save the picture of `draw_panels` with a title of one or two lines above it.

    Only the title contains the name of the scan: studies that name the same scan differently share the panels.
    """
    strip = _black(TITLE_INCHES)
    strip.text(0.5, 0.93, title, color="white", fontsize=8, ha="center", va="top")
    with Image.open(panels) as picture:
        picture.load()
    colours = picture.getpalette()[: 3 * COLOURS]
    greys = [round(255 * step / (GREYS - 1)) for step in range(GREYS) for _ in range(3)]
    levels = COLOURS + _pixels(strip)[..., 0] // (256 // GREYS)
    titled = Image.fromarray(np.vstack([levels, np.asarray(picture)]).astype(np.uint8))
    titled.putpalette(colours + [0] * (3 * COLOURS - len(colours)) + greys)
    titled.save(path, format="PNG")


def draw_failure(path, title, reason):
    """Save a picture that states why the scan could not be registered."""
    figure = _black(1.2)
    figure.text(0.02, 0.9, title, color="white", fontsize=8, va="top")
    figure.text(0.02, 0.6, reason, color="#ff4040", fontsize=8, va="top", wrap=True)
    _save(_pixels(figure), path)


def _white_matter_border(template, mask):
    # Grey and white matter fill most of the brain, so the border lies half-way between their typical values.
    grey, white = np.percentile(template[mask > 0], [35, 85])
    return (grey + white) / 2


def _window(mask, step):
    """The brain and a margin along each axis, as slices of voxels; everything beyond is empty or skull."""
    found = [np.flatnonzero(mask.any(axis=tuple(b for b in range(3) if b != a))) for a in range(3)]
    margins = [round(MARGIN_MM / abs(edge)) for edge in step]
    return [slice(max(0, f[0] - m), f[-1] + m + 1) for f, m in zip(found, margins, strict=True)]


def _side_by_side(values, axis, indices, window):
    """The slices of one axis in a row, cut to the window, (up, across), with an empty column between them."""
    cut = tuple(window[a] for a in range(3) if a != axis)
    return np.hstack([np.pad(values.take(index, axis)[cut].T, ((0, 0), (0, 1))) for index in indices])


def _contour(panel, centres, values, level, colour, width):
    # matplotlib warns about a slice that the level does not cross.
    if values.min() < level < values.max():
        panel.contour(*centres, values, levels=[level], colors=[colour], linewidths=width)


def _black(height):
    """Make a black figure as wide as the picture."""
    figure = Figure(figsize=(3 * SCAN_INCHES, height), dpi=DPI, facecolor="black")
    FigureCanvasAgg(figure)
    return figure


def _pixels(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def _save(pixels, path):
    # Pillow, unlike matplotlib, writes neither version nor date, so the bytes are reproducible.
    Image.fromarray(pixels).quantize(COLOURS).save(path, format="PNG")
