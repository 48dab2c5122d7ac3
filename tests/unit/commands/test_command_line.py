"""The command line on small downloads as labs have them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from helpers.paths import SCHEMA
from helpers.trees import bids, named_files, oasis1
from voxelwhy.cohort.parse import parse_tables
from voxelwhy.commands.checkout import read_config
from voxelwhy.commands.configs import choose_classes, study_name
from voxelwhy.commands.explain import list_scans
from voxelwhy.commands.main import COMMANDS, main
from voxelwhy.config.settings import load_settings
from voxelwhy.errors import InputError

#: The answers after the first question.
ANSWERED = ("--table", "-", "--label", "diagnosis", "--template", "-", "--effort", "quick")


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """A BIDS dataset of four participants with images and one without, next to where the command runs."""
    folder = tmp_path / "data"
    folder.mkdir()
    bids(folder)
    monkeypatch.chdir(tmp_path)
    return folder


def answers(monkeypatch, *given):
    rest = iter(given)
    monkeypatch.setattr("builtins.input", lambda prompt="": next(rest))


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"  {name} " in said for name in COMMANDS)
    assert "BIDS_DIR OUT {participant,group}" in said
    assert main([]) == 2


def test_five_answers_make_a_config_that_a_study_accepts(dataset, monkeypatch, capsys):
    answers(monkeypatch, "nowhere", str(dataset), "", "", "", "quick")
    assert main(["init", "mine.yaml"]) == 0
    said = capsys.readouterr()
    assert said.err.count("1. Where are the scans?") == 2  # the first answer was no folder
    text = Path("mine.yaml").read_text()
    assert text.count("#") > 10
    settings = load_settings(yaml.safe_load(text), SCHEMA)
    assert settings["study"] == "data" and settings["registration"]["resolution_mm"] == 4
    assert settings["cohort"]["label"] == "diagnosis"
    scans, dropped, _ = parse_tables(settings["cohort"])
    assert sorted(scans["label"]) == ["AD", "CN", "CN"]
    assert "diagnosis MCI is not studied" in set(dropped["reason"])


def test_an_existing_config_is_not_replaced(dataset, capsys):
    Path("mine.yaml").write_text("study: mine\n")
    assert main(["init", "mine.yaml"]) == 1
    assert "the config file exists" in capsys.readouterr().err
    assert Path("mine.yaml").read_text() == "study: mine\n"


@pytest.mark.parametrize(("make", "source"), [(oasis1, "oasis"), (named_files, "folder")])
def test_other_downloads_are_recognised(tmp_path, monkeypatch, make, source):
    folder = tmp_path / "download"
    folder.mkdir()
    make(folder)
    monkeypatch.chdir(tmp_path)
    answers(monkeypatch, str(folder), "", "", "quick")
    assert main(["init"]) == 0
    settings, *_ = read_config("study.yaml")
    assert settings["cohort"]["source"] == source
    assert len(parse_tables(settings["cohort"])[0]) >= 4


def test_check_tells_what_is_used_and_dropped(dataset, capsys):
    main(
        ["init", "--data", str(dataset), "--table", "-", "--label", "diagnosis", "--template", "-", "--effort", "quick"]
    )
    text = Path("study.yaml").read_text().replace("folds: 5", "folds: 2")
    config = yaml.safe_load(text)
    Path("study.yaml").write_text(text)
    assert main(["check", "study.yaml", "--cores", "4"]) == 1  # one patient for two folds
    assert "too few subjects of class AD" in capsys.readouterr().err
    (dataset / "participants.tsv").write_text(
        (dataset / "participants.tsv").read_text().replace("sub-03\t70\tF\tMCI", "sub-03\t70\tF\tAD")
    )
    config["splits"] = [{"kind": "kfold", "folds": 2}]
    Path("study.yaml").write_text(yaml.safe_dump(config))
    assert main(["check", "study.yaml", "--cores", "4"]) == 0
    said = capsys.readouterr().out
    assert "4 scans of 4 subjects" in said and "AD: 2 scans of 2 subjects" in said
    assert "1 because: no T1w image (sub-05)" in said
    assert "Split kfold: 2 folds; subjects of a fold: test 2, train 2" in said
    assert "look like brains" in said
    assert "register each scan" in said and "on 4 cores at best" in said


def test_check_refuses_a_network_that_does_not_fit(dataset, capsys):
    main(
        ["init", "--data", str(dataset), "--table", "-", "--label", "diagnosis", "--template", "-", "--effort", "quick"]
    )
    config = yaml.safe_load(Path("study.yaml").read_text())
    Path("study.yaml").write_text(yaml.safe_dump(config | {"training": {"network": "rieke2018"}}))
    assert main(["check", "study.yaml"]) == 1
    said = capsys.readouterr().err
    assert "cannot work on a grid of 49 x 58 x 49 voxels: it needs 78 x 78 x 78" in said


def test_check_names_the_line_of_a_config_that_is_no_yaml(tmp_path, capsys):
    (tmp_path / "study.yaml").write_text("study: other\ncohort:\n\tsource: folder\n")
    assert main(["check", str(tmp_path / "study.yaml")]) == 1
    assert "row 3" in capsys.readouterr().err


def test_the_bids_app_writes_and_prints_a_config(dataset, capsys):
    words = [str(dataset), "out", "group", "--config-only", "--effort", "quick", "--study", "app", "--folds", "2"]
    assert main(words) == 0
    said = capsys.readouterr().out
    text = Path("out/voxelwhy.yaml").read_text()
    assert text in said
    settings = load_settings(yaml.safe_load(text), SCHEMA)
    assert settings["cohort"]["data_dir"] == str(dataset) and settings["splits"][0]["folds"] == 2
    assert main(words) == 0  # the same again
    assert main([*words[:-1], "3"]) == 1
    assert "exists and is another one" in capsys.readouterr().err


def test_any_column_can_be_the_label(dataset, capsys):
    words = [str(dataset), "out", "group", "--config-only", "--label", "sex"]
    assert main(words) == 1
    assert "which labels are the patients is not clear" in capsys.readouterr().err
    assert main([*words, "--positive", "F", "--negative", "M"]) == 0
    classes = yaml.safe_load(Path("out/voxelwhy.yaml").read_text())["cohort"]["classes"]
    assert classes["positive"] == {"name": "F", "values": ["F"]}
    assert classes["negative"] == {"name": "M", "values": ["M"]}


@pytest.mark.slow
def test_participants_are_registered_alone(dataset, capfd):
    words = [str(dataset), "out", "participant", "--dry-run", "--effort", "quick", "--cores", "1"]
    assert main([*words, "--participant-label", "01", "sub-02"]) == 0
    said = capfd.readouterr()
    assert "register_scan           2" in said.out + said.err
    assert main([*words, "--participant-label", "03"]) == 1  # MCI
    assert "a participant has no scan that the study uses" in capfd.readouterr().err
    assert main([*words[:2], "group", "--participant-label", "01"]) == 1


def test_classes_follow_from_the_usual_words():
    classes = choose_classes(["Dementia", "CN", "MCI", "n/a", "HC"])
    assert classes["positive"]["values"] == ["Dementia"] and classes["negative"]["values"] == ["CN", "HC"]
    assert classes["drop"] == ["MCI"]
    with pytest.raises(InputError, match="no subject has this label"):
        choose_classes(["AD", "CN"], ["PD"])
    with pytest.raises(InputError, match="controls is not clear"):
        choose_classes(["AD", "PD"])


def test_a_folder_gives_a_name_that_a_study_can_have():
    assert study_name("/data/ds 002748 (raw)/") == "ds_002748_raw"
    assert study_name("/") == "study"


def test_without_the_workflow_the_command_says_what_to_clone(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VOXELWHY_HOME", str(tmp_path))
    (tmp_path / "study.yaml").write_text(json.dumps({"study": "mine"}))
    assert main(["check", str(tmp_path / "study.yaml")]) == 1
    said = capsys.readouterr().err
    assert "the workflow of voxelwhy is not here" in said and "clone the repository" in said


def test_a_new_scan_is_a_file_a_series_or_the_images_of_a_folder(tmp_path):
    assert list_scans(Path(__file__)) == {"test_command_line.py": Path(__file__)}
    series = tmp_path / "a series"
    series.mkdir()
    (series / "1.dcm").touch()
    assert list_scans(series) == {"a_series": series}
    for name in ("sub-01/anat/x_T1w.nii.gz", "sub-02/anat/x_T1w.nii.gz", "sub-02/anat/x_T2w.nii.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list(list_scans(tmp_path)) == ["sub-01_anat_x_T1w", "sub-02_anat_x_T1w"]
    with pytest.raises(InputError, match="the scan does not exist"):
        list_scans(tmp_path / "nowhere.nii")


@pytest.mark.parametrize("age", ["old", "-1", "200", "nan"])
def test_an_age_is_one_of_a_person(age, capsys):
    with pytest.raises(SystemExit):
        main(["explain", "results/mine", "new.nii.gz", f"--age={age}"])
    assert "is not an age in years" in capsys.readouterr().err


def test_a_folder_that_is_no_study_is_named_without_a_traceback(tmp_path, capsys):
    assert main(["explain", str(tmp_path), "new.nii.gz"]) == 1
    said = capsys.readouterr().err
    assert "this is not the folder of a study" in said and str(tmp_path) in said
