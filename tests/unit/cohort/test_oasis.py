"""OASIS as it is released: both tables, whatever a spreadsheet made of them, and the folders of Analyze pairs."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from helpers.adni_tables import reasons
from helpers.oasis_tables import ONE, TWO
from voxelwhy.cohort.parse import parse_tables
from voxelwhy.cohort.readers import oasis
from voxelwhy.errors import ConfigError, InputError
from voxelwhy.io.tables import DROPPED, SCANS, write_table

CLASSES = {
    "positive": {"name": "AD", "values": [0.5, 1, 2]},
    "negative": {"name": "CN", "values": [0]},
    "drop": [],
}


def pair(folder, name, number=1):
    """An Analyze pair of 2 x 3 x 4 voxels."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.AnalyzeImage(np.full((2, 3, 4), number, np.int16), np.eye(4)), path)


def write_one(folder, text=ONE):
    """The table of OASIS-1 and its masked images in two discs; the settings that read them."""
    for line in ONE.splitlines()[1:]:
        name = line.split(",")[0]
        disc = "disc1" if name < "OAS1_0022" else "disc2"
        pair(folder, f"{disc}/{name}/PROCESSED/MPRAGE/T88_111/{name}_mpr_n4_anon_111_t88_masked_gfc.img")
    (folder / "oasis.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return settings_of(folder)


def write_two(folder, text=TWO):
    """The table of OASIS-2 and its raw images in two parts; the settings that read them."""
    for line in TWO.splitlines()[1:]:
        name = line.split(",")[1]
        for number in (1, 2):
            part = "OAS2_RAW_PART1" if name < "OAS2_0018" else "OAS2_RAW_PART2"
            image = nib.Nifti1Pair(np.full((2, 3, 4), number, np.int16), np.eye(4))
            path = folder / part / name / "RAW" / f"mpr-{number}.nifti.img"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(image, path)
    (folder / "oasis.csv").write_text(text)
    return settings_of(folder)


def settings_of(folder):
    return {
        "source": "oasis",
        "table": str(folder / "oasis.csv"),
        "data_dir": str(folder),
        "images": "auto",
        "classes": CLASSES,
    }


def test_the_table_and_discs_of_oasis_1(tmp_path):
    scans, dropped, counts = parse_tables(write_one(tmp_path))
    assert reasons(dropped) == {5: "no CDR (young or not assessed)"}
    assert scans["label"].tolist() == ["CN", "CN", "AD", "AD", "AD", "AD"]
    assert scans["subject_id"].tolist()[-2:] == ["OAS1_0061", "OAS1_0061"]
    assert scans["scan_id"].tolist()[-2:] == ["sub-OAS10061_ses-MR1", "sub-OAS10061_ses-MR2"]
    assert (scans["age"][0], scans["sex"][0], scans["session"][0]) == (74, "F", "MR1")
    assert (counts["rows"], counts["scans"], counts["subjects"]) == (7, 6, 5)
    assert scans["path"][0] == str(
        tmp_path / "disc1/OAS1_0001_MR1/PROCESSED/MPRAGE/T88_111/OAS1_0001_MR1_mpr_n4_anon_111_t88_masked_gfc.img"
    )
    for path in scans["path"]:
        assert nib.load(path).shape == (2, 3, 4)
    write_table(scans, tmp_path / "scans.tsv", SCANS)
    write_table(dropped, tmp_path / "dropped.tsv", DROPPED)


def test_oasis_2_by_the_cdr_of_the_visit_and_never_by_group(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        scans, dropped, counts = parse_tables(write_two(tmp_path))
    assert scans["label"].tolist() == ["CN", "CN", "AD", "CN", "AD", "CN"]
    assert scans["subject_id"].tolist() == [f"OAS2_{n}" for n in ("0001", "0001", "0002", "0018", "0018", "0019")]
    assert (counts["rows"], len(dropped)) == (6, 0)
    assert scans["path"][0] == str(tmp_path / "OAS2_RAW_PART1/OAS2_0001_MR1/RAW/mpr-1.nifti.img")
    assert np.asarray(nib.load(scans["path"][0]).dataobj).max() == 1
    assert "images of kind raw; 6 sessions have several, of which the first is used" in caplog.text


def _decimal_commas(text):
    return "\n".join(line.replace(",", ";").replace(".", ",") for line in text.splitlines())


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\r").encode(),
        lambda text: _decimal_commas(text).encode(),
        lambda text: b"\xef\xbb\xbf" + _decimal_commas(text).replace("\n", "\r\n").encode(),
        lambda text: text.replace(",", "\t").encode(),
        lambda text: text.replace(",0.5,", ',"0,5",').encode(),
    ],
    ids=["BOM and CRLF", "bare CR", "semicolons and decimal commas", "all of it", "tabs", "quoted decimal comma"],
)
def test_the_same_table_as_a_spreadsheet_writes_it(tmp_path, encode):
    plain = parse_tables(write_one(tmp_path))
    again = parse_tables(write_one(tmp_path, encode(ONE)))
    assert again[0].equals(plain[0])
    assert again[2] == plain[2]


def test_ages_with_decimal_commas(tmp_path):
    text = _decimal_commas(ONE).replace(";74;", ";74,5;")
    assert parse_tables(write_one(tmp_path, text))[0]["age"][0] == 74.5


def test_a_cdr_may_be_dropped_by_its_number(tmp_path):
    classes = {"positive": {"name": "AD", "values": [1.0]}, "negative": {"name": "CN", "values": [0]}, "drop": [0.5]}
    scans, dropped, _ = parse_tables(write_one(tmp_path) | {"classes": classes})
    assert scans["label"].tolist() == ["CN", "CN", "AD"]
    half = "CDR 0.5 is not studied"
    assert reasons(dropped) == {4: half, 5: "no CDR (young or not assessed)", 7: half, 8: half}


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (",27,0.5,", ",27,3,", r"belongs to no class\n.*row 4, column CDR\n.*'3'\n.*0.5, 1, 2, 0"),
        (",27,0.5,", ",27,x,", r"not a valid CDR\n.*row 4, column CDR\n.*'x'"),
        (",27,0.5,", ",27,-1,", r"not a valid CDR\n.*row 4"),
        ("OAS1_0003_MR1", "OAS1_0002_MR1", r"ID must be unique\n.*row 4"),
        ("OAS1_0003_MR1", "OAS1_3", r"not a valid session ID\n.*row 4, column ID\n.*'OAS1_3'"),
        ("OAS1_0003_MR1,F", "OAS1_0003_MR1,woman", r"not a valid sex\n.*row 4, column M/F"),
        (",73,", ",173,", r"not a valid age\n.*row 4, column Age"),
        ("CDR", "cdr", r"neither OASIS-1 nor OASIS-2(.*\n)+.*OASIS-1: ID, M/F, Age, CDR; OASIS-2: Subject ID"),
    ],
)
def test_a_bad_cell_is_named(tmp_path, old, new, match):
    settings = write_one(tmp_path)
    Path(settings["table"]).write_text(ONE.replace(old, new))
    with pytest.raises(InputError, match=match):
        parse_tables(settings)


def test_a_session_of_another_subject_is_refused(tmp_path):
    settings = write_two(tmp_path, TWO.replace("OAS2_0002,OAS2_0002_MR1", "OAS2_0009,OAS2_0002_MR1"))
    with pytest.raises(InputError, match=r"not belong to the subject\n.*row 4, column MRI ID"):
        parse_tables(settings)


def test_every_kind_of_image_by_its_name(tmp_path):
    settings = write_one(tmp_path)
    name = "OAS1_0001_MR1"
    root = tmp_path / "disc1" / name
    others = {
        "t88": f"PROCESSED/MPRAGE/T88_111/{name}_mpr_n4_anon_111_t88_gfc.img",
        "subject": f"PROCESSED/MPRAGE/SUBJ_111/{name}_mpr_n4_anon_sbj_111.img",
        "raw": f"RAW/{name}_mpr-1_anon.img",
    }
    for other in (*others.values(), f"RAW/{name}_mpr-2_anon.img"):
        pair(root, other)
    pair(root, f"FSL_SEG/{name}_mpr_n4_anon_111_t88_masked_gfc_fseg.img")
    for kind, path in others.items():
        records, entries = oasis.read_cohort(settings | {"images": kind})
        assert (records[0]["path"], records[0]["reason"], entries) == (str(root / path), None, 7)
        assert [record["reason"] for record in records[1:]].count("file missing") == 5
        assert records[1]["detail"] == f"no image of kind {kind} below {tmp_path}"
    assert oasis.read_cohort(settings | {"images": "masked"})[0][0]["path"].endswith("_masked_gfc.img")


def test_nifti_in_the_place_of_analyze_halves_and_missing_files(tmp_path):
    settings = write_one(tmp_path)
    folder = "PROCESSED/MPRAGE/T88_111"
    images = {
        name: tmp_path / disc / name / folder / f"{name}_mpr_n4_anon_111_t88_masked_gfc"
        for disc, name in (("disc1", "OAS1_0001_MR1"), ("disc1", "OAS1_0003_MR1"), ("disc2", "OAS1_0061_MR2"))
    }
    for path in images.values():
        os.remove(f"{path}.hdr")
    os.remove(f"{images['OAS1_0001_MR1']}.img")
    nib.save(nib.Nifti1Image(np.ones((2, 3, 4), np.int16), np.eye(4)), f"{images['OAS1_0001_MR1']}.nii.gz")
    os.remove(f"{images['OAS1_0061_MR2']}.img")
    scans, dropped, _ = parse_tables(settings)
    assert scans["path"][0] == f"{images['OAS1_0001_MR1']}.nii.gz"
    assert reasons(dropped) == {
        4: "one file of the pair is missing",
        5: "no CDR (young or not assessed)",
        8: "file missing",
    }
    details = dropped.set_index("row")["detail"]
    assert details[4] == f"{images['OAS1_0003_MR1']}.hdr"
    assert details[8] == f"no image of kind masked below {tmp_path}"


def test_an_image_that_is_there_twice_is_refused(tmp_path):
    settings = write_one(tmp_path)
    pair(tmp_path, "copy/OAS1_0001_MR1_mpr_n4_anon_111_t88_masked_gfc.img")
    with pytest.raises(InputError, match=r"OAS1_0001_MR1 occurs twice\n.*row 2\n.*copy/.* and .*disc1/"):
        parse_tables(settings)


def test_no_image_of_the_kind_says_which_kinds_there_are(tmp_path):
    settings = write_one(tmp_path)
    with pytest.raises(
        InputError, match=r"none of the 6 images of kind raw(.*\n)+.*6 of kind masked; OAS1_0001_MR1: file"
    ):
        parse_tables(settings | {"images": "raw"})
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no image of these sessions"):
        parse_tables(settings | {"data_dir": str(tmp_path / "empty")})


def test_oasis_2_has_no_processed_images(tmp_path):
    with pytest.raises(ConfigError, match=r"OASIS-2 has whole heads only\n.*'masked'"):
        parse_tables(write_two(tmp_path) | {"images": "masked"})


def test_the_table_lies_in_the_folder_of_the_scans_unless_it_is_said(tmp_path):
    settings = write_two(tmp_path)
    del settings["data_dir"]
    assert len(parse_tables(settings)[0]) == 6
