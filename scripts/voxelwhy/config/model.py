"""Settings of what others made: which weights and heatmaps can be asked for, and which splits that leaves."""

from __future__ import annotations

from voxelwhy.config.own_modules import find_module
from voxelwhy.config.splits import ALL_SCANS
from voxelwhy.errors import ConfigError

#: Kinds of normalisation that learn nothing from scans, and so can be named for any weights.
STATELESS = ("scan", "none")
#: Values of training.mask that name a mask of the template; any other value is a file.
MASKS = ("brain", "grey_white")


def check_model(settings):
    """Raise ConfigError unless the section `model`, where there is one, goes with the splits.

    That what it names fits the file of the weights shows only when the file is read (`foreign_weights.open_weights`).
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
                "splits: beside a section model this name means something else", found=split["name"], allowed="another"
            )
    trained_on, normalisation = model.get("trained_on"), model.get("normalisation")
    if trained_on is not None and trained_on not in single:
        raise ConfigError(
            "model.trained_on names no split of one fold: one file of weights cannot be the models of several folds",
            found=trained_on,
            allowed=single or "no split of this config",
            hint="add a split of kind holdout or paper_holdout, or leave trained_on out: then no accuracy is given",
        )
    if normalisation is None or normalisation in STATELESS or normalisation.endswith(".npz"):
        return
    if normalisation not in single:
        raise ConfigError(
            "the setting model.normalisation cannot be used",
            found=normalisation,
            allowed=["a .npz file", *(f"the split {name}" for name in single), *STATELESS],
            hint="a kfold has several sets of training scans, so that no one normalisation is learnt from it",
        )
    if trained_on not in (None, normalisation):
        raise ConfigError(
            "model.normalisation would be learnt from scans that the split of model.trained_on may test",
            found=normalisation,
            allowed=trained_on,
        )


def _require_weights(model):
    """Raise ConfigError unless a section `model` without weights is there for a network of one's own."""
    if "architecture" not in model:
        raise ConfigError(
            "the setting model.weights is missing", found=sorted(model), allowed="the path of weights; architecture"
        )
    for key in ("normalisation", "trained_on"):
        if key in model:
            raise ConfigError(
                f"the setting model.{key} is about weights that exist already, and none are named",
                found=model[key],
                allowed="model.weights beside it, or none of both",
            )


def place_architecture(settings, training):
    """Take out of the settings what `model.architecture` stands in for: the network's name and its dropout.

    Parameters
    ----------
    settings : dict, filled in by the schema; changed in place
    training : dict, the section of that name as the config has it

    Raises
    ------
    ConfigError : the config names a network or a dropout beside an architecture, or options without one.
    """
    model = settings.get("model", {})
    if "architecture" not in model:
        if "options" in model:
            raise ConfigError("model.options are those of model.architecture, which is missing", found=model["options"])
        return
    for key, hint in (("network", "remove one of them"), ("dropout", "give it below model.options, by its own name")):
        if key in training:
            raise ConfigError(
                f"training.{key} is that of a network of voxelwhy, and model.architecture names one of your own",
                found=f"training.{key}: {training[key]}, model.architecture: {model['architecture']}",
                allowed=f"no training.{key}",
                hint=hint,
            )
        settings["training"].pop(key, None)


def network_settings(settings, folder="."):
    """What the section `training` of the rules has of the network: its name and its dropout or its own options.

    Parameters
    ----------
    settings : dict, of the study
    folder : where the config lies, for the message

    Raises
    ------
    ConfigError : the module that `model.architecture` names is not there. Nothing is imported yet.
    """
    if "architecture" not in (model := settings.get("model", {})):
        return {key: settings["training"][key] for key in ("network", "dropout")}
    module = model["architecture"].partition(":")[0]
    if find_module(module) is None:
        raise ConfigError(
            "there is no module of the name that model.architecture begins with",
            found=model["architecture"],
            allowed=f"module:factory, with {module.replace('.', '/')}.py beside the config ({folder}), in a folder of "
            "PYTHONPATH, or installed",
        )
    return {"network": model["architecture"], "options": model.get("options", {})}
