"""Tables of ADNI that several test files use, with empty files for their scans, and the settings that read them."""

from __future__ import annotations

from helpers.paths import SCHEMA
from voxelwhy.config.settings import load_settings

HEADER = "RID,PTID,VISCODE,DX,EXAMDATE,Image.ID,Scan.Date,Sequence,Visit,Month_bl,Screen.Diagnosis,Study.ID,Series.ID"
HEADER += ",label_x"
N3 = "MPR; GradWarp; N3; Scaled"
# PTID, DX, EXAMDATE, Image.ID, Scan.Date, Sequence, Visit
ROWS = [
    ("999_S_0001", "CN", "2006-01-10", "101", "1/12/06", N3, "Screening"),
    ("999_S_0001", "CN", "2006-01-10", "102", "1/12/06", N3 + "_2", "Screening"),
    ("999_S_0001", "CN", "2007-01-10", "103", "12/31/07", N3, "Month 12"),
    ("999_S_0002", "Dementia", "2006-02-10", "104", "2/2/06", N3, "Screening"),
    ("999_S_0002", "Dementia", "", "105", "2/2/08", N3, "Month 24"),
    ("999_S_0003", "MCI", "2006-02-10", "106", "2/3/06", N3, "Screening"),
    ("999_S_0004", "CN", "2006-02-10", "107", "2/4/06", N3, "Screening"),
    ("999_S_0004", "Dementia", "2008-02-10", "108", "2/4/08", N3, "Month 24"),
]
COLLECTION = "Image Data ID,Subject,Group,Sex,Age,Visit,Modality,Description,Type,Acq Date,Format,Downloaded"
ADNIMERGE = "RID,PTID,VISCODE,EXAMDATE,DX_bl,AGE,PTGENDER,ABETA,DX,Years_bl,Month_bl"


def cohort_settings(**cohort):
    """The section `cohort` with the schema's defaults."""
    return load_settings({"study": "x", "cohort": cohort}, SCHEMA)["cohort"]


def changed(row, **cells):
    names = ("ptid", "dx", "examdate", "image_id", "scan_date", "sequence", "visit")
    return tuple({**dict(zip(names, row, strict=True)), **cells}[name] for name in names)


def write_merged(folder, rows=ROWS, header=HEADER, *, files=ROWS, missing=(), encode=None, name="table.csv", **cohort):
    """A merged table and empty scans of `files` in `folder`; the settings that read them."""
    for ptid, dx, _, image_id, scan_date, _, visit in files:
        visit = visit.replace(" ", "")
        path = folder / "ADNI" / ptid / visit / f"{ptid}_{scan_date.replace('/', '-')}_{visit}_{image_id}_{dx}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        if image_id not in missing:
            path.touch()
    text = "\n".join([header, *(_line(*row) for row in rows)]) + "\n"
    (folder / name).write_bytes(encode(text) if encode else text.encode())
    return cohort_settings(table=str(folder / name), data_dir=str(folder / "ADNI"), **cohort)


def _line(ptid, dx, examdate, image_id, scan_date, sequence, visit):
    return f"1,{ptid},bl,{dx},{examdate},{image_id},{scan_date},{sequence},{visit},0,NL,7,{image_id}9,N/A"


def image(number, subject="011_S_0003", group="AD", visit="sc", description=N3, **cells):
    """A row of a collection as {column: cell}; `cells` may name date, sex, age and modality."""
    cells = {"date": "9/1/2005", "sex": "M", "age": "81", "modality": "MRI"} | cells
    values = [number, subject, group, cells["sex"], cells["age"], visit, cells["modality"], description]
    values += ["Processed", cells["date"], "NiFTI", "12/01/2018"]
    return dict(zip(COLLECTION.split(","), map(str, values), strict=True))


def write_collection(folder, rows, *, missing=(), encode=None, name="table.csv", **cohort):
    """A collection's table and, in its tree, an empty file for each image; the settings that read them."""
    for row in rows:
        number = row["Image Data ID"].removeprefix("I")
        place = folder / "images" / row["Subject"] / f"I{number}"
        place.mkdir(parents=True, exist_ok=True)
        if number not in missing:
            (place / f"ADNI_{row['Subject']}_MR_S1_I{number}.nii").touch()
    text = "\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]) + "\n"
    (folder / name).write_bytes(encode(text) if encode else text.encode())
    data_dir = str(folder / "images")
    return cohort_settings(source="adni_collection", table=str(folder / name), data_dir=data_dir, **cohort)


def visit(subject, code, dx, *, date="2005-09-08", dx_bl="MCI", age="70.5", years="0", months="0", sex="Female"):
    """A row of ADNIMERGE as {column: cell}."""
    cells = ["3", subject, code, date, dx_bl, age, sex, ">1700", dx, years, months]
    return dict(zip(ADNIMERGE.split(","), cells, strict=True))


def write_adnimerge(folder, rows, columns=None):
    """ADNIMERGE.csv with its columns in the order of `columns`; its path."""
    columns = columns or list(rows[0])
    lines = [",".join(f'"{row[column]}"' for column in columns) for row in rows]
    path = folder / "ADNIMERGE.csv"
    path.write_text("\n".join([",".join(columns), *lines]) + "\n")
    return str(path)


def reasons(dropped):
    """Row to reason of the table of dropped rows."""
    return dict(zip(dropped["row"], dropped["reason"], strict=True))
