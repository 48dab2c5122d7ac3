"""The small tables of docs/workflow: each stands on a page that names its command, and measures what it says."""

import re

import numpy as np
import pytest

from bench import recipes, workflow_tables
from helpers.paths import ROOT
from voxelwhy.networks.build import build_network

PAGES = [*(ROOT / "docs").glob("*/*.md")]


@pytest.mark.parametrize("name", workflow_tables.TABLES)
def test_a_table_stands_on_one_page_which_names_its_command(name):
    pages = [page.read_text() for page in PAGES if f"../figures/{name}.md" in page.read_text()]
    assert len(pages) == 1 and f"python -m bench.workflow_tables --table {name}`" in " ".join(pages[0].split())
    assert (ROOT / "docs" / "figures" / f"{name}.md").exists()


def test_the_tables_have_a_row_for_each_setting():
    def rows(name):
        return (ROOT / "docs" / "figures" / f"{name}.md").read_text().splitlines()[2:]

    assert [re.findall(r"\w+", row)[0] for row in rows("transforms")] == list(workflow_tables.STAGES)
    shapes = [(name, *shape) for name, shapes in workflow_tables.NETWORKS.items() for shape in shapes]
    assert [row.split("|")[1].split() for row in rows("precision")] == [
        [f"{name},", str(x), "x", str(y), "x", str(z)] for name, x, y, z in shapes
    ]
    assert [tuple(map(int, re.findall(r"\d+", row)[:3])) for row in rows("simulation")] == workflow_tables.COHORTS
    assert len(rows("smoothing")) == len(workflow_tables.SMOOTHING_MM) + 2
    # 4 bytes for each voxel of the brain (235,375 of 97 x 115 x 97), scan and channel.
    inside = np.asarray(workflow_tables.make_template(2)[1].dataobj) > 0
    assert [row.split("|")[-2].strip() for row in rows("voxelwise_cost")] == [
        f"{4 * n * int(inside.sum()) / 1e6:,.0f}" for n in workflow_tables.SCANS
    ]


def test_a_step_updates_the_weights_in_each_format(monkeypatch):
    made = []
    monkeypatch.setattr(workflow_tables, "build_network", lambda *how: made.append(build_network(*how)) or made[-1])
    for precision in ("float32", "bfloat16"):
        for channels_last in (False, True):
            assert workflow_tables.step("small", (16, 17, 18), precision, channels_last) > 0
    first, *others = [next(model.parameters()).detach().numpy() for model in made]
    workflow_tables.torch.manual_seed(workflow_tables.SEED)
    fresh = next(build_network("small", (16, 17, 18)).parameters()).detach().numpy()
    assert np.abs(first - fresh).max() > 1e-4, "Adam moves each weight by about its rate, 1e-3, in a step"
    for other in others:
        np.testing.assert_allclose(other, first, atol=5e-3)


def test_the_row_on_normalisation_is_that_of_both_settings_in_every_cohort():
    cells = list(recipes.normalisation_cells([1, 2, 3]))
    assert len(cells) == 6 and {cell[1:3] for cell in cells} == {(160, ("log_jacobian",))}
    scores = {
        (*cell[:3], recipes.json.dumps(cell[3], sort_keys=True)): {"auc": 0.8 + 0.05 * (number % 3) - (number > 2)}
        for number, cell in enumerate(cells)
    }
    page = recipes.normalisation_page(scores)
    assert "| 0.850 (0.726 to 0.974) " in page and "| -0.150 (-0.274 to -0.026) " in page
    with open(recipes.PAGES / "training_normalisation.md") as file:
        assert file.readline().split() == page.splitlines()[0].split()
