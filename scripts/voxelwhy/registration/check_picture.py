"""The quality-control picture of a registration: slices of the scan under the outline and edges of the template."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from voxelwhy.io.images import hash_voxels

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
    inside = scan[mask > 0]
    high = float(np.percentile(inside, 99.5)) if inside.any() else 1.0
    overlay = _overlay_of(template, mask, affine)
    grey = np.zeros(overlay.alpha.shape)
    for axis, indices, box in overlay.rows:
        slices = _side_by_side(scan, axis, indices, overlay.window)
        grey[box] = _enlarged(slices, grey[box].shape)
    pixels = overlay.over(255 * np.clip(grey / high, 0, 1) if high > 0 else grey)
    Image.fromarray(pixels).quantize(palette=overlay.palette, dither=Image.Dither.NONE).save(path, format="PNG")


class _Overlay:
    """Outline and borders of the template, and all labels, transparent elsewhere; the same for all scans of a study.

    matplotlib draws it once: for each scan that would take as long as a registration at 4 mm.

    Attributes
    ----------
    colour, alpha : arrays (y, x, 3), 0 to 255, and (y, x), 0 to 1
    rows : list of axis, indices of its slices, and the box of pixels (two slices) in which they lie side by side
    window : slices of voxels, the part of the grid that is shown
    palette : Pillow image, whose colours are those of the overlay over all greys
    """

    def __init__(self, template, mask, affine):
        figure = _black(3 * SCAN_INCHES)
        figure.patch.set_alpha(0)
        edge, origin, step = _white_matter_border(template, mask), affine[:3, 3], np.diag(affine)[:3]
        self.window, self.rows, panels = _window(mask, step), [], []
        # One row per axis, because sagittal slices are as wide as the brain is long.
        for row, (axis, positions) in enumerate(SLICES_MM.items()):
            indices = [
                int(np.clip(round((mm - origin[axis]) / step[axis]), 0, mask.shape[axis] - 1)) for mm in positions
            ]
            panel = figure.add_axes([0.005, (2 - row) / 3 + 0.005, 0.99, 0.32])
            self._draw_row(panel, axis, indices, template, mask, edge, origin, step)
            self.rows.append((axis, indices))
            panels.append(panel)
        figure.canvas.draw()
        pixels = np.asarray(figure.canvas.buffer_rgba())
        self.colour, self.alpha = pixels[..., :3].astype(float), pixels[..., 3] / 255
        boxes = [_box(panel, len(pixels)) for panel in panels]
        self.rows = [(*row, box) for row, box in zip(self.rows, boxes, strict=True)]
        greys = np.tile(np.linspace(0, 255, pixels.shape[1]), (len(pixels), 1))
        self.palette = Image.fromarray(self.over(greys)).quantize(COLOURS)

    def _draw_row(self, panel, axis, indices, template, mask, edge, origin, step):
        across, up = (a for a in range(3) if a != axis)
        drawn, outline = (_side_by_side(values, axis, indices, self.window) for values in (template, mask))
        centres = [step[a] * (np.arange(n) + 0.5) for a, n in ((across, drawn.shape[1]), (up, drawn.shape[0]))]
        width, height = step[across] * drawn.shape[1], step[up] * drawn.shape[0]
        panel.set(xlim=(0, width), ylim=(0, height), aspect="equal")
        panel.set_axis_off()
        _contour(panel, centres, drawn, edge, "#ff4040", 0.5)
        _contour(panel, centres, outline, 0.5, "#ffd800", 0.9)
        each = width / len(indices)
        for column, index in enumerate(indices):
            label = f"{AXES[axis]} = {origin[axis] + index * step[axis]:g} mm"
            panel.text(each * (column + 0.02), 0.02 * height, label, color="white", fontsize=7)
        for place, side in zip((0.02, 0.94), "PA" if axis == 0 else "LR", strict=True):
            panel.text(each * place, 0.95 * height, side, color="white", fontsize=7)

    def over(self, grey):
        """The overlay over an image of greys (y, x), 0 to 255, as pixels (y, x, 3)."""
        mixed = self.alpha[..., None] * self.colour + ((1 - self.alpha) * grey)[..., None]
        return np.rint(mixed).astype(np.uint8)


#: The last overlay, by what it was made of.
_LAST = {}


def _overlay_of(template, mask, affine):
    key = hash_voxels(template), hash_voxels(mask), affine.tobytes()
    if key not in _LAST:
        _LAST.clear()
        _LAST[key] = _Overlay(template, mask, affine)
    return _LAST[key]


def _box(panel, height):
    """The pixels of a panel, as slices of rows (from the top) and columns."""
    (left, low), (right, high) = np.rint(panel.get_window_extent().get_points()).astype(int)
    return slice(height - high, height - low), slice(left, right)


def _enlarged(values, shape):
    """Values (up, across) as pixels (from the top, across) of a shape, each the value of the voxel it lies in."""
    up, across = (((np.arange(n) + 0.5) / n * size).astype(int) for n, size in zip(shape, values.shape, strict=True))
    return values[np.ix_(up[::-1], across)]


def add_title(panels, path, title):
    """Save the picture of `draw_panels` with a title of one or two lines above it.

    Only the title contains the name of the scan: studies that name the same scan differently share the panels.
    """
    with Image.open(panels) as picture:
        picture.load()
    strip = Image.new("L", (picture.width, round(TITLE_INCHES * DPI)))
    place = strip.width / 2, 0.07 * strip.height
    ImageDraw.Draw(strip).multiline_text(place, title, fill=255, font=_font(), anchor="ma", align="center")
    colours = picture.getpalette()[: 3 * COLOURS]
    greys = [round(255 * step / (GREYS - 1)) for step in range(GREYS) for _ in range(3)]
    levels = COLOURS + np.asarray(strip) // (256 // GREYS)
    titled = Image.fromarray(np.vstack([levels, np.asarray(picture)]).astype(np.uint8))
    titled.putpalette(colours + [0] * (3 * COLOURS - len(colours)) + greys)
    titled.save(path, format="PNG")


@cache
def _font():
    """The font of matplotlib, 8 points."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), round(8 * DPI / 72))


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
    planes = np.moveaxis(values, axis, 0)
    return np.hstack([np.pad(planes[index][cut].T, ((0, 0), (0, 1))) for index in indices])


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
