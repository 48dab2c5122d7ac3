"""NIfTI images and their grids. Nothing is resampled implicitly."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from voxelwhy.errors import InputError, ShapeError
from voxelwhy.io.wholeness import require_whole

log = logging.getLogger(__name__)

# The ICBM152 field of view of the paper: 193 x 229 x 193 voxels of 1 mm, first voxel centre at (-96, -132, -78) mm.
FIELD_OF_VIEW_MM = np.array([193.0, 229.0, 193.0])
CENTRE_MM = np.array([0.0, -18.0, 18.0])
# The field of view of SPM and FSL: centres of the first and of the last voxel, mm.
MNI_FIRST_MM = np.array([-90.0, -126.0, -72.0])
MNI_LAST_MM = np.array([90.0, 90.0, 108.0])
#: How far a voxel may lie from the same voxel of a near grid, in voxels.
MOST_APART = 0.05


@dataclass(frozen=True, eq=False)
class Grid:
    """A grid of voxels in millimetres (RAS+): a shape and an affine."""

    shape: tuple[int, int, int]
    affine: np.ndarray

    @classmethod
    def icbm(cls, resolution_mm):
        """Return the paper's grid: the ICBM152 field of view, with the same centre at every resolution."""
        shape = np.ceil(FIELD_OF_VIEW_MM / resolution_mm - 1e-9).astype(int)
        affine = np.diag([resolution_mm] * 3 + [1.0])
        affine[:3, 3] = CENTRE_MM - (shape - 1) / 2 * resolution_mm
        return cls(tuple(int(n) for n in shape), affine)

    @classmethod
    def mni(cls, resolution_mm):
        """Return the grid of SPM and FSL, 91 x 109 x 91 at 2 mm; its first voxel is the same at every resolution.

        If the resolution does not divide the field of view, the last voxel lies up to one voxel beyond it.
        """
        shape = np.ceil((MNI_LAST_MM - MNI_FIRST_MM) / resolution_mm - 1e-9).astype(int) + 1
        affine = np.diag([resolution_mm] * 3 + [1.0])
        affine[:3, 3] = MNI_FIRST_MM
        return cls(tuple(int(n) for n in shape), affine)

    @classmethod
    def of_facts(cls, facts):
        """Return the grid that a JSON file describes by `shape` and `affine`."""
        return cls(tuple(facts["shape"]), np.asarray(facts["affine"], dtype=float))

    @classmethod
    def named(cls, name, resolution_mm):
        """Return the grid of a study by its name in the config: `icbm` or `mni`."""
        return {"icbm": cls.icbm, "mni": cls.mni}[name](resolution_mm)

    @classmethod
    def of(cls, image):
        """Return the grid of a nibabel image, or of the NIfTI file at a path (only the header is read)."""
        if not isinstance(image, nib.spatialimages.SpatialImage):
            image = nib.load(image)
        return cls(tuple(int(n) for n in image.shape[:3]), np.asarray(image.affine, dtype=float))

    @classmethod
    def upright(cls, image):
        """Return the grid that a nibabel image has in RAS+, from its header alone."""
        orientation = nib.io_orientation(image.affine)
        affine = image.affine @ nib.orientations.inv_ornt_aff(orientation, image.shape[:3])
        order = np.argsort(orientation[:, 0])
        return cls(tuple(int(image.shape[axis]) for axis in order), np.asarray(affine, dtype=float))

    @property
    def voxel_mm(self):
        """Voxel size along each axis, mm."""
        return nib.affines.voxel_sizes(self.affine)

    @property
    def voxel_mm3(self):
        """Volume of a voxel, mm³."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def same(self, other, tolerance_mm=1e-3):
        """Return whether `other` has the same shape and, within `tolerance_mm`, the same affine."""
        return self.shape == other.shape and np.allclose(self.affine, other.affine, atol=tolerance_mm)

    def near(self, other):
        """Return whether `other` is this grid but for the digits of a header that programs round differently."""
        return self.shape == other.shape and (
            _apart(self.affine, other.affine, self.shape) <= MOST_APART * self.voxel_mm.min()
        )

    def require(self, other, name):
        """Raise ShapeError, describing both grids, unless `other` is this grid."""
        if not self.same(other):
            raise ShapeError(f"{name} is not on the study's grid: {other.in_words()}; expected {self.in_words()}")

    def in_words(self):
        """Describe shape, origin and voxel size, for messages."""
        origin, voxels = np.round(self.affine[:3, 3], 3).tolist(), np.round(self.voxel_mm, 3).tolist()
        return f"shape {self.shape}, origin {origin} mm, voxels {voxels} mm"


def _apart(affine, other, shape):
    """The largest distance in mm between the same voxel of two affines."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1).T
    apart = nib.affines.apply_affine(affine, corners) - nib.affines.apply_affine(other, corners)
    return float(np.linalg.norm(apart, axis=1).max())


def read_volume(path, *, reorient=True, placed=False, finite=True):
    """Read a 3-D image as a nibabel image with finite float32 values, reoriented to RAS+ (or in stored orientation).

    Parameters
    ----------
    placed : refuse an image whose header does not say where it lies (of an atlas or a mask); otherwise that is logged
    finite : refuse an image with NaN or infinity; otherwise both are read as NaN

    Raises
    ------
    InputError
        The file is missing, empty, truncated, damaged or not an image; has more than one volume; is complex, or zero
        everywhere; holds NaN or infinity; or has a singular affine. The message names the file and the value that was
        found.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("the image does not exist", file=path, hint="check the path template and the data folder")
    if path.stat().st_size == 0:
        raise InputError("the image file is empty", file=path, found="0 bytes", hint="download it again")
    require_whole(path)
    try:
        image = nib.load(path)
        if image.get_data_dtype().kind == "c":
            raise InputError(
                "the image holds complex numbers",
                file=path,
                found=str(image.get_data_dtype()),
                allowed="magnitudes",
                hint="save the magnitude of the image",
            )
        data = np.asarray(image.dataobj, dtype=np.float32)
    except InputError:
        raise
    except Exception as error:  # nibabel, gzip and zlib each raise their own exceptions
        raise InputError(
            "the image cannot be read", file=path, found=f"{type(error).__name__}: {error}", hint="download it again"
        ) from error
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    if data.ndim != 3:
        raise InputError(
            "the image is not one 3-D volume",
            file=path,
            found=f"shape {data.shape}",
            allowed="three axes",
            hint="extract one volume",
        )
    valued = np.isfinite(data)
    if not valued.all() and not finite:
        data = np.where(valued, data, np.float32(np.nan))
    elif not valued.all():
        raise InputError(
            "the image holds NaN or infinity",
            file=path,
            found=f"{int((~valued).sum())} voxels",
            allowed="finite numbers",
        )
    if not data[valued].any():
        raise InputError("the image is zero everywhere", file=path, found="no voxel above 0")
    if not np.isfinite(image.affine).all() or abs(np.linalg.det(image.affine[:3, :3])) < 1e-9:
        raise InputError(
            "the image's affine cannot be inverted", file=path, found=image.affine.tolist(), hint="repair the header"
        )
    _check_place(image, path, placed)
    volume = nib.Nifti1Image(data, image.affine)
    return nib.as_closest_canonical(volume) if reorient else volume


def _check_place(image, path, placed):
    """Report a NIfTI header without orientation, and one whose two orientations disagree."""
    header = image.header
    if not isinstance(header, nib.Nifti1Header):
        return
    qform, sform = header.get_qform(coded=True)[0], header.get_sform(coded=True)[0]
    if qform is None and sform is None:
        if placed:
            raise InputError(
                "the image does not say where it lies",
                file=path,
                found="qform_code 0 and sform_code 0",
                allowed="a header with an orientation",
                hint="save it with the affine of the space in which it was drawn",
            )
        log.warning("%s has no orientation (qform and sform are 0): it is read with x running from right to left", path)
    elif qform is not None and sform is not None:
        off = _apart(qform, sform, image.shape[:3])
        if off > nib.affines.voxel_sizes(sform).min() / 2:
            log.warning("%s: qform and sform disagree by up to %.1f mm; sform is used", path, off)


def save_image(path, data, affine, sidecar=None):
    """Write an array as NIfTI with its affine; float32 for floats. `sidecar` is written to a JSON file next to it."""
    data = np.asarray(data)
    if data.dtype.kind == "f":
        data = data.astype(np.float32)
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, 4)
    image.set_qform(affine, 4)
    nib.save(image, path)
    if sidecar is not None:
        write_json(sidecar_of(path), sidecar)


def save_int16(path, data, affine):
    """Write an array as int16 with a scale factor, and return the largest rounding error: half a step.

    Uncompressed files of this type can be mapped into memory, every viewer reads them, and they do not overflow above
    65,504 as float16 does.
    """
    data = np.asarray(data, dtype=np.float64)
    step = float(np.abs(data).max()) / 32767 or 1.0
    image = nib.Nifti1Image(np.rint(data / step).astype(np.int16), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, 4)
    image.set_qform(affine, 4)
    image.header.set_slope_inter(step, 0)
    nib.save(image, path)
    # The header stores the step as float32: its rounding error, times the largest integer, adds to the bound.
    return step / 2 + abs(float(np.float32(step)) - step) * 32767


def sidecar_of(path):
    """Return the path of the JSON file that belongs to a NIfTI file."""
    path = Path(path)
    return path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")


def write_json(path, content):
    """Write JSON with sorted keys, so that equal content gives equal bytes."""
    Path(path).write_text(json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path):
    """Read a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def hash_voxels(data):
    """Return the SHA-256 of voxel values and shape, without the header: a new header cannot hide a duplicate."""
    data = np.ascontiguousarray(data, dtype=np.float32)
    return hashlib.sha256(repr(data.shape).encode() + data.tobytes()).hexdigest()
