"""How much of the planted loss each atlas sees: the table of docs/workflow/embedded_cohort.md, computed again."""

from __future__ import annotations

import functools
import re

import nibabel as nib
import numpy as np
import pytest

from helpers.paths import ROOT
from helpers.simulation_settings import settings
from helpers.templates import template_on
from voxelwhy.cohort.simulation import scans
from voxelwhy.cohort.simulation.cohort import write_truth
from voxelwhy.cohort.simulation.constants import FLUID_REACH_MM, REGIONS
from voxelwhy.io.images import Grid
from voxelwhy.regions import atlases

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "workflow" / "embedded_cohort.md").read_text()
#: Atlas, mm of fluid_reach_mm, loss in % and volume in cm3 of the left and the right label.
ROW = r"^\| (\w+)(, uncorrected)? \| (\d+) \| (-?[\d.]+), (-?[\d.]+) \| ([\d.]+), ([\d.]+) \|"
ROWS = re.findall(ROW, PAGE, re.M)
GRID = Grid.icbm(2)


@pytest.fixture(scope="module")
def jacobian(tmp_path_factory):
    """Call with a reach: the relative volume of each voxel under the default disease at severity 1, at 2 mm."""

    @functools.cache
    def planted(reach_mm):
        chosen = settings(working_mm=2, resolution_mm=2, fluid_reach_mm=reach_mm, regions=REGIONS)
        folder = tmp_path_factory.mktemp("truth")
        write_truth(scans.make_world(chosen), folder)
        return np.exp(nib.load(folder / "log_jacobian.nii.gz").get_fdata())

    return planted


def hippocampus(atlas, jacobian):
    """Loss in % and volume in cm3 of the label, left and right: the volume of its voxels after and before."""
    labels, table = atlases.atlas_on_grid(atlases.load_atlas({"name": atlas}), GRID, vanished="warn")
    number = table.set_index("region")["region_id"]
    brain = np.asarray(template_on(2)[1].dataobj) > 0
    inside = [brain & (labels == number[f"Hippocampus_{side}"]) for side in "LR"]
    return [100 * (1 - jacobian[own].mean()) for own in inside], [own.sum() * GRID.voxel_mm3 / 1000 for own in inside]


def test_the_table_has_the_atlases_and_the_reach_of_the_embedded_cohort():
    assert {row[0] for row in ROWS} == {"HCPEx", "Neuromorphometrics", "AAL"}
    assert {row[2] for row in ROWS} == {"8", str(FLUID_REACH_MM)} and len(ROWS) == 8


@pytest.mark.parametrize("row", ROWS, ids=" ".join)
def test_each_row_of_the_table_is_what_is_computed(row, jacobian, monkeypatch):
    atlas, uncorrected, reach, *numbers = row
    if uncorrected:
        monkeypatch.setattr(atlases, "ORIGINS", {})
    loss, volume = hippocampus(atlas, jacobian(int(reach)))
    np.testing.assert_allclose([*loss, *volume], np.array(numbers, dtype=float), atol=0.06)


def test_neuromorphometrics_sees_the_published_loss_where_a_quarter_is_planted(jacobian):
    loss, _ = hippocampus("Neuromorphometrics", jacobian(FLUID_REACH_MM))
    assert REGIONS["hippocampus"]["change"] == -0.25 and np.mean(loss) == pytest.approx(17.3, abs=1)
