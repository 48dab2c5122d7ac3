"""What a person sees while the workflow runs: the stage, done of total, time left."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter, defaultdict

#: Snakemake's own lines that the stage lines replace on the screen; its log file keeps them all.
REPLACED = {"job_info", "job_started", "job_finished", "progress", "resources_info", "run_info", "shellcmd"}
CHATTER = ("Select jobs to execute", "DAG of jobs will be updated", "Group jobs: inactive")


def event_of(record):
    """The name of a Snakemake log event, or None for an ordinary message."""
    event = getattr(record, "event", None)
    return None if event is None else str(event)


class StageProgress(logging.Handler):
    """Prints a line whenever a job ends: stage, done of total in it, steps done of all, time left.

    Parameters
    ----------
    totals : callable
        Returns the jobs of the run by rule, {rule: n}. Asked again each time: a checkpoint adds jobs.
    cores : int
        Jobs are taken to run on so many cores when the time left is estimated.
    stream : file
        Where the lines go.
    """

    def __init__(self, totals, cores=1, stream=None):
        super().__init__()
        self.totals, self.cores, self.stream = totals, max(1, cores), stream or sys.stderr
        self.running, self.done, self.seconds = {}, Counter(), defaultdict(float)
        self.shown = 0.0

    def emit(self, record):
        """Take in a record of Snakemake's log: a job that starts or ends."""
        event = event_of(record)
        if event == "job_info":
            self.running[record.jobid] = (record.rule_name, time.monotonic())
        elif event == "job_finished" and record.job_id in self.running:
            rule, start = self.running.pop(record.job_id)
            self.done[rule] += 1
            self.seconds[rule] += time.monotonic() - start
            self._show(rule)

    def _show(self, rule):
        totals = self.totals()
        finished = self.done[rule] >= totals.get(rule, 0)
        # A stage of many jobs is shown every two seconds and at its end, so that a log file stays readable.
        if not finished and time.monotonic() - self.shown < 2:
            return
        self.shown = time.monotonic()
        print(self.line(rule, totals), file=self.stream, flush=True)

    def line(self, rule, totals):
        """The line for `rule`, with the estimate that its own and the other rules' mean durations give."""
        done, total = sum(self.done.values()), sum(totals.values())
        mean_all = sum(self.seconds.values()) / max(1, done)
        left = 0.0
        for name, n in totals.items():
            mean = self.seconds[name] / self.done[name] if self.done[name] else mean_all
            left += mean * max(0, n - self.done[name])
        left /= self.cores
        width = len(str(total))
        stage = f"{rule.replace('_', ' ')} {self.done[rule]}/{totals.get(rule, self.done[rule])}"
        return f"[{done:>{width}}/{total}] {stage:<32} {duration(left)} left"


def _is_for_people(record):
    return event_of(record) not in REPLACED and not str(record.msg).startswith(CHATTER)


def duration(seconds):
    """Seconds as people say them: '40 s', '3 min', '2.5 h'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def show_progress(logger, totals, cores):
    """Put stage lines in the place of Snakemake's job lines on the screen; errors and warnings stay as they are."""
    for handler in logger.handlers:
        if handler.name == "DefaultStreamHandler":
            handler.addFilter(_is_for_people)
    logger.addHandler(StageProgress(totals, cores))
