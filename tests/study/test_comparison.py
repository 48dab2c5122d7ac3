"""A small comparison through snakemake: cells are studies that share cohort and registrations; nothing made twice."""

from __future__ import annotations

import json
import re
import shutil

import nibabel as nib
import numpy as np
import pytest

from helpers.studies import Study, small_study

pytestmark = pytest.mark.slow

COMPARED = small_study("compared") | {
    "compare": {
        "choices": {
            "registration.transform": ["affine", "syn_quick"],
            "training.channels": [["t1"], ["t1", "log_jacobian"]],
        },
    },
    "simulation": {"resolution_mm": 4, "working_mm": 4, "subjects": 8, "visits": [["Screening"]]},
    "registration": {"resolution_mm": 5, "batch": 8},
    "heatmaps": {
        "methods": {"sensitivity_analysis": {}, "occlusion": {"size_mm": 50, "stride_mm": 50}},
        "most_subjects": 1,
    },
}
CELLS = ("affine-t1-1", "syn_quick-t1-1", "syn_quick-t1_log_jacobian-1")


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    study = Study(tmp_path_factory.mktemp("compared"), COMPARED)
    study.text = study.run()
    return study


def test_the_comparison_ends_with_its_table_and_figure(compared):
    assert "3 combinations, 1 repeat of each" in compared.text
    assert "skipped: affine, t1+log_jacobian (training.channels: log_jacobian is derived from a" in compared.text
    rows = compared.rows("comparison/tables/choices.tsv")
    assert [(row["transform"], row["channels"]) for row in rows] == [
        ("affine", "t1"), ("syn_quick", "t1"), ("syn_quick", "t1+log_jacobian")
    ]  # fmt: skip
    for row in rows:
        kept = json.loads(
            compared.result(f"cells/{row['transform']}-{row['channels'].replace('+', '_')}-1.json").read_text()
        )
        assert float(row["auc"]) == pytest.approx(kept["auc"]["cnn"]["value"])
        assert kept["auc"]["cnn"]["n_subjects"] == 4  # two of each class are tested
    for ending in ("png", "svg", "json"):
        assert compared.result(f"comparison/figures/choices.{ending}").stat().st_size > 500
    assert len(compared.rows("comparison/methods.tsv")) == 3 * 2


def test_cells_share_the_cohort_and_registrations_of_one_transform(compared):
    stores = compared.folder / "results"
    assert len([entry for entry in (stores / ".cohorts").glob("*/*") if entry.is_dir()]) == 1
    entries = [entry for entry in (stores / ".registrations").glob("*/*") if entry.is_dir()]
    assert len(entries) == 2 * 8  # not three times: both syn_quick cells have these
    images = [compared.result(f"cells/{cell}/registered") for cell in CELLS[1:]]
    first, second = (sorted(folder.glob("*/log_jacobian.nii")) for folder in images)
    assert len(first) == 8
    assert [path.stat().st_ino for path in first] == [path.stat().st_ino for path in second]
    assert not list(compared.result(f"cells/{CELLS[0]}/registered").glob("*/log_jacobian.nii"))


def test_a_network_of_two_channels_is_trained_explained_and_judged(compared):
    """The model takes both channels; its baseline has a column for each region of each."""
    cell = compared.result(f"cells/{CELLS[2]}")
    card = json.loads((cell / "template" / "network.json").read_text())
    assert card["channels"] == ["t1", "log_jacobian"]
    single = json.loads((compared.result(f"cells/{CELLS[1]}") / "template" / "network.json").read_text())
    assert card["weights"] - single["weights"] == 8 * 27  # one more 3 x 3 x 3 kernel for each of 8 filters
    mean = nib.load(cell / "splits/holdout/heatmaps/occlusion/maps/mean_AD.nii.gz").get_fdata()
    assert np.isfinite(mean).all() and mean.any()


def test_of_each_class_so_many_subjects_are_explained(compared):
    groups = compared.rows(f"cells/{CELLS[0]}/splits/holdout/heatmaps/occlusion/groups.tsv")
    counts = {row["group"]: row["n_subjects"] for row in groups}
    assert (counts["AD"], counts["CN"]) == ("1", "1")


def test_a_second_run_does_nothing_and_another_repeat_is_all_that_is_run(compared):
    assert compared.would_run() == {}
    more = {key: dict(value) if isinstance(value, dict) else value for key, value in COMPARED.items()}
    more["compare"] = COMPARED["compare"] | {"repeats": 2}
    assert compared.would_run(more) == {"run_cell": 3, "compare_cells": 1}


def test_a_cell_is_a_study_that_goes_on_where_it_ended(compared):
    """What is gone of a cell is made again, and nothing else; its own config gives its report."""
    cell = compared.result(f"cells/{CELLS[0]}")
    text = compared.run("--dry-run", "numbers", "--configfile", str(cell / "config.yaml"))
    assert "Nothing to be done" in text
    model = (cell / "splits/holdout/fold-0/model.pt").stat().st_mtime_ns
    gone = cell / "splits/holdout/regions/occlusion.tsv"
    gone.unlink()
    kept = compared.result(f"cells/{CELLS[0]}.json")
    before = kept.read_bytes()
    kept.unlink()
    compared.result("comparison/figures/choices.png").unlink()
    # As an earlier run with more folds may have left it.
    shutil.copytree(cell / "splits/holdout/fold-0", cell / "splits/holdout/fold-1")
    compared.run()
    assert gone.exists() and kept.read_bytes() == before
    assert (cell / "splits/holdout/fold-0/model.pt").stat().st_mtime_ns == model


def test_a_cell_that_fails_says_why(compared):
    """The message of the study inside comes through, and the command that runs it alone."""
    wrong = COMPARED | {"study": "wrong", "splits": [{"name": "holdout", "kind": "holdout", "test_subjects": 50}]}
    compared.configure(wrong)
    try:
        text = compared.run(code=1)
    finally:
        compared.configure(COMPARED)
    assert re.search(r"the study wrong/cells/\S+-1 failed", text)
    assert "at least 51" in text
    alone = re.search(r"run it alone: snakemake (numbers --cores all --configfile \S+)", text)[1]
    assert "at least 51" in compared.run(*alone.split(), code=1)


SIGNALS = COMPARED | {
    "study": "signals",
    "compare": {
        "question": "signals",
        "choices": {"simulation.signal": ["hippocampus", "precuneus"]},
        "repeated": ["simulation.seed"],
    },
    "simulation": COMPARED["simulation"] | {"effect": 0},
    "cohort": {
        "classes": {
            "positive": {"name": "small", "values": ["small"]},
            "negative": {"name": "large", "values": ["large"]},
        }
    },
    "registration": {"resolution_mm": 5, "transform": "affine", "batch": 8},
    "heatmaps": {"methods": {"sensitivity_analysis": {}}},
}


def test_one_cohort_is_classed_by_one_structure_after_another(compared):
    """The same people and registrations, other classes, and each structure as the truth of its own study."""
    before = {entry for entry in (compared.folder / "results/.registrations").glob("*/*") if entry.is_dir()}
    compared.configure(SIGNALS)
    try:
        compared.run()
        classes = {}
        for structure in ("hippocampus", "precuneus"):
            cell = f"cells/{structure}-1"
            rows = compared.rows(f"{cell}/cohort/selected.tsv")
            classes[structure] = {row["subject_id"]: row["label"] for row in rows}
            assert sorted(classes[structure].values()) == ["large"] * 4 + ["small"] * 4
            lost = {r["region"] for r in compared.rows(f"{cell}/splits/holdout/evaluation/truth_regions.tsv")
                    if r["loss"] == "True"}  # fmt: skip
            assert {f"{structure.capitalize()}_{side}" for side in "LR"} & lost and len(lost) < 30
        assert classes["hippocampus"] != classes["precuneus"]
        new = {entry for entry in (compared.folder / "results/.registrations").glob("*/*") if entry.is_dir()} - before
        assert len(new) <= 8  # a scan has the same bytes whatever its class
        methods = {row["method"] for row in compared.rows("comparison/tables/signals.tsv")}
        assert methods == {"sensitivity_analysis", "baseline_weights", "baseline_pattern"}
        assert "Precuneus, AUC " in compared.result("comparison/findings.md").read_text()
    finally:
        compared.configure(COMPARED)
