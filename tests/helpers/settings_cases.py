"""What the tests of the config start from: the schema, a minimal config, and a way to change it."""

from __future__ import annotations

import copy

import yaml

from helpers.paths import SCHEMA as SCHEMA_PATH
from voxelwhy.config.settings import load_settings

SCHEMA = yaml.safe_load(SCHEMA_PATH.read_text())
MINIMAL = {"study": "mine", "cohort": {"table": "table.csv"}}
SEXES = "{positive: {name: F, values: [F]}, negative: {name: M, values: [M]}}"


def load(text="", base=MINIMAL):
    config = copy.deepcopy(base)
    for key, value in (yaml.safe_load(text) or {}).items():
        config[key] = config[key] | value if isinstance(value, dict) and isinstance(config.get(key), dict) else value
    return load_settings(config, SCHEMA_PATH)
