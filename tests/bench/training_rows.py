"""Rows of the bench about training: samples a second against the original's way, and what bfloat16 does to accuracy."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import torch
import yaml
from joblib import Parallel, delayed

from bench import cases
from bench.original_training import BATCH_SIZE, LEARNING_RATE, NiftiScans, train_as_original
from bench.results import FOLDER, ROOT, Line, code_of
from bench.timing import Spread, in_turn, ratios, timed
from voxelwhy.config.settings import load_settings
from voxelwhy.evaluation.metrics import score_predictions
from voxelwhy.io.images import save_image, save_int16
from voxelwhy.io.tables import FOLDS, SELECTED, read_table
from voxelwhy.networks.build import build_network
from voxelwhy.training.bfloat16 import has_bfloat16
from voxelwhy.training.checkpoints import checkpoint_key
from voxelwhy.training.fold import load_fold, predict
from voxelwhy.training.loop import train_network

CLASSES = {"positive": "AD", "negative": "CN"}
N_SCANS = 5  # one step an epoch; a whole volume in plain float32 takes half a minute a step on two cores
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
DEMO = ROOT / "config" / "config.yaml"
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Accuracy:
    """Out-of-sample figures of one precision: value and 95 % interval over subjects."""

    work: str
    precision: str
    n_scans: int
    n_subjects: int
    accuracy: tuple[float, float, float]
    auc: tuple[float, float, float]


def write_scans(folder, n_scans, template=None):
    """Scans as registration leaves them (int16, uncompressed) and as the original read them (float32, gzipped).

    Returns
    -------
    folds : DataFrame by tables.FOLDS; all scans train
    paths : dict, scan_id to the uncompressed file; the other lies next to it, `.nii.gz`
    """
    t1, mask = template or cases.template()
    inside, base = np.asarray(mask.dataobj) > 0, np.asarray(t1.dataobj)
    rng, rows, paths = np.random.default_rng(2018), [], {}
    for number in range(n_scans):
        name = f"scan{number:02d}"
        gain, noise = rng.normal(600, 60), rng.normal(0, 20, base.shape)
        volume = np.where(inside, base * gain + noise, 0).astype(np.float32)
        paths[name] = str(Path(folder, f"{name}.nii"))
        save_int16(paths[name], volume, t1.affine)
        save_image(paths[name] + ".gz", volume, t1.affine)
        rows.append((0, "train", name, f"subject{number:02d}", list(CLASSES.values())[number % 2]))
    return pd.DataFrame(rows, columns=["fold", "side", "scan_id", "subject_id", "label"]), paths


def training(least, *, repeats, full, template=None, network="rieke2018", n_scans=N_SCANS):
    """Samples a second of one epoch, reading included; ours with each of the choices that make it fast, one by one."""
    del full  # an epoch of a few scans tells as much
    _, mask = template or cases.template()
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        folds, paths = write_scans(folder, n_scans, template)
        whole, _ = load_fold(folds, paths, mask, _settings(network, threads, crop="none"), fold=0, classes=CLASSES)
        seen = whole.volumes.mask
        mean, scale = np.where(seen, whole.normaliser.mean[0], 0), whole.normaliser.scale[0]
        scans = NiftiScans([f"{path}.gz" for path in paths.values()], whole.targets, mean, scale)
        model = build_network(network, mask.shape)
        ways = {"the original's way": timed(partial(train_as_original, model, scans, threads=threads))}
        for precision, crop in _ways():
            settings = _settings(network, threads, crop=crop, precision=precision)
            data, _ = load_fold(folds, paths, mask, settings, fold=0, classes=CLASSES)
            train = partial(train_network, data, settings, seed=0, fold=0, device="cpu")
            ways[f"{precision}, crop: {crop}"] = timed(train)
        seconds = in_turn(ways, repeats)
    torch.set_num_threads(threads)
    original = seconds.pop("the original's way")
    best = min(seconds, key=lambda name: sum(seconds[name]))
    return [
        Line(
            f"training {network}, {name}", "the original's way", "times faster", ratios(original, taken),
            Spread.of(t / n_scans for t in taken), Spread.of(t / n_scans for t in original),
            least if name == best else None, run=f"{n_scans} scans, batches of {BATCH_SIZE}",
        )
        for name, taken in seconds.items()
    ]  # fmt: skip


def _ways():
    """Precision and crop of each way of ours; bfloat16 only where the processor has it (elsewhere it takes minutes)."""
    return [(p, crop) for p in PRECISIONS for crop in ("none", "brain") if p == "float32" or has_bfloat16()]


def _settings(network, threads, **changes):
    """Training as in the paper (the schema's defaults), for one epoch."""
    fixed = {"optimiser": "adam", "learning_rate": LEARNING_RATE, "weight_decay": 0.0, "dropout": 0.8, "keep": "last"}
    fixed |= {"average": "none", "seeds": 1, "calibrate": "none"}
    fixed |= {"schedule": "constant", "class_weights": "none", "augmentation": {}}
    fixed |= {"normalisation": "voxelwise", "batch_size": BATCH_SIZE, "epochs": 1, "precision": "float32"}
    return fixed | {"network": network, "channels": ["t1"], "threads": threads} | changes


def accuracy(*, repeats, full):
    """Accuracy and AUC on the embedded cohort, its networks trained in float32 and in bfloat16.

    One that was stopped goes on where it stood.
    """
    del repeats, full
    study = ROOT / "results" / "demo"
    wanted = [study / "splits/kfold/folds.tsv", study / "template/network_mask.nii.gz"]
    command = [sys.executable, "-m", "snakemake", "--cores", "all", *(str(path.relative_to(ROOT)) for path in wanted)]
    subprocess.run(command, cwd=ROOT, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    settings = load_settings(yaml.safe_load(DEMO.read_text()), SCHEMA)
    folds, selected = read_table(wanted[0], FOLDS), read_table(study / "cohort/selected.tsv", SELECTED)
    paths = {name: str(ROOT / path) for name, path in zip(selected["scan_id"], selected["t1"], strict=True)}
    jobs = [(precision, int(fold)) for precision in PRECISIONS for fold in sorted(folds["fold"].unique())]
    seed, mask = settings["seed"], nib.load(wanted[1])
    trained = Parallel(n_jobs=-1)(
        delayed(_predictions)(settings["training"] | {"precision": precision}, folds, paths, mask, fold, seed)
        for precision, fold in jobs
    )
    return [
        _accuracy(precision, [table for (own, _), table in zip(jobs, trained, strict=True) if own == precision], seed)
        for precision in PRECISIONS
    ]


def _predictions(settings, folds, paths, mask, fold, seed):
    """Out-of-sample predictions of one fold, its network trained by `settings`."""
    data, rows = load_fold(folds, paths, mask, settings, fold=fold, classes=CLASSES)
    key = checkpoint_key([settings, rows.to_dict("list"), seed, code_of("accuracy")])
    checkpoint = FOLDER / "checkpoints" / f"{key}.pt"
    model, _ = train_network(data, settings, seed=seed, fold=fold, checkpoint=checkpoint, device="cpu")
    return predict(model, data, rows, settings)


def _accuracy(precision, predictions, seed):
    scores = score_predictions(pd.concat(predictions, ignore_index=True), model="cnn", classes=CLASSES, seed=seed)
    pooled = scores[(scores["level"] == "subject") & (scores["fold"] == "all")].set_index("metric")
    figures = {name: tuple(pooled.loc[name, ["value", "low", "high"]].astype(float)) for name in ("accuracy", "auc")}
    n_scans, n_subjects = (int(pooled[column].iloc[0]) for column in ("n_scans", "n_subjects"))
    return Accuracy(f"embedded cohort, {len(predictions)} folds", precision, n_scans, n_subjects, **figures)
