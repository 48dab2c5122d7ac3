"""What a row of the bench comes to, and where that is kept."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import captum
import numpy as np
import torch

from bench.timing import Spread, ratios
from voxelwhy.jobs.code_digest import code_digest
from voxelwhy.registry import METHODS, NETWORKS, REGION_METHODS
from voxelwhy.training.bfloat16 import has_bfloat16

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "results" / "bench"
#: Largest difference that counts as the same map, as a part of its maximum, in float32.
SAME = 1e-3
#: The least maximum of a map of probabilities that says anything.
LEAST_TOP = 0.01


class Different(Exception):
    """Two ways to the same map differ: their times are not compared."""


@dataclass(frozen=True)
class Line:
    """One line of a table: a work, what it is compared with, the figures.

    `kind` is "times faster" (theirs / ours, `target` is the least) or "times the time" (ours / theirs, `target` is the
    most). `difference` is the largest one between the two maps as a part of `top`, the map's maximum; both None where
    the two do different things. `run` says how much of the peer's work was run.
    """

    work: str
    against: str
    kind: str
    ratio: Spread
    ours: Spread
    theirs: Spread
    target: float | None = None
    top: float | None = None
    difference: float | None = None
    run: str = "whole"

    @property
    def met(self) -> bool | None:
        """Whether the median keeps the target."""
        if self.target is None:
            return None
        return self.ratio.median >= self.target if self.kind == "times faster" else self.ratio.median <= self.target


def faster(work, against, ours, theirs, target=None, top=None, difference=None, run="whole") -> Line:
    """How many times faster ours is, from the seconds of both, round by round."""
    spreads = ratios(theirs, ours), Spread.of(ours), Spread.of(theirs)
    return Line(work, against, "times faster", *spreads, target, top, difference, run)


def as_long(work, against, ours, theirs, target) -> Line:
    """How many times as long ours takes as a work that is less."""
    return Line(work, against, "times the time", ratios(ours, theirs), Spread.of(ours), Spread.of(theirs), target)


def compare(found, wanted, what, least=0.0) -> tuple[float, float]:
    """The map's maximum, and the largest difference as a part of it.

    Raises
    ------
    Different : they differ by more than `SAME`, or the maximum is below `least`.
    """
    found, wanted = np.asarray(found, dtype=float), np.asarray(wanted, dtype=float)
    top = float(np.abs(wanted).max())
    if not top > least:
        raise Different(f"{what}: the map's maximum is {top:.2g}, and {least:g} is the least that says anything")
    difference = float(np.abs(found - wanted).max()) / top
    if not difference <= SAME:
        raise Different(f"{what}: they differ by {difference:.2g} of the map's maximum, {top:.2g}; {SAME:g} is allowed")
    return top, difference


def machine() -> dict:
    """Where and with what this was measured."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "bfloat16": has_bfloat16(),
        "torch": torch.__version__.partition("+")[0],
        "captum": captum.__version__,
        "python": platform.python_version(),
    }


def save(name, lines: list, load):
    """Write the lines of a row; `load` is the load average before and after it ran."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    kept = [{"table": type(line).__name__, "met": getattr(line, "met", None)} | asdict(line) for line in lines]
    content = {"row": name, "machine": machine(), "code": code_of(name), "load": load, "lines": kept}
    (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def code_of(name) -> str:
    """A hash of the source that a row measures: the script of the study, and all that it and the row's method reach.

    The page is made of rows that measured what is there now.
    """
    known = METHODS | REGION_METHODS
    methods = [method for method in known if re.match(f"(fine_)?{method.removesuffix('_analysis')}_", name)]
    if name.startswith("network_"):
        methods = ["occlusion", "integrated_gradients", "grad_cam"]
    if not methods and not name.startswith(("training", "accuracy")):
        raise KeyError(name)
    modules = [known[method] for method in methods] + [NETWORKS[net] for net in NETWORKS if name.endswith(net)]
    script = ROOT / "scripts" / ("compute_heatmaps.py" if methods else "train_fold.py")
    return hashlib.sha256(json.dumps(code_digest(script, modules)).encode()).hexdigest()[:12]
