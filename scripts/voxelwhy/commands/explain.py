"""`voxelwhy explain STUDY_FOLDER NEW.nii.gz`: a scan that is in no fold, explained by a finished study."""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path

import pandas as pd

from voxelwhy.errors import InputError, VoxelwhyError
from voxelwhy.evaluation.new_scan.explain import explain_new
from voxelwhy.evaluation.new_scan.reference import Reference
from voxelwhy.evaluation.new_scan.study import open_study
from voxelwhy.io.text import count, duration, number

#: What the names of image files end with.
IMAGES = (".nii", ".nii.gz", ".mgz", ".img", ".img.gz")
#: The table of a folder of scans.
SUMMARY = "scans.tsv"


def add_arguments(parser):
    """Add the arguments of the command to an argparse parser."""
    parser.add_argument("study", help="folder of a finished study, such as results/adni_1.5t")
    parser.add_argument("scan", help="the new scan: an image, a folder with one DICOM series, or a folder of images")
    parser.add_argument("--age", type=_age, help="age in years; compared with those of the cohort")
    parser.add_argument("--sex", choices=["F", "M"], help="sex; compared with those of the cohort")
    parser.add_argument("--out", help="folder for the results (STUDY_FOLDER/new by default): one folder for each scan")
    parser.add_argument(
        "--methods",
        nargs="+",
        help="methods of the study, best (its best-supported), or all (the default; below 1.5 mm: best)",
    )
    parser.add_argument("--split", help="split whose networks are used (the one with the most held-out subjects)")
    parser.add_argument("--network", help="module:factory of the study's network, if it is your own: its code is run")


def _age(text):
    try:
        years = float(text)
    except ValueError:
        years = math.nan
    if not 0 <= years <= 130:
        raise argparse.ArgumentTypeError(f"{text} is not an age in years (0 to 130)")
    return years


def run(options):
    """Explain the scan or scans, and print what was found; returns 1 if a scan was refused."""
    study = open_study(options.study, split=options.split, own=options.network)
    out = Path(options.out) if options.out else study.path("new")
    how = {"age": options.age, "sex": options.sex, "methods": options.methods}
    scans = list_scans(options.scan)
    if len(scans) > 1 and (options.age is not None or options.sex):
        raise InputError("--age and --sex are those of one scan", found=f"{len(scans)} scans in {options.scan}")
    return explain_all(study, scans, out, **how, alone=not Path(options.scan).is_dir() or len(scans) == 1)


def list_scans(path):
    """The scans at a path by name: a file, a folder with one DICOM series, or the images in a folder.

    In a folder with images whose names contain T1w, as in a BIDS dataset, only these count.

    Raises
    ------
    InputError : there is nothing at the path.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("the scan does not exist", file=path, allowed="an image, or a folder")
    if not path.is_dir():
        return {scan_name(path.name): path}
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name.lower().endswith(IMAGES))
    named = [file for file in files if "T1w" in file.name] or files
    names = {scan_name(file.name): file for file in named}
    if len(names) < len(named):
        names = {scan_name(str(file.relative_to(path))): file for file in named}
    return names or {scan_name(path.resolve().name): path}


def scan_name(text):
    """The name of a scan, from that of its file.

    >>> scan_name("sub-01_T1w.nii.gz")
    'sub-01_T1w'
    """
    ending = next((end for end in sorted(IMAGES, key=len, reverse=True) if text.lower().endswith(end)), "")
    return re.sub(r"[^A-Za-z0-9_.+-]+", "_", text[: len(text) - len(ending)]).lstrip(".") or "scan"


def explain_all(study, scans, out, *, age=None, sex=None, methods=None, alone=True):
    """Explain scans one after another, each into `out/<name>`.

    Parameters
    ----------
    study : FinishedStudy
    scans : {name: path}
    out : path
    age, sex, methods : as in `explain_new`
    alone : bool; the reason for which a single scan is refused is raised, those of several are listed in out/scans.tsv

    Returns
    -------
    int : 1 if a scan was refused, otherwise 0
    """
    reference, rows = Reference(study), []
    for number_, (name, path) in enumerate(scans.items(), start=1):
        print(f"[{number_}/{len(scans)}] {name}", flush=True)
        try:
            result = explain_new(reference, path, out / name, name=name, age=age, sex=sex, methods=methods)
        except VoxelwhyError as error:
            if alone:
                raise
            rows.append({"scan": name, "path": str(path), "status": "refused", "reason": " ".join(str(error).split())})
            print(f"  refused: {str(error).splitlines()[0]}", flush=True)
            continue
        rows.append({"scan": name, "path": str(path)} | summarise(result))
        print(_in_words(result, out / name, study.classes["positive"]), flush=True)
    if not alone:
        pd.DataFrame(rows).to_csv(out / SUMMARY, sep="\t", index=False, float_format="%.6g")
        print(f"{count(len(rows), 'scan')}: {out / SUMMARY}")
    return int(any(row["status"] == "refused" for row in rows))


def summarise(result):
    """One row of the table of a folder: status, reason, probability over the networks, percentiles."""
    score = result["score"]
    percentiles = {f"percentile_{name}": own["percentile"] for name, own in score["percentiles"].items()}
    reason = "; ".join(f"{one['check']}: {one['shown']}" for one in result["checks"] if not one["passed"])
    kept = {name: score[name] for name in ("probability", "low", "high")}
    return {"status": result["status"], "reason": reason} | kept | percentiles


def _in_words(result, folder, positive):
    score = result["score"]
    lines = [f"  {'FLAGGED' if result['status'] == 'flagged' else 'within the cohort'}"]
    lines += [f"    {one['check']}: {one['shown']} (cohort: {one['allowed']})" for one in result["checks"]
              if not one["passed"]]  # fmt: skip
    among = ", ".join(
        f"percentile {number(own['percentile'] if own['percentile'] is not None else math.nan, 0)} of {own['n']} {name}"
        for name, own in score["percentiles"].items()
    )
    lines.append(f"  probability of {positive} {number(score['probability'])} "
                 f"({number(score['low'])} to {number(score['high'])} over networks); {among}")  # fmt: skip
    lines.append(f"  {folder / 'page.html'} ({duration(result['seconds']['all'])}); not a diagnosis")
    return "\n".join(lines)
