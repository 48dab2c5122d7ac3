"""The cohort of another study as test set: settings, refused cohorts, and which model classifies which scan."""

import json

import numpy as np
import pandas as pd
import pytest

from helpers.settings_cases import load
from voxelwhy.config.splits import external_splits, reported_splits
from voxelwhy.errors import ConfigError, InputError
from voxelwhy.evaluation.external.cohort import check_cohort, is_simulated, register_command, require_cohort
from voxelwhy.evaluation.external.folds import audit_external, external_folds, plain_subject, require_disjoint
from voxelwhy.io.images import Grid, save_int16, write_json
from voxelwhy.io.tables import FOLDS, SELECTED, TABLE1, write_table
from voxelwhy.splits.table1 import cohort_table

CLASSES = {"positive": "AD", "negative": "CN"}
GRID = Grid.icbm(8)
REGISTRATION = {"transform": "affine", "n4": False, "maps": []}


# The settings.


def test_each_split_is_followed_by_its_models_on_each_cohort():
    settings = load("{splits: [{kind: kfold, folds: 3}, {kind: holdout, heatmaps: false}], evaluate_on: [b, c.2]}")
    assert list(reported_splits(settings)) == [
        "kfold", "kfold_on_b", "kfold_on_c.2", "holdout", "holdout_on_b", "holdout_on_c.2"
    ]  # fmt: skip
    entry = external_splits(settings)["kfold_on_c.2"]
    assert (entry["of"], entry["cohort"], entry["folds"], entry["heatmaps"]) == ("kfold", "c.2", 3, True)
    assert external_splits(settings)["holdout_on_b"]["heatmaps"] is False
    assert external_splits(load()) == {} and load()["evaluate_on"] == []


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("evaluate_on: [Mine]", "Mine is this study itself"),
        ("evaluate_on: [b, B]", "B is named twice"),
        ("evaluate_on: [b, b]", "each entry once"),
        ("evaluate_on: [../b]", r"evaluate_on\[0\] cannot be used"),
        ("evaluate_on: b", "a list"),
        ("{evaluate_on: [b], splits: [{kind: kfold}, {kind: holdout, name: Kfold_on_b}]}", "the name that evaluate_on"),
        ("{evaluate_on: [b, b_on_b], splits: [{kind: kfold}, {kind: kfold, name: kfold_on_b}]}", "another name"),
        ("{evaluate_on: [b], model: {weights: w.pt, normalisation: scan}}", "training data of model.weights are"),
    ],
)
def test_what_cannot_be_evaluated_on_is_said(text, match):
    with pytest.raises(ConfigError, match=match):
        load(text)


def test_weights_from_elsewhere_are_tested_where_it_is_known_what_trained_them():
    model = "{weights: w.pt, normalisation: scan, trained_on: holdout}"
    settings = load(f"{{evaluate_on: [b], splits: [{{kind: kfold}}, {{kind: holdout}}], model: {model}}}")
    assert list(reported_splits(settings)) == ["holdout", "holdout_on_b"]


# The other cohort.


def put_cohort(folder, study="there", subjects=("t1", "t2", "t3", "t4"), grid=GRID, labels=("AD", "CN"), **quality):
    """Registered scans of another study below `folder`; its table, paths relative to `folder`."""
    rows = []
    for number, subject in enumerate(subjects):
        scan = f"{study}-scan{number}"
        place = folder / "results" / study / "registered" / scan
        place.mkdir(parents=True)
        save_int16(place / "t1.nii", np.full(grid.shape, 1 + number), grid.affine)
        facts = {"transform": "affine", "n4": False, "brain_cm3": None, "maps": {}, "versions": {"antspyx": "0.6.3"}}
        write_json(place / "quality.json", facts | quality)
        row = dict.fromkeys(SELECTED.columns) | {"scan_id": scan, "subject_id": subject, "label": labels[number % 2]}
        row |= {"path": f"scans/{scan}.nii", "t1": f"results/{study}/registered/{scan}/t1.nii", "mask_dice": 0.9}
        hashes = {"voxel_hash": f"{study}{number}".rjust(64, "0"), "t1_hash": f"r{study}{number}".rjust(64, "0")}
        rows.append(row | hashes | {"correlation_brain": 0.9})
    table = pd.DataFrame(rows)
    (folder / "results" / study / "cohort").mkdir(parents=True)
    write_table(table, folder / "results" / study / "cohort" / "selected.tsv", SELECTED)
    return table


def check(selected, **changes):
    how = {"classes": CLASSES, "registration": REGISTRATION, "whole_heads": False, "grid": GRID}
    return check_cohort("there", selected, **(how | changes))


@pytest.fixture
def there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return put_cohort(tmp_path)


def test_a_cohort_that_fits_has_its_card(there):
    card = check(there)
    assert card["n_scans"] == card["n_subjects"] == 4
    assert card == card | {"cohort": "there", "simulated": False, "versions": {"antspyx": ["0.6.3"]}}
    assert check(there.assign(path="results/there/simulation/scans/a.nii.gz"))["simulated"]
    assert not is_simulated(["results/there_too/simulation/a.nii"], "there")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"grid": Grid.icbm(6)},
            ("not on the grid of this study", "t1.nii", "shape (25, 29, 25)", "shape (33, 39, 33)"),
        ),
        (
            {"registration": REGISTRATION | {"transform": "rigid"}},
            ("not registered like", "transform: affine", "transform: rigid"),
        ),
        ({"registration": REGISTRATION | {"n4": True}}, ("not registered like", "n4: false", "n4: true")),
        ({"whole_heads": True}, ("quality.json", "'brains, transform", "allowed: whole heads, transform")),
        ({"classes": {"positive": "AD", "negative": "HC"}}, ("classes of there", "'AD, CN'", "AD, HC", "selected.tsv")),
    ],
)
def test_a_cohort_of_another_kind_is_refused(there, changes, words):
    with pytest.raises(InputError) as caught:
        check(there, **changes)
    for word in (*words, "found:", "allowed:", "to do:", "--until select_scans"):
        assert word in str(caught.value)


def test_whole_heads_of_another_study_are_known_by_their_carried_back_mask(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    heads = put_cohort(tmp_path, brain_cm3=1400.0)
    check(heads, whole_heads=True)
    with pytest.raises(InputError, match="found:   'whole heads"):
        check(heads)


def test_one_scan_of_another_kind_among_others_is_found(there, tmp_path):
    place = tmp_path / "results/there/registered/there-scan3"
    quality = json.loads((place / "quality.json").read_text())
    write_json(place / "quality.json", quality | {"transform": "syn_quick"})
    with pytest.raises(InputError, match="there-scan3"):
        check(there)
    (place / "t1.nii").unlink()
    with pytest.raises(InputError, match="no longer exists"):
        check(there)


def test_a_cohort_that_is_not_there_names_the_command_with_its_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "broken.yaml").write_text("a: [")
    (tmp_path / "config" / "three_tesla.yaml").write_text("study: there\n")
    with pytest.raises(InputError) as caught:
        require_cohort("there")
    message = str(caught.value)
    assert "results/there/cohort/selected.tsv" in message
    assert "snakemake --cores all --configfile config/three_tesla.yaml --until select_scans" in message
    assert "<the config of elsewhere>" in register_command("elsewhere")
    put_cohort(tmp_path)
    require_cohort("there")


# Which model classifies which scan.


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return put_cohort(tmp_path, "here", subjects=("h1", "h2", "h2", "h3"))


def test_every_model_classifies_every_scan(there, tmp_path):
    folds = external_folds(there, 3)
    write_table(folds, tmp_path / "folds.tsv", FOLDS)
    assert len(folds) == 12 and set(folds["side"]) == {"test"}
    for _, part in folds.groupby("fold"):
        assert list(part["scan_id"]) == list(there["scan_id"])
    table = cohort_table(folds, there, CLASSES)
    write_table(table, tmp_path / "table1.tsv", TABLE1)
    assert table.loc[table["class"] == "all", ["subjects", "scans"]].to_numpy().tolist() == [[4, 4]]


def test_two_cohorts_that_share_nobody_pass(there, own):
    audit = audit_external(there, own, n_folds=2)
    assert audit["passed"] and [check["detail"] for check in audit["checks"]] == ["none found"] * 3
    assert audit["counts"] == {"folds": 2, "scans": 4, "subjects": 4, "images": 4}
    require_disjoint(audit, "there", "results/here/cohort/selected.tsv")


def test_all_that_is_shared_is_in_the_log(there, own, caplog):
    own.loc[[0, 2], "subject_id"] = ["t2", "T-4"]
    with caplog.at_level("INFO"):
        audit_external(there, own, n_folds=2)
    assert "subjects that are in both studies: t2, t4" in caplog.text


PAIR = "of the scans there-scan1 (other study) and here-scan2 (this study)"


@pytest.mark.parametrize(
    ("column", "ours", "found"),
    [
        ("subject_id", "t2", f"1 of 4 subjects, for example {PAIR}"),
        ("subject_id", "sub-T2", "1 of 4 subjects, for example of the scans there-scan1 (other study)"),
        ("voxel_hash", "there1".rjust(64, "0"), f"1 of 4 images, for example {PAIR}"),
        ("t1_hash", "rthere1".rjust(64, "0"), "1 of 4 registered images, for example of the scans there-scan1"),
    ],
)
def test_somebody_or_an_image_in_both_studies_is_refused(there, own, column, ours, found):
    own.loc[2, column] = ours
    audit = audit_external(there, own, n_folds=2)
    assert [check["passed"] for check in audit["checks"]].count(False) == 1 and not audit["passed"]
    with pytest.raises(InputError) as caught:
        require_disjoint(audit, "there", "results/here/cohort/selected.tsv")
    for word in (found, "results/there/cohort/selected.tsv", "results/here/cohort/selected.tsv", "to do:"):
        assert word in str(caught.value)


def test_one_person_has_one_id_however_a_source_writes_it():
    assert plain_subject("sub-ADNI023S0030") == plain_subject("023_S_0030") == plain_subject("sub-023S0030")
    assert plain_subject("sub-OASIS10061") == plain_subject("OAS1_0061") != plain_subject("OAS2_0061")
    assert plain_subject("023_S_0031") != plain_subject("023_S_0030")


def test_a_cohort_without_the_images_that_the_models_see_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = {"registration": REGISTRATION | {"transform": "syn_cc", "maps": ["log_jacobian"]}}
    there = put_cohort(tmp_path, transform="syn_cc", maps={"log_jacobian": {"hash": "a"}})
    assert check(there, **wanted)["n_scans"] == 4
    lacking = put_cohort(tmp_path, "other", transform="syn_cc")
    with pytest.raises(
        InputError, match=r"lack an image(.|\n)*images in addition to the intensities: none(.|\n)*registration\.maps"
    ):
        check(lacking, **wanted)
