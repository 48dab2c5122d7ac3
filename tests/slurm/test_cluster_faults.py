"""Whatever happens to a job, the study ends with the same bytes, and nothing is made twice that was whole."""

from __future__ import annotations

from slurm import faults
from slurm.studies import fingerprints, minutes


def hold(outcome, here):
    """The results are those of the undisturbed study, and what was there was not touched."""
    assert outcome.made == fingerprints(here)
    assert outcome.kept.keys() < outcome.made.keys()
    changed = [path for path, time in outcome.kept.items() if outcome.study.result(path).stat().st_mtime_ns != time]
    assert changed == []


def states(outcome):
    return [job["JobState"] for job in sorted(outcome.jobs, key=lambda job: int(job["JobId"]))]


def training_log(outcome):
    return (outcome.study.result("logs/train_fold/kfold") / "fold-0.log").read_text()


def test_time_limit(started):
    outcome = started.disturbed["time_limit"].result()
    hold(outcome, started.here)
    assert states(outcome) == ["TIMEOUT", "COMPLETED"]
    assert [minutes(job["TimeLimit"]) for job in outcome.jobs] == [1, 10]
    assert "resuming after epoch" in training_log(outcome), "the second attempt starts from the checkpoint"


def test_memory_limit(started):
    outcome = started.disturbed["memory_limit"].result()
    hold(outcome, started.here)
    assert states(outcome)[0] in ("FAILED", "OUT_OF_MEMORY")
    assert states(outcome)[1:] == ["COMPLETED"]
    assert [job["MinMemoryNode"] for job in outcome.jobs] == ["300M", "4000M"]


def test_cancelled(started):
    outcome = started.disturbed["cancelled"].result()
    hold(outcome, started.here)
    assert states(outcome) == ["CANCELLED", "COMPLETED"]


def test_controller_killed(started):
    outcome = started.disturbed["controller_killed"].result()
    hold(outcome, started.here)
    assert "--unlock" in outcome.locked
    assert "Traceback" not in outcome.locked
    # Both ran to their ends at the same time, the one of the dead Snakemake and its successor's.
    assert states(outcome) == ["COMPLETED", "COMPLETED"]


def test_node_killed(started):
    for run in started.disturbed.values():
        run.result()
    for study in (started.whole, started.compared):
        study.controller.wait()
    outcome = faults.node_killed(started.copies["node_killed"])
    hold(outcome, started.here)
    assert states(outcome) == ["COMPLETED"], "no attempt is lost"
