"""The constants of the embedded cohort: one place for each, and every one can be set in a config."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import yaml
from jsonschema import Draft202012Validator

from helpers.paths import ROOT, SCHEMA
from voxelwhy.cohort.simulation import plan, scans
from voxelwhy.cohort.simulation.cohort import simulate_cohort
from voxelwhy.cohort.simulation.constants import CONSTANTS, SECTIONS, fill_constants, load_study
from voxelwhy.comparison.combinations import make_cells
from voxelwhy.config.settings import load_settings
from voxelwhy.errors import ConfigError

SMALL = {
    "seed": 7,
    "resolution_mm": 6,
    "working_mm": 4,
    "subjects": {"CN": 1, "Dementia": 1, "MCI": 1, "converter": 1},
    "visits": [["Screening"]],
}
#: Another value of each constant that is a single number, within the range of the schema.
OTHER = {
    "severity": {"spread": 0.4, "lowest": 0.3, "highest": 2.2, "mci": 0.5, "per_year": 0.2},
    "normal": {"hippocampus_spread": 0.2, "ventricles_spread": 0.3},
    "age": {"lowest": 60, "highest": 85},
    "ageing": {
        "reference_age": 65,
        "tissue_per_year": -0.006,
        "hippocampus_per_year": -0.01,
        "hippocampus_per_year_within": -0.02,
        "ventricles_per_year": 0.04,
    },
    "anatomy": {"coarse_mm": 20, "coarse_rms_mm": 2, "fine_mm": 10, "fine_rms_mm": 0.8},
    "head": {"size_spread": 0.02, "sex_difference": 0.03, "rotation_deg": 3, "shift_mm": 2},
    "intensity": {"white_matter": 500, "gain_spread": 0.1, "bias_rms": 0.05, "noise": 0.05},
}


def load(simulation):
    return load_study({"study": "s", "simulation": simulation}, SCHEMA)["simulation"]


def files_of(simulation, folder):
    paths = [folder / name for name in ("scans", "table.csv", "manifest.tsv", "confounds.tsv", "truth")]
    simulate_cohort(load(simulation), 7, *paths)
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_a_cohort_has_the_same_bytes_where_a_config_sets_the_constants_and_where_it_does_not(tmp_path):
    written = yaml.safe_load(yaml.safe_dump(SMALL | CONSTANTS, sort_keys=False))
    unset, given = files_of(SMALL, tmp_path / "unset"), files_of(written, tmp_path / "given")
    assert len([path for path in unset if path.suffix == ".gz"]) >= 5
    assert unset == given


@pytest.mark.parametrize(("section", "key"), [(section, key) for section in SECTIONS for key in SECTIONS[section]])
def test_a_config_can_set_each_key_of_a_section_and_keeps_the_others(section, key):
    other = OTHER[section].get(key, ["Amygdala"])  # the one list: labels of the hippocampus
    loaded = load({section: {key: other}})
    assert loaded[section] == SECTIONS[section] | {key: other} != SECTIONS[section]
    assert {name: loaded[name] for name in CONSTANTS if name != section} == {
        name: value for name, value in CONSTANTS.items() if name != section
    }


def test_regions_of_a_config_replace_those_of_the_constants():
    regions = {"hippocampus": {"labels": ["Hippocampus"], "change": -0.1, "source": "assumption"}}
    loaded = load({"regions": regions, "fluid_reach_mm": 10})
    assert (loaded["regions"], loaded["fluid_reach_mm"]) == (regions, 10)


@pytest.mark.parametrize(
    "change",
    [
        {"head": {"shift_mm": 0}},
        {"intensity": {"noise": 0.1}},
        {"fluid_reach_mm": 20},
        {"asymmetry": 0.3},
        {"contrast": -0.1},
        {"subtypes": {"limbic": {"share": 1, "limbic": 1, "cortical": 0}}},
    ],
    ids=str,
)
def test_a_constant_that_a_config_sets_changes_the_scan(change):
    images = []
    for own in ({}, change):
        settings = load(SMALL | own)
        row = plan.plan_cohort(settings, 7).to_dict("records")[1]
        assert row["DX"] == "Dementia"
        images.append(scans.scan_bytes(scans.make_world(settings), 7, row))
    assert images[0] != images[1]


def test_a_config_is_not_changed_and_settings_come_back_unchanged():
    config = {"study": "s", "simulation": {"head": {"shift_mm": 1}}}
    before = copy.deepcopy(config)
    loaded = load_study(config, SCHEMA)
    loaded["simulation"]["regions"].clear()
    assert config == before and CONSTANTS["regions"]
    loaded = load_study(config, SCHEMA)
    assert load_study(loaded, SCHEMA) == loaded


@pytest.mark.parametrize("empty", [{}, None, {"head": None}])
def test_empty_sections_have_the_constants(empty):
    assert {name: load(empty)[name] for name in CONSTANTS} == CONSTANTS


def test_a_comparison_can_set_single_keys_of_a_section():
    choices = {"simulation.age": [{"lowest": 60}, {}], "simulation.confounds": [{"age": 5}]}
    config = {"study": "s", "simulation": {}, "compare": {"choices": choices}}
    cells, refused = make_cells(config, partial(load_study, schema_path=SCHEMA))
    ages = [load_study(cell.config, SCHEMA)["simulation"]["age"] for cell in cells]
    assert (ages, refused) == ([{"lowest": 60, "highest": 90}, {"lowest": 55, "highest": 90}], [])


def test_a_study_of_real_scans_has_no_simulation():
    config = {"study": "s", "cohort": {"table": "t.csv"}}
    assert fill_constants(config) is config
    assert "simulation" not in load_settings(config, SCHEMA)


@pytest.mark.parametrize(
    ("simulation", "words"),
    [
        ("yes", r"setting simulation cannot be used"),
        ({"head": 5}, r"simulation\.head cannot be used"),
        ({"head": {"shift_mm": 7}}, r"simulation\.head\.shift_mm cannot be used(.*\n)+.*at most 6"),
        (
            {"head": {"shft_mm": 2}},
            r"no setting simulation\.head\.shft_mm(.*\n)+.*did you mean simulation.head.shift_mm",
        ),
        ({"haed": {}}, r"no setting simulation\.haed(.*\n)+.*did you mean simulation\.head"),
        ({"fluid_reach_mm": None}, r"simulation\.fluid_reach_mm cannot be used"),
        ({"regions": None}, r"simulation\.regions cannot be used"),
    ],
)
def test_what_the_schema_refuses_is_refused_as_everywhere(simulation, words):
    with pytest.raises(ConfigError, match=words):
        load(simulation)


def test_the_schema_describes_each_constant_and_gives_no_second_value():
    described = yaml.safe_load(SCHEMA.read_text())["properties"]["simulation"]["properties"]
    assert {name for name, node in described.items() if "default" not in node} == set(CONSTANTS) | {"signal"}
    for name, constants in SECTIONS.items():
        assert list(described[name]["properties"]) == list(constants)
        assert not [key for key, node in described[name]["properties"].items() if "default" in node]
    Draft202012Validator({"properties": described}).validate(CONSTANTS)


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.name)
def test_no_config_repeats_a_constant(path):
    simulation = yaml.safe_load(path.read_text()).get("simulation", {})
    for name in set(simulation) & set(CONSTANTS):
        assert simulation[name] != CONSTANTS[name]
