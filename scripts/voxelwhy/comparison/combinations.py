"""The runs of a comparison: each combination of the choices in its config is a study of its own."""

from __future__ import annotations

import copy
import itertools
import re
from collections import Counter
from dataclasses import dataclass

from voxelwhy.errors import ConfigError
from voxelwhy.io.channels import WARPS, maps_needed

#: Column names reserved by the tables of a comparison.
TAKEN = ("subjects", "repeats", "repeat", "method", "folder", "found")


@dataclass(frozen=True)
class Cell:
    """One study of a comparison: its name, choices in words (setting to value), number of the repeat, and config."""

    name: str
    choices: dict
    repeat: int
    config: dict


def make_cells(config, load):
    """Make the runs of a config with a section `compare`, in the order of its choices.

    Parameters
    ----------
    config : dict, as read from YAML
    load : function from the config of a study to its checked settings; raises ConfigError

    Returns
    -------
    `cells` : list of `Cell`, one per combination and repeat
    refused : list of dict, the choices of each combination that is not possible, and the `reason` in one line

    Raises
    ------
    ConfigError : a value is not possible in any combination (an unknown setting, or a value that it does not allow);
        two values or two combinations would have the same name.
    """
    given = load(config)
    section, classes = given["compare"], _class_names(given)
    base = {key: value for key, value in config.items() if key != "compare"}
    named = {setting: _labels(setting, values) for setting, values in section["choices"].items()}
    _require_apart(named)
    combinations = [dict(zip(named, values, strict=True)) for values in itertools.product(*named.values())]
    kept, refused = [], []
    for labels in combinations:
        changed = copy.deepcopy(base)
        for setting, label in labels.items():
            put(changed, setting, copy.deepcopy(named[setting][label]))
        try:
            # The section is included, so that a combination which cannot be compared is refused too.
            settings = load(changed | {"compare": config["compare"]})
            _require_classes(settings, classes)
            kept.append((labels, changed, settings))
        except ConfigError as error:
            refused.append((labels, error))
    _require_each_value(named, kept, refused)
    if "registration.maps" not in named:
        _share_maps(kept)
    cells = [
        _cell(config["study"], labels, changed, settings, repeat, section["repeated"])
        for labels, changed, settings in kept
        for repeat in range(section["repeats"])
    ]
    _require_own_names(cells)
    for last in cells[section["repeats"] - 1 :: section["repeats"]]:
        load(last.config)  # its name may be too long, or its seed too large
    return cells, [labels | {"reason": error.problem} for labels, error in refused]


def _class_names(settings):
    return {side: settings["cohort"]["classes"][side]["name"] for side in ("positive", "negative")}


def _require_classes(settings, classes):
    if _class_names(settings) != classes:
        raise ConfigError(
            "compare.choices: all combinations must have the same classes",
            found=", ".join(_class_names(settings).values()),
            allowed=", ".join(classes.values()),
        )


def _require_apart(settings):
    for one, other in itertools.permutations(settings, 2):
        if other.startswith(f"{one}."):
            raise ConfigError(
                "compare.choices: one choice is part of another, which would replace it",
                found=f"{one} and {other}",
                allowed="settings of which none contains another",
            )


def _require_each_value(named, kept, refused):
    """Raise ConfigError, with the complete reason, if a value is not possible in any combination."""
    if not kept:
        raise ConfigError(f"compare.choices: no combination is possible: {refused[0][1]}")
    for setting, values in named.items():
        had = {labels[setting] for labels, _, _ in kept}
        for label in values:
            if label not in had:
                error = next(error for labels, error in refused if labels[setting] == label)
                raise ConfigError(f"compare.choices: no combination is possible with {setting}: {label}: {error}")


def _require_own_names(cells):
    name, times = Counter(cell.name for cell in cells).most_common(1)[0]
    if times > 1:
        raise ConfigError(
            f"compare.choices: several combinations would have the same folder, {name}",
            found="; ".join(", ".join(cell.choices.values()) for cell in cells if cell.name == name),
            allowed="values that differ in letters or digits",
        )


def _share_maps(kept):
    """Make all combinations that deform scans request the same maps, so that studies can share registrations."""
    deforming = [(changed, settings) for _, changed, settings in kept if settings["registration"]["transform"] in WARPS]
    needed = {
        name
        for _, settings in deforming
        for name in maps_needed(settings["training"]["channels"], settings["registration"]["maps"])
    }
    for changed, _ in deforming:
        put(changed, "registration.maps", sorted(needed))


def _cell(study, labels, changed, settings, repeat, repeated):
    own = copy.deepcopy(changed)
    for setting in repeated:
        put(own, setting, take(settings, setting) + repeat)
    words = [
        re.sub(r"[^A-Za-z0-9.]+", "_", re.sub(r"(?<![A-Za-z0-9])-(?=\d)", "minus", label)).strip("_.")
        for label in labels.values()
    ]
    name = "-".join([*(word or "none" for word in words), f"{repeat + 1}"])
    return Cell(name, labels, repeat + 1, own | {"study": f"{study}/cells/{name}"})


def put(config, setting, value):
    """Set a value by its dotted name and create missing sections; ConfigError if a section on the way is a value."""
    *sections, last = setting.split(".")
    for section in sections:
        if config.get(section) is None:
            config[section] = {}
        config = config[section]
        if not isinstance(config, dict):
            raise ConfigError(
                "compare: this is not a setting of the study",
                found=f"{setting}, and {section} is {config}",
                allowed="a setting by its sections, such as training.network or simulation.effect",
            )
    config[last] = value


def take(settings, setting):
    """Return the value of a setting by its dotted name."""
    for part in setting.split("."):
        settings = settings[part]
    return settings


def short_names(settings):
    """Convert dotted names of settings to column names: their last part, unless another column has the same."""
    last = [setting.rsplit(".", 1)[-1] for setting in settings]
    return {
        setting: name if last.count(name) == 1 and name not in TAKEN else setting
        for setting, name in zip(settings, last, strict=True)
    }


def _labels(setting, values):
    """Return the values of a choice by label; nested settings are labelled by name, with values only if needed."""
    words = [_in_words(value) for value in values]
    if len(set(words)) < len(words):
        words = [_in_words(value, within=True) for value in values]
    if len(set(words)) < len(words) or setting.split(".")[0] in ("study", "compare", "keep", "use_gpu"):
        raise ConfigError(
            "compare.choices: values that cannot be compared",
            found=f"{setting}: {', '.join(words)}",
            allowed="different values of a setting, but not study, keep or use_gpu",
        )
    return dict(zip(words, values, strict=True))


def _in_words(value, *, within=False):
    if isinstance(value, dict):
        words = [f"{key}={_in_words(own, within=True)}" if within else f"{key}" for key, own in value.items()]
        return "+".join(words) or "none"
    if isinstance(value, list):
        return "+".join(_in_words(own, within=within) for own in value) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
