"""Write docs/running/cost.md: the cost of a study of ADNI, and of 50,000 scans, added up from measured pieces."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import jinja2
import yaml

from bench import cost_study
from bench.results import ROOT, machine
from voxelwhy.io.tables import FOLDS, read_table
from voxelwhy.jobs.costs import PART_MINUTES, PART_SCANS

TEMPLATE = Path(__file__).with_name("cost.md.j2")
PAGE, PIECES = ROOT / "docs" / "running" / "cost.md", ROOT / "results" / "bench" / "cost.json"
RESULTS = ROOT / "results" / cost_study.STUDY
USED = re.compile(r"done: ([\d.]+) s of processor time, (\d+) MB")
#: Jobs that take one scan, or a few, and whose work is in proportion to them.
METHODS = ("sensitivity_analysis", "guided_backprop", "occlusion", "area_occlusion", "grad_cam")


@dataclass(frozen=True)
class Cohort:
    """A study to be added up: its scans, those that the folds train on in sum, and those that are explained."""

    title: str
    n_scans: int
    epochs: int
    trained: float
    explained: float


def usage(pattern):
    """Processor seconds and megabytes of each job whose log matches, from the last lines of the logs."""
    found = [USED.search(path.read_text()) for path in sorted((RESULTS / "logs").glob(pattern))]
    if not found or None in found:
        sys.exit(
            f"{RESULTS}/logs/{pattern}: {len(found)} logs, {found.count(None)} without an end; run make cost again"
        )
    return [(float(use[1]), float(use[2])) for use in found]


def size_mb(pattern):
    """Megabytes of each file or folder that matches."""
    places = sorted(RESULTS.glob(pattern))
    return [sum(f.stat().st_size for f in (place.rglob("*") if place.is_dir() else [place]) if f.is_file()) / 1e6
            for place in places]  # fmt: skip


def mean(values):
    """The arithmetic mean."""
    return sum(values) / len(values)


def trained_scans():
    """Scans that the folds train on, in sum; a scan that is only predicted (validation, test) counts as a third."""
    sides = read_table(RESULTS / "splits/kfold/folds.tsv", FOLDS)["side"].value_counts()
    return sides["train"] + (sides.sum() - sides["train"]) / 3


def pieces():
    """The measured pieces of results/cost: seconds of one core, megabytes of memory and of disk."""
    start, _ = min(usage("split_folds/*.log"))
    n_scans = 2 * cost_study.SUBJECTS
    registrations, trainings = usage("register_scan/*.log"), usage("train_fold/*/*.log")
    found = {
        "start": start,
        "registration": mean([seconds for seconds, _ in registrations]),
        "registration_mb": max(mb for _, mb in registrations),
        "training": mean([seconds - start for seconds, _ in trainings]) / (trained_scans() / cost_study.FOLDS),
        "training_mb": max(mb for _, mb in trainings),
        "disk_registered": mean(size_mb("registered/*")),
        "disk_model": mean(size_mb("splits/kfold/fold-*/model.pt")),
    }
    for method in METHODS:
        parts = usage(f"compute_heatmaps/kfold/{method}/*.log")
        found[f"map_{method}"] = (sum(seconds for seconds, _ in parts) - start * len(parts)) / n_scans
        found[f"map_{method}_mb"] = max(mb for _, mb in parts)
        found[f"merge_{method}"] = usage(f"merge_heatmaps/kfold/{method}.log")[0][0]
    found["merge_mb"] = max(usage(f"merge_heatmaps/kfold/{method}.log")[0][1] for method in METHODS)
    found["disk_part"] = mean(size_mb("splits/kfold/heatmaps/*/parts/*"))
    found["disk_maps"] = mean(size_mb("splits/kfold/heatmaps/*/maps"))
    found["disk_relevance_scan"] = mean(size_mb("splits/kfold/heatmaps/*/relevance.tsv")) / n_scans
    return found


def cohorts():
    """The paper's study on ADNI at 1.5 T, and one of 50,000 scans that explains a tenth."""
    epochs = yaml.safe_load((ROOT / "config" / "adni_1.5t.yaml").read_text())["training"]["epochs"]
    holdout = 969 * 60 / 344  # 60 of the 344 subjects of the paper's cohort
    return [
        Cohort("ADNI at 1.5 T, 969 scans", 969, epochs, 5 * 0.8 * 969 + (969 - holdout), holdout),
        Cohort("50,000 scans", 50_000, epochs, 5 * 0.8 * 50_000, 5_000),
    ]


def reckon(cohort, piece):
    """Rows (what, how, CPU hours, GB) of a cohort."""
    rows = [
        ("registration", f"{cohort.n_scans:,} scans x {piece['registration']:.0f} s",
         cohort.n_scans * piece["registration"] / 3600, cohort.n_scans * piece["disk_registered"] / 1e3),
        ("training", f"{cohort.trained:,.0f} scans x {cohort.epochs} epochs x {piece['training']:.1f} s",
         cohort.trained * cohort.epochs * piece["training"] / 3600, 6 * piece["disk_model"] / 1e3),
    ]  # fmt: skip
    for method in METHODS:
        seconds = piece[f"map_{method}"]
        parts = max(1, -(-cohort.explained * seconds // (60 * PART_MINUTES)), -(-cohort.explained // PART_SCANS))
        hours = (cohort.explained * seconds + parts * piece["start"] + piece[f"merge_{method}"]) / 3600
        disk = parts * piece["disk_part"] + piece["disk_maps"] + cohort.explained * piece["disk_relevance_scan"]
        rows.append((f"heatmaps, {method.replace('_', ' ')}", f"{cohort.explained:,.0f} scans x {seconds:.1f} s",
                     hours, disk / 1e3))  # fmt: skip
    on_gpu = rows[1:]
    return [
        *rows,
        ("all", "", sum(row[2] for row in rows), sum(row[3] for row in rows)),
        ("of which in jobs for a GPU", "", sum(row[2] for row in on_gpu), sum(row[3] for row in on_gpu)),
    ]


def page(piece, host):
    """The page as Markdown, from `cost.md.j2`."""
    memory = {"a registration": "registration_mb", "a training, batches of 5": "training_mb"}
    memory |= {f"maps by {method.replace('_', ' ')}": f"map_{method}_mb" for method in METHODS}
    memory |= {"merging parts": "merge_mb"}
    return jinja2.Template(TEMPLATE.read_text(), undefined=jinja2.StrictUndefined, keep_trailing_newline=True).render(
        piece=piece,
        host=host,
        n_scans=2 * cost_study.SUBJECTS,
        part_minutes=PART_MINUTES,
        cohorts=[(cohort.title, reckon(cohort, piece)) for cohort in cohorts()],
        memory=[(what, piece[key]) for what, key in memory.items()],
    )


def main():
    """Keep the pieces and write the page of them."""
    piece, host = pieces(), machine()
    Path(PIECES.parent).mkdir(parents=True, exist_ok=True)
    PIECES.write_text(json.dumps({"pieces": piece, "machine": host}, indent=1) + "\n")
    PAGE.write_text(page(piece, host), encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
