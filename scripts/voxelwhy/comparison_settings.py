"""The cells of a comparison: every combination of the choices that its config names, each a study of its own."""

from __future__ import annotations

import copy
import itertools
import re
from dataclasses import dataclass

from voxelwhy.channels import WARPS, maps_needed
from voxelwhy.errors import ConfigError


@dataclass(frozen=True)
class Cell:
    """One study of a comparison: its name, its choices in words (setting to value), which repeat, and its config."""

    name: str
    choices: dict
    repeat: int
    config: dict


def make_cells(config, load):
    """The cells of a config with a section `compare`, in the order of its choices.

    Parameters
    ----------
    config : dict, as YAML gives it
    load : function from the config of a study to its checked settings; raises ConfigError

    Returns
    -------
    cells : list of Cell
    refused : list of dict, the choices of each combination that there cannot be, and `reason`, in one line

    Raises
    ------
    ConfigError : a setting or a seed that the config names is none; two values of a choice have one name; all
        combinations are refused.
    """
    section = load(config)["compare"]
    base = {key: value for key, value in config.items() if key != "compare"}
    named = {setting: _labels(setting, values) for setting, values in section["choices"].items()}
    for setting in (*named, *section["repeated"]):
        _require_setting(base, setting, load)
    combinations = [dict(zip(named, values, strict=True)) for values in itertools.product(*named.values())]
    kept, refused = [], []
    for labels in combinations:
        changed = copy.deepcopy(base)
        for setting, label in labels.items():
            put(changed, setting, copy.deepcopy(named[setting][label]))
        try:
            kept.append((labels, changed, load(changed)))
        except ConfigError as error:
            refused.append(labels | {"reason": f"{error.problem}"})
    if not kept:
        raise ConfigError(
            "compare.choices: there is no combination that can be had",
            found=refused[0]["reason"],
            allowed="at least one",
        )
    maps = sorted({name for _, _, settings in kept for name in maps_needed(settings["training"]["channels"])})
    cells = []
    for labels, changed, settings in kept:
        if settings["registration"]["transform"] in WARPS:  # studies of one transform then share registrations
            put(changed, "registration.maps", maps)
        for repeat in range(section["repeats"]):
            cells.append(_cell(config["study"], labels, changed, settings, repeat, section["repeated"]))
    return cells, refused


def _cell(study, labels, changed, settings, repeat, repeated):
    own = copy.deepcopy(changed)
    for setting in repeated:
        put(own, setting, take(settings, setting) + repeat)
    name = "-".join([re.sub(r"[^A-Za-z0-9.]+", "_", label) for label in labels.values()] + [f"{repeat + 1}"])
    return Cell(name, labels, repeat + 1, own | {"study": f"{study}/cells/{name}"})


def put(config, setting, value):
    """Set a value by its dotted name, making the sections on the way."""
    *sections, last = setting.split(".")
    for section in sections:
        if config.get(section) is None:
            config[section] = {}
        config = config[section]
    config[last] = value


def take(settings, setting):
    """The value of a setting by its dotted name."""
    for part in setting.split("."):
        settings = settings[part]
    return settings


def short_names(settings):
    """Dotted names of settings as columns of a table: their last part where that tells them apart."""
    last = [setting.rsplit(".", 1)[-1] for setting in settings]
    return {setting: name if last.count(name) == 1 else setting for setting, name in zip(settings, last, strict=True)}


def _labels(setting, values):
    named = {}
    for value in values:
        label = _in_words(value)
        if label in named or f"{setting}".split(".")[0] in ("study", "compare", "keep", "use_gpu"):
            raise ConfigError(
                "compare.choices: a value that cannot be compared",
                found=f"{setting}: {value}",
                allowed="values of a setting, each once; not study, keep or use_gpu",
            )
        named[label] = value
    return named


def _in_words(value):
    if isinstance(value, dict):
        return "+".join(map(str, value)) or "none"
    if isinstance(value, list):
        return "+".join(map(_in_words, value)) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _require_setting(base, setting, load):
    try:
        take(load(base), setting)
    except (KeyError, TypeError) as error:
        raise ConfigError(
            "compare: this is no setting of the study",
            found=setting,
            allowed="a setting by its sections, such as training.network, seed or simulation.seed",
        ) from error
