"""Splits of a study, with those that `evaluate_on` adds: its models on the cohorts of other studies."""

from __future__ import annotations

from voxelwhy.errors import ConfigError

#: Kind and name of the split for weights whose training data are unknown: all scans are tested, none is trained on.
ALL_SCANS = "all_scans"


def external_splits(settings):
    """Return an entry S_on_N for each studied split S and each study N of `evaluate_on`: the models of S on scans of N.

    Returns
    -------
    dict, name to the entry of S with its own `name`, `of` (S) and `cohort` (N)
    """
    return {
        f"{name}_on_{cohort}": split | {"name": f"{name}_on_{cohort}", "of": name, "cohort": cohort}
        for name, split in studied_splits(settings).items()
        for cohort in settings["evaluate_on"]
    }


def reported_splits(settings):
    """Return all reported splits by name: those of the study, each followed by its models on other cohorts."""
    external = external_splits(settings)
    reported = {}
    for name, split in studied_splits(settings).items():
        reported[name] = split
        reported |= {other: entry for other, entry in external.items() if entry["of"] == name}
    return reported


def check_external(settings):
    """Raise ConfigError unless `evaluate_on` names other studies and the study has models to test on them.

    Whether the cohorts fit and share no subject is checked once scans are registered (`evaluation.external`).
    """
    names = settings["evaluate_on"]
    if not names:
        return
    seen = {settings["study"].lower(): "this study itself"}
    for name in names:
        if name.lower() in seen:
            raise ConfigError(
                f"evaluate_on: {name} is {seen[name.lower()]} (upper and lower case are not distinguished)",
                found=names,
                allowed="names of other studies, each once",
                hint="the test scans of the study itself are always evaluated",
            )
        seen[name.lower()] = "named twice"
    if ALL_SCANS in studied_splits(settings):
        raise ConfigError(
            "evaluate_on: the training data of model.weights are unknown, so any cohort may overlap with them",
            found=names,
            allowed="evaluate_on together with model.trained_on, or no evaluate_on",
            hint="name the split that they were trained on; or run a study of that cohort with these weights: all its "
            "scans are then explained, and accuracy is not reported",
        )
    taken = {split["name"].lower() for split in settings["splits"]}
    for name in external_splits(settings):
        if name.lower() in taken:
            raise ConfigError(
                "splits: a split has the name that evaluate_on gives to another split on a study",
                found=name,
                allowed="another name for the split",
            )
        taken.add(name.lower())


def studied_splits(settings):
    """Return the splits that are explained and reported, by name: those of the config, unless it names weights.

    Existing weights are the model of the one split that `model.trained_on` names. Without it any scan may have been
    used for their training, and all scans are explained.
    """
    splits = {split["name"]: split for split in settings["splits"]}
    if "weights" not in settings.get("model", {}):
        return splits
    if (name := settings["model"].get("trained_on")) is not None:
        return {name: splits[name]}
    return {ALL_SCANS: {"kind": ALL_SCANS, "name": ALL_SCANS, "validation_fraction": 0}}
