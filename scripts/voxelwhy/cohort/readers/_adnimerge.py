"""Join ADNIMERGE.csv to the scans of an ADNI table: diagnosis and age at the visit of each scan."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from dataclasses import dataclass
from datetime import date

from voxelwhy.cohort.readers import _dates as dates
from voxelwhy.cohort.readers import _packed as packed
from voxelwhy.cohort.readers import _reading as reading
from voxelwhy.cohort.readers._tables import read_rows
from voxelwhy.errors import InputError

LOG = logging.getLogger(__name__)
NEEDED = ("PTID", "VISCODE", "EXAMDATE", "DX")
STATES = {"dementia": "Dementia", "ad": "Dementia", "mci": "MCI", "cn": "CN", "nl": "CN"}
#: Names that a config may use for a state, ADNIMERGE's own name first; LONI writes AD and CN, older tables NL.
WORDS = {"Dementia": ("Dementia", "AD"), "MCI": ("MCI",), "CN": ("CN", "NL")}
VISITS = {"sc": "sc", "scmri": "sc", "screening": "sc", "bl": "bl", "baseline": "bl"}
#: Largest difference between EXAMDATE and Years_bl, days: ADNIMERGE rounds the years to six digits, others to two.
DAYS_OFF = 3
BY_CODE, BY_DATE = "by visit code", "by date"


@dataclass(frozen=True)
class Visit:
    """One row of ADNIMERGE: `state` is Dementia, MCI, CN or None; `day` is a datetime.date or None.

    `swapped` is the day if EXAMDATE had day and month the other way round, where no date of the table shows the order;
    otherwise it equals `day`. `cells` are all cells of the row.
    """

    row: int
    code: str
    day: date | None
    swapped: date | None
    state: str | None
    dx: str
    age: float | None
    age_from: str | None
    sex: str | None
    cells: dict


def visit_code(visit):
    """Visit code `sc`, `bl` or `m06` of Screening, Baseline or Month 6; None for other visits (numbers, v03, y1).

    Month 0 is the baseline.
    """
    text = re.sub(r"[\s_-]", "", visit).lower()
    month = re.fullmatch(r"m(?:onth)?(\d{1,3})", text)
    if month:
        return f"m{int(month[1]):02d}" if int(month[1]) else "bl"
    return VISITS.get(text)


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
    InputError : the file or a column is missing, a date cannot be read or has another order than others, a visit has
        two diagnoses; and what `read_rows` raises.
    """
    if not os.path.exists(path):
        raise InputError("there is no such table", file=path, hint="correct cohort.adnimerge in the config")
    path = packed.find_table(path, "ADNIMERGE")
    visits, rows = {}, read_rows(path, NEEDED, name="ADNIMERGE")
    order = _order(rows, path)
    for line, cells in rows:
        if cells["PTID"] not in subjects:
            continue
        visit = _visit(line, cells, order, path)
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
        visit, how = _find(visits.get(record["subject_id"]), record, days, path)
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


def _order(rows, path):
    """The order of day and month in EXAMDATE; where no date shows it, the years since baseline may."""
    order = dates.choose_order(rows, "EXAMDATE", path)
    if order.shown:
        return order
    fits = [name for name in (dates.MONTH_FIRST, dates.DAY_FIRST) if _agrees_with_years(rows, name)]
    if len(fits) == 1:
        return dates.Order(fits[0], shown=True)
    dates.warn_if_ambiguous(order, "EXAMDATE", path)
    return order


def _agrees_with_years(rows, order):
    """Whether Years_bl is the time since the subject's first examination in each row that has both."""
    by_subject = {}
    for _, cells in rows:
        years = _number(cells, 30, "Years_bl", "Years.bl")
        try:
            day = dates.parse_date(cells["EXAMDATE"], order)
        except ValueError:  # unknown, or refused when the row is read
            continue
        if years is not None:
            by_subject.setdefault(cells["PTID"], []).append((years, day))
    for of_subject in by_subject.values():
        first = [day for years, day in of_subject if years == 0]
        if first and any(abs((day - first[0]).days - 365.25 * years) > DAYS_OFF for years, day in of_subject):
            return False
    return True


def _visit(line, cells, order, path):
    age, age_from = age_at_visit(cells)
    sex = {"f": "F", "female": "F", "m": "M", "male": "M"}.get(cells.get("PTGENDER", "").lower())
    code = visit_code(cells["VISCODE"]) or cells["VISCODE"].lower()
    day = swapped = _day(cells, line, order.name, path)
    if not order.shown:
        swapped = _day(cells, line, dates.DAY_FIRST, path)
    return Visit(line, code, day, swapped, diagnosed_state(cells["DX"]), cells["DX"], age, age_from, sex, cells)


def _day(cells, line, order, path):
    text = reading.read_date(cells, "EXAMDATE", path, line, order)
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


def _find(visits, record, days, path):
    """(Visit, how it was matched), or (None, None) after dropping the record."""
    if visits is None:
        reading.drop([record], "the subject is not in ADNIMERGE")
        return None, None
    code = visit_code(record["session"])
    for visit in visits:
        if visit.code == ("bl" if code == "sc" else code):
            return visit, BY_CODE
    if record["scan_date"]:
        visit, other = (_nearest(visits, record, days, which) for which in ("day", "swapped"))
        if visit is not other:
            raise InputError(
                f"the dates of ADNIMERGE can be read in two ways, which give scan {record['scan_id']} different visits",
                file=path,
                row=(visit or other).row,
                column="EXAMDATE",
                found=f"{(visit or other).day}, or {(visit or other).swapped}: no date of the table shows whether day "
                "or month comes first",
                allowed="dates as YYYY-MM-DD",
                hint="rewrite the column, or download the table again",
            )
        if visit is not None:
            return visit, BY_DATE
    when = f"scan of {record['scan_date']}" if record["scan_date"] else "scan without a date"
    record["detail_visit"] = f"visit {record['session']}, {when}: no examination within {days} days"
    reading.drop([record], "the visit is not in ADNIMERGE", detail="detail_visit")
    return None, None


def _nearest(visits, record, days, which):
    """The visit whose `which` (day or swapped) is nearest to the scan, of two the earlier; None beyond `days`."""
    scanned = date.fromisoformat(record["scan_date"])
    near = [(abs(scanned - day), day, visit) for visit in visits if (day := getattr(visit, which))]
    away, _, visit = min(near, key=lambda entry: entry[:2], default=(None, None, None))
    return visit if visit and away.days <= days else None


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
    record["joined"] = visit.cells
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
