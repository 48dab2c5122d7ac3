"""How much memory a method takes beyond what model and image hold: its peak in a process of its own."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from bench.results import ROOT
from voxelwhy import registry

PLACES = (ROOT / "scripts", ROOT / "tests")
PASS = "one pass"  # the network alone, on the whole image


def extra_memory(model, batch, method=PASS, **options) -> int:
    """Bytes by which the process grows while `method` explains the one image of `batch`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "case.pt")
        torch.save({"model": model, "batch": batch, "method": method, "options": options}, path)
        command = [sys.executable, "-W", "ignore", "-m", "bench.memory", str(path)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, PLACES))}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return int(done.stdout.split()[-1])


def _peak():
    """The most that this process ever held, bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would begin with what the parent held
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _run(path):
    case = torch.load(path, weights_only=False)  # written by `extra_memory`
    model, batch, name = case["model"], case["batch"], case["method"]
    run = model if name == PASS else getattr(registry.load(registry.METHODS, name, "method"), name)
    before = _peak()
    if name == PASS:
        with torch.inference_mode():
            run(batch)
    else:
        run(model, batch[0], **{"device": "cpu"} | case["options"])
    print(_peak() - before)


if __name__ == "__main__":
    _run(sys.argv[1])
