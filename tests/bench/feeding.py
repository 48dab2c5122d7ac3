"""Whether reading scans hides behind the steps of a training; writes docs/figures/feeding.md.

`python -m bench.feeding` (part of make training; two minutes). A GPU is stood in for by a step that only waits, as the
processor does while a GPU computes. What is measured is the time that steps wait for their scans.
"""

from __future__ import annotations

import tempfile
import time

import numpy as np
import pandas as pd

from bench import cases
from bench.results import ROOT
from bench.timing import Spread
from bench.training_rows import CLASSES, _settings, write_scans
from voxelwhy.training import feeding
from voxelwhy.training.feeding import read_ahead
from voxelwhy.training.fold import load_fold

PAGE = ROOT / "docs" / "figures" / "feeding.md"
N_SCANS = 60
BATCH = 5
STEPS = (0.05, 0.1, 0.2, 0.4)
READERS = (0, 1, 2)
REPEATS = 3


def waited(data, step, readers):
    """Seconds that an epoch of steps of `step` seconds waits for its scans, after the first batch; by step.

    With no reader, each batch is read when it is needed. The first batch of an epoch has no step to hide behind.
    """
    parts = np.array_split(data.sides["train"], N_SCANS // BATCH)

    def read(part):
        return data.batch(part)[0]

    fed = read_ahead(parts, read, readers=readers) if readers else ((part, read(part)) for part in parts)
    waits = []
    while True:
        started = time.perf_counter()
        if next(fed, None) is None:
            return float(np.mean(waits[1:]))
        waits.append(time.perf_counter() - started)
        time.sleep(step)


def rows():
    """Share of a step that it waits, by the length of the step and the number of threads that read."""
    feeding.KEPT_MB = 0  # as in a study whose scans do not fit in memory
    with tempfile.TemporaryDirectory() as folder:
        folds, paths = write_scans(folder, N_SCANS)
        _, mask = cases.template()
        settings = _settings("rieke2018", 1, crop="brain", normalisation="scan")
        data, _ = load_fold(folds, paths, mask, settings, fold=0, classes=CLASSES)
        for step in STEPS:
            row = {"step, s": f"{step:g}"}
            for readers in READERS:
                found = Spread.of(100 * waited(data, step, readers) / step for _ in range(REPEATS))
                name = f"{readers} reading ahead" if readers else "read when needed"
                row[name] = f"{found.median:.1f} % ({found.low:.1f} to {found.high:.1f})"
            yield row


if __name__ == "__main__":
    table = []
    for row in rows():
        table.append(row)
        print(row, flush=True)
    PAGE.write_text(pd.DataFrame(table).to_markdown(index=False, disable_numparse=True) + "\n")
