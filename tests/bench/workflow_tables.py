"""What the steps of a study take, and what some settings change; writes five tables of docs/figures.

`python -m bench.workflow_tables` (make steps; a quarter of an hour of one core) measures processor seconds of one
thread, which hold on a busy machine too. `--table NAME` writes one table. `smoothing` reads the scans of `make demo`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import torch
from torch.nn.functional import cross_entropy

from bench.cohort_check import settings_of_the_embedded_cohort
from bench.memory import _peak
from bench.recipes import CLASSES
from bench.results import ROOT
from bench.timing import Spread
from voxelwhy.cohort.simulation.cohort import simulate_cohort
from voxelwhy.evaluation.metrics import score_predictions
from voxelwhy.io.images import save_int16
from voxelwhy.io.tables import ATLAS, FOLDS, SELECTED, read_table
from voxelwhy.networks.build import build_network
from voxelwhy.registration.ants import STAGES
from voxelwhy.registration.register import register_scan
from voxelwhy.registration.template import make_template
from voxelwhy.splits.folds import split_folds
from voxelwhy.training.baseline import explain_baseline, make_baseline, predict_baseline
from voxelwhy.training.baseline_maps import BrainRegions
from voxelwhy.training.volumes import counted_voxels

PAGES = ROOT / "docs" / "figures"
DEMO = ROOT / "results" / "demo"
SEED = 8100  # no cohort of a page or of a test has it
STEPS = 2  # of which the shortest counts: another job on the machine makes a step longer, never shorter
BATCH = 5
NETWORKS = {
    "rieke2018": [(147, 180, 150)],
    "small": [(49, 60, 50)],
    "resnet18": [(49, 60, 50), (98, 120, 100)],
    "densenet121": [(49, 60, 50)],
}
#: Subjects, voxel size of the scans and of the planned deformations, mm.
COHORTS = [(4, 3, 2), (16, 3, 2), (4, 2, 2), (4, 1, 2)]
#: Scans of the cost of the voxelwise baseline, on the grid of 2 mm.
SCANS, FOLDS_OF_SCANS, DRAWS = (100, 300), 5, 8
SMOOTHING_MM = (0, 6, 10)


def markdown(rows):
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True) + "\n"


def taken(work):
    """Processor seconds of `work`, and MB by which it makes the process larger."""
    before, started = _peak(), time.process_time()
    work()
    return time.process_time() - started, (_peak() - before) / 1e6


def alone(name, *arguments):
    """`taken` of a function of this module in a process of its own, whose peak of memory no other work has raised."""
    call = json.dumps([name, arguments])
    command = [sys.executable, "-W", "ignore", "-m", "bench.workflow_tables", "--alone", call]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def simulate(folder, subjects, scans_mm, working_mm):
    """The embedded cohort with so many subjects, half of them patients, one scan each; the paths of the scans."""
    changes = {
        "resolution_mm": scans_mm,
        "working_mm": working_mm,
        "subjects": {"CN": subjects // 2, "Dementia": subjects // 2, "MCI": 0, "converter": 0},
        "visits": [["Screening"]],
        "missing_files": [],
        "truncated_files": [],
    }
    folder = Path(folder)
    tables = [folder / name for name in ("table.csv", "manifest.tsv", "confounds.tsv")]
    simulate_cohort(
        settings_of_the_embedded_cohort() | changes, SEED, folder / "scans", *tables, folder / "truth", workers=1
    )
    return sorted((folder / "scans").rglob("*.nii*"))


def simulation(*cohort):
    with tempfile.TemporaryDirectory() as folder:
        return taken(lambda: simulate(folder, *cohort))


def simulation_rows():
    for cohort in COHORTS:
        seconds, megabytes = alone("simulation", *cohort)
        names = ("subjects", "grid of the scans, mm", "grid of the planned deformation, mm")
        yield dict(zip(names, map(str, cohort), strict=True)) | {
            "processor seconds": f"{seconds:.0f}",
            "MB": f"{megabytes:,.0f}",
        }


def transform_rows():
    """Seconds of a registration by transform: median and range of simulated scans, on a grid of 3 mm."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder, name)) for name in ("template.nii.gz", "mask.nii.gz")]
        for image, path in zip(make_template(3), paths, strict=True):
            nib.save(image, path)
        scans = simulate(folder, 4, 3, 2)
        for transform in STAGES:
            how = {"settings": {"transform": transform, "n4": False}, "out_dir": Path(folder, transform)}
            found = Spread.of(taken(partial(register_scan, scan, *paths, **how, scan_id="a"))[0] for scan in scans)
            seconds = f"{found.median:.1f} ({found.low:.1f} to {found.high:.1f})"
            yield {"transform": transform, f"processor seconds, {found.n} scans": seconds}


def step(network, shape, precision, channels_last):
    """Processor seconds of one training step of BATCH scans on one thread, the least of STEPS."""
    torch.manual_seed(SEED)
    model = build_network(network, shape).train()
    images, targets = torch.randn(BATCH, 1, *shape), torch.arange(BATCH) % 2
    if channels_last:
        model = model.to(memory_format=torch.channels_last_3d)
        images = images.contiguous(memory_format=torch.channels_last_3d)
    optimiser = torch.optim.Adam(model.parameters())

    def work():
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = model(images)
        cross_entropy(logits.float(), targets).backward()
        optimiser.step()

    return min(taken(work)[0] for _ in range(STEPS))


def precision_rows():
    torch.set_num_threads(1)
    for network, shapes in NETWORKS.items():
        for shape in shapes:
            row = {"network, voxels": f"{network}, {' x '.join(map(str, shape))}"}
            for precision in ("float32", "bfloat16"):
                for last in (False, True):
                    seconds = step(network, shape, precision, last)
                    row[f"{precision}, {'channels last' if last else 'contiguous'}"] = f"{seconds:.3g}"
            yield row


def baseline(n_scans):
    """What the voxelwise baseline of so many scans takes: predictions, maps, and the same of shuffled diagnoses."""
    t1, mask = make_template(2)
    inside, base = np.asarray(mask.dataobj) > 0, np.asarray(t1.dataobj)
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for number in range(n_scans):
            path, rng = Path(folder, f"{number}.nii"), np.random.default_rng([SEED, number])
            save_int16(path, np.where(inside, base * 600 + rng.normal(0, 30, base.shape), 0), t1.affine)
            label = list(CLASSES.values())[number % 2]
            rows.append({"scan_id": f"s{number}", "subject_id": f"p{number}", "label": label, "t1": str(path)})
        scans = pd.DataFrame(rows).assign(age=70.0, sex="F")
        split = {"kind": "kfold", "folds": FOLDS_OF_SCANS, "validation_fraction": 0}
        folds = split_folds(scans, split, classes=CLASSES, seed=SEED)
        subjects = scans.set_index("subject_id")[["age", "sex"]]
        regions = BrainRegions(inside, inside.astype(int), [1])

        def work():
            how = {"kind": "voxelwise", "smoothing_mm": 10}
            options = {"channels": ["t1"], "seed": SEED, "folder": folder}
            made = make_baseline(how, scans, regions, ["brain"], mask, **options)
            predict_baseline(folds, made, classes=CLASSES)
            explain_baseline(folds, subjects, made, classes=CLASSES, n_draws=DRAWS)

        return taken(work)


def baseline_rows():
    inside = np.asarray(make_template(2)[1].dataobj) > 0
    for n_scans in SCANS:
        seconds, megabytes = alone("baseline", n_scans)
        yield {
            "scans": f"{n_scans:,}",
            "processor seconds": f"{seconds:.0f}",
            "memory, MB": f"{megabytes:.0f}",
            "temporary disk space, MB": f"{4 * n_scans * inside.sum() / 1e6:,.0f}",
        }


def smoothing_rows():
    """AUC of the baselines on the scans of the demo, by the width of the kernel; the intervals are over subjects."""
    brain, network_mask, labels = (
        nib.load(DEMO / name)
        for name in ("template/brain_mask.nii.gz", "template/network_mask.nii.gz", "atlas/labels.nii.gz")
    )
    atlas, scans = read_table(DEMO / "atlas/regions.tsv", ATLAS), read_table(DEMO / "cohort/selected.tsv", SELECTED)
    scans["t1"] = [str(ROOT / path) for path in scans["t1"]]
    folds = read_table(DEMO / "splits/kfold/folds.tsv", FOLDS)
    regions = BrainRegions(np.asarray(brain.dataobj) > 0, np.asarray(labels.dataobj).astype(int), atlas["region_id"])
    mask = nib.Nifti1Image(counted_voxels(brain, network_mask).astype(np.uint8), brain.affine)
    kinds = {f"voxelwise, {mm} mm": {"kind": "voxelwise", "smoothing_mm": mm} for mm in SMOOTHING_MM}
    kinds |= {"logistic regression, region means": {"kind": "logistic_regression"}}
    kinds |= {"linear SVM, region means": {"kind": "linear_svm"}}
    for title, how in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            options = {"channels": ["t1"], "seed": SEED, "folder": folder}
            made = make_baseline(how, scans, regions, atlas["region"], mask, **options)
            predictions = predict_baseline(folds, made, classes=CLASSES)
        scores = score_predictions(predictions, model="baseline", classes=CLASSES, n_permutations=1, seed=SEED)
        row = scores.query("metric == 'auc' and level == 'subject' and fold == 'all'").iloc[0]
        yield {
            "baseline": title,
            "subjects": str(row["n_subjects"]),
            "AUC within folds (95 %)": f"{row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f})",
        }


TABLES = {
    "transforms": transform_rows,
    "precision": precision_rows,
    "simulation": simulation_rows,
    "voxelwise_cost": baseline_rows,
    "smoothing": smoothing_rows,
}


def main():
    parser = argparse.ArgumentParser(prog="bench.workflow_tables", description=__doc__.partition("\n")[0])
    parser.add_argument("--table", choices=TABLES, action="append", help="one table; may be given again")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.alone:
        name, arguments = json.loads(chosen.alone)
        print(json.dumps({"simulation": simulation, "baseline": baseline}[name](*arguments)))
        return
    for name in chosen.table or TABLES:
        rows = []
        for row in TABLES[name]():
            rows.append(row)
            print(name, row, flush=True)
        (PAGES / f"{name}.md").write_text(markdown(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
