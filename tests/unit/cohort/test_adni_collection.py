"""The CSV of a LONI collection, however it is written: one image of each scan, the others dropped with the reason."""

from __future__ import annotations

import logging
import random

import pytest

from helpers.adni_tables import COLLECTION, N3, cohort_settings, image, reasons, write_collection
from voxelwhy.cohort.parse import parse_tables
from voxelwhy.cohort.readers.adni_collection import comparable
from voxelwhy.errors import ConfigError, InputError
from voxelwhy.io.tables import DROPPED, SCANS, read_table, write_table

FULL = "MPR; GradWarp; B1 Correction; N3; Scaled"
AD, CN = "011_S_0003", "011_S_0005"
ROWS = [
    image("I34000", AD, "AD", "sc"),
    image("I34001", AD, "AD", "m06", date="3/13/2006", age="82"),
    image("I34002", CN, "CN", "1", date="12/1/2005", sex="F", age="73.5"),
    image("I34003", CN, "CN", "bl", date="1/14/2006", sex="F", age="73.7"),
]


def test_a_scan_in_full_and_the_tables_follow_their_schemas(tmp_path):
    scans, dropped, counts = parse_tables(write_collection(tmp_path, [*ROWS, image("I34004", CN, "MCI")]))
    write_table(scans, tmp_path / "scans.tsv", SCANS)
    write_table(dropped, tmp_path / "dropped.tsv", DROPPED)
    scans = read_table(tmp_path / "scans.tsv", SCANS)
    assert scans.iloc[1].to_dict() == {
        "scan_id": "sub-011S0003_ses-m06_I34001",
        "subject_id": "011_S_0003",
        "session": "m06",
        "label": "AD",
        "age": 82,
        "sex": "M",
        "scan_date": "2006-03-13",
        "image_id": "34001",
        "path": str(tmp_path / "images/011_S_0003/I34001/ADNI_011_S_0003_MR_S1_I34001.nii"),
    }
    assert scans["session"].tolist() == ["sc", "m06", "1", "bl"]
    assert scans["scan_id"].iloc[2] == "sub-011S0005_ses-1_I34002"
    assert scans["age"].tolist() == [81, 82, 73.5, 73.7]
    assert read_table(tmp_path / "dropped.tsv", DROPPED)["reason"].tolist() == ["group MCI is not studied"]
    assert (counts["rows"], counts["scans"], counts["subjects"]) == (5, 4, 2)


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: "\n".join(",".join(f'"{c}"' for c in line.split(",")) for line in text.splitlines()).encode(),
        lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r").encode(),
        lambda text: text.replace("\nI", "\n").encode(),
        lambda text: "\n".join(",".join(reversed(line.split(","))) for line in text.splitlines()).encode(),
        lambda text: text.replace("/2005", "/05").replace("/2006", "/06").encode(),
    ],
    ids=["CRLF", "quoted", "BOM and CR", "IDs without I", "columns in another order", "years of two digits"],
)
def test_the_same_collection_as_others_write_it(tmp_path, encode):
    plain = parse_tables(write_collection(tmp_path, ROWS))[0]
    assert len(plain) == 4
    assert parse_tables(write_collection(tmp_path, ROWS, encode=encode))[0].equals(plain)


def test_only_the_columns_that_are_needed_must_be_there(tmp_path):
    few = ("Image Data ID", "Subject", "Group", "Visit", "Modality", "Description", "Acq Date")
    scans = parse_tables(write_collection(tmp_path, [{name: row[name] for name in few} for row in ROWS]))[0]
    assert (len(scans), scans["age"].isna().all(), scans["sex"].isna().all()) == (4, True, True)
    for name in set(few) - {"Modality"}:  # since 2024 a table of MR images does not say so
        rows = [{column: cell for column, cell in row.items() if column != name} for row in ROWS]
        settings = write_collection(tmp_path, ROWS)
        (tmp_path / "table.csv").write_text("\n".join([",".join(rows[0]), *(",".join(r.values()) for r in rows)]))
        with pytest.raises(InputError, match=f"no column '{name}'"):
            parse_tables(settings)


def test_if_no_description_is_chosen_the_nearest_one_is_named(tmp_path):
    rows = [image(101, description="MPRAGE SENSE2"), image(102, "011_S_0005", "CN", description="Localizer")]
    message = (
        r"none of the 2 images is T1-weighted(.*\n)+.*row 2, column Description\n.*'MPRAGE SENSE2'\n.*such as 'MPRAGE'"
    )
    with pytest.raises(InputError, match=message):
        parse_tables(write_collection(tmp_path, rows) | {"prefer": ["*Scaled", "MPRAGE", "FSPGR"]})


def test_groups_of_all_phases(tmp_path, caplog):
    groups = ["AD", "CN", "MCI", "EMCI", "LMCI", "SMC", "Patient", "Patient"]
    rows = [image(100 + n, f"011_S_000{n}", group) for n, group in enumerate(groups)]
    scans, dropped, counts = parse_tables(write_collection(tmp_path, rows))
    assert scans["label"].tolist() == ["AD", "CN"]
    assert counts["dropped"] == {
        "group EMCI is not studied": 1,
        "group LMCI is not studied": 1,
        "group MCI is not studied": 1,
        "group Patient is not studied": 2,
        "group SMC is not studied": 1,
    }
    assert dropped["label"].tolist() == groups[2:]
    assert "Group is the group at enrolment" in caplog.text


def test_one_processing_of_a_scan_is_kept_and_the_others_name_it(tmp_path, caplog):
    rows = [
        image(100, AD, description="MP-RAGE"),
        image(101, AD, description=N3 + "_2"),
        image(102, AD, description=N3),
        image(103, AD, description="MPR; GradWarp; B1 Correction"),
        image(104, AD, description="MP-RAGE REPEAT"),
        image(111, AD, visit="m06", description=N3 + "_2", date="3/1/2006"),
        image(110, AD, visit="m06", description=N3 + "_2", date="3/1/2006"),
        image(112, AD, visit="m06", description=N3 + "_2", date="3/8/2006"),
        image(99, CN, "CN", description="MT1; GradWarp; N3m <- MPRAGE"),
    ]
    with caplog.at_level(logging.INFO):
        scans, dropped, counts = parse_tables(write_collection(tmp_path, rows))
    assert scans["image_id"].tolist() == ["102", "110", "112", "99"]
    assert counts["dropped"] == {"another processing of the scan is used": 5}
    assert dropped["row"].tolist() == [2, 3, 5, 6, 7]
    assert dropped["detail"].tolist() == [*["kept is I102"] * 4, "kept is I110"]
    assert f"    1 scans by cohort.prefer: {N3}\n" in caplog.text
    assert f"    2 scans by cohort.prefer: {N3}_2\n" in caplog.text


def test_of_equal_processings_the_lowest_number_is_kept_and_not_the_first_text(tmp_path):
    rows = [image(1000, AD), image(999, AD), image("I1001", AD), image(5, CN, "CN")]
    scans, dropped, _ = parse_tables(write_collection(tmp_path, rows))
    assert scans["image_id"].tolist() == ["999", "5"]
    assert dropped["detail"].tolist() == ["kept is I999"] * 2


def test_where_the_preferred_image_was_not_downloaded_the_next_is_kept(tmp_path):
    rows = [image(100, AD), image(101, AD, description=N3 + "_2"), image(102, AD, description="MPRAGE"), ROWS[2]]
    scans, dropped, _ = parse_tables(write_collection(tmp_path, rows, missing=["100"]))
    assert scans["image_id"].tolist() == ["101", "34002"]
    assert reasons(dropped) == {2: "file missing", 4: "another processing of the scan is used"}
    assert dropped["detail"].iloc[1] == "kept is I101"


BY_RANK = [
    FULL,
    N3,
    "MPR; ; N3; Scaled",
    FULL + "_2",
    N3 + "_2",
    "MPR; ; N3; Scaled_2",
    "MPR-R; GradWarp; B1 Correction; N3; Scaled",
    "MPR-R; ; N3; Scaled_2",
    "MPR; GradWarp; B1 Correction; N3",
    "MPR-R; GradWarp; N3 <- MP-RAGE REPEAT",
    "MT1; GradWarp; N3m",
    "MT1; N3m <- Sag IR-SPGR",
    "MPR; GradWarp; B1 Correction <- MPRAGE",
    "Accelerated Sagittal MPRAGE",
    "Sag 3D MP-RAGE",
    "MP_RAGE_repeat",
    "Sag IR-FSPGR 3D",
]


def test_the_order_of_preference(tmp_path):
    shuffled = random.Random(20181).sample(BY_RANK, len(BY_RANK))
    left, kept = shuffled, []
    while left:
        rows = [image(900 - n, AD, description=description) for n, description in enumerate(left)]
        scans = parse_tables(write_collection(tmp_path, [*rows, ROWS[2]]))[0]
        kept.append(left[900 - int(scans["image_id"].iloc[0])])
        left = [description for description in left if description != kept[-1]]
    assert kept == BY_RANK


def test_case_spaces_empty_steps_and_the_source_do_not_matter():
    for text in ("mpr;GRADWARP;n3;scaled", "MPR;  ; Grad Warp;N3 ; Scaled", N3 + " <- MPRAGE; again"):
        assert comparable(text) == comparable(N3) == "mpr;gradwarp;n3;scaled"
    assert comparable(N3 + "_2") != comparable(N3)
    assert comparable("MPR-R; GradWarp; N3; Scaled") != comparable(N3)


def test_what_is_no_t1_weighted_image(tmp_path):
    others = ["3 Plane Localizer", "Axial T2 STAR", "Sagittal 3D FLAIR", "B1-calibration Body", "Field Mapping"]
    others += ["MIDAS Whole Brain Mask <- MPR; GradWarp; N3; Scaled", "MPR; GradWarp; N3; Scaled_2; HarP", ""]
    rows = [image(100 + n, AD, description=other) for n, other in enumerate(others)]
    # Whatever else a PET image or a localiser has: an unknown group, no date.
    rows += [image(200, AD, "FTD", modality="PET"), image(201, CN, "CN", modality="fMRI"), image(202, CN, modality="")]
    rows += [image(203, AD, "FTD", description="Localizer", date="")]
    scans, dropped, counts = parse_tables(write_collection(tmp_path, [*rows, *ROWS]))
    assert len(scans) == 4
    assert counts["dropped"] == {"not a T1-weighted image of cohort.prefer": 9, "the Modality is not MRI": 3}
    assert dropped["detail"].iloc[0] == "Description '3 Plane Localizer'"
    assert dropped["detail"].iloc[8] == "Modality 'PET'"


def test_a_preference_of_ones_own(tmp_path):
    rows = [image(100, AD), image(101, AD, description="MPRAGE [sag]"), image(102, AD, description="MPRAGE s"), ROWS[2]]
    scans, dropped, _ = parse_tables(write_collection(tmp_path, rows, prefer=["mprage[*", "MPR; *"]))
    assert scans["image_id"].tolist() == ["101", "34002"]
    assert reasons(dropped) == {
        2: "another processing of the scan is used",
        4: "not a T1-weighted image of cohort.prefer",
    }


def test_a_corrupt_scan_named_by_either_word_for_its_visit(tmp_path):
    for visit in ("sc", "Screening"):
        scans, dropped, _ = parse_tables(
            write_collection(tmp_path, ROWS, corrupt=[f"{AD}/{visit}", f"{CN}/1", f"{CN}/m06"])
        )
        assert reasons(dropped) == {2: "listed as corrupt", 4: "listed as corrupt"}
        assert scans["session"].tolist() == ["m06", "bl"]


def test_two_collections(tmp_path):
    second = [image("34000", AD), image(35000, AD, visit="sc", date="9/8/2005"), image(35001, "022_S_0001", "CN")]
    first = write_collection(tmp_path, ROWS)
    other = write_collection(tmp_path, second, name="other.csv")
    scans, dropped, counts = parse_tables(first | {"table": [first["table"], other["table"]]})
    assert (counts["rows"], counts["scans"], counts["subjects"]) == (7, 6, 3)
    assert dropped[["row", "reason", "detail"]].values.tolist() == [
        [2, "the image is in another table too", f"kept is row 2 of {first['table']}"]
    ]
    assert scans["scan_id"].tolist()[-2:] == ["sub-011S0003_ses-sc_I35000", "sub-022S0001_ses-sc_I35001"]


def test_images_by_a_template_of_the_collections_columns(tmp_path):
    template = "{Subject}/{Visit}_{Acq Date}_{Image Data ID}.nii.gz"
    settings = write_collection(tmp_path, ROWS, images="template", path_template=template)
    (tmp_path / "images/011_S_0003/m06_3-13-2006_I34001.nii.gz").touch()
    (tmp_path / "images/011_S_0005/1_12-1-2005_I34002.nii.gz").touch()
    scans, dropped, _ = parse_tables(settings)
    assert scans["path"].iloc[0] == str(tmp_path / "images/011_S_0003/m06_3-13-2006_I34001.nii.gz")
    assert reasons(dropped) == {2: "file missing", 5: "file missing"}
    with pytest.raises(ConfigError, match=r"path_template is missing: cohort.images is template"):
        cohort_settings(source="adni_collection", table="t.csv", images="template")


@pytest.mark.parametrize(
    ("row", "match"),
    [
        (image("D34000", AD), r"not a valid Image ID\n.*row 6, column Image Data ID\n.*'D34000'"),
        (image("I34001", AD), r"Image Data ID must be unique\n.*row 6.*\n.*row 3 has too"),
        (image(1, ""), r"empty.*\n.*row 6, column Subject"),
        (image(1, AD, visit=""), r"empty.*\n.*row 6, column Visit"),
        (image(1, AD, date=""), r"empty.*\n.*row 6, column Acq Date"),
        (image(1, AD, date="13/1/2005"), r"mixes dates.*\n.*row 6, column Acq Date\n.*'13/1/2005'"),
        (image(1, AD, "FTD"), r"column Group\n.*'FTD'\n.*AD, CN, MCI, EMCI, LMCI, SMC, Patient"),
        (image(1, AD, sex="both"), r"not a valid sex\n.*row 6, column Sex"),
        (image(1, AD, age="old"), r"not a valid age\n.*row 6, column Age"),
    ],
)
def test_a_bad_cell_is_named_with_row_column_and_value(tmp_path, row, match):
    settings = write_collection(tmp_path, ROWS)
    lines = [COLLECTION, *(",".join(r.values()) for r in [*ROWS, row])]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    with pytest.raises(InputError, match=match):
        parse_tables(settings)


def test_scans_of_two_tables_are_no_processings_of_one_another(tmp_path):
    both = [image(1, AD, description="MPRAGE"), image(9, CN, "CN")], [image(3, AD, description="MPRAGE 3T")]
    settings = [write_collection(tmp_path, rows, name=f"t{n}.csv") for n, rows in enumerate(both)]
    scans, dropped, _ = parse_tables(settings[0] | {"table": [one["table"] for one in settings]})
    assert scans["image_id"].tolist() == ["1", "9", "3"] and len(dropped) == 0
