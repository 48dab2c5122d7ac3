"""Effect sizes of the embedded cohort: measured correctly, and those of published cohorts within a fifth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg

from bench import cohort_check
from helpers.simulation_settings import SETTINGS, settings
from voxelwhy.cohort.simulation import effect_sizes as sizes
from voxelwhy.cohort.simulation import scans
from voxelwhy.cohort.simulation.anatomy import load_brain
from voxelwhy.cohort.simulation.constants import REGIONS
from voxelwhy.cohort.simulation.deform import exponential_map, grid_points, sample
from voxelwhy.io.images import Grid


@pytest.fixture(scope="module")
def regions():
    return cohort_check.scored_regions()


def test_a_ruler_measures_the_volume_of_a_linear_map_by_cells_of_both_sizes():
    grid = Grid((60, 61, 63), np.diag([1.0, 1, 1, 1]))
    regions = np.zeros((3, *grid.shape), dtype=bool)
    regions[0, 5:9, 6:12, 7:10], regions[1, 11:50, 13:51, 24:51], regions[2, 50:51, 3:9, 4:6] = True, True, True
    assert regions[1].sum() > sizes.LARGE_MM3
    ruler = sizes.make_ruler(regions, grid)
    assert [lattice.size_mm for lattice in ruler.lattices] == [1, 2]
    np.testing.assert_allclose(ruler.volumes(ruler.points), [1, 1, 1], atol=1e-5)
    matrix = np.array([[0.10, 0.30, 0.0], [-0.30, 0.05, 0.1], [0.0, 0.2, -0.20]])
    moved = linalg.expm(matrix) @ ruler.points + 3
    np.testing.assert_allclose(ruler.volumes(moved), np.exp(np.trace(matrix)), atol=1e-5)


def test_a_ruler_measures_each_region_where_it_lies():
    """Volumes under x -> x + x²/100, of which the derivative is 1 + x/50."""
    grid = Grid((60, 40, 40), np.diag([1.0, 1, 1, 1]))
    regions = np.zeros((3, *grid.shape), dtype=bool)
    regions[0, 40:44, 6:12, 7:10], regions[1, 10:50, 1:39, 2:38], regions[2, 2:3, 3:9, 4:6] = True, True, True
    ruler = sizes.make_ruler(regions, grid)
    moved = ruler.points + np.array([1, 0, 0])[:, None] * ruler.points[0] ** 2 / 100
    means = [np.argwhere(region)[:, 0].mean() for region in regions]
    np.testing.assert_allclose(ruler.volumes(moved), 1 + np.array(means) / 50, rtol=1e-5)


@pytest.mark.slow
def test_a_person_has_the_volumes_that_are_counted_in_the_scan(regions):
    """Counted from the voxels of the scan, by the inverse of every deformation and without the size of the head."""
    chosen = settings(working_mm=2, resolution_mm=1.5, regions=REGIONS)
    world = scans.make_world(chosen)
    inside = [region & (world.brain.template_mask > 0) for region in regions]
    ruler = sizes.make_ruler(inside, world.brain.fine)
    row = sizes.even_people(chosen, 7, 1)[0] | {"draw": 1.3}
    measured, counted = sizes.person_volumes(world, ruler, 7, row), []
    for stage in (0.0, 1.0):
        _, points = scans.template_points(world, 7, row | {"stage": stage})
        whole, *parts = (
            sample(part.astype(np.float32), world.brain.fine, points, mode="constant").sum(dtype=float) / part.sum()
            for part in [world.brain.template_mask > 0, *inside]
        )
        counted.append(np.array(parts) / whole)
    # The template's mask is a little larger than the voxels of which the brain's size is measured, and the temporal
    # horn has some 150 voxels in the scan.
    tolerance = np.where(np.array(list(sizes.PUBLISHED)) == "inferior lateral ventricle", 0.05, 0.025)
    assert (np.abs(measured / np.array(counted) - 1) < tolerance).all()
    change, expected = (volumes[1] / volumes[0] - 1 for volumes in (measured, np.array(counted)))
    assert (np.abs(change - expected) < np.maximum(0.015, 0.05 * np.abs(expected))).all()


def test_the_size_of_the_brain_is_that_of_all_its_voxels():
    brain = load_brain(4)
    velocity = scans.anatomy_velocity(scans.random_generator(7, "anatomy", 3), SETTINGS["anatomy"])
    points = grid_points(Grid.icbm(4))
    back = exponential_map(velocity, scans.ANATOMY_GRID, points, scale=-1.0)
    inside = sample(brain.inside.astype(np.float32), brain.grid, back, mode="constant")
    counted = inside.sum(dtype=float) / brain.inside.sum()
    assert sizes.brain_size(brain, velocity) == pytest.approx(counted, abs=0.005)


def test_effect_sizes_of_a_table_that_was_worked_out_by_hand():
    without, ill = np.array([9.0, 10, 11] * 2), np.array([7.0, 8, 12] * 2)
    volumes = np.stack([without, ill], axis=1)[:, :, None].repeat(len(sizes.PUBLISHED), axis=2)
    row = sizes.effect_sizes(volumes, draws=20).iloc[0]
    assert row["percent"] == pytest.approx(-10) and row["published_percent"] == -17.3
    assert row["d"] == pytest.approx(-1 / np.sqrt((0.8 + 5.6) / 2)) and row["percent_ratio"] == pytest.approx(10 / 17.3)
    assert row["percent_low"] < row["percent"] < row["percent_high"]


def test_people_are_spread_evenly_over_age_and_normal_variation():
    people = sizes.even_people(SETTINGS, 3, 60)
    assert len({row["RID"] for row in people}) == 60 and {row["DX"] for row in people} == {"Dementia"}
    drawn = np.array([scans.random_generator(3, "volumes", row["RID"]).normal(size=2) for row in people])
    drawn = np.clip(drawn, -2, 2)
    # A standard normal variable that is clipped at 2 has a standard deviation of 0.96.
    np.testing.assert_allclose(drawn.std(axis=0), 0.96, atol=0.06)
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.05)
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.1
    assert np.mean([row["draw"] for row in people]) == pytest.approx(0.99, abs=0.02)


@pytest.mark.slow
def test_each_effect_size_is_the_published_one_within_a_fifth(regions):
    """22 figures; the sampling error of d is about a twentieth, and a seed always gives the same people."""
    volumes = sizes.simulate_volumes(cohort_check.settings_of_the_embedded_cohort(), cohort_check.SEED, 100, regions)
    table = sizes.effect_sizes(volumes, draws=100)
    assert table.shape[0] == 11 and cohort_check.deviations(table) == set()


def test_the_page_has_the_published_figures_and_all_ratios_within_a_fifth():
    text = cohort_check.PAGE.read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")][2:]
    assert [row[0] for row in rows] == list(sizes.PUBLISHED)
    for row, (_, percent, percent_from, d, d_from) in zip(rows, sizes.PUBLISHED.values(), strict=True):
        assert row[1] == f"{percent:+.1f} {cohort_check.COHORTS[percent_from]}"
        assert row[4] == f"{d:+.2f} {cohort_check.COHORTS[d_from]}"
        assert all(0.8 <= float(ratio) <= 1.2 for ratio in (row[3], row[6]))
        assert float(row[2].split()[0]) / percent == pytest.approx(float(row[3]), abs=0.02)


def test_a_deviation_is_named():
    volumes = np.ones((4, 2, len(sizes.PUBLISHED))) + np.arange(4)[:, None, None] / 10
    table = sizes.effect_sizes(volumes, draws=10)
    assert len(cohort_check.deviations(table)) == 22
    assert "Beyond a fifth: d of amygdala, d of entorhinal" in cohort_check.page(table).replace("\n", " ")
