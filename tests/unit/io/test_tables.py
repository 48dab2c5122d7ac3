"""The study's tables: what goes in comes out, and what does not follow the schema is named."""

import numpy as np
import pandas as pd
import pytest

from voxelwhy.errors import InputError
from voxelwhy.io.tables import DROPPED, EXCLUDED, FOLDS, SCANS, read_table, write_table


@pytest.fixture
def scans():
    return pd.DataFrame(
        {
            "scan_id": ["a", "b"],
            "subject_id": ["001", "002"],
            "session": [None, "Screening"],
            "label": ["AD", "CN"],
            "age": [np.nan, 71.5],
            "sex": [None, "F"],
            "scan_date": [None, None],
            "image_id": ["0012", None],
            "path": ["p", "q"],
        }
    )


def test_a_table_comes_back_as_it_was_written(scans, tmp_path):
    write_table(scans, tmp_path / "scans.tsv", SCANS)
    again = read_table(tmp_path / "scans.tsv", SCANS)
    pd.testing.assert_frame_equal(again, scans, check_dtype=False)
    assert again["image_id"][0] == "0012"
    assert again["session"][0] is None


def test_equal_tables_have_equal_bytes_whatever_the_order_of_columns(scans, tmp_path):
    write_table(scans, tmp_path / "a.tsv", SCANS)
    write_table(scans[scans.columns[::-1]], tmp_path / "b.tsv", SCANS)
    assert (tmp_path / "a.tsv").read_bytes() == (tmp_path / "b.tsv").read_bytes()


def test_an_empty_table_keeps_its_header(tmp_path):
    write_table(pd.DataFrame(columns=list(DROPPED.columns)), tmp_path / "dropped.tsv", DROPPED)
    assert (tmp_path / "dropped.tsv").read_text().split() == list(DROPPED.columns)
    assert len(read_table(tmp_path / "dropped.tsv", DROPPED)) == 0


def test_a_value_that_is_not_allowed_is_named_with_row_and_column(scans, tmp_path):
    with pytest.raises(InputError, match=r"row 3, column sex\n.*'X'\n.*\['F', 'M'\]"):
        write_table(scans.assign(sex=[None, "X"]), tmp_path / "scans.tsv", SCANS)
    assert not (tmp_path / "scans.tsv").exists()


def test_the_same_scan_twice_in_a_fold_is_refused(tmp_path):
    row = {"fold": 0, "side": "train", "scan_id": "a", "subject_id": "s", "label": "AD"}
    with pytest.raises(InputError, match="does not follow its schema"):
        write_table(pd.DataFrame([row, row]), tmp_path / "folds.tsv", FOLDS)


def test_rows_without_a_number_stay_whole_numbers_elsewhere(tmp_path):
    common = {"scan_id": "a", "subject_id": "s", "session": None, "label": "AD", "reason": "r", "detail": None}
    frame = pd.DataFrame(
        [
            {"stage": "parse_tables", "table": "t.csv", "row": 7} | common,
            {"stage": "register_scan", "table": None, "row": None} | common,
        ]
    )
    write_table(frame, tmp_path / "excluded.tsv", EXCLUDED)
    assert (tmp_path / "excluded.tsv").read_text().splitlines()[1].split("\t")[1:3] == ["t.csv", "7"]
    again = read_table(tmp_path / "excluded.tsv", EXCLUDED)
    assert again["row"].isna().tolist() == [False, True]


def test_a_damaged_table_is_named(tmp_path):
    (tmp_path / "scans.tsv").write_bytes(b"")
    with pytest.raises(InputError, match=r"cannot be read[\s\S]*scans.tsv"):
        read_table(tmp_path / "scans.tsv", SCANS)
