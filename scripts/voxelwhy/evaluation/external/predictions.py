"""Predictions of a study's models on the scans of another study, with the models' own normalisation and crop."""

from __future__ import annotations

import torch

from voxelwhy.errors import InputError
from voxelwhy.networks.layers import in_channels_last
from voxelwhy.networks.weights import load_model
from voxelwhy.training.fold import hash_subjects, load_fold, predict
from voxelwhy.training.volumes import Normaliser


def predict_external(model_path, folds, t1_paths, mask, training, *, fold, classes):
    """Predict the scans of another study with the model of one fold; nothing is fitted again.

    Parameters
    ----------
    model_path : path of the model of that fold; its card contains normalisation and crop
    folds : DataFrame by tables.FOLDS, of the other study's scans (`external.folds.external_folds`)
    t1_paths : dict, scan_id to path of the registered scan
    mask : nibabel image, the network mask
    training : dict, of `training` of the study: network, channels, batch_size, precision, threads
    fold : int
    classes : {"positive": name, "negative": name}

    Returns
    -------
    predictions : DataFrame by tables.PREDICTIONS

    Raises
    ------
    InputError : the model was trained on a subject that it would classify.
    ShapeError : a scan is not on the grid of the mask.
    """
    torch.set_num_threads(training["threads"])
    model, card = load_model(model_path, own=training["network"])
    settings = training | {"crop": card["crop"], "normalisation": "none"}
    data, rows = load_fold(folds, t1_paths, mask, settings, fold=fold, classes=classes)
    _require_unseen(card, rows, model_path)
    data.normaliser = Normaliser.of_card(card["normalisation"])
    model = in_channels_last(model)  # as in training: faster, and bit-identical to it
    return predict(model, data, rows, settings)


def _require_unseen(card, rows, model_path):
    """Raise InputError if the card, which existing weights may bring along, lists a subject to be classified."""
    seen, subjects = set(card.get("subjects_sha256", ())), rows["subject_id"].unique()
    known = [subject for subject in subjects if seen.intersection(hash_subjects([subject]))]
    if known:
        raise InputError(
            "this model was trained on subjects of the cohort that would test it",
            file=model_path,
            found=f"{len(known)} of {len(subjects)} subjects, such as {known[0]}",
            allowed="none of them",
            hint="evaluate these weights on another cohort, or take these subjects out of its table",
        )
