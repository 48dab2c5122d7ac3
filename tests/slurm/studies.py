"""A small study, run here and on the cluster, and what is compared between the two."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import yaml

from helpers.studies import ROOT, SMALL, Study

METHODS = {"sensitivity_analysis": {}, "occlusion": {"size_mm": 48, "stride_mm": 48}, "grad_cam": {}}
CONFIG = SMALL | {
    "evaluation": SMALL["evaluation"] | {"shuffled": 0},
    "trust": {"probes": "false", "seeds": 0},
    "simulation": SMALL["simulation"]
    | {
        "subjects": {"Dementia": 4, "CN": 4, "MCI": 0, "converter": 0},
        "visits": [["Screening"]],
        "missing_files": [],
        "truncated_files": [],
        "store": "",
    },
    # What is made again is made, and not taken from a store.
    "registration": SMALL["registration"] | {"store": ""},
    "splits": [{"name": "kfold", "kind": "kfold", "folds": 2}],
    "training": SMALL["training"] | {"network": "small", "epochs": 12, "threads": 2},
    "heatmaps": {"methods": METHODS},
}
PROFILE = yaml.safe_load((ROOT / "workflow" / "profiles" / "slurm" / "config.yaml").read_text())
#: The same study as the only cell of a comparison.
COMPARED_CONFIG = CONFIG | {"study": "compared", "compare": {"choices": {"training.network": ["small"]}}}
#: What this cluster is like, as somebody would write it down for theirs, in a profile beside the workflow's.
SITE = {
    "slurm-status-command": "squeue",
    "slurm-init-seconds-before-status-checks": 2,
    "latency-wait": 10,
    "config": {"use_gpu": True},
    # Half an hour's worth of registrations would be the whole cohort.
    "group-components": PROFILE["group-components"] | {"register_100": 4},
}
# A step in a dry run; the steps of a group are indented.
STEP = r"^( *)(?:rule|checkpoint) (\w+):\n((?:\1 +\S.*\n)+)"
#: What contains times.
TIMED = ("report.html", "ro-crate-metadata.json")
CONTROLLERS, STOPPED = [], threading.Event()
COMPARED = (".nii", ".gz", ".npy", ".npz", ".pt", ".tsv", ".csv", ".json", ".png", ".svg", ".md", ".tex", ".yaml")
COMPARED += (".safetensors", ".html", ".bidsignore")


class ClusterStudy(Study):
    """A study whose jobs go to the cluster."""

    def __init__(self, folder, cluster, config=CONFIG):
        super().__init__(folder, config)
        self.cluster = cluster
        (folder / "site").mkdir()
        (folder / "site" / "config.yaml").write_text(yaml.safe_dump(SITE))

    @classmethod
    def copy_of(cls, other, folder, cluster):
        """`other` as it stands, with what Snakemake knows of it."""
        study = cls(folder, cluster)
        for part in ("results", ".snakemake"):
            shutil.copytree(other.folder / part, folder / part, symlinks=True)
        return study

    def start(self, *arguments, seconds=2400):
        """Start Snakemake; it is killed after so many seconds, since a hanging one hears no gentler signal."""
        command = ["timeout", "--kill-after=5", str(seconds), sys.executable, "-m", "snakemake", *arguments]
        command += ["--profile", "workflow/profiles/slurm", "--profile", "site", "--configfile", "study.yaml"]
        self.log = self.folder / f"snakemake-{time.time_ns()}.log"
        with open(self.log, "wb") as log:
            self.controller = subprocess.Popen(
                command, cwd=self.folder, env=self.cluster.environment, stdout=log, stderr=log
            )
        CONTROLLERS.append(self.controller)

    def finish(self, code=0):
        """Wait for Snakemake; returns what it printed."""
        returned = self.controller.wait()
        text = self.log.read_text(errors="replace")
        assert returned == code, text[-6000:]
        return text

    @staticmethod
    def stop_all():
        """End what the tests have running, and their waiting for it."""
        STOPPED.set()
        for controller in CONTROLLERS:
            if controller.poll() is None:
                kill(controller)

    def wait_for(self, found, what, seconds=600, every=0.2):
        """The first true value of `found()` while Snakemake runs."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.controller.poll() is None and not STOPPED.is_set():
            if value := found():
                return value
            time.sleep(every)
        raise AssertionError(f"no {what} within {seconds} s\n{self.log.read_text(errors='replace')[-3000:]}")

    def jobs(self):
        """What of this study was submitted, as SLURM has it."""
        return [job for job in self.cluster.jobs() if job.get("WorkDir") == str(self.folder)]

    def running(self, rule):
        """The job of a rule, or of a group with that rule, once it runs."""
        return self.wait_for(
            lambda: next((j for j in self.jobs() if rule in j["Comment"] and j["JobState"] == "RUNNING"), None),
            f"a job of {rule}",
        )

    def script(self, rule):
        """The process id of a rule's script, once it runs."""

        def found():
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    command = (process / "cmdline").read_bytes().decode(errors="replace")
                except OSError:
                    continue
                if f"{self.folder}/.snakemake/scripts/" in command and command.rstrip("\0").endswith(f".{rule}.py"):
                    return int(process.name)
            return None

        return self.wait_for(found, f"the script of {rule}")

    def remove(self, *patterns):
        """Remove outputs; returns the results that stay, with the time of their last change."""
        for pattern in patterns:
            for path in list(self.result("").glob(pattern)):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return {path: (self.result("") / path).stat().st_mtime_ns for path in fingerprints(self)}


def fingerprints(study, cell=""):
    """Hashes of all results of a study, or of a cell of it, that must not depend on where they are made, by path."""
    root, found = study.result(cell), {}
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if path.is_dir() or relative.parts[0] in ("logs", "benchmarks") or relative.name in TIMED:
            continue
        if relative.name.startswith(".snakemake"):
            continue
        assert (path.suffix or path.name) in COMPARED, f"{relative} is compared with nothing"
        found[str(relative)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def steps(study):
    """What each step asks for, from dry runs: a list of rule, threads, mem_mb, runtime."""
    found = []
    # The scans are unknown to a dry run that would read the table again, so the first steps have one of their own.
    for first, kept in (("simulate_cohort", ("simulate_cohort", "parse_tables")), ("prepare_template", None)):
        text = study.run("--dry-run", "--forcerun", first)
        for _, rule, block in re.findall(STEP, text, re.M):
            asked = dict(re.findall(r"(mem_mb|runtime)=(\d+)", block))
            threads = re.search(r"^ +threads: (\d+)", block, re.M)
            if asked and (kept is None or rule in kept):
                step = {"rule": rule, "threads": int(threads[1]) if threads else 1}
                found.append(step | {name: int(value) for name, value in asked.items()})
    return found


def minutes(limit):
    """SLURM's [days-]hours:minutes:seconds."""
    days, _, clock = limit.rpartition("-")
    hours, minute, _ = clock.split(":")
    return int(days or 0) * 1440 + int(hours) * 60 + int(minute)


def kill(process):
    """Kill Snakemake under its `timeout` as a login node's reboot would."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in (*map(int, children), process.pid):
        os.kill(pid, signal.SIGKILL)
    process.wait()
