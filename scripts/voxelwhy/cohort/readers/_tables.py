"""Tables as labs pass them on: CSV or TSV with any line ends, packed or not, read into rows of cells."""

from __future__ import annotations

import csv
import difflib
import io
import unicodedata
from pathlib import Path

from voxelwhy.cohort.readers import _packed as packed
from voxelwhy.errors import InputError

SEPARATORS = {",": "commas", "\t": "tabs"}
OTHER_SEPARATORS = {";": "semicolons", "|": "vertical bars", " ": "spaces"}


def read_rows(path, required=(), *, separators=SEPARATORS, renamed=None, name=""):
    """Read a CSV or TSV with any line ends, with or without a byte order mark; cells are stripped text.

    It may be gzipped, or be the only table inside a zip.

    Parameters
    ----------
    path : the table
    required : names of columns that must exist
    separators : characters that may separate the columns, {character: its name in messages}
    renamed : {other name of a column: its name here}; applied to columns whose name here the table does not have
    name : the beginning of the table's name in a zip that holds several tables

    Returns
    -------
    rows : list of (line, {column: text}); `line` counts from 1, which is the header. Blank lines are skipped.

    Raises
    ------
    InputError
        The file does not exist, is not UTF-8, or has another separator; a column is missing or occurs twice; a row is
        longer or shorter than the header; or there are no rows.
    """
    text = _text(path, name)
    separator = _separator(text, path, required, separators)
    records = _records(text, separator, path)
    if not records:
        raise InputError("the table is empty", file=path, hint="the first line must name the columns")
    (_, header), *body = records
    header = rename_columns([name.strip() for name in header], renamed or {})
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise InputError("a column occurs twice", file=path, row=1, column=twice[0])
    _require_columns(header, required, path)
    # Spreadsheets append the same number of surplus separators to every row. If only one row is longer, a comma splits
    # one of its cells, and the row would be read one column off.
    more = min((len(cells) - len(header) for _, cells in body), default=0)
    width = len(header) + max(more, 0)
    rows = [(line, _cells(header, cells, width, path, line)) for line, cells in body]
    rows = [(line, cells) for line, cells in rows if any(cells.values())]
    if not rows:
        raise InputError("the table has a header but no rows", file=path)
    return rows


def rename_columns(header, renamed):
    """The header with the names of `renamed`; of several columns for one name, the one listed first gets it."""
    names = list(header)
    for old, new in renamed.items():
        if old in names and new not in names:
            names[names.index(old)] = new
    return names


def read_columns(path):
    """Names of the columns of a table, with any of the known separators.

    Raises
    ------
    InputError : the file does not exist, is not UTF-8, or is empty.
    """
    header = _text(path).split("\n", 1)[0]
    names = max((_names(header, separator) for separator in (*SEPARATORS, *OTHER_SEPARATORS)), key=len)
    if not any(names):
        raise InputError("the table is empty", file=path, hint="the first line must name the columns")
    return names


def _names(header, separator):
    try:
        return [name.strip() for name in next(csv.reader([header], delimiter=separator, skipinitialspace=True), [])]
    except csv.Error:  # not a header: the line is longer than a cell may be
        return []


def _text(path, name=""):
    path = Path(path)
    if not path.is_file():
        raise InputError("there is no such table", file=path, hint="correct cohort.table in the config")
    try:
        text = packed.unpack(path, name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            "the table is not plain UTF-8 text", file=path, found=str(error), hint="save it as 'CSV UTF-8'"
        ) from error
    if "\0" in text:
        raise InputError(
            "the table is not a text file",
            file=path,
            found="a spreadsheet or another binary file",
            hint="save it as 'CSV UTF-8'",
        )
    # Letters with accents have two spellings: as one sign, or as a letter and its accent (macOS).
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))


def _separator(text, path, required, separators):
    header = text.split("\n", 1)[0]

    def found(separator):
        names = _names(header, separator)
        return len(set(names) & set(required)), len(names)

    others = {mark: name for mark, name in (SEPARATORS | OTHER_SEPARATORS).items() if mark not in separators}
    best, other = max(separators, key=found), max(others, key=found)
    if found(best)[1] < 2 and found(other)[1] > 1 and found(other)[0] >= found(best)[0]:
        allowed = " or ".join(separators.values())
        raise InputError(
            f"the columns seem to be separated by {others[other]}",
            file=path,
            row=1,
            found=header[:80],
            allowed=f"{allowed} between the columns",
            hint=f"save it with {allowed} (and decimal points)",
        )
    return best


def _records(text, separator, path):
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True)
    records, line = [], 1
    try:
        for cells in reader:
            _require_closed_quotes(cells, separator, path, line, reader.line_num)
            if any(cell.strip() for cell in cells):
                records.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            "the table cannot be split into cells", file=path, row=line, found=str(error), hint="look for a stray quote"
        ) from error
    return records


def _require_closed_quotes(cells, separator, path, first, last):
    """Refuse a cell with line breaks and separators: a quote that is not closed has swallowed the rows up to the next.

    Free text may contain both, but not in the tables of a cohort: a row that is lost in silence would be worse.
    """
    for cell in cells:
        if "\n" in cell and separator in cell:
            raise InputError(
                "a quote is opened in one row and closed in another, so that the text between them is one cell",
                file=path,
                row=f"{first} to {last}",
                found=cell[:80],
                allowed="cells without line breaks and separators",
                hint="look for a stray quote in the first of these rows",
            )


def _require_columns(header, required, path):
    for name in required:
        if name not in header:
            near = difflib.get_close_matches(name.lower(), [column.lower() for column in header], n=1)
            near = [column for column in header if near and column.lower() == near[0]]
            raise InputError(
                f"the table has no column {name!r}",
                file=path,
                row=1,
                found=", ".join(header)[:200],
                allowed=[f"columns {', '.join(required)}"],
                hint=f"rename {near[0]!r}?" if near else None,
            )


def _cells(header, cells, width, path, line):
    cells = [cell.strip() for cell in cells]
    if len(cells) != width or any(cells[len(header) :]):
        raise InputError(
            "a row does not have as many cells as the header",
            file=path,
            row=line,
            found=f"{len(cells)} cells",
            allowed=f"{len(header)} cells",
            hint="put cells that contain a comma in quotes" if len(cells) > width else None,
        )
    return dict(zip(header, cells, strict=False))
