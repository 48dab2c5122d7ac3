"""Settings and tables, by their schemas, from which tests of the report are made."""

from __future__ import annotations

import numpy as np
import pandas as pd

from voxelwhy.io.tables import REGIONS, TRUTH

CLASSES = {"positive": "AD", "negative": "CN"}
HEATMAPS = {"target": "predicted", "output": "probability", "methods": {"occlusion": {"size_mm": 40}}}
CONFIG = {
    "registration": {"resolution_mm": 3, "transform": "affine", "n4": True},
    "training": {"network": "small", "learning_rate": 0.001, "epochs": 20, "keep": "last"},
    "splits": [{"kind": "kfold", "folds": 5}],
    "heatmaps": {"target": "predicted", "output": "logit", "methods": {"grad_cam": {}, "occlusion": {"size_mm": 40}}},
    "evaluation": {"bootstrap": 500, "truth_threshold": 0.03, "permutations": 2000},
}
PEOPLE = {"simulated": False, "n_subjects": 20, "n_scans": 30}


def predictions(n=20):
    frame = pd.DataFrame({"fold": np.arange(n) % 2, "subject_id": [f"p{i}" for i in range(n)]})
    return frame.assign(
        label=["AD", "AD", "CN", "CN"] * (n // 4),
        probability=np.random.default_rng(0).random(n),
        scan_id=frame["subject_id"],
    )


def truth_table(draws=19, **changes):
    """Occlusion, which is the best of 20 labellings, and Grad-CAM, which is not; without verdict below 19 draws."""
    row = {name: 0.1 for name in TRUTH.columns if name.endswith("chance")} | {"region_ndcg": 0.6, "ndcg_chance": 0.3}
    row |= {"region_spearman": 0.4, "voxel_auprc": 0.3, "voxel_ndcg": 0.2, "share_inside": 0.2, "change_auprc": 0.5}
    row |= {"change_voxel_auprc": 0.4, "null_95": 0.25, "p_regions": 0.01, "n_regions": 134, "n_truth_regions": 21}
    row |= {"n_changed_regions": 47, "n_voxels": 1000, "n_truth_voxels": 30, "threshold": 0.02, "n_permutations": 1000}
    drawn = dict.fromkeys(("shuffled_auprc", "shuffled_sd", "shuffled_low", "shuffled_high"), np.nan)
    if draws:
        drawn = {"shuffled_auprc": 0.25, "shuffled_sd": 0.05, "shuffled_low": 0.15, "shuffled_high": 0.4}
    row |= drawn | {"n_shuffled": draws}
    found = {"method": "occlusion", "region_auprc": 0.8, "z": 3.1, "p": 0.05, "p_family": 0.05, "verdict": "detected"}
    missed = {"method": "grad_cam", "region_auprc": 0.1, "z": -2.0, "p": 0.9, "p_family": 1.0}
    frame = pd.DataFrame([row | found, row | missed | {"verdict": "not detected"}])[list(TRUTH.columns)]
    if draws < 19:
        frame = frame.assign(verdict="no verdict")
    return frame.assign(**({"z": np.nan, "p": np.nan, "p_family": np.nan} if not draws else {}) | changes)


def with_baseline(truth):
    """The table as a study has it: after the methods, the two maps of the baseline, which are a family of their own."""
    best = truth[truth["method"] == "occlusion"]
    return pd.concat([truth, *(best.assign(method=f"baseline_{kind}") for kind in ("weights", "pattern"))])


def region_rows(names, enrichment, *, draws=0, p_family=np.nan):
    """A table by the REGIONS schema of one group."""
    frame = pd.DataFrame({"region_id": range(1, len(names) + 1), "region": names, "enrichment": enrichment})
    frame["rank"] = frame["enrichment"].rank(ascending=False).astype(int)
    n = {"group": "AD", "n_subjects": 9, "n_scans": 12, "volume_mm3": 100.0, "n_shuffled": draws}
    frame = frame.assign(**n, p_family=p_family, p=p_family, z=2.5 if draws else np.nan)
    frame["shuffled_mean"], frame["shuffled_sd"] = (1.1, 0.2) if draws else (np.nan, np.nan)
    for figure in ("enrichment", "share", "total"):
        frame[figure] = frame["enrichment"] if figure == "enrichment" else 0.1
        frame[f"{figure}_low"], frame[f"{figure}_high"] = frame[figure] - 0.5, frame[figure] + 0.5
    return frame[list(REGIONS.columns)]
