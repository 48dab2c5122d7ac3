"""Join ADNIMERGE.csv to the scans of an ADNI table: diagnosis and age at the visit of each scan."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from dataclasses import dataclass
from datetime import date

from voxelwhy.cohort.readers import _reading as reading
from voxelwhy.errors import InputError

LOG = logging.getLogger(__name__)
NEEDED = ("PTID", "VISCODE", "EXAMDATE", "DX")
STATES = {"dementia": "Dementia", "ad": "Dementia", "mci": "MCI", "cn": "CN", "nl": "CN"}
#: Names that a config may use for a state, ADNIMERGE's own name first; LONI writes AD and CN, older tables NL.
WORDS = {"Dementia": ("Dementia", "AD"), "MCI": ("MCI",), "CN": ("CN", "NL")}
VISITS = {"sc": "sc", "scmri": "sc", "screening": "sc", "bl": "bl", "baseline": "bl"}
BY_CODE, BY_DATE = "by visit code", "by date"


@dataclass(frozen=True)
class Visit:
    """One row of ADNIMERGE: `state` is Dementia, MCI, CN or None; `day` is a datetime.date or None."""

    row: int
    code: str
    day: date | None
    state: str | None
    dx: str
    age: float | None
    age_from: str | None
    sex: str | None


def visit_code(visit):
    """Visit code `sc`, `bl` or `m06` of Screening, Baseline or Month 6; None for other visits (numbers, v03, y1)."""
    text = re.sub(r"[\s_-]", "", visit).lower()
    month = re.fullmatch(r"m(?:onth)?(\d{1,3})", text)
    return f"m{int(month[1]):02d}" if month else VISITS.get(text)


def diagnosed_state(text):
    """Dementia, MCI, CN or None; for a change such as `MCI to Dementia`, the state after it."""
    return STATES.get(re.split(r"\s+to\s+", text.strip(), flags=re.IGNORECASE)[-1].lower())


def age_at_visit(cells):
    """Age in years at a visit: AGE (at baseline) + Years_bl or, without Years_bl, AGE + Month_bl / 12.

    Returns
    -------
    (age, the column that was added), or (None, None) if the cells give no plausible age
    """
    age, years = _number(cells, 100, "AGE"), _number(cells, 30, "Years_bl", "Years.bl")
    months = _number(cells, 360, "Month_bl", "Month.bl")
    if age is not None and years is not None:
        return age + years, "Years_bl"
    if age is not None and months is not None:
        return age + months / 12, "Month_bl"
    return None, None


def read_visits(path, subjects):
    """Read the visits of `subjects` from ADNIMERGE.csv by the names of its columns.

    Returns
    -------
    visits : dict, PTID to its list of Visit in table order; cells such as -4, Unknown or >1700 count as missing

    Raises
    ------
    InputError : the file or a column is missing, a visit has two diagnoses; and what `read_rows` raises.
    """
    if not os.path.isfile(path):
        raise InputError("there is no such table", file=path, hint="correct cohort.adnimerge in the config")
    visits = {}
    for line, cells in reading.read_rows(path, NEEDED):
        if cells["PTID"] not in subjects:
            continue
        visit = _visit(line, cells)
        of_subject = visits.setdefault(cells["PTID"], {})
        first = of_subject.setdefault(visit.code, visit)
        if first.state != visit.state:
            raise InputError(
                "a visit occurs twice, with two diagnoses",
                file=path,
                row=line,
                column="DX",
                found=f"{cells['PTID']} {visit.code}: {visit.dx!r}, and {first.dx!r} in row {first.row}",
                allowed="one row for each PTID and VISCODE",
            )
    return {subject: list(of_subject.values()) for subject, of_subject in visits.items()}


def join_visits(records, settings):
    """Set label, age and sex of each record from its visit in ADNIMERGE; drop records without visit or diagnosis.

    The visit of a scan is the one with the same visit code, where Screening counts as bl. If there is none, it is the
    examination closest in date (the earlier of two that are equally close), at most `adnimerge_days` away.

    Parameters
    ----------
    records : list of dict with subject_id, session, scan_date, age, sex; changed in place
    settings : the `cohort` section: adnimerge, adnimerge_days, classes

    Raises
    ------
    InputError : the classes do not list a diagnosis, or no scan matches; and what `read_visits` raises.
    """
    path, days = settings["adnimerge"], settings["adnimerge_days"]
    visits, joined, ages, far = read_visits(path, {r["subject_id"] for r in records}), Counter(), Counter(), []
    for record in records:
        visit, how = _find(visits.get(record["subject_id"]), record, days)
        joined[how] += 1
        if visit is not None:
            ages[_take(record, visit, settings["classes"], path)] += 1
            far += [record] if _days_between(record, visit) > days else []
    if records and not joined[BY_CODE] + joined[BY_DATE]:
        raise InputError(
            f"none of the {len(records)} scans is in ADNIMERGE",
            file=path,
            found=f"no visit {records[0]['session']} of {records[0]['subject_id']}",
            hint="correct cohort.adnimerge in the config",
        )
    by_code, by_date, lost = joined[BY_CODE], joined[BY_DATE], joined[None]
    message = "ADNIMERGE: %d scans joined by visit code, %d by date (at most %d days), %d not at all"
    LOG.info(message, by_code, by_date, days, lost)
    message = "age at the scan: %d AGE + Years_bl, %d AGE + Month_bl / 12, %d from the scans' own table, %d unknown"
    LOG.info(message, ages["Years_bl"], ages["Month_bl"], ages["own"], ages[None])
    if far:
        message = "%d scans were acquired more than %d days from the examination with their visit code, first %s"
        LOG.warning(message, len(far), days, far[0]["scan_id"])


def _visit(line, cells):
    age, age_from = age_at_visit(cells)
    sex = {"f": "F", "female": "F", "m": "M", "male": "M"}.get(cells.get("PTGENDER", "").lower())
    code = visit_code(cells["VISCODE"]) or cells["VISCODE"].lower()
    return Visit(line, code, _day(cells, line), diagnosed_state(cells["DX"]), cells["DX"], age, age_from, sex)


def _day(cells, line):
    try:
        text = reading.read_date(cells, "EXAMDATE", None, line)
    except InputError:
        return None
    return date.fromisoformat(text) if text else None


def _number(cells, most, *columns):
    for column in columns:
        try:
            number = float(cells.get(column, ""))
        except ValueError:
            continue
        if 0 <= number <= most:
            return number
    return None


def _find(visits, record, days):
    """(Visit, how it was matched), or (None, None) after dropping the record."""
    if visits is None:
        reading.drop([record], "the subject is not in ADNIMERGE")
        return None, None
    code = visit_code(record["session"])
    for visit in visits:
        if visit.code == ("bl" if code == "sc" else code):
            return visit, BY_CODE
    if record["scan_date"]:
        near = [(_days_between(record, visit), visit.day, visit) for visit in visits if visit.day]
        away, _, visit = min(near, key=lambda entry: entry[:2], default=(days + 1, None, None))
        if away <= days:
            return visit, BY_DATE
    when = f"scan of {record['scan_date']}" if record["scan_date"] else "scan without a date"
    record["detail_visit"] = f"visit {record['session']}, {when}: no examination within {days} days"
    reading.drop([record], "the visit is not in ADNIMERGE", detail="detail_visit")
    return None, None


def _days_between(record, visit):
    """Days between scan and examination; 0 if either date is unknown."""
    if not (record["scan_date"] and visit.day):
        return 0
    return abs(date.fromisoformat(record["scan_date"]) - visit.day).days


def _take(record, visit, classes, path):
    """Copy the data of the visit to the record; return the source of its age: Years_bl, Month_bl, own or None."""
    age_from = visit.age_from or ("own" if record["age"] is not None else None)
    record["age"] = record["age"] if visit.age is None else visit.age
    record["sex"] = record["sex"] or visit.sex
    record["state"] = visit.state
    if visit.state is None:
        record["detail_visit"] = f"row {visit.row} of ADNIMERGE, visit {visit.code}, has DX {visit.dx!r}"
        reading.drop([record], "no diagnosis in ADNIMERGE at the visit", detail="detail_visit")
        return age_from
    listed = {str(value) for side in ("positive", "negative") for value in classes[side]["values"]}
    listed |= {str(value) for value in classes["drop"]}
    word = next((word for word in WORDS[visit.state] if word in listed), visit.state)
    record["label"], studied = reading.read_label({"DX": word}, "DX", classes, path, visit.row)
    if not studied:
        reading.drop([record], f"diagnosis {word} is not studied")
    return age_from
