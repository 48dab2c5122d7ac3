"""Steps, jobs and costs of a study before it runs, compared with Snakemake's own plan and with measured runs."""

from __future__ import annotations

import copy

import pytest
import yaml

from helpers.paths import ROOT, SCHEMA
from helpers.workflow import plan
from voxelwhy.cohort.simulation.constants import load_study
from voxelwhy.cohort.simulation.plan import plan_cohort
from voxelwhy.commands.check import read_study, simulated_scans
from voxelwhy.commands.expected import Expected

DEMO = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder without results."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def steps_of(config, n_scans):
    study = read_study(load_study(copy.deepcopy(config), SCHEMA))
    return {step.name: step for step in Expected(study, n_scans).steps()}


def test_scans_are_those_of_the_simulation():
    """Rows of the two classes in the plan of the simulation, without those whose file is missing or cut off."""
    settings = load_study(copy.deepcopy(DEMO), SCHEMA)["simulation"]
    rows = plan_cohort(settings, settings["seed"])
    studied = rows["DX"].isin(["CN", "Dementia"]) & (rows["state"] == "complete")
    assert simulated_scans(settings) == studied.sum() == 120


def test_jobs_are_those_of_snakemake(elsewhere):
    counts = plan(elsewhere).counts()
    steps = steps_of(DEMO, 120)
    assert steps["train each fold"].jobs == counts["train_fold"] == 3
    assert steps["train each fold again (1)"].jobs == counts["train_again"] == 3
    assert steps["probe single maps"].jobs == counts["probe_heatmaps"] == 3
    assert steps["compare trainings"].jobs == counts["compare_trainings"] == 3
    assert steps["simulate the cohort"].jobs == counts["simulate_cohort"] == 1
    assert sum(step.done for step in steps.values()) == 0


def test_twice_the_scans_cost_twice_the_registration_and_training(elsewhere):
    once, twice = steps_of(DEMO, 120), steps_of(DEMO, 240)
    assert twice["register each scan"].seconds == pytest.approx(2 * once["register each scan"].seconds)
    # 5 s of each of three jobs are its start.
    assert twice["train each fold"].seconds - 15 == pytest.approx(2 * (once["train each fold"].seconds - 15))


def test_the_paper_costs_what_was_measured(elsewhere):
    """docs/running/cost.md: 65 h of training for 4,676 scans times 20 epochs, 32 h of registration for 969 scans."""
    config = yaml.safe_load((ROOT / "config" / "adni_1.5t.yaml").read_text())
    steps = steps_of(config, 969)
    assert steps["train each fold"].seconds / 3600 == pytest.approx(65.3, rel=0.25)
    assert steps["register each scan"].seconds / 3600 == pytest.approx(32.3, rel=0.8)
    assert steps["explain by occlusion"].seconds / 3600 < 5


def test_results_that_exist_count_as_done(elsewhere):
    folder = elsewhere / "results" / "demo" / "splits" / "kfold"
    for fold in (0, 2):
        (folder / f"fold-{fold}").mkdir(parents=True)
        (folder / f"fold-{fold}" / "model.pt").touch()
    assert steps_of(DEMO, 120)["train each fold"].done == 2


def test_weights_that_exist_are_not_trained(elsewhere):
    config = DEMO | {"model": {"weights": "w.pt"}, "trust": {}}
    config = {key: value for key, value in config.items() if key != "evaluation"}
    steps = steps_of(config, 120)
    assert not [name for name in steps if name.startswith("train")]
    assert "explain by occlusion" in steps
