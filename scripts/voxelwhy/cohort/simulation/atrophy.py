"""Tissue loss by deformation: from the intended volume changes of regions to a flow that produces them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from voxelwhy.cohort.simulation.deform import flow_jacobian, velocity_of_divergence


@dataclass(frozen=True, eq=False)
class Change:
    """A flow that changes the volumes of regions: exp(velocity) as intended, exp(s * velocity) by s times the log."""

    velocity: np.ndarray  # (3, *grid.shape), mm
    jacobian: np.ndarray  # of exp(velocity), (*grid.shape)
    wanted: dict  # region -> fraction, -0.25 is a loss of a quarter
    achieved: dict
    volumes_mm3: dict  # before the change


def realise(brain, regions, wanted, *, reach_mm=8.0, corrections=3):
    """Plan the flow that changes the volume of each region as intended.

    The planted logarithm of volume becomes the divergence of a velocity field (Poisson equation). The volume that a
    region loses is taken up exactly by the fluid near it, and the volume that it gains comes from the tissue near it.
    After each flow the volumes are measured from the Jacobian, and the planted values are corrected by the ratio of
    the logarithms.

    Parameters
    ----------
    brain : Brain
    regions : dict, name -> fraction map on `brain.grid`
    wanted : dict, name -> relative change of volume, above -1; -0.25 is a loss of a quarter
    reach_mm : float
        Standard deviation of the Gaussian that defines what is near, mm.
    corrections : int
        Rounds of correction; after three, every region is within 0.1 percentage points at 2 mm.

    Returns
    -------
    change : Change

    References
    ----------
    Karaçali & Davatzikos 2006 (simulated atrophy by deformation with prescribed Jacobians).
    """
    planted = {name: float(np.log1p(change)) for name, change in wanted.items()}
    free = np.clip(1 - sum(regions[name] for name in wanted), 0, 1)
    fluid, tissue = brain.fluid * free, brain.tissue * free
    for left in range(corrections, -1, -1):
        divergence = sum(value * regions[name] for name, value in planted.items())
        divergence = divergence + take_up(divergence, fluid, tissue, reach_mm / brain.working_mm)
        velocity = velocity_of_divergence(divergence, brain.working_mm)
        jacobian = flow_jacobian(velocity, brain.grid, brain.grid, brain.inside)
        achieved = {name: float(np.expm1(log_volume(jacobian, regions[name]))) for name in wanted}
        if not left:
            break
        for name, change in wanted.items():
            if change:
                # The ratio is limited to 1/2 to 2: a region that hardly changed must not be overcorrected.
                ratio = np.log1p(change) / np.log1p(achieved[name]) if achieved[name] * change > 0 else 2.0
                planted[name] *= float(np.clip(ratio, 0.5, 2.0))
    volumes = {name: float(regions[name].sum(dtype=np.float64)) * brain.working_mm**3 for name in wanted}
    return Change(velocity, jacobian, dict(wanted), achieved, volumes)


def take_up(divergence, fluid, tissue, reach_voxels):
    """The gains of nearby fluid and losses of nearby tissue that make the sum of a divergence 0 when added to it.

    Each loss is distributed over the fluid around it, in proportion to the fluid there and to a Gaussian of the
    distance. Gains are distributed over tissue likewise. The sums agree exactly because the Gaussian is symmetric.
    """

    def shared(amount, takers):
        if not amount.any():
            return 0.0
        near = _blur(takers, reach_voxels)
        return takers * _blur(np.where(amount > 0, amount / np.maximum(near, 1e-6), 0), reach_voxels)

    return shared(np.maximum(-divergence, 0), fluid) - shared(np.maximum(divergence, 0), tissue)


def log_volume(jacobian, region):
    """Logarithm of a region's relative volume after a deformation, from the Jacobian in template space."""
    return float(np.log((jacobian * region).sum(dtype=np.float64) / region.sum(dtype=np.float64)))


def _blur(values, sigma):
    # Only with zeros beyond the edge is the operator symmetric, so that the volume lost equals the volume taken up.
    return ndimage.gaussian_filter(values.astype(np.float32), sigma, mode="constant", truncate=3)
