"""One small study, through the workflow's SLURM profile: the same bytes, and what was asked for."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from slurm.studies import fingerprints, minutes, steps

NETWORKS = {"train_fold", "compute_heatmaps"}
COHORT = {"select_scans", "measure_scans", "split_folds", "audit_folds", "draw_cohort", "publish_excluded"}
ALONE = {"simulate_cohort", "parse_tables", "write_report", "publish_derivatives", *NETWORKS}


@pytest.fixture(scope="module")
def asked(here):
    """What each rule's steps ask for, without that of the rule that runs where Snakemake does."""
    found = {}
    for step in steps(here):
        found.setdefault(step["rule"], []).append(step)
    del found["publish_run"]
    return found


def rules_of(job, asked):
    """The rules behind a submission, from its comment; a group of more than five names the first five only."""
    comment = job["Comment"].removeprefix("rule_")
    return [rule for rule in asked if re.search(rf"(^|_){rule}(_|$)", comment)]


def test_every_result_has_the_same_bytes(here, whole):
    expected, found = fingerprints(here), fingerprints(whole)
    assert len(expected) > 150
    assert found.keys() == expected.keys()
    assert [path for path in expected if found[path] != expected[path]] == []


def test_the_report_is_there_and_said(whole):
    sentences = json.loads(whole.result("splits/kfold/evaluation/summary.json").read_text())["sentences"]
    assert all(sentence in whole.printed for sentence in sentences)
    assert "results/small/report.html" in whole.printed


def test_stage_done_total_and_time_left_are_shown(whole):
    lines = re.findall(r"^\[ *(\d+)/(\d+)\] (\w[\w ]*?) (\d+)/(\d+) +(.*) left", whole.printed, re.M)
    assert {"register scan", "train fold", "compute heatmaps"} <= {stage for _, _, stage, *_ in lines}
    assert ("register scan", "8", "8") in {(stage, done, total) for _, _, stage, done, total, _ in lines}
    assert [int(done) for done, *_ in lines] == sorted(int(done) for done, *_ in lines)


def test_nothing_is_left_to_do(whole):
    assert whole.would_run() == {}


def test_no_job_failed(whole):
    assert {job["JobState"] for job in whole.jobs()} == {"COMPLETED"}


def test_registrations_and_small_steps_are_grouped(whole, asked):
    comments = Counter(job["Comment"] for job in whole.jobs())
    scans = sum(1 for _ in whole.result("registered").iterdir())
    assert scans == 8
    registering = [name for name in comments if "register_scan" in name]
    assert sum(comments[name] for name in registering) == scans / 4
    alone = {name.removeprefix("rule_").partition("_wildcards_")[0] for name in comments} & set(asked)
    assert alone == ALONE
    single = sum(len(asked[rule]) for rule in ALONE - {"parse_tables"}) + 1
    # Beside these: two groups of registrations, one of preparations, one about the cohort, one of results.
    assert sum(comments.values()) == single + 5


def test_only_jobs_of_networks_ask_for_a_gpu(whole):
    asking = Counter(job["Comment"].partition("_wildcards_")[0] for job in whole.jobs() if "gpu" in str(job))
    assert asking == {"rule_train_fold": 2, "rule_compute_heatmaps": 3}
    assert all(job["TresPerJob"] == "gres:gpu:1" for job in whole.jobs() if "gpu" in str(job))


def test_a_job_asks_for_the_share_of_one_step_and_the_time_of_all(whole, asked):
    seen = set()
    for job in whole.jobs():
        rules = rules_of(job, asked)
        assert rules, job["Comment"]
        if "register_scan" in rules:
            members = asked["register_scan"][:1] * 4
        elif "results" in job["Comment"]:
            grouped = [rule for rule in asked if rule not in ALONE and not rule.startswith(("prepare_", "check_"))]
            members = [step for rule in set(grouped) - COHORT - {"register_scan"} for step in asked[rule]]
            assert len(members) > 15
        elif job["Comment"].startswith("rule_cohort_"):
            members = [step for rule in COHORT for step in asked[rule]]
        elif set(rules) & ALONE:
            members = asked[rules[-1]][:1]
        else:
            members = [step for rule in rules for step in asked[rule]]
            assert len(members) >= 4
        seen.add(len(members))
        assert int(job["NumCPUs"]) == max(step["threads"] for step in members), job["Comment"]
        assert job["MinMemoryNode"] == f"{max(step['mem_mb'] for step in members)}M", job["Comment"]
        assert minutes(job["TimeLimit"]) == sum(step["runtime"] for step in members), job["Comment"]
    assert len(seen) >= 4


def test_a_training_has_the_threads_of_the_config(whole):
    assert whole.config["training"]["threads"] == 2
    assert {job["NumCPUs"] for job in whole.jobs() if "train_fold" in job["Comment"]} == {"2"}
