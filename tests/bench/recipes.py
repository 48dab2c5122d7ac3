"""How well networks learn by the number of subjects, channel and recipe; writes docs/figures/training*.md.

`python -m bench.recipes` (make training) takes some hours on two cores and resumes: cohorts, registrations and finished
trainings lie in results/. Cohorts have seeds with which nothing was tuned. `cells` are trainings of one network with
cross-validation, in this process alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import yaml
from joblib import Parallel, delayed
from scipy.stats import t as student
from sklearn.metrics import log_loss, roc_auc_score

from bench.results import ROOT
from voxelwhy.cohort.simulation.constants import load_study
from voxelwhy.io.tables import ATLAS, SELECTED, read_table
from voxelwhy.splits.folds import split_folds
from voxelwhy.training.baseline import make_baseline, predict_baseline
from voxelwhy.training.baseline_maps import BrainRegions
from voxelwhy.training.fold import train_fold
from voxelwhy.training.volumes import counted_voxels, registered_paths

SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
CELLS = ROOT / "results" / "recipes"
PAGES = ROOT / "docs" / "figures"
CLASSES = {"positive": "AD", "negative": "CN"}
CHANNELS = {"t1": "T1", "log_jacobian": "log-Jacobian", "grey_matter_modulated": "modulated grey matter"}
#: Seeds of cohorts; the demo's and those of tests and of comparisons are others.
SEEDS = range(8001, 8011)
SUBJECTS = 160
FOLDS = 3
#: Changes of the recipe of `compact`, one at a time.
RECIPES = {
    "recipe of compact": {},
    "Adam 1e-4, constant, 20 epochs (the paper's)": {
        "optimiser": "adam", "schedule": "constant", "learning_rate": 1e-4, "weight_decay": 0, "epochs": 20,
    },
    "Adam 1e-3, constant": {"optimiser": "adam", "schedule": "constant", "learning_rate": 1e-3, "weight_decay": 0},
    "AdamW 1e-3, constant": {"schedule": "constant", "learning_rate": 1e-3},
    "AdamW 1e-3, constant, ema": {"schedule": "constant", "learning_rate": 1e-3, "average": "ema"},
    "AdamW 1e-3, constant, patience 10, best validation": {
        "schedule": "constant", "learning_rate": 1e-3, "patience": 10, "keep": "best_validation", "validation": 0.15,
    },
    "cosine": {"schedule": "cosine"},
    "20 epochs": {"epochs": 20},
    "seeds 5": {"seeds": 5},
    "calibrate: temperature": {"calibrate": "temperature", "validation": 0.15},
    "validation scans not used (for comparison)": {"validation": 0.15},
}  # fmt: skip


def study_config(seed, subjects=SUBJECTS, channels=tuple(CHANNELS)):
    """The config of one cohort: one scan for each subject, registered at 4 mm, with the images of the channels."""
    half = subjects // 2
    return {
        "study": f"recipes_{seed}",
        "seed": seed,
        "simulation": {
            "seed": seed,
            "resolution_mm": 4,
            "subjects": {"CN": half, "Dementia": half, "MCI": 0, "converter": 0},
            "visits": [["Screening"]],
            "missing_files": [],
            "truncated_files": [],
        },
        "cohort": {"source": "adni_merged"},
        "registration": {
            "resolution_mm": 4,
            "transform": "syn_quick",
            "batch": half,
            "maps": [channel for channel in channels if channel != "t1"],
        },
        "atlas": {"name": "Neuromorphometrics", "vanished": "warn"},
        "splits": [{"kind": "kfold", "folds": FOLDS}],
        "training": {"network": "compact"},
    }  # fmt: skip


def make_cohort(seed, cores, channels):
    """Simulate and register a cohort, if that is not done yet."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False) as file:
        yaml.safe_dump(study_config(seed, channels=channels), file)
    wanted = [f"results/recipes_{seed}/{name}" for name in (
        "cohort/selected.tsv", "template/brain_mask.nii.gz", "template/network_mask.nii.gz", "atlas/labels.nii.gz",
    )]  # fmt: skip
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--configfile", file.name, "--", *wanted]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    Path(file.name).unlink()
    if done.returncode:
        sys.exit(f"cohort {seed}:\n{(done.stdout + done.stderr)[-3000:]}")


def scans_of(seeds, subjects):
    """The first subjects of several cohorts together, with names that tell the cohorts apart."""
    tables = []
    for seed in seeds:
        table = read_table(ROOT / f"results/recipes_{seed}/cohort/selected.tsv", SELECTED)
        for column in ("scan_id", "subject_id"):
            table[column] = f"c{seed}" + table[column]
        table["t1"] = [str(ROOT / path) for path in table["t1"]]
        tables.append(table)
    each = subjects // len(seeds)
    chosen = [table.groupby("label").head(each // 2) for table in tables]
    return pd.concat(chosen, ignore_index=True)


def settings_of(changes, channels):
    """The training settings of a cell, and its fraction of validation subjects."""
    changes = dict(changes)
    validation = changes.pop("validation", 0)
    config = study_config(0) | {"splits": [{"kind": "kfold", "folds": FOLDS, "validation_fraction": validation}]}
    config["training"] = config["training"] | changes | {"channels": list(channels)}
    return load_study(config, SCHEMA)["training"], validation


def auc_within(predictions):
    """The AUC of each fold by scikit-learn, weighted by its pairs."""
    pairs, aucs = [], []
    for _, fold in predictions.groupby("fold"):
        truth = fold["label"] == CLASSES["positive"]
        pairs.append(truth.sum() * (~truth).sum())
        aucs.append(roc_auc_score(truth, fold["logit_positive"] - fold["logit_negative"]))
    return float(np.average(aucs, weights=pairs))


def scores_of(predictions, seconds):
    truth = predictions["label"] == CLASSES["positive"]
    return {
        "auc": auc_within(predictions),
        "auc_pooled": float(roc_auc_score(truth, predictions["probability"])),
        "accuracy": float(((predictions["probability"] >= 0.5) == truth).mean()),
        "log_loss": float(log_loss(truth, predictions["probability"])),
        "seconds": seconds,
        "n_subjects": int(predictions["subject_id"].nunique()),
    }


def cell(seeds, subjects, channels, changes):
    """Scores of a network (a dict of changes) or a baseline (its kind), by cross-validation; kept on disk."""
    key = json.dumps([list(seeds), subjects, list(channels), changes], sort_keys=True)
    path = CELLS / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    if path.exists():
        return json.loads(path.read_text())["scores"]
    folder = ROOT / f"results/recipes_{seeds[0]}"
    scans, started = scans_of(seeds, subjects), time.process_time()
    if isinstance(changes, str):
        predictions = _baseline(changes, scans, folder, channels, seeds[0])
    else:
        predictions = _network(changes, scans, folder, channels, seeds[0])
    scores = scores_of(predictions, time.process_time() - started)
    CELLS.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}")
    beside.write_text(json.dumps({"cell": key, "scores": scores}))
    beside.replace(path)
    return scores


def _network(changes, scans, folder, channels, seed):
    settings, validation = settings_of(changes, channels)
    split = {"kind": "kfold", "folds": FOLDS, "validation_fraction": validation}
    folds = split_folds(scans, split, classes=CLASSES, seed=seed)
    mask, paths = nib.load(folder / "template/network_mask.nii.gz"), registered_paths(scans, channels)
    how = {"classes": CLASSES, "seed": seed, "code": {}, "device": "cpu"}
    with tempfile.TemporaryDirectory() as checkpoints:
        fits = (train_fold(folds, paths, mask, settings, fold=k, checkpoints=checkpoints, **how) for k in range(FOLDS))
        return pd.concat([fit[3] for fit in fits])


def _baseline(kind, scans, folder, channels, seed):
    folds = split_folds(scans, {"kind": "kfold", "folds": FOLDS, "validation_fraction": 0}, classes=CLASSES, seed=seed)
    brain, network_mask, labels = (
        nib.load(folder / name)
        for name in ("template/brain_mask.nii.gz", "template/network_mask.nii.gz", "atlas/labels.nii.gz")
    )
    atlas = read_table(folder / "atlas/regions.tsv", ATLAS)
    regions = BrainRegions(np.asarray(brain.dataobj) > 0, np.asarray(labels.dataobj).astype(int), atlas["region_id"])
    mask = nib.Nifti1Image(counted_voxels(brain, network_mask).astype(np.uint8), brain.affine)
    how = {"kind": kind, "smoothing_mm": 10}
    with tempfile.TemporaryDirectory() as temporary:
        options = {"channels": list(channels), "seed": seed, "folder": Path(temporary)}
        return predict_baseline(
            folds, make_baseline(how, scans, regions, atlas["region"], mask, **options), classes=CLASSES
        )


VOXELWISE = {"normalisation": "voxelwise"}
BASELINES = {"voxelwise": "voxelwise SVM, 10 mm", "logistic_regression": "region means"}


def target_cells(seeds):
    """The cells of the first table: network and baselines by channel and number of subjects, in each cohort."""
    for channel in CHANNELS:
        for subjects in (100, SUBJECTS):
            for seed in seeds:
                for changes in ({}, *BASELINES):
                    yield (seed,), subjects, (channel,), changes


def normalisation_cells(seeds):
    """The cells of the table that tells whether normalisation is why the log-Jacobian misses its target."""
    for changes in ({}, VOXELWISE):
        for seed in seeds:
            yield (seed,), SUBJECTS, ("log_jacobian",), changes


def recipe_cells(seeds):
    """The cells of the second table: recipes by number of subjects, in cohorts that share no subject.

    Five trainings of 300 subjects or more would take as long as all others of that size together.
    """
    sizes = {50: [(seed,) for seed in seeds], 300: list(zip(seeds[:6:2], seeds[1:6:2], strict=False))}
    sizes[1000] = [tuple(seeds[:7])] if len(seeds) >= 7 else []
    for subjects, groups in sizes.items():
        for name, changes in (*RECIPES.items(), *((kind, kind) for kind in BASELINES)):
            if subjects < 300 or name != "seeds 5":
                for group in groups:
                    yield group, subjects, ("t1",), changes


def interval(values):
    """Mean with the 95 % interval of Student's t over cohorts, as text; of two cohorts, both values instead."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return f"{values.mean():.3f}"
    if len(values) == 2:
        return f"{values.mean():.3f} ({values.min():.3f} and {values.max():.3f})"
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.3f} ({values.mean() - half:.3f} to {values.mean() + half:.3f})"


def target_page(scores):
    """Network against baselines: AUC within folds, mean over cohorts, and the difference to the best baseline."""
    rows = []
    for channel, title in CHANNELS.items():
        for subjects in (100, SUBJECTS):
            own = {cell: found for cell, found in scores.items() if cell[1:3] == (subjects, (channel,))}
            if not own:
                continue
            by = {name: [found["auc"] for cell, found in own.items() if cell[3] == name] for name in ("{}", *BASELINES)}
            best = max(BASELINES, key=lambda name: np.mean(by[name]))
            pooled = [found["auc_pooled"] for cell, found in own.items() if cell[3] == "{}"]
            rows.append({
                "channel": title,
                "subjects": subjects,
                "cohorts": len(by["{}"]),
                "network": interval(by["{}"]),
                "network, pooled over folds": f"{np.mean(pooled):.3f}",
                **{text: interval(by[name]) for name, text in BASELINES.items()},
                "network minus the better baseline": interval(np.subtract(by["{}"], by[best])),
            })  # fmt: skip
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


def normalisation_page(scores):
    """The network on the log-Jacobian, its voxels normalised by scan and each by itself: AUC within folds."""
    columns = {"normalisation: scan": {}, "normalisation: voxelwise": VOXELWISE}
    by = {
        title: [found["auc"] for cell, found in scores.items() if cell[3] == json.dumps(changes, sort_keys=True)]
        for title, changes in columns.items()
    }
    row = {"channel": CHANNELS["log_jacobian"], "subjects": SUBJECTS, "cohorts": len(by["normalisation: scan"])}
    row |= {title: interval(aucs) for title, aucs in by.items()}
    return pd.DataFrame([row]).to_markdown(index=False, disable_numparse=True)


def recipe_page(scores):
    """Recipes by number of subjects: AUC within folds, accuracy, log loss and processor seconds."""
    names = {json.dumps(changes, sort_keys=True): name for name, changes in RECIPES.items()} | BASELINES
    rows = []
    for subjects in (50, 300, 1000):
        cohorts = {cell[0] for cell in scores if cell[1] == subjects}
        for key, name in names.items():
            own = [found for cell, found in scores.items() if cell[1] == subjects and cell[3] == key]
            if own and len(own) == len(cohorts):  # all recipes on the same cohorts
                rows.append({
                    "subjects": subjects,
                    "recipe": name,
                    "cohorts": len(own),
                    "AUC": interval([found["auc"] for found in own]),
                    "pooled": f"{np.mean([found['auc_pooled'] for found in own]):.3f}",
                    "accuracy": f"{np.mean([found['accuracy'] for found in own]):.2f}",
                    "log loss": f"{np.mean([found['log_loss'] for found in own]):.2f}",
                    "processor seconds": f"{np.mean([found['seconds'] for found in own]):.0f}",
                })  # fmt: skip
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cohorts", type=int, default=len(SEEDS), help="number of cohorts (default: all)")
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    parser.add_argument("--table", choices=("target", "normalisation", "recipes", "all"), default="all")
    chosen = parser.parse_args()
    seeds = list(SEEDS)[: chosen.cohorts]
    for seed in seeds:
        make_cohort(seed, chosen.cores, ["t1"] if chosen.table == "recipes" else list(CHANNELS))
        print(f"cohort {seed}", flush=True)
    makers = {
        "target": (target_cells, target_page),
        "normalisation": (normalisation_cells, normalisation_page),
        "recipes": (recipe_cells, recipe_page),
    }
    for table, (cells, page) in makers.items():
        if chosen.table in (table, "all"):
            work = list(cells(seeds))
            found = Parallel(chosen.cores, return_as="generator")(delayed(cell)(*one) for one in work)
            scores = {}
            for (group, subjects, channels, changes), result in zip(work, found, strict=True):
                name = changes if isinstance(changes, str) else json.dumps(changes, sort_keys=True)
                scores[group, subjects, channels, name] = result
                print(subjects, *channels, name, f"{result['auc']:.3f}", flush=True)
            (PAGES / f"training_{table}.md").write_text(page(scores) + "\n")


if __name__ == "__main__":
    main()
