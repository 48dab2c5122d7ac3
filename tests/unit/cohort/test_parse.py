"""Readers: every row is a scan or dropped with a reason; what cannot be read is said by file, row, column and value."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.adni_tables import HEADER, ROWS, write_merged
from helpers.folder_scans import write_named, write_plain
from voxelwhy.cohort.parse import parse_tables
from voxelwhy.cohort.readers import adni_merged
from voxelwhy.cohort.readers import folder as folder_reader
from voxelwhy.cohort.readers._tables import read_rows
from voxelwhy.errors import ConfigError, InputError
from voxelwhy.io.tables import DROPPED, SCANS


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
        (HEADER + "\n", "a header but no rows"),
        (HEADER.replace("PTID", "PTlD") + "\nx", r"no column 'PTID'\n(.*\n)*.*rename 'PTlD'\?"),
        (HEADER.replace("Image.ID", "image.id") + "\nx", r"no column 'Image.ID'\n(.*\n)*.*rename 'image.id'\?"),
        (HEADER.replace(",", ";") + "\n1;2", r"separated by semicolons\n.*row 1"),
        (HEADER + ",DX\n", r"a column occurs twice\n.*column DX"),
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


def test_rows_that_a_reader_loses_are_noticed(tmp_path, monkeypatch):
    read = folder_reader.read_cohort
    monkeypatch.setattr(folder_reader, "read_cohort", lambda settings: (read(settings)[0][1:], read(settings)[1]))
    with pytest.raises(InputError, match=r"rows were lost(.*\n)+.*2 scans and 0 dropped(.*\n)+.*3 in total"):
        parse_tables(write_plain(tmp_path, "path,label\na/1.nii,F\nb/1.nii,M\nc_T1w.nii.gz,M\n"))


def test_the_readers_have_one_signature(tmp_path):
    for reader, settings in (
        (adni_merged, write_merged(tmp_path)),
        (folder_reader, write_plain(tmp_path, "path,label\na/1.nii,F\n", name="plain.csv")),
        (folder_reader, write_named(tmp_path / "named", "AD_1.nii", "NC_2.nii", "x.nii")),
    ):
        records, entries = reader.read_cohort(settings)
        assert len(records) == entries
        for record in records:
            assert set(DROPPED.columns) <= set(record)
            assert record["reason"] or set(SCANS.columns) <= set(record)


def test_a_comma_that_splits_a_cell_never_shifts_a_row(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("ID,M/F,Age,CDR,Delay\na,F,73,0,1\nb,F,73,0,5,\n")
    with pytest.raises(InputError, match=r"as many cells(.*\n)+.*row 3\n.*6 cells'\n.*5 cells\n.*in quotes"):
        read_rows(table)
    # Separators too many at the end of every row are harmless.
    table.write_text("a,b\n1,2,,\n3,4,,\n , \n")
    assert read_rows(table) == [(2, {"a": "1", "b": "2"}), (3, {"a": "3", "b": "4"})]
    table.write_text('"a", "b"\n"1", "2,5"\n')
    assert read_rows(table) == [(2, {"a": "1", "b": "2,5"})]


def test_a_spreadsheet_is_no_table(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"PK\x03\x04rest")
    with pytest.raises(InputError, match=r"not a text file\n.*t.csv\n.*spreadsheet(.*\n)+.*CSV UTF-8"):
        read_rows(tmp_path / "t.csv")
