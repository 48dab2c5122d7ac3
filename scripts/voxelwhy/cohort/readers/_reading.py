"""Shared by all cohort readers: cells of a table, dates, labels, paths that stay in the data folder."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

from voxelwhy.cohort.readers import _dates as dates
from voxelwhy.errors import ConfigError, InputError

MISSING = {"", "na", "n/a", "nan"}
#: What ADNI's and other tables write for an unknown age, sex or date.
UNKNOWN = MISSING | {"-4", "-1", "unknown", "x", "u", "?"}
#: What tables of subjects hold where a name is missing: exports of spreadsheets and data frames.
NOBODY = MISSING | {"none", "null", "<na>", "#n/a", "#ref!", "#value!", "#name?"}


def is_missing(text):
    """Whether a cell is missing: empty, NA, N/A or NaN (in any case)."""
    return text is None or text.lower() in MISSING


def is_unknown(text):
    """Whether a cell is missing or marks an age, sex or date as unknown: -4, Unknown and similar."""
    return text is None or text.lower() in UNKNOWN


def require_subject(cells, column, path, line):
    """The subject of a row; InputError if the cell is missing, also in the words of spreadsheets and data frames."""
    if cells[column].lower() in NOBODY:
        raise InputError(
            "a required cell is empty: the subject",
            file=path,
            row=line,
            column=column,
            found=cells[column],
            allowed="the name of the subject",
            hint="complete the table, or remove the row",
        )
    return cells[column]


def require_text(cells, column, path, line):
    """The cell of `column`; InputError if it is missing."""
    if is_missing(cells[column]):
        raise InputError("a required cell is empty", file=path, row=line, column=column, found=cells[column])
    return cells[column]


def read_date(cells, column, path, line, order=dates.MONTH_FIRST):
    """The date of a cell as YYYY-MM-DD, or None if it is unknown or the table has no such column.

    `order` is that of day and month in the whole column (`_dates.choose_order`). Raises InputError for an invalid date.
    """
    text = cells.get(column)
    if is_unknown(text):
        return None
    try:
        return dates.parse_date(text, order).isoformat()
    except ValueError as error:
        raise InputError(
            "not a valid date", file=path, row=line, column=column, found=text, allowed="; ".join(dates.ALLOWED)
        ) from error


def read_age(cells, column, path, line):
    """Age in years, or None if it is unknown. Raises InputError for anything but a number from 0 to 130."""
    text = cells.get(column)
    if is_unknown(text):
        return None
    try:
        age = float(text)
    except ValueError:
        age = -1.0
    if not 0 <= age <= 130:
        allowed = "years from 0 to 130, with a decimal point, or an empty cell"
        raise InputError("not a valid age", file=path, row=line, column=column, found=text, allowed=allowed)
    return age


def read_sex(cells, column, path, line):
    """Sex as "F", "M" or None. Raises InputError for anything but F, M, female, male (in any case)."""
    text = cells.get(column)
    if is_unknown(text):
        return None
    sex = {"f": "F", "female": "F", "m": "M", "male": "M"}.get(text.lower())
    if sex is None:
        allowed = "F, M, female, male, or an empty cell"
        raise InputError("not a valid sex", file=path, row=line, column=column, found=text, allowed=allowed)
    return sex


def read_label(cells, column, classes, path, line):
    """The class of a row.

    Parameters
    ----------
    classes : dict with positive and negative ({name, values}) and drop (values that are not studied)

    Returns
    -------
    (label, studied) : the name of the class and True, or the value of the cell and False if it is under drop

    Raises
    ------
    InputError : the value is in none of the three lists.
    """
    value = cells[column]
    for side in ("positive", "negative"):
        if value in _values(classes[side]["values"]):
            return classes[side]["name"], True
    if value in _values(classes["drop"]):
        return value, False
    known = [value for side in ("positive", "negative") for value in _values(classes[side]["values"])]
    raise InputError(
        f"a value of {column} belongs to no class",
        file=path,
        row=line,
        column=column,
        found=value,
        allowed=known + _values(classes["drop"]),
        hint="correct the table, or list the value in cohort.classes (under drop if it is not studied)",
    )


def lacks_label(cells, column, classes):
    """Whether a row has no label: its cell is missing, and no class lists its content as a value."""
    listed = [value for side in ("positive", "negative") for value in classes[side]["values"]] + classes["drop"]
    return is_missing(cells[column]) and cells[column] not in _values(listed)


def _values(values):
    return [unicodedata.normalize("NFC", str(value)) for value in values]


def fill_template(template, cells, path, line):
    """The path of a scan below the data folder: each `{column}` is replaced by the cell of that column.

    Spaces are removed from Visit, and / in Scan.Date and Acq Date becomes -. All other cells are inserted unchanged.

    Raises
    ------
    InputError : a cell is empty or contains a slash.
    """

    def cell(match):
        column = match.group(1)
        text = require_text(cells, column, path, line)
        text = text.replace(" ", "") if column == "Visit" else text
        text = text.replace("/", "-") if column in ("Scan.Date", "Acq Date") else text
        if "/" in text or "\\" in text:
            raise InputError(
                "a cell cannot be part of a path", file=path, row=line, column=column, found=text, allowed="no slashes"
            )
        return text

    return re.sub(r"\{([^{}]*)\}", cell, template)


def template_columns(template):
    """The columns that a path template names, in order; ConfigError if it is not a path below the data folder."""
    bad = None
    if os.path.isabs(template) or ".." in Path(template).parts:
        bad = "it must stay below cohort.data_dir"
    elif re.search(r"[{}]", re.sub(r"\{[^{}]+\}", "", template)):
        bad = "a brace is not closed, or a pair of braces is empty"
    if bad:
        raise ConfigError(f"the setting cohort.path_template cannot be used: {bad}", found=template)
    return list(dict.fromkeys(re.findall(r"\{([^{}]+)\}", template)))


def spelt_path(folder, name):
    """The path of `name` below `folder`, its accents spelt as the file has them; an absolute name stays absolute."""
    paths = [os.path.normpath(os.path.join(folder, unicodedata.normalize(form, name))) for form in ("NFC", "NFD")]
    return next((path for path in paths if os.path.exists(path)), paths[0])


def path_inside(folder, name, path, line, column=None):
    """The path of `name` below `folder` as text; relative if `folder` is relative.

    Raises
    ------
    InputError : the file is outside `folder`, because of "..", an absolute path or a symbolic link.
    """
    joined = spelt_path(folder, name)
    if not Path(os.path.realpath(joined)).is_relative_to(os.path.realpath(folder)):
        raise InputError(
            "the path of a scan leaves the data folder",
            file=path,
            row=line,
            column=column,
            found=name,
            allowed=f"files below {folder}",
            hint="set cohort.data_dir to a folder that contains all scans",
        )
    return joined


def drop(records, reason, detail=None):
    """Mark records as dropped, unless they already are; `detail` is the key of a record that holds the detail."""
    for record in records:
        if record["reason"] is None:
            record["reason"] = reason
            record["detail"] = record[detail] if detail else None


def is_image(path):
    """Whether `path` is a file or a folder of DICOM files, which need not end in .dcm."""
    if not os.path.isdir(path):
        return os.path.isfile(path)
    return any(is_dicom(os.path.join(path, name)) for name in sorted(os.listdir(path)))


def is_dicom(path):
    """Whether a file is DICOM, by its ending or, without a usual one, by the word that stands behind its preamble."""
    ending = os.path.splitext(path)[1].lower()
    if ending in (".dcm", ".ima"):
        return True
    if re.fullmatch(r"\.[a-z]\w*", ending) or not os.path.isfile(
        path
    ):  # .json, .txt; a number is no ending: 1.2.840.113
        return False
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def drop_missing_files(records, table):
    """Drop records whose image does not exist; InputError, with one of the paths, if no record is left."""
    kept = [record for record in records if record["reason"] is None]
    lost = [record for record in kept if not is_image(record["path"])]
    if kept and len(lost) == len(kept):
        raise InputError(
            f"none of the {len(kept)} scans exists where the table says",
            file=table,
            row=kept[0]["row"],
            found=f"no file {kept[0]['path']}",
            hint="correct cohort.data_dir or cohort.path_template in the config",
        )
    drop(lost, "file missing", detail="path")


def require_unique(records, key, column, table):
    """Raise InputError, with both rows, if two records have the same `key`."""
    seen = {}
    for record in records:
        first = seen.setdefault(record[key], record["row"])
        if first != record["row"]:
            raise InputError(
                f"{column} must be unique",
                file=table,
                row=record["row"],
                column=column,
                found=f"{record[key]}, which row {first} has too",
            )
