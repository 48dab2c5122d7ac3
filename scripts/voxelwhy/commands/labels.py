"""The columns of a dataset's tables that may be the diagnosis, with their values."""

from __future__ import annotations

from pathlib import Path

from voxelwhy.cohort.readers._tables import read_rows
from voxelwhy.commands.configs import CONTROLS, PATIENTS, choose_classes
from voxelwhy.errors import InputError

#: Names of columns that usually hold the diagnosis, in lower case.
USUAL = ("diagnosis", "label", "group", "dx", "dx_group")
#: Columns that identify a row.
KEYS = ("participant_id", "session_id")


def label_columns(source, folder, table=None):
    """Read which values each column has that could be the diagnosis.

    Parameters
    ----------
    source : str, a cohort source; of a BIDS dataset, the sessions.tsv of each participant is read too
    folder : path of the data
    table : path of a table, or None

    Returns
    -------
    dict, {column: list of its distinct values as text}, in the order of the columns
    """
    paths = [Path(table)] if table else []
    if source in ("bids", "caps"):
        paths = paths or [path for path in [Path(folder, "participants.tsv")] if path.exists()]
        paths += sorted(Path(folder).glob("sub-*/sub-*_sessions.tsv"))
    columns = {}
    for path in paths:
        for _, cells in read_rows(path):
            for column, text in cells.items():
                columns.setdefault(column, {})[text or ""] = None
    return {column: [*values] for column, values in columns.items() if column not in KEYS}


def usual_column(columns):
    """Return the column that is most probably the diagnosis: by its name, else by its values; None if there is none."""
    named = [column for name in USUAL for column in columns if column.lower() == name]
    valued = [
        column
        for column, values in columns.items()
        if {v.lower() for v in values} & set(PATIENTS) and {v.lower() for v in values} & set(CONTROLS)
    ]
    return next(iter(named + valued), None)


def classes_of(columns, column, positive=None, negative=None):
    """Return the section `cohort.classes` for a column of `label_columns`; see `configs.choose_classes`.

    Raises
    ------
    InputError : there is no such column, or its values do not tell the two classes.
    """
    if column not in columns:
        raise InputError("no table has this column", found=column, allowed=", ".join(columns) or "no columns")
    return choose_classes(columns[column], positive, negative)
