"""The tables of a BIDS dataset: participants.tsv and sub-<label>_sessions.tsv, of which the latter has priority.

Or one table of people and their sessions, such as those that clinica writes.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from voxelwhy.cohort.readers import _reading as reading
from voxelwhy.cohort.readers._tables import read_rows
from voxelwhy.errors import InputError

LOG = logging.getLogger(__name__)
TABS = {"\t": "tabs"}


class Row(NamedTuple):
    """A row of a table as {column: text}, with its table and line."""

    cells: dict
    table: str
    line: int


class Facts(NamedTuple):
    """Age (years) and sex ("F", "M"), each None if no table gives it."""

    age: float | None
    sex: str | None


@dataclass
class People:
    """Rows of participants.tsv by subject (None without that table) and of sessions.tsv by subject and session.

    `listed` is whether the sessions are the rows of one table, each of which is to have an image.
    """

    participants: dict | None
    sessions: dict
    listed: bool = False
    unread: Counter = field(default_factory=Counter)

    def rows_of(self, subject, session):
        """The rows that describe an image, the row of its session first."""
        rows = [_row_of_session(self.sessions.get(subject, {}), session), (self.participants or {}).get(subject)]
        return [row for row in rows if row]

    def cells_of(self, subject, session):
        """All cells that describe an image, {column: text}; those of its session have priority."""
        return {c: text for row in reversed(self.rows_of(subject, session)) for c, text in row.cells.items()}

    def facts_of(self, subject, session):
        """Age and sex; a value that cannot be read, such as an age of `20-25`, is unknown and counted in `unread`."""
        rows = self.rows_of(subject, session)
        age = self._first(rows, ("age",), reading.read_age)
        return Facts(age, self._first(rows, ("sex", "gender"), reading.read_sex))

    def warn_of_unread(self):
        """Log each value that `facts_of` could not read, with the number of images concerned."""
        for (column, text), n in sorted(self.unread.items()):
            LOG.warning("%s %r (%d images) cannot be read and counts as unknown", column, text, n)

    def _first(self, rows, names, read):
        for cells, table, line in rows:
            for column in (column for column in cells if column.lower() in names):
                # BIDS conceals high ages as 89+.
                text = cells[column].removesuffix("+")
                if reading.is_missing(text):
                    continue
                try:
                    return read({column: text}, column, table, line)
                except InputError:
                    self.unread[(column, cells[column])] += 1
        return None


def comparable(session):
    """A session label without `ses-`, case and leading zeros, so that ses-M000, M00 and m0 are the same session."""
    if session is None:
        return None
    text = str(session).lower().removeprefix("ses-")
    return re.sub(r"\d+", lambda number: str(int(number[0])), text)


def read_people(folder, subjects, label):
    """Read participants.tsv, if it exists, and the sessions.tsv of each of the `subjects` that has one.

    Parameters
    ----------
    folder : path of the dataset; or of a table, whose rows are those of sessions if it has the column session_id

    Raises
    ------
    InputError : a participant or session occurs twice, no table has the column `label`, there is no such folder or
        table; and what `read_rows` raises.
    """
    if os.path.isfile(folder):
        people = _people_of_table(folder)
        _require_label(people, label, folder)
        return people
    if not os.path.isdir(folder):
        raise InputError(
            "there is no such dataset or table of participants", file=folder, hint="correct cohort.participants"
        )
    path = os.path.join(folder, "participants.tsv")
    participants = _participants(path) if os.path.exists(path) else None
    sessions = {}
    for subject in subjects:
        own = os.path.join(folder, subject, f"{subject}_sessions.tsv")
        if os.path.exists(own):
            sessions[subject] = _sessions(own)
    people = People(participants, sessions)
    _require_label(people, label, path)
    return people


def label_records(records, people, settings):
    """Label the records that are not dropped; drop those without participant or label or with one not studied.

    If a sessions.tsv has the column, it alone decides. An empty cell there means no label, even if participants.tsv
    has one, because that label could belong to another visit.

    Raises
    ------
    InputError : a label belongs to no class.
    """
    column = settings["label"]
    for record in records:
        if record["reason"] is not None:
            continue
        if people.participants is not None and record["subject_id"] not in people.participants:
            reading.drop([record], "the participant is not in participants.tsv", detail="path")
            continue
        row = _label_row(people, record, column)
        if row is None or reading.is_missing(row.cells[column]):
            record["detail_label"] = f"row {row.line} of {row.table}" if row else f"no row has a {column}"
            reading.drop([record], "no label", detail="detail_label")
            continue
        record["label"], studied = reading.read_label(row.cells, column, settings["classes"], row.table, row.line)
        if not studied:
            reading.drop([record], f"{column} {record['label']} is not studied")


def absent_records(people, images, suffix="T1w"):
    """Make a dropped record for each row of participants.tsv whose subject has no image.

    If one table lists the sessions, for each of its rows without an image.

    Parameters
    ----------
    images : list of dict with subject_id and session
    """
    subjects = {image["subject_id"] for image in images}
    absent = [(name, None, row) for name, row in (people.participants or {}).items() if name not in subjects]
    if people.listed:
        seen = {(image["subject_id"], comparable(image["session"])) for image in images}
        absent += [
            (subject, session, row)
            for subject, rows in people.sessions.items()
            for session, row in rows.items()
            if (subject, comparable(session)) not in seen
        ]
    empty = dict.fromkeys(("scan_id", "label", "detail"))
    reason = {"reason": f"no {suffix} image"}
    return [
        empty | reason | {"table": row.table, "row": row.line, "subject_id": subject, "session": session}
        for subject, session, row in absent
    ]


def _people_of_table(path):
    """The people of one table; the separator is a tab or a comma."""
    rows = read_rows(path, ["participant_id"])
    if "session_id" not in rows[0][1]:
        return People(_participants(path, rows), {})
    sessions = {}
    for line, cells in rows:
        name = reading.require_subject(cells, "participant_id", path, line)
        session = reading.require_text(cells, "session_id", path, line).removeprefix("ses-")
        own = sessions.setdefault(f"sub-{name.removeprefix('sub-')}", {})
        _add(own, session, Row(cells, path, line), "session_id")
    return People(None, sessions, listed=True)


def _participants(path, rows=None):
    people = {}
    for line, cells in rows or read_rows(path, ["participant_id"], separators=TABS):
        name = reading.require_subject(cells, "participant_id", path, line)
        # Older datasets write 01 for sub-01.
        _add(people, f"sub-{name.removeprefix('sub-')}", Row(cells, path, line), "participant_id")
    return people


def _sessions(path):
    sessions = {}
    for line, cells in read_rows(path, ["session_id"], separators=TABS):
        name = reading.require_text(cells, "session_id", path, line).removeprefix("ses-")
        _add(sessions, name, Row(cells, path, line), "session_id")
    return sessions


def _add(rows, name, row, column):
    first = rows.setdefault(name, row)
    if first is not row:
        raise InputError(
            f"{column} must be unique",
            file=row.table,
            row=row.line,
            column=column,
            found=f"{row.cells[column]}, which row {first.line} has too",
        )


def _row_of_session(sessions, session):
    if session is None:
        return None
    if session in sessions:
        return sessions[session]
    near = [row for name, row in sessions.items() if comparable(name) == comparable(session)]
    if len(near) > 1:
        raise InputError(
            f"two rows match the session ses-{session}",
            file=near[0].table,
            row=near[1].line,
            column="session_id",
            found=", ".join(row.cells["session_id"] for row in near),
            allowed="one row for each session, named like its folder",
        )
    return near[0] if near else None


def _label_row(people, record, column):
    """The row that determines the label, or None if there is none."""
    subject, session = record["subject_id"], record["session"]
    own = people.sessions.get(subject, {})
    if session is not None and any(column in row.cells for row in own.values()):
        return _row_of_session(own, session)
    participant = (people.participants or {}).get(subject)
    return participant if participant and column in participant.cells else None


def _require_label(people, label, path):
    rows = [*(people.participants or {}).values(), *(row for own in people.sessions.values() for row in own.values())]
    columns = list(dict.fromkeys(column for row in rows for column in row.cells))
    if label not in columns:
        near = difflib.get_close_matches(label, columns, n=1)
        raise InputError(
            f"neither participants.tsv nor any sessions.tsv has the column {label!r}",
            file=path,
            row=1 if people.participants else None,
            found=", ".join(columns) or "no table",
            hint=f"set cohort.label to {near[0]!r}?" if near else "set cohort.label to the column with the label",
        )
