"""Draw slices of any image with a heatmap over it, without table, atlas or coordinates."""

from __future__ import annotations

from functools import partial

import numpy as np

from voxelwhy.errors import ConfigError, ShapeError
from voxelwhy.explain.plotting.pictures import read_picture

#: The colour range of an overlay ends at this percentile of its non-zero values, so that single voxels do not dim the
#: rest.
SCALE_TO = 99.8


def plot_slices(
    image,
    num_slices=7,
    cmap="gray",
    vmin=None,
    vmax=None,
    overlay=None,
    overlay_cmap=None,
    overlay_vmin=None,
    overlay_vmax=None,
):
    """Draw evenly spaced slices of a volume along each axis, or a 2D image, with a heatmap over them.

    Parameters
    ----------
    image : numpy, torch or nibabel; (x, y, z), (rows, columns), or a photo with three colours, first or last. A single
        channel is removed. Volumes are drawn as stored, with the second of the two axes pointing up.
    num_slices : number of slices along each axis, at the centres of as many equal parts; an axis with fewer slices
        shows all of them.
    cmap, vmin, vmax : colour map and range of the image, as in matplotlib; the default range is that of the whole
        image. Photos keep their own colours, scaled from 0 to 255 (bytes), from 0 to 1 (values in that range) or by the
        range of the image.
    overlay : a heatmap with the spatial shape of the image. Where it is 0, the image shows through.
    overlay_cmap : None is red to yellow, with opacity increasing with the value, and blue for negative values.
    overlay_vmin, overlay_vmax : None is 0 to the 99.8th percentile of the non-zero values; for an overlay with negative
        values, the range is symmetric around 0.

    Returns
    -------
    figure : a pyplot figure; `matplotlib.pyplot.show()` shows it, and notebooks show it by themselves.

    Raises
    ------
    ShapeError : `image` is not a single image, the overlay differs in shape or affine, or either contains NaN.
    ConfigError : `num_slices` is below 1, or a range ends below its start.

    Examples
    --------
    Five slices along each axis of a volume with a heatmap over them, saved to a file:

    >>> import io
    >>> import numpy as np
    >>> from voxelwhy import plot_slices
    >>> scan = np.random.default_rng(0).normal(size=(20, 24, 20))
    >>> heatmap = np.zeros(scan.shape)
    >>> heatmap[8:12, 10:14, 8:12] = 1
    >>> figure = plot_slices(scan, num_slices=5, overlay=heatmap)
    >>> len(figure.axes)  # the slices and the colour bar
    16
    >>> figure.savefig(io.BytesIO(), dpi=60)
    """
    picture, over = read_picture(image, overlay)
    look = _Look(picture, over, cmap, (vmin, vmax), overlay_cmap, (overlay_vmin, overlay_vmax))
    if isinstance(num_slices, bool) or not isinstance(num_slices, (int, np.integer)) or num_slices < 1:
        raise ConfigError("num_slices is invalid", found=num_slices, allowed="a whole number of at least 1")
    cells = [[None]] if len(picture.shape) == 2 else _cells(picture.shape, num_slices)
    figure = _new_figure(cells, picture)
    axes = figure.subplots(len(cells), max(map(len, cells)), squeeze=False)
    for row, line in enumerate(axes):
        for column, place in enumerate(line):
            place.set_axis_off()
            if column < len(cells[row]):
                look.draw(place, row, cells[row][column])
    look.draw_scale(figure, axes)
    return figure


def animate_slices(
    image,
    overlay=None,
    axis=0,
    reverse_direction=False,
    interval=40,
    vmin=None,
    vmax=None,
    overlay_vmin=None,
    overlay_vmax=None,
    *,
    cmap="gray",
    overlay_cmap=None,
):
    """Animate a volume along one axis, slice by slice, with a heatmap over it.

    Parameters
    ----------
    image, overlay, cmap, vmin, vmax, overlay_cmap, overlay_vmin, overlay_vmax : see `plot_slices`.
    axis : 0, 1 or 2, the axis to move along.
    reverse_direction : True runs from the last slice to the first.
    interval : milliseconds between slices.

    Returns
    -------
    animation : matplotlib.animation.FuncAnimation. Notebooks show it with playback controls, `animation.save(path)`
        writes it to a file, and `animation.to_jshtml()` returns HTML. Keep it in a variable while a window shows it.

    Raises
    ------
    ShapeError : the image is not a volume; or as in `plot_slices`.
    ConfigError : `axis` is not 0, 1 or 2, or `interval` is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from voxelwhy import animate_slices
    >>> film = animate_slices(np.random.default_rng(0).normal(size=(20, 24, 20)), axis=1, interval=100)
    >>> page = film.to_jshtml()  # film.save("film.gif") writes a file
    >>> page.count("data:image/png")  # one per slice
    24
    """
    from matplotlib.animation import FuncAnimation

    picture, over = read_picture(image, overlay, volume=True)
    if len(picture.shape) != 3:
        raise ShapeError(f"the image has shape {picture.shape}; a volume (x, y, z) is expected")
    if axis not in (0, 1, 2):
        raise ConfigError("axis is invalid", found=axis, allowed="0, 1 or 2")
    if not interval > 0:
        raise ConfigError("interval is invalid", found=interval, allowed="milliseconds, above 0")
    look = _Look(picture, over, cmap, (vmin, vmax), overlay_cmap, (overlay_vmin, overlay_vmax))
    figure = _new_figure([[0]], picture, film=True)
    place = figure.subplots()
    place.set_axis_off()
    order = range(picture.shape[axis])[:: -1 if reverse_direction else 1]
    drawn = look.draw(place, axis, order[0])
    look.draw_scale(figure, place)

    def show(index):
        look.update(drawn, axis, index)
        return drawn

    animation = FuncAnimation(figure, show, frames=list(order), init_func=lambda: drawn, interval=interval)
    animation._repr_html_ = animation.to_jshtml
    return animation


def take_slice(values, axis, index):
    """A slice as rows from top to bottom: its first axis points right, its second axis up."""
    return values if index is None else np.rot90(np.take(values, index, axis=axis))


def _cells(shape, num_slices):
    """The indices of the slices along each axis."""
    counts = [min(num_slices, length) for length in shape]
    return [[int((i + 0.5) * length / n) for i in range(n)] for n, length in zip(counts, shape, strict=True)]


class _Look:
    """How a picture and its overlay are drawn, with the same colour for the same value on every slice."""

    def __init__(self, picture, overlay, cmap, limits, overlay_cmap, overlay_limits):
        self.picture, self.overlay, self.cmap = picture, overlay, cmap
        self.limits = _image_range(picture, *limits)
        if overlay is not None:
            self.low, self.high = _overlay_range(overlay, *overlay_limits)
            self.colours, self.norm = _overlay_colours(overlay_cmap, self.low, self.high)

    def arrays(self, axis, index):
        """The arrays of a slice: the image, and the overlay with its zeros masked."""
        base = take_slice(self.picture.values, axis, index)
        if self.picture.is_colour:
            low, high = self.limits
            base = np.clip((base - low) / ((high - low) or 1.0), 0, 1)
        over = None if self.overlay is None else np.ma.masked_equal(take_slice(self.overlay, axis, index), 0)
        return base, over

    def draw(self, place, axis, index):
        """Draw a slice and return the artists: image, overlay (if any), label (for a volume)."""
        base, over = self.arrays(axis, index)
        aspect = self._aspect(axis, index)
        low, high = self.limits
        options = {"aspect": aspect, "interpolation": "nearest"}
        drawn = [place.imshow(base, cmap=self.cmap, vmin=low, vmax=high, **options)]
        if over is not None:
            drawn.append(place.imshow(over, cmap=self.colours, norm=self.norm, **options))
        if index is not None:
            drawn.append(_label(place, f"{'xyz'[axis]}={index}"))
        return drawn

    def update(self, drawn, axis, index):
        """Show another slice in the artists of `draw`."""
        for artist, values in zip(drawn, [v for v in self.arrays(axis, index) if v is not None], strict=False):
            artist.set_data(values)
        drawn[-1].set_text(f"{'xyz'[axis]}={index}")

    def draw_scale(self, figure, axes):
        """Draw the colour bar of the overlay, with an arrow at each end that values exceed."""
        if self.overlay is None:
            return
        beyond = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
        ends = beyond[bool(self.overlay.min() < self.low), bool(self.overlay.max() > self.high)]
        from matplotlib.cm import ScalarMappable

        bar = figure.colorbar(ScalarMappable(self.norm, self.colours), ax=axes, extend=ends, shrink=0.7, pad=0.02)
        bar.ax.set_facecolor("black")  # transparent colours lie on dark anatomy
        bar.set_label("relevance")

    def _aspect(self, axis, index):
        if index is None:
            return 1.0
        across, up = (size for other, size in enumerate(self.picture.spacing) if other != axis)
        return up / across


def _image_range(picture, low, high):
    values = picture.values
    if picture.is_colour and values.dtype == np.uint8:
        ends = 0.0, 255.0
    elif picture.is_colour and values.min() >= 0 and values.max() <= 1:
        ends = 0.0, 1.0
    else:
        ends = float(values.min()), float(values.max())
    return _checked("vmin and vmax", ends[0] if low is None else low, ends[1] if high is None else high)


def _overlay_range(overlay, low, high):
    """The colour range of the overlay: from 0 to the top, or symmetric around 0."""
    sizes = np.abs(overlay[overlay != 0].astype(float))
    top = float(np.percentile(sizes, SCALE_TO)) if sizes.size else 1.0
    if low is None:
        low = -(abs(high) if high is not None else top) if overlay.min() < 0 else 0.0
    if high is None:
        high = -low if low < 0 else max(top, float(overlay.max()) if top <= low else top)
    return _checked("overlay_vmin and overlay_vmax", low, high)


def _checked(names, low, high):
    if not low <= high:
        raise ConfigError(f"{names} are not a range", found=(low, high), allowed="a start that is not above the end")
    return float(low), float(high)


def _overlay_colours(cmap, low, high):
    """Colour map and norm. By default: transparent at 0, red to yellow above, blue to light blue below."""
    from matplotlib.colors import LinearSegmentedColormap, Normalize, TwoSlopeNorm

    if cmap is not None:
        return cmap, Normalize(low, high)
    above = [(0.80, 0.00, 0.00, 0.0), (0.86, 0.00, 0.00, 0.6), (1.00, 0.45, 0.00, 0.8), (1.00, 0.92, 0.35, 0.9)]
    below = [(0.00, 0.10, 0.80, 0.0), (0.00, 0.20, 0.90, 0.6), (0.00, 0.55, 1.00, 0.8), (0.55, 0.90, 1.00, 0.9)]
    if low < 0 < high:
        return LinearSegmentedColormap.from_list("voxelwhy_signed", below[::-1] + above), TwoSlopeNorm(0, low, high)
    colours = below[::-1] if low < 0 else above
    return LinearSegmentedColormap.from_list("voxelwhy_relevance", colours), Normalize(low, high)


def _label(place, text):
    from matplotlib.patheffects import withStroke

    outline = [withStroke(linewidth=1.5, foreground="black")]
    style = {"color": "white", "fontsize": 8, "ha": "left", "va": "top", "path_effects": outline}
    return place.text(0.03, 0.97, text, transform=place.transAxes, **style)


def _new_figure(cells, picture, film=False):
    """A pyplot figure, sized for its cells."""
    from matplotlib import pyplot as plt

    if len(cells) == 1:
        size = (5.0, 4.5)
    else:
        size = (1.9 * max(map(len, cells)) + 1.2, 1.9 * len(cells))
    inline = "inline" in plt.get_backend()
    if film and inline:  # pyplot would show a still image next to the animation in a notebook
        from matplotlib.figure import Figure

        return Figure(figsize=size, layout="constrained")
    figure = plt.figure(figsize=size, layout="constrained")
    if inline:
        figure._ipython_display_ = partial(_show_once, figure)
    return figure


def _show_once(figure):
    """Show a figure in a notebook and close it; an open figure would be shown again at the end of the cell."""
    from IPython.display import display
    from matplotlib import pyplot as plt

    plt.close(figure)
    del figure._ipython_display_  # otherwise display would call this function again
    display(figure)
    figure._ipython_display_ = partial(_show_once, figure)
