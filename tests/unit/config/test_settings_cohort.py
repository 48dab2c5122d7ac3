"""The cohort's part of the config, source by source."""

from __future__ import annotations

import pytest
import yaml
from jsonschema import Draft202012Validator

from helpers.settings_cases import MINIMAL, SCHEMA, SCHEMA_PATH, SEXES, load
from voxelwhy.config.settings import load_settings
from voxelwhy.errors import ConfigError


def test_one_table_or_several():
    for table in ("a.csv", ["a.csv"], ["a.csv", "b.csv"]):
        for source in ("adni_merged", "adni_collection"):
            settings = load(f"cohort: {{source: {source}, table: {table}}}")
            assert settings["cohort"]["table"] == table
            assert load_settings(settings, SCHEMA_PATH) == settings


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("table: []", r"cohort.table cannot.*\n.*\[\]\n.*text or a list, with at least 1"),
        ("table: [a.csv, a.csv]", r"cohort.table cannot(.*\n)+.*each entry once"),
        ("table: [a.csv, 3]", r"cohort.table\[1\] cannot.*\n.*3\n.*text"),
        ("table: ''", "cohort.table cannot"),
        ("table: {a: b}", r"cohort.table cannot.*\n.*'a': 'b'"),
        (f"source: folder, table: [a.csv], classes: {SEXES}", r"cohort.table cannot.*\n.*\['a.csv'\]\n.*text"),
        ("table: a.csv, adnimerge_days: 400", r"adnimerge_days cannot.*\n.*400\n.*at least 0, at most 365"),
        ("table: a.csv, images: bids", r"cohort.images cannot.*\n.*'bids'\n.*template, loni"),
        ("table: a.csv, prefer: [x]", r"no setting cohort.prefer"),
        ("source: adni_collection, table: a.csv, reprocessed: first", r"no setting cohort.reprocessed"),
    ],
)
def test_settings_of_adni_that_cannot_be(text, match):
    with pytest.raises(ConfigError, match=match):
        load_settings({"study": "x", "cohort": yaml.safe_load(f"{{{text}}}")}, SCHEMA_PATH)


def test_cohorts_without_a_table():
    for text in (
        f"{{source: folder, data_dir: d, classes: {SEXES}}}",
        f"{{source: bids, data_dir: d, label: sex, classes: {SEXES}, entities: {{session: M00, echo: 1}}}}",
        "{source: oasis, table: t.csv}",
    ):
        settings = load_settings({"study": "x", "cohort": yaml.safe_load(text)}, SCHEMA_PATH)
        Draft202012Validator(SCHEMA).validate(settings)
        assert load_settings(settings, SCHEMA_PATH) == settings
    assert settings["cohort"]["images"] == "auto"
    assert settings["cohort"]["classes"]["positive"] == {"name": "AD", "values": [0.5, 1, 2]}
    settings = load(f"cohort: {{source: bids, data_dir: d, classes: {SEXES}}}", base={"study": "x"})
    assert {key: settings["cohort"][key] for key in ("label", "entities", "run")} == {
        "label": "diagnosis",
        "entities": {},
        "run": "first",
    }


CDR = "positive: {name: AD, values: [1]}, negative: {name: CN"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (f"source: folder, classes: {SEXES}", r"cohort.table is missing\n.*or data_dir alone"),
        (f"source: bids, classes: {SEXES}", r"cohort.data_dir is missing"),
        (f"source: bids, data_dir: d, table: t, classes: {SEXES}", r"no setting cohort.table"),
        (f"source: bids, data_dir: d, run: 2, classes: {SEXES}", r"cohort.run cannot.*\n.*2\n.*first, last, all"),
        (f"source: bids, data_dir: d, entities: {{acq: x}}, classes: {SEXES}", r"no setting cohort.entities.acq\n"),
        ("source: oasis, data_dir: d", r"cohort.table is missing"),
        (
            "source: oasis, table: t, images: head",
            r"cohort.images cannot.*\n.*'head'\n.*auto, masked, t88, subject, raw",
        ),
        (f"source: oasis, table: t, classes: {{{CDR}, values: ['0']}}}}", r"values\[0\] cannot.*\n.*'0'\n.*a number"),
        (f"source: oasis, table: t, classes: {{{CDR}, values: [4]}}}}", r"values\[0\] cannot.*\n.*4\n.*at most 3"),
        (f"source: oasis, table: t, classes: {{{CDR}, values: [1.0]}}}}", r"a value is in two lists"),
    ],
)
def test_settings_of_other_sources_that_cannot_be(text, match):
    with pytest.raises(ConfigError, match=match):
        load_settings({"study": "x", "cohort": yaml.safe_load(f"{{{text}}}")}, SCHEMA_PATH)


def test_a_simulated_cohort_has_no_other_source():
    regions = {"a": {"labels": ["A"], "change": -0.1, "source": "s"}}
    cohort = {"source": "folder", "data_dir": "d", "classes": yaml.safe_load(SEXES)}
    with pytest.raises(ConfigError, match=r"simulated cohort is read as adni_merged\n.*cohort.source\n.*'folder'"):
        load_settings({"study": "x", "simulation": {"regions": regions}, "cohort": cohort}, SCHEMA_PATH)


def test_a_simulation_and_a_table_do_not_go_together():
    regions = {"a": {"labels": ["A"], "change": -0.1, "source": "s"}}
    with pytest.raises(ConfigError, match="not both"):
        load_settings(MINIMAL | {"simulation": {"regions": regions}}, SCHEMA_PATH)


@pytest.mark.parametrize(
    ("cohort", "table"),
    [
        ("{table: t.csv}", "t.csv"),
        ("{table: t.csv, data_dir: /data/adni}", "/data/adni/t.csv"),
        ("{table: /tables/t.csv, data_dir: /data/adni}", "/tables/t.csv"),
        ("{table: scans/t.csv, data_dir: scans}", "scans/t.csv"),
        ("{table: here.csv, data_dir: /data/adni}", "here.csv"),
    ],
)
def test_a_relative_table_lies_below_the_data_folder_unless_it_is_here(cohort, table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.csv").touch()
    settings = load(f"cohort: {cohort}", base={"study": "mine"})
    assert settings["cohort"]["table"] == table
    assert load_settings(settings, SCHEMA_PATH) == settings
