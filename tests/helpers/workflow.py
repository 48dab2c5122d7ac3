"""The workflow, asked through Snakemake: what a command prints, and which jobs a study would run."""

from __future__ import annotations

import atexit
import functools
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

from helpers.paths import ROOT

SNAKEFILE = ROOT / "workflow" / "Snakefile"
SERVER = Path(__file__).with_name("snakemake_server.py")
LOCK = threading.Lock()  # tests on a cluster ask from several threads


@functools.cache
def _server():
    """The process of helpers/snakemake_server.py; one for all tests of this process, ended with it."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # no thread is there when it forks
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "start_new_session": True}
    server = subprocess.Popen([sys.executable, str(SERVER)], env=environment, **pipes)
    atexit.register(server.communicate)  # no more requests: it ends
    return server


def _ask(request, timeout):
    with LOCK, selectors.DefaultSelector() as selector:
        server = _server()
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        selector.register(server.stdout, selectors.EVENT_READ)
        if not selector.select(timeout):
            os.killpg(server.pid, signal.SIGKILL)
            _server.cache_clear()
            raise TimeoutError(f"snakemake {' '.join(request['arguments'])} took more than {timeout} s")
        return json.loads(server.stdout.readline())


def _environment(changes):
    """The environment of a shell of its own: nothing of pytest, no path that tests add."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" and not k.startswith("PYTEST")}
    return kept | {key: str(value) for key, value in changes.items()}


def _request(folder, arguments, environment, *, plan=False, warm=False):
    arguments = [str(argument) for argument in arguments]
    folder = Path(folder).resolve()
    if not any((folder / "workflow" / "Snakefile").is_file() or a in ("-s", "--snakefile") for a in ["", *arguments]):
        arguments = ["--snakefile", str(SNAKEFILE), *arguments]
    return {
        "folder": str(folder),
        "arguments": arguments,
        "environment": _environment(environment),
        "plan": plan,
        "warm": warm,
    }


def snakemake(folder, *arguments, timeout=3600, warm=False, **environment):
    """Run `snakemake <arguments>` in a folder: its own workflow, or that of this checkout if it has none.

    Parameters
    ----------
    warm : whether jobs start in forks of a process that has imported what they need (helpers/warm_jobs.py)

    Returns
    -------
    tuple of int, str : the exit status, and what was printed: the standard output, then the messages
    """
    answer = _ask(_request(folder, arguments, environment, warm=warm), timeout)
    return answer["code"], answer["text"]


class Plan:
    """What a dry run finds out: the jobs that would run, the rules, and the settings.

    Attributes
    ----------
    jobs : list of dict with rule, wildcards, input, output, reason, mem_mb and group (its name, and which one)
    rules : dict of name to dict with script, names of params, resources, log, benchmark, environment and
        whether it is a local rule
    config : dict, the settings that the rules read
    text : str, what the dry run prints
    """

    def __init__(self, jobs, rules, config, text):
        self.jobs, self.rules, self.config, self.text = jobs, rules, config, text

    def counts(self):
        """Number of jobs by rule, without the target `all`."""
        return dict(Counter(job["rule"] for job in self.jobs if job["rule"] != "all"))

    def of(self, rule):
        """The jobs of a rule."""
        return [job for job in self.jobs if job["rule"] == rule]

    def groups(self):
        """Names of the groups, one for each group, sorted."""
        return sorted(name for name, _ in {tuple(job["group"]) for job in self.jobs if job["group"]})


def plan(folder, *arguments, timeout=600, **environment):
    """Parse the workflow, build the graph of jobs and return it; nothing runs.

    Raises
    ------
    AssertionError : if Snakemake refuses, with what it says
    """
    arguments = ["--dry-run", "--quiet", "all", *arguments]
    answer = _ask(_request(folder, arguments, environment, plan=True), timeout)
    assert answer["code"] == 0, answer["text"][-6000:]
    return Plan(**answer["plan"], text=answer["text"])
