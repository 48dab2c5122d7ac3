"""Settings of another study's cohort as test: which splits come of `evaluate_on`, and what it does not go with."""

from __future__ import annotations

from voxelwhy.errors import ConfigError

#: Kind and name of the split for weights of which nobody says where they were trained: all scans, and none trains.
ALL_SCANS = "all_scans"


def external_splits(settings):
    """For each studied split S and each study N of `evaluate_on` an entry S_on_N: the models of S on the scans of N.

    Returns
    -------
    dict, name to the entry of S with a `name` of its own, `of` (S) and `cohort` (N)
    """
    return {
        f"{name}_on_{cohort}": split | {"name": f"{name}_on_{cohort}", "of": name, "cohort": cohort}
        for name, split in studied_splits(settings).items()
        for cohort in settings["evaluate_on"]
    }


def reported_splits(settings):
    """All splits that are reported, by name: those of the study, each followed by its models on other cohorts."""
    external = external_splits(settings)
    reported = {}
    for name, split in studied_splits(settings).items():
        reported[name] = split
        reported |= {other: entry for other, entry in external.items() if entry["of"] == name}
    return reported


def check_external(settings):
    """Raise ConfigError unless `evaluate_on` names other studies, and the study has models that it can test.

    Whether the cohorts fit and share nobody shows only when their scans are registered (`external.cohort`).
    """
    names = settings["evaluate_on"]
    if not names:
        return
    seen = {settings["study"].lower(): "this study itself"}
    for name in names:
        if name.lower() in seen:
            raise ConfigError(
                f"evaluate_on: {name} is {seen[name.lower()]}, but for large and small letters at most",
                found=names,
                allowed="names of other studies, each once",
                hint="the study's own test scans are evaluated anyway",
            )
        seen[name.lower()] = "named twice"
    if ALL_SCANS in studied_splits(settings):
        raise ConfigError(
            "evaluate_on: where the weights of model.weights were trained is not known, so that no cohort is known to "
            "be new to them",
            found=names,
            allowed="evaluate_on beside model.trained_on, or none",
            hint="name the split that they were trained on; or study that cohort by itself with these weights: all its "
            "scans are then explained, and no accuracy is given",
        )
    taken = {split["name"].lower() for split in settings["splits"]}
    for name in external_splits(settings):
        if name.lower() in taken:
            raise ConfigError(
                "splits: one split has the name that evaluate_on makes of another split and a study",
                found=name,
                allowed="another name for the split",
            )
        taken.add(name.lower())


def studied_splits(settings):
    """The splits that are explained and reported, by name: those of the config, unless it brings weights.

    Weights are one model: that of the one split that `model.trained_on` names. Without that name any scan may be one
    that they were trained on, and all scans are explained.
    """
    splits = {split["name"]: split for split in settings["splits"]}
    if "weights" not in settings.get("model", {}):
        return splits
    if (name := settings["model"].get("trained_on")) is not None:
        return {name: splits[name]}
    return {ALL_SCANS: {"kind": ALL_SCANS, "name": ALL_SCANS, "validation_fraction": 0}}
