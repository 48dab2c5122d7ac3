"""When maps of single scans are probed, and what the config may ask for."""

from __future__ import annotations

import pytest

from helpers.settings_cases import load
from voxelwhy.config.probes import probes_maps
from voxelwhy.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "probed"),
    [
        ("{}", False),  # 1 mm
        ("registration: {resolution_mm: 4}", True),
        ("{registration: {resolution_mm: 4}, trust: {probes: false}}", False),
        ("trust: {probes: true}", True),  # a boolean of YAML
        ("{registration: {resolution_mm: 4}, heatmaps: {target: predicted}}", False),
    ],
)
def test_coarse_studies_are_probed_unless_the_config_says_otherwise(text, probed):
    settings = load(text)
    assert probes_maps(settings) == probed


def test_probes_that_cannot_be_had_are_refused():
    with pytest.raises(ConfigError, match=r"cannot be probed(.|\n)*heatmaps\.target: predicted"):
        load("{trust: {probes: true}, heatmaps: {target: predicted}}")
