"""The lines that a person sees while the workflow runs."""

import io
import logging
import os

import pytest

from voxelwhy.io.text import duration
from voxelwhy.jobs import progress
from voxelwhy.jobs.progress import StageProgress


def record(**fields):
    made = logging.makeLogRecord({"msg": "", "levelno": logging.INFO})
    made.__dict__.update(fields)
    return made


class Run:
    """A run whose clock stands still unless it is told to go on."""

    def __init__(self, totals, **options):
        self.now, self.out = 1000.0, io.StringIO()
        self.handler = StageProgress(lambda: totals, stream=self.out, clock=lambda: self.now, **options)

    def start(self, job, rule, log=None, benchmark=None, threads=1):
        info = {
            "jobid": job,
            "rule_name": rule,
            "benchmark": benchmark,
            "log": [log] if log else [],
            "threads": threads,
        }
        self.handler.emit(record(event="job_info", **info))

    def end(self, *jobs):
        """One job, or all members of a group, as Snakemake tells it: each, then the progress once."""
        for job in jobs:
            self.handler.emit(record(event="job_finished", job_id=job))
        self.handler.emit(record(event="progress"))

    def lines(self):
        return self.out.getvalue().splitlines()


def test_lines_count_jobs_and_estimate_what_is_left():
    run = Run({"register_scan": 10, "train_fold": 2}, cores=2)
    for job in range(5):
        run.start(job, "register_scan")
        run.now += 6
        run.end(job)
    assert len(run.lines()) == 5
    # Five registrations are left, which ran one at a time, and two trainings on two cores, 6 s each as far as is known.
    assert run.lines()[-1].split() == ["[", "5/12]", "register", "scan", "5/10", "36", "s", "left"]


def test_jobs_that_run_side_by_side_share_the_time_and_what_has_passed_is_passed():
    run = Run({"register_scan": 8}, cores=4)
    for job in range(4):
        run.start(job, "register_scan")
    run.now += 10
    for job in range(2):
        run.end(job)
    run.start(4, "register_scan")
    run.start(5, "register_scan")
    # Four at once; of the six that are left two have run for 10 s, as long as one takes: 40 s of work.
    assert run.handler.seconds_left({"register_scan": 8}) == pytest.approx(10)


def test_a_long_job_is_taken_to_need_what_it_has_taken_and_its_threads_count():
    run = Run({"a": 1, "train_fold": 3}, cores=2)
    run.start(0, "a")
    run.now += 2
    run.end(0)
    run.start(1, "train_fold", threads=2)
    run.now += 600
    # One at a time, each 10 min: the first is through as far as is known, two are left.
    assert run.handler.seconds_left({"a": 1, "train_fold": 3}) == pytest.approx(1200)


def write_benchmark(path, seconds, written):
    path.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:00\t5\n")
    os.utime(path, (written, written))
    return str(path)


def test_on_a_cluster_waiting_is_no_work_and_the_finished_jobs_say_how_many_run_at_once(tmp_path):
    """100 jobs are submitted at once, 10 of them run at a time, 60 s each: after 20 there are 8 x 60 s to go."""
    run = Run({"register_scan": 100}, cores=1, cluster=lambda: True)
    for job in range(100):
        run.start(job, "register_scan", benchmark=str(tmp_path / f"{job}.tsv"))
    for wave in range(2):
        run.now += 60
        for job in range(10 * wave, 10 * wave + 10):
            write_benchmark(tmp_path / f"{job}.tsv", 60, run.now - 1)
            run.end(job)
    run.now += 5  # the scheduler is asked now and then only
    run.handler.tick()
    assert run.handler.seconds_left({"register_scan": 100}) == pytest.approx(8 * 60)
    assert run.lines()[-1].split()[:5] == ["[", "20/100]", "register", "scan", "20/100"]
    assert run.lines()[-1].endswith("8 min left, 80 queued or running")


def test_each_member_of_a_group_counts_with_its_own_time(tmp_path):
    """Two groups of three, each with its jobs one after the other: two run at once, not six."""
    run = Run({"register_scan": 12}, cluster=lambda: True)
    for job in range(6):
        run.start(job, "register_scan", benchmark=str(tmp_path / f"{job}.tsv"))
    for job in range(6):
        write_benchmark(tmp_path / f"{job}.tsv", 10, run.now + 10 * (1 + job % 3))
    run.now += 31
    run.end(0, 1, 2)
    run.now += 3
    run.end(3, 4, 5)
    assert [line.split()[4] for line in run.lines()] == ["3/12", "6/12"]
    assert run.handler.seconds_left({"register_scan": 12}) == pytest.approx(6 * 10 / 2)


def test_a_benchmark_of_an_earlier_run_is_not_this_jobs(tmp_path):
    run = Run({"a": 2}, cluster=lambda: True)
    run.start(0, "a", benchmark=write_benchmark(tmp_path / "0.tsv", 9999, run.now - 3600))
    run.now += 30
    run.end(0)
    assert run.handler.seconds_left({"a": 2}) == pytest.approx(30)


def test_submitted_jobs_are_shown_before_any_has_ended():
    run = Run({"register_scan": 100}, cluster=lambda: True)
    for job in range(40):
        run.start(job, "register_scan")
    run.now += 3
    run.handler.tick()
    assert " ".join(run.lines()[0].split()) == ("[ 0/100] register scan 0/100 no estimate yet, 40 queued or running")


def test_what_came_too_soon_after_the_last_line_is_shown_later():
    run = Run({"a": 3})
    for job in range(3):
        run.start(job, "a")
    for job in range(2):
        run.now += 0.5
        run.end(job)
    assert [line.split()[2] for line in run.lines()] == ["1/3"]
    run.handler.tick()
    assert len(run.lines()) == 1
    run.now += 2
    run.handler.tick()
    run.handler.tick()
    assert [line.split()[2] for line in run.lines()] == ["1/3", "2/3"]


def test_where_nothing_ends_the_last_line_of_a_log_is_shown(tmp_path):
    log = tmp_path / "fold-0.log"
    log.write_text("12:03:21 INFO epoch 2/20  loss 0.7\n12:03:22 INFO epoch 3/20  loss 0.6  about 200 s left\n")
    run = Run({"a": 1, "train_fold": 5})
    run.start(0, "a")
    run.end(0)
    run.start(1, "train_fold", log=str(log))
    run.now += progress.HEARTBEAT - 1
    run.handler.tick()
    assert len(run.lines()) == 1
    run.now += 1
    run.handler.tick()
    assert run.lines()[1].startswith("[1/6] a 1/1")
    assert run.lines()[1].endswith("left; train fold for 2 min: epoch 3/20  loss 0.6  about 200 s left")


def test_a_job_that_failed_runs_no_more():
    run = Run({"a": 2})
    run.start(0, "a")
    run.handler.emit(record(event="job_error", jobid=0))
    assert not run.handler.running


@pytest.mark.parametrize(
    ("hidden", "fields"),
    [
        (True, {"event": "job_info"}),
        (True, {"event": "group_info", "msg": "Group job x (jobs in lexicogr. order):"}),
        (True, {"msg": "Group jobs: inactive (local execution)"}),
        (True, {"msg": "Job 7 has been submitted with SLURM jobid 99 (log: x.log)."}),
        (True, {"event": "error", "msg": "RuleException:\nCalledProcessError in file x, line 3:\nCommand"}),
        (True, {"event": "error", "msg": "WorkflowError:\nAt least one job did not complete successfully."}),
        (False, {"event": "error", "msg": "MissingOutputException in rule a: Job 5 completed, but files are missing"}),
        (False, {"msg": "Trying to restart job 5."}),
        (False, {"msg": "Building DAG of jobs..."}),
    ],
)
def test_what_of_snakemake_stays_on_the_screen(hidden, fields):
    assert progress._is_for_people(record(**fields)) != hidden


def test_durations_as_people_say_them():
    assert [duration(s) for s in (4.2, 89, 130, 9000)] == ["4 s", "89 s", "2 min", "2.5 h"]


def test_jobs_that_nobody_announced_are_counted_with_the_times_of_their_benchmarks(tmp_path):
    """As the SLURM executor does: no job_info, and many ends at one look at the queue."""

    class Job:
        log, threads = (), 1

        def __init__(self, name, benchmark):
            self.rule = type("Rule", (), {"name": name})
            self.benchmark = benchmark

    jobs = {}
    for number in range(4):
        path = tmp_path / f"{number}.tsv"
        path.write_text("s\n10\n")
        os.utime(path, (1010 + 10 * number, 1010 + 10 * number))  # one after another
        jobs[number] = Job("register_scan", str(path))
    run = Run({"register_scan": 6}, cluster=lambda: True, job_of=jobs.get)
    run.now = 1100.0
    run.end(0, 1, 2, 3)
    assert run.lines()[-1].split() == ["[4/6]", "register", "scan", "4/6", "20", "s", "left"]
    run.end(17)  # of another run
    assert "4/6" in run.lines()[-1]


def test_a_progress_before_any_job_is_no_error():
    run = Run({"all": 1}, cluster=lambda: True)
    run.handler.emit(record(event="progress"))
    assert run.lines() == []


def test_it_can_be_closed_twice_as_logging_does_at_the_end():
    run = Run({"all": 1})
    run.handler.watch()
    run.handler.close()
    run.handler.close()
    run.handler._ticker.join(5)
    assert not run.handler._ticker.is_alive()
