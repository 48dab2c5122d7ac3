"""Volumes as text for a page: the brain's box, one byte a voxel, compressed."""

from __future__ import annotations

import base64
import gzip
from dataclasses import dataclass

import nibabel as nib
import numpy as np

from voxelwhy.report.figures import slices as sl

#: Steps of a map on each side of 0. They are equal on the scale of the square root: fine for small values, coarse for
#: large ones, so that neither the largest voxel nor the many small ones lose what is seen of them.
STEPS = 127
#: Maps of smaller voxels are averaged over blocks of at most about this size.
VOXEL_MM = 2.0
_HEADER_BYTES = 352  # of NIfTI-1 in one file, up to the voxels


@dataclass(frozen=True)
class MapGrid:
    """The voxels of a study's maps that a page shows.

    Attributes
    ----------
    brain : bool array on the study's grid, in RAS+ order
    affine : of that grid
    block : number of voxels along each axis that are averaged
    box : slices of the averaged grid around the brain
    """

    brain: np.ndarray
    affine: np.ndarray
    block: int
    box: tuple

    @classmethod
    def of(cls, mask_path):
        """The grid of a brain mask; voxels below 1.4 mm are averaged to about 2 mm."""
        brain, affine = sl.load_canonical(mask_path)
        block = max(1, round(VOXEL_MM / float(np.diag(affine)[:3].min())))
        brain = brain > 0
        return cls(brain, affine, block, box_of(_block_sums(brain, block) > 0))

    @property
    def counts(self):
        """Brain voxels in each block, inside the box."""
        return _block_sums(self.brain, self.block)[self.box]

    @property
    def facts(self):
        """The grid of the packed maps, as the page needs it."""
        affine = self.affine.copy()
        affine[:3, :3] *= self.block
        # The first block is centred between its voxels.
        affine[:3, 3] += np.diag(self.affine)[:3] * (self.block - 1) / 2
        counts = self.counts
        return grid_facts(counts.shape, box_affine(affine, self.box), np.int16) | {"n_brain": int((counts > 0).sum())}

    def shown(self, image):
        """Values of an image (or of the file at a path) on the page's grid: means over the brain voxels of a block."""
        values = np.where(self.brain, sl.on_grid(image, self.brain.shape, self.affine), 0)
        counts = self.counts
        return _block_sums(values, self.block)[self.box] / np.maximum(counts, 1)


def pack_map(values):
    """Values as text, and the factor that restores them.

    Parameters
    ----------
    values : float array

    Returns
    -------
    dict : `text`, the base64 of compressed int8 codes in Fortran order, and `unit`; a code c stands for c |c| unit
    """
    top = float(np.abs(values).max(initial=0))
    share = np.abs(values) / top if top > 0 else np.zeros_like(values)
    codes = np.rint(np.sign(values) * STEPS * np.sqrt(share)).astype(np.int8)
    return {"text": pack(codes), "unit": top / STEPS**2}


def pack_background(path):
    """The template as bytes of grey, cut to its brain: (text, facts of the grid)."""
    anatomy, affine = sl.load_canonical(path)
    box = box_of(anatomy > 0, margin=2)
    low, high = sl.grey_range(anatomy)
    grey = np.rint(np.clip((anatomy[box] - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return pack(grey), grid_facts(grey.shape, box_affine(affine, box), np.uint8)


def pack_labels(path):
    """The atlas as integers, cut to its labels: (text, facts of the grid); `bytes` is the size of an integer."""
    labels, affine = sl.load_canonical(path)
    box = box_of(labels > 0)
    kind = np.dtype(np.uint8 if labels.max() < 256 else np.uint16)
    cut = np.rint(labels[box]).astype(kind)
    return pack(cut), grid_facts(cut.shape, box_affine(affine, box), np.int16) | {"bytes": kind.itemsize}


def pack(array):
    """The base64 of the compressed bytes of an array in Fortran order, as NIfTI has them; equal for equal input."""
    return base64.b64encode(gzip.compress(array.tobytes(order="F"), 9, mtime=0)).decode("ascii")


def grid_facts(shape, affine, dtype):
    """Shape, centre of the first voxel and voxel size (mm), and the NIfTI header of such an image, as base64."""
    image = nib.Nifti1Image(np.zeros(shape, dtype), affine)
    image.header.set_xyzt_units("mm")
    header = image.to_bytes()[:_HEADER_BYTES]
    return {
        "shape": [int(n) for n in shape],
        "origin": [round(float(mm), 4) for mm in affine[:3, 3]],
        "step": [round(float(mm), 4) for mm in np.diag(affine)[:3]],
        "header": base64.b64encode(header).decode("ascii"),
    }


def box_of(inside, margin=0):
    """Slices around the voxels that are true; all voxels if none is."""
    found = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if not len(found[0]):
        return (slice(None),) * 3
    return tuple(slice(max(int(own[0]) - margin, 0), int(own[-1]) + 1 + margin) for own in found)


def box_affine(affine, box):
    """The affine of a box of a grid whose axes are parallel to the coordinate axes."""
    moved = affine.copy()
    moved[:3, 3] += np.diag(affine)[:3] * [own.start or 0 for own in box]
    return moved


def _block_sums(values, block):
    """Sums over blocks of voxels; blocks at the far edges may be incomplete."""
    if block == 1:
        return values.astype(np.float64)
    padded = np.pad(values.astype(np.float64), [(0, -n % block) for n in values.shape])
    halves = [part for n in padded.shape for part in (n // block, block)]
    return padded.reshape(halves).sum(axis=(1, 3, 5))
