"""Source bids: any dataset, clinica's, labels by session, one image a session; all else is dropped with its reason."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from helpers.bids_dataset import CLASSES, add_images, write_bids, write_tsv
from voxelwhy.cohort.parse import parse_tables
from voxelwhy.errors import InputError
from voxelwhy.io.tables import DROPPED, SCANS, read_table, write_table


def drops(dropped):
    """Reason of each dropped image or participant."""
    names = dropped["scan_id"].fillna(dropped["subject_id"])
    return dict(zip(names, dropped["reason"], strict=True))


def labels(scans):
    return dict(zip(scans["scan_id"], scans["label"], strict=True))


def test_a_plain_dataset(tmp_path):
    people = ("participant_id age gender diagnosis", "sub-01 70.5 F AD", "02 n/a male CN", "sub-03 80 M CN")
    settings = write_bids(tmp_path / "sub-x_ses-9" / "data", participants=people)
    add_images(Path(settings["data_dir"]), "sub-04_T1w.nii.gz", "sub-01_T2w.nii.gz", "sub-01_T1w.json")
    for other in ("derivatives/sub-01/anat/sub-01_T1w.nii.gz", "sourcedata/sub-01/anat/sub-01_T1w.nii.gz"):
        (Path(settings["data_dir"]) / other).parent.mkdir(parents=True)
        (Path(settings["data_dir"]) / other).touch()
    scans, dropped, counts = parse_tables(settings)
    assert labels(scans) == {"sub-01_T1w": "AD", "sub-02_T1w": "CN"}
    assert scans["subject_id"].tolist() == ["sub-01", "sub-02"]
    assert scans["session"].tolist() == [None, None]
    assert (scans["age"][0], scans["sex"].tolist()) == (70.5, ["F", "M"])
    assert scans["age"].isna().tolist() == [False, True]
    assert scans["path"][0] == os.path.join(settings["data_dir"], "sub-01/anat/sub-01_T1w.nii.gz")
    assert drops(dropped) == {
        "sub-04_T1w": "the participant is not in participants.tsv",
        "sub-03": "no T1w image",
    }
    assert dropped["row"].fillna(0).tolist() == [0, 4]
    assert counts["rows"] == 4
    write_table(scans, tmp_path / "scans.tsv", SCANS)
    write_table(dropped, tmp_path / "dropped.tsv", DROPPED)
    assert read_table(tmp_path / "dropped.tsv", DROPPED)["table"].tolist() == [
        None,
        os.path.join(settings["data_dir"], "participants.tsv"),
    ]


@pytest.mark.parametrize(
    ("of_folder", "later", "of_table", "later_of_table"),
    [("M000", "M012", "ses-M00", "ses-M12"), ("M00", "M12", "ses-M000", "ses-M012"), ("M00", "M12", "M00", "M12")],
)
def test_sessions_as_clinica_calls_them(tmp_path, of_folder, later, of_table, later_of_table):
    one, two = "sub-ADNI011S0003", "sub-ADNI022S0004"
    names = [f"{one}_ses-{of_folder}_T1w.nii.gz", f"{one}_ses-{later}_T1w.nii.gz", f"{two}_ses-{of_folder}_T1w.nii.gz"]
    people = ("participant_id sex age_bl diagnosis_sc", f"{one} F 81 AD", f"{two} M 67 MCI")
    settings = write_bids(tmp_path, *names, participants=people)
    rows = f"{of_table} 81.5 CN", f"{later_of_table} 82.5 AD"
    write_tsv(tmp_path / one / f"{one}_sessions.tsv", "session_id age diagnosis", *rows)
    write_tsv(tmp_path / two / f"{two}_sessions.tsv", "session_id age diagnosis", f"{of_table} 67 n/a")
    scans, dropped, _ = parse_tables(settings)
    assert labels(scans) == {f"{one}_ses-{of_folder}_T1w": "CN", f"{one}_ses-{later}_T1w": "AD"}
    assert scans["session"].tolist() == [of_folder, later]
    assert scans["age"].tolist() == [81.5, 82.5]
    assert scans["sex"].tolist() == ["F", "F"]
    assert drops(dropped) == {f"{two}_ses-{of_folder}_T1w": "no label"}
    assert dropped["detail"][0] == f"row 2 of {tmp_path / two / f'{two}_sessions.tsv'}"


def test_the_sessions_decide_where_they_have_the_column(tmp_path):
    names = [f"sub-01_ses-{n}_T1w.nii" for n in (1, 2, 3)] + ["sub-02_ses-1_T1w.nii", "sub-03_ses-1_T1w.nii"]
    people = ("participant_id diagnosis age", "sub-01 AD 60", "sub-02 AD 61", "sub-03 MCI 62")
    settings = write_bids(tmp_path, *names, participants=people)
    write_tsv(tmp_path / "sub-01/sub-01_sessions.tsv", "session_id diagnosis age", "ses-1 CN n/a", "ses-2 n/a 70")
    write_tsv(tmp_path / "sub-02/sub-02_sessions.tsv", "session_id age", "ses-1 65")
    scans, dropped, _ = parse_tables(settings)
    assert labels(scans) == {"sub-01_ses-1_T1w": "CN", "sub-02_ses-1_T1w": "AD"}
    assert scans["age"].tolist() == [60, 65]
    assert drops(dropped) == {
        "sub-01_ses-2_T1w": "no label",
        "sub-01_ses-3_T1w": "no label",
        "sub-03_ses-1_T1w": "diagnosis MCI is not studied",
    }
    assert dropped["detail"].tolist()[1] == "no row has a diagnosis"


def test_labels_of_sessions_alone(tmp_path):
    settings = write_bids(tmp_path, "sub-01_ses-1_T1w.nii", "sub-02_ses-1_T1w.nii", participants=None)
    for name, label in (("sub-01", "AD"), ("sub-02", "CN")):
        write_tsv(tmp_path / name / f"{name}_sessions.tsv", "session_id diagnosis", f"ses-1 {label}")
    scans, dropped, counts = parse_tables(settings)
    assert (scans["label"].tolist(), len(dropped), counts["rows"]) == (["AD", "CN"], 0, 2)


@pytest.mark.parametrize(
    ("run", "kept"),
    [("first", ["run-02"]), ("last", ["run-10"]), ("all", ["run-02", "run-9", "run-10"])],
)
def test_of_several_runs_what_is_asked_for(tmp_path, run, kept):
    names = [f"sub-01_run-{n}_T1w.nii" for n in ("02", "9", "10", "01")]
    settings = write_bids(tmp_path, *names, "sub-02_T1w.nii") | {"run": run}
    first = tmp_path / "sub-01/anat/sub-01_run-01_T1w.nii"
    first.unlink()
    first.symlink_to("../../.git/annex/objects/x")
    scans, dropped, counts = parse_tables(settings)
    assert sorted(scans["scan_id"]) == sorted([f"sub-01_{n}_T1w" for n in kept] + ["sub-02_T1w"])
    others = {f"sub-01_run-{n}_T1w" for n in ("02", "9", "10")} - set(scans["scan_id"])
    assert drops(dropped) == dict.fromkeys(others, "another run of the session is used") | {
        "sub-01_run-01_T1w": "file missing: not fetched?"
    }
    details = dropped.set_index("scan_id")["detail"]
    assert details["sub-01_run-01_T1w"] == str(first)
    assert {details[name] for name in others} <= {f"kept is sub-01_{kept[0]}_T1w.nii"}
    assert counts["rows"] == 5


def test_of_several_variants_the_plainest_name_and_then_the_first(tmp_path):
    one = ["sub-01_acq-a_T1w.nii", "sub-01_T1w.nii.gz", "sub-01_T1w.nii", "sub-01_run-2_T1w.nii"]
    two = ["sub-02_rec-norm_T1w.nii", "sub-02_acq-b_T1w.nii", "sub-02_acq-a_rec-x_T1w.nii", "sub-02_part-phase_T1w.nii"]
    scans, dropped, _ = parse_tables(write_bids(tmp_path, *one, *two))
    assert [Path(path).name for path in scans["path"]] == ["sub-01_T1w.nii", "sub-02_acq-b_T1w.nii"]
    variant = "another variant of the session is used"
    assert drops(dropped) == {
        "sub-01_T1w": "the scan is used in another format",
        "sub-01_run-2_T1w": "another run of the session is used",
        "sub-01_acq-a_T1w": variant,
        "sub-02_rec-norm_T1w": variant,
        "sub-02_acq-a_rec-x_T1w": variant,
        "sub-02_part-phase_T1w": "no magnitude image",
    }


def test_images_are_chosen_by_what_their_names_say(tmp_path):
    names = [f"sub-{s}_ses-{m}_acq-{a}_T1w.nii" for s in ("01", "02") for m in ("M000", "M012") for a in ("x", "yy")]
    settings = write_bids(tmp_path, *names, "sub-02_ses-M000_T1w.nii")
    scans, dropped, _ = parse_tables(settings | {"entities": {"session": "M00", "acquisition": "YY"}})
    assert scans["scan_id"].tolist() == ["sub-01_ses-M000_acq-yy_T1w", "sub-02_ses-M000_acq-yy_T1w"]
    assert set(dropped["reason"]) == {"not chosen by cohort.entities"}
    details = dropped.set_index("scan_id")["detail"]
    assert details["sub-01_ses-M012_acq-yy_T1w"] == "session M012, not M00"
    assert details["sub-01_ses-M000_acq-x_T1w"] == "acquisition x, not YY"
    assert details["sub-02_ses-M000_T1w"] == "acquisition not in the name, not YY"


def test_names_that_are_not_those_of_their_folders(tmp_path):
    settings = write_bids(tmp_path)
    for place in (
        "sub-01/anat/sub-02_T1w.nii",
        "sub-02/ses-1/anat/sub-02_ses-2_T1w.nii",
        "sub-A_1/anat/sub-A_1_T1w.nii",
    ):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    scans, dropped, _ = parse_tables(settings)
    assert len(scans) == 2
    other = "the file name does not match its folders"
    assert dropped["reason"].tolist() == [other, other, "a label has characters that BIDS does not allow"]


def test_every_t1_weighted_file_is_used_or_counted_with_its_reason(tmp_path, caplog):
    people = ("participant_id diagnosis", "sub-01 AD", "sub-02 CN", "sub-002_S_0413 AD", "50772 CN")
    settings = write_bids(tmp_path, "sub-01_T1w.nii.gz", "sub-02_T1w.nii.gz", participants=people)
    others = (
        "sub-002_S_0413/anat/sub-002_S_0413_T1w.nii.gz",
        "sub-0050772/anat/sub-0050772_T1w.nii.gz",
        "sub-03/sub-03_T1w.nii.gz",
        "sub-04/anat/sub-04_T1w.NII.GZ",
        "sub-04/anat/sub-04_T1w.mgz",
        "sub-05/ses-1/sub-05_ses-1_T1w.nii",
        "loose_T1w.nii.gz",
        "sub-01/anat/sub-01_T1w.json",
        "derivatives/x/sub-01/anat/sub-01_T1w.nii.gz",
        ".hidden/sub-09_T1w.nii.gz",
    )
    for other in others:
        (tmp_path / other).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / other).touch()
    scans, dropped, counts = parse_tables(settings)
    assert labels(scans) == {"sub-01_T1w": "AD", "sub-02_T1w": "CN"}
    found = {row.detail or row.subject_id: row.reason for row in dropped.itertuples()}
    place = "not in the anat folder of a subject"
    assert found == {
        "sub-002_S_0413: a label has only letters and digits": "a label has characters that BIDS does not allow",
        str(tmp_path / others[1]): "the participant is not in participants.tsv",
        str(tmp_path / others[2]): place,
        str(tmp_path / others[3]): "the ending is not .nii or .nii.gz",
        str(tmp_path / others[4]): "the ending is not .nii or .nii.gz",
        str(tmp_path / others[5]): place,
        str(tmp_path / others[6]): place,
        "sub-50772": "no T1w image",
    }
    assert counts["rows"] == 10
    assert "sub-0050772, sub-50772: are these one person?" in caplog.text


def test_pointers_of_git_annex_and_links_to_nowhere(tmp_path):
    settings = write_bids(tmp_path, "sub-01_T1w.nii.gz", "sub-02_T1w.nii.gz", "sub-03_T1w.nii.gz", "sub-04_T1w.nii.gz")
    people = ("sub-01 AD", "sub-02 CN", "sub-03 CN", "sub-04 AD")
    write_tsv(tmp_path / "participants.tsv", "participant_id diagnosis", *people)
    (tmp_path / "sub-03/anat/sub-03_T1w.nii.gz").write_text("/annex/objects/MD5E-s100--ab.nii.gz\n")
    link = tmp_path / "sub-04/anat/sub-04_T1w.nii.gz"
    link.unlink()
    link.symlink_to("../../.git/annex/objects/x/y")
    scans, dropped, _ = parse_tables(settings)
    assert scans["scan_id"].tolist() == ["sub-01_T1w", "sub-02_T1w"]
    assert drops(dropped) == dict.fromkeys(["sub-03_T1w", "sub-04_T1w"], "file missing: not fetched?")
    assert dropped["detail"].tolist()[1] == str(link)
    for name in ("sub-01", "sub-02"):
        (tmp_path / name / "anat" / f"{name}_T1w.nii.gz").write_text("/annex/objects/x\n")
    with pytest.raises(InputError, match=r"no image can be read: 4 are links(.*\n)+.*datalad get"):
        parse_tables(settings)


def test_ages_and_sexes_that_are_none_count_as_unknown(tmp_path, caplog):
    people = ("participant_id Age Sex diagnosis", "sub-01 89+ 1 AD", "sub-02 20-25 F CN")
    scans = parse_tables(write_bids(tmp_path, participants=people))[0]
    assert scans["age"].tolist()[0] == 89
    assert scans["age"].isna().tolist() == [False, True]
    assert scans["sex"].tolist() == [None, "F"]
    assert "Age '20-25' (1 images) cannot be read and counts as unknown" in caplog.text
    assert "Sex '1' (1 images)" in caplog.text


@pytest.mark.parametrize(
    ("people", "match"),
    [
        (
            ("participant_id diagnosis", "sub-01 XY", "sub-02 CN"),
            r"belongs to no class\n.*row 2, column diagnosis\n.*'XY'",
        ),
        (
            ("participant_id diagnosis", "sub-01 AD", "01 CN"),
            r"participant_id must be unique\n.*row 3.*\n.*row 2 has too",
        ),
        (
            ("participant_id Diagnosis", "sub-01 AD"),
            r"has the column 'diagnosis'\n.*participants.tsv(.*\n)+.*'Diagnosis'\?",
        ),
        (("participant_id dx", "sub-01 AD"), r"has the column 'diagnosis'\n(.*\n)+.*set cohort.label"),
        (("id diagnosis", "sub-01 AD"), r"no column 'participant_id'"),
        (("participant_id,diagnosis", "sub-01,AD"), r"separated by commas(.*\n)+.*tabs between"),
        (None, r"has the column 'diagnosis'\n(.*\n)+.*no table"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, people, match):
    with pytest.raises(InputError, match=match):
        parse_tables(write_bids(tmp_path, participants=people))


def test_a_session_that_two_rows_could_be(tmp_path):
    settings = write_bids(tmp_path, "sub-01_ses-M0_T1w.nii", "sub-02_ses-M0_T1w.nii")
    own = tmp_path / "sub-01/sub-01_sessions.tsv"
    write_tsv(own, "session_id diagnosis", "ses-M00 AD", "ses-M000 CN")
    with pytest.raises(InputError, match=r"two rows match the session ses-M0\n.*row 3, column session_id"):
        parse_tables(settings)
    write_tsv(own, "session_id diagnosis", "ses-M00 AD", "ses-M000 CN", "M0 AD")
    assert parse_tables(settings)[0]["label"].tolist() == ["AD", "CN"]


def test_folders_that_are_no_dataset_or_cannot_be_read(tmp_path, monkeypatch):
    settings = write_bids(tmp_path)
    with pytest.raises(InputError, match="there is no such folder"):
        parse_tables(settings | {"data_dir": str(tmp_path / "none")})
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no T1-weighted image in the dataset"):
        parse_tables(settings | {"data_dir": str(tmp_path / "empty")})
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("sub-01/anat") and access(path, mode))
    with pytest.raises(InputError, match=r"cannot be read\n.*sub-01/anat"):
        parse_tables(settings)


def test_paths_are_relative_where_the_folder_is(tmp_path, monkeypatch):
    write_bids(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    settings = {"source": "bids", "data_dir": "data", "label": "diagnosis", "classes": CLASSES}
    scans = parse_tables(settings | {"entities": {}, "run": "first"})[0]
    assert scans["path"][0] == "data/sub-01/anat/sub-01_T1w.nii.gz"


def test_1600_images_among_as_many_others_within_20_seconds(tmp_path):
    people = [f"ADNI{n:03d}S{n:04d}" for n in range(400)]
    rows = [f"sub-{name} {'AD' if n % 2 else 'CN'}" for n, name in enumerate(people)]
    names = [f"sub-{name}_ses-M{month:03d}_T1w.nii.gz" for name in people for month in (0, 6, 12, 24)]
    settings = write_bids(tmp_path, *names, participants=("participant_id diagnosis", *rows))
    add_images(tmp_path, *(name.replace(".nii.gz", ".json") for name in names))
    for name in names:
        other = (tmp_path / name.split("_")[0] / name.split("_")[1] / "func").joinpath(name.replace("T1w", "bold"))
        other.parent.mkdir()
        other.touch()
    start = time.perf_counter()
    scans, dropped, _ = parse_tables(settings)
    assert time.perf_counter() - start < 20
    assert (len(scans), len(dropped)) == (1600, 0)


@pytest.mark.skipif(not os.environ.get("VOXELWHY_REAL_SCANS"), reason="VOXELWHY_REAL_SCANS names no real scans")
def test_real_scans_of_a_dataset(tmp_path):
    folder = os.environ["VOXELWHY_REAL_SCANS"]
    classes = {"positive": {"name": "F", "values": ["F"]}, "negative": {"name": "M", "values": ["M"]}, "drop": []}
    settings = {
        "source": "bids",
        "data_dir": folder,
        "label": "sex",
        "classes": classes,
        "entities": {},
        "run": "first",
    }
    scans, dropped, counts = parse_tables(settings)
    assert (len(scans), len(dropped)) == (20, 0)
    assert counts["classes"] == {"F": {"scans": 10, "subjects": 10}, "M": {"scans": 10, "subjects": 10}}
    assert scans["scan_id"][0] == "sub-01_T1w"
    assert scans["age"].between(18, 60).all()


def test_images_that_bidsignore_hides_are_dropped_with_that_reason(tmp_path):
    settings = write_bids(tmp_path / "data", participants=("participant_id diagnosis", "sub-01 AD", "sub-02 CN"))
    folder = Path(settings["data_dir"])
    add_images(folder, "sub-01_acq-bad_T1w.nii.gz", "sub-02_run-2_T1w.nii.gz")
    lines = ["# of the scanner", "*_acq-bad_*", "sub-02/**/*run-2*", "extra/", "!sub-02/anat/sub-02_T1w*"]
    (folder / ".bidsignore").write_text("\n".join(lines))
    scans, dropped, counts = parse_tables(settings)
    assert sorted(scans["scan_id"]) == ["sub-01_T1w", "sub-02_T1w"]
    assert drops(dropped) == dict.fromkeys(("sub-01_acq-bad_T1w", "sub-02_run-2_T1w"), "hidden by .bidsignore")
    assert counts["rows"] == 4
