"""A download as LONI gives it, of any size: table, ADNIMERGE.csv and a tree of scans, for tests and dry runs."""

from __future__ import annotations

import csv
import gzip
import re
from datetime import date, timedelta
from pathlib import Path

import nibabel as nib
import numpy as np

SCALED = "MPR; GradWarp; B1 Correction; N3; Scaled"
MONTHS = {"sc": 0, "m06": 6, "m12": 12, "m24": 24}
STATES = {"AD": "Dementia", "CN": "CN", "MCI": "MCI"}
COLLECTION = "Image Data ID,Subject,Group,Sex,Age,Visit,Modality,Description,Type,Acq Date,Format,Downloaded"
MERGED = "RID,PTID,VISCODE,DX,EXAMDATE,Image.ID,Scan.Date,Sequence,Visit,Month_bl,Screen.Diagnosis,Study.ID,Series.ID"
ADNIMERGE = "RID,PTID,VISCODE,SITE,COLPROT,ORIGPROT,EXAMDATE,DX_bl,AGE,PTGENDER,ABETA,DX,Years_bl,Month_bl,Month,M"


def make_loni_tree(
    folder,
    rows,
    *,
    source="adni_collection",
    groups=("AD", "CN", "MCI"),
    processings=(SCALED, SCALED + "_2"),
    adnimerge=False,
    path_template=None,
    dicom_every=0,
    tiny_images=False,
    first_image=30000,
):
    """Make `rows` images: of each subject the four visits of MONTHS, of each visit the given processings.

    Parameters
    ----------
    source : adni_collection or adni_merged, which table is written
    groups : diagnosis of the first, second, … subject, from the start again when used up
    adnimerge : whether ADNIMERGE.csv is written as well
    path_template : where the images lie below `images/`, by columns of the table; None is the tree of LONI
    dicom_every : each so many-th image is a DICOM series of three empty files in the tree of LONI; 0 for none
    tiny_images : 4 x 4 x 4 voxels of NIfTI instead of empty files
    first_image : Image ID of the first row; two trees of one person have different ones

    Returns
    -------
    dict for the section `cohort` of a config: source, table, data_dir, images and, where asked for, path_template
    and adnimerge
    """
    folder = Path(folder)
    scans = [_scan(number, groups, processings, first_image) for number in range(rows)]
    columns, row = (COLLECTION, _collection_row) if source == "adni_collection" else (MERGED, _merged_row)
    for number, scan in enumerate(scans):
        dicom = bool(dicom_every) and number % dicom_every == 0
        if path_template is None:
            path = _loni_path(scan)
        else:
            path = _fill(path_template, dict(zip(columns.split(","), map(str, row(scan)), strict=True)))
        _write_image(folder / "images" / path, scan["image_id"], dicom=dicom, tiny=tiny_images)
    _write_table(folder / "table.csv", columns, map(row, scans))
    cohort = {"source": source, "table": str(folder / "table.csv"), "data_dir": str(folder / "images")}
    cohort |= {"images": "loni"} if path_template is None else {"images": "template", "path_template": path_template}
    if adnimerge:
        visits = {(scan["ptid"], scan["visit"]): scan for scan in scans}.values()
        _write_table(folder / "ADNIMERGE.csv", ADNIMERGE, map(_adnimerge_row, visits))
        cohort["adnimerge"] = str(folder / "ADNIMERGE.csv")
    return cohort


def _scan(number, groups, processings, first_image):
    visit_number, processing = divmod(number, len(processings))
    subject, visit = divmod(visit_number, len(MONTHS))
    visit = list(MONTHS)[visit]
    return {
        "image_id": first_image + number,
        "rid": subject + 1,
        "ptid": f"{subject % 130 + 2:03d}_S_{subject + 1:04d}",
        "group": groups[subject % len(groups)],
        "sex": "FM"[subject // len(groups) % 2],
        "age": 60 + subject % 30,
        "visit": visit,
        "months": MONTHS[visit],
        "description": processings[processing],
        "date": date(2006, 1, 1) + timedelta(days=subject + round(MONTHS[visit] * 30.4375)),
    }


def _loni_path(scan):
    """Older downloads have a folder S10469 around a file, newer ones I34000."""
    description = re.sub(r"[^A-Za-z0-9-]", "_", scan["description"])
    image_id, series, old = scan["image_id"], scan["image_id"] // 3, scan["image_id"] % 2
    place = f"ADNI/{scan['ptid']}/{description}/{scan['date']}_09_58_59.0/"
    place += f"S{series}_{image_id}" if old else f"I{image_id}"
    stem = f"ADNI_{scan['ptid']}_MR_{description}_Br_{scan['date']:%Y%m%d}095859_S{series}_I{image_id}"
    return f"{place}/{stem}.nii" if old else f"{place}/{stem}.nii.gz"


def _fill(template, cells):
    cells = {column: cell.replace(" ", "").replace("/", "-") for column, cell in cells.items()}
    return re.sub(r"\{([^{}]*)\}", lambda match: cells[match[1]], template)


def _write_image(path, image_id, *, dicom, tiny):
    path.parent.mkdir(parents=True, exist_ok=True)
    if dicom:
        for number in range(1, 4):
            (path.parent / f"ADNI_br_raw_{number}_I{image_id}.dcm").touch()
        return
    content = nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)).to_bytes() if tiny else b""
    path.write_bytes(gzip.compress(content, mtime=0) if tiny and path.suffix == ".gz" else content)


def _collection_row(scan):
    day = f"{scan['date'].month}/{scan['date'].day}/{scan['date'].year}"
    who = [scan["ptid"], scan["group"], scan["sex"], scan["age"] + scan["months"] // 12, scan["visit"]]
    return [f"I{scan['image_id']}", *who, "MRI", scan["description"], "Processed", day, "NiFTI", ""]


def _merged_row(scan):
    visit = f"Month {scan['months']}" if scan["months"] else "Screening"
    code = scan["visit"] if scan["months"] else "bl"
    day = f"{scan['date'].month}/{scan['date'].day}/{scan['date']:%y}"
    who = [scan["rid"], scan["ptid"], code, STATES[scan["group"]], scan["date"], scan["image_id"], day]
    screened = {"CN": "NL"}.get(scan["group"], scan["group"])
    return [*who, scan["description"], visit, scan["months"], screened, scan["rid"], scan["image_id"] // 3]


def _adnimerge_row(scan):
    code, state = (scan["visit"] if scan["months"] else "bl"), STATES[scan["group"]]
    sex, months = {"F": "Female", "M": "Male"}[scan["sex"]], scan["months"]
    who = [scan["rid"], scan["ptid"], code, scan["rid"] % 130, "ADNI1", "ADNI1", scan["date"], scan["group"]]
    return [*who, scan["age"], sex, ">1700", state, months / 12, months, months, months]


def _write_table(path, columns, rows):
    with open(path, "w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerows([columns.split(","), *rows])
