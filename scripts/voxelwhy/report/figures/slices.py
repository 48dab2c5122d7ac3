"""Slices of images, selected and labelled in millimetres, with relevance drawn over the anatomy."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib
import nibabel as nib
import numpy as np
from nilearn.image import resample_img

from voxelwhy.errors import InputError
from voxelwhy.report.figures.style import HOT

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
LETTERS = "xyz"
#: Coronal slices through the hippocampus, from its tail to its head and the amygdala in front of it.
DEFAULT_SLICES_MM = (-40, -30, -20, -10, 0)
#: Relevance below this percentile over brain voxels is not drawn, so that the anatomy stays visible.
SHOWN_FROM = 90
#: How a value at the end of a colour scale is written.
SCIENTIFIC = "{:.1e}".format
#: The colour scale ends here, so that single voxels do not darken the rest.
SCALE_TO = 99.8


@dataclass(frozen=True)
class Scale:
    """The range of relevance that is drawn: transparent below `low`, saturated from `high` on."""

    low: float
    high: float


def load_canonical(path):
    """Array and affine of an image, or of the file at a path, in RAS+ order.

    Raises
    ------
    InputError
        The axes are oblique: a slice would not lie at one coordinate.
    """
    image = nib.as_closest_canonical(path if isinstance(path, nib.Nifti1Image) else nib.load(path))
    off_axis = np.abs(image.affine[:3, :3] - np.diag(np.diag(image.affine)[:3])).max()
    if off_axis > 1e-3:
        raise InputError(
            "slices can be drawn only from an image whose axes are parallel to the coordinate axes",
            file=path,
            found=f"{off_axis:.3g}",
        )
    return np.asarray(image.dataobj, dtype=np.float32), image.affine


def on_grid(image, shape, affine):
    """Values of an image (or of the file at a path) in RAS+ order on a grid, interpolated linearly; 0 beyond its edge.

    An image that lies on the grid is returned as it is.
    """
    data, own = load_canonical(image)
    if data.shape == tuple(shape) and np.allclose(own, affine, atol=1e-3):
        return data
    moved = resample_img(
        nib.Nifti1Image(data, own),
        target_affine=affine,
        target_shape=shape,
        interpolation="linear",
        fill_value=0,
        force_resample=True,
        copy_header=True,
    )
    return np.asarray(moved.dataobj, dtype=np.float32)


def slice_index(affine, axis, millimetres, length):
    """Index of the slice whose centre is nearest to a coordinate.

    Raises
    ------
    InputError
        The coordinate lies outside the image.
    """
    step, origin = affine[axis, axis], affine[axis, 3]
    index = round((millimetres - origin) / step)
    if not 0 <= index < length:
        allowed = f"{origin:g} to {origin + step * (length - 1):g} mm"
        raise InputError(f"a slice lies outside the image along {LETTERS[axis]}", found=millimetres, allowed=allowed)
    return index


def slice_label(affine, axis, index):
    """The coordinate of the slice, which may differ by half a voxel from the requested one: "y = -39 mm"."""
    return f"{LETTERS[axis]} = {affine[axis, axis] * index + affine[axis, 3]:g} mm"


def take_slice(data, axis, index):
    """A slice as an image with its first row at the top: left of the brain on the left, superior or anterior up."""
    return np.rot90(np.moveaxis(data, axis, 0)[index])


def crop_box(data, axis, margin=1):
    """Slices of the two image axes (of `take_slice`) around the voxels that are above zero anywhere along `axis`."""
    flat = np.rot90((data > 0).any(axis=axis))
    rows, columns = np.flatnonzero(flat.any(axis=1)), np.flatnonzero(flat.any(axis=0))
    if not len(rows):
        return slice(None), slice(None)
    return tuple(slice(max(found[0] - margin, 0), found[-1] + 1 + margin) for found in (rows, columns))


def colour_scale(relevance, brain):
    """From the 90th to the 99.8th percentile of max(relevance, 0) over brain voxels; None if nothing is positive."""
    values = np.maximum(relevance[brain], 0)
    if not len(values) or values.max() <= 0:
        return None
    high = float(np.percentile(values, SCALE_TO)) or float(values.max())
    low = float(np.percentile(values, SHOWN_FROM))
    # In a map of few constant patches both ends of the scale may coincide: then all positive values are shown.
    return Scale(low if low < high * 0.999 else 0.0, high)


def draw_overlay(axes, anatomy, relevance, scale, grey_range):
    """Anatomy in grey, relevance above the lower end of the scale in hot colours, more opaque the larger it is."""
    axes.imshow(anatomy, cmap="gray", vmin=grey_range[0], vmax=grey_range[1], interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if scale is None:
        return
    height = np.clip((relevance - scale.low) / (scale.high - scale.low), 0, 1)
    opacity = np.where(relevance > scale.low, 0.45 + 0.5 * height, 0.0)
    axes.imshow(HOT(height), alpha=opacity, interpolation="nearest")


def draw_scale(axes, scale, write=SCIENTIFIC):
    """A colour bar for `Scale` on its own axes, labelled with its two end values as `write` makes them text."""
    if scale is None:
        axes.axis("off")
        axes.text(0.5, 0.5, "no positive values", ha="center", va="center", fontsize=7, transform=axes.transAxes)
        return
    norm = matplotlib.colors.Normalize(scale.low, scale.high)
    bar = axes.figure.colorbar(matplotlib.cm.ScalarMappable(norm, HOT), cax=axes, orientation="horizontal")
    bar.set_ticks([scale.low, scale.high], labels=[write(scale.low), write(scale.high)])
    bar.ax.tick_params(labelsize=7, length=2, pad=1.5)
    for text, side in zip(bar.ax.get_xticklabels(), ("left", "right"), strict=True):
        text.set_horizontalalignment(side)
    bar.outline.set_visible(False)


def grey_range(anatomy):
    """The range of grey values: 0 to the 99.5th percentile of the values above zero."""
    inside = anatomy[anatomy > 0]
    return 0.0, float(np.percentile(inside, 99.5)) if len(inside) else 1.0
