"""The runs behind the comparisons of docs/trust/, kept in docs/figures/runs/ so that they are computed once.

`make null`, and the other comparisons, call this before and after Snakemake:

    python -m bench.record take null    puts recorded runs where the comparison looks for them; the others are computed
    python -m bench.record keep null    records all runs, and copies figure, table and findings to docs/figures/

A recorded run is what the comparison keeps of a study (`comparison.cells.gather_study`), with its config and what made
it. It is taken if its config is that of today. A change of the code does not make it invalid, because hours of
computing cannot follow each commit: the findings name the commits instead. To compute a comparison anew, remove
docs/figures/runs/<question>/ and results/<question>/.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import json
import shutil
import subprocess
from functools import partial
from pathlib import Path

import pandas as pd
import yaml

import voxelwhy
from bench.results import ROOT
from voxelwhy.cohort.simulation.constants import load_study
from voxelwhy.comparison.combinations import make_cells
from voxelwhy.io.images import read_json, write_json
from voxelwhy.io.text import count, listing

SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
FIGURES = ROOT / "docs" / "figures"


def configs_of(config):
    """Return the config of each run of a comparison, by its name."""
    runs, _ = make_cells(config, partial(load_study, schema_path=SCHEMA))
    return {run.name: run.config for run in runs}


def take(configs, recorded, results):
    """Put recorded runs where the comparison looks for them, unless a result is there.

    Parameters
    ----------
    configs : dict, run to its config (`configs_of`)
    recorded, results : folders of recorded runs, and of the comparison's results

    Returns
    -------
    taken, other : lists of runs, those that were put there, and those recorded with another config
    """
    taken, other = [], []
    for run, config in configs.items():
        source, target = recorded / f"{run}.json.gz", results / "cells" / f"{run}.json"
        if target.exists() or not source.exists():
            continue
        kept = read_run(source)
        if kept["made"]["config"] != config:
            other.append(run)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        write_json(target, kept["result"])
        taken.append(run)
    return taken, other


def keep(configs, recorded, results, *, made):
    """Record the runs of a comparison that are not recorded yet, or with another result; remove those of no config.

    Parameters
    ----------
    configs, recorded, results : as in `take`
    made : dict, what made them: version, commit and date

    Returns
    -------
    list of dict, `made` of each run, with its config and the hours of processor time of its jobs
    """
    recorded.mkdir(parents=True, exist_ok=True)
    for path in recorded.glob("*.json.gz"):
        if path.name.removesuffix(".json.gz") not in configs:
            path.unlink()
    records = []
    for run, config in configs.items():
        path, result = recorded / f"{run}.json.gz", read_json(results / "cells" / f"{run}.json")
        before = read_run(path) if path.exists() else None
        if before is None or (before["result"], before["made"]["config"]) != (result, config):
            hours = processor_hours(results / "cells" / run / "benchmarks")
            write_run(path, {"made": made | {"config": config, "processor_hours": hours}, "result": result})
        records.append(read_run(path)["made"])
    return records


def processor_hours(benchmarks):
    """Return the processor time of all jobs of a study, in hours, from Snakemake's benchmarks."""
    tables = [pd.read_csv(path, sep="\t") for path in sorted(benchmarks.rglob("*.tsv"))]
    return float(sum(table["cpu_time"].sum() for table in tables) / 3600)


def read_run(path):
    """Read a recorded run: `made` and `result`."""
    return json.loads(gzip.decompress(path.read_bytes()))


def write_run(path, run):
    """Write a recorded run, whole or not at all; the same run gives the same bytes."""
    beside = path.with_name(f".{path.name}")
    beside.write_bytes(gzip.compress(json.dumps(run, sort_keys=True).encode(), 9, mtime=0))
    beside.replace(path)


def origin(records):
    """Return the sentence on where the runs of a comparison come from."""
    dates, hours = sorted({made["date"] for made in records}), sum(made["processor_hours"] for made in records)
    when = f"on {dates[0]}" if len(dates) == 1 else f"from {dates[0]} to {dates[-1]}"
    by = sorted({f"{made['version']} ({made['commit']})" for made in records})
    return (
        f"{count(len(records), 'run')}, computed {when} in {hours:.1f} hours of processor time by voxelwhy "
        f"{listing(by)}; `docs/figures/runs/` contains what was kept of each."
    )


def what_makes_them():
    """Return version, commit and date of today."""
    told = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return {
        "version": voxelwhy.__version__,
        "commit": told.stdout.strip() or "unknown commit",
        "date": str(datetime.date.today()),
    }


def main():
    parser = argparse.ArgumentParser(prog="python -m bench.record", description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["take", "keep"])
    parser.add_argument("question", help="name of a config with a section `compare`, such as null")
    asked = parser.parse_args()
    config = yaml.safe_load((ROOT / "config" / f"{asked.question}.yaml").read_text(encoding="utf-8"))
    configs, recorded, results = configs_of(config), FIGURES / "runs" / asked.question, Path("results", config["study"])
    if asked.what == "take":
        taken, other = take(configs, recorded, results)
        print(f"{len(taken)} of {count(len(configs), 'run')} recorded before, {len(other)} with other settings")
        return
    records = keep(configs, recorded, results, made=what_makes_them())
    made = results / "comparison"
    for path in (made / "figures" / f"{asked.question}.png", made / "tables" / f"{asked.question}.md"):
        shutil.copy(path, FIGURES)
    found = (made / "findings.md").read_text(encoding="utf-8")
    (FIGURES / f"{asked.question}_findings.md").write_text(f"{found}- {origin(records)}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
