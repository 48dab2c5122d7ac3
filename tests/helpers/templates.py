"""The template on coarse grids, made once: it takes a second each time."""

from __future__ import annotations

import functools

import nibabel as nib
import numpy as np

from voxelwhy.registration.template import make_template

_made = functools.cache(make_template)


def template_on(resolution_mm, grid="icbm"):
    """What `make_template` returns, as images of the caller's own."""
    images = _made(resolution_mm, grid)
    return tuple(nib.Nifti1Image(np.array(image.dataobj), image.affine, image.header) for image in images)
