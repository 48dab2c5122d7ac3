"""What YAML loses of a config: keys that are given twice, and names that it turns into numbers."""

from __future__ import annotations

import pytest
import yaml

from helpers.paths import SCHEMA
from voxelwhy.config.config_files import check_files, expand_paths
from voxelwhy.config.settings import load_settings
from voxelwhy.errors import ConfigError, InputError

CLASSES = "cohort: {{classes: {{positive: {{name: AD, values: [{0}]}}, negative: {{name: CN, values: [CN]}}}}}}\n"


def check(tmp_path, text):
    (tmp_path / "study.yaml").write_text(text)
    check_files([tmp_path / "study.yaml"])


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("study: a\nregistration: {skip: {a: b}}\nregistration: {n4: true}\n", r"registration is given.*\n.*row 3.*\n.*"
         "line 2"),
        ("study: a\ncohort:\n  table: t\n  table: u\n", r"cohort.table is given twice.*\n.*row 4"),
        ("splits:\n- {kind: kfold, folds: 2, folds: 3}\n", r"splits.folds is given twice"),
        ('a: 1\n"a": 2\n', "a is given twice"),
    ],
)  # fmt: skip
def test_a_key_that_is_given_twice_is_refused(tmp_path, text, match):
    with pytest.raises(ConfigError, match=match):
        check(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (
            "registration:\n  skip: {0012: tilted}\n",
            r"registration.skip: put the name in quotes\n.*row 2.*\n.*0012.*10",
        ),
        ("registration:\n  skip: {no: tilted}\n", "no, which YAML reads as False"),
        ("registration:\n  skip: {null: tilted}\n", "null, which YAML reads as None"),
        ("cohort: {corrupt: [~]}\n", "~, which YAML reads as None"),
        ("registration:\n  skip: {1_000: tilted}\n", "1_000, which YAML reads as 1000"),
        ("registration:\n  skip: {12:30: tilted}\n", "12:30, which YAML reads as 750"),
        (CLASSES.format("1.50"), r"positive.values: put the name.*\n(.*\n)*.*1.50, which YAML reads as 1.5"),
        (CLASSES.format("on"), "on, which YAML reads as True"),
        ("cohort: {corrupt: [0010]}\n", r"cohort.corrupt: put .*\n(.*\n)*.*0010, which YAML reads as 8"),
        ("cohort: {corrupt_in: {t.csv: [2006-01-02]}}\n", None),
        ("heatmaps: {scans: [0x1F]}\n", "0x1F, which YAML reads as 31"),
    ],
)
def test_a_name_that_yaml_changes_is_refused_with_its_line(tmp_path, text, match):
    if match is None:  # a date is written as it stands
        check(tmp_path, text)
        return
    with pytest.raises(ConfigError, match=match):
        check(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (CLASSES.format("1, '0012', AD, 2.5"), ["1", "0012", "AD", "2.5"]),
        (CLASSES.format("'null', 'no'"), ["null", "no"]),
        (CLASSES.format("2006-01-02"), ["2006-01-02"]),
    ],
)
def test_names_that_stay_what_they_are_pass(tmp_path, text, names):
    check(tmp_path, text)
    assert [str(v) for v in yaml.safe_load(text)["cohort"]["classes"]["positive"]["values"]] == names


def test_configs_without_names_and_json_with_tabs_pass(tmp_path):
    texts = ["", "# nothing\n", "study: a\n", "a: &b {c: 1}\nd: {<<: *b}\n", "registration: {skip: }\n", '{\n\t"a": 1}']
    assert [check(tmp_path, text) for text in texts] == [None] * len(texts)


def test_a_number_is_a_name_where_names_stand():
    config = yaml.safe_load("study: a\nsimulation: {}\nregistration: {skip: {12: tilted}}\n")
    assert load_settings(config, SCHEMA)["registration"]["skip"] == {"12": "tilted"}


def test_home_and_variables_stand_for_their_folders(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("SCANS", "/data/scans")
    config = {"cohort": {"table": ["~/a.csv", "b.csv"], "data_dir": "$SCANS/x"}, "atlas": {"image": "${SCANS}/a.nii"}}
    config |= {"heatmaps": {"others": [{"name": "x", "file": "~/m.npz"}]}, "training": {"mask": "~/mask.nii"}}
    expanded = expand_paths(config)
    assert expanded["heatmaps"] == {"others": [{"name": "x", "file": "/home/me/m.npz"}]}
    assert expanded["training"] == {"mask": "/home/me/mask.nii"}
    assert expanded["cohort"] == {"table": ["/home/me/a.csv", "b.csv"], "data_dir": "/data/scans/x"}
    assert expanded["atlas"] == {"image": "/data/scans/a.nii"}
    assert config["cohort"]["data_dir"] == "$SCANS/x"
    with pytest.raises(ConfigError, match=r"cohort.data_dir names a variable(.*\n)+.*\$NOWHERE/x"):
        expand_paths({"cohort": {"data_dir": "$NOWHERE/x"}})


@pytest.mark.parametrize("part", ["{site}", "{0}", "{ a }", "{x,[0-9]+}"])
def test_a_word_in_braces_is_refused_before_snakemake_takes_it_for_a_wildcard(part):
    with pytest.raises(InputError, match=r"word in braces[\s\S]*column cohort\.data_dir[\s\S]*ln -s"):
        expand_paths({"cohort": {"data_dir": f"/data/{part}/scans"}})
    for plain in ("/data/{}/scans", "/data/{a b}", "/data/a}{b"):
        assert expand_paths({"cohort": {"data_dir": plain}})["cohort"]["data_dir"] == plain
