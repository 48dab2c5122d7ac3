"""How a study grows: `python -m bench.scaling` runs it on 100, 1,000 and 4,000 small simulated scans.

The scans are the template with noise, on the study's grid of 6 mm, so that they need no registration: what is measured
is how time, memory and files grow with their number, and 6 mm or 1 mm only shift that.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import yaml

from bench.results import ROOT, machine
from voxelwhy.io.images import save_int16
from voxelwhy.registration.template import make_template

FOLDER = ROOT / "results" / "scaling"
SIZES = (100, 1000, 4000)
DRY_RUNS = {969: 20, 10_000: 120}  # scans, and the most seconds that a dry run may take
RESOLUTION_MM = 6
METHODS = {"sensitivity_analysis": {}, "occlusion": {"size_mm": 48, "stride_mm": 48}, "grad_cam": {}}
EVERY = 0.05  # seconds between two looks at a job's memory
SCRIPT = re.compile(r"\.snakemake/scripts/\w+\.(\w+)\.py$")


def write_cohort(folder, n_scans):
    """Simulated small scans on the study's grid and their table; two scans a subject. The path of the table."""
    folder.mkdir(parents=True, exist_ok=True)
    t1, mask = make_template(RESOLUTION_MM)
    inside, base = np.asarray(mask.dataobj) > 0, np.asarray(t1.dataobj)
    marked, rows = np.zeros(base.shape, bool), []
    marked[tuple(slice(n // 3, n // 2) for n in base.shape)] = True
    for number in range(n_scans):
        rng, label = np.random.default_rng([2018, number]), ("AD", "CN")[number // 2 % 2]
        path = folder / f"scan{number:06d}.nii"
        if not path.exists():
            volume = np.where(inside, base * rng.normal(600, 60) + rng.normal(0, 30, base.shape), 0)
            save_int16(path, np.where(marked & (label == "AD"), 0.7 * volume, volume), t1.affine)
        rows.append({"path": path.name, "label": label, "subject": f"subject{number // 2:06d}"})
    table = folder / f"scans_{n_scans}.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    return table


def settings(n_scans, table, *, methods=METHODS, batch=None):
    """The config of the study of so many scans."""
    classes = {"positive": {"name": "AD", "values": ["AD"]}, "negative": {"name": "CN", "values": ["CN"]}}
    registration = {"resolution_mm": RESOLUTION_MM, "transform": "none", "store": ""}
    return {
        "study": f"scaling_{n_scans}",
        "cohort": {"source": "folder", "table": str(table), "data_dir": str(table.parent), "classes": classes},
        "registration": registration | ({"batch": batch} if batch else {}),
        "splits": [{"name": "kfold", "kind": "kfold", "folds": 5}],
        "training": {"network": "small", "crop": "brain", "epochs": 1, "learning_rate": 1e-3, "dropout": 0.2},
        "heatmaps": {"methods": methods},
    }


class Watch(threading.Thread):
    """The largest RssAnon of each rule's jobs and of Snakemake itself: memory that no file could give back."""

    def __init__(self, process):
        super().__init__(daemon=True)
        self.process, self.peak, self.over = psutil.Process(process.pid), defaultdict(int), threading.Event()

    def run(self):
        while not self.over.wait(EVERY):
            try:
                self.note("snakemake", [self.process])
                for child in self.process.children(recursive=True):
                    found = SCRIPT.search(child.cmdline()[-1] if child.cmdline() else "")
                    if found and "python" in child.name():
                        self.note(found[1], [child, *child.children(recursive=True)])
            except psutil.Error:
                continue  # a job ended meanwhile

    def note(self, rule, processes):
        self.peak[rule] = max(self.peak[rule], sum(anonymous_bytes(process.pid) for process in processes))


def anonymous_bytes(pid):
    """RssAnon of a process, bytes; 0 when it is gone."""
    try:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def snakemake(config, *arguments, watch=False):
    """Run Snakemake on a config; (seconds, peaks by rule, what it printed)."""
    path = FOLDER / f"{config['study']}.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", str(path), *arguments]
    with open(FOLDER / f"{config['study']}.log", "w", encoding="utf-8") as log:
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        watcher = Watch(process)
        if watch:
            watcher.start()
        code = process.wait()
    seconds = time.monotonic() - started
    watcher.over.set()
    text = Path(log.name).read_text()
    if code:
        sys.exit(f"{text[-3000:]}\n{log.name}: snakemake ended with {code}")
    return seconds, dict(watcher.peak), text


def measure(n_scans):
    """Run the study of so many scans; what it took, by rule."""
    config = settings(n_scans, write_cohort(FOLDER / "scans", n_scans), batch=250)
    study = ROOT / "results" / config["study"]
    shutil.rmtree(study, ignore_errors=True)
    seconds, peaks, _ = snakemake(config, watch=True)
    jobs = {}
    for path in sorted((study / "benchmarks").rglob("*.tsv")):
        rule = path.relative_to(study / "benchmarks").parts[0].removesuffix(".tsv")
        row = pd.read_csv(path, sep="\t").iloc[0]
        own = jobs.setdefault(rule, {"jobs": 0, "seconds": 0.0, "longest": 0.0})
        own["jobs"] += 1
        own["seconds"] += float(row["s"])
        own["longest"] = max(own["longest"], float(row["s"]))
    for rule, peak in peaks.items():
        jobs.setdefault(rule, {"jobs": 1, "seconds": seconds, "longest": seconds})["anonymous_mb"] = peak / 2**20
    files = [path for path in study.rglob("*") if path.is_file()]
    sizes = {"files": len(files), "megabytes": sum(path.stat().st_size for path in files) / 1e6}
    return {"n_scans": n_scans, "seconds": seconds, "rules": jobs, "machine": machine()} | sizes


def dry_run(n_scans, most):
    """Seconds of a dry run with all methods, once the table is read."""
    from voxelwhy.registry import METHODS as EVERY_METHOD

    table = write_cohort(FOLDER / "scans", 100)
    rows = pd.read_csv(table)
    many = pd.concat([rows] * -(-n_scans // len(rows)), ignore_index=True).iloc[:n_scans]
    many["path"] = [f"many/scan{number:06d}.nii" for number in range(n_scans)]
    many["subject"] = [f"subject{number:06d}" for number in range(n_scans)]
    (table.parent / "many").mkdir(exist_ok=True)
    for number, path in enumerate(many["path"]):
        if not (place := table.parent / path).exists():
            os.link(table.parent / rows["path"][number % len(rows)], place)
    many.to_csv(table.parent / f"many_{n_scans}.csv", index=False)
    config = settings(n_scans, table.parent / f"many_{n_scans}.csv", methods={name: {} for name in EVERY_METHOD})
    config["study"] = f"dry_{n_scans}"
    snakemake(config, "--until", "parse_tables")
    seconds, _, text = snakemake(config, "--dry-run", "--quiet", "rules")
    jobs = int(re.search(r"^total\s+(\d+)", text, re.M)[1])
    return {"n_scans": n_scans, "jobs": jobs, "seconds": seconds, "most": most, "machine": machine()}


def main():
    """Measure the sizes asked for and keep each in results/scaling; `bench.scaling_page` makes the page of them."""
    parser = argparse.ArgumentParser(prog="bench.scaling", description=__doc__)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--dry", action="store_true", help="the dry runs only")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    os.environ["PYTHONPATH"] = str(ROOT / "scripts")
    wanted = {f"dry_{n}": (dry_run, n, most) for n, most in DRY_RUNS.items()}
    if not options.dry:
        wanted |= {f"size_{n}": (measure, int(n)) for n in options.sizes.split(",")}
    for name, (work, *arguments) in wanted.items():
        content = work(*arguments)
        (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
        print(name, f"{content['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
