"""A flow of template space applied to a scan in its own space: one interpolation, on the scan's own grid."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy import ndimage

from voxelwhy.io.scans import read_scan
from voxelwhy.registration.ants import ants

#: Voxels that move by less keep their value, mm.
LEAST_MM = 0.01
#: Voxels that are mapped at a time.
AT_ONCE = 1_000_000
#: ANTs counts x and y from right to left and from front to back.
LPS = np.array([[-1.0], [-1.0], [1.0]])


@dataclass(frozen=True)
class Registered:
    """Maps between points of the template and of a scan, both (3, n) in mm (RAS+).

    Parameters
    ----------
    folder : path of the transforms that a registration has kept (`affine.mat` and, if it deforms, `warp.nii.gz` and
        `inverse_warp.nii.gz`); None for a scan that is in template space already
    """

    folder: Path | None = None

    def to_scan(self, points):
        """Where in the scan points of the template lie."""
        return self._mapped(points, [("warp.nii.gz", False), ("affine.mat", False)])

    def to_template(self, points):
        """Where in the template points of the scan lie, up to the error of the inverse warp."""
        return self._mapped(points, [("affine.mat", True), ("inverse_warp.nii.gz", False)])

    def _mapped(self, points, steps):
        if self.folder is None or not points.shape[1]:
            return points
        steps = [(str(Path(self.folder, name)), invert) for name, invert in steps if Path(self.folder, name).exists()]
        frame = pd.DataFrame((points * LPS).T, columns=list("xyz"))
        files, inverted = zip(*steps, strict=True)
        moved = ants.apply_transforms_to_points(3, frame, list(files), whichtoinvert=list(inverted))
        return moved[list("xyz")].to_numpy().T * LPS


def source_points(flow, registered, points):
    """Where the tissue comes from that lies at points (3, n) of a scan after a flow of template space, mm.

    A point y of the scan lies at x in the template. After the flow, the tissue of x' lies there. The source is
    y + phi(x') - phi(x), with phi from template to scan: where the flow is 0, this is y itself, whatever the error of
    the inverse warp.
    """
    sources = np.array(points, dtype=np.float64)
    at = registered.to_template(points)
    first, voxel = flow.grid.affine[:3, 3][:, None], np.diag(flow.grid.affine)[:3, None]
    inside = np.all((at > first) & (at < first + voxel * (np.array(flow.grid.shape)[:, None] - 1)), axis=0)
    before = at[:, inside].astype(np.float32)
    step = registered.to_scan(flow.sources(before)) - registered.to_scan(before)
    sources[:, inside] += np.where(np.linalg.norm(step, axis=0) < LEAST_MM, 0, step)
    return sources


def deform(values, affine, flow, registered):
    """Deform an image by a flow of template space; linear interpolation, rounded if the values are whole numbers.

    Parameters
    ----------
    values : array (x, y, z)
    affine : array (4, 4), voxel to mm (RAS+); any orientation
    flow : flows.Flow
    registered : Registered

    Returns
    -------
    deformed : array of the same shape and type; voxels that do not move keep their value
    """
    deformed, back = np.array(values, order="C"), np.linalg.inv(affine)
    flat, span = deformed.reshape(-1), np.iinfo(values.dtype) if values.dtype.kind in "iu" else None
    for start in range(0, flat.size, AT_ONCE):
        index = np.arange(start, min(start + AT_ONCE, flat.size))
        places = np.stack(np.unravel_index(index, values.shape)).astype(np.float64)
        points = affine[:3, :3] @ places + affine[:3, 3:]
        sources = source_points(flow, registered, points)
        moved = np.any(sources != points, axis=0)
        where = back[:3, :3] @ sources[:, moved] + back[:3, 3:]
        taken = ndimage.map_coordinates(values, where, output=np.float64, order=1, mode="nearest")
        flat[index[moved]] = np.clip(np.rint(taken), span.min, span.max) if span else taken
    return deformed


def deform_scan(path, out_path, flow, registered):
    """Deform the scan at a path by a flow of template space, and write it as .nii.gz with its own grid and header.

    Parameters
    ----------
    path : of a scan in any format of `io.scans.read_scan`; all but NIfTI are written with float32 values
    out_path : path, ending in .nii.gz
    flow, registered : as for `deform`

    Raises
    ------
    InputError : the scan cannot be read.
    """
    scan = read_scan(path, reorient=False, finite=False)
    values, affine, header, scaling = np.asarray(scan.dataobj), scan.affine, None, None
    stored = None if Path(path).is_dir() else nib.load(path)
    if isinstance(stored, nib.Nifti1Image):
        # The numbers of the file, before its scaling, so that a voxel that does not move keeps its bytes.
        values, header = np.asanyarray(stored.dataobj.get_unscaled()), stored.header
        affine, scaling = stored.affine, (stored.dataobj.slope, stored.dataobj.inter)
    deformed = deform(values.reshape(values.shape[:3]), affine, flow, registered).reshape(values.shape)
    image = nib.Nifti1Image(deformed, None if header else affine, header)
    if scaling not in (None, (1.0, 0.0)):
        image.header.set_slope_inter(*scaling)
    # The gzip header contains no name or time, so that equal voxels give equal bytes.
    Path(out_path).write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))
