"""When maps of single scans are probed, and what the config may ask for."""

from __future__ import annotations

import pytest

from helpers.settings_cases import load
from voxelwhy.config.probes import probes_maps, trainings_compared, why_not_compared
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


@pytest.mark.parametrize(
    ("text", "n", "reason"),
    [
        ("{}", 0, "on grids of 2 mm or finer, training each fold again takes hours"),
        ("registration: {resolution_mm: 4}", 5, ""),
        ("{registration: {resolution_mm: 4}, trust: {seeds: 0}}", 0, "trust.seeds: 0"),
        ("trust: {seeds: 2}", 2, ""),
        ("{registration: {resolution_mm: 4}, heatmaps: {target: true}}", 0, "this study has heatmaps.target: true"),
    ],
)
def test_trainings_are_compared_in_coarse_studies_unless_the_config_says_otherwise(text, n, reason):
    settings = load(text)
    assert trainings_compared(settings) == n
    assert reason in why_not_compared(settings) and bool(reason) == bool(why_not_compared(settings))


@pytest.mark.parametrize("seeds", ["1", "21", "-1", "often", "true", "2.5"])
def test_a_number_of_trainings_that_is_not_possible_is_refused(seeds):
    with pytest.raises(ConfigError, match=r"trust\.seeds cannot be used(.|\n)*2 to 20, 0 \(none\), or\s+auto"):
        load(f"trust: {{seeds: {seeds}}}")


def test_further_trainings_that_are_not_possible_are_refused():
    with pytest.raises(ConfigError, match=r"cannot be compared(.|\n)*heatmaps\.target: predicted(.|\n)*set it to 0"):
        load("{trust: {seeds: 3}, heatmaps: {target: predicted}}")
