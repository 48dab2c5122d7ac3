"""The lines that a person sees while the workflow runs."""

import io
import logging

from voxelwhy import progress
from voxelwhy.progress import StageProgress, duration


def record(**fields):
    made = logging.makeLogRecord({"msg": "", "levelno": logging.INFO})
    made.__dict__.update(fields)
    return made


def test_lines_count_jobs_and_estimate_what_is_left(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    out = io.StringIO()
    handler = StageProgress(lambda: {"register_scan": 10, "train_fold": 2}, cores=2, stream=out)
    for job in range(5):
        handler.emit(record(event="job_info", jobid=job, rule_name="register_scan"))
        clock[0] += 6
        handler.emit(record(event="job_finished", job_id=job))
    lines = out.getvalue().splitlines()
    assert len(lines) == 5
    # Five registrations and two trainings are left, 6 s each as far as is known, on two cores.
    assert lines[-1].split() == ["[", "5/12]", "register", "scan", "5/10", "21", "s", "left"]


def test_durations_as_people_say_them():
    assert [duration(s) for s in (4.2, 89, 130, 9000)] == ["4 s", "89 s", "2 min", "2.5 h"]
