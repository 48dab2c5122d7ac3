"""The record of comparisons: a run is taken for what it is, not for what its name says, and comes back whole."""

from __future__ import annotations

import json

import pytest
import yaml

from bench import record
from helpers.paths import ROOT
from voxelwhy.io.images import read_json

MADE = {"version": "1.2", "commit": "abc", "date": "2026-12-01"}
RUNS = sorted((ROOT / "docs" / "figures" / "runs").glob("*/*.json.gz"))


@pytest.fixture
def compared(tmp_path):
    """Two runs that have been computed, with benchmarks of 360 and 720 s of processor time."""
    results = tmp_path / "results"
    for run, seconds in (("1", 360), ("2", 720)):
        folder = results / "cells" / run / "benchmarks" / "train_fold"
        folder.mkdir(parents=True)
        (folder / "fold-0.tsv").write_text(f"s\tcpu_time\n1.0\t{seconds}\n")
        (results / "cells" / f"{run}.json").write_text(json.dumps({"cell": run, "auc": 0.5 + int(run) / 10}))
    return {"1": {"seed": 1}, "2": {"seed": 2}}, tmp_path / "runs", results


def test_what_was_kept_is_taken_elsewhere(compared, tmp_path):
    configs, recorded, results = compared
    made = record.keep(configs, recorded, results, made=MADE)
    assert [round(of_run["processor_hours"], 6) for of_run in made] == [0.1, 0.2]
    elsewhere = tmp_path / "elsewhere"
    assert record.take(configs, recorded, elsewhere) == (["1", "2"], [])
    for run in configs:
        assert read_json(elsewhere / "cells" / f"{run}.json") == read_json(results / "cells" / f"{run}.json")


def test_a_run_with_another_config_is_not_taken(compared, tmp_path):
    configs, recorded, results = compared
    record.keep(configs, recorded, results, made=MADE)
    other = configs | {"2": {"seed": 3}, "3": {"seed": 4}}
    assert record.take(other, recorded, tmp_path / "elsewhere") == (["1"], ["2"])
    assert not (tmp_path / "elsewhere" / "cells" / "2.json").exists()


def test_a_result_that_is_there_stays(compared):
    configs, recorded, results = compared
    record.keep(configs, recorded, results, made=MADE)
    (results / "cells" / "1.json").write_text("{}")
    assert record.take(configs, recorded, results) == ([], [])
    assert read_json(results / "cells" / "1.json") == {}


def test_only_what_is_new_is_recorded_again(compared):
    configs, recorded, results = compared
    record.keep(configs, recorded, results, made=MADE)
    before = {path.name: path.read_bytes() for path in recorded.iterdir()}
    (results / "cells" / "2.json").write_text(json.dumps({"cell": "2", "auc": 0.9}))
    made = record.keep(configs, recorded, results, made=MADE | {"commit": "def"})
    assert [of_run["commit"] for of_run in made] == ["abc", "def"]
    assert (recorded / "1.json.gz").read_bytes() == before["1.json.gz"]
    assert record.read_run(recorded / "2.json.gz")["result"]["auc"] == 0.9
    record.keep({"1": configs["1"]}, recorded, results, made=MADE)
    assert [path.name for path in recorded.iterdir()] == ["1.json.gz"]


def test_the_sentence_on_their_origin():
    runs = [MADE | {"processor_hours": 1.25}, MADE | {"processor_hours": 2, "commit": "def", "date": "2026-12-03"}]
    assert record.origin(runs) == (
        "2 runs, computed from 2026-12-01 to 2026-12-03 in 3.2 hours of processor time by voxelwhy 1.2 (abc) and 1.2 "
        "(def); `docs/figures/runs/` contains what was kept of each."
    )


@pytest.mark.parametrize("path", RUNS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_recorded_runs_are_those_of_the_configs_of_today(path):
    config = yaml.safe_load((ROOT / "config" / f"{path.parent.name}.yaml").read_text(encoding="utf-8"))
    run = path.name.removesuffix(".json.gz")
    kept = record.read_run(path)
    assert kept["made"]["config"] == record.configs_of(config)[run]
    assert kept["result"]["cell"] == run
