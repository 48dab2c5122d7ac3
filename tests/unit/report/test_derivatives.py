"""BIDS derivatives: read back by pybids, and checked by the BIDS validator."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bids import BIDSLayout

from voxelwhy.io.images import save_image, save_int16
from voxelwhy.report.derivatives import name_people, name_scans, remove_images, write_derivatives

VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")
SETTINGS = {
    "study": "test",
    "space": "MNI152NLin2009aSym",
    "reference": "a template",
    "modality": "t1w",
    "classes": {"positive": "AD", "negative": "CN"},
    "simulated": True,
}
#: scan_id, subject, session, class, age, sex.
SCANS = [
    ("s1", "999_S_0001", "Screening", "CN", 70.0, "F"),
    ("s2", "999_S_0001", "Month 12", "AD", 71.0, "F"),
    ("s3", "sub-02", None, "AD", None, None),
    ("s4", "sub-03", "M0", "CN", 68.5, "M"),
    ("s5", "sub-03", "M0", "CN", 68.5, "M"),
]


@pytest.fixture
def study(tmp_path):
    """Registered scans, maps of two methods by group, and the map of one scan; the arguments of write_derivatives."""
    columns = ["scan_id", "subject_id", "session", "label", "age", "sex"]
    selected = pd.DataFrame(SCANS, columns=columns).astype({"age": float})
    affine = np.diag([4.0, 4, 4, 1])
    for scan in selected["scan_id"]:
        (tmp_path / "registered" / scan).mkdir(parents=True)
        save_int16(tmp_path / "registered" / scan / "t1.nii", np.random.default_rng(0).random((5, 6, 7)), affine)
    selected["t1"] = [str(tmp_path / "registered" / scan / "t1.nii") for scan in selected["scan_id"]]
    maps, regions = {}, {}
    for method in ("occlusion", "grad_cam"):
        place = tmp_path / method / "maps"
        place.mkdir(parents=True)
        for name in ("mean_AD", "sd_AD", "mean_AD_scaled", "mean_all", "scan_s2"):
            save_image(place / f"{name}.nii.gz", np.ones((5, 6, 7)), affine, {"method": method, "target": "AD"})
        maps["kfold", method] = place
        regions["kfold", method] = tmp_path / method / "regions.tsv"
        regions["kfold", method].write_text("region\tenrichment\nHippocampus\t2\n")
    return selected, maps, regions


def names_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_files_have_the_names_that_bids_gives_them(study, tmp_path):
    folder = tmp_path / "derivatives"
    names = write_derivatives(folder, *study, SETTINGS, skull_stripped=True)
    assert names == {
        "s1": "sub-999S0001_ses-Screening",
        "s2": "sub-999S0001_ses-Month12",
        "s3": "sub-02",
        "s4": "sub-03_ses-M0_run-1",
        "s5": "sub-03_ses-M0_run-2",
    }
    found = names_in(folder)
    stem = "sub-999S0001/ses-Month12/anat/sub-999S0001_ses-Month12_space-MNI152NLin2009aSym"
    for name in ("desc-preproc_T1w.nii", "desc-occlusion_relevance.nii.gz", "desc-gradCam_relevance.json"):
        assert f"{stem}_{name}" in found
    assert sum("_relevance.nii.gz" in name and name.startswith("sub-") for name in found) == 2
    assert "group/split-kfold_group-AD_space-MNI152NLin2009aSym_stat-mean_desc-occlusionScaled_relevance.json" in found
    assert "group/split-kfold_desc-gradCam_regions.tsv" in found
    assert len(found) == 4 + 1 + 5 * 2 + 2 * 2 + 2 * 4 * 2 + 2


def test_files_are_links(study, tmp_path):
    selected, maps, _ = study
    write_derivatives(tmp_path / "derivatives", *study, SETTINGS, skull_stripped=True)
    linked = next((tmp_path / "derivatives").rglob("*Month12*desc-occlusion_relevance.nii.gz"))
    assert os.path.samefile(linked, maps["kfold", "occlusion"] / "scan_s2.nii.gz")
    assert selected["t1"].map(lambda path: os.stat(path).st_nlink).tolist() == [2] * 5


def test_images_that_a_study_removes_keep_no_link(study, tmp_path):
    selected, folder = study[0], tmp_path / "derivatives"
    write_derivatives(folder, *study, SETTINGS, skull_stripped=True)
    maps = len(list(folder.rglob("*_relevance.nii.gz")))
    remove_images(folder)
    assert not list(folder.rglob("*_T1w.*")) and len(list(folder.rglob("*_relevance.nii.gz"))) == maps
    assert {os.stat(path).st_nlink for path in selected["t1"]} == {1}
    for path in selected["t1"]:
        os.remove(path)
    shutil.rmtree(folder)
    write_derivatives(folder, *study, SETTINGS, skull_stripped=True)
    card = json.loads(next(folder.rglob("*desc-occlusion_relevance.json")).read_text())
    assert card["Sources"] == [] and not list(folder.rglob("*_T1w.*"))


def test_pybids_reads_maps_sidecars_and_people(study, tmp_path):
    folder = tmp_path / "derivatives"
    write_derivatives(folder, *study, SETTINGS, skull_stripped=True)
    layout = BIDSLayout(folder, validate=False, config=["bids", "derivatives"])
    assert layout.get_subjects() == ["02", "03", "999S0001"]
    (found,) = layout.get(subject="999S0001", desc="occlusion", suffix="relevance", extension=".nii.gz")
    assert found.get_metadata()["method"] == "occlusion" and found.get_metadata()["target"] == "AD"
    (source,) = found.get_metadata()["Sources"]
    assert (folder / source.removeprefix("bids::")).is_file()
    assert len(layout.get(desc="preproc", suffix="T1w", extension=".nii")) == 5
    people = pd.read_csv(folder / "participants.tsv", sep="\t", keep_default_na=False)
    assert people["participant_id"].tolist() == ["sub-999S0001", "sub-02", "sub-03"]
    assert people["diagnosis"].tolist() == ["AD", "AD", "CN"] and people["age"].tolist() == ["70.0", "n/a", "68.5"]
    assert people["n_scans"].tolist() == [2, 1, 2]


@pytest.mark.skipif(not VALIDATOR.exists(), reason="bids-validator-deno is not installed")
@pytest.mark.parametrize("modality", ["t1w", "gm", "pet", "other"])
def test_the_validator_has_no_error(study, tmp_path, modality):
    folder = tmp_path / "derivatives"
    write_derivatives(folder, *study, SETTINGS | {"modality": modality}, skull_stripped=True)
    done = subprocess.run([VALIDATOR, folder, "--format", "json"], capture_output=True, text=True, timeout=300)
    issues = json.loads(done.stdout)["issues"]["issues"]
    errors = [(one["code"], one.get("location")) for one in issues if one.get("severity") == "error"]
    assert not errors and done.returncode == 0, errors
    if modality == "t1w":  # the validator does look: a name that BIDS does not know is an error
        shutil.copy(next(folder.rglob("*_T1w.nii")), folder / "sub-02" / "anat" / "sub-02_desc-x_nothing.nii")
        again = subprocess.run([VALIDATOR, folder, "--format", "json"], capture_output=True, text=True, timeout=300)
        assert again.returncode != 0


def test_people_whose_labels_would_be_equal_are_told_apart():
    assert list(name_people(["a_1", "a1", "sub-A1", "_"]).values()) == ["sub-a1", "sub-a1x2", "sub-A1x3", "sub-x"]


def test_every_scan_has_its_own_name():
    selected = pd.DataFrame(SCANS, columns=["scan_id", "subject_id", "session", "label", "age", "sex"])
    names = name_scans(selected, name_people(selected["subject_id"])).values()
    assert len(set(names)) == len(SCANS)
