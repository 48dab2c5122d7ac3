"""Small downloads as labs have them: tables and folders of scans, every scan the template at 4 mm."""

from __future__ import annotations

import functools
import gzip
import io
import json
import os
from pathlib import Path

import nibabel as nib

from helpers.templates import template_on

HEADER = "RID,PTID,VISCODE,DX,EXAMDATE,Image.ID,Scan.Date,Sequence,Visit,Month_bl,Screen.Diagnosis,Study.ID,Series.ID"
N3 = "MPR; GradWarp; B1 Correction; N3; Scaled"
CODES = {"CN": "NL", "MCI": "MCI", "Dementia": "AD"}
#: PTID, DX, Image.ID, Scan.Date, Sequence, Visit.
ADNI_15T = [
    ("999_S_0001", "CN", 101, "1/12/06", N3, "Screening"),
    ("999_S_0001", "CN", 102, "1/12/06", f"{N3}_2", "Screening"),
    ("999_S_0001", "CN", 103, "1/15/07", N3, "Month 12"),
    ("999_S_0002", "Dementia", 104, "2/2/06", N3, "Screening"),
    ("999_S_0002", "Dementia", 105, "2/2/08", "No phantom for scaling?", "Month 24"),
    ("999_S_0003", "MCI", 106, "2/3/06", N3, "Screening"),
    ("067_S_0077", "Dementia", 107, "2/4/06", N3, "Screening"),
    ("067_S_0077", "Dementia", 108, "2/6/07", N3, "Month 12"),
    ("999_S_0004", "CN", 109, "2/4/06", N3, "Screening"),
    ("023_S_0030", "Dementia", 110, "11/13/07", N3, "Month 24"),
]
ADNI_3T = [
    ("999_S_0001", "CN", 201, "1/20/06", N3, "Baseline"),
    ("023_S_0030", "MCI", 202, "10/26/05", N3, "Baseline"),
    ("023_S_0030", "Dementia", 203, "10/12/06", N3, "Month 12"),
    ("023_S_0030", "Dementia", 204, "11/13/07", N3, "Month 24"),
    ("027_S_1385", "CN", 205, "3/1/08", N3, "Month 12"),
    ("999_S_0005", "Dementia", 206, "3/2/08", N3, "Baseline"),
]


@functools.cache
def scan_bytes():
    """A brain as NIfTI, uncompressed."""
    brain = template_on(4)[0]
    stream = io.BytesIO()
    files = {"image": nib.FileHolder(fileobj=stream)}
    nib.Nifti1Image(brain.get_fdata(dtype="float32"), brain.affine).to_file_map(files)
    return stream.getvalue()


def put_scan(path):
    """A brain at `path` (.nii, or an Analyze pair by .img)."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".nii":
        path.write_bytes(scan_bytes())
    elif path.name.endswith(".nii.gz"):
        path.write_bytes(gzip.compress(scan_bytes(), 1, mtime=0))
    else:
        brain = template_on(4)[0]
        nib.save(nib.Spm99AnalyzeImage((brain.get_fdata() * 1000).astype("int16"), brain.affine), path)


def adni_merged(folder, rows, table, *, labels=False, missing=()):
    """A merged table in `folder` and the scans of its rows; `labels` adds columns that only the 1.5 T table has."""
    folder = Path(folder)
    lines = [HEADER + (",label_visual,label_quality" if labels else "")]
    for number, (ptid, dx, image, date, sequence, visit) in enumerate(rows):
        line = f"{number},{ptid},bl,{dx},2006-01-10,{image},{date},{sequence},{visit},0,{CODES[dx]},7,{image}9"
        lines.append(line + (",N/A,ok" if labels else ""))
        visit = visit.replace(" ", "")
        if image not in missing:
            put_scan(folder / ptid / visit / f"{ptid}_{date.replace('/', '-')}_{visit}_{image}_{dx}.nii.gz")
    (folder / table).write_text("\n".join(lines) + "\n")


def oasis1(folder):
    """The released tree of OASIS-1 with four people, one of them scanned twice and one without a CDR."""
    people = [
        ("0001_MR1", "F", 74, "0"),
        ("0002_MR1", "M", 81, "0,5"),
        ("0002_MR2", "M", 81, "1"),
        ("0003_MR1", "F", 20, ""),
    ]
    people.append(("0004_MR1", "M", 78, "2"))
    lines = ["ID;M/F;Hand;Age;Educ;SES;MMSE;CDR;eTIV;nWBV;ASF;Delay"]
    for name, sex, age, cdr in people:
        lines.append(f"OAS1_{name};{sex};R;{age};2;3;29;{cdr};1344;0,743;1,306;N/A")
        scan = f"OAS1_{name}/PROCESSED/MPRAGE/T88_111/OAS1_{name}_mpr_n4_anon_111_t88_masked_gfc.img"
        put_scan(Path(folder, "disc1", scan))
    Path(folder, "oasis_cross-sectional.csv").write_bytes(("\r\n".join(lines) + "\r\n").encode("utf-8-sig"))


def bids(folder):
    """A BIDS dataset: diagnosis in participants.tsv, one person of an unstudied class, one without an image."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "made", "BIDSVersion": "1.8.0"}))
    people = [("01", "AD", "F"), ("02", "CN", "M"), ("03", "MCI", "F"), ("04", "CN", "n/a"), ("05", "AD", "M")]
    lines = ["participant_id\tage\tsex\tdiagnosis"] + [f"sub-{n}\t70\t{sex}\t{label}" for n, label, sex in people]
    (folder / "participants.tsv").write_text("\n".join(lines) + "\n")
    for number, _, _ in people[:4]:
        put_scan(folder / f"sub-{number}" / "anat" / f"sub-{number}_T1w.nii.gz")
    put_scan(folder / "sub-01" / "anat" / "sub-01_run-2_T1w.nii.gz")


def fmriprep(folder):
    """Derivatives of fMRIPrep in the folder of their dataset, of which cohort.data_dir names the former."""
    bids(Path(folder).parents[1])
    for number in ("01", "02", "04"):
        for space in ("", "_space-MNI152NLin2009cAsym"):
            put_scan(Path(folder, f"sub-{number}", "anat", f"sub-{number}{space}_desc-preproc_T1w.nii.gz"))


def cat12(folder):
    """Scans in folders of their classes, with CAT12's images in mri/."""
    for name in ("AD/mri/mwp1a", "AD/mri/mwp2a", "AD/a", "NC/mri/mwp1b", "NC/mri/mwp1c", "MCI/mri/mwp1d"):
        put_scan(Path(folder, f"{name}.nii"))


def caps(folder):
    """clinica's t1-linear of four people, and the table of their diagnoses in the folder above."""
    rows = [("01", "AD"), ("02", "CN"), ("03", "MCI"), ("04", "CN")]
    lines = ["participant_id\tsession_id\tdiagnosis", *(f"sub-{number}\tses-M000\t{label}" for number, label in rows)]
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder).with_name("labels.tsv").write_text("\n".join(lines) + "\n")
    for number, _ in rows:
        place = Path(folder, "subjects", f"sub-{number}", "ses-M000", "t1_linear")
        for crop in ("", "_desc-Crop"):
            name = f"sub-{number}_ses-M000_space-MNI152NLin2009cSym{crop}_res-1x1x1_T1w.nii.gz"
            put_scan(place / name)


def named_files(folder):
    """Files whose names begin with the class."""
    for name in ("AD_001", "AD_002", "NC_001", "NC_002", "scout_001"):
        put_scan(Path(folder, f"{name}.nii.gz"))
    os.makedirs(Path(folder, "notes"), exist_ok=True)
