"""Variation between healthy people and between scans: random draws, anatomy, ageing, head position and bias field."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import scipy.fft
from scipy import ndimage

from voxelwhy.cohort.simulation.anatomy import region_maps
from voxelwhy.cohort.simulation.atrophy import log_volume, realise
from voxelwhy.cohort.simulation.deform import flow_jacobian
from voxelwhy.io.images import Grid

#: The velocity of individual anatomy is so smooth that a finer grid is unnecessary.
ANATOMY_GRID = Grid.icbm(4)
#: Changes of volume for which the flows of ageing and normal variation are planned; people have multiples of them. The
#: temporal horns grow with the other ventricles; how much is calibrated (make cohort-check).
REFERENCE_CHANGES = {
    "tissue": {"tissue": -0.10},
    "hippocampus": {"hippocampus": -0.20},
    "ventricles": {"ventricles": 0.50, "temporal_horn": 0.34},
}


def random_generator(seed, stage, *keys):
    """The generator of a stage for one subject or scan, so that an added subject does not change other draws."""
    return np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(stage.encode()), *keys]))


def smooth_field(rng, shape, voxel_mm, sigma_mm, rms_mm):
    """A smooth random vector field (3, *shape): white noise, smoothed and scaled to the root mean square `rms_mm`."""
    noise = rng.standard_normal((3, *shape), dtype=np.float32)
    field = np.stack([ndimage.gaussian_filter(part, sigma_mm / voxel_mm, mode="wrap", truncate=3) for part in noise])
    return field * np.float32(rms_mm / np.sqrt((field.astype(np.float64) ** 2).sum(axis=0).mean()))


def without_rotation(field):
    """The curl-free part of a periodic vector field (3, *shape) on cubic voxels, scaled to the field's own size.

    At the same length of its vectors it changes volumes about 1.7 times as much, since none of it merely turns tissue.

    References
    ----------
    Helmholtz decomposition; Fourier transform.
    """
    waves = [np.fft.fftfreq(n) for n in field.shape[1:3]] + [np.fft.rfftfreq(field.shape[3])]
    waves = np.meshgrid(*[wave.astype(np.float32) for wave in waves], indexing="ij", sparse=True)
    squared = sum(wave**2 for wave in waves)
    squared[0, 0, 0] = 1.0
    spectrum = scipy.fft.rfftn(field, axes=(1, 2, 3))
    along = sum(wave * part for wave, part in zip(waves, spectrum, strict=True)) / squared
    kept = np.stack([scipy.fft.irfftn(wave * along, field.shape[1:]) for wave in waves])
    size, kept_size = (np.sqrt((part.astype(np.float64) ** 2).mean()) for part in (field, kept))
    return (kept * (size / kept_size)).astype(np.float32)


def anatomy_velocity(rng, settings):
    """Draw the velocity field, on ANATOMY_GRID, whose flow turns the template into the anatomy of one person.

    Parameters
    ----------
    settings : dict with coarse_mm, coarse_rms_mm, fine_mm, fine_rms_mm: smoothness and size of the two parts; the
        coarse part has no rotation, so that it changes volumes rather than orientations
    """
    coarse, fine = (
        smooth_field(rng, ANATOMY_GRID.shape, 4.0, settings[f"{part}_mm"], settings[f"{part}_rms_mm"])
        for part in ("coarse", "fine")
    )
    return without_rotation(coarse) + fine


@dataclass(frozen=True, eq=False)
class Growth:
    """Flows of ageing and normal variation, and their effects on the volumes that the cohort must match."""

    velocities: dict  # name of REFERENCE_CHANGES -> (3, *grid.shape)
    responses: dict  # (flow, target) -> logarithm of the target's volume after the flow
    targets: dict  # "hippocampus", "ventricles" -> fraction map


def plan_growth(brain, labels, reach_mm):
    """Plan the flows of ageing tissue, hippocampus and ventricles; `labels` are the HCPEx names of the hippocampus."""
    hippocampus = region_maps(brain, {"hippocampus": labels})
    targets = {"hippocampus": sum(hippocampus.values()), "ventricles": brain.ventricles}
    regions = targets | {"temporal_horn": brain.temporal_horn, "tissue": brain.tissue}
    velocities, responses = {}, {}
    for name, changes in REFERENCE_CHANGES.items():
        # One region alone is not corrected, since people have multiples of its flow.
        corrections = 8 if len(changes) > 1 else 0
        flow = realise(brain, regions, changes, reach_mm=reach_mm, corrections=corrections, givers=brain.yielding)
        velocities[name] = flow.velocity
        responses |= {(name, target): log_volume(flow.jacobian, region) for target, region in targets.items()}
    return Growth(velocities, responses, targets)


def growth_velocity(brain, growth, anatomy, tissue_log, wanted_log):
    """The flow that, after one person's anatomy, brings hippocampus and ventricles to their intended volumes.

    Parameters
    ----------
    anatomy : velocity on ANATOMY_GRID; its effect on the two volumes is measured and taken into account
    tissue_log : float
        Logarithm of the volume of all tissue relative to the template, due to ageing.
    wanted_log : dict, "hippocampus" and "ventricles" -> logarithm of the volume relative to the template

    Returns
    -------
    velocity : float32 array, (3, *brain.grid.shape), mm
    """
    names = list(growth.targets)
    around = sum(growth.targets.values()) > 0
    jacobian = flow_jacobian(anatomy, ANATOMY_GRID, brain.grid, around)
    ageing = tissue_log / np.log1p(REFERENCE_CHANGES["tissue"]["tissue"])
    missing = [
        wanted_log[name] - log_volume(jacobian, growth.targets[name]) - ageing * growth.responses["tissue", name]
        for name in names
    ]
    matrix = [[growth.responses[flow, target] for flow in names] for target in names]
    amounts = dict(zip(names, np.linalg.solve(matrix, missing), strict=True)) | {"tissue": ageing}
    return sum(np.float32(amount) * growth.velocities[name] for name, amount in amounts.items())


def head_affine(rng_subject, rng_scan, settings, sex, centre_mm, *, pitch_deg=0.0, shift_mm=0.0):
    """Template mm → scanner mm, 4 x 4; head size is drawn for the person and position for the scan.

    Parameters
    ----------
    settings : dict with size_spread, sex_difference, rotation_deg, shift_mm
    centre_mm : the point of the template about which the head is scaled and rotated; it lies near the isocentre
    pitch_deg, shift_mm : float
        Added to the draws: rotation about the left-right axis (positive: chin up) and shift along the scanner's axis
        (positive: away from the feet).
    """
    size = np.exp(rng_subject.normal(0, settings["size_spread"], size=3) / np.sqrt(3))
    size *= np.exp(settings["size_spread"] * rng_subject.normal() * np.sqrt(2 / 3))
    size *= np.exp((0.5 if sex == "M" else -0.5) * settings["sex_difference"])
    # Draws are clipped at 2.5 standard deviations: a technician would have repositioned the head.
    draws = np.clip(rng_scan.normal(size=6), -2.5, 2.5)
    turn = np.eye(3)
    angles = np.deg2rad(settings["rotation_deg"]) * draws[:3] + np.deg2rad([pitch_deg, 0.0, 0.0])
    for axis, angle in enumerate(angles):
        first, second = [(1, 2), (2, 0), (0, 1)][axis]
        part = np.eye(3)
        part[first, first] = part[second, second] = np.cos(angle)
        part[first, second], part[second, first] = -np.sin(angle), np.sin(angle)
        turn = part @ turn
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(size)
    moved = settings["shift_mm"] * draws[3:] + np.array([0.0, 0.0, shift_mm])
    affine[:3, 3] = moved - affine[:3, :3] @ np.asarray(centre_mm)
    return affine


def bias_field(rng, shape, rms):
    """A smooth multiplicative field: exp of a sum of the first cosines along each axis, with root mean square `rms`."""
    weights = rng.standard_normal((3, 3, 3))
    weights[0, 0, 0] = 0.0
    waves = [np.cos(np.pi * np.outer(np.arange(3), (np.arange(n) + 0.5) / n)) for n in shape]
    field = weights
    # Each step contracts the first axis and appends the result, so that the axes are in order again after three steps.
    for wave in waves:
        field = np.einsum("abc,ax->bcx", field, wave)
    return np.exp(field * (rms / np.sqrt((field**2).mean()))).astype(np.float32)
