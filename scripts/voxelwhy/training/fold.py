"""Train one fold of a study: select its scans and classes, and collect what is stored with the weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from voxelwhy.io.channels import channel_path
from voxelwhy.io.images import Grid, hash_voxels
from voxelwhy.io.provenance import software_versions
from voxelwhy.io.tables import HISTORY, SIDES
from voxelwhy.networks.build import network_options
from voxelwhy.networks.devices import pick_device
from voxelwhy.networks.ensemble import one_model
from voxelwhy.networks.weights import hash_weights
from voxelwhy.training.calibration import calibrate
from voxelwhy.training.checkpoints import checkpoint_key
from voxelwhy.training.feeding import FoldData
from voxelwhy.training.learner import predict_logits
from voxelwhy.training.loop import train_network, train_networks
from voxelwhy.training.volumes import Normaliser, Volumes


def load_fold(folds, t1_paths, mask, settings, *, fold, classes):
    """Load the data of one fold, with the normalisation fitted to the training scans only.

    Parameters
    ----------
    folds : DataFrame by tables.FOLDS
    t1_paths : dict, scan_id to path of the registered scan
    mask : nibabel image, the network mask on the study's grid
    settings : dict, `training` of the study
    fold : int
    classes : dict, {"positive": name, "negative": name}

    Returns
    -------
    data : FoldData
    rows : DataFrame, the fold's scans in the order of `data`
    """
    rows = folds[folds["fold"] == fold].sort_values("scan_id", ignore_index=True)
    seen = np.asarray(mask.dataobj) > 0
    paths = [t1_paths[s] for s in rows["scan_id"]]
    volumes = Volumes(paths, seen, crop=settings["crop"], grid=Grid.of(mask), channels=settings["channels"])
    sides = {side: np.flatnonzero(rows["side"] == side) for side in SIDES}
    targets = (rows["label"] == classes["positive"]).to_numpy(np.int64)
    normaliser = Normaliser.fit(settings["normalisation"], volumes, sides["train"])
    return FoldData(volumes, targets, sides, normaliser, rows["scan_id"].tolist()), rows


def train_fold(folds, t1_paths, mask, settings, *, fold, classes, seed, code, checkpoints, repeat=0, device="auto"):
    """Train one fold, as often as `settings["seeds"]` says, and predict its test scans.

    Parameters
    ----------
    folds, t1_paths, mask, settings, fold, classes : as in `load_fold`
    repeat : int
        0 for the training of the study; others have other initial weights and orders of scans.
    checkpoints : path
        A folder used by this fold only; the caller removes it once the model is stored.

    Returns
    -------
    model : torch.nn.Module, an Ensemble if there are several trainings
    card : dict
        Facts that `networks.weights.save_model` stores together with the weights. `trainings` lists, for each training,
        the number of epochs, the temperature by which logits were divided (None if not calibrated), and the hash of
        its weights.
    history, predictions : DataFrame by tables.HISTORY and tables.PREDICTIONS
    """
    data, rows = load_fold(folds, t1_paths, mask, settings, fold=fold, classes=classes)
    key = _key(data, rows, mask, settings, code, seed, classes)
    members, histories, trainings = [], [], []
    for member in range(repeat * settings["seeds"], (repeat + 1) * settings["seeds"]):
        how = {"seed": seed, "fold": fold, "member": member, "device": device}
        own, history = train_network(data, settings, checkpoint=_checkpoint(checkpoints, key, member), **how)
        temperature = calibrate(own, data, data.targets, settings)
        members.append(own)
        histories.append(history.assign(member=member))
        trainings.append({"epochs": len(history), "temperature": temperature, "weights_sha256": hash_weights(own)})
    model, history = one_model(members), pd.concat(histories, ignore_index=True)[list(HISTORY.columns)]
    predictions = predict(model, data, rows, settings)
    card = {
        "network": settings["network"],
        "options": network_options(settings),
        "spatial_shape": list(data.volumes.shape),
        "affine": Grid.of(mask).affine.tolist(),
        "mask_sha256": hash_voxels(mask.dataobj),
        "classes": dict(classes),
        "crop": settings["crop"],
        "channels": list(settings["channels"]),
        "normalisation": vars(data.normaliser),
        "settings": dict(settings),
        "fold": fold,
        "seed": seed,
        "seeds": settings["seeds"],
        "repeat": repeat,
        "trainings": trainings,
        "device": str(pick_device(device)),
        "n_train": len(data.sides["train"]),
        "subjects_sha256": hash_subjects(rows.loc[rows["side"] != "test", "subject_id"]),
        "weights_sha256": hash_weights(model),
        "versions": software_versions(),
    }
    return model, card, history, predictions


def train_draws(folds, drawn, t1_paths, mask, settings, *, fold, classes, seed, code, checkpoints, device="auto"):
    """Train one fold on several labellings of its subjects, all on the same batches.

    Parameters
    ----------
    drawn : list of DataFrame by tables.FOLDS, `folds` with other labels
    folds, t1_paths, mask, settings, fold, classes, seed, code, checkpoints : as in `train_fold`

    Returns
    -------
    models : list of torch.nn.Module, one for each labelling; Ensembles if `settings["seeds"]` is above 1
    card : dict, what an explanation needs of the card of a trained model: crop, channels, normalisation
    """
    data, rows = load_fold(folds, t1_paths, mask, settings, fold=fold, classes=classes)
    targets, keys = [], []
    for labels in drawn:
        own = labels[labels["fold"] == fold].set_index("scan_id")["label"].loc[rows["scan_id"]]
        targets.append((own == classes["positive"]).to_numpy(np.int64))
        keys.append(_key(data, rows.assign(label=own.to_numpy()), mask, settings, code, seed, classes))
    members = [[] for _ in drawn]
    for member in range(settings["seeds"]):
        paths = [_checkpoint(checkpoints, key, member) for key in keys]
        how = {"seed": seed, "fold": fold, "member": member, "device": device}
        trained = train_networks(data, targets, settings, checkpoints=paths, **how)
        for own, labels, (model, _) in zip(members, targets, trained, strict=True):
            calibrate(model, data, labels, settings, required=False)
            own.append(model)
    card = {"crop": settings["crop"], "channels": list(settings["channels"]), "normalisation": vars(data.normaliser)}
    return [one_model(own) for own in members], card


def _checkpoint(folder, key, member):
    return Path(folder) / (f"{key}-{member}.pt" if member else f"{key}.pt")


def _key(data, rows, mask, settings, code, seed, classes):
    """The name of a training's checkpoint: a hash of everything that determines its outcome."""
    seen_files = [channel_path(p, channel) for p in data.volumes.paths for channel in settings["channels"]]
    files = [[str(p), p.stat().st_size, p.stat().st_mtime_ns] for p in seen_files]
    return checkpoint_key([rows.to_dict("list"), files, hash_voxels(mask.dataobj), settings, code, seed, classes])


def predict(model, data, rows, settings):
    """Predict the fold's test scans, out of sample."""
    indices = data.sides["test"]
    logits = predict_logits(model, data, indices, settings)
    tested = rows.iloc[indices].reset_index(drop=True)
    return pd.DataFrame(
        {
            "fold": tested["fold"],
            "scan_id": tested["scan_id"],
            "subject_id": tested["subject_id"],
            "label": tested["label"],
            "logit_negative": logits[:, 0],
            "logit_positive": logits[:, 1],
            "probability": 1 / (1 + np.exp(logits[:, 0] - logits[:, 1])),
        }
    )


def hash_subjects(subject_ids):
    """Return the SHA-256 (hex) of each subject's id, sorted, to record whom a model has seen without plain ids."""
    return sorted({hashlib.sha256(str(subject).encode()).hexdigest() for subject in subject_ids})
