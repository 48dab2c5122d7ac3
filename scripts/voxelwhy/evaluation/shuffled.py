"""Networks trained on shuffled diagnoses, as a reference: their heatmaps cannot depend on the disease."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from voxelwhy.heatmaps.explain_scans import choose_subjects, explain_scans
from voxelwhy.heatmaps.merge_parts import group_maps, group_table
from voxelwhy.heatmaps.region_sums import region_means
from voxelwhy.networks.weights import save_model
from voxelwhy.registry import METHODS, load
from voxelwhy.training.fold import train_fold
from voxelwhy.training.volumes import counted_voxels

log = logging.getLogger(__name__)


def shuffle_labels(folds, *, seed, draw):
    """Return the folds with the labels permuted over training and validation subjects, separately in each fold.

    All scans of a subject receive the label of another subject's first scan, so that each class keeps about its size.
    Test subjects keep their labels.

    Parameters
    ----------
    folds : DataFrame by tables.FOLDS
    seed, draw : int
    """
    shuffled = []
    for fold, rows in folds.groupby("fold", sort=True):
        rng = np.random.default_rng(np.random.SeedSequence([seed, draw, int(fold)]))
        learnt = rows[rows["side"] != "test"]
        labels = learnt.sort_values("scan_id").groupby("subject_id", sort=True)["label"].first()
        exchanged = pd.Series(rng.permutation(labels.to_numpy()), index=labels.index)
        label = rows["label"].where(rows["side"] == "test", rows["subject_id"].map(exchanged))
        shuffled.append(rows.assign(label=label))
    return pd.concat(shuffled, ignore_index=True)


def explain_shuffled(
    folds, t1_paths, atlas, network_mask, training, heatmaps, *, classes, seed, draw, code, checkpoints, device="auto"
):
    """Train each fold on shuffled diagnoses, and explain its test scans of the positive class by every method.

    These maps cannot depend on the disease. They show the anatomy and the biases of the method.

    Parameters
    ----------
    folds : DataFrame by tables.FOLDS
    t1_paths : dict, scan_id to path of the registered scan
    atlas : (label image, table by tables.ATLAS, brain mask image), all on the study's grid
    network_mask : nibabel image, the network mask
    training : dict, `training` of the study
    heatmaps : dict; methods with their options, target, output, most_subjects (or None), scans (explained in any case)
    classes : {"positive": name, "negative": name}
    seed, draw : int; draws differ in labels and initial weights
    code : dict of str to str, the job's digest
    checkpoints : path of a folder used by this draw only

    Returns
    -------
    DataFrame by tables.SHUFFLED

    References
    ----------
    Adebayo 2018, Sanity checks for saliency maps (data randomization test).
    """
    labels, regions, brain = atlas
    scratch = Path(tempfile.mkdtemp())
    try:
        models, predictions = {}, []
        how = {"classes": classes, "seed": seed + 1_000_003 * draw, "code": code, "checkpoints": checkpoints}
        shuffled = shuffle_labels(folds, seed=seed, draw=draw)
        for fold in sorted(folds["fold"].unique()):
            model, card, _, tested = train_fold(
                shuffled, t1_paths, network_mask, training, fold=int(fold), device=device, **how
            )
            models[int(fold)] = scratch / f"fold-{fold}.pt"
            save_model(models[int(fold)], model, card)
            predictions.append(tested)
        tested = pd.concat(predictions, ignore_index=True)
        scans = choose_subjects(tested, heatmaps["most_subjects"], kept=heatmaps["scans"], seed=seed)
        scans = scans[scans["label"] == classes["positive"]]
        shared = {"target": heatmaps["target"], "output": heatmaps["output"], "scans": []}
        rows = []
        for method, options in heatmaps["methods"].items():
            _, sums, _ = explain_scans(
                getattr(load(METHODS, method, "heatmap method"), method), models, scans, t1_paths, atlas,
                shared | {"options": options or {}, "network": training["network"]},
                classes=classes, maps_dir=scratch, network_mask=network_mask, device=device,
            )  # fmt: skip
            table = group_table(sums.facts(), classes)
            maps = group_maps([sums.values], counted_voxels(brain, network_mask), table, classes)
            mean = next(mean for row, scaled, mean, _ in maps if scaled and row.group == classes["positive"])
            inside = np.asarray(brain.dataobj) > 0
            by_region = region_means(np.maximum(mean, 0), labels.dataobj, inside, regions["region_id"])
            rows.append(pd.DataFrame({"method": method, "region_id": regions["region_id"], "relevance": by_region}))
            log.info("%s of networks trained on shuffled diagnoses, draw %d", method, draw)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return pd.concat(rows, ignore_index=True)
