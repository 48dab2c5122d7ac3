"""Class, subject and session from the names of files and folders, for cohorts without a table."""

from __future__ import annotations

import os
import re

#: Sessions in names: ses-2, ses2, and at the end of a name the visits of ADNI and OASIS: bl, sc, m12, MR2.
SESSION = re.compile(
    r"(?:^|[_/-])(?:ses(?:sion)?-?([A-Za-z0-9]+)|(bl|baseline|sc|screening|m(?:onth)?\d{1,3}|MR\d+)(?=$|/))",
    re.IGNORECASE,
)
SUFFIX = re.compile(r"(?:^|[_-])T1w?$", re.IGNORECASE)


def class_values(classes):
    """{value: (label, studied)} from the `classes` of a config; the label is the class, or the value if dropped."""
    sides = {
        str(v): (classes[side]["name"], True) for side in ("positive", "negative") for v in classes[side]["values"]
    }
    return sides | {str(value): (str(value), False) for value in classes["drop"]}


def choose_way(own_names, values):
    """What gives the class: "folders" if any folder is named like a value of a class, otherwise "names"."""
    folders = {part for name in own_names for part in name.split(os.sep)[:-1]}
    return "folders" if folders & set(values) else "names"


def read_name(own_name, values, way):
    """Read class, subject and session from the name of a scan.

    Parameters
    ----------
    own_name : path below the data folder, without ending
    values : as `class_values` returns them
    way : "folders" (a folder is named like the value: AD/x) or "names" (the name of a file or folder begins with the
        value, followed by anything but a letter: AD_001, AD_001/T1; the innermost counts)

    Returns
    -------
    dict with label, studied, subject, session and reason (None, or why the name cannot be used). The subject is the
    folder below the class, otherwise the rest of the file name. A bare number identifies a subject only within its
    class, so that AD_001 and CN_001 are two people.
    """
    parts = own_name.split(os.sep)
    value, rest, reason = (_by_folder if way == "folders" else _by_token)(parts, values)
    if reason:
        return {"label": None, "studied": False, "subject": None, "session": None, "reason": reason}
    label, studied = values[value]
    rest = [SUFFIX.sub("", rest[0]), *rest[1:]]
    subject = SESSION.sub("\0", "/" + rest[0], count=1).split("\0")[0].strip("/_- ")
    if not re.search(r"[A-Za-z]", subject):
        subject = f"{value}_{subject}" if subject else own_name
    session = SESSION.search("/".join(rest))
    session = session[1] or session[2] if session else None
    return {"label": label, "studied": studied, "subject": subject, "session": session, "reason": None}


def begins_with(name, values):
    """The value that a name begins with, followed by anything but a letter; None if there is none.

    A value that ends in a digit must not be followed by a digit either: 1_001 is of class 1, and 10_001 is not.
    """
    for value in sorted(values, key=len, reverse=True):
        follows = r"(?![A-Za-z])" if value[-1].isalpha() else r"(?![A-Za-z0-9])"
        if re.match(re.escape(value) + follows, name):
            return value
    return None


def _by_folder(parts, values):
    found = [number for number, part in enumerate(parts[:-1]) if part in values]
    if not found:
        return None, None, "not in the folder of a class"
    value, rest = parts[found[-1]], parts[found[-1] + 1 :]
    # A number at the beginning of a file name is not taken for a class: 0/1_scan.
    token = begins_with(rest[-1], [value for value in values if re.search("[A-Za-z]", value)])
    if len({values[parts[number]] for number in found} | ({values[token]} if token else set())) > 1:
        return None, None, "folder and file name give different classes"
    if token and len(rest) == 1:
        rest = [rest[0][len(token) :].strip("_- ") or rest[0]]
    return value, rest, None


def _by_token(parts, values):
    for number in reversed(range(len(parts))):
        if value := begins_with(parts[number], values):
            return value, [parts[number][len(value) :].strip("_- "), *parts[number + 1 :]], None
    return None, None, "the name does not begin with a class"
