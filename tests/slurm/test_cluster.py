"""The cluster of the tests itself: what it needs, that it works, and that nothing of it is left."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slurm import packages
from slurm.cluster import Cluster
from slurm.guard import processes_of
from slurm.packages import Unavailable, fetch_slurm

SYSTEM = ("/etc", "/run", "/var/lib", "/var/log", "/var/spool")
KILLED = """
import os, sys, time
from slurm.cluster import Cluster
cluster = Cluster().__enter__()
cluster.run("sbatch", "--output=/dev/null", "--wrap", "sleep 300")
while "R" not in cluster.run("squeue", "--noheader", "--format=%t"):
    time.sleep(0.1)
print(cluster.folder, flush=True)
os.kill(os.getpid(), 9)
"""


def system():
    """What of SLURM lies on the machine, and what apt and dpkg have on record."""
    places = {str(path) for root in SYSTEM for word in ("slurm", "munge") for path in Path(root).glob(f"*{word}*")}
    lists = sorted(os.listdir("/var/lib/apt/lists"))
    return places, hashlib.sha256(Path("/var/lib/dpkg/status").read_bytes()).hexdigest(), lists


def test_a_cluster_that_stops_leaves_nothing(cluster):
    before = system()
    with Cluster() as own:
        assert own.folder != cluster.folder
        job = own.run("sbatch", "--parsable", "--gpus=1", "--output=/dev/null", "--wrap", "sleep 300").strip()
        until = time.monotonic() + 20
        while (known := {j["JobId"]: j for j in own.jobs()})[job]["JobState"] != "RUNNING" and time.monotonic() < until:
            time.sleep(0.1)
        assert known[job]["JobState"] == "RUNNING"
        assert known[job]["TresPerJob"] == "gres:gpu:1"
        assert len(processes_of(own.folder)) >= 5, "munged, slurmctld, slurmd, slurmstepd, the job"
    assert processes_of(own.folder) == []
    assert not own.folder.exists()
    assert system() == before


def test_a_cluster_whose_owner_is_killed_leaves_nothing(cluster):
    before = system()
    done = subprocess.run(
        [sys.executable, "-c", KILLED], cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == -9, done.stderr
    folder = Path(done.stdout.strip())
    until = time.monotonic() + 30
    while folder.exists() and time.monotonic() < until:
        time.sleep(0.2)
    assert not folder.exists()
    assert processes_of(folder) == []
    assert system() == before


def test_who_is_not_root_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Unavailable, match="need root"):
        fetch_slurm(tmp_path)


def test_who_has_no_debian_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="no apt-get here"):
        fetch_slurm(tmp_path)


def test_a_download_that_fails_is_told(cluster, monkeypatch, tmp_path):
    monkeypatch.setattr(packages, "PACKAGES", ("slurm-of-another-world",))
    with pytest.raises(Unavailable, match=r"packages of SLURM cannot be fetched: .*slurm-of-another-world"):
        fetch_slurm(tmp_path)
