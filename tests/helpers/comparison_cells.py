"""Results of runs of a comparison, as `comparison.cells.gather_study` collects them."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

CLASSES = {"positive": "AD", "negative": "CN"}
METHODS = ("occlusion", "grad_cam")
REGIONS = [f"{name}_{side}" for name in ("Hippocampus", "Amygdala", "Insula", "Cuneus", "Lingual") for side in "LR"]
#: Volumes that grow with the place of a region in the list.
VOLUME = {name: 100.0 * (k + 1) for k, name in enumerate(REGIONS)}


def truth_row(method, *, auprc=0.6, draws=(), **changes):
    """The row of a method in the table of truth, with the AUPRC of its draws."""
    draws = [float(value) for value in draws]
    mean, n = (float(np.mean(draws)), len(draws)) if draws else (np.nan, 0)
    row = {"method": method, "region_auprc": auprc, "region_chance": 0.3, "null_95": 0.42, "p_regions": 0.3}
    row |= {"share_inside": 0.2, "share_chance": 0.1, "shuffled_auprc": mean, "n_shuffled": n, "draws": draws}
    return row | {"p": 0.3, "p_family": 0.6, "verdict": "not detected" if n >= 19 else "no verdict"} | changes


def make_cell(choices, repeat, rng, *, shift=1.0, enrichment=None, volume=None, folder="", **truth):
    """A run with 20 subjects; `truth` goes to the row of every method (`truth_row`)."""
    n = 40
    label = np.where(np.arange(n) % 2, "AD", "CN")
    probability = 1 / (1 + np.exp(-(rng.normal(size=n) + shift * (label == "AD"))))
    rows = {"fold": [0] * n, "scan_id": [f"s{k}" for k in range(n)], "subject_id": [f"p{k // 2}" for k in range(n)]}
    auc = roc_auc_score(label == "AD", probability)
    facts = {"value": auc, "low": auc - 0.1, "high": auc + 0.1, "n_subjects": n // 2, "n_scans": n}
    enrichment = enrichment or {name: float(rng.random()) for name in REGIONS}
    volume = volume or dict.fromkeys(enrichment, 100.0) | {k: v for k, v in VOLUME.items() if k in enrichment}
    return {
        "cell": f"{'-'.join(choices.values())}-{repeat}",
        "choices": choices,
        "repeat": repeat,
        "folder": folder,
        "auc": {"cnn": facts, "baseline": facts | {"value": 0.7}},
        "predictions": rows | {"label": label.tolist(), "probability": probability.tolist()},
        "truth": [truth_row(method, **truth) for method in METHODS],
        "methods": {m: {"share_outside": 0.25, "enrichment": enrichment, "volume": volume} for m in METHODS},
    }


def four_combinations(rng, **truth):
    """Two transforms by two networks, in two repeats each."""
    return [
        make_cell({"registration.transform": t, "training.network": n}, k, rng, **truth)
        for t in ("affine", "syn_quick")
        for n in ("small", "resnet18")
        for k in (1, 2)
    ]


def with_audit(cell, raised=(), *, regions=0):
    """The run with an audit of three properties that raises some of them, and so many regions by class."""
    names = ("age", "sex (female)", "similarity to the template")
    rows = [
        {"check": "differs", "property": n, "group": "all", "p_family": 0.01 if n in raised else 0.5} for n in names
    ]
    rows += [row | {"check": "follows", "group": group} for row in rows for group in CLASSES.values()]
    rows.append({"check": "nuisances_alone", "property": ", ".join(names), "value": 0.8, "p_family": np.nan})
    found = {"n_raised": regions, "least_p_family": 0.02 if regions else 0.4}
    methods = {method: own | {"class_regions": dict(found)} for method, own in cell["methods"].items()}
    return cell | {"audit": rows, "methods": methods}
