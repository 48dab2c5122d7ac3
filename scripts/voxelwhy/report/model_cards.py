"""Model cards: what was trained on which data, how accurate it is, and what it is for and not for."""

from __future__ import annotations

from tabulate import tabulate

import voxelwhy
from voxelwhy.io.channels import MODALITIES, in_words
from voxelwhy.io.text import count, interval

METRICS = {
    "auc": "AUC",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}
CARD = """\
---
library_name: voxelwhy
license: other
tags: [brain-mri, 3d, explainability{simulated_tag}]
pipeline_tag: image-classification
---

# {network}: {positive} and {negative}, study {study}, split {split}, fold {fold}

A 3D network that classifies {images} as {positive} or {negative}, trained by voxelwhy {version} to be explained.
{simulated}
## Use

```python
from voxelwhy import load_network, occlusion, plot_slices
cnn = load_network("model.safetensors")
mri_scan = cnn.prepare({prepared})  # registered as in the study; masked, cropped, normalised here
heatmap = occlusion(cnn, mri_scan)
plot_slices(mri_scan, overlay=heatmap)
```

The output has two logits, {negative} first. {ensemble}The file has plain names of layers, so that
`safetensors.torch.load_file` reads it without voxelwhy; `preparation.*` are the mask and the normalisation.

## Data

{data}

## Input

{channels}, on a grid of {grid} voxels of {resolution} mm ({space}); transform: {transform}; normalisation:
{normalisation}; crop: {crop}. The network sees {seen}.

## Performance

{performance}

## Intended use and limits

For research on what networks look at in brain scans. It is not a medical device and must not be used for a diagnosis.
Nothing is known about its accuracy for other scanners, sites, ages or diagnoses than those of its data; the report of
the study lists what else its score follows. A heatmap explains this network, not a disease.

## Licence

The code is BSD-3-Clause. No licence is given for the weights: who trained them decides, within the terms of the data.
The agreements of ADNI and OASIS, for example, also concern what is derived from their data.

## Provenance

SHA-256 of the weights {sha}; seed {seed}; {versions}.
"""


def write_card(path, card, facts, *, split, table1, metrics, grid):
    """Write the card of the model of one fold, as README.md.

    Parameters
    ----------
    path : the file to write
    card : dict, what is stored with the weights
    facts : dict with study, simulated, modality, classes, space, transform, resolution_mm
    split : str
    table1 : DataFrame by tables.TABLE1, of the split
    metrics : DataFrame by tables.METRICS, or None if the training data of the weights are unknown
    grid : tuple, voxels of the study's grid along each axis
    """
    classes, fold, channels = facts["classes"], card.get("fold", 0), card.get("channels", ["t1"])
    ensemble = f"It is the mean of {card.get('seeds', 1)} trainings; explain each of `cnn.members` by itself. "
    text = CARD.format(
        network=card["network"],
        study=facts["study"],
        split=split,
        fold=fold,
        version=voxelwhy.__version__,
        **classes,
        images=MODALITIES[facts["modality"]][0],
        prepared=", ".join(f'"{channel}.nii"' for channel in channels),
        ensemble=ensemble if card.get("seeds", 1) > 1 else "",
        simulated_tag=", simulated-data" if facts["simulated"] else "",
        simulated=SIMULATED if facts["simulated"] else "",
        data=describe_data(table1, fold, classes, facts["simulated"]),
        channels=in_words(channels, facts["modality"]).capitalize(),
        grid=" x ".join(map(str, grid)),
        resolution=f"{facts['resolution_mm']:g}",
        space=facts["space"],
        transform=facts["transform"],
        normalisation=card["normalisation"]["kind"],
        crop=card["crop"],
        seen=" x ".join(map(str, card["spatial_shape"])) + " voxels, and 0 outside its mask",
        performance=describe_performance(metrics, fold),
        sha=card.get("weights_sha256", "unknown"),
        seed=card.get("seed", "unknown"),
        versions=", ".join(f"{name} {number}" for name, number in card.get("versions", {}).items()),
    )
    path.write_text(text, encoding="utf-8")


SIMULATED = """
**The scans are simulated**: templates with planted atrophy. The network has seen no real brain.
"""


def describe_data(table1, fold, classes, simulated):
    """Write the subjects and scans of a fold as a table, by side and class, with age and sex."""
    rows = table1[(table1["fold"] == str(fold)) & table1["class"].isin(classes.values())]
    if rows.empty:
        return "The training data of these weights are unknown to the study."
    shown = rows[["side", "class", "subjects", "scans", "age", "female", "male"]]
    head = ["side", "class", "subjects", "scans", "age, mean (SD)", "female", "male"]
    kind = "Simulated scans" if simulated else "Scans"
    return f"{kind} of this fold; all scans of a subject are on one side.\n\n" + _table(shown, head)


def describe_performance(metrics, fold):
    """Write how accurate the model is for subjects that it has not seen: this fold, and all folds of the split."""
    if metrics is None:
        return "Not reported: the training data of these weights are unknown."
    rows = metrics[(metrics["model"] == "cnn") & (metrics["level"] == "subject") & metrics["metric"].isin(METRICS)]
    lines = []
    for metric, title in METRICS.items():
        own, whole = (rows[(rows["metric"] == metric) & (rows["fold"] == name)] for name in (str(fold), "all"))
        cells = [interval(*part[["value", "low", "high"]].iloc[0]) if len(part) else "" for part in (own, whole)]
        if any(cells):
            lines.append([title, *cells])
    n_subjects = count(int(rows.loc[rows["fold"] == "all", "n_subjects"].iloc[0]), "subject")
    own = rows[rows["fold"] == str(fold)]
    n_own = f", {count(int(own['n_subjects'].iloc[0]), 'subject')}" if len(own) else ""
    words = "Out of sample, by subject, with 95 % intervals. The models of the other folds are part of the last column."
    return f"{words}\n\n" + _table(lines, ["", f"this fold{n_own}", f"all folds, {n_subjects}"])


def _table(rows, head):
    rows = rows.to_numpy().tolist() if hasattr(rows, "to_numpy") else rows
    return tabulate(rows, headers=head, tablefmt="github", disable_numparse=True)
