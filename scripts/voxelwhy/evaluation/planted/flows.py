"""The flows in template space: the loss that is planted, and shams of equal strength without net loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from voxelwhy.cohort.simulation.anatomy import Brain, load_brain, region_maps
from voxelwhy.cohort.simulation.atrophy import log_volume, realise
from voxelwhy.cohort.simulation.constants import FLUID_REACH_MM, REGIONS
from voxelwhy.cohort.simulation.deform import exponential_map, flow_jacobian, grid_points
from voxelwhy.errors import ConfigError
from voxelwhy.io.images import Grid

#: Voxel size of the grid on which flows are planned, and of the blur of the template, which is not used here, mm.
WORKING_MM, BLUR_MM = 2, 2.0
#: Outside the brain the flows fall to 0 between these distances, mm: nothing beyond the working grid is moved.
FADES_FROM_MM, FADES_TO_MM = 4.0, 12.0
SIDES = ("left", "right")


@dataclass(frozen=True, eq=False)
class Flow:
    """A stationary velocity field in mm, (3, *grid.shape), on a grid in template space, 0 at its edges."""

    velocity: np.ndarray
    grid: Grid

    def sources(self, points):
        """Where the tissue comes from that lies at points (3, n) of the template after the flow, mm."""
        # The error of one step of the scheme is 0.005 mm (root mean square), as for the scans of the embedded cohort.
        return exponential_map(self.velocity, self.grid, points, scale=-1.0, steps=1)


@dataclass(frozen=True, eq=False)
class Loss:
    """The loss that is planted, and what its shams are measured by."""

    flow: Flow
    brain: Brain
    regions: dict  # region with its side -> fraction map on `brain.grid`
    wanted: dict  # region with its side -> relative change of volume, such as -0.25
    achieved: dict
    volumes_mm3: dict
    jacobian: np.ndarray  # relative volume on `brain.grid`, 1 outside the brain
    rms_mm: float  # root mean square displacement inside the brain


def plan_loss(changes=None):
    """Plan the flow that changes the volumes of regions as intended, on both sides alike.

    Parameters
    ----------
    changes : dict, name of a region of the embedded cohort -> relative change of volume (-0.25 is the loss of a
        quarter); None or empty for the disease of the embedded cohort at severity 1

    Returns
    -------
    loss : Loss

    Raises
    ------
    ConfigError : an unknown region, or no region that loses volume.

    References
    ----------
    Karaçali & Davatzikos 2006 (simulated atrophy by deformation with prescribed Jacobians).
    """
    changes = dict(changes or {name: region["change"] for name, region in REGIONS.items()})
    unknown = [name for name in changes if name not in REGIONS]
    if unknown or min(changes.values()) >= 0:
        raise ConfigError(
            f"there is no region {unknown[0]}" if unknown else "no region loses volume",
            column="trust.planted_loss",
            found=", ".join(f"{name}: {change:g}" for name, change in changes.items()),
            allowed=f"regions with at least one change below 0: {', '.join(REGIONS)}",
        )
    brain = load_brain(WORKING_MM, BLUR_MM)
    maps = region_maps(brain, {name: REGIONS[name]["labels"] for name in changes})
    wanted = {f"{name}_{side}": change for name, change in changes.items() for side in SIDES}
    change = realise(brain, maps, wanted, reach_mm=FLUID_REACH_MM, givers=brain.yielding)
    flow = Flow(change.velocity * fading(brain), brain.grid)
    jacobian = flow_jacobian(flow.velocity, brain.grid, brain.grid, brain.inside)
    achieved = {name: float(np.expm1(log_volume(jacobian, maps[name]))) for name in wanted}
    return Loss(flow, brain, maps, wanted, achieved, change.volumes_mm3, jacobian, rms_displacement(flow, brain))


def fading(brain):
    """1 in the brain and near it, falling smoothly to 0 at the edge of its grid; float32 (*brain.grid.shape)."""
    way = (brain.outside_mm - FADES_FROM_MM) / (FADES_TO_MM - FADES_FROM_MM)
    weights = 0.5 + 0.5 * np.cos(np.pi * np.clip(way, 0, 1))
    for axis in range(3):
        edges = np.moveaxis(weights, axis, 0)
        edges[0], edges[-1] = 0, 0
    return weights.astype(np.float32)


def rms_displacement(flow, brain):
    """Root mean square length of the displacement by a flow over the voxels of the brain, mm."""
    points = grid_points(brain.grid, brain.inside)
    return float(np.sqrt(((flow.sources(points) - points) ** 2).sum(axis=0).mean(dtype=np.float64)))


def draw_sham(loss, rng):
    """Draw a flow without net loss that displaces tissue as far as the loss does, in the same places.

    It is the curl of a smooth random vector potential, so its divergence is 0 and it preserves volume everywhere. The
    potential is multiplied by the local strength of the loss, so that a scan with a sham is interpolated where, and as
    far as, a scan with the loss is: a network cannot tell the two by their smoothness. Its own smoothness is that of
    the loss (equal ratio of mean square gradient and mean square velocity), and its root mean square displacement
    inside the brain is equal.

    Parameters
    ----------
    loss : Loss
    rng : numpy Generator; every draw is another flow

    Returns
    -------
    flow : Flow
    """
    brain, velocity = loss.brain, loss.flow.velocity
    # The curl of noise smoothed by a Gaussian has a mean square gradient of 5/2 / sigma² times its mean square.
    sigma = np.sqrt(2.5) / _wave_number(velocity, brain)
    strength = np.sqrt(ndimage.gaussian_filter((velocity**2).sum(axis=0), sigma / WORKING_MM)) * fading(brain)
    potential = [
        ndimage.gaussian_filter(rng.standard_normal(brain.grid.shape, dtype=np.float32), sigma / WORKING_MM) * strength
        for _ in range(3)
    ]
    flow = Flow(_curl(potential), brain.grid)
    for _ in range(2):  # the displacement is nearly proportional to the velocity
        flow = Flow(flow.velocity * np.float32(loss.rms_mm / rms_displacement(flow, brain)), brain.grid)
    return flow


def largest_change(flow, loss):
    """The largest relative change of volume among the regions of a loss that a flow makes, as a positive number."""
    jacobian = flow_jacobian(flow.velocity, flow.grid, loss.brain.grid, loss.brain.inside)
    return max(abs(float(np.expm1(log_volume(jacobian, region)))) for region in loss.regions.values())


def _wave_number(velocity, brain):
    """Root of the mean square gradient over the mean square of a field inside the brain, 1/mm."""
    squares = sum(np.gradient(part, WORKING_MM, axis=axis) ** 2 for part in velocity for axis in range(3))
    return float(np.sqrt(squares[brain.inside].mean() / (velocity**2).sum(axis=0)[brain.inside].mean()))


def _curl(field):
    def slope(part, axis):
        return np.gradient(field[part], WORKING_MM, axis=axis)

    curl = [slope(2, 1) - slope(1, 2), slope(0, 2) - slope(2, 0), slope(1, 0) - slope(0, 1)]
    return np.stack(curl).astype(np.float32)
