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


def draw_panels(path, scan, template, mask, affine):
    """Draw nine slices of the registered scan with the template overlaid, and save them as PNG without a title.

    Parameters
    ----------
    scan, template, mask : arrays (x, y, z) on one RAS+ grid without rotation; the outline of `mask` is drawn in
        yellow, the border between grey and white matter of `template` in red
    affine : (4, 4), of the grid
    """
    # Sagittal slices are as wide as the brain is long, hence one row per axis.
    figure = _black(3 * SCAN_INCHES)
    panels = figure.subplots(3, 3, gridspec_kw={"wspace": 0.02, "hspace": 0.02})
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.005, top=1)
    inside = scan[mask > 0]
    high = float(np.percentile(inside, 99.5)) if inside.any() else 1.0
    edge = _white_matter_border(template, mask)
    origin, step = affine[:3, 3], np.diag(affine)[:3]
    window = _window_mm(mask, origin, step)
    for row, (axis, positions) in enumerate(SLICES_MM.items()):
        for column, position in enumerate(positions):
            panel = panels[row, column]
            index = int(np.clip(round((position - origin[axis]) / step[axis]), 0, scan.shape[axis] - 1))
            across, up = (a for a in range(3) if a != axis)
            extent = [origin[a] + s * step[a] for a in (across, up) for s in (-0.5, scan.shape[a] - 0.5)]
            centres = [origin[a] + np.arange(scan.shape[a]) * step[a] for a in (across, up)]
            panel.imshow(
                scan.take(index, axis).T,
                cmap="gray",
                vmin=0,
                vmax=high,
                origin="lower",
                extent=extent,
                interpolation="nearest",
            )
            _contour(panel, centres, template.take(index, axis).T, edge, "#ff4040", 0.5)
            _contour(panel, centres, mask.take(index, axis).T, 0.5, "#ffd800", 0.9)
            panel.set(xlim=window[across], ylim=window[up])
            panel.set_axis_off()
            label = f"{AXES[axis]} = {origin[axis] + index * step[axis]:g} mm"
            panel.text(0.02, 0.02, label, color="white", fontsize=7, transform=panel.transAxes)
    panels[0, 0].text(0.02, 0.95, "P", color="white", fontsize=7, transform=panels[0, 0].transAxes)
    panels[0, 0].text(0.94, 0.95, "A", color="white", fontsize=7, transform=panels[0, 0].transAxes)
    for panel in (panels[1, 0], panels[2, 0]):
        panel.text(0.02, 0.95, "L", color="white", fontsize=7, transform=panel.transAxes)
        panel.text(0.94, 0.95, "R", color="white", fontsize=7, transform=panel.transAxes)
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


def _window_mm(mask, origin, step):
    # The brain and a margin along each axis; everything beyond is empty or skull.
    found = [np.flatnonzero(mask.any(axis=tuple(b for b in range(3) if b != a))) for a in range(3)]
    return [(origin[a] + found[a][0] * step[a] - 14, origin[a] + found[a][-1] * step[a] + 14) for a in range(3)]


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
