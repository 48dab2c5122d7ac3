"""Shuffled diagnoses: one permutation for all folds, within strata of age and sex."""

import numpy as np
import pandas as pd

from voxelwhy.splits.permute import first_ages, permute_diagnoses, strata_of

N = 40


def cohort(*, matched=False):
    """40 subjects in two folds; every fourth has two scans; with `matched`, k and k + 20 have the same age and sex."""
    rng = np.random.default_rng(1)
    names = [f"s{k:02d}" for k in range(N)]
    labels = ["AD"] * 20 + ["CN"] * 20
    ages, sexes = rng.uniform(60, 85, N).round(1), rng.permutation(["F", "M"] * 20)
    if matched:
        ages[20:], sexes[20:] = ages[:20], sexes[:20]
    rows = []
    for fold in (0, 1):
        for k, (name, label) in enumerate(zip(names, labels, strict=True)):
            side = "test" if k % 2 == fold else "train"
            rows += [(fold, side, f"{name}-{visit}", name, label) for visit in range(2 if k % 4 == 0 else 1)]
    folds = pd.DataFrame(rows, columns=["fold", "side", "scan_id", "subject_id", "label"])
    return folds, pd.DataFrame({"age": ages, "sex": sexes}, index=names)


def by_subject(folds):
    return folds.drop_duplicates("subject_id").set_index("subject_id")["label"]


def test_a_draw_is_one_permutation_for_all_folds_and_sides():
    folds, subjects = cohort()
    drawn = permute_diagnoses(folds, subjects, draw=3)
    assert drawn.drop(columns="label").equals(folds.drop(columns="label"))
    assert (drawn.groupby("subject_id")["label"].nunique() == 1).all()
    assert sorted(by_subject(drawn)) == sorted(by_subject(folds))
    assert (by_subject(drawn) != by_subject(folds)).sum() >= 10
    test = drawn["side"] == "test"
    assert (drawn.loc[test, "label"] != folds.loc[test, "label"]).any()


def test_a_draw_is_always_the_same_and_draws_differ():
    folds, subjects = cohort()
    first = permute_diagnoses(folds, subjects, draw=1)
    shuffled_rows = folds.sample(frac=1, random_state=2)
    assert permute_diagnoses(shuffled_rows, subjects, draw=1).sort_index().equals(first)
    assert not permute_diagnoses(folds, subjects, draw=2).equals(first)


def test_matched_pairs_exchange_within_the_pair_alone():
    folds, subjects = cohort(matched=True)
    seen = set()
    for draw in range(1, 20):
        labels = by_subject(permute_diagnoses(folds, subjects, draw=draw))
        pairs = [(labels[f"s{k:02d}"], labels[f"s{k + 20:02d}"]) for k in range(20)]
        assert set(pairs) <= {("AD", "CN"), ("CN", "AD")}
        seen |= {(k, pair) for k, pair in enumerate(pairs)}
    assert len(seen) == 40


def test_strata_keep_age_and_sex_as_associated_with_the_diagnosis_as_they_are():
    """Patients are older: permuted over everybody, that would vanish; within bands of age it stays."""
    folds, subjects = cohort()
    subjects["age"] = np.r_[np.linspace(75, 90, 20), np.linspace(60, 78, 20)]
    labels = by_subject(folds)
    strata = strata_of(subjects, labels)
    assert strata.nunique() == 2 and (subjects.groupby(strata)["sex"].nunique() == 1).all()
    big = pd.concat([subjects.assign(age=subjects["age"] + shift / 100) for shift in range(4)])
    big.index = [f"t{k}" for k in range(len(big))]
    bands = strata_of(big, pd.Series(np.tile(labels.to_numpy(), 4), index=big.index))
    assert (big.groupby(bands)["age"].agg(np.ptp) < 12).all()
    assert (bands.value_counts() >= 20).all()


def test_subjects_of_unknown_age_or_sex_are_a_stratum():
    folds, subjects = cohort()
    subjects.loc[["s00", "s01"], "age"] = np.nan
    subjects.loc["s30", "sex"] = None
    strata = strata_of(subjects, by_subject(folds))
    assert strata.index[strata == "unknown"].tolist() == ["s00", "s01", "s30"]
    nobody = strata_of(subjects.assign(age=np.nan), by_subject(folds))
    assert (nobody == "unknown").all()


def test_someone_with_two_diagnoses_lends_them_in_order():
    folds = pd.DataFrame(
        {
            "fold": 0,
            "side": "train",
            "scan_id": ["a-1", "a-2", "b-1", "b-2", "b-3"],
            "subject_id": ["a", "a", "b", "b", "b"],
            "label": ["CN", "AD", "CN", "CN", "CN"],
        }
    )
    unknown = pd.DataFrame({"age": np.nan, "sex": None}, index=["a", "b"])
    exchanged = [permute_diagnoses(folds, unknown, draw=draw)["label"].tolist() for draw in range(1, 12)]
    assert {tuple(labels) for labels in exchanged} == {
        ("CN", "AD", "CN", "CN", "CN"),
        ("CN", "CN", "CN", "AD", "AD"),
    }


def test_age_and_sex_are_those_of_the_first_scan():
    scans = pd.DataFrame(
        {
            "scan_id": ["b2", "b1", "a1"],
            "subject_id": ["b", "b", "a"],
            "age": [72.0, 70.5, np.nan],
            "sex": ["F", "F", None],
        }
    )
    found = first_ages(scans)
    assert np.isnan(found["age"]["a"])
    assert found.loc["b"].tolist() == [70.5, "F"]
