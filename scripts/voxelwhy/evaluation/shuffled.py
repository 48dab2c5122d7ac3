"""Networks trained on shuffled diagnoses, as a reference: their heatmaps cannot depend on the disease."""

from __future__ import annotations

import logging
from collections import defaultdict

import numpy as np
import pandas as pd
import torch

from voxelwhy.heatmaps.explain_scans import Explainer, choose_subjects
from voxelwhy.heatmaps.region_sums import relevance_by_region
from voxelwhy.networks.devices import pick_device
from voxelwhy.networks.ensemble import two_logits
from voxelwhy.splits.permute import permute_diagnoses
from voxelwhy.training.fold import train_draws
from voxelwhy.training.volumes import counted_voxels

log = logging.getLogger(__name__)


def explain_shuffled(
    folds, subjects, t1_paths, atlas, network_mask, training, heatmaps,
    *, fold, draws, classes, seed, code, checkpoints, device="auto",
):  # fmt: skip
    """Train one fold on shuffled diagnoses, draw by draw, and explain its test scans by every method.

    Everything is done as for the true diagnoses: a draw differs from the study in its labels alone, including those by
    which test scans belong to the positive class. Its maps cannot depend on the disease. They show the anatomy and the
    biases of the method.

    Parameters
    ----------
    folds : DataFrame by tables.FOLDS
    subjects : DataFrame of age and sex by subject_id, as in `permute_diagnoses`
    t1_paths : dict, scan_id to path of the registered scan
    atlas : (label image, table by tables.ATLAS, brain mask image), all on the study's grid
    network_mask : nibabel image, the network mask
    training : dict, `training` of the study
    heatmaps : dict; methods with their options, target, output, most_subjects (or None), scans (explained in any case)
    fold : int
    draws : sequence of int, numbers of the draws
    classes : {"positive": name, "negative": name}
    seed : int
    code : dict of str to str, the job's digest
    checkpoints : path of a folder used by this job only

    Returns
    -------
    DataFrame by tables.SHUFFLED: mean enrichment over the fold's subjects of the positive class

    References
    ----------
    Adebayo 2018, Sanity checks for saliency maps (data randomization test).
    """
    labels, regions, brain = atlas
    drawn = {draw: permute_diagnoses(folds, subjects, draw=draw) for draw in draws}
    how = {"fold": fold, "classes": classes, "seed": seed, "code": code, "checkpoints": checkpoints, "device": device}
    models, card = train_draws(folds, list(drawn.values()), t1_paths, network_mask, training, **how)
    label_values, counted = np.asarray(labels.dataobj).astype(np.int32), counted_voxels(brain, network_mask)
    explainers = {
        (draw, method): _explainer(method, options, model.to(pick_device(device)), card, network_mask, label_values,
                                   heatmaps)
        for draw, model in zip(drawn, models, strict=True)
        for method, options in heatmaps["methods"].items()
    }  # fmt: skip
    tested = {draw: _positive_scans(own, fold, heatmaps, classes, seed) for draw, own in drawn.items()}
    by_subject, scans = defaultdict(lambda: defaultdict(list)), sorted(set().union(*tested.values()))
    read = next(iter(explainers.values())).read
    for number, scan in enumerate(scans, start=1):
        volume = read(t1_paths[scan])
        for (draw, method), explain in explainers.items():
            if scan in tested[draw]:
                heatmap = _of_positive(explain, volume, heatmaps["target"])
                found = relevance_by_region(heatmap, label_values, regions, counted)["enrichment"].to_numpy()
                by_subject[draw, method][tested[draw][scan]].append(found)
        log.info("scan %d of %d explained by networks trained on shuffled diagnoses", number, len(scans))
    rows = []
    for draw, method in explainers:
        mean, n = _mean_of_subjects(by_subject[draw, method].values(), len(regions))
        facts = {"fold": fold, "draw": draw, "method": method, "region_id": regions["region_id"]}
        rows.append(pd.DataFrame(facts | {"enrichment": mean, "n_subjects": n}))
    return pd.concat(rows, ignore_index=True)


def _explainer(method, options, model, card, network_mask, labels, heatmaps):
    settings = {"options": options or {}, "output": heatmaps["output"]}
    return Explainer.by(method, model, card, network_mask, labels, settings)


def _positive_scans(folds, fold, heatmaps, classes, seed):
    """Return the test scans of the positive class in a labelling, each with its subject, that the study explains."""
    tested = folds[folds["side"] == "test"]
    # The study draws its subjects among those of all folds.
    chosen = choose_subjects(tested, heatmaps["most_subjects"], kept=heatmaps["scans"], seed=seed)
    positive = chosen[(chosen["label"] == classes["positive"]) & (chosen["fold"] == fold)]
    return dict(zip(positive["scan_id"], positive["subject_id"], strict=True))


def _of_positive(explain, volume, target):
    """Return the map of a scan of the positive class, as the study averages it (`explain_scans`)."""
    if target != "predicted":
        heatmap = explain(volume, 1)
    else:
        with torch.inference_mode():
            image = torch.from_numpy(volume[None]).to(explain.options["device"])
            heatmap = explain(volume, int(two_logits(explain.model(image)).argmax()))
    return heatmap if target == "positive" else np.maximum(heatmap, 0)


def _mean_of_subjects(maps, n_regions):
    """Return the mean over subjects of the means over each subject's maps, and how many subjects have one.

    A map without a value is left out, as in `regions.aggregate`.
    """
    means = np.array([_mean(np.array(own))[0] for own in maps]).reshape(-1, n_regions)
    return _mean(means)


def _mean(rows):
    """Return the mean of each column over its values that are not NaN, and their number."""
    known = np.isfinite(rows)
    n = known.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known, rows, 0).sum(axis=0) / n, n
