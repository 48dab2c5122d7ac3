"""Source folder: a plain table, or no table and the class in the names of files and folders."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from helpers.adni_tables import reasons
from helpers.folder_scans import NAMED, PLAIN, touch, write_named, write_plain
from voxelwhy.cohort.parse import parse_tables
from voxelwhy.errors import InputError
from voxelwhy.io.tables import DROPPED, SCANS, read_table, write_table


def test_a_plain_table_of_two_columns(tmp_path, caplog):
    scans, dropped, counts = parse_tables(
        write_plain(tmp_path, "path,label\na/1.nii,F\nb/1.nii,M\nc_T1w.nii.gz,?\nx.nii,1\n")
    )
    assert scans["scan_id"].tolist() == ["a-1", "b-1"]
    assert scans["subject_id"].tolist() == ["a/1", "b/1"]
    assert scans["label"].tolist() == ["F", "M"]
    assert reasons(dropped) == {4: "label ? is not studied", 5: "file missing"}
    assert counts["rows"] == 4
    assert "each scan counts as a subject of its own" in caplog.text
    write_table(scans, tmp_path / "scans.tsv", SCANS)
    write_table(dropped, tmp_path / "dropped.tsv", DROPPED)


def test_a_plain_table_of_all_columns_as_tsv(tmp_path):
    text = "sex\tpath\tlabel\tsubject\tsession\tage\tcolour\n"
    text += "male\ta/1.nii\tF\ts 1\t2\t70\tred\nF\tb/1.nii\tM\ts 1\tn/a\t\t\n"
    scans = parse_tables(write_plain(tmp_path, text, name="t.tsv"))[0]
    assert scans["scan_id"].tolist() == ["sub-s-1_ses-2_1", "sub-s-1_1"]
    assert scans["subject_id"].tolist() == ["s 1", "s 1"]
    assert scans["session"].tolist() == ["2", None]
    assert scans["sex"].tolist() == ["M", "F"]
    assert scans["age"].tolist()[0] == 70
    assert scans["age"].isna().tolist() == [False, True]


def test_bids_names_are_not_doubled_and_ids_are_unique_and_stable(tmp_path):
    files = [f"sub-01/{d}/sub-01_ses-2_T1w.nii.gz" for d in "xyz"]
    lines = [f"{file},{label},sub-01,2" for file, label in zip(files, "FMM", strict=True)]
    header = "path,label,subject,session"
    two = parse_tables(write_plain(tmp_path, "\n".join([header, *lines[:2]]), files=files))[0]["scan_id"].tolist()
    three = parse_tables(write_plain(tmp_path, "\n".join([header, *lines]), files=files))[0]["scan_id"].tolist()
    assert three[0] == "sub-01_ses-2_T1w"
    assert three[:2] == two
    assert len(set(three)) == 3


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ("a/1.nii,X", r"column label\n.*'X'\n.*F, 1, M, \?"),
        ("b/1.nii,F", r"path must be unique\n.*row 3"),
        ("a/../b/1.nii,F", r"path must be unique\n.*row 3"),
        (",F", r"empty.*\n.*row 3, column path"),
        ("../1.nii,F", r"leaves the data folder\n.*row 3, column path\n.*'../1.nii'"),
    ],
)
def test_bad_cells_of_a_plain_table(tmp_path, row, match):
    with pytest.raises(InputError, match=match):
        parse_tables(write_plain(tmp_path, f"path,label\nb/1.nii,M\n{row}\n"))


@pytest.mark.parametrize(
    ("cells", "match"),
    [
        (",70,F", r"empty.*\n.*row 2, column subject"),
        ("s,-3,F", r"not a valid age\n.*row 2, column age\n.*'-3'\n.*0 to 130"),
        ('s,"70,5",F', "not a valid age"),
        ("s,70,woman", r"not a valid sex\n.*row 2, column sex\n.*'woman'\n.*F, M, female, male"),
    ],
)
def test_bad_people_of_a_plain_table(tmp_path, cells, match):
    with pytest.raises(InputError, match=match):
        parse_tables(write_plain(tmp_path, f"path,label,subject,age,sex\na/1.nii,F,{cells}\n"))


def test_paths_may_be_absolute_below_the_data_folder_and_stay_relative_where_it_is(tmp_path, monkeypatch):
    settings = write_plain(tmp_path, f"path,label\n{tmp_path}/a/1.nii,F\nb/1.nii,M\n")
    assert parse_tables(settings)[0]["path"].tolist() == [str(tmp_path / "a/1.nii"), str(tmp_path / "b/1.nii")]
    monkeypatch.chdir(tmp_path)
    write_plain(tmp_path, "path,label\n1.nii,F\n../b/1.nii,M\n")
    with pytest.raises(InputError, match="leaves the data folder"):
        parse_tables(PLAIN | {"table": "table.csv", "data_dir": "a"})
    write_plain(tmp_path, "path,label\na/1.nii,F\nb/1.nii,M\n")
    assert parse_tables(PLAIN | {"table": "table.csv"})[0]["path"].tolist() == ["a/1.nii", "b/1.nii"]


def test_absolute_paths_may_lie_anywhere(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "c.nii").touch()
    settings = write_plain(tmp_path / "data", f"path,label\n{tmp_path}/elsewhere/c.nii,F\nb/1.nii,M\n")
    scans = parse_tables(settings)[0]
    assert scans["path"].tolist() == [str(tmp_path / "elsewhere/c.nii"), str(tmp_path / "data/b/1.nii")]
    assert scans["scan_id"][0].endswith("elsewhere-c")


def test_names_with_accents_are_the_same_in_both_spellings(tmp_path):
    """macOS spells é as two signs, in the names of files; tables and configs have one or the other."""
    one, two = "Andr\u00e9", "Andre\u0301"
    settings = write_plain(tmp_path, f"path,label,subject\n{one}.nii,F,{one}\n{two}_2.nii,F,{two}\nb/1.nii,M,x\n")
    for name in (f"{two}.nii", f"{one}_2.nii"):
        (tmp_path / name).touch()
    scans = parse_tables(settings)[0]
    assert scans["subject_id"].tolist() == [one, one, "x"]
    assert all(Path(path).exists() for path in scans["path"])
    settings["classes"] = settings["classes"] | {"positive": {"name": "F", "values": [two]}}
    settings["table"] = str(tmp_path / "labels.csv")
    Path(settings["table"]).write_text(f"path,label\na/1.nii,{one}\nb/1.nii,M\n")
    assert len(parse_tables(settings)[0]) == 2


def by_name(dropped):
    """Reasons of the images that are dropped, by scan_id."""
    return dict(zip(dropped["scan_id"], dropped["reason"], strict=True))


def test_both_files_of_a_pair_are_one_scan_of_a_table(tmp_path):
    text = "path,label\na.img,F\nb.hdr,M\nc.img,M\n"
    files = ("a.img", "a.hdr", "b.img", "b.hdr", "c.img")
    scans, dropped, _ = parse_tables(write_plain(tmp_path, text, files=files))
    assert scans["path"].tolist() == [str(tmp_path / "a.img"), str(tmp_path / "b.hdr")]
    assert reasons(dropped) == {4: "one file of the pair is missing"}
    assert dropped["detail"].tolist() == [str(tmp_path / "c.hdr")]
    with pytest.raises(InputError, match=r"path must be unique\n.*row 3"):
        parse_tables(write_plain(tmp_path, "path,label\na.img,F\na.hdr,M\n"))


def test_names_that_begin_with_a_class(tmp_path, caplog):
    names = ["AD_001.nii.gz", "AD_001_ses2.nii", "AD002.nii", "NC_001.nii", "CN_001.mgz", "CN-7_ses-M12_T1w.mgh"]
    names += ["MCI_001.nii", "ADNI_9.nii", "x.nii", ".AD_3.nii", "AD_001.json", "AD_004.txt", "labels.tsv"]
    with caplog.at_level(logging.INFO):
        scans, dropped, counts = parse_tables(write_named(tmp_path, *names))
    found = {row.scan_id: (row.subject_id, row.session, row.label) for row in scans.itertuples()}
    assert found == {
        "AD-001": ("AD_001", None, "AD"),
        "AD-001-ses2": ("AD_001", "2", "AD"),
        "AD002": ("AD_002", None, "AD"),
        "NC-001": ("NC_001", None, "CN"),
        "CN-001": ("CN_001", None, "CN"),
        "CN-7-ses-M12-T1w": ("CN_7", "M12", "CN"),
    }
    nameless = "the name does not begin with a class"
    assert by_name(dropped) == {"MCI-001": "label MCI is not studied", "ADNI-9": nameless, "x": nameless}
    assert dropped.set_index("scan_id").loc["x", "detail"] == str(tmp_path / "x.nii")
    assert (counts["rows"], counts["scans"], counts["subjects"]) == (9, 6, 5)
    assert "9 images; the class of each is given by the beginning of its name" in caplog.text
    write_table(scans, tmp_path / "scans.tsv", SCANS)
    write_table(dropped, tmp_path / "dropped.tsv", DROPPED)
    assert read_table(tmp_path / "dropped.tsv", DROPPED)["table"].tolist() == [None] * 3


def test_one_folder_a_class(tmp_path, caplog):
    names = ["AD/x.nii.gz", "AD/001.nii", "train/CN/001.nii", "NC/s1/ses-2/T1.nii", "NC/s1/b.nii", "MCI/y.nii"]
    names += ["other/AD_z.nii", "AD_z.nii"]
    with caplog.at_level(logging.INFO):
        scans, dropped, counts = parse_tables(write_named(tmp_path, *names))
    found = {row.scan_id: (row.subject_id, row.session, row.label) for row in scans.itertuples()}
    assert found == {
        "AD-001": ("AD_001", None, "AD"),
        "AD-x": ("x", None, "AD"),
        "NC-s1-b": ("s1", None, "CN"),
        "NC-s1-ses-2-T1": ("s1", "2", "CN"),
        "train-CN-001": ("CN_001", None, "CN"),
    }
    assert by_name(dropped) == {
        "MCI-y": "label MCI is not studied",
        "other-AD-z": "not in the folder of a class",
        "AD-z": "not in the folder of a class",
    }
    assert counts["rows"] == 8
    assert "8 images; the class of each is given by the name of its folder" in caplog.text


def test_a_class_in_folder_and_name_is_read_once_and_must_be_the_same(tmp_path):
    settings = write_named(tmp_path, "AD/AD_001.nii", "AD/NC_002.nii", "CN/NC_003.nii", "CN/AD/4.nii", "CN/7.nii")
    scans, dropped, _ = parse_tables(settings)
    assert dict(zip(scans["subject_id"], scans["label"], strict=True)) == {
        "AD_001": "AD",
        "CN_003": "CN",
        "CN_7": "CN",
    }
    other = "folder and file name give different classes"
    assert by_name(dropped) == {"AD-NC-002": other, "CN-AD-4": other}


def test_a_folder_may_begin_with_the_class_of_a_person(tmp_path):
    scans = parse_tables(write_named(tmp_path, "AD_011_S_0003/T1.nii", "AD_011_S_0003/b/T1.nii", "NC_5/T1.nii"))[0]
    assert scans["subject_id"].tolist() == ["011_S_0003", "011_S_0003", "NC_5"]


def test_numbers_as_classes_are_not_mixed_up_with_longer_ones(tmp_path):
    classes = {"positive": {"name": "AD", "values": [1]}, "negative": {"name": "CN", "values": [0]}, "drop": [10]}
    settings = write_named(tmp_path, "1_01.nii", "0_01.nii", "10_01.nii", "100_01.nii") | {"classes": classes}
    scans, dropped, _ = parse_tables(settings)
    assert scans["subject_id"].tolist() == ["0_01", "1_01"]
    assert by_name(dropped) == {"10-01": "label 10 is not studied", "100-01": "the name does not begin with a class"}
    folders = write_named(tmp_path / "b", "1/0_a.nii", "0/1_b.nii") | {"classes": classes}
    assert parse_tables(folders)[0]["label"].tolist() == ["CN", "AD"]


def test_a_name_in_both_classes_is_one_person_and_the_log_says_so(tmp_path, caplog):
    scans = parse_tables(write_named(tmp_path, "AD_011S3.nii", "NC_011S3.nii", "NC_2.nii"))[0]
    assert scans["subject_id"].nunique() == 2
    assert "1 names occur in both classes, first 011S3" in caplog.text


def test_formats_pairs_and_files_that_are_not_there(tmp_path):
    names = ["AD_1.img", "AD_1.hdr", "AD_2.img", "AD_3.hdr", "AD_4.nii", "AD_4.nii.gz", "NC_1.NII.GZ", "NC_2.IMG"]
    settings = write_named(tmp_path, *names, "NC_2.HDR")
    (tmp_path / "NC_3.nii").symlink_to("nowhere")
    (tmp_path / "NC_4.nii").symlink_to("NC_4.nii")
    (tmp_path / "NC_5.nii.gz").write_text("/annex/objects/MD5E-s1--2.nii.gz\n")
    scans, dropped, counts = parse_tables(settings)
    used = ["AD_1.img", "AD_4.nii", "NC_1.NII.GZ", "NC_2.IMG"]
    assert scans["path"].tolist() == [str(tmp_path / name) for name in used]
    half, fetch = "one file of the pair is missing", "file missing: not fetched?"
    found = [
        (row.subject_id, row.reason, Path(row.detail.removeprefix("kept is ")).name) for row in dropped.itertuples()
    ]
    assert found == [
        ("AD_2", half, "AD_2.hdr"),
        ("AD_3", half, "AD_3.img"),
        ("AD_4", "the scan is used in another format", "AD_4.nii"),
        ("NC_3", fetch, "NC_3.nii"),
        ("NC_4", fetch, "NC_4.nii"),
        ("NC_5", fetch, "NC_5.nii.gz"),
    ]
    assert counts["rows"] == 10


def test_no_name_that_tells_a_class_is_an_error(tmp_path):
    with pytest.raises(
        InputError, match=r"no file name begins with one(.*\n)+.*3 images, such as a, b, c'\n.*AD, NC, CN, MCI"
    ):
        parse_tables(write_named(tmp_path, "a.nii", "b.nii", "c.nii"))
    with pytest.raises(InputError, match="no image in the folder"):
        parse_tables(write_named(tmp_path / "empty", "a.txt"))
    with pytest.raises(InputError, match="there is no such folder"):
        parse_tables(NAMED | {"data_dir": str(tmp_path / "none")})


def test_links_are_followed_and_those_that_lead_back_end(tmp_path):
    touch(tmp_path / "disk", "AD/1.nii")
    settings = write_named(tmp_path / "data", "CN/2.nii")
    (tmp_path / "data/AD").symlink_to(tmp_path / "disk/AD")
    (tmp_path / "disk/AD/back").symlink_to(tmp_path / "data")
    assert parse_tables(settings)[0]["path"].tolist() == [
        str(tmp_path / "data/AD/1.nii"),
        str(tmp_path / "data/CN/2.nii"),
    ]


def test_a_dicom_series_is_a_scan_by_table_and_by_name(tmp_path):
    touch(tmp_path, "AD/p1/1.dcm", "AD/p1/2.DCM", "NC/p2/1.dcm", "NC/p3.nii")
    scans, dropped, counts = parse_tables(write_named(tmp_path))
    assert (counts["rows"], len(dropped)) == (3, 0)
    assert scans[["path", "label", "subject_id"]].to_numpy().tolist() == [
        [str(tmp_path / "AD/p1"), "AD", "p1"],
        [str(tmp_path / "NC/p2"), "CN", "p2"],
        [str(tmp_path / "NC/p3.nii"), "CN", "p3"],
    ]
    settings = write_plain(tmp_path, "path,label\nAD/p1,F\nNC/p2,M\nAD,M\n", files=())
    scans, dropped, _ = parse_tables(settings)
    assert scans["path"].tolist() == [str(tmp_path / "AD/p1"), str(tmp_path / "NC/p2")]
    assert dropped["reason"].tolist() == ["file missing"]


def test_visits_at_the_end_of_a_name_are_no_other_people(tmp_path, caplog):
    names = ("AD_001_bl.nii", "AD_001_m12.nii", "AD_002_MR1.nii", "AD_002_MR2.nii", "NC_011_S_0003_ses-2.nii")
    scans = parse_tables(write_named(tmp_path, *names))[0]
    assert scans["subject_id"].tolist() == ["AD_001", "AD_001", "AD_002", "AD_002", "011_S_0003"]
    assert scans["session"].tolist() == ["bl", "m12", "MR1", "MR2", "2"]
    assert "subjects are identified by names alone" in caplog.text


def test_a_row_without_a_label_is_dropped(tmp_path):
    _, dropped, _ = parse_tables(write_plain(tmp_path, "path,label\na/1.nii,F\nb/1.nii,M\nc_T1w.nii.gz,\n"))
    assert dropped["reason"].tolist() == ["no label"]


@pytest.mark.skipif(not os.environ.get("VOXELWHY_REAL_SCANS"), reason="VOXELWHY_REAL_SCANS names no real scans")
def test_real_scans_by_a_plain_table(tmp_path):
    folder = Path(os.environ["VOXELWHY_REAL_SCANS"])
    lines = (folder / "participants.tsv").read_text().splitlines()
    names = lines[0].split("\t")
    people = [dict(zip(names, line.split("\t"), strict=True)) for line in lines[1:]]
    rows = [
        "\t".join([str(next((folder / name).rglob("*T1w.nii*"))), sex, name, age])
        for name, sex, age in ((p["participant_id"], p["sex"], p["age"]) for p in people)
    ]
    (tmp_path / "t.tsv").write_text("\n".join(["path\tlabel\tsubject\tage", *rows]))
    scans, dropped, _ = parse_tables(PLAIN | {"table": str(tmp_path / "t.tsv"), "data_dir": str(folder)})
    assert (len(scans), len(dropped)) == (len(people), 0)
    assert scans["scan_id"].iloc[0] == "sub-01_T1w"


def test_a_scan_whose_path_has_a_word_in_braces_is_refused(tmp_path):
    touch(tmp_path, "AD_{x}.nii", "CN_1.nii")
    with pytest.raises(InputError, match=r"word in braces[\s\S]*AD_\{x\}\.nii"):
        parse_tables(NAMED | {"data_dir": str(tmp_path)})
