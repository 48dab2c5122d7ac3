"""Checks of the section `model`: existing weights, networks of the user's own, and which splits they allow."""

from __future__ import annotations

from voxelwhy.config.own_modules import find_module
from voxelwhy.config.splits import ALL_SCANS
from voxelwhy.errors import ConfigError

#: Kinds of normalisation that are not fitted to training scans and therefore suit any weights.
STATELESS = ("scan", "none")
#: Values of training.mask that name a mask of the template; any other value is the path of a file.
MASKS = ("brain", "grey_white")


def check_model(settings):
    """Raise ConfigError where the section `model` contradicts the splits.

    Whether it fits the file of the weights is checked when the file is read (`training.existing_weights`).
    """
    if (model := settings.get("model")) is None:
        return
    if "weights" not in model:
        _require_weights(model)
        return
    single = [split["name"] for split in settings["splits"] if split["kind"] != "kfold"]
    for split in settings["splits"]:
        if split["name"] in (*STATELESS, ALL_SCANS):
            raise ConfigError(
                "splits: in a config with a section model, this name has another meaning",
                found=split["name"],
                allowed="another name",
            )
    trained_on, normalisation = model.get("trained_on"), model.get("normalisation")
    if trained_on is not None and trained_on not in single:
        raise ConfigError(
            "model.trained_on must name a split of one fold: one file of weights cannot be the models of several folds",
            found=trained_on,
            allowed=single or "no split of this config",
            hint="add a split of kind holdout or paper_holdout, or omit trained_on: then accuracy is not reported",
        )
    if normalisation is None or normalisation in STATELESS or normalisation.endswith(".npz"):
        return
    if normalisation not in single:
        raise ConfigError(
            "the setting model.normalisation cannot be used",
            found=normalisation,
            allowed=["a .npz file", *(f"the split {name}" for name in single), *STATELESS],
            hint="a kfold has several sets of training scans, and therefore no single normalisation",
        )
    if trained_on not in (None, normalisation):
        raise ConfigError(
            "model.normalisation would be computed from scans that the split of model.trained_on may test",
            found=normalisation,
            allowed=trained_on,
        )


def _require_weights(model):
    """Raise ConfigError unless a section `model` without weights names a network of the user's own."""
    if "architecture" not in model:
        raise ConfigError(
            "the setting model.weights is missing", found=sorted(model), allowed="the path of weights; architecture"
        )
    for key in ("normalisation", "trained_on"):
        if key in model:
            raise ConfigError(
                f"the setting model.{key} applies to existing weights, but none are named",
                found=model[key],
                allowed="both this and model.weights, or neither",
            )


def place_architecture(settings, training):
    """Remove the settings that `model.architecture` replaces: the name of the network and its dropout.

    Parameters
    ----------
    settings : dict, completed by the schema; changed in place
    training : dict, the section `training` of the config itself

    Raises
    ------
    ConfigError : the config sets both a network or a dropout and an architecture, or options without an architecture.
    """
    model = settings.get("model", {})
    if "architecture" not in model:
        if "options" in model:
            raise ConfigError("model.options belong to model.architecture, which is missing", found=model["options"])
        return
    for key, hint in (("network", "remove one of them"), ("dropout", "set it in model.options, under its own name")):
        if key in training:
            raise ConfigError(
                f"training.{key} belongs to a network of voxelwhy, but model.architecture names your own",
                found=f"training.{key}: {training[key]}, model.architecture: {model['architecture']}",
                allowed=f"no training.{key}",
                hint=hint,
            )
        settings["training"].pop(key, None)


def network_settings(settings, folder="."):
    """Return the settings of the network for the rules: its name, and its dropout or its own options.

    Parameters
    ----------
    settings : dict, of the study
    folder : folder of the config, for the message

    Raises
    ------
    ConfigError : the module that `model.architecture` names does not exist. Nothing is imported yet.
    """
    if "architecture" not in (model := settings.get("model", {})):
        return {key: settings["training"][key] for key in ("network", "dropout")}
    module = model["architecture"].partition(":")[0]
    if find_module(module) is None:
        raise ConfigError(
            "there is no module of the name at the start of model.architecture",
            found=model["architecture"],
            allowed=f"module:factory, with {module.replace('.', '/')}.py next to the config ({folder}), in a folder on "
            "PYTHONPATH, or installed",
        )
    return {"network": model["architecture"], "options": model.get("options", {})}
