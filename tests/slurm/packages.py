"""SLURM from Debian's packages, unpacked into a folder: nothing is installed, and apt's own state is only read."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

PACKAGES = ("munge", "slurmctld", "slurmd", "slurm-client")
# Downloaded even where they are installed: what runs is what lies in the folder. Their dependencies come along where
# the system lacks them.
OWN = re.compile(r"Package: (lib)?(munge|slurm)")


class Unavailable(Exception):
    """Why there can be no cluster here."""


def fetch_slurm(folder):
    """Download and unpack SLURM and munge.

    Returns
    -------
    root : Path, with usr/bin, usr/sbin and so on below it

    Raises
    ------
    Unavailable : not root, no Debian, or the packages cannot be had; it says which.
    """
    if os.geteuid() != 0:
        raise Unavailable("SLURM's daemons run jobs of any user, so they need root")
    for program in ("apt-get", "dpkg"):
        if not shutil.which(program):
            raise Unavailable(f"SLURM comes from Debian's packages, and there is no {program} here")
    apt = Path(folder, "apt")
    for part in ("lists/partial", "archives/partial"):
        (apt / part).mkdir(parents=True)
    _run([*_apt_get(apt), "update"], "the lists of packages cannot be fetched")
    _run(
        [*_apt_get(apt), "install", "--yes", "--no-install-recommends", "--download-only", *PACKAGES],
        "the packages of SLURM cannot be fetched",
    )
    root = Path(folder, "root")
    for package in sorted((apt / "archives").glob("*.deb")):
        _run(["dpkg", "--extract", str(package), str(root)], f"{package.name} cannot be unpacked")
    shutil.rmtree(apt)
    # SLURM's daemons know what they are by their names, and Debian installs them under others with links.
    for program in root.glob("usr/sbin/*-wlm"):
        program.with_name(program.name.removesuffix("-wlm")).symlink_to(program.name)
    return root


def _apt_get(apt):
    """apt-get with lists, cache and a copy of what is installed of its own, the latter without SLURM."""
    installed = Path("/var/lib/dpkg/status").read_text(encoding="utf-8", errors="replace").split("\n\n")
    status = apt / "status"
    status.write_text("\n\n".join(entry for entry in installed if not OWN.match(entry)), encoding="utf-8")
    options = {
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": "1",
        "Acquire::http::Timeout": "20",
        "Dir::State::lists": apt / "lists",
        "Dir::State::status": status,
        "Dir::Cache": apt,
        "Dir::Cache::archives": apt / "archives",
    }
    return ["apt-get", "--quiet", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]


def _run(command, failing):
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, env=os.environ | {"LC_ALL": "C"}, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{failing}: {error}") from error
    # apt-get update only warns about an index that it did not get.
    if done.returncode or "Failed to fetch" in done.stderr:
        raise Unavailable(f"{failing}: {done.stderr.strip()[-500:]}")
