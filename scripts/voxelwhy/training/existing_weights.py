"""Use existing weights instead of training a network: check that they fit the study, and record their source."""

from __future__ import annotations

import hashlib
import operator
from pathlib import Path

import numpy as np
import torch

from voxelwhy.config.model import STATELESS
from voxelwhy.errors import ConfigError, InputError
from voxelwhy.io.arrays import read_arrays
from voxelwhy.io.images import Grid, hash_voxels
from voxelwhy.io.provenance import software_versions
from voxelwhy.networks.build import build_network
from voxelwhy.networks.ensemble import one_model
from voxelwhy.networks.layers import in_channels_last
from voxelwhy.networks.weights import fit_weights, hash_weights, read_weights
from voxelwhy.training.fold import hash_subjects, load_fold, predict
from voxelwhy.training.volumes import Normaliser, Volumes, inverse_spread


def open_weights(model_settings, training, mask, *, classes):
    """Open the file of `model.weights` and check that it fits the study, as far as this is possible without scans.

    Parameters
    ----------
    model_settings : dict, `model` of the study: weights, and optionally normalisation and trained_on
    training : dict, of `training` of the study: network, channels and crop
    mask : nibabel image, the brain on the study's grid
    classes : dict, {"positive": name, "negative": name}

    Returns
    -------
    model : torch.nn.Module, in eval mode, on the CPU; an Ensemble if the file holds several trainings
    card : dict for `networks.weights.save_model`; its `normalisation` is None if it is fitted to scans later

    Raises
    ------
    ConfigError : the file is a model of voxelwhy that was made with another network, crop, grid or classes, or for
        which a second normalisation is given; or it is a state dict without a normalisation.
    ModelError, InputError : see `networks.weights.read_weights`, `fit_weights` and `file_normaliser`.
    """
    path = model_settings["weights"]
    weights, card = read_weights(path)
    volumes = Volumes([], np.asarray(mask.dataobj) > 0, crop=training["crop"], channels=training["channels"])
    study = {key: training[key] for key in ("network", "crop", "channels")}
    study |= {"spatial_shape": list(volumes.shape), "affine": Grid.of(mask).affine.tolist(), "classes": dict(classes)}
    study |= {"mask_sha256": hash_voxels(mask.dataobj)}
    normalisation = model_settings.get("normalisation")
    options = training.get("options", {}) | {key: training[key] for key in ("first_pool",) if key in training}
    card = study | {"options": options} | _require_same(card or {}, study, path)
    if "normalisation" not in card:
        card["normalisation"] = _named_normaliser(normalisation, path, volumes)
    elif normalisation is not None:
        raise ConfigError(
            "model.normalisation is given, but these weights are a model of voxelwhy, which contains its own",
            file=path,
            found=normalisation,
            allowed="no model.normalisation",
            hint="remove the setting",
        )
    with torch.random.fork_rng(devices=[]):  # the initial values, replaced below, must not advance the caller's seed
        channels = len(training["channels"])
        how = {"image_channels": channels, **card["options"]}
        members = [build_network(training["network"], volumes.shape, **how) for _ in range(card.get("seeds", 1))]
        model = one_model(members)
    fit_weights(model, weights, path)
    source = {"file": Path(path).name, "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()}
    source |= {"normalisation": normalisation or "its own", "trained_on": model_settings.get("trained_on")}
    card = card | {"source": source, "weights_sha256": hash_weights(model), "versions": software_versions()}
    return model.eval(), card


def adopt_weights(folds, t1_paths, mask, model_settings, training, *, classes, learnt_from=None):
    """Use the weights of `model.weights` as the model of a split with one fold, and predict its test scans.

    Parameters
    ----------
    folds : DataFrame by tables.FOLDS, fold 0 only
    t1_paths : dict, scan_id to path of the registered scan
    mask, model_settings, classes : as in `open_weights`
    training : dict, of `training` of the study: network, channels, crop, normalisation, batch_size, precision, threads
    learnt_from : DataFrame by tables.FOLDS, optional
        The split to whose training scans the normalisation is fitted, if `model.normalisation` names one.

    Returns
    -------
    model : torch.nn.Module
    card : dict that `networks.weights.save_model` stores together with the weights
    predictions : DataFrame by tables.PREDICTIONS

    Raises
    ------
    InputError : a model of voxelwhy has seen a test subject of this split, which `model.trained_on` names.
    ConfigError, ModelError : see `open_weights`.
    """
    torch.set_num_threads(training["threads"])
    model, card = open_weights(model_settings, training, mask, classes=classes)
    if card["normalisation"] is None:
        learnt, _ = load_fold(learnt_from, t1_paths, mask, training, fold=0, classes=classes)
        card |= {"normalisation": vars(learnt.normaliser)}
    data, rows = load_fold(folds, t1_paths, mask, training | {"normalisation": "none"}, fold=0, classes=classes)
    if model_settings.get("trained_on") is not None:
        _require_unseen(card, rows, model_settings)
    data.normaliser = Normaliser.of_card(card["normalisation"])
    model = in_channels_last(model)  # as in training: faster, and bit-identical to it
    return model, card, predict(model, data, rows, training)


def file_normaliser(path, volumes):
    """Read a voxelwise normalisation from a .npz file: arrays `sd` or `scale` (1 / SD), and `mean`.

    Without `mean`, no mean is subtracted (`voxelwise_sd`). The arrays are on the study's grid, or on the part of it
    that the network sees (`training.crop`), and have the shape (channels, x, y, z) if there are several channels. As in
    training, voxels outside the mask become 0, and with `sd` also voxels with a negligible SD.

    Parameters
    ----------
    path : path of the file
    volumes : Volumes, which defines the grid, its crop and the brain

    Raises
    ------
    InputError : an array is missing or has another shape, or it contains NaN, infinity or a negative SD inside the
        brain.
    """
    arrays = read_arrays(path)
    spread = [name for name in ("sd", "scale") if name in arrays]
    if len(spread) != 1:
        allowed = "either sd or scale (1 / SD), and mean unless no mean is subtracted"
        raise InputError("the file holds no normalisation", file=path, found=sorted(arrays), allowed=allowed)
    values = {}
    for name in [name for name in ("mean", *spread) if name in arrays]:
        array = arrays[name] if arrays[name].ndim > 3 else arrays[name][None]
        if array.shape[1:] == volumes.grid_shape:
            array = array[:, *volumes.box]
        if array.shape != (len(volumes.channels), *volumes.shape):
            raise InputError(
                "this array is not on the study's grid",
                file=path,
                column=name,
                found=arrays[name].shape,
                allowed=f"{volumes.grid_shape} (the grid), or {volumes.shape} (the part of it that the network sees)"
                + f", for each of {len(volumes.channels)} channels" * (len(volumes.channels) > 1),
                hint="see registration.resolution_mm and training.crop; nothing is resampled",
            )
        inside = array[:, volumes.mask]
        if not np.isfinite(inside).all() or (name == "sd" and (inside < 0).any()):
            found = f"{np.sum(~np.isfinite(inside))} voxels of NaN or infinity, {np.sum(inside < 0)} below 0"
            raise InputError("this array has invalid values inside the brain", file=path, column=name, found=found)
        values[name] = np.where(volumes.mask, array, 0).astype(np.float64)
    if "sd" in values:
        values["scale"] = np.stack([inverse_spread(channel, volumes.mask) for channel in values["sd"]])
    scale = values["scale"]
    if "mean" not in values:
        return Normaliser("voxelwise_sd", None, scale.astype(np.float32))
    return Normaliser("voxelwise", values["mean"].astype(np.float32), scale.astype(np.float32))


def _named_normaliser(named, path, volumes):
    """Return the normalisation that `model.normalisation` names, as a card stores it, or None if it names a split."""
    if named is None:
        raise ConfigError(
            "the setting model.normalisation is missing: these weights are a plain state dict and contain none",
            file=path,
            allowed="a .npz file (mean, and sd or scale), a split of the study, scan, or none",
            hint="name the normalisation with which these weights were trained: any other makes heatmaps meaningless",
        )
    if named in STATELESS:
        return vars(Normaliser(named))
    return vars(file_normaliser(named, volumes)) if named.endswith(".npz") else None


def _require_same(card, study, path):
    """Return the card, or raise ConfigError unless it matches the study: nothing is converted."""
    places = {
        "network": "training.network",
        "crop": "training.crop",
        "channels": "training.channels",
        "spatial_shape": "registration.resolution_mm, training.crop",
        "affine": "registration.resolution_mm",
        "mask_sha256": "the network mask",
        "classes": "cohort.classes",
    }
    for key, place in places.items():
        numbers = key in ("spatial_shape", "affine")
        same = np.allclose if numbers and np.shape(card.get(key)) == np.shape(study[key]) else operator.eq
        if key in card and not same(card[key], study[key]):
            raise ConfigError(
                f"mismatch of {key.replace('_', ' ')} between the study and these weights, a model of voxelwhy",
                file=path,
                found=card[key],
                allowed=study[key],
                hint=f"set {place} as it was when this model was trained",
            )
    return card


def _require_unseen(card, rows, model_settings):
    """Raise InputError if the card shows that the model has seen a test subject."""
    seen = set(card.get("subjects_sha256", ()))
    tested = rows.loc[rows["side"] == "test", "subject_id"].unique()
    known = [subject for subject in tested if seen.intersection(hash_subjects([subject]))]
    if known:
        raise InputError(
            f"these weights were trained on test subjects of the split {model_settings['trained_on']}, so its accuracy "
            "would be biased",
            file=model_settings["weights"],
            found=f"{len(known)} of {len(tested)} test subjects, such as {known[0]}",
            hint="set model.trained_on to the split that they were trained on, or leave it out",
        )
