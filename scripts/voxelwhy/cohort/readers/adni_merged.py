"""ADNI's merged table, one row per scan, with the columns PTID, Visit, DX, Image.ID and others in any order.

The table of Rieke et al. 2018 has RID,PTID,VISCODE,DX,EXAMDATE,Image.ID,Scan.Date,Sequence,Visit,Month_bl,
Screen.Diagnosis,Study.ID,Series.ID, and some copies also have label_* columns. The class comes from DX, the diagnosis
at the visit, or from ADNIMERGE if it is joined. Screen.Diagnosis is coded differently and never read.
"""

from __future__ import annotations

import re

from voxelwhy.cohort.readers import _adni as adni
from voxelwhy.cohort.readers import _reading as reading

COLUMNS = {"subject": "PTID", "visit": "Visit", "image_id": "Image.ID", "scan_date": "Scan.Date"}


def read_cohort(settings):
    """Read the tables, find the files, and drop what is not studied.

    Parameters
    ----------
    settings : the `cohort` section: table (a path, or a list of tables that may differ in columns not needed),
        data_dir, images, path_template, adnimerge, adnimerge_days, classes, corrupt, corrupt_in, reprocessed

    Returns
    -------
    records : list of dict, one per row in table order, with the columns of SCANS and DROPPED; `reason` is None for a
        scan that is used
    entries : int, number of rows of all tables

    Raises
    ------
    InputError
        An unknown DX, an empty PTID, an Image.ID that is not a number or occurs twice in a table, an invalid date, a
        path outside the data folder or of two scans, all files missing; and what `read_rows` raises.
    """
    first_only = settings["reprocessed"] == "first"
    needed = ["PTID", "Visit", "Image.ID", *(["Sequence", "Scan.Date"] if first_only else [])]
    rows = adni.read_tables(settings, adni.needed_columns(settings, needed, "DX"))
    records = adni.make_records(rows, **COLUMNS)
    orders = adni.date_orders(rows, "EXAMDATE")
    for table, line, cells in rows:
        reading.read_date(cells, "EXAMDATE", table, line, orders[table])
    adni.drop_from_other_tables(records, "Image.ID", "DX")
    adni.label_records(records, settings, "DX", "diagnosis")
    adni.drop_corrupt(records, settings)
    adni.find_files(records, settings)
    if first_only:
        _drop_reprocessed(records)
    adni.require_own_files(records)
    return records, len(rows)


def _drop_reprocessed(records):
    # `...; Scaled` and `...; Scaled_2` are one acquisition processed twice. Records already dropped do not count: if
    # the first file is missing, the second is kept. Each table stands for a scanner, so that a 3 T scan is never taken
    # for the second processing of a 1.5 T scan.
    groups = {}
    for record in records:
        if record["reason"] is None:
            name, number = re.fullmatch(r"(.*?)(?:_(\d+))?", record["cells"]["Sequence"], re.DOTALL).groups()
            key = (record["table"], record["subject_id"], record["session"], record["cells"]["Scan.Date"], name)
            groups.setdefault(key, {}).setdefault(int(number or 1), []).append(record)
    for by_number in groups.values():
        first = min(by_number)
        kept = by_number[first][0]["scan_id"]
        for number, again in by_number.items():
            if number != first:
                for record in again:
                    record["detail_kept"] = f"kept is {kept}"
                reading.drop(again, "reprocessed", detail="detail_kept")
