"""ADNI's merged table as labs pass it on: each row a scan or dropped with its reason, one table or several."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from helpers.adni_tables import N3, ROWS, changed, reasons, write_merged
from voxelwhy.cohort.parse import parse_tables
from voxelwhy.errors import ConfigError, InputError
from voxelwhy.io.tables import DROPPED, SCANS, read_table, write_table


def test_every_row_is_kept_or_dropped_with_its_reason(tmp_path, caplog):
    settings = write_merged(tmp_path, missing=["105"])
    settings["corrupt"] = ["999_S_0001/Month12", "999_S_0077/Screening"]
    with caplog.at_level(logging.INFO):
        scans, dropped, counts = parse_tables(settings)
    assert reasons(dropped) == {4: "listed as corrupt", 6: "file missing", 7: "diagnosis MCI is not studied"}
    assert scans["image_id"].tolist() == ["101", "102", "104", "107", "108"]
    assert counts == {
        "rows": 8,
        "scans": 5,
        "subjects": 3,
        "dropped": {"diagnosis MCI is not studied": 1, "file missing": 1, "listed as corrupt": 1},
        "classes": {"AD": {"scans": 2, "subjects": 2}, "CN": {"scans": 3, "subjects": 2}},
    }
    assert "8 rows, 5 scans of 3 subjects" in caplog.text
    assert "1 rows: file missing" in caplog.text
    assert "no row of the table matches ['999_S_0077/Screening']" in caplog.text
    assert "Month12" not in "".join(r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)
    detail = dropped.set_index("row").loc[6, "detail"]
    assert detail == str(tmp_path / "ADNI/999_S_0002/Month24/999_S_0002_2-2-08_Month24_105_Dementia.nii.gz")


def test_a_scan_in_full_and_the_tables_follow_their_schemas(tmp_path):
    scans, dropped, _ = parse_tables(write_merged(tmp_path))
    write_table(scans, tmp_path / "scans.tsv", SCANS)
    write_table(dropped, tmp_path / "dropped.tsv", DROPPED)
    scan = read_table(tmp_path / "scans.tsv", SCANS).iloc[2].to_dict()
    assert scan.pop("age") != scan.get("age")  # not known: NaN
    assert scan == {
        "scan_id": "sub-999S0001_ses-Month12_I103",
        "subject_id": "999_S_0001",
        "session": "Month12",
        "label": "CN",
        "sex": None,
        "scan_date": "2007-12-31",
        "image_id": "103",
        "path": str(tmp_path / "ADNI/999_S_0001/Month12/999_S_0001_12-31-07_Month12_103_CN.nii.gz"),
    }
    assert read_table(tmp_path / "dropped.tsv", DROPPED)["scan_id"].tolist() == ["sub-999S0003_ses-Screening_I106"]


def test_only_the_first_of_two_processings_is_kept_on_request(tmp_path):
    # The second processing stands first in this table; of 999_S_0002 the first has no file, so the second stays.
    rows = [ROWS[1], ROWS[0], *ROWS[2:4], changed(ROWS[4], scan_date="2/2/06", sequence=N3 + "_2", visit="Screening")]
    rows += ROWS[5:]
    settings = write_merged(tmp_path, rows, missing=["104"]) | {"reprocessed": "first"}
    again = tmp_path / "ADNI/999_S_0002/Screening/999_S_0002_2-2-06_Screening_105_Dementia.nii.gz"
    again.touch()
    scans, dropped, _ = parse_tables(settings)
    assert reasons(dropped) == {2: "reprocessed", 5: "file missing", 7: "diagnosis MCI is not studied"}
    assert dropped["detail"].iloc[0] == "kept is sub-999S0001_ses-Screening_I101"
    assert scans["image_id"].tolist() == ["101", "103", "105", "107", "108"]


def test_two_acquisitions_of_one_day_are_no_reprocessing(tmp_path):
    settings = write_merged(tmp_path) | {"reprocessed": "first"}
    text = Path(settings["table"]).read_text().replace(N3 + "_2", "another protocol")
    Path(settings["table"]).write_text(text)
    assert len(parse_tables(settings)[0]) == 7


def test_age_and_sex_are_read_where_the_table_has_them(tmp_path):
    settings = write_merged(tmp_path)
    lines = Path(settings["table"]).read_text().splitlines()
    ages = ["Age,PTGENDER", "70.5,Male", "NA,f", *["71,F"] * 6]
    Path(settings["table"]).write_text("\n".join(f"{a},{b}" for a, b in zip(lines, ages, strict=True)))
    scans = parse_tables(settings)[0]
    assert scans["age"].tolist()[0] == 70.5
    assert scans["age"].isna().tolist() == [False, True] + [False] * 5
    assert scans["sex"].tolist()[:3] == ["M", "F", "F"]


@pytest.mark.parametrize(
    ("number", "cells", "match"),
    [
        (3, {"dx": "dementia"}, r"row 5, column DX\n.*'dementia'\n.*Dementia, CN, MCI"),
        (3, {"image_id": "101"}, r"Image.ID must be unique\n.*row 5.*\n.*row 2 has too"),
        (3, {"image_id": "I101"}, r"Image.ID must be unique\n.*row 5"),
        (3, {"image_id": "104.0"}, r"row 5, column Image.ID\n.*'104.0'\n.*an integer"),
        (3, {"ptid": ""}, r"empty.*\n.*row 5, column PTID"),
        (3, {"ptid": "NA"}, r"empty.*\n.*row 5, column PTID"),
        (3, {"visit": ""}, r"empty.*\n.*row 5, column Visit"),
        (3, {"scan_date": "13/1/06"}, r"mixes dates.*\n.*row 5, column Scan.Date\n.*'13/1/06'\n.*row 4 has"),
        (3, {"scan_date": "2/30/06"}, r"not a valid date\n.*row 5"),
        (3, {"scan_date": ""}, r"empty.*\n.*row 5, column Scan.Date"),
        (3, {"examdate": "2006-02-31"}, r"row 5, column EXAMDATE\n.*'2006-02-31'"),
        (3, {"ptid": "../../etc"}, r"cannot be part of a path\n.*row 5, column PTID"),
        (3, {"visit": "Month 12,5"}, r"as many cells as the header\n.*row 5\n.*15 cells'\n.*14 cells"),
    ],
)
def test_a_bad_cell_is_named_with_row_column_value_and_what_is_allowed(tmp_path, number, cells, match):
    rows = [*ROWS[:number], changed(ROWS[number], **cells), *ROWS[number + 1 :]]
    with pytest.raises(InputError, match=match) as error:
        parse_tables(write_merged(tmp_path, rows))
    assert f"file {tmp_path / 'table.csv'}" in str(error.value)


def test_all_files_missing_is_an_error_that_names_a_path(tmp_path):
    settings = write_merged(tmp_path) | {"data_dir": str(tmp_path / "elsewhere")}
    with pytest.raises(InputError, match=r"none of the 7 scans(.*\n)+.*no file .*elsewhere/999_S_0001/Screening"):
        parse_tables(settings)


@pytest.mark.parametrize("template", ["../{PTID}.nii", "/data/{PTID}.nii", "{PTID", "{}/{PTID}"])
def test_a_template_that_leaves_the_folder_or_is_not_closed(tmp_path, template):
    with pytest.raises(ConfigError, match=r"path_template"):
        parse_tables(write_merged(tmp_path) | {"path_template": template})


def test_a_template_may_name_any_column_and_only_those(tmp_path):
    settings = write_merged(tmp_path) | {"path_template": "{Series.ID}.nii"}
    (tmp_path / "ADNI/1049.nii").touch()
    with pytest.raises(InputError, match="no scan of class CN"):
        parse_tables(settings)
    with pytest.raises(InputError, match=r"no column 'Series_ID'\n(.*\n)*.*'Series.ID'"):
        parse_tables(settings | {"path_template": "{Series_ID}.nii"})


def test_two_scans_cannot_share_a_file(tmp_path):
    settings = write_merged(tmp_path) | {"path_template": "{PTID}.nii"}
    for ptid in {row[0] for row in ROWS}:
        (tmp_path / f"ADNI/{ptid}.nii").touch()
    with pytest.raises(InputError, match=r"the path must be unique\n.*row 3"):
        parse_tables(settings)


def test_a_symbolic_link_out_of_the_folder_is_refused_and_one_within_is_not(tmp_path):
    settings = write_merged(tmp_path)
    scan = tmp_path / "ADNI/999_S_0001/Screening/999_S_0001_1-12-06_Screening_101_CN.nii.gz"
    (tmp_path / "ADNI/store.nii.gz").touch()
    (tmp_path / "outside.nii.gz").touch()
    scan.unlink()
    scan.symlink_to(tmp_path / "ADNI/store.nii.gz")
    assert parse_tables(settings)[0]["path"].iloc[0] == str(scan)
    scan.unlink()
    scan.symlink_to(tmp_path / "outside.nii.gz")
    with pytest.raises(InputError, match=r"leaves the data folder\n.*row 2"):
        parse_tables(settings)


# The 3 T table of the same people: other columns in another order, Visit Baseline, label_* columns with N/A, the
# diagnosis at screening coded AD, MCI, NL, and a stray remark as Sequence.
HEADER_3T = "label_ad,Visit,PTID,DX,Image.ID,Scan.Date,Sequence,Field.Strength,Screen.Diagnosis,label_mci"
ROWS_3T = [
    "N/A,Baseline,999_S_0001,CN,201,2/12/06,asked the site again_2,3,NL,N/A",
    "N/A,Baseline,999_S_0002,Dementia,202,2/3/06,MPR; GradWarp; N3; Scaled,3,MCI,N/A",
    "1,Baseline,999_S_0005,Dementia,203,2/5/06,MPR; GradWarp; N3; Scaled,3,AD,N/A",
    "0,Month 12,999_S_0005,MCI,204,2/5/07,MPR; GradWarp; N3; Scaled,3,AD,1",
    "N/A,Baseline,999_S_0006,CN,205,2/6/06,,3,NL,N/A",
]


def _write_3t(folder, rows=ROWS_3T, **cohort):
    """The settings of both tables, and of the 3 T table alone."""
    settings = write_merged(folder, **cohort)
    for row in rows:
        visit, ptid, dx, number, date = row.split(",")[1:6]
        visit = visit.replace(" ", "")
        path = folder / "ADNI" / ptid / visit / f"{ptid}_{date.replace('/', '-')}_{visit}_{number}_{dx}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    table = folder / "table_3t.csv"
    table.write_text("\n".join([HEADER_3T, *rows]) + "\n")
    return settings | {"table": [settings["table"], str(table)]}, settings | {"table": str(table)}


def test_two_tables_of_different_columns_alone_and_together(tmp_path):
    both, only = _write_3t(tmp_path)
    scans, dropped, counts = parse_tables(only)
    assert scans["scan_id"].tolist() == [
        "sub-999S0001_ses-Baseline_I201",
        "sub-999S0002_ses-Baseline_I202",
        "sub-999S0005_ses-Baseline_I203",
        "sub-999S0006_ses-Baseline_I205",
    ]
    assert scans["label"].tolist() == ["CN", "AD", "AD", "CN"]
    assert reasons(dropped) == {5: "diagnosis MCI is not studied"}
    scans, dropped, counts = parse_tables(both)
    assert (counts["rows"], counts["scans"], counts["subjects"]) == (13, 11, 5)
    assert dropped["row"].tolist() == [7, 5]
    assert dropped["table"].tolist() == both["table"]
    both_fields = scans[scans["subject_id"] == "999_S_0001"]
    assert both_fields["session"].tolist() == ["Screening", "Screening", "Month12", "Baseline"]
    assert counts["classes"] == {"AD": {"scans": 5, "subjects": 3}, "CN": {"scans": 6, "subjects": 3}}


def test_reprocessed_scans_of_two_tables_and_a_stray_remark(tmp_path):
    # 999_S_0002 is scanned on one day in both; a 3 T scan is no second processing of a 1.5 T one.
    again = ROWS_3T[1].replace("2/3/06", "2/2/06").replace("Baseline", "Screening").replace("Scaled", "Scaled_2")
    rows = [ROWS_3T[0], again, *ROWS_3T[2:]]
    both, only = _write_3t(tmp_path, rows, reprocessed="first")
    scans, dropped, _ = parse_tables(both)
    assert dropped["reason"].tolist() == ["reprocessed", *["diagnosis MCI is not studied"] * 2]
    assert dropped["scan_id"].iloc[0] == "sub-999S0001_ses-Screening_I102"
    assert {"201", "202", "205"} <= set(scans["image_id"])
    assert len(parse_tables(only)[0]) == 4


def test_an_image_of_both_tables_counts_once_and_one_that_is_twice_in_one_is_an_error(tmp_path, caplog):
    rows = [*ROWS_3T, "N/A,Screening,999_S_0004,CN,107,2/4/06,x,1.5,NL,N/A"]
    rows += ["N/A,Month 24,999_S_0004,CN,I108,2/4/08,x,1.5,NL,N/A"]
    both, only = _write_3t(tmp_path, rows)
    scans, dropped, _ = parse_tables(both)
    assert scans["image_id"].tolist().count("107") == 1
    twice = dropped[dropped["reason"] == "the image is in another table too"]
    assert twice["row"].tolist() == [7, 8]
    assert twice["detail"].tolist() == [
        f"kept is row 8 of {both['table'][0]}",
        f"kept is row 9 of {both['table'][0]}, DX Dementia, not CN",
    ]
    assert "sub-999S0004_ses-Month24_I108: kept is row 9" in caplog.text
    assert scans.set_index("image_id").loc["108", "label"] == "AD"
    Path(only["table"]).write_text("\n".join([HEADER_3T, *ROWS_3T, ROWS_3T[0]]))
    with pytest.raises(InputError, match=r"Image.ID must be unique\n.*table_3t.csv, row 7.*\n.*'201, which row 2 has"):
        parse_tables(both)


def test_tables_in_several_folders_need_a_data_folder(tmp_path):
    both, _ = _write_3t(tmp_path)
    (tmp_path / "b").mkdir()
    moved = Path(both["table"][1]).rename(tmp_path / "b/table.csv")
    both["table"][1] = str(moved)
    assert len(parse_tables(both)[0]) == 11
    del both["data_dir"]
    with pytest.raises(ConfigError, match=r"data_dir is missing: the tables lie in several folders"):
        parse_tables(both)


def test_two_tables_cannot_share_a_file_either(tmp_path):
    both, _ = _write_3t(tmp_path, path_template="{PTID}/{Visit}.nii")
    rows = [ROWS[0], ROWS[3], *ROWS[5:]]
    write_merged(tmp_path, rows)
    Path(both["table"][1]).write_text("\n".join([HEADER_3T, ROWS_3T[0].replace("Baseline", "Screening")]))
    for ptid, visit in ((row[0], row[6]) for row in rows):
        (tmp_path / f"ADNI/{ptid}/{visit.replace(' ', '')}.nii").touch()
    with pytest.raises(InputError, match=r"path must be unique\n.*table_3t.csv, row 2\n.*row 2 of .*table.csv has too"):
        parse_tables(both)


def test_the_diagnosis_at_screening_is_never_read(tmp_path):
    settings = write_merged(tmp_path)
    scans, table = parse_tables(settings)[0], Path(settings["table"])
    text = table.read_text()
    assert text.count(",0,NL,7,") == len(ROWS)
    for other in ("AD", "MCI", "nobody knows", ""):
        table.write_text(text.replace(",0,NL,7,", f",0,{other},7,"))
        assert parse_tables(settings)[0].equals(scans)
    table.write_text(text.replace("Screen.Diagnosis,", "").replace(",0,NL,7,", ",0,7,"))
    assert parse_tables(settings)[0].equals(scans)


def test_an_age_in_capitals_is_that_at_baseline(tmp_path):
    settings = write_merged(tmp_path)
    lines = Path(settings["table"]).read_text().replace(",0,NL,", ",6,NL,").splitlines()
    assert lines[0].split(",")[9] == "Month_bl"
    ages = ["AGE", "70.5", "-4", "Unknown", ">90", "", *["80"] * 3]
    Path(settings["table"]).write_text("\n".join(f"{a},{b}" for a, b in zip(lines, ages, strict=True)))
    scans = parse_tables(settings)[0]
    assert scans["age"].tolist()[0] == 71
    assert scans["age"].isna().tolist() == [False, *[True] * 4, False, False]
    assert scans["age"].tolist()[-1] == 80.5


def test_a_corrupt_scan_in_any_writing_of_its_visit(tmp_path, caplog):
    for visit in ("Month12", "Month 12", "m12", "M12"):
        scans, dropped, _ = parse_tables(write_merged(tmp_path, corrupt=[f"999_S_0001/{visit}"]))
        assert reasons(dropped)[4] == "listed as corrupt"
        assert len(scans) == 6
    settings = write_merged(tmp_path, corrupt=["999_S_0001/Baseline", "999_S_0001/sc"])
    assert reasons(parse_tables(settings)[1]) == {
        2: "listed as corrupt",
        3: "listed as corrupt",
        7: "diagnosis MCI is not studied",
    }
    assert caplog.text.count("no row of the table matches") == 1
    assert "matches ['999_S_0001/Baseline']" in caplog.text


def test_a_scan_that_is_corrupt_in_one_of_two_tables_is_used_of_the_other(tmp_path):
    rows = [*ROWS_3T, "N/A,Month 12,999_S_0001,CN,206,2/7/07,x,3,NL,N/A"]
    both, _ = _write_3t(tmp_path, rows, corrupt_in={"table_3t.csv": ["999_S_0001/Month12"]})
    scans, dropped, _ = parse_tables(both)
    assert dropped[["scan_id", "reason"]].to_numpy().tolist()[-1] == [
        "sub-999S0001_ses-Month12_I206",
        "listed as corrupt",
    ]
    assert "103" in scans["image_id"].tolist()
    with pytest.raises(ConfigError, match=r"names no table(.*\n)+.*'3t.csv'(.*\n)+.*table.csv, table_3t.csv"):
        parse_tables(both | {"corrupt_in": {"3t.csv": ["999_S_0001/Month12"]}})


def test_a_template_may_lead_to_a_dicom_series(tmp_path):
    settings = write_merged(tmp_path, path_template="{PTID}/I{Image.ID}")
    for row in ROWS:
        (tmp_path / f"ADNI/{row[0]}/I{row[3]}").mkdir()
        if row[3] != "104":
            (tmp_path / f"ADNI/{row[0]}/I{row[3]}/1.DCM").touch()
    scans, dropped, _ = parse_tables(settings)
    assert scans["path"].iloc[0] == str(tmp_path / "ADNI/999_S_0001/I101")
    assert reasons(dropped) == {5: "file missing", 7: "diagnosis MCI is not studied"}


def test_images_of_the_merged_table_in_the_loni_tree(tmp_path):
    settings = write_merged(tmp_path, files=(), images="loni")
    (tmp_path / "ADNI").mkdir()
    for row in ROWS[1:]:
        (tmp_path / f"ADNI/ADNI_{row[0]}_MR_S1_I{row[3]}.nii").touch()
    scans, dropped, _ = parse_tables(settings)
    assert scans["path"].iloc[0] == str(tmp_path / "ADNI/ADNI_999_S_0001_MR_S1_I102.nii")
    assert reasons(dropped) == {2: "file missing", 7: "diagnosis MCI is not studied"}
    assert dropped["detail"].iloc[0] == f"no file of image I101 below {tmp_path / 'ADNI'}"


def test_a_row_without_a_diagnosis_is_dropped_and_counted(tmp_path):
    rows = [*ROWS[:3], changed(ROWS[3], dx=""), changed(ROWS[4], dx="NA"), *ROWS[5:]]
    settings = write_merged(tmp_path, rows)
    scans, dropped, _ = parse_tables(settings)
    assert reasons(dropped) == {5: "no diagnosis", 6: "no diagnosis", 7: "diagnosis MCI is not studied"}
    assert len(scans) == 5


def test_ages_and_sexes_that_are_not_known_stop_nothing(tmp_path):
    settings = write_merged(tmp_path)
    lines = Path(settings["table"]).read_text().splitlines()
    more = ["Age,Sex", "-4,Unknown", "Unknown,X", *["71,F"] * 6]
    Path(settings["table"]).write_text("\n".join(f"{a},{b}" for a, b in zip(lines, more, strict=True)))
    scans = parse_tables(settings)[0]
    assert scans["age"].isna().tolist()[:3] == [True, True, False]
    assert scans["sex"].tolist()[:3] == [None, None, "F"]
