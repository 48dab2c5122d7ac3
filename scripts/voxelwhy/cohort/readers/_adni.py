"""Shared by the readers of ADNI's tables: several tables, one record per row, labels, corrupt scans and files."""

from __future__ import annotations

import logging
import os
import re

from voxelwhy.cohort.readers import _adnimerge as adnimerge
from voxelwhy.cohort.readers import _dates as dates
from voxelwhy.cohort.readers import _files as files
from voxelwhy.cohort.readers import _loni as loni
from voxelwhy.cohort.readers import _reading as reading
from voxelwhy.cohort.readers._tables import read_rows
from voxelwhy.errors import ConfigError, InputError

LOG = logging.getLogger(__name__)


#: Columns as LONI calls them since October 2024, and as they were called before.
RENAMED = {
    "image_id": "Image Data ID",
    "subject_id": "Subject",
    "image_visit": "Visit",
    "visit": "Visit",
    "VISCODE2": "Visit",
    "image_date": "Acq Date",
    "image_type": "Type",
    "image_description": "Description",
    "modality": "Modality",
    "subject_sex": "Sex",
    "subject_age": "Age",
    "group": "Group",
    "research_group": "Group",
}


def read_tables(settings, needed, *, renamed=None):
    """Read all tables in order as (table, line, {column: text}); they may differ in columns that are not needed."""
    return [
        (table, line, cells) for table in _tables(settings) for line, cells in read_rows(table, needed, renamed=renamed)
    ]


def date_orders(rows, column):
    """How the dates of a column are read in each table of `rows` (as from `read_tables`): {table: name of the order}.

    Raises InputError if a table mixes dates that begin with the day and dates that begin with the month.
    """
    orders = {}
    for table in dict.fromkeys(table for table, _, _ in rows):
        order = dates.choose_order([(line, cells) for name, line, cells in rows if name == table], column, table)
        dates.warn_if_ambiguous(order, column, table)
        orders[table] = order.name
    return orders


def needed_columns(settings, columns, label):
    """The columns that the tables must have: `columns`, `label` unless ADNIMERGE is joined, those of the template."""
    own_label = [] if settings.get("adnimerge") else [label]
    template = reading.template_columns(settings["path_template"]) if settings["images"] == "template" else []
    return list(dict.fromkeys([*columns, *own_label, *template]))


def make_records(rows, *, subject, visit, image_id, scan_date):
    """Make a record without label and path from each row; the keywords give the names of its columns.

    Raises InputError for an empty subject or visit, and for an invalid Image ID, date, age or sex.
    """
    orders = date_orders(rows, scan_date)
    return [_record(row, orders[row[0]], subject, visit, image_id, scan_date) for row in rows]


def _record(row, order, subject, visit, image_id, scan_date):
    table, line, cells = row
    person = reading.require_subject(cells, subject, table, line)
    session = reading.require_text(cells, visit, table, line).replace(" ", "")
    number = _image_id(cells, image_id, table, line)
    return {
        "scan_id": f"sub-{_safe(person)}_ses-{_safe(session)}_I{number}",
        "subject_id": person,
        "session": session,
        "label": None,
        "age": _age(cells, table, line),
        "sex": reading.read_sex(cells, _column(cells, "Sex", "Gender", "PTGENDER"), table, line),
        "scan_date": reading.read_date(cells, scan_date, table, line, order),
        "image_id": number,
        "table": table,
        "row": line,
        "cells": cells,
        "reason": None,
        "detail": None,
    }


def drop_from_other_tables(records, column, label):
    """Drop rows whose image is already in an earlier table, and warn if the two rows differ in `label`.

    Raises InputError if an image occurs twice in one table.
    """
    for table in dict.fromkeys(record["table"] for record in records):
        reading.require_unique([record for record in records if record["table"] == table], "image_id", column, table)
    first = {}
    for record in records:
        kept = first.setdefault(record["image_id"], record)
        if kept is not record:
            record["detail_table"] = f"kept is row {kept['row']} of {kept['table']}"
            here, there = record["cells"].get(label), kept["cells"].get(label)
            if here != there:
                record["detail_table"] += f", {label} {there}, not {here}"
                LOG.warning("%s: %s", record["scan_id"], record["detail_table"])
            reading.drop([record], "the image is in another table too", detail="detail_table")


def label_records(records, settings, column, word):
    """Label the records that are not dropped, by ADNIMERGE if it is joined, otherwise by `column`.

    Records whose value is not studied are dropped; `word` names that value in the reason. Raises InputError for a
    value that the classes do not list.
    """
    records = [record for record in records if record["reason"] is None]
    if settings.get("adnimerge"):
        adnimerge.join_visits(records, settings)
        _compare(records, column)
        return
    for record in records:
        place = (record["table"], record["row"])
        if reading.lacks_label(record["cells"], column, settings["classes"]):
            reading.drop([record], f"no {word}")
            continue
        record["label"], studied = reading.read_label(record["cells"], column, settings["classes"], *place)
        if not studied:
            reading.drop([record], f"{word} {record['label']} is not studied")


def drop_corrupt(records, settings):
    """Drop the scans listed as PTID/Visit; `Month12`, `Month 12` and `m12` denote the same visit.

    `corrupt` applies to all tables. `corrupt_in` applies to one table, given by its file name, because a subject may
    have been scanned at 1.5 T and at 3 T at one visit. Raises ConfigError if `corrupt_in` names an unknown table.
    """
    _drop_listed(records, settings["corrupt"], "cohort.corrupt")
    names = sorted({os.path.basename(table) for table in _tables(settings)})
    for name, corrupt in settings.get("corrupt_in", {}).items():
        if name not in names:
            raise ConfigError("cohort.corrupt_in names no table of the study", found=name, allowed=names)
        of_table = [record for record in records if os.path.basename(record["table"]) == name]
        _drop_listed(of_table, corrupt, "cohort.corrupt_in")


def _drop_listed(records, corrupt, setting):
    # The original list writes `Month12` and the table `Month 12`, so that most of its entries never matched.
    by_scan, unmatched = {}, []
    for record in records:
        by_scan.setdefault((record["subject_id"].replace(" ", ""), _visit(record["session"])), []).append(record)
    for entry in corrupt:
        subject, _, visit = entry.replace(" ", "").partition("/")
        found = by_scan.get((subject, _visit(visit)), [])
        reading.drop(found, "listed as corrupt")
        unmatched += [] if found else [entry]
    if unmatched:
        LOG.warning("%s: no row of the table matches %r", setting, unmatched)


def find_files(records, settings):
    """Set the path of each record that is not dropped, by template or from the LONI tree; drop those without a file.

    Raises InputError for a path outside the data folder and if no file exists at all; and what `loni.find_images`
    raises.
    """
    folder = _data_folder(settings)
    if settings["images"] == "loni":
        loni.find_images(records, folder)
        files.drop_unusable(records)
        return
    kept = [record for record in records if record["reason"] is None]
    for record in kept:
        name = reading.fill_template(settings["path_template"], record["cells"], record["table"], record["row"])
        record["path"] = reading.path_inside(folder, name, record["table"], record["row"])
    if kept:
        reading.drop_missing_files(kept, kept[0]["table"])
        files.drop_unusable(kept)


def require_own_files(records):
    """Raise InputError if two records that are not dropped have the same path."""
    first = {}
    for record in records:
        if record["reason"] is None and (other := first.setdefault(record["path"], record)) is not record:
            raise InputError(
                "the path must be unique",
                file=record["table"],
                row=record["row"],
                found=f"{record['path']}, which row {other['row']} of {other['table']} has too",
            )


def _tables(settings):
    tables = settings["table"]
    return [tables] if isinstance(tables, str) else list(tables)


def _data_folder(settings):
    folders = list(dict.fromkeys(os.path.dirname(table) or "." for table in _tables(settings)))
    if not settings.get("data_dir") and len(folders) > 1:
        raise ConfigError(
            "the setting cohort.data_dir is missing: the tables lie in several folders",
            found=", ".join(folders),
            allowed="the folder that contains all scans",
        )
    return settings.get("data_dir") or folders[0]


def _image_id(cells, column, table, line):
    # Some exports write I12345, others 12345, for the same image. 12345.0 would lead to a file that does not exist.
    found = re.fullmatch(r"I?(\d+)", cells[column])
    if not found:
        raise InputError(
            "not a valid Image ID",
            file=table,
            row=line,
            column=column,
            found=cells[column],
            allowed="an integer, with or without a leading I",
        )
    return found.group(1)


def _age(cells, table, line):
    # AGE in capitals is ADNIMERGE's age at baseline, even at a later visit; LONI's Age is the age at the visit.
    if "AGE" in cells and {"Years_bl", "Years.bl", "Month_bl", "Month.bl"} & set(cells):
        return adnimerge.age_at_visit(cells)[0]
    return reading.read_age(cells, _column(cells, "Age"), table, line)


def _column(cells, *names):
    names = [name.lower() for name in names]
    return next((column for column in cells if column.lower() in names), None)


def _safe(text):
    return re.sub(r"[^A-Za-z0-9]", "", text)


def _visit(text):
    return adnimerge.visit_code(text) or text


def _compare(records, column):
    """Warn of scans whose diagnosis in ADNIMERGE differs from that in their own table."""
    pairs = [(adnimerge.diagnosed_state(r["cells"].get(column, "")), r.get("state"), r) for r in records]
    other = [(own, state, record) for own, state, record in pairs if own and state and own != state]
    if other:
        own, state, record = other[0]
        LOG.warning(
            "%d scans: the diagnosis in ADNIMERGE differs from column %s and is used; first %s: %s, not %s",
            *(len(other), column, record["scan_id"], state, own),
        )
