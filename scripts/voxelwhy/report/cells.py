"""How the page shows a table: which columns have content, which are numbers, what sorts, and the bars of intervals."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: What stands for "no value"; a column that holds nothing else is not shown.
EMPTY = {"", "–", "-", "—", "n/a", "na", "nan", "none", "not defined"}
#: A table with more rows is folded.
OPEN_ROWS = 12
#: Longest text with a bar; a sentence that mentions an interval has none.
LONGEST_WITH_BAR = 60
#: Width and height of the bar of an interval, in CSS pixels.
BAR_WIDTH, BAR_HEIGHT = 64, 10

_NUMBER = r"[−-]?\d[\d,]*(?:\.\d+)?(?:e[−+-]?\d+)?"
_INTERVAL = re.compile(rf"(?<![\w.])({_NUMBER}) \(({_NUMBER}) to ({_NUMBER})\)")
_NUMERIC = re.compile(rf"[<≤]?({_NUMBER})(?:\s?(%|s|min|h))?(?:\s\(.*\))?(?:, p .*)?")
_SECONDS = {"min": 60, "h": 3600}


@dataclass(frozen=True)
class Bar:
    """The interval and the value of an entry as coordinates along a bar, in CSS pixels; `zero` is its reference."""

    low: float
    value: float
    high: float
    zero: float | None = None


@dataclass(frozen=True)
class Cell:
    """One entry as shown: its text, the number that it is sorted by (None: by its text), and its bar."""

    text: str
    key: float | None = None
    bar: Bar | None = None


@dataclass(frozen=True)
class ShownTable:
    """A table as the page shows it.

    Attributes
    ----------
    columns : (name, whether all its entries are numbers)
    rows : tuples of entries
    hidden : names of the columns without any value
    folded : bool, whether the table is long
    """

    columns: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[Cell, ...], ...]
    hidden: tuple[str, ...]
    folded: bool


def shape_table(columns, rows):
    """Arrange a table for reading.

    Parameters
    ----------
    columns : sequence of str
    rows : sequence of sequences of str, as they are published

    Returns
    -------
    ShownTable
    """
    kept = [n for n in range(len(columns)) if not rows or any(not is_empty(row[n]) for row in rows)]
    hidden = tuple(name for n, name in enumerate(columns) if n not in kept)
    keys = {n: [sort_key(row[n]) for row in rows] for n in kept}
    numeric = {
        n: any(key is not None for key in keys[n])
        and all(key is not None or is_empty(row[n]) for key, row in zip(keys[n], rows, strict=True))
        for n in kept
    }
    groups = [_scale_of(columns, row) for row in rows]
    bars = {n: draw_bars([row[n] for row in rows], groups, columns[n]) for n in kept}
    shown = tuple(
        tuple(Cell(row[n], keys[n][at] if numeric[n] else None, bars[n][at]) for n in kept)
        for at, row in enumerate(rows)
    )
    return ShownTable(tuple((columns[n], numeric[n]) for n in kept), shown, hidden, len(rows) > OPEN_ROWS)


def is_empty(text):
    """Whether an entry holds no value."""
    return str(text).strip().lower() in EMPTY


def sort_key(text):
    """The number that an entry starts with, times in seconds; None if it is not a number."""
    found = _NUMERIC.fullmatch(str(text).strip())
    return None if not found else _float(found[1]) * _SECONDS.get(found[2], 1)


def _float(text):
    return float(text.replace("−", "-").replace(",", ""))


def read_interval(text):
    """The first "0.63 (0.46 to 0.77)" of an entry as (value, low, high); None if there is none."""
    found = _INTERVAL.search(str(text))
    return tuple(_float(part) for part in found.groups()) if found else None


def _scale_of(columns, row):
    """Rows with one scale: those of one measure; a difference has a scale of its own."""
    if "Measure" in columns:
        return row[columns.index("Measure")]
    return "difference" if row and row[0] == "Difference" else ""


def draw_bars(texts, groups, column):
    """The bars of a column's entries, None where one has no interval; bars of one group have one scale."""
    found = [read_interval(text) if len(text) <= LONGEST_WITH_BAR else None for text in texts]
    bars = []
    for triple, group in zip(found, groups, strict=True):
        own = [other for other, of in zip(found, groups, strict=True) if other and of == group]
        bars.append(interval_bar(triple, scale(own), reference(f"{column} {group}")) if triple else None)
    return bars


def reference(name):
    """The value that means "nothing" for a quantity: 0.5 for an AUC, otherwise 0."""
    return 0.5 if re.search(r"\bAUC\b", name) and "difference" not in name.lower() else 0.0


def scale(triples):
    """The range of a column's bars: 0 to 1 for shares, -1 to 1 for correlations, otherwise from 0 to the last end."""
    low, high = min(min(t) for t in triples), max(max(t) for t in triples)
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    if low >= -1 and high <= 1:
        return -1.0, 1.0
    return min(low, 0.0), max(high, 0.0)


def interval_bar(triple, limits, zero=None):
    """The bar of a value with its interval on a scale.

    Parameters
    ----------
    triple : (value, low, high)
    limits : (lowest, highest) of the scale
    zero : float or None; the reference that is marked if it lies inside the scale
    """
    low, high = limits
    step = (BAR_WIDTH - 6) / (high - low) if high > low else 0.0

    def place(number):
        return round(3 + (min(max(number, low), high) - low) * step, 1)

    marked = zero is not None and low < zero < high
    return Bar(place(triple[1]), place(triple[0]), place(triple[2]), place(zero) if marked else None)
