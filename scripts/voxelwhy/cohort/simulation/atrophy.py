"""Tissue loss by deformation: from the intended volume changes of regions to a flow that produces them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse

from voxelwhy.cohort.simulation.deform import flow_jacobian, velocity_of_divergence

#: A region is close enough to its intended relative change of volume.
CLOSE = 0.001


@dataclass(frozen=True, eq=False)
class Change:
    """A flow that changes the volumes of regions: exp(velocity) as intended, exp(s * velocity) by s times the log."""

    velocity: np.ndarray  # (3, *grid.shape), mm
    parts: dict  # system -> the part of the velocity that its regions make; the parts add up to it
    jacobian: np.ndarray  # of exp(velocity), (*grid.shape)
    wanted: dict  # region -> fraction, -0.25 is a loss of a quarter
    achieved: dict
    volumes_mm3: dict  # before the change


def realise(brain, regions, wanted, *, reach_mm=8.0, corrections=8, systems=None, givers=None):
    """Plan the flow that changes the volume of each region as intended.

    The planted logarithm of volume becomes the divergence of a velocity field (Poisson equation). The volume that a
    region loses is taken up exactly by the fluid near it, and the volume that it gains comes from the tissue near it.
    After each flow the volumes are measured from the Jacobian, and the planted values are corrected. A thin cavity and
    the cortex next to it change each other's volume, so the response of each region to each is estimated on the way.

    Parameters
    ----------
    brain : Brain
    regions : dict, name -> fraction map on `brain.grid`
    wanted : dict, name -> relative change of volume, above -1; -0.25 is a loss of a quarter
    reach_mm : float
        Standard deviation of the Gaussian that defines what is near, mm.
    corrections : int
        Rounds of correction at most; it ends when every region is within 0.1 percentage points. With 0, the wanted
        values themselves are planted.
    systems : dict, optional, name -> system; the velocity is divided into one part for each system
    givers : array, optional; the tissue that gives way to what expands, by default all of `brain.tissue`

    Returns
    -------
    change : Change

    References
    ----------
    Karaçali & Davatzikos 2006 (simulated atrophy by deformation with prescribed Jacobians); Broyden 1965 (solution of
    equations whose derivatives are estimated).
    """
    planted = {name: float(np.log1p(change)) for name, change in wanted.items()}
    systems = systems or dict.fromkeys(wanted, "all")
    free = np.clip(1 - sum(regions[name] for name in wanted), 0, 1)
    fluid, tissue = brain.fluid * free, (brain.tissue if givers is None else givers) * free

    def balanced(names):
        # Who takes up or gives depends on the sign at each place, so the systems are balanced one by one.
        own = sum(planted[name] * regions[name] for name in names)
        return own + take_up(own, fluid, tissue, reach_mm / brain.working_mm)

    def divergences():
        for system in dict.fromkeys(systems.values()):
            yield system, balanced([name for name in wanted if systems[name] == system])

    changing = [name for name in wanted if wanted[name]]
    targets = np.log1p([wanted[name] for name in changing])
    if corrections and changing:
        # To first order, a region changes by the mean divergence there, that of its neighbours' losses included.
        shares = sparse.csr_array(np.stack([regions[name].ravel() / regions[name].sum() for name in changing]))
        responses = np.transpose([shares @ balanced([name]).ravel() / planted[name] for name in changing])
        planted |= zip(changing, np.linalg.solve(responses, targets).tolist(), strict=True)
    step, before = None, None
    for left in range(corrections, -1, -1):
        velocity = velocity_of_divergence(sum(own for _, own in divergences()), brain.working_mm)
        jacobian = flow_jacobian(velocity, brain.grid, brain.grid, brain.inside)
        achieved = {name: float(np.expm1(log_volume(jacobian, regions[name]))) for name in wanted}
        if not left or all(abs(achieved[name] - wanted[name]) < CLOSE for name in changing):
            break
        now = np.log1p([achieved[name] for name in changing])
        if step is not None:
            responses += np.outer(now - before - responses @ step, step) / (step @ step)
        step, before = np.linalg.solve(responses, targets - now), now
        for name, more in zip(changing, step.tolist(), strict=True):
            planted[name] += more
    volumes = {name: float(regions[name].sum(dtype=np.float64)) * brain.working_mm**3 for name in wanted}
    parts = {next(iter(systems.values()), "all"): velocity}
    if len(set(systems.values())) > 1:
        parts = {system: velocity_of_divergence(own, brain.working_mm) for system, own in divergences()}
    return Change(velocity, parts, jacobian, dict(wanted), achieved, volumes)


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
