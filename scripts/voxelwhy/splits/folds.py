"""Folds: which scans are for training, validation and test, drawn by subject, stratified and seeded."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold, train_test_split

from voxelwhy.errors import ConfigError, InputError
from voxelwhy.splits.subjects import subject_classes

STAGE = "split_folds"


def split_folds(selected, split, *, classes, seed):
    """Assign every selected scan to one side of every fold; a subject's scans always stay together.

    Parameters
    ----------
    selected : DataFrame by the schema SELECTED (scan_id, subject_id and label are read)
    split : one entry of the config's `splits`
        `kfold` (folds): every subject is tested once. `holdout` (test_subjects): one fold in which that many subjects
        of each class are tested. `paper_holdout` (test_subjects): the same, drawn as by Rieke et al. 2018, in table
        order and without the study's seed. `validation_fraction` of the training subjects of each class (at least
        one of each, unless it is 0) are for validation. `all_scans`: one fold in which every scan is tested, for
        existing weights whose training data are unknown.
    classes : {"positive": name, "negative": name}; a subject with any positive scan counts as positive
    seed : the study's seed, an integer of at least 0

    Returns
    -------
    folds : DataFrame by the schema FOLDS, sorted by fold and in the order of `selected`

    Raises
    ------
    InputError : a class has too few subjects, or a label is not one of `classes`.
    ConfigError : there is no such kind of split.

    References
    ----------
    Rieke et al. 2018, section 2.2; Wen et al. 2020 (arXiv 1904.07773) on leakage where splits are not by subject.
    """
    subjects = subject_classes(selected, classes)
    draws = {"kfold": _kfold, "holdout": _holdout, "paper_holdout": _paper_holdout, "all_scans": _all_scans}
    draw = draws.get(split["kind"])
    if draw is None:
        allowed = ["kfold", "holdout", "paper_holdout"]
        raise ConfigError("there is no kind of split of this name", found=split["kind"], allowed=allowed)
    frames = []
    for fold, test in enumerate(draw(subjects, split, classes, seed)):
        validation = _validation(subjects.drop(test), split, fold, classes, seed)
        frame = selected[["scan_id", "subject_id", "label"]].reset_index(drop=True)
        side = np.where(frame["subject_id"].isin(test), "test", "train")
        side = np.where(frame["subject_id"].isin(validation), "validation", side)
        frame.insert(0, "side", side.astype(object))
        frame.insert(0, "fold", fold)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _kfold(subjects, split, classes, seed):
    _require_subjects(subjects, classes, split["folds"], f"{split['folds']} folds need at least {split['folds']}")
    subjects = subjects.sort_index()
    folds = StratifiedKFold(split["folds"], shuffle=True, random_state=_random_state(seed, split, "test"))
    return [subjects.index[test] for _, test in folds.split(subjects, subjects)]


def _holdout(subjects, split, classes, seed):
    return _hold_out(subjects.sort_index(), split, classes, _random_state(seed, split, "test"))


def _paper_holdout(subjects, split, classes, seed):
    return _hold_out(subjects, split, classes, 0)


def _all_scans(subjects, split, classes, seed):
    return [subjects.index]


def _hold_out(subjects, split, classes, random_state):
    n = split["test_subjects"]
    _require_subjects(subjects, classes, n + 1, f"{n} of each class are tested and at least one is needed for training")
    test = [_draw(subjects, name, n, random_state) for name in (classes["positive"], classes["negative"])]
    return [test[0].append(test[1])]


def _validation(training, split, fold, classes, seed):
    """Draw the validation subjects from `training` (Series: class by subject); none if the fraction is 0."""
    fraction = split["validation_fraction"]
    if fraction == 0:
        return []
    names = [classes["positive"], classes["negative"]]
    _require_subjects(training, classes, 2, f"fold {fold} needs at least one each for training and validation")
    state = _random_state(seed, split, f"validation {fold}")
    training = training.sort_index()
    numbers = [int((training == name).sum()) for name in names]
    numbers = [min(max(1, round(fraction * n)), n - 1) for n in numbers]
    drawn = [_draw(training, name, n, state) for name, n in zip(names, numbers, strict=True)]
    return drawn[0].append(drawn[1])


def _draw(subjects, name, n, random_state):
    of_class = subjects.index[subjects == name]
    return pd.Index(train_test_split(of_class, test_size=n, random_state=random_state)[1])


def _require_subjects(subjects, classes, needed, why):
    for name in (classes["positive"], classes["negative"]):
        n = int((subjects == name).sum())
        if n < needed:
            raise InputError(
                f"too few subjects of class {name} for this split",
                found=f"{n} subjects",
                allowed=f"at least {needed}: {why}",
                hint="use fewer folds, test or validation subjects in the config, or add subjects",
            )


def _random_state(seed, split, purpose):
    # By name and purpose, so that adding a split or validation subjects to the config changes no other draw.
    name = f"{STAGE} {split.get('name', split['kind'])} {purpose}".encode()
    return int(np.random.SeedSequence([int(seed), *name]).generate_state(1)[0])
