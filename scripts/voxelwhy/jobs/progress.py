"""Progress lines while the workflow runs: stage, jobs done of total, time left."""

from __future__ import annotations

import csv
import json
import logging
import os
import re
import sys
import threading
import time
from collections import defaultdict
from dataclasses import dataclass

from voxelwhy.io.text import duration
from voxelwhy.jobs.failures import FailedJobs
from voxelwhy.jobs.logs import event_of, last_lines

#: Lines of Snakemake that the progress lines and the final summary replace on the screen; its log keeps them all.
REPLACED = {"job_info", "job_started", "job_finished", "progress", "resources_info", "run_info", "shellcmd"}
REPLACED |= {"group_info", "job_error", "group_error"}
CHATTER = re.compile(
    "Select jobs to execute|DAG of jobs will be updated|Group jobs: inactive|Exiting because a job execution failed"
    r"|Job \S+ has been submitted with SLURM jobid|RuleException:\nCalledProcessError"
    "|WorkflowError:\nAt least one job did not complete successfully"
)
#: Least seconds between two lines of a stage, and seconds without a finished job after which a line is printed.
PAUSE, HEARTBEAT = 2, 120


@dataclass
class _Running:
    rule: str
    start: float
    benchmark: str | None
    log: str | None
    threads: int


@dataclass
class _Spans:
    """Run times of the finished jobs of a rule: their sum, the first start and the last end."""

    n: int = 0
    busy: float = 0.0
    first: float = float("inf")
    last: float = 0.0

    def add(self, start, end):
        self.n, self.busy = self.n + 1, self.busy + end - start
        self.first, self.last = min(self.first, start), max(self.last, end)


class StageProgress(logging.Handler):
    """Prints a line when jobs end: jobs done of all, stage, jobs done of the stage, time left.

    Parameters
    ----------
    totals : callable
        Returns the jobs of the run by rule, {rule: n}. Called again each time, because a checkpoint adds jobs.
    cores : int
        Number of single-threaded jobs that run at once here; on a cluster it is estimated from finished jobs.
    cluster : callable
        Whether jobs are submitted to a cluster, where a submitted job may still wait in the queue.
    job_of : callable
        Returns the job of Snakemake with a given number, because some executors do not log the start of jobs.
    stream : file
        Where the lines are printed.
    clock : callable
        Seconds since the epoch.
    """

    def __init__(
        self, totals, cores=1, cluster=lambda: False, job_of=lambda number: None, stream=None, clock=time.time
    ):
        super().__init__()
        self.job_of, self.began = job_of, clock()
        self.totals, self.cores, self.cluster = totals, max(1, cores), cluster
        self.stream, self.clock = stream or sys.stderr, clock
        self.running, self.spans, self.known = {}, defaultdict(_Spans), {}
        self.rule, self.shown, self.waiting = None, clock() - PAUSE, False
        self._over, self._ticker = threading.Event(), None

    def emit(self, record):
        """Process a record of Snakemake's log: a job that starts or ends, alone or in a group."""
        event = event_of(record)
        if event == "job_info":
            logs = list(record.log or ())
            self.running[record.jobid] = _Running(
                record.rule_name, self.clock(), record.benchmark, logs[0] if logs else None, record.threads
            )
            self.rule = self.rule or record.rule_name
            self.known = self.known or self.totals()
            self.waiting |= self.cluster()
        elif event == "job_finished":
            if job := self.running.pop(record.job_id, None) or self._unannounced(record.job_id):
                self.spans[job.rule].add(*self._span(job))
                self.rule = job.rule
        elif event == "job_error":
            self.running.pop(record.jobid, None)
        elif event == "progress" and self.rule:  # after a job, or after all members of a group
            self.known = self.totals()
            if self.spans[self.rule].n >= self.known.get(self.rule, 0) or self.clock() - self.shown >= PAUSE:
                self._show()
            else:
                self.waiting = True

    def _unannounced(self, number):
        """A job whose start was not logged; its run time is read from its benchmark."""
        job = self.job_of(number)
        if job is None:
            return None
        logs = list(job.log or ())
        return _Running(job.rule.name, self.began, job.benchmark, logs[0] if logs else None, job.threads)

    def watch(self):
        """From now on, also print lines that were held back, and a sign of life while no job ends."""

        def ticking():
            while not self._over.wait(1):
                self.tick()

        self._ticker = threading.Thread(target=ticking, daemon=True)
        self._ticker.start()

    def close(self):
        """Stop watching."""
        self._over.set()
        super().close()

    def tick(self):
        """Print a line if one is due."""
        with self.lock:
            silent = self.clock() - self.shown
            alive = self.rule and (self.running or self.cluster())
            if alive and self.waiting and silent >= PAUSE:
                self._show()
            elif alive and silent >= HEARTBEAT:
                self._show(self._sign_of_life())

    def _span(self, job):
        """Start and end of a job that has just ended, on a cluster from its benchmark: submitted jobs may wait."""
        end = self.clock()
        if self.cluster() and job.benchmark:
            try:
                with open(job.benchmark, encoding="utf-8") as table:
                    seconds = float(next(csv.DictReader(table, delimiter="\t"))["s"])
                written = os.stat(job.benchmark).st_mtime
            except (OSError, ValueError, KeyError, StopIteration):
                return job.start, end
            if (
                written > job.start - 60
            ):  # not the benchmark of an earlier run; clocks of two machines may differ slightly
                return written - seconds, written
        return job.start, end

    def _show(self, more=""):
        self.shown, self.waiting = self.clock(), False
        print(self.line(self.rule, self.known) + more, file=self.stream, flush=True)

    def _sign_of_life(self):
        """The rule, age and last log line of the job that wrote to its log most recently."""
        jobs = [job for job in self.running.values() if job.log and os.path.exists(job.log)]
        if not jobs:
            return ""
        job = max(jobs, key=lambda job: os.stat(job.log).st_mtime)
        said = re.sub(r"^\d\d:\d\d:\d\d \w+ ", "", (last_lines(job.log, 1) or [""])[0])
        words = f"; {job.rule.replace('_', ' ')} for {duration(self.clock() - job.start)}"
        return f"{words}: {said}" if said else words

    def line(self, rule, totals):
        """The line for `rule`, with the time left estimated from the mean durations of all rules."""
        done, total = sum(spans.n for spans in self.spans.values()), sum(totals.values())
        width = len(str(total))
        n = self.spans[rule].n
        stage = f"{rule.replace('_', ' ')} {n}/{max(n, totals.get(rule, n))}"
        left = f"{duration(self.seconds_left(totals))} left" if done else "no estimate yet"
        queue = f", {len(self.running)} queued or running" if self.cluster() and self.running else ""
        return f"[{done:>{width}}/{total}] {stage:<32} {left}{queue}"

    def seconds_left(self, totals):
        """Seconds until all jobs of `totals` are done, estimated from the finished ones."""
        finished = [spans for spans in self.spans.values() if spans.n]
        mean_all = sum(spans.busy for spans in finished) / max(1, sum(spans.n for spans in finished))
        widest = max((self._at_once(rule) for rule, spans in list(self.spans.items()) if spans.n), default=1.0)
        left = 0.0
        for rule, n in totals.items():
            spans = self.spans[rule]
            remaining = max(0, n - spans.n)
            mean, elapsed = spans.busy / spans.n if spans.n else mean_all, 0.0
            if not self.cluster():  # a started job is running, so part of its time has passed
                ages = [self.clock() - job.start for job in self.running.values() if job.rule == rule]
                mean = mean if spans.n else max([mean, *ages])
                elapsed = sum(min(age, mean) for age in ages)
            at_once = self._at_once(rule) if spans.n or not self.cluster() else widest
            left += (mean * remaining - elapsed) / max(1.0, min(at_once, remaining))
        return left

    def _at_once(self, rule):
        """How many jobs of a rule run at once: their summed run time divided by the elapsed time."""
        spans = self.spans[rule]
        ages = [] if self.cluster() else [self.clock() - job.start for job in self.running.values() if job.rule == rule]
        if not spans.n:
            threads = next((job.threads for job in self.running.values() if job.rule == rule), 1)
            return max(1.0, self.cores / max(1, threads))
        passed = max(spans.last, self.clock() if ages else 0.0) - spans.first
        return max(1.0, (spans.busy + sum(ages)) / passed) if passed > 0 else 1.0


def show_progress(logger, totals, cores, cluster, job_of):
    """Replace the job lines of Snakemake on the screen by progress lines; errors and warnings stay.

    Returns
    -------
    failed : FailedJobs
        Prints the summary at the end of a run with failed jobs.
    """
    failed = FailedJobs()
    for handler in logger.handlers:
        if handler.name == "DefaultStreamHandler":
            handler.addFilter(lambda record: _is_for_people(record) and not failed.says_it_better(record))
    progress = StageProgress(totals, cores, cluster, job_of)
    logger.addHandler(progress)
    logger.addHandler(failed)
    progress.watch()
    return failed


def _is_for_people(record):
    return event_of(record) not in REPLACED and not CHATTER.match(str(record.msg))


def print_end(report_path, summaries):
    """Print the sentences of the summaries and where the report is, if all of these files are there."""
    if all(os.path.exists(path) for path in (report_path, *summaries)):
        sentences = []
        for path in summaries:
            with open(path, encoding="utf-8") as summary:
                sentences += json.load(summary)["sentences"]
        print("", *sentences, f"\nThe report: {report_path}", sep="\n", file=sys.stderr)
