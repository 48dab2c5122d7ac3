"""Scans in any format (NIfTI, MGZ, Analyze, a folder of DICOM files), and whether they show a head or a brain."""

from __future__ import annotations

import logging
import re
import tempfile
from pathlib import Path

import dcm2niix
import nibabel as nib
import numpy as np
from scipy.ndimage import binary_fill_holes, distance_transform_edt

from voxelwhy.errors import InputError
from voxelwhy.io.images import read_volume

log = logging.getLogger(__name__)

# Limits for a plausible T1-weighted scan of a head or brain. The reference values given with each limit are those of
# 20 real scans (ds002748), the ICBM152 template at 1 to 8 mm, the embedded cohort at 3 to 6 mm, and Colin27 with and
# without skull (ch2, ch2bet).
#: Slices along an axis. A brain is 130 mm high: 22 slices of 6 mm (the coarsest embedded cohort). Localisers: 3 to 15.
LEAST_SLICES = 20
#: Field of view along each axis, mm; reference 181 to 250. A head does not fit below; above, units are not mm.
FIELD_OF_VIEW = (90.0, 500.0)
#: Longest edge of a voxel, mm, and ratio of longest to shortest; reference at most 6 (template 8), and at most 1.2.
COARSEST_MM, MOST_OBLONG = 10.0, 4.0
#: Fraction of neighbouring voxels with equal values. Reference: at most 0.12 (8 bits); label images: 0.84 to 1.
MOST_EQUAL_NEIGHBOURS = 0.6
#: Correlation of neighbouring voxels. Reference: at least 0.56 (at 8 mm; 0.9 at 1 mm); noise: 0.
LEAST_NEIGHBOUR_CORRELATION = 0.3
#: Volume above a tenth of the maximum, cm³. Reference: 1,150 to 3,900; a macaque brain: 100; noise: the whole image.
ANATOMY_CM3 = (300.0, 12000.0)

# How brains are distinguished from heads. Reference brains have 1,148 to 2,161 cm³ and a dip of at least 1.01 (they
# become brighter inwards at every depth). The head of Colin27, with or without face and neck, at 85 to 100 % of its
# size and 1 to 4 mm, has 1,870 to 4,152 cm³ and a dip of 0.28 to 0.52; at 5 mm up to 0.67.
#: Above this volume a scan is a head in any case (noise in the air counts as volume), cm³.
LARGEST_BRAIN_CM3 = 2600.0
#: Below this dip there is bone: a dark layer below a bright one.
LEAST_DIP = 0.85
#: Bone is searched for down to this depth below the surface, mm; scalp and skull are 10 to 15 mm thick.
DEPTH_MM = 22.0

# The line of the output of dcm2niix that reports a problem.
_UNRIGHTED = re.compile("[Ee]rror|Unable|Only able")
# Its warnings after which a volume is not the whole scan, although it is written without an error.
_INCOMPLETE = re.compile("Missing images|Slices not stacked")
_UNEVEN = re.compile("not equidistant")

# For each code `orient` of Analyze, the world axis (0 x, 1 y, 2 z) of each voxel axis; x runs to the left.
_ANALYZE_AXES = {0: (0, 1, 2), 1: (0, 2, 1), 2: (1, 2, 0)}


def read_scan(path, *, reorient=True, modality="t1w", finite=True):
    """Read a scan as a nibabel image with finite float32 values, reoriented to RAS+ (or in its stored orientation).

    Parameters
    ----------
    path : a NIfTI or MGZ file, either file of an Analyze pair, or a folder with one DICOM series (converted by
        dcm2niix in a temporary folder; if it corrects tilted or unevenly spaced slices, the corrected image is read)
    modality : "t1w", or any other: then only the size of the image is checked, and not whether it shows a head or brain
    finite : as in `images.read_volume`; does not apply to DICOM, which has neither NaN nor infinity

    Raises
    ------
    InputError : as `images.read_volume`; the folder contains no volume or several; the header has an invalid
        orientation; or the image cannot be a head or brain (`require_plausible`). The message states the value.

    Notes
    -----
    Analyze has no affine. Its code `orient` gives the orientation of the slices (0 transverse, 1 coronal, 2 sagittal),
    which nibabel ignores: OASIS has sagittal raw images (1) and transverse ones in atlas space (t88). Left and right
    are a convention only: as in nibabel's `default_x_flip`, and in the manual of Analyze, x runs from right to left
    ("radiological"). A `.mat` file of SPM next to the pair takes precedence. A warning in the log reports this.

    References
    ----------
    Marcus 2007, J Cogn Neurosci 19:1498 (OASIS-1); Li 2016, J Neurosci Methods 264:47 (dcm2niix).
    """
    path = Path(path)
    if path.is_dir():
        volume = _read_dicom(path, modality)
    else:
        volume = read_volume(path, reorient=False, finite=finite)
        if path.suffix.lower() in (".img", ".hdr"):
            volume = _with_analyze_axes(volume, path)
        require_plausible(volume, path, modality)
    return nib.as_closest_canonical(volume) if reorient else volume


def require_plausible(volume, path, modality="t1w"):
    """Raise InputError, stating the value that was found, if a volume cannot be a scan of a head or brain.

    What it shows is checked for T1-weighted scans alone: other images are bright elsewhere.
    """
    shape, voxels = np.array(volume.shape), nib.affines.voxel_sizes(volume.affine)
    view = shape * voxels
    _refuse_if(shape.min() < LEAST_SLICES, "the image has too few slices", path, _by(shape), f"{LEAST_SLICES} an axis")
    low, high = FIELD_OF_VIEW
    _refuse_if(
        view.min() < low or view.max() > high,
        "the field of view is not that of a head",
        path,
        f"{_by(view)} mm",
        f"{low:g} to {high:g} mm along each axis",
    )
    _refuse_if(
        voxels.max() >= COARSEST_MM or voxels.max() > MOST_OBLONG * voxels.min(),
        "the voxels are too coarse or too oblong",
        path,
        f"{_by(voxels)} mm",
        f"edges below {COARSEST_MM:g} mm, the longest at most {MOST_OBLONG:g} times the shortest",
    )
    if modality == "t1w":
        _require_anatomy(volume, path)


def _require_anatomy(volume, path):
    if np.isnan(volume.dataobj).any():
        volume = nib.Nifti1Image(np.nan_to_num(volume.dataobj), volume.affine)
    equal, correlation = _neighbours(volume)
    _refuse_if(
        equal > MOST_EQUAL_NEIGHBOURS,
        "the image holds labels or a mask, not intensities",
        path,
        f"{equal:.0%} of neighbouring voxels have equal values",
        f"at most {MOST_EQUAL_NEIGHBOURS:.0%}",
    )
    _refuse_if(
        not correlation >= LEAST_NEIGHBOUR_CORRELATION,
        "the image shows no anatomy",
        path,
        f"neighbouring voxels correlate at {correlation:.2f}",
        f"at least {LEAST_NEIGHBOUR_CORRELATION:g}",
    )
    signal, voxels = _signal(volume)
    cm3, (low, high) = (signal > 0.1).sum() * voxels.prod() / 1000, ANATOMY_CM3
    _refuse_if(
        not low <= cm3 <= high,
        "the image shows no head or brain",
        path,
        f"{cm3:.0f} cm³ above a tenth of the maximum",
        f"{low:g} to {high:g} cm³",
    )


def looks_skull_stripped(volume):
    """Return whether a scan shows only a brain (True) or a whole head, and its volume in cm³.

    The volume is that of all voxels that differ from the background by more than 2 % of the maximum. A scan shows a
    head if it is larger than any brain, or has bone: a layer near the surface that is darker than those further out.

    Parameters
    ----------
    volume : nibabel image of three axes, as from `read_scan`

    Returns
    -------
    bool, float
    """
    signal, voxels = _signal(volume)
    inside = signal > 0.02
    cm3 = float(inside.sum() * voxels.prod() / 1000)
    return bool(cm3 <= LARGEST_BRAIN_CM3 and _dip(signal, inside, voxels) >= LEAST_DIP), cm3


def _dip(signal, inside, voxels):
    """Return the least brightness of a layer below the surface relative to the brightest layer outside it (medians)."""
    # Padded, so that a head that reaches the edge of the image has a surface there.
    inside = binary_fill_holes(np.pad(inside, 1))
    depth = distance_transform_edt(inside, sampling=voxels)[1:-1, 1:-1, 1:-1]
    thick = max(3.0, voxels.max())
    layers = [signal[(depth > low) & (depth <= low + thick)] for low in np.arange(0, DEPTH_MM, thick)]
    layers = [float(np.median(layer)) for layer in layers if layer.size]
    return min((layers[i] / max(layers[:i]) for i in range(1, len(layers))), default=1.0)


def _signal(volume):
    """Return the difference from the background relative to the maximum, on voxels of about 2 mm, and their edges, mm.

    The maximum is the 99th percentile of all voxels that differ from the background, so that it does not depend on the
    field of view.
    """
    voxels = nib.affines.voxel_sizes(volume.affine)
    steps = np.maximum(1, (2 / voxels).astype(int))
    return relative_signal(np.asarray(volume.dataobj, dtype=np.float32), steps), voxels * steps


def relative_signal(data, steps=(1, 1, 1)):
    """Return the difference of voxels from the background relative to the maximum, of every `steps`th along an axis."""
    signal = np.abs(data[tuple(slice(None, None, step) for step in steps)] - _background(data))
    some = signal[signal > 0]
    return signal / (np.percentile(some, 99) if some.size else 1)


def _background(data):
    """Return the median of the six faces of the image, which need not be 0."""
    faces = [np.moveaxis(data, axis, 0)[end].ravel() for axis in range(3) for end in (0, -1)]
    return np.median(np.concatenate(faces))


def _neighbours(volume):
    """Return the fraction of equal neighbours along the first axis, in the anatomy, and their correlation (or nan)."""
    data = np.asarray(volume.dataobj, dtype=np.float32)
    signal = np.abs(data - _background(data))
    some = signal[signal > 0][::7]
    bright = signal > (0.1 * np.percentile(some, 99) if some.size else 0)
    both = bright[:-1] & bright[1:]
    first, second = data[:-1][both], data[1:][both]
    if first.size < 2 or not first.std() or not second.std():
        return 1.0, np.nan
    return float((first == second).mean()), float(np.corrcoef(first, second)[0, 1])


def _with_analyze_axes(volume, path):
    image = nib.load(path)
    if isinstance(image.header, nib.Nifti1Header):  # a NIfTI pair has an affine
        return volume
    log.warning("Analyze does not distinguish left from right: %s is read with x running from right to left", path)
    if not np.allclose(image.affine, image.header.get_best_affine()):  # SPM's .mat
        return volume
    code = image.header["orient"].item() or b"\0"
    code = int(code) if code.isdigit() else code[0]
    _refuse_if(
        code not in _ANALYZE_AXES,
        "the Analyze header has an invalid orientation",
        path,
        code,
        "orient 0 (transverse), 1 (coronal) or 2 (sagittal)",
    )
    if code == 0:
        return volume
    affine = np.zeros((4, 4))
    for axis, (world, edge) in enumerate(zip(_ANALYZE_AXES[code], image.header.get_zooms()[:3], strict=True)):
        affine[world, axis] = -edge if world == 0 else edge
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(volume.shape) - 1) / 2)
    affine[3, 3] = 1
    return nib.Nifti1Image(np.asarray(volume.dataobj), affine)


def _read_dicom(folder, modality):
    """Return the only plausible volume of a DICOM folder, as dcm2niix converts it."""
    with tempfile.TemporaryDirectory() as out:
        arguments = ["-b", "n", "-z", "n", "-f", "series%s", "-o", out, str(folder)]
        done = dcm2niix.main(arguments, capture_output=True, text=True, errors="replace")
        files = sorted(Path(out).glob("*.nii"))
        # When dcm2niix corrects a tilt or uneven slices, it writes the uncorrected volume as well.
        righted = [file.stem for file in files if "_Tilt" in file.stem or "_Eq" in file.stem]
        files = [file for file in files if not any(stem.startswith(f"{file.stem}_") for stem in righted)]
        good, refused = [], []
        for file in files:
            try:
                volume = read_volume(file, reorient=False)
                require_plausible(volume, folder, modality)
                good.append(volume)
            except InputError as error:
                refused.append(error)
    lines = (done.stdout + done.stderr).splitlines()
    doubts = [line for line in lines if _INCOMPLETE.search(line) or (_UNEVEN.search(line) and not righted)]
    said = next((line for line in [*doubts, *lines] if line in doubts or _UNRIGHTED.search(line)), "nothing")
    if files and (done.returncode or doubts):  # for instance if dcm2niix could not correct what it reports
        raise InputError(
            "the DICOM series cannot be converted faithfully",
            file=folder,
            found=f"dcm2niix: {said[:150]}",
            hint="download the series again; if it is complete, convert it manually and inspect it",
        )
    if len(good) == 1:
        return good[0]
    if len(refused) == 1 and not good:
        raise InputError(refused[0].problem, file=folder, found=refused[0].found, hint="check what the folder contains")
    came_out = [_by(volume.shape) for volume in good] + [f"{error.problem} ({error.found})" for error in refused]
    raise InputError(
        "the folder is not one DICOM series of a head",
        file=folder,
        found="; ".join(came_out) or f"no volume; dcm2niix: {said[:150]}",
        allowed="a folder from which dcm2niix makes one plausible volume",
        hint="name the folder of a single series, not that of the session",
    )


def _refuse_if(wrong, problem, path, found, allowed):
    if wrong:
        raise InputError(
            problem, file=path, found=found, allowed=allowed, hint="exclude the scan, or name another file"
        )


def _by(numbers):
    return " x ".join(f"{number:.4g}" for number in numbers)
