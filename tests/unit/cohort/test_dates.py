"""Dates of ADNI's tables: one order of day and month in a column, and what a join by date makes of them."""

from __future__ import annotations

import logging
from datetime import date

import pytest

from helpers.adni_tables import ROWS, changed, image, reasons, visit, write_adnimerge, write_collection, write_merged
from voxelwhy.cohort.parse import parse_tables
from voxelwhy.cohort.readers import _dates as dates
from voxelwhy.errors import InputError

ONE, TWO = "011_S_0003", "011_S_0005"


def order_of(*texts):
    return dates.choose_order([(n, {"D": text}) for n, text in enumerate(texts, start=2)], "D", "t.csv")


@pytest.mark.parametrize(
    ("texts", "order", "shown"),
    [
        (["2006-01-31", "", "-4"], dates.MONTH_FIRST, True),
        (["1/2/2006", "3/31/06"], dates.MONTH_FIRST, True),
        (["1/2/2006", "31/03/2006"], dates.DAY_FIRST, True),
        (["1/2/2006", "3/4/2006"], dates.MONTH_FIRST, False),
        (["5/5/2006", "11/11/06"], dates.MONTH_FIRST, True),  # the same in both orders
        (["2006-01-31", "13/2/06", "1/2/06"], dates.DAY_FIRST, True),
    ],
)
def test_a_day_above_twelve_shows_the_order_of_the_whole_column(texts, order, shown):
    assert order_of(*texts) == (order, shown)


def test_two_orders_in_one_column_are_refused_with_both_rows():
    with pytest.raises(InputError, match=r"mixes dates(.*\n)+.*row 4, column D\n.*'3/31/2006'\n.*row 3 has 25/1/2006"):
        order_of("1/2/2006", "25/1/2006", "3/31/2006")


@pytest.mark.parametrize(
    ("text", "order", "expected"),
    [
        ("9/3/2007", dates.MONTH_FIRST, date(2007, 9, 3)),
        ("9/3/2007", dates.DAY_FIRST, date(2007, 3, 9)),
        ("09/03/07", dates.DAY_FIRST, date(2007, 3, 9)),
        ("1/2/69", dates.MONTH_FIRST, date(1969, 1, 2)),
        ("2007-03-09", dates.DAY_FIRST, date(2007, 3, 9)),
        ("2007-03-09 00:00:00.0", dates.MONTH_FIRST, date(2007, 3, 9)),
    ],
)
def test_a_date_is_read_in_the_order_of_its_column(text, order, expected):
    assert dates.parse_date(text, order) == expected


@pytest.mark.parametrize("text", ["", "9-3-2007", "31/12", "2007-3-9", "2007-02-30", "13/13/2007", "9/3/207", "1e5"])
def test_anything_else_is_no_date(text):
    with pytest.raises(ValueError):
        dates.parse_date(text)


def join(tmp_path, scans, visits, **files):
    """What is read of scans given as (subject, visit, date) when ADNIMERGE is joined."""
    rows = [image(100 + n, subject, "Patient", code, date=day) for n, (subject, code, day) in enumerate(scans)]
    return parse_tables(write_collection(tmp_path, rows, adnimerge=write_adnimerge(tmp_path, visits)))


def test_examinations_with_the_day_first_are_those_of_their_days(tmp_path):
    """The second examination would lie half a year off, and the first one nearer, with the month first."""
    visits = [
        visit(ONE, "bl", "CN", date="10/03/2006"),
        visit(ONE, "m12", "Dementia", date="09/03/2007", years="1"),
        visit(TWO, "bl", "CN", date="25/03/2006"),
    ]
    scans, _, _ = join(tmp_path, [(ONE, "v11", "2007-03-12"), (TWO, "v03", "2006-04-01")], visits)
    assert scans["label"].tolist() == ["AD", "CN"]


def test_years_since_baseline_show_the_order_if_no_day_does(tmp_path, caplog):
    visits = [
        visit(ONE, "bl", "CN", date="10/03/2006"),
        visit(ONE, "m12", "Dementia", date="09/03/2007", years="1"),
        visit(TWO, "bl", "CN", date="05/08/2006"),
    ]
    with caplog.at_level(logging.WARNING):
        scans, _, _ = join(tmp_path, [(ONE, "v11", "2007-03-12"), (TWO, "v03", "2006-08-06")], visits)
    assert scans["label"].tolist() == ["AD", "CN"]
    assert "EXAMDATE" not in caplog.text


def test_examinations_that_can_be_read_in_two_ways_are_refused_where_it_matters(tmp_path):
    """No day, no years: the scan is near one visit with the month first, and near the other with the day first."""
    visits = [
        visit(ONE, "bl", "CN", date="10/03/2006", years=""),
        visit(ONE, "m12", "Dementia", date="09/03/2007", years=""),
        visit(TWO, "bl", "CN", date="2006-02-01", years=""),
    ]
    with pytest.raises(InputError, match=r"two ways, which give scan sub-011S0003\S* different(.*\n)+.*EXAMDATE"):
        join(tmp_path, [(ONE, "v11", "2007-03-12"), (TWO, "v03", "2006-02-01")], visits)


def test_examinations_that_can_be_read_in_two_ways_are_reported_where_it_does_not_matter(tmp_path, caplog):
    visits = [visit(ONE, "m06", "Dementia", date="09/03/2007", years=""), visit(TWO, "bl", "CN", date="2/3/2006")]
    with caplog.at_level(logging.WARNING):
        scans, _, _ = join(tmp_path, [(ONE, "m06", "2007-03-12"), (TWO, "v03", "2006-02-20")], visits)
    assert scans["label"].tolist() == ["AD", "CN"]
    assert "column EXAMDATE: no date shows whether day or month comes first; read as month/day/year" in caplog.text


@pytest.mark.parametrize("text", [">1700", "soon", "2006-02-30", "14/14/2006"])
def test_an_examination_without_a_readable_date_is_refused(tmp_path, text):
    visits = [visit(ONE, "bl", "CN"), visit(TWO, "bl", "Dementia", date=text)]
    with pytest.raises(InputError, match=rf"not a valid date\n.*row 3, column EXAMDATE\n.*{text}(.*\n)+"):
        join(tmp_path, [(ONE, "sc", "2005-09-08"), (TWO, "sc", "2005-09-08")], visits)


def test_scan_dates_with_the_day_first_keep_their_files(tmp_path):
    """The template inserts the date as it is written in the table, whatever its order."""
    rows = [changed(row, scan_date=day) for row, day in zip(ROWS[:5], ["1/2/06", "2/2/06", "31/12/07", "3/2/06",
                                                                      "4/2/08"], strict=True)]  # fmt: skip
    scans, dropped, _ = parse_tables(write_merged(tmp_path, rows, files=rows))
    assert scans["scan_date"].tolist() == ["2006-02-01", "2006-02-02", "2007-12-31", "2006-02-03", "2008-02-04"]
    assert reasons(dropped) == {}
