"""The tree that LONI gives: each image found by its ID, however the download lies; and at the size of a real one."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

import pytest
import yaml

from helpers.adni_tables import SCHEMA, cohort_settings, image, reasons, write_collection
from helpers.loni_tree import make_loni_tree
from helpers.paths import ROOT
from helpers.workflow import plan, snakemake
from voxelwhy.cohort.parse import parse_tables
from voxelwhy.cohort.readers import _loni
from voxelwhy.config.settings import load_settings
from voxelwhy.errors import InputError

ONE = "ADNI/011_S_0003/MPR__GradWarp__B1_Correction__N3__Scaled/2005-09-01_09_58_59.0"
NAME = "ADNI_011_S_0003_MR_MPR__GradWarp__B1_Correction__N3__Scaled_Br_20060911_S10469_I34000"


def _touch(folder, *files):
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()


def _records(*numbers):
    return [{"image_id": str(n), "table": "t.csv", "row": n, "reason": None, "detail": None} for n in numbers]


def _find(folder, *numbers):
    records = _records(*numbers)
    _loni.find_images(records, str(folder))
    return [record["path"] and os.path.relpath(record["path"], folder) for record in records]


@pytest.mark.parametrize(
    ("files", "path"),
    [
        ([f"{ONE}/S10469/{NAME}.nii", f"{ONE}/S10469/{NAME}.xml"], f"{ONE}/S10469/{NAME}.nii"),
        ([f"{ONE}/I34000/{NAME}.nii.gz"], f"{ONE}/I34000/{NAME}.nii.gz"),
        ([f"{ONE}/I34000/T1.nii"], f"{ONE}/I34000/T1.nii"),
        ([f"{ONE}/S10469/{NAME}.img", f"{ONE}/S10469/{NAME}.hdr"], f"{ONE}/S10469/{NAME}.img"),
        ([f"{ONE}/S10469/x_br_raw_{n}_S10469_I34000.dcm" for n in range(9)], f"{ONE}/S10469"),
        ([f"{ONE}/I34000/{n:04d}.DCM" for n in range(9)], f"{ONE}/I34000"),
        ([f"{NAME}.nii", f"._{NAME}.nii", f".old/{NAME}.nii"], f"{NAME}.nii"),
        ([f"{ONE}/I99/{NAME}.nii"], f"{ONE}/I99/{NAME}.nii"),
    ],
    ids=["S folder", "I folder", "ID of the folder", "Analyze", "DICOM", "DICOM by folder", "hidden", "name first"],
)
def test_an_image_wherever_it_lies(tmp_path, files, path):
    _touch(tmp_path, *files, f"{ONE}/S1/x_S1_I340001.nii", f"{ONE}/S2/I34000_x.nii")
    assert _find(tmp_path, 34000, 340001) == [path, f"{ONE}/S1/x_S1_I340001.nii"]


def test_what_belongs_to_no_row_is_counted(tmp_path, caplog):
    _touch(tmp_path, "a_I1.nii", "b_I2.nii", "I3/1.dcm", "I3/2.dcm", "a_I1.xml", "nameless.nii", "I3x/slices.nii.gz")
    with caplog.at_level(logging.INFO):
        records = _records(1, 5)
        _loni.find_images(records, str(tmp_path))
    assert [record["reason"] for record in records] == [None, "file missing"]
    assert records[1]["detail"] == f"no file of image I5 below {tmp_path}"
    assert f"3 images below {tmp_path}, 2 of them belong to no row of the table" in caplog.text
    assert "2 image files have no Image ID in their name or folder" in caplog.text


def test_links_are_followed_and_do_not_loop(tmp_path):
    disk, tree = tmp_path / "disk2", tmp_path / "tree"
    _touch(disk, "011_S_0003/a_I1.nii", "store/b.nii")
    _touch(tree, "z/c_I3.nii", "self/d_I4.nii")
    (tree / "011_S_0003").symlink_to(disk / "011_S_0003")
    (tree / "b_I2.nii").symlink_to(disk / "store/b.nii")
    (tree / "self/up").symlink_to(tree)
    (tree / "again").symlink_to(tree / "z")
    (tree / "broken_I5.nii").symlink_to(tree / "nowhere")
    (tree / "round_I6.nii").symlink_to(tree / "round_I6.nii")
    found = _find(tree, 1, 2, 3, 4, 5, 6)
    assert found == ["011_S_0003/a_I1.nii", "b_I2.nii", "again/c_I3.nii", "self/d_I4.nii", None, None]
    (tree / "same_I2.nii").symlink_to(tree / "b_I2.nii")
    assert _find(tree, 2) == ["b_I2.nii"]


def test_an_image_that_is_there_as_two_files_is_refused_with_both(tmp_path):
    _touch(tmp_path, f"S1/{NAME}.nii", f"I34000/{NAME}.nii.gz", "x_I1.nii", "J/1_I2.dcm", "K/1_I2.dcm")
    match = rf"I34000 occurs twice\n.*t.csv, row 34000\n.*I34000/{NAME}.nii.gz and .*S1/{NAME}.nii"
    with pytest.raises(InputError, match=match):
        _find(tmp_path, 1, 34000)
    with pytest.raises(InputError, match=r"I2 occurs twice\n(.*\n)+?.*/J and .*/K"):
        _find(tmp_path, 2)
    assert _find(tmp_path, 1) == ["x_I1.nii"]


def test_nifti_is_used_where_the_dicom_series_is_there_too(tmp_path, caplog):
    _touch(tmp_path, "I7/1_I7.dcm", "I7/2_I7.dcm", "nifti/x_I7.nii.gz", "I8/1.dcm", "I8/x.nii")
    with caplog.at_level(logging.INFO):
        assert _find(tmp_path, 7, 8) == ["nifti/x_I7.nii.gz", "I8/x.nii"]
    assert "2 images exist as NIfTI and as DICOM, of which NIfTI is used, first I7" in caplog.text


def test_a_folder_that_mixes_series_is_refused(tmp_path):
    _touch(tmp_path, "S1/1_I7.dcm", "S1/1_I8.dcm", "x_I1.nii")
    assert _find(tmp_path, 1) == ["x_I1.nii"]
    with pytest.raises(InputError, match=r"DICOM files of several images\n.*S1\n.*I7, I8"):
        _find(tmp_path, 8)


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    _touch(tmp_path, "a_I1.nii", "closed/b_I2.nii")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"cannot be read\n.*file .*/closed\n.*'Permission denied'"):
        _find(tmp_path, 1)
    with pytest.raises(InputError, match="there is no such folder"):
        _find(tmp_path / "none", 1)


def test_no_image_at_all_is_an_error(tmp_path):
    _touch(tmp_path, "a_I1.nii")
    with pytest.raises(InputError, match=r"none of the 2 images(.*\n)+.*1 other images; no file that ends in _I8"):
        _find(tmp_path, 8, 9)


def test_paths_are_relative_where_the_folder_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = write_collection(tmp_path, [image(1, "011_S_0003"), image(2, "011_S_0004", "CN")])
    for folder in ("images", "./images/"):
        paths = parse_tables(settings | {"data_dir": folder})[0]["path"].tolist()
        assert paths[0] == "images/011_S_0003/I1/ADNI_011_S_0003_MR_S1_I1.nii"


@pytest.mark.parametrize("source", ["adni_collection", "adni_merged"])
def test_a_generated_download_row_by_row(tmp_path, source):
    """24 rows: subjects AD, CN, MCI, of each four visits, of each two processings; every fifth image is a series."""
    for joined in (False, True):
        folder = tmp_path / str(joined)
        made = make_loni_tree(folder, 24, source=source, adnimerge=joined, dicom_every=5, tiny_images=True)
        scans, dropped, counts = parse_tables(cohort_settings(**made))
        again = {"another processing of the scan is used": 8} if source == "adni_collection" else {}
        word = "diagnosis" if joined or source == "adni_merged" else "group"
        assert counts["dropped"] == {**again, f"{word} MCI is not studied": 8}
        assert len(scans) == (8 if again else 16)
        series = [path for path in scans["path"] if os.path.isdir(path)]
        assert len(series) == (2 if again else 4)
        # The merged table has no ages of its own.
        assert scans["age"].dropna().tolist()[:2] == (
            [] if source == "adni_merged" and not joined else [60, 60.5 if joined and again else 60]
        )
        first = [row for row, reason in reasons(dropped).items() if reason.startswith("another")]
        assert first == ([3, 5, 7, 9, 11, 13, 15, 17] if again else [])


def test_a_generated_download_in_the_layout_of_the_original_study(tmp_path):
    template = "{PTID}/{Visit}/{PTID}_{Scan.Date}_{Visit}_{Image.ID}_{DX}_Warped.nii.gz"
    made = make_loni_tree(tmp_path, 24, source="adni_merged", path_template=template)
    scans, _, counts = parse_tables(cohort_settings(**made))
    assert counts["dropped"] == {"diagnosis MCI is not studied": 8}
    path = "002_S_0001/Month6/002_S_0001_7-3-06_Month6_30002_Dementia_Warped.nii.gz"
    assert scans["path"].iloc[2] == str(tmp_path / "images" / path)


@pytest.fixture(scope="module")
def download(tmp_path_factory):
    """1,600 images of 400 subjects, half AD, half CN; every tenth is a DICOM series."""
    folder = tmp_path_factory.mktemp("download")
    cohort = make_loni_tree(folder, 1600, groups=("AD", "CN"), processings=["MT1; N3m"], adnimerge=True, dicom_every=10)
    (folder / "config.yaml").write_text(yaml.safe_dump({"study": "large", "cohort": cohort}))
    return folder


def test_1600_rows_and_files_within_20_seconds(download):
    settings = load_settings(yaml.safe_load((download / "config.yaml").read_text()), SCHEMA)["cohort"]
    script = "import json, sys; from voxelwhy.cohort.parse import parse_tables; "
    script += "print(json.dumps(parse_tables(json.loads(sys.argv[1]))[2]))"
    command = [sys.executable, "-c", script, json.dumps(settings)]
    done = subprocess.run(command, cwd=ROOT / "scripts", capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "rows": 1600,
        "scans": 1600,
        "subjects": 400,
        "dropped": {},
        "classes": {"AD": {"scans": 800, "subjects": 200}, "CN": {"scans": 800, "subjects": 200}},
    }


@pytest.mark.slow
def test_a_dry_run_over_1600_scans_within_60_seconds(download):
    config = ("--configfile", "config.yaml")
    code, text = snakemake(download, "--cores", "1", *config, "--until", "parse_tables", timeout=120)
    assert code == 0, text[-3000:]
    jobs = plan(download, *config, timeout=60).counts()
    assert jobs["register_scan"] == 1600
    assert "parse_tables" not in jobs
    merged = (download / "ADNIMERGE.csv").read_text()
    (download / "ADNIMERGE.csv").write_text(merged.replace(",CN,", ",NL,"))
    assert plan(download, *config, "--", "results/large/cohort/scans.tsv", timeout=60).counts()["parse_tables"] == 1
