"""The profile for SLURM, as far as it can be seen without one: groups that are legal, and what they are made of."""

from __future__ import annotations

import re

import pytest
import yaml

from helpers.demo_studies import DEMO, with_others
from helpers.paths import PROFILE, ROOT
from helpers.workflow import plan

SPLITS = [
    {"name": "kfold", "kind": "kfold", "folds": 3},
    {"name": "paper", "kind": "holdout", "test_subjects": 4},
    {"name": "accuracy_only", "kind": "holdout", "test_subjects": 3, "heatmaps": False},
]
# Steps that are submissions of their own, and publish_run, which runs where Snakemake does; every other rule is in a
# group. How many parts the heatmaps and the draws of shuffled diagnoses have, and who is to be registered, is unknown
# before the table is read: compute_heatmaps, explain_shuffled and register_scan are in no dry run before it.
ALONE = {"simulate_cohort", "parse_tables", "train_fold", "train_again", "compare_trainings", "probe_heatmaps"}
ALONE |= {"write_report", "publish_derivatives", "publish_run"}


def plan_on_slurm(folder, config):
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    return plan(folder, "--configfile", "study.yaml", "--profile", PROFILE.parent)


@pytest.mark.parametrize("splits", [DEMO["splits"], SPLITS], ids=["demo", "several"])
def test_groups_are_legal_and_hold_every_short_step(tmp_path, splits):
    """Snakemake refuses a group that would wait for itself, in a dry run too."""
    study = plan_on_slurm(tmp_path, DEMO | {"splits": splits})
    assert {job["rule"] for job in study.jobs if not job["group"]} == ALONE | {"all"}
    assert len({job["rule"] for job in study.jobs if job["group"]}) >= 20
    # One of each: what is short goes together however many splits there are.
    assert study.groups() == sorted(["prepare", "cohort", *(f"results_{split['name']}" for split in splits)])


def test_jobs_that_run_networks_are_in_no_group():
    """Each may take hours, and asks for a GPU of its own."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "workflow" / "rules").glob("*.smk")))
    for rule in ("train_fold", "compute_heatmaps", "explain_shuffled", "probe_heatmaps", "compare_trainings"):
        (block,) = re.findall(rf"^ *rule {rule}:\n(.*?)(?=^ *(?:rule|checkpoint|if|else)\b|\Z)", text, re.M | re.S)
        assert "script:" in block and "gpu" in block and "group:" not in block, rule


def test_groups_are_legal_where_other_cohorts_and_maps_of_others_come_in(tmp_path):
    """Comparisons of cohorts wait for the results of both, so that they are in the group of neither."""
    names = plan_on_slurm(tmp_path, with_others(tmp_path, splits=SPLITS)).groups()
    results = [f"results_{split['name']}{of}" for split in SPLITS for of in ("", "_on_elsewhere")]
    assert names == sorted(["prepare", "cohort", "imported_maps", "external", "external_scans", *results])
    assert "register" not in "".join(names)


def test_groups_are_legal_with_planted_controls(tmp_path):
    """They are planted in a submission of their own, and the study of each assignment is run from here."""
    study = plan_on_slurm(tmp_path, DEMO | {"splits": SPLITS, "trust": {"planted": 2}})
    assert {job["rule"] for job in study.jobs if not job["group"]} == ALONE | {"all", "plant_controls", "run_planted"}
    assert study.groups() == sorted(["prepare", "cohort", *(f"results_{split['name']}" for split in SPLITS)])


def test_the_profile_starts_with_what_differs_between_sites():
    text = PROFILE.read_text()
    top, _, rest = text.partition("# --- The same everywhere")
    for key in ("slurm_partition", "slurm_account", "use_gpu", "gres", "slurm-status-command", "precommand"):
        assert key in top
        assert key not in rest


def test_retries_are_the_profiles_and_no_rules():
    """A rule's own would come on top: a job's Snakemake on the node repeats it, in the same memory and time."""
    assert yaml.safe_load(PROFILE.read_text())["retries"] == 2
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        assert not re.search(r"^\s+retries:", path.read_text(), re.M), path.name
