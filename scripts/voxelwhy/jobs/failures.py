"""The summary at the end of a run with failed jobs: which failed, how their logs end, and what to do."""

from __future__ import annotations

import logging
import os
import re
import sys
from dataclasses import dataclass, field

from voxelwhy.errors import explain
from voxelwhy.io.text import count
from voxelwhy.jobs.logs import event_of, last_lines

#: Number of failed jobs shown in full, and of log lines shown for each.
SHOWN, LINES = 5, 15
KILLED = re.compile(r"SIGKILL|exit status 137|OUT_OF_MEMORY|oom[-_ ]?kill|[Oo]ut of memory|not enough memory|bad_alloc")
TIMED_OUT = re.compile(r"TIMEOUT|DUE TO TIME LIMIT")
LOST = re.compile(r"NODE_FAIL|BOOT_FAIL|PREEMPTED")
STOPPED = re.compile(r"stopped by signal|exit status (130|143)|SIGTERM|SIGINT|CANCELLED")
REFUSED = re.compile(r"\[Errno (\d+)\] ([^:\n]+)(?:: '([^'\n]+)')?\s*$")


@dataclass
class _Failure:
    """A failed job, alone or as a member of a group that the cluster ran as one job."""

    rule: str
    wildcards: dict
    logs: list
    said: str = ""
    resources: dict = field(default_factory=dict)

    def name(self):
        """The rule and its wildcards: 'train fold, split holdout, fold 0'."""
        return ", ".join([self.rule.replace("_", " "), *(f"{key} {value}" for key, value in self.wildcards.items())])


class FailedJobs(logging.Handler):
    """Collects failed jobs from the records of Snakemake's log and reports them at the end."""

    def __init__(self, stream=None):
        super().__init__()
        self.stream = stream or sys.stderr
        self.infos, self.failed, self.causes, self.others = {}, {}, {}, []

    def emit(self, record):
        """Process a record: a job was described, failed, or succeeded on a retry."""
        event = event_of(record)
        if event == "job_info":
            self.infos[record.jobid] = record
        elif event == "error":
            self._error(record)
        elif event == "job_error" and not getattr(
            record, "indent", False
        ):  # an indented record is of a group member, which group_error reports
            self._failed(record.jobid, self._failure(vars(record), record.thread))
        elif event == "group_error":
            self._group(record)
        elif event == "job_finished":
            self.failed.pop(record.job_id, None)
            self.infos.pop(record.job_id, None)

    def says_it_better(self, record):
        """Whether this handler reports in plain words an error for which Snakemake would print a traceback."""
        return event_of(record) == "error" and _plain(record) is not None

    def _error(self, record):
        text = str(record.msg)
        if plain := _plain(record):
            self._print(plain)
        elif text.startswith("RuleException:\nCalledProcessError"):
            self.causes[record.thread] = text.splitlines()[-1]  # the record of the failed job follows, from this thread
        elif "At least one job did not complete successfully" not in text:
            self.others.append(text)

    def _failure(self, info, thread=None):
        record = self.infos.get(info["jobid"])
        said = " ".join(filter(None, (self.causes.pop(thread, ""), info.get("rule_msg"))))
        return _Failure(
            info["rule_name"],
            dict(record.wildcards or {}) if record else {},
            [log for log in info["log"] if log],
            said,
            dict(record.resources.items()) if record else {},
        )

    def _group(self, record):
        """Find the failed members of a group: those its log names, else those with a log, else those without output."""
        cluster = [log for log in record.aux_logs if log]
        open_ = [info for info in record.job_error_info if not all(os.path.exists(path) for path in info["output"])]
        told = "\n".join(line for log in cluster for line in last_lines(log, 200))
        named = [info for info in open_ if _is_named(info, told)]
        begun = [info for info in open_ if any(last_lines(log, 1) for log in info["log"])]
        for info in named or begun or open_ or record.job_error_info:
            failure = self._failure(info)
            failure.logs += cluster
            self._failed(info["jobid"], failure)

    def _failed(self, job_id, failure):
        self.failed[job_id] = failure
        self._print(f"FAILED: {failure.name()} (details at the end of the run)")

    def show_end(self):
        """Print the summary: the first failed jobs in full, the others by name, and how to continue."""
        failures = list(self.failed.values())
        if not (failures or self.others):
            self._print("\nThe run stopped early. Finished results are kept: to continue, run the same command again.")
            return
        self._print("\n" + "-" * 100)
        for text in self.others[:SHOWN]:
            self._print(text + "\n")
        if failures:
            self._print(f"{count(len(failures), 'job')} failed. Finished results are kept.")
        for failure in failures[:SHOWN]:
            self._print("\n" + describe(failure))
        if rest := failures[SHOWN:]:
            names = "; ".join(failure.name() for failure in rest[:20]) + ("; …" if len(rest) > 20 else "")
            self._print(f"\nAnd {len(rest)} more: {names}.")
        self._print(
            "\nTo continue: solve the problems listed above, then run the same command again. "
            "Only failed jobs, and jobs that depend on them, will run."
        )

    def _print(self, text):
        print(text, file=self.stream, flush=True)


def _is_named(info, text):
    """Whether the log of a group, which is a log of Snakemake itself, reports this member as failed."""
    output = re.escape(next(iter(info["output"]), ""))
    return re.search(rf"Error in rule {info['rule_name']}:\n(?: .*\n)*? +output: {output}\b", text) is not None


def describe(failure):
    """A failed job in words: its name, the paths and last lines of its log and the cluster's, and what to do."""
    lines = [failure.name()]
    if failure.said:
        lines.append(f"  ended:  {_without_command(failure.said)}")
    own, *cluster = failure.logs or [None]
    tail = last_lines(own, LINES) if own else []
    lines += _log(own, tail)
    advice = advise(failure, "\n".join([failure.said, *tail]))
    for path in cluster:
        more = last_lines(path, LINES)
        if not tail or advise(failure, "\n".join([failure.said, *tail, *more])) != advice:
            advice = advise(failure, "\n".join([failure.said, *tail, *more]))
            lines += _log(path, more)
        else:
            lines.append(f"  and:    {path}")
    return "\n".join([*lines, f"  to do:  {advice}"])


def advise(failure, text):
    """What to do about a failed job, given how it ended and what its logs contain."""
    rule, cluster = failure.rule, len(failure.logs) > 1
    if KILLED.search(text):
        memory = failure.resources.get("mem_mb")
        asked = f" (it had requested {memory} MB)" if isinstance(memory, int) else ""
        twice = 2 * memory if isinstance(memory, int) else 16000
        more = f"--set-resources {rule}:mem_mb={twice}"
        if cluster:
            return f"it was killed, most likely for lack of memory{asked}: request more with {more}"
        return (
            f"it was killed, most likely for lack of memory{asked}: run fewer jobs at once (--cores), or use a machine "
            "with more memory"
        )
    if TIMED_OUT.search(text):
        runtime = failure.resources.get("runtime")
        twice = 2 * runtime if isinstance(runtime, int) else 240
        return f"it exceeded its time limit: request more with --set-resources {rule}:runtime={twice} (minutes)"
    if LOST.search(text):
        return "its machine failed or was withdrawn by the scheduler: nothing has to be changed, run it again"
    if STOPPED.search(text):
        return "it was stopped from outside: nothing has to be changed, run it again"
    return "solve the problem that its log reports" if failure.logs else "see its messages further up on this screen"


def _log(path, tail):
    if path is None:
        return []
    if not tail:
        return [f"  log:    {path} (nothing was logged)"]
    return [f"  log:    {path}, which ends with:", *(f"          {line}" for line in tail)]


def _without_command(text):
    """Shorten "Command '…' died with <Signals.SIGKILL: 9>" to "died with SIGKILL: 9"."""
    text = re.sub(r"Command '.*?' (?=died|returned)", "", text, flags=re.S)
    return text.replace("<Signals.", "").replace(">", "")


def _plain(record):
    """A system error in Snakemake itself (disk, permissions), in plain words; None for any other error."""
    text = str(record.msg)
    found = REFUSED.search(text) if "Traceback" in text else None
    if found is None:
        return None
    error = OSError(int(found[1]), found[2].strip(), found[3]) if found[3] else OSError(int(found[1]), found[2].strip())
    return explain(error, "results")
