"""Settings of a study: the config is checked against the schema, and its defaults are filled in."""

from __future__ import annotations

import copy
import difflib
import math
import os
import re
from functools import lru_cache
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator

from voxelwhy.config.checks import check_imported, check_settings
from voxelwhy.config.model import check_model, place_architecture
from voxelwhy.config.recipes import place_recipe
from voxelwhy.config.splits import check_external
from voxelwhy.errors import ConfigError
from voxelwhy.io.tables import LEAST_DRAWS

# Keywords that the walk below handles itself; jsonschema checks all others.
WALKED = {"properties", "items", "additionalProperties", "oneOf", "$ref", "$defs", "default"}
NUMBER = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def load_settings(config, schema_path):
    """Check a config and fill in the defaults: the schema's, and those that depend on the network.

    Parameters
    ----------
    config : dict, as YAML gives it
    schema_path : path of workflow/schemas/config.schema.yaml

    Returns
    -------
    settings : dict with every setting, keys in the schema's order; loading it again changes nothing. The constants of
        a simulation are not filled in here: see `cohort.simulation.constants.load_study`

    Raises
    ------
    ConfigError
        A misspelt key (the nearest correct one is named), a value outside its range, a missing setting, or settings
        that contradict each other.
    """
    schema = _read_schema(Path(schema_path))
    settings = _fill(config, schema, schema, "")
    settings["splits"] = [{"kind": split["kind"], "name": split["kind"]} | split for split in settings["splits"]]
    training = config.get("training") or {}
    place_architecture(settings, training)
    place_recipe(settings, training)
    # Networks are trained that often again; somebody with scans of their own should ask for that.
    known = "simulation" in settings or "truth" in settings["cohort"]
    settings["evaluation"].setdefault("shuffled", LEAST_DRAWS if known else 0)
    for section in ("training", "evaluation"):
        # Keys that are filled in only here would otherwise come last.
        filled, order = settings[section], resolve(schema["properties"][section], schema)["properties"]
        settings[section] = {key: filled[key] for key in order if key in filled} | filled
    _share_out_subjects(settings)
    _snap_occlusion(settings)
    place_tables(settings["cohort"])
    place_people(settings["cohort"])
    check_settings(settings)
    check_model(settings)
    check_imported(settings)
    check_external(settings)
    return settings


@lru_cache
def _read_schema(path):
    # A comparison checks the settings of hundreds of studies.
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def resolve(schema, root):
    """Return a schema node with its $ref followed; keywords next to the $ref take precedence."""
    while "$ref" in schema:
        target = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema


def _fill(value, schema, root, path):
    """Fill the defaults of `schema` into `value`; each node is checked by itself, so that a message names its key."""
    schema = _branch(value, resolve(schema, root), root, path)
    kind = schema.get("type")
    if isinstance(kind, list) and "array" in kind:
        # A single value or a list is allowed.
        kind = "array" if isinstance(value, list | tuple) else None
    elif isinstance(kind, list) and "object" in kind:
        kind = "object" if value is None or isinstance(value, dict) else None
    if kind == "object":
        value = {} if value is None else value
        if isinstance(value, dict):
            # YAML reads the name 12 as a number; a name that it changes (0012) was refused with its line in the file.
            value = {str(key): entry for key, entry in value.items()}
            value = _fill_object(value, schema, root, path)
    elif kind == "array":
        value = [] if value is None else value
        if isinstance(value, list | tuple) and "items" in schema:
            value = [_fill(item, schema["items"], root, f"{path}[{i}]") for i, item in enumerate(value)]
    else:
        value = _as_meant(value, schema)
    _validate(value, schema, path)
    return value


def _fill_object(value, schema, root, path):
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    free = [key for key in value if key not in properties]
    if free and others is False:
        _refuse_key(free[0], properties, root, path)
    filled = {}
    for key, node in properties.items():
        if key in value:
            filled[key] = _fill(value[key], node, root, _join(path, key))
        elif "default" in (node := resolve(node, root)):
            filled[key] = _fill(copy.deepcopy(node["default"]), node, root, _join(path, key))
    # Where names are free (the regions of a simulation), each entry follows one schema.
    others = others if isinstance(others, dict) else {}
    return filled | {key: _fill(copy.deepcopy(value[key]), others, root, _join(path, key)) for key in free}


def _branch(value, schema, root, path):
    """Return the branch of a oneOf whose constant (cohort.source, splits.kind) is that of the value."""
    if "oneOf" not in schema:
        return schema
    value = {} if value is None else value
    branches = [resolve(branch, root) for branch in schema["oneOf"]]
    key = next(name for name, node in branches[0]["properties"].items() if "const" in node)
    by_name = {branch["properties"][key]["const"]: branch for branch in branches}
    fallback = next((name for name, b in by_name.items() if "default" in b["properties"][key]), None)
    if not isinstance(value, dict):
        raise ConfigError(f"the setting {path} cannot be used", found=value, allowed=_allowed({"type": "object"}))
    name = value.get(key, fallback)
    if not isinstance(name, str) or name not in by_name:
        near = difflib.get_close_matches(str(name), by_name, n=1)
        raise ConfigError(
            f"the setting {_join(path, key)} cannot be used" if key in value else f"{_join(path, key)} is missing",
            found=name,
            allowed=list(by_name),
            hint=f"did you mean {near[0]}?" if near else None,
        )
    return by_name[name]


def _as_meant(value, schema):
    """Correct what YAML reads differently from what people mean: 1e-4 as text, true as a boolean, 5.0 as a float."""
    kind = schema.get("type")
    if isinstance(value, bool) and str(value).lower() in schema.get("enum", []):
        return str(value).lower()
    if (kind == "number" or "number" in (kind or [])) and isinstance(value, str) and NUMBER.fullmatch(value):
        return float(value)
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _validate(value, schema, path):
    node = {key: part for key, part in schema.items() if key not in WALKED}
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"the setting {path} cannot be used", found=value, allowed=_allowed(schema))
    for error in Draft202012Validator(node).iter_errors(value):
        if error.validator == "required":
            missing = next(key for key in error.validator_value if key not in value)
            raise ConfigError(
                f"the setting {_join(path, missing)} is missing", allowed=f"{path or 'a study'} must have {missing}"
            )
        in_quotes = isinstance(value, bool) and "string" in schema.get("type", [])
        raise ConfigError(
            f"the setting {path} cannot be used" if path else "this is not a config",
            found=value,
            allowed=_allowed(schema),
            hint="put the word in quotes: YAML reads yes, no, on and off as true and false" if in_quotes else None,
        )


def _allowed(schema):
    """Describe the values that a node of the schema allows."""
    if "enum" in schema:
        return ", ".join(schema["enum"])
    kinds = {"object": "settings, as 'name: value'", "array": "a list", "string": "text", "integer": "a whole number"}
    kinds |= {"boolean": "true or false", "number": "a number"}
    kind = schema.get("type", "")
    words = " or ".join(kinds[k] for k in ([kind] if isinstance(kind, str) else kind) if k in kinds)
    limits = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    limits |= {
        "minItems": "with at least",
        "maxItems": "with at most",
        "minProperties": "with at least",
        "maxLength": "of a length of at most",
    }
    ranges = [f"{word} {schema[key]}" for key, word in limits.items() if key in schema]
    ranges += ["each entry once"] if schema.get("uniqueItems") else []
    words = ", ".join([words, *ranges])
    return f"{words}. {schema['description']}" if "description" in schema else words


def _refuse_key(key, properties, root, path):
    near = difflib.get_close_matches(str(key), properties, n=1, cutoff=0.5)
    elsewhere = [name for name in _all_keys(root, root) if name.split(".")[-1] == str(key)]
    hint = f"did you mean {_join(path, near[0])}?" if near else None
    if not near and elsewhere:
        hint = f"did you mean {elsewhere[0]}?"
    raise ConfigError(
        f"there is no setting {_join(path, key)}", found=key, allowed=list(properties) or "no options", hint=hint
    )


def _all_keys(node, root, path=""):
    """Yield the dotted names of all settings."""
    node = resolve(node, root)
    inner = [node[key] for key in ("items", "additionalProperties") if isinstance(node.get(key), dict)]
    for branch in (*node.get("oneOf", []), *inner):
        yield from _all_keys(branch, root, path)
    for key, child in node.get("properties", {}).items():
        yield _join(path, key)
        yield from _all_keys(child, root, _join(path, key))


def _join(path, key):
    return f"{path}.{key}" if path else str(key)


def place_tables(cohort):
    """Resolve relative paths of the cohort's tables below its data folder, so that a config names the folder once.

    A path that exists relative to the working directory of snakemake is left as it is.
    """
    folder = cohort.get("data_dir")
    for key in ("table", "adnimerge"):
        if folder and key in cohort:
            several = isinstance(cohort[key], list)
            placed = [_below(folder, path) for path in (cohort[key] if several else [cohort[key]])]
            cohort[key] = placed if several else placed[0]


def place_people(cohort):
    """Name the dataset that has the diagnoses of derivatives, where these lie in its folder and have no table."""
    if cohort["source"] != "bids" or "participants" in cohort:
        return
    folder = Path(os.path.abspath(cohort["data_dir"]))
    if (folder / "participants.tsv").exists() or any(folder.glob("sub-*/sub-*_sessions.tsv")):
        return
    # As derivatives/fmriprep, or derivatives/<version>/fmriprep.
    above = (place for place in list(folder.parents)[:3] if (place / "participants.tsv").exists())
    if (found := next(above, None)) is not None:
        cohort["participants"] = str(found)


def _below(folder, path):
    if os.path.isabs(path) or os.path.exists(path) or Path(path).is_relative_to(folder):
        return path
    return os.path.join(folder, path)


def _share_out_subjects(settings):
    """Replace the total number of simulated subjects by the number in each group."""
    simulation = settings.get("simulation", {})
    if isinstance(simulation.get("subjects"), int | float):
        number = int(simulation["subjects"])
        simulation["subjects"] = {"CN": number - number // 2, "Dementia": number // 2, "MCI": 0, "converter": 0}


def _snap_occlusion(settings):
    """Round the lengths of the occlusion to whole voxels, and the window to an even number of them.

    Every caption, table and digest then states the millimetres that were used.
    """
    if (occlusion := settings["heatmaps"]["methods"].get("occlusion")) is None:
        return
    resolution = settings["registration"]["resolution_mm"]
    for key, unit in (("size_mm", 2 * resolution), ("stride_mm", resolution)):
        length = round(max(1, round(occlusion[key] / unit)) * unit, 6)
        occlusion[key] = int(length) if float(length).is_integer() else length
