"""Effect sizes of the simulated disease in the atlas that scores it, compared with published ones.

A region of the scoring atlas is a label in the space of the template. Its volume in a person is the sum of the label
over the Jacobian of the whole deformation from the template to that person, relative to the volume of the brain with
its fluid, which is what stays of a brain's original size. Each person is deformed with and without the disease, so that
the difference between the groups has no error from the anatomy of different people.
"""

from __future__ import annotations

from dataclasses import dataclass

import joblib
import numpy as np
import pandas as pd
from scipy import optimize, spatial, stats

from voxelwhy.cohort.simulation.deform import exponential_map, grid_points, jacobian_determinant
from voxelwhy.cohort.simulation.plan import plan_cohort, severity_of
from voxelwhy.cohort.simulation.scans import make_world, wanted_volumes
from voxelwhy.cohort.simulation.variation import ANATOMY_GRID, anatomy_velocity, growth_velocity, random_generator
from voxelwhy.io.images import Grid

#: The atlas that scores the embedded cohort; its regions are the nearest to those of the published cohorts.
ATLAS = "Neuromorphometrics"
ADNI = "326 AD, 488 CN, ADNI, FreeSurfer"
NICHART = "92 AD, 100 CN, MUSE regions, CBICA/NiChart_Project"
#: Region: its names in ATLAS without side; published change in % and Cohen's d, AD against CN, with their cohorts.
PUBLISHED = {
    "hippocampus": ("Hippocampus", -17.3, ADNI, -1.44, ADNI),
    "amygdala": ("Amygdala", -19.5, ADNI, -1.50, NICHART),
    "entorhinal": ("Entorhinal_area", -25.0, NICHART, -1.93, NICHART),
    "parahippocampal": ("Parahippocampal_gyrus", -15.5, NICHART, -1.65, NICHART),
    "inferior temporal": ("Inferior_temporal_gyrus", -13.8, NICHART, -1.63, NICHART),
    "middle temporal": ("Middle_temporal_gyrus", -14.2, NICHART, -1.51, NICHART),
    "precuneus": ("Precuneus", -13.7, NICHART, -1.19, NICHART),
    "posterior cingulate": ("Posterior_cingulate_gyrus", -9.1, NICHART, -0.99, NICHART),
    "precentral": ("Precentral_gyrus", -4.0, NICHART, -0.47, NICHART),
    "lateral ventricles": ("Lateral_Ventricle", 41.0, ADNI, 0.82, ADNI),
    "inferior lateral ventricle": ("Inf_Lat_Vent", 67.0, ADNI, 1.28, ADNI),
}
#: Regions above this volume are measured by larger cells, mm3.
LARGE_MM3 = 30_000
#: The size of the brain is measured with every so many voxels of the working grid along each axis.
SPARSE = 2
#: People that are drawn for each that is measured.
POOL = 20


@dataclass(frozen=True, eq=False)
class Ruler:
    """Measures relative volumes of regions from the positions of the corners of their voxels after a deformation."""

    points: np.ndarray  # (3, n), mm: the corners
    lattices: list  # of Lattice, one for each size of cells
    order: np.ndarray  # for each region, its place among the regions of all lattices

    def volumes(self, moved):
        """The volume of each region, relative to that before the corners moved to `moved` (3, n)."""
        return np.concatenate([lattice.volumes(moved) for lattice in self.lattices])[self.order]


@dataclass(frozen=True, eq=False)
class Lattice:
    """Cubic cells of one size that belong to regions."""

    corners: np.ndarray  # (2, 2, 2, m): index in the points of the lower and upper corners along each axis, by cell
    shares: np.ndarray  # (regions, m): share of each cell in the volume of a region
    size_mm: int

    def volumes(self, moved):
        """The volume of each region of the lattice, relative to that before the deformation."""
        corners = moved[:, self.corners]
        # The edges along each axis, mean over the four of a cell.
        edges = [np.diff(corners.mean(axis=tuple({1, 2, 3} - {axis})), axis=1)[:, 0] for axis in (1, 2, 3)]
        cells = np.einsum("in,in->n", edges[0], np.cross(edges[1], edges[2], axis=0)) / self.size_mm**3
        return self.shares @ cells.astype(np.float64)


def make_ruler(regions, grid):
    """Plan the measurement of regions, bool arrays on a `grid` with voxels of 1 mm.

    Thin and small regions are measured voxel by voxel. Differences over 4 mm would miss a fifth of the expansion of the
    temporal horn, which is narrower than that. Regions above LARGE_MM3 are measured by blocks of 2 x 2 x 2 voxels.
    """
    sizes = np.array([2 if region.sum() > LARGE_MM3 else 1 for region in regions])
    points, lattices, order = [np.empty((3, 0), dtype=np.float32)], [], []
    for size in np.unique(sizes):
        own = np.flatnonzero(sizes == size)
        counts = [_block_counts(regions[index], size) for index in own]
        cells = np.argwhere(sum(counts) > 0)
        shape = np.array(counts[0].shape) + 1
        numbers = [np.ravel_multi_index((cells + corner).T, shape) for corner in np.argwhere(np.ones((2, 2, 2)))]
        used, places = np.unique(numbers, return_inverse=True)
        before = sum(part.shape[1] for part in points)
        shares = np.stack([count[tuple(cells.T)] / count.sum() for count in counts])
        lattices.append(Lattice(before + places.reshape(2, 2, 2, -1), shares, int(size)))
        corners = np.stack(np.unravel_index(used, shape)) * size - 0.5
        points.append((corners + grid.affine[:3, 3:]).astype(np.float32))
        order += own.tolist()
    return Ruler(np.concatenate(points, axis=1), lattices, np.argsort(order))


def _block_counts(region, size):
    """The number of voxels of a region in each block of size x size x size voxels."""
    padded = np.pad(region, [(0, -n % size) for n in region.shape]).astype(np.int8)
    blocks = padded.reshape([n for edge in padded.shape for n in (edge // size, size)])
    return blocks.sum(axis=(1, 3, 5))


def person_volumes(world, ruler, seed, row):
    """Volumes of a person without and with the disease, (2, regions), relative to the template and to the brain's size.

    Parameters
    ----------
    world : World
    ruler : Ruler
    seed : int
    row : dict, one row of `plan_cohort`
    """
    anatomy = anatomy_velocity(random_generator(seed, "anatomy", row["RID"]), world.settings["anatomy"])
    growth = growth_velocity(world.brain, world.growth, anatomy, *wanted_volumes(world.settings, seed, row))
    volumes = []
    for severity in (0.0, severity_of(world.settings, row)):
        points = ruler.points
        if severity:
            flow = world.flows[row["subtype"]]
            points = exponential_map(flow, world.brain.grid, points, scale=severity, steps=1)
        points = exponential_map(growth, world.brain.grid, points, steps=1)
        volumes.append(ruler.volumes(exponential_map(anatomy, ANATOMY_GRID, points, steps=1)))
    return np.array(volumes) / brain_size(world.brain, anatomy)


def brain_size(brain, anatomy):
    """The volume of the brain with its fluid after the flow of an anatomy, relative to the template.

    Disease and ageing move volume within the brain, so neither changes it.
    """
    # The flow is so smooth that differences between voxels further apart measure it.
    every = (slice(None, None, SPARSE),) * 3
    inside = brain.inside[every]
    affine = brain.grid.affine @ np.diag([SPARSE, SPARSE, SPARSE, 1.0])
    sparse = Grid(inside.shape, affine)
    points = grid_points(sparse)
    moved = exponential_map(anatomy, ANATOMY_GRID, points, steps=1) - points
    return float(jacobian_determinant(moved.reshape(3, *inside.shape), sparse)[inside].mean(dtype=np.float64))


def even_people(settings, seed, people):
    """Rows of patients at their first visit, spread evenly over the population that the settings describe.

    With independent draws, the standard deviation of skewed volumes such as the ventricles' would differ by a fifth
    from one hundred people to the next. Severity and subtype of a cohort are even already. Age and the two normal
    variations are those of POOL times as many drawn people, of whom the nearest to even (Halton) points are taken.
    """
    cohort = {"subjects": {"Dementia": POOL * people}, "visits": [["Screening"]]}
    pool = plan_cohort(settings | cohort | {"missing_files": [], "truncated_files": []}, seed)
    scores = np.array([random_generator(seed, "volumes", rid).normal(size=2) for rid in pool["RID"]])
    # Ages as normal scores, so that all three have the same distribution.
    scores = np.column_stack([scores, stats.norm.ppf((stats.rankdata(pool["age"]) - 0.5) / len(pool))])
    wanted = stats.norm.ppf(stats.qmc.Halton(3, seed=seed).random(people))
    # Draws are clipped at two standard deviations (scans.wanted_volumes).
    distance = spatial.distance.cdist(np.clip(wanted, -2, 2), np.clip(scores, -2, 2))
    taken = optimize.linear_sum_assignment(distance)[1]
    shown = pool[["draw", "subtype"]].iloc[:people].to_dict("records")
    return [row | own for row, own in zip(pool.iloc[taken].to_dict("records"), shown, strict=True)]


def simulate_volumes(settings, seed, people, regions, *, workers=1, progress=None):
    """Volumes of simulated people without and with the disease, (people, 2, regions), relative to the template.

    Parameters
    ----------
    settings : dict, the section `simulation` of a config with all defaults
    seed : int
    people : int, see `even_people`
    regions : list of bool arrays on Grid.icbm(1), such as the regions of PUBLISHED
    workers : int, number of processes
    progress : callable, optional, as in `simulate_cohort`
    """
    world = make_world(settings)
    inside = world.brain.template_mask > 0
    ruler = make_ruler([region & inside for region in regions], world.brain.fine)
    rows = even_people(settings, seed, people)
    jobs = (joblib.delayed(person_volumes)(world, ruler, seed, row) for row in rows)
    with joblib.parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
        results = joblib.Parallel(return_as="generator")(jobs)
        return np.array(list(progress(results, total=len(rows), desc="deforming people") if progress else results))


def effect_sizes(volumes, *, draws=2000, seed=0):
    """Effect sizes with 95 % intervals (percentile bootstrap of people), next to the published ones.

    Parameters
    ----------
    volumes : array, (people, 2, regions of PUBLISHED), as from `simulate_volumes`

    Returns
    -------
    table : DataFrame
        For each region: percent and d with low, high, their published values and cohorts, and the ratios to them.
    """
    rng = np.random.default_rng(seed)
    found = _sizes(volumes)
    again = np.array([_sizes(volumes[rng.integers(0, len(volumes), len(volumes))]) for _ in range(draws)])
    low, high = np.percentile(again, [2.5, 97.5], axis=0)
    rows = []
    for index, (region, (_, percent, percent_from, d, d_from)) in enumerate(PUBLISHED.items()):
        row = {"region": region, "people": len(volumes)}
        for kind, name, published, cohort in ((0, "percent", percent, percent_from), (1, "d", d, d_from)):
            row |= {f"published_{name}": published, f"{name}_from": cohort, name: found[kind, index]}
            row |= {f"{name}_low": low[kind, index], f"{name}_high": high[kind, index]}
            row[f"{name}_ratio"] = found[kind, index] / published
        rows.append(row)
    return pd.DataFrame(rows)


def _sizes(volumes):
    """Relative difference in % and Cohen's d (pooled standard deviation) between with and without, (2, regions)."""
    (without, ill), (spread, ill_spread) = volumes.mean(axis=0), volumes.std(axis=0, ddof=1)
    return np.array([100 * (ill / without - 1), (ill - without) / np.sqrt((spread**2 + ill_spread**2) / 2)])
