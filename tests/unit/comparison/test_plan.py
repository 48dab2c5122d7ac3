"""What the rules of a comparison read and depend on."""

from functools import partial
from types import SimpleNamespace

import pytest

from helpers.paths import SCHEMA, SCRIPTS
from voxelwhy.cohort.simulation.constants import load_study
from voxelwhy.comparison.combinations import make_cells
from voxelwhy.comparison.plan import RULES_OF_NUMBERS, Plan

CONFIG = {
    "study": "compared",
    "compare": {"question": "choices", "choices": {"registration.transform": ["affine", "syn_quick"]}, "repeats": 2},
    "simulation": {"resolution_mm": 4, "working_mm": 4, "subjects": 8},
    "registration": {"resolution_mm": 4},
    "splits": [{"kind": "kfold", "name": "kfold", "folds": 2}],
    "training": {"network": "small"},
    "heatmaps": {"methods": {"grad_cam": {}}},
}


def make_plan(**changes):
    config, load = CONFIG | changes, partial(load_study, schema_path=SCHEMA)
    cells, refused = make_cells(config, load)
    return Plan(load(config), cells, refused, scripts=SCRIPTS, schema=SCHEMA)


@pytest.fixture(scope="module")
def plan():
    return make_plan()


def of(name):
    return SimpleNamespace(cell=name)


def test_each_run_has_its_settings_with_their_defaults_and_without_stores(plan):
    assert len(plan.cells) == 4
    kept = [plan.settings(of(name)) for name in plan.cells]
    assert sorted((run["choices"]["registration.transform"], run["repeat"]) for run in kept) == [
        ("affine", 1), ("affine", 2), ("syn_quick", 1), ("syn_quick", 2)
    ]  # fmt: skip
    for run in kept:
        assert run["study"]["evaluation"]["bootstrap"] > 0, "a default"
        assert "store" not in run["study"]["registration"] and "device" not in run["study"]["training"]
        assert (run["split"], run["methods"]) == ("kfold", ["grad_cam"])
    assert plan.configs().keys() == plan.cells.keys()


def test_a_run_depends_on_the_code_of_all_its_numbers(plan):
    code = plan.code(of(next(iter(plan.cells))))
    assert {f"{rule}.py" for rule in (*RULES_OF_NUMBERS, "run_cell")} <= code.keys()
    assert {"voxelwhy.explain.grad_cam", "voxelwhy.networks.small", "voxelwhy.training.loop"} <= code.keys()
    assert not any(name.startswith("voxelwhy.report.figures") for name in code)
    assert "voxelwhy.explain.occlusion" not in code


def test_files_of_the_user_are_inputs_and_simulated_scans_are_not(plan, tmp_path):
    assert plan.inputs(of(next(iter(plan.cells)))) == []
    masked = make_plan(training={"network": "small", "mask": "mine.nii"})
    assert masked.inputs(of(next(iter(masked.cells)))) == ["mine.nii"]


def test_what_is_printed_and_compared(plan):
    assert list(plan.lines()) == ["2 combinations, 2 repeats of each"]
    compared = plan.compared()
    assert compared["choices"] == ["registration.transform"] and compared["simulated"] is True
    assert compared["same_scans"] == (not any("simulation." in name for name in compared["repeated"]))


def test_a_confound_that_all_runs_share_is_named(plan):
    confounds = {"noise": 0.5}
    shared = make_plan(simulation=CONFIG["simulation"] | {"confounds": confounds})
    assert "50 % more noise" in shared.mark()
    assert plan.mark() is True
