"""Folds by subject against brute force; the audit against leaks planted on purpose; Table 1 against figures by hand."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from voxelwhy.errors import ConfigError, InputError
from voxelwhy.io.tables import FOLDS, SELECTED, TABLE1, read_table, write_table
from voxelwhy.splits.audit import audit_folds, require_passed
from voxelwhy.splits.folds import split_folds
from voxelwhy.splits.subjects import subject_classes
from voxelwhy.splits.table1 import cohort_table

CLASSES = {"positive": "AD", "negative": "CN"}


def _cohort(positive=23, negative=31, seed=4):
    """1 to 3 scans a subject, in shuffled order; each seventh AD subject begins as CN."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(positive + negative):
        label = "AD" if number < positive else "CN"
        for visit in range(rng.integers(1, 4) + (number % 7 == 0)):
            as_control = label == "CN" or (number % 7 == 0 and visit == 0)
            rows.append(
                (f"s{number:03d}", visit, "CN" if as_control else label, 60.0 + number % 20 + visit, "FM"[number % 2])
            )
    frame = pd.DataFrame(rows, columns=["subject_id", "session", "label", "age", "sex"])
    order = rng.permutation(frame["subject_id"].unique())
    frame = frame.set_index("subject_id").loc[order].reset_index()
    frame["session"] = frame["session"].astype(str)
    frame["scan_id"] = "sub-" + frame["subject_id"] + "_ses-" + frame["session"]
    frame["maps_hash"] = None
    frame["t1_hash"] = [hashlib.sha256(f"t1 {s}".encode()).hexdigest() for s in frame["scan_id"]]
    frame["voxel_hash"] = [hashlib.sha256(s.encode()).hexdigest() for s in frame["scan_id"]]
    for column in ("scan_date", "image_id"):
        frame[column] = None
    for column in ("path", "t1"):
        frame[column] = "x.nii"
    for column in ("correlation_brain", "mask_dice", "jacobian_min", "jacobian_max"):
        frame[column] = 0.9
    return frame[list(SELECTED.columns)]


def _kfold(folds=5, validation_fraction=0.0, **more):
    return {"kind": "kfold", "name": "kfold", "folds": folds, "validation_fraction": validation_fraction, **more}


def _holdout(test_subjects, kind="holdout", validation_fraction=0.0):
    return {"kind": kind, "name": kind, "test_subjects": test_subjects, "validation_fraction": validation_fraction}


def _class_of(selected):
    """By a plain loop: AD with any AD scan."""
    found = {}
    for subject, label in zip(selected["subject_id"], selected["label"], strict=True):
        found[subject] = "AD" if label == "AD" else found.get(subject, "CN")
    return found


def _people(folds, fold, side):
    return set(folds.loc[(folds["fold"] == fold) & (folds["side"] == side), "subject_id"])


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("n_folds", [2, 5, 7])
def test_kfold_tests_each_subject_once_stratified(n_folds, fraction):
    selected = _cohort()
    folds = split_folds(selected, _kfold(n_folds, fraction), classes=CLASSES, seed=11)
    assert len(folds) == n_folds * len(selected)
    of = _class_of(selected)
    tested = [subject for fold in range(n_folds) for subject in sorted(_people(folds, fold, "test"))]
    assert sorted(tested) == sorted(of)
    for fold in range(n_folds):
        sides = {side: _people(folds, fold, side) for side in ("train", "validation", "test")}
        assert len(set.union(*sides.values())) == sum(map(len, sides.values())) == len(of)
        for name, n in (("AD", 23), ("CN", 31)):
            n_test = sum(of[s] == name for s in sides["test"])
            assert n // n_folds <= n_test <= -(-n // n_folds)
            expected = round(fraction * (n - n_test)) if fraction else 0
            assert sum(of[s] == name for s in sides["validation"]) == expected


def test_a_converter_counts_as_patient_and_stays_together():
    selected = _cohort()
    classes = subject_classes(selected, CLASSES)
    assert classes.to_dict() == _class_of(selected)
    assert classes.value_counts().to_dict() == {"CN": 31, "AD": 23}
    converters = selected.groupby("subject_id")["label"].nunique().loc[lambda n: n == 2].index
    assert len(converters) == 4
    folds = split_folds(selected, _kfold(), classes=CLASSES, seed=0)
    assert (folds[folds["subject_id"].isin(converters)].groupby(["fold", "subject_id"])["side"].nunique() == 1).all()


def test_the_seed_decides_and_the_order_of_the_table_does_not():
    selected = _cohort()

    def tests(frame, seed, **more):
        folds = split_folds(frame, _kfold(**more), classes=CLASSES, seed=seed)
        return [sorted(_people(folds, fold, "test")) for fold in range(5)]

    assert tests(selected, 1) == tests(selected, 1) == tests(selected.iloc[::-1], 1)
    assert tests(selected, 1) != tests(selected, 2)
    assert tests(selected, 1) == tests(selected, 1, validation_fraction=0.2)
    assert tests(selected, 1) != tests(selected, 1, name="again")


def test_holdout_tests_as_many_subjects_of_each_class_as_asked():
    selected = _cohort()
    folds = split_folds(selected, _holdout(7, validation_fraction=0.01), classes=CLASSES, seed=3)
    of = _class_of(selected)
    assert folds["fold"].unique().tolist() == [0]
    assert sorted(of[s] for s in _people(folds, 0, "test")) == ["AD"] * 7 + ["CN"] * 7
    assert sorted(of[s] for s in _people(folds, 0, "validation")) == ["AD", "CN"]


def test_paper_holdout_is_drawn_as_the_paper_did():
    selected = _cohort(48, 61)
    folds = split_folds(selected, _holdout(30, "paper_holdout"), classes=CLASSES, seed=99)
    # Rieke et al. 2018, literally: in table order, by class, 30 each, random_state 0.
    positive = selected[selected["label"] == "AD"]["subject_id"].unique()
    in_order = selected["subject_id"].unique()
    patients = [subject for subject in in_order if subject in set(positive)]
    controls = [subject for subject in in_order if subject not in set(positive)]
    expected = set()
    for group in (patients, controls):
        expected |= set(train_test_split(group, test_size=30, random_state=0)[1])
    assert len(expected) == 60
    assert _people(folds, 0, "test") == expected
    assert _people(folds, 0, "validation") == set()
    other = split_folds(selected.iloc[::-1], _holdout(30, "paper_holdout"), classes=CLASSES, seed=99)
    assert _people(other, 0, "test") != expected


@pytest.mark.parametrize(
    ("split", "match"),
    [
        (_kfold(6), r"too few subjects of class AD(.*\n)+.*5 subjects(.*\n)+.*6 folds need at least 6"),
        (_holdout(5), r"class AD(.*\n)+.*5 subjects(.*\n)+.*at least 6: 5 of each class are tested"),
        (_holdout(30, "paper_holdout"), r"class AD(.*\n)+.*5 subjects(.*\n)+.*at least 31"),
        (_holdout(4, validation_fraction=0.1), r"class AD(.*\n)+.*1 subjects(.*\n)+.*training and validation"),
    ],
)
def test_too_few_subjects_is_said_with_the_numbers(split, match):
    with pytest.raises(InputError, match=match):
        split_folds(_cohort(5, 9), split, classes=CLASSES, seed=0)


def test_as_many_folds_as_subjects_are_possible():
    folds = split_folds(_cohort(5, 9), _kfold(5, 0.1), classes=CLASSES, seed=0)
    assert [len(_people(folds, fold, "validation")) for fold in range(5)] == [2] * 5


def test_an_unknown_label_or_kind_is_refused():
    selected = _cohort()
    with pytest.raises(InputError, match=r"label that is not a class(.*\n)+.*'CN'(.*\n)+.*F, M"):
        split_folds(selected, _kfold(), classes={"positive": "F", "negative": "M"}, seed=0)
    with pytest.raises(ConfigError, match=r"kind of split(.*\n)+.*kfold, holdout, paper_holdout"):
        split_folds(selected, {**_kfold(), "kind": "loo"}, classes=CLASSES, seed=0)


def test_folds_follow_their_schema(tmp_path):
    selected = _cohort()
    folds = split_folds(selected, _kfold(5, 0.1), classes=CLASSES, seed=0)
    write_table(folds, tmp_path / "folds.tsv", FOLDS)
    write_table(selected, tmp_path / "selected.tsv", SELECTED)
    again = read_table(tmp_path / "folds.tsv", FOLDS)
    assert again.equals(folds.astype(again.dtypes.to_dict())[list(again.columns)])
    assert audit_folds(again, read_table(tmp_path / "selected.tsv", SELECTED), classes=CLASSES)["passed"] is True


def _audited():
    selected = _cohort()
    return selected, split_folds(selected, _kfold(5, 0.1), classes=CLASSES, seed=0)


def _failed(folds, selected):
    audit = audit_folds(folds, selected, classes=CLASSES)
    assert audit["passed"] is False
    return {check["name"]: check["detail"] for check in audit["checks"] if not check["passed"]}


def test_the_audit_passes_a_clean_split_and_counts():
    selected, folds = _audited()
    audit = json.loads(json.dumps(audit_folds(folds, selected, classes=CLASSES)))
    assert [check["passed"] for check in audit["checks"]] == [True] * 8
    assert (audit["counts"]["scans"], audit["counts"]["subjects"]) == (len(selected), 54)
    assert len(audit["counts"]["sides"]) == 15
    require_passed(audit, "audit.json")


def test_the_audit_finds_a_subject_on_two_sides():
    selected, folds = _audited()
    twice = folds[(folds["fold"] == 2) & (folds["side"] == "train")]
    twice = twice[twice["subject_id"].duplicated()].iloc[0]
    folds.loc[twice.name, "side"] = "validation"
    failed = _failed(folds, selected)
    assert list(failed) == ["no subject on two sides of a fold"]
    detail = failed["no subject on two sides of a fold"]
    assert detail.startswith(f"subject {twice['subject_id']} in train and validation of fold 2 (")
    assert twice["scan_id"] in detail


def test_the_audit_believes_the_selected_table_and_not_the_folds():
    selected, folds = _audited()
    first, second = selected["subject_id"].unique()[:2]
    joined = selected.assign(subject_id=selected["subject_id"].replace(second, first))
    sides = [_people(folds, fold, "test") & {first, second} for fold in range(5)]
    assert {first, second} not in sides
    failed = _failed(folds, joined)
    assert set(failed) == {"no subject on two sides of a fold", "subjects and labels as selected"}


@pytest.mark.parametrize(("column", "word"), [("voxel_hash", "image"), ("t1_hash", "registered image")])
def test_the_audit_finds_an_identical_image_on_two_sides(column, word):
    selected, folds = _audited()
    one, other = (sorted(_people(folds, fold, "test"))[0] for fold in (0, 1))
    scans = [selected.index[selected["subject_id"] == subject][0] for subject in (one, other)]
    selected.loc[scans[1], column] = selected.loc[scans[0], column]
    failed = _failed(folds, selected)
    assert list(failed) == [f"no identical {word} on two sides of a fold"]
    for scan in scans:
        assert selected.loc[scan, "scan_id"] in failed[f"no identical {word} on two sides of a fold"]


def test_the_audit_finds_a_side_of_one_class():
    selected, folds = _audited()
    of = _class_of(selected)
    patients = [subject for subject in _people(folds, 3, "test") if of[subject] == "AD"]
    folds.loc[(folds["fold"] == 3) & folds["subject_id"].isin(patients), "side"] = "train"
    failed = _failed(folds, selected)
    assert failed["both classes on every side of every fold"] == "no AD in test of fold 3"
    assert set(failed) == {"both classes on every side of every fold", "every selected scan tested in one fold"}


def test_the_audit_finds_scans_lost_twice_or_strange():
    selected, folds = _audited()
    lost = folds.index[(folds["fold"] == 1) & (folds["side"] == "train")][0]
    failed = _failed(folds.drop(lost), selected)
    scan = folds.loc[lost, "scan_id"]
    assert failed == {"every selected scan in every fold, once": f"scan {scan} not in fold 1"}
    failed = _failed(pd.concat([folds, folds.loc[[lost]]]), selected)
    assert failed == {"every selected scan in every fold, once": f"scan {scan} 2 times in fold 1"}
    failed = _failed(folds, selected[selected["scan_id"] != scan])
    assert failed == {"no scan that was not selected": f"scan {scan}"}
    assert _failed(folds.iloc[:0], selected) == {"every selected scan in every fold, once": "no folds"}


def test_the_audit_finds_a_scan_that_is_never_tested():
    selected, folds = _audited()
    subject = sorted(_people(folds, 4, "test"))[0]
    folds.loc[folds["subject_id"] == subject, "side"] = "train"
    failed = _failed(folds, selected)
    scans = selected.loc[selected["subject_id"] == subject, "scan_id"]
    assert failed == {
        "every selected scan tested in one fold": ", ".join(f"scan {scan} tested 0 times" for scan in scans)
    }


def test_the_gate_names_the_file_and_what_failed():
    selected, folds = _audited()
    folds.loc[folds["subject_id"] == sorted(_people(folds, 4, "test"))[0], "side"] = "train"
    audit = audit_folds(folds, selected, classes=CLASSES)
    with pytest.raises(InputError, match=r"file splits/kfold/audit.json\n.*tested in one fold: scan .* tested 0 times"):
        require_passed(audit, "splits/kfold/audit.json")
    with pytest.raises(InputError, match="no audit that passed"):
        require_passed({}, "audit.json")


def test_table1_by_hand(tmp_path):
    # subject, label, age, sex, side
    people = [
        ("a", "AD", 70.0, "F", "train"),
        ("a", "AD", 72.0, "F", "train"),
        ("b", "CN", 80.0, "M", "train"),
        ("b", "AD", 82.0, None, "train"),
        ("c", "CN", None, None, "train"),
        ("d", "CN", 61.5, "F", "test"),
        ("e", "AD", 66.0, "M", "test"),
    ]
    selected = pd.DataFrame(people, columns=["subject_id", "label", "age", "sex", "side"])
    selected["scan_id"] = [f"scan{n}" for n in range(len(people))]
    table = cohort_table(selected.assign(fold=0), selected, CLASSES)
    write_table(table, tmp_path / "table1.tsv", TABLE1)
    rows = {tuple(row[:3]): row[3:] for row in table.itertuples(index=False, name=None)}
    # subjects, scans, age, age known, female, male, sex unknown; SD with n - 1
    assert rows["all", "all", "all"] == (5, 7, "69.4 (7.9)", 4, 2, 2, 1)
    assert rows["0", "train", "AD"] == (2, 3, "75.0 (7.1)", 2, 1, 1, 0)
    assert rows["0", "train", "CN"] == (1, 2, "n/a", 0, 0, 0, 1)
    assert rows["0", "test", "CN"] == (1, 1, "61.5", 1, 1, 0, 0)
    assert len(rows) == 9


def test_table1_sums_to_the_cohort():
    selected, folds = _audited()
    table = cohort_table(folds, selected, CLASSES)
    whole = table[(table["fold"] == "all") & (table["class"] == "all")].iloc[0]
    for column in ("subjects", "scans", "female", "male"):
        by_fold = table[(table["fold"] != "all") & (table["class"] != "all")].groupby("fold")[column].sum()
        assert by_fold.tolist() == [whole[column]] * 5
    assert whole["female"] + whole["male"] == whole["subjects"] == 54
