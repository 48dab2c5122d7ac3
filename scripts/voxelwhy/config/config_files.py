"""What YAML loses when it reads a config: keys that are given twice, and names that it turns into numbers."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from voxelwhy.errors import ConfigError, require_plain

#: Settings whose keys or values are names from files and tables, as paths of keys; * is any key.
NAMES = (
    ("registration", "skip"),
    ("cohort", "corrupt"),
    ("cohort", "corrupt_in", "*"),
    ("cohort", "classes", "*", "values"),
    ("cohort", "classes", "drop"),
    ("heatmaps", "scans"),
)
#: Paths in a config in which ~ and $NAME are expanded.
PATHS = (
    ("cohort", "table"),
    ("cohort", "data_dir"),
    ("cohort", "adnimerge"),
    ("cohort", "participants"),
    ("cohort", "truth"),
    ("scans", "template"),
    ("atlas", "image"),
    ("atlas", "table"),
    ("model", "weights"),
    ("model", "normalisation"),
    ("training", "mask"),
    ("registration", "store"),
    ("simulation", "store"),
)
#: How YAML writes that a setting has no value.
NOTHING = ("", "~", "null", "Null", "NULL")


def check_files(paths):
    """Refuse config files in which YAML loses something.

    Parameters
    ----------
    paths : config files in YAML, which Snakemake has read

    Raises
    ------
    ConfigError
        A key is given twice, of which YAML would keep the last; or a name without quotes is not the text that stands in
        the file: 0012 is read as the number 10, and no as false. The message names file, line and text.
    """
    for path in paths:
        try:
            root = yaml.compose(Path(path).read_text(encoding="utf-8-sig"), Loader=yaml.SafeLoader)
        except yaml.YAMLError:  # JSON with tabs, which Snakemake has read as well
            continue
        _check_node(root, (), path)


def expand_paths(config):
    """A copy of a config with ~ and $NAME replaced in the paths of `PATHS`, in a single path or a list of them.

    Raises
    ------
    ConfigError : a variable is not set.
    InputError : a path has a word in braces, which Snakemake would take for a wildcard.
    """
    config = dict(config)
    for section, key in PATHS:
        if isinstance(config.get(section), dict) and key in config[section]:
            value = config[section][key]
            placed = [_expand(one, f"{section}.{key}") for one in (value if isinstance(value, list) else [value])]
            config[section] = config[section] | {key: placed if isinstance(value, list) else placed[0]}
    heatmaps = config.get("heatmaps")
    if isinstance(heatmaps, dict) and isinstance(others := heatmaps.get("others"), list):
        others = [
            other | {"file": _expand(other["file"], "heatmaps.others")} if isinstance(other, dict) and "file" in other
            else other
            for other in others
        ]  # fmt: skip
        config["heatmaps"] = heatmaps | {"others": others}
    return config


def _expand(path, setting):
    if not isinstance(path, str):
        return path  # refused by the schema
    expanded = os.path.expanduser(os.path.expandvars(path))
    require_plain(expanded, column=setting)
    if "$" in expanded:
        raise ConfigError(
            f"{setting} names a variable of the environment that is not set",
            found=path,
            hint="export the variable, or write the path out",
        )
    return expanded


def _check_node(node, place, path):
    if isinstance(node, yaml.MappingNode):
        seen = {}
        for key, value in node.value:
            name = str(key.value)
            if (first := seen.get(name)) and name != "<<":
                raise ConfigError(
                    f"{'.'.join((*place, name))} is given twice, and YAML would keep only the last",
                    file=path,
                    row=key.start_mark.line + 1,
                    found=f"{name}, which stands in line {first} too",
                    hint="put both under one key",
                )
            seen[name] = key.start_mark.line + 1
            if _holds_names(place):
                _check_name(key, place, path)
            _check_node(value, (*place, name), path)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            if _holds_names(place):
                _check_name(value, place, path)
            _check_node(value, place, path)
    elif _holds_names(place) and node is not None and node.value not in NOTHING:
        _check_name(node, place, path)


def _holds_names(place):
    return any(
        len(names) == len(place) and all(n in ("*", p) for n, p in zip(names, place, strict=True)) for names in NAMES
    )


def _check_name(node, place, path):
    if not isinstance(node, yaml.ScalarNode) or node.style is not None:  # in quotes
        return
    value = yaml.safe_load(node.value)
    if str(value) != node.value:
        raise ConfigError(
            f"{'.'.join(place)}: put the name in quotes",
            file=path,
            row=node.start_mark.line + 1,
            found=f"{node.value}, which YAML reads as {value!r}",
            allowed=f'"{node.value}"',
        )
