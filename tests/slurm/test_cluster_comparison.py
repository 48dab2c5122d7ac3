"""A comparison through the SLURM profile: its cells run where it runs, their jobs on the cluster, to the same bytes."""

from __future__ import annotations

from slurm.studies import fingerprints


def test_a_cell_is_the_study_that_its_config_says(here, started):
    study = started.compared
    printed = study.finish()
    assert "1 combination, 1 repeat of each" in printed
    expected, found = fingerprints(here), fingerprints(study, "cells/small-1")
    numbers = {path for path in expected if path.startswith("splits/") and path in found}
    assert {"splits/kfold/evaluation/metrics.tsv", "splits/kfold/regions/occlusion.tsv"} <= numbers
    assert [path for path in sorted(numbers) if found[path] != expected[path]] == []
    assert study.result("comparison/figures/choices.png").exists()


def test_jobs_of_cells_were_submitted_and_the_cells_were_not(started):
    started.compared.controller.wait()
    comments = " ".join(job["Comment"] for job in started.compared.jobs())
    assert "train_fold" in comments and "compute_heatmaps" in comments
    assert "run_cell" not in comments and "compare_cells" not in comments
