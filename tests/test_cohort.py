"""Readers: every row is a scan or dropped with a reason; what cannot be read is said by file, row, column and value."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from adni_tables import HEADER, ROWS, reasons, write_merged

from voxelwhy.cohort import adni_merged
from voxelwhy.cohort import folder as folder_reader
from voxelwhy.cohort._reading import read_rows
from voxelwhy.cohort.parse import parse_tables
from voxelwhy.errors import ConfigError, InputError
from voxelwhy.tables import DROPPED, SCANS, write_table


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
    plain = parse_tables(write_merged(tmp_path))[0]
    assert parse_tables(write_merged(tmp_path, encode=encode))[0].equals(plain)


def test_rows_are_counted_as_an_editor_counts_lines(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text('a,b\n\n1,"two\nlines"\n3,4\n')
    assert read_rows(table) == [(3, {"a": "1", "b": "two\nlines"}), (5, {"a": "3", "b": "4"})]


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
    settings = write_merged(tmp_path)
    Path(settings["table"]).unlink()
    if text is not None:
        Path(settings["table"]).write_text(text)
    with pytest.raises(InputError, match=match):
        parse_tables(settings)


def test_text_that_is_not_utf8_is_refused(tmp_path):
    settings = write_merged(tmp_path, encode=lambda text: text.encode("utf-16"))
    with pytest.raises(InputError, match="not plain UTF-8"):
        parse_tables(settings)


def test_one_class_only_is_refused_with_the_counts(tmp_path):
    settings = write_merged(tmp_path, [row for row in ROWS if row[1] != "Dementia"])
    with pytest.raises(InputError, match=r"no scan of class AD(.*\n)+.*4 rows: class CN, 1 rows: diagnosis MCI"):
        parse_tables(settings)


def test_an_unknown_source_names_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="did you mean folder"):
        parse_tables(write_merged(tmp_path) | {"source": "foldr"})


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
    assert reasons(dropped) == {4: "label ? is not studied", 5: "file missing"}
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
        (adni_merged, write_merged(tmp_path)),
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
