"""
Classes by the volume of one structure: healthy people of whom one half has a smaller structure than the other.

Nothing is planted by class. People differ in anatomy and age as in any simulated cohort, and a scan is classed `small`
or `large` by a volume that it has anyway. So the place of the signal is known, as in the tasks of Siegel 2025 (arXiv
2508.02560), while everything around it varies as it does in people.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from voxelwhy.cohort.simulation.deform import exponential_map, flow_jacobian, grid_points, sample
from voxelwhy.cohort.simulation.plan import scan_path
from voxelwhy.cohort.simulation.scans import wanted_volumes
from voxelwhy.cohort.simulation.variation import ANATOMY_GRID, anatomy_velocity, growth_velocity, random_generator

SMALL, LARGE = "small", "large"
#: Ageing and normal variation carry no point further than this, mm.
GROWTH_MM = 8


def divide_by_volume(world, seed, plan):
    """Class the people of a plan by the volume of the structure `simulation.signal` at their first visit.

    Volumes are relative to head size, because they are measured before the head is scaled, and to age: the class is the
    sign of the residual of the logarithm of volume on age, from its median over the people.

    Parameters
    ----------
    world : scans.World with a `structure`
    seed : int
    plan : DataFrame of `plan.plan_cohort`

    Returns
    -------
    DataFrame : the plan with DX and Screen.Diagnosis `small` (below the median) or `large`, the paths of these classes,
        stage 0 (nobody has the disease), and `log_volume` and `log_volume_<side>`: the logarithm of the structure's
        volume relative to the template's, of both sides together and of each
    """
    first = plan.sort_values(["number", "processed"]).drop_duplicates("RID").sort_values("RID")
    measured = {row["RID"]: log_volumes(world, seed, row) for row in first.to_dict("records")}
    whole = np.array([measured[rid]["log_volume"] for rid in first["RID"]])
    beyond_age = whole - np.polyval(np.polyfit(first["age"], whole, 1), first["age"])
    is_small = dict(zip(first["RID"], beyond_age < np.median(beyond_age), strict=True))
    classes = [SMALL if is_small[rid] else LARGE for rid in plan["RID"]]
    plan = plan.assign(**{"DX": classes, "Screen.Diagnosis": classes, "stage": 0.0})
    plan["path"] = [scan_path(row) for row in plan.to_dict("records")]
    for name in next(iter(measured.values())):
        plan[name] = [round(measured[rid][name], 6) for rid in plan["RID"]]
    return plan


def log_volumes(world, seed, row):
    """Measure the structure in one person: the logarithm of its volume relative to the template's.

    The volume is the integral of the Jacobian of anatomy after ageing and normal variation over the structure.

    Returns
    -------
    dict : log_volume of both sides together, and log_volume_<side>
    """
    brain, settings = world.brain, world.settings
    anatomy = anatomy_velocity(random_generator(seed, "anatomy", row["RID"]), settings["anatomy"])
    growth = growth_velocity(brain, world.growth, anatomy, *wanted_volumes(settings, seed, row))
    inside = sum(world.structure.values()) > 0
    around = ndimage.binary_dilation(inside, iterations=int(np.ceil(GROWTH_MM / brain.working_mm)))
    grown = flow_jacobian(growth, brain.grid, brain.grid, inside)[inside]
    moved = exponential_map(growth, brain.grid, grid_points(brain.grid, inside))
    jacobian = grown * sample(flow_jacobian(anatomy, ANATOMY_GRID, brain.grid, around), brain.grid, moved)

    def log_volume(region):
        weights = region[inside].astype(np.float64)
        return float(np.log(weights @ jacobian / weights.sum()))

    sides = {f"log_volume_{side}": log_volume(region) for side, region in world.structure.items()}
    return {"log_volume": log_volume(sum(world.structure.values()))} | sides


def class_differences(plan):
    """How much smaller the structure is in the class `small`: difference of the mean log volumes, by side.

    Returns
    -------
    dict, side -> float, negative; the unit of the means is the person
    """
    people = plan.drop_duplicates("RID")
    means = people.groupby("DX")[["log_volume_left", "log_volume_right"]].mean()
    return {side: float(means.loc[SMALL, f"log_volume_{side}"] - means.loc[LARGE, f"log_volume_{side}"])
            for side in ("left", "right")}  # fmt: skip
