"""Dates of a table: ISO, month first or day first, which is decided once for all rows of a column."""

from __future__ import annotations

import logging
import re
from datetime import date, datetime
from typing import NamedTuple

from voxelwhy.errors import InputError

LOG = logging.getLogger(__name__)
ISO = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[ T]\d{2}:\d{2}.*)?")
SLASHED = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})")
MONTH_FIRST, DAY_FIRST = "month/day/year", "day/month/year"
ALLOWED = (
    "YYYY-MM-DD",
    "M/D/YYYY, M/D/YY",
    "D/M/YYYY, D/M/YY if a day above 12 in the column shows that days come first",
)


class Order(NamedTuple):
    """How dates with slashes are read, and whether a date of the column shows it."""

    name: str = MONTH_FIRST
    shown: bool = True


def choose_order(rows, column, path):
    """The order of day and month in a column: that of the dates with a day above 12; without any, the month first.

    Parameters
    ----------
    rows : list of (line, {column: text}), as from `read_rows`

    Raises
    ------
    InputError : some dates have the day first and others the month.
    """
    first, ambiguous = {}, None
    for line, cells in rows:
        text = cells.get(column) or ""
        if not (found := SLASHED.fullmatch(text)):
            continue
        one, two = int(found[1]), int(found[2])
        if one > 12 >= two or two > 12 >= one:
            first.setdefault(DAY_FIRST if one > 12 else MONTH_FIRST, (line, text))
        elif one != two:
            ambiguous = ambiguous or (line, text)
    if len(first) > 1:
        (order, (early, shown)), (_, (line, text)) = first.items()
        raise InputError(
            "a column mixes dates that begin with the day and dates that begin with the month",
            file=path,
            row=line,
            column=column,
            found=text,
            allowed=f"one order in all rows; row {early} has {shown}, {order}",
            hint="write all dates as YYYY-MM-DD",
        )
    return Order(next(iter(first), MONTH_FIRST), bool(first) or ambiguous is None)


def warn_if_ambiguous(order, column, path):
    """Log how dates are read in a column where no date shows it."""
    if not order.shown:
        LOG.warning(
            "%s, column %s: no date shows whether day or month comes first; read as %s (write YYYY-MM-DD to be sure)",
            *(path, column, order.name),
        )


def parse_date(text, order=MONTH_FIRST):
    """A date from text, as datetime.date; ValueError for anything else.

    Two-digit years from 69 on belong to the last century.
    """
    if found := ISO.fullmatch(text):
        return date.fromisoformat(found[1])
    if not (found := SLASHED.fullmatch(text)):
        raise ValueError(text)
    pattern = "%d/%m/" if order == DAY_FIRST else "%m/%d/"
    return datetime.strptime(text, pattern + ("%Y" if len(found[3]) == 4 else "%y")).date()
