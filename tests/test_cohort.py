"""Readers: every row is a scan or dropped with a reason; what cannot be read is said by file, row, column and value."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from voxelwhy.cohort import adni_merged
from voxelwhy.cohort import folder as folder_reader
from voxelwhy.cohort._reading import read_rows
from voxelwhy.cohort.parse import parse_tables
from voxelwhy.errors import ConfigError, InputError
from voxelwhy.tables import DROPPED, SCANS, read_table, write_table

CLASSES = {"positive": {"name": "AD", "values": ["Dementia"]}, "negative": {"name": "CN", "values": ["CN"]}}
CLASSES["drop"] = ["MCI"]
HEADER = "RID,PTID,VISCODE,DX,EXAMDATE,Image.ID,Scan.Date,Sequence,Visit,Month_bl,Screen.Diagnosis,Study.ID,Series.ID"
HEADER += ",label_x"
N3 = "MPR; GradWarp; N3; Scaled"
# PTID, DX, EXAMDATE, Image.ID, Scan.Date, Sequence, Visit
ROWS = [
    ("999_S_0001", "CN", "2006-01-10", "101", "1/12/06", N3, "Screening"),
    ("999_S_0001", "CN", "2006-01-10", "102", "1/12/06", N3 + "_2", "Screening"),
    ("999_S_0001", "CN", "2007-01-10", "103", "12/31/07", N3, "Month 12"),
    ("999_S_0002", "Dementia", "2006-02-10", "104", "2/2/06", N3, "Screening"),
    ("999_S_0002", "Dementia", "", "105", "2/2/08", N3, "Month 24"),
    ("999_S_0003", "MCI", "2006-02-10", "106", "2/3/06", N3, "Screening"),
    ("999_S_0004", "CN", "2006-02-10", "107", "2/4/06", N3, "Screening"),
    ("999_S_0004", "Dementia", "2008-02-10", "108", "2/4/08", N3, "Month 24"),
]
TEMPLATE = "{PTID}/{Visit}/{PTID}_{Scan.Date}_{Visit}_{Image.ID}_{DX}.nii.gz"


def _line(ptid, dx, examdate, image_id, scan_date, sequence, visit):
    return f"1,{ptid},bl,{dx},{examdate},{image_id},{scan_date},{sequence},{visit},0,NL,7,{image_id}9,N/A"


def _write(folder, rows=ROWS, header=HEADER, *, missing=(), encode=None):
    """A table and empty scans in `folder`; the settings that read them."""
    for ptid, dx, _, image_id, scan_date, _, visit in ROWS:
        visit = visit.replace(" ", "")
        path = folder / "ADNI" / ptid / visit / f"{ptid}_{scan_date.replace('/', '-')}_{visit}_{image_id}_{dx}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        if image_id not in missing:
            path.touch()
    text = "\n".join([header, *(_line(*row) for row in rows)]) + "\n"
    (folder / "table.csv").write_bytes(encode(text) if encode else text.encode())
    return {
        "source": "adni_merged",
        "table": str(folder / "table.csv"),
        "data_dir": str(folder / "ADNI"),
        "path_template": TEMPLATE,
        "classes": CLASSES,
        "corrupt": [],
        "reprocessed": "keep",
    }


def _changed(row, **cells):
    names = ("ptid", "dx", "examdate", "image_id", "scan_date", "sequence", "visit")
    return tuple({**dict(zip(names, row, strict=True)), **cells}[name] for name in names)


def _reasons(dropped):
    return dict(zip(dropped["row"], dropped["reason"], strict=True))


def test_every_row_is_kept_or_dropped_with_its_reason(tmp_path, caplog):
    settings = _write(tmp_path, missing=["105"])
    settings["corrupt"] = ["999_S_0001/Month12", "999_S_0077/Screening"]
    with caplog.at_level(logging.INFO):
        scans, dropped, counts = parse_tables(settings)
    assert _reasons(dropped) == {4: "listed as corrupt", 6: "file missing", 7: "diagnosis MCI is not studied"}
    assert scans["image_id"].tolist() == ["101", "102", "104", "107", "108"]
    assert counts == {
        "rows": 8,
        "scans": 5,
        "subjects": 3,
        "dropped": {"diagnosis MCI is not studied": 1, "file missing": 1, "listed as corrupt": 1},
        "classes": {"AD": {"scans": 2, "subjects": 2}, "CN": {"scans": 3, "subjects": 2}},
    }
    assert "8 rows, 5 scans of 3 subjects" in caplog.text
    assert "1 rows: file missing" in caplog.text
    assert "no row of the table matches '999_S_0077/Screening'" in caplog.text
    assert "Month12" not in "".join(r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)
    detail = dropped.set_index("row").loc[6, "detail"]
    assert detail == str(tmp_path / "ADNI/999_S_0002/Month24/999_S_0002_2-2-08_Month24_105_Dementia.nii.gz")


def test_a_scan_in_full_and_the_tables_follow_their_schemas(tmp_path):
    scans, dropped, _ = parse_tables(_write(tmp_path))
    write_table(scans, tmp_path / "scans.tsv", SCANS)
    write_table(dropped, tmp_path / "dropped.tsv", DROPPED)
    scan = read_table(tmp_path / "scans.tsv", SCANS).iloc[2].to_dict()
    assert scan.pop("age") != scan.get("age")  # not known: NaN
    assert scan == {
        "scan_id": "sub-999S0001_ses-Month12_I103",
        "subject_id": "999_S_0001",
        "session": "Month12",
        "label": "CN",
        "sex": None,
        "scan_date": "2007-12-31",
        "image_id": "103",
        "path": str(tmp_path / "ADNI/999_S_0001/Month12/999_S_0001_12-31-07_Month12_103_CN.nii.gz"),
    }
    assert read_table(tmp_path / "dropped.tsv", DROPPED)["scan_id"].tolist() == ["sub-999S0003_ses-Screening_I106"]


def test_only_the_first_of_two_processings_is_kept_on_request(tmp_path):
    # The second processing stands first in this table; of 999_S_0002 the first has no file, so the second stays.
    rows = [ROWS[1], ROWS[0], *ROWS[2:4], _changed(ROWS[4], scan_date="2/2/06", sequence=N3 + "_2", visit="Screening")]
    rows += ROWS[5:]
    settings = _write(tmp_path, rows, missing=["104"]) | {"reprocessed": "first"}
    again = tmp_path / "ADNI/999_S_0002/Screening/999_S_0002_2-2-06_Screening_105_Dementia.nii.gz"
    again.touch()
    scans, dropped, _ = parse_tables(settings)
    assert _reasons(dropped) == {2: "reprocessed", 5: "file missing", 7: "diagnosis MCI is not studied"}
    assert dropped["detail"].iloc[0] == "kept is sub-999S0001_ses-Screening_I101"
    assert scans["image_id"].tolist() == ["101", "103", "105", "107", "108"]


def test_two_acquisitions_of_one_day_are_no_reprocessing(tmp_path):
    settings = _write(tmp_path) | {"reprocessed": "first"}
    text = Path(settings["table"]).read_text().replace(N3 + "_2", "another protocol")
    Path(settings["table"]).write_text(text)
    assert len(parse_tables(settings)[0]) == 7


def test_age_and_sex_are_read_where_the_table_has_them(tmp_path):
    settings = _write(tmp_path)
    lines = Path(settings["table"]).read_text().splitlines()
    ages = ["Age,PTGENDER", "70.5,Male", "NA,f", *["71,F"] * 6]
    Path(settings["table"]).write_text("\n".join(f"{a},{b}" for a, b in zip(lines, ages, strict=True)))
    scans = parse_tables(settings)[0]
    assert scans["age"].tolist()[0] == 70.5
    assert scans["age"].isna().tolist() == [False, True] + [False] * 5
    assert scans["sex"].tolist()[:3] == ["M", "F", "F"]


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\r").encode(),
        lambda text: text.replace(",", "\t").encode(),
        lambda text: "\n".join(",".join(f'"{c}"' for c in line.split(",")) for line in text.splitlines()).encode(),
        lambda text: text.replace("\n", "\n\n").rstrip().encode() + b"\n,,,,,,,,,,,,,\n",
    ],
    ids=["BOM and CRLF", "bare CR", "tabs", "quoted", "blank lines"],
)
def test_the_same_table_as_others_write_it(tmp_path, encode):
    plain = parse_tables(_write(tmp_path))[0]
    assert parse_tables(_write(tmp_path, encode=encode))[0].equals(plain)


def test_rows_are_counted_as_an_editor_counts_lines(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text('a,b\n\n1,"two\nlines"\n3,4\n')
    assert read_rows(table) == [(3, {"a": "1", "b": "two\nlines"}), (5, {"a": "3", "b": "4"})]


@pytest.mark.parametrize(
    ("number", "cells", "match"),
    [
        (3, {"dx": "dementia"}, r"row 5, column DX\n.*'dementia'\n.*Dementia, CN, MCI"),
        (3, {"dx": ""}, r"row 5, column DX\n.*''\n"),
        (3, {"image_id": "101"}, r"Image.ID must be unique\n.*row 5.*\n.*row 2 has too"),
        (3, {"image_id": "I101"}, r"Image.ID must be unique\n.*row 5"),
        (3, {"image_id": "104.0"}, r"row 5, column Image.ID\n.*'104.0'\n.*whole number"),
        (3, {"ptid": ""}, r"empty.*\n.*row 5, column PTID"),
        (3, {"ptid": "NA"}, r"empty.*\n.*row 5, column PTID"),
        (3, {"visit": ""}, r"empty.*\n.*row 5, column Visit"),
        (3, {"scan_date": "13/1/06"}, r"not a date\n.*row 5, column Scan.Date\n.*'13/1/06'\n.*M/D/YY"),
        (3, {"scan_date": "2/30/06"}, r"not a date\n.*row 5"),
        (3, {"scan_date": ""}, r"empty.*\n.*row 5, column Scan.Date"),
        (3, {"examdate": "2006-02-31"}, r"row 5, column EXAMDATE\n.*'2006-02-31'"),
        (3, {"ptid": "../../etc"}, r"cannot be part of a path\n.*row 5, column PTID"),
        (3, {"visit": "Month 12,5"}, r"as many cells as the header\n.*row 5\n.*15 cells'\n.*14 cells"),
    ],
)
def test_a_bad_cell_is_named_with_row_column_value_and_what_is_allowed(tmp_path, number, cells, match):
    rows = [*ROWS[:number], _changed(ROWS[number], **cells), *ROWS[number + 1 :]]
    with pytest.raises(InputError, match=match) as error:
        parse_tables(_write(tmp_path, rows))
    assert f"file {tmp_path / 'table.csv'}" in str(error.value)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (None, "there is no such table"),
        ("", "the table is empty"),
        (HEADER + "\n", "a header and no rows"),
        (HEADER.replace("PTID", "PTlD") + "\nx", r"no column 'PTID'\n(.*\n)*.*rename 'PTlD'\?"),
        (HEADER.replace("Image.ID", "image.id") + "\nx", r"no column 'Image.ID'\n(.*\n)*.*rename 'image.id'\?"),
        (HEADER.replace(",", ";") + "\n1;2", r"separated by semicolons\n.*row 1"),
        (HEADER + ",DX\n", r"there twice\n.*column DX"),
        (HEADER + '\n1,"2\n', "stray quote"),
    ],
    ids=["missing", "empty", "no rows", "misspelt", "case", "semicolons", "twice", "quote"],
)
def test_a_table_that_is_none(tmp_path, text, match):
    settings = _write(tmp_path)
    Path(settings["table"]).unlink()
    if text is not None:
        Path(settings["table"]).write_text(text)
    with pytest.raises(InputError, match=match):
        parse_tables(settings)


def test_text_that_is_not_utf8_is_refused(tmp_path):
    settings = _write(tmp_path, encode=lambda text: text.encode("utf-16"))
    with pytest.raises(InputError, match="not plain UTF-8"):
        parse_tables(settings)


def test_one_class_only_is_refused_with_the_counts(tmp_path):
    settings = _write(tmp_path, [row for row in ROWS if row[1] != "Dementia"])
    with pytest.raises(InputError, match=r"no scan of class AD(.*\n)+.*4 rows: class CN, 1 rows: diagnosis MCI"):
        parse_tables(settings)


def test_all_files_missing_is_an_error_that_names_a_path(tmp_path):
    settings = _write(tmp_path) | {"data_dir": str(tmp_path / "elsewhere")}
    with pytest.raises(InputError, match=r"none of the 7 scans(.*\n)+.*no file .*elsewhere/999_S_0001/Screening"):
        parse_tables(settings)


@pytest.mark.parametrize("template", ["../{PTID}.nii", "/data/{PTID}.nii", "{PTID", "{}/{PTID}"])
def test_a_template_that_leaves_the_folder_or_is_not_closed(tmp_path, template):
    with pytest.raises(ConfigError, match=r"path_template"):
        parse_tables(_write(tmp_path) | {"path_template": template})


def test_a_template_may_name_any_column_and_only_those(tmp_path):
    settings = _write(tmp_path) | {"path_template": "{Series.ID}.nii"}
    (tmp_path / "ADNI/1049.nii").touch()
    with pytest.raises(InputError, match="no scan of class CN"):
        parse_tables(settings)
    with pytest.raises(InputError, match=r"no column 'Series_ID'\n(.*\n)*.*'Series.ID'"):
        parse_tables(settings | {"path_template": "{Series_ID}.nii"})


def test_two_scans_cannot_share_a_file(tmp_path):
    settings = _write(tmp_path) | {"path_template": "{PTID}.nii"}
    for ptid in {row[0] for row in ROWS}:
        (tmp_path / f"ADNI/{ptid}.nii").touch()
    with pytest.raises(InputError, match=r"the path must be unique\n.*row 3"):
        parse_tables(settings)


def test_a_symbolic_link_out_of_the_folder_is_refused_and_one_within_is_not(tmp_path):
    settings = _write(tmp_path)
    scan = tmp_path / "ADNI/999_S_0001/Screening/999_S_0001_1-12-06_Screening_101_CN.nii.gz"
    (tmp_path / "ADNI/store.nii.gz").touch()
    (tmp_path / "outside.nii.gz").touch()
    scan.unlink()
    scan.symlink_to(tmp_path / "ADNI/store.nii.gz")
    assert parse_tables(settings)[0]["path"].iloc[0] == str(scan)
    scan.unlink()
    scan.symlink_to(tmp_path / "outside.nii.gz")
    with pytest.raises(InputError, match=r"leaves the data folder\n.*row 2"):
        parse_tables(settings)


def test_an_unknown_source_names_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="did you mean folder"):
        parse_tables(_write(tmp_path) | {"source": "foldr"})


PLAIN = {
    "source": "folder",
    "classes": {
        "positive": {"name": "F", "values": ["F", 1]},
        "negative": {"name": "M", "values": ["M"]},
        "drop": ["?"],
    },
}


def _plain(folder, text, *, name="table.csv", files=("a/1.nii", "b/1.nii", "c_T1w.nii.gz")):
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    (folder / name).write_text(text)
    return PLAIN | {"table": str(folder / name)}


def test_a_plain_table_of_two_columns(tmp_path, caplog):
    scans, dropped, counts = parse_tables(
        _plain(tmp_path, "path,label\na/1.nii,F\nb/1.nii,M\nc_T1w.nii.gz,?\nx.nii,1\n")
    )
    assert scans["scan_id"].tolist() == ["a-1", "b-1"]
    assert scans["subject_id"].tolist() == ["a/1", "b/1"]
    assert scans["label"].tolist() == ["F", "M"]
    assert _reasons(dropped) == {4: "label ? is not studied", 5: "file missing"}
    assert counts["rows"] == 4
    assert "each scan counts as a subject of its own" in caplog.text
    write_table(scans, tmp_path / "scans.tsv", SCANS)
    write_table(dropped, tmp_path / "dropped.tsv", DROPPED)


def test_a_plain_table_of_all_columns_as_tsv(tmp_path):
    text = "sex\tpath\tlabel\tsubject\tsession\tage\tcolour\n"
    text += "male\ta/1.nii\tF\ts 1\t2\t70\tred\nF\tb/1.nii\tM\ts 1\tn/a\t\t\n"
    scans = parse_tables(_plain(tmp_path, text, name="t.tsv"))[0]
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
    two = parse_tables(_plain(tmp_path, "\n".join([header, *lines[:2]]), files=files))[0]["scan_id"].tolist()
    three = parse_tables(_plain(tmp_path, "\n".join([header, *lines]), files=files))[0]["scan_id"].tolist()
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
        ("/etc/passwd,F", r"leaves the data folder\n.*row 3, column path"),
    ],
)
def test_bad_cells_of_a_plain_table(tmp_path, row, match):
    with pytest.raises(InputError, match=match):
        parse_tables(_plain(tmp_path, f"path,label\nb/1.nii,M\n{row}\n"))


@pytest.mark.parametrize(
    ("cells", "match"),
    [
        (",70,F", r"empty.*\n.*row 2, column subject"),
        ("s,-4,F", r"not an age\n.*row 2, column age\n.*'-4'\n.*0 to 130"),
        ('s,"70,5",F', "not an age"),
        ("s,70,woman", r"not a sex\n.*row 2, column sex\n.*'woman'\n.*F, M, female, male"),
    ],
)
def test_bad_people_of_a_plain_table(tmp_path, cells, match):
    with pytest.raises(InputError, match=match):
        parse_tables(_plain(tmp_path, f"path,label,subject,age,sex\na/1.nii,F,{cells}\n"))


def test_paths_may_be_absolute_below_the_data_folder_and_stay_relative_where_it_is(tmp_path, monkeypatch):
    settings = _plain(tmp_path, f"path,label\n{tmp_path}/a/1.nii,F\nb/1.nii,M\n")
    assert parse_tables(settings)[0]["path"].tolist() == [str(tmp_path / "a/1.nii"), str(tmp_path / "b/1.nii")]
    monkeypatch.chdir(tmp_path)
    _plain(tmp_path, "path,label\n1.nii,F\n../b/1.nii,M\n")
    with pytest.raises(InputError, match="leaves the data folder"):
        parse_tables(PLAIN | {"table": "table.csv", "data_dir": "a"})
    _plain(tmp_path, "path,label\na/1.nii,F\nb/1.nii,M\n")
    assert parse_tables(PLAIN | {"table": "table.csv"})[0]["path"].tolist() == ["a/1.nii", "b/1.nii"]


def test_rows_that_a_reader_loses_are_noticed(tmp_path, monkeypatch):
    read = folder_reader.read_cohort
    monkeypatch.setattr(folder_reader, "read_cohort", lambda settings: (read(settings)[0][1:], read(settings)[1]))
    with pytest.raises(InputError, match=r"rows were lost(.*\n)+.*2 scans and 0 dropped(.*\n)+.*3 in sum"):
        parse_tables(_plain(tmp_path, "path,label\na/1.nii,F\nb/1.nii,M\nc_T1w.nii.gz,M\n"))


def test_the_readers_have_one_signature(tmp_path):
    for reader, settings in (
        (adni_merged, _write(tmp_path)),
        (folder_reader, _plain(tmp_path, "path,label\na/1.nii,F\n", name="plain.csv")),
    ):
        records, entries = reader.read_cohort(settings)
        assert len(records) == entries
        for record in records:
            assert set(DROPPED.columns) <= set(record)
            assert record["reason"] or set(SCANS.columns) <= set(record)


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
