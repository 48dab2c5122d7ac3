"""ADNIMERGE joined to scans: the diagnosis and the age at the visit, whatever its cells hold."""

from __future__ import annotations

import logging

import pytest

from helpers.adni_tables import ADNIMERGE, N3, image, reasons, visit, write_adnimerge, write_collection, write_merged
from voxelwhy.cohort.parse import parse_tables
from voxelwhy.cohort.readers._adnimerge import diagnosed_state, visit_code
from voxelwhy.errors import InputError

ONE, TWO = "011_S_0003", "011_S_0005"


def _collection(folder, scans, visits, **cohort):
    """Settings for scans given as (subject, visit, date) and rows of ADNIMERGE; every Group is Patient."""
    rows = [image(100 + n, subject, "Patient", code, date=date) for n, (subject, code, date) in enumerate(scans)]
    return write_collection(folder, rows, adnimerge=write_adnimerge(folder, visits), **cohort)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("sc", "sc"),
        ("Screening", "sc"),
        ("bl", "bl"),
        ("Baseline", "bl"),
        ("m06", "m06"),
        ("M6", "m06"),
        ("Month 6", "m06"),
        ("Month12", "m12"),
        ("m120", "m120"),
        ("m0", "bl"),
        ("M00", "bl"),
        ("3", None),
        ("v03", None),
        ("y1", None),
    ],
)
def test_codes_of_visits(text, code):
    assert visit_code(text) == code


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("Dementia", "Dementia"),
        ("MCI", "MCI"),
        ("CN", "CN"),
        ("NL", "CN"),
        ("NL to MCI", "MCI"),
        ("MCI to Dementia", "Dementia"),
        ("NL to Dementia", "Dementia"),
        ("MCI to NL", "CN"),
        ("Dementia to MCI", "MCI"),
        ("", None),
        ("-4", None),
        ("Unknown", None),
        ("NA", None),
    ],
)
def test_the_state_of_a_change_is_the_one_it_ends_in(text, state):
    assert diagnosed_state(text) == state


def test_the_diagnosis_at_the_visit_decides_and_not_that_at_baseline(tmp_path, caplog):
    scans = [(ONE, "sc", "9/1/2005"), (ONE, "m06", "3/1/2006"), (ONE, "m24", "9/2/2007"), (TWO, "bl", "9/1/2005")]
    visits = [
        visit(ONE, "bl", "NL", dx_bl="AD"),
        visit(ONE, "m06", "NL to MCI", dx_bl="AD", date="2006-03-08", years="0.5"),
        visit(ONE, "m24", "MCI to Dementia", dx_bl="CN", date="2007-09-08", years="2"),
        visit(TWO, "bl", "CN", dx_bl="AD", age="66", sex="Male"),
        visit(TWO, "m06", "MCI", dx_bl="AD"),
    ]
    with caplog.at_level(logging.INFO):
        found, dropped, counts = parse_tables(_collection(tmp_path, scans, visits))
    assert found["label"].tolist() == ["CN", "AD", "CN"]
    assert found["session"].tolist() == ["sc", "m24", "bl"]
    assert reasons(dropped) == {3: "diagnosis MCI is not studied"}
    assert dropped["label"].tolist() == ["MCI"]
    assert counts["subjects"] == 2
    assert found["age"].tolist() == [70.5, 72.5, 66]
    assert "ADNIMERGE: 4 scans joined by visit code, 0 by date (at most 180 days), 0 not at all" in caplog.text
    assert "Group is the group at enrolment" not in caplog.text


def test_older_and_newer_column_order(tmp_path):
    visits = [visit(ONE, "bl", "Dementia"), visit(TWO, "bl", "NL", years="", months="6")]
    scans = [(ONE, "sc", "9/1/2005"), (TWO, "sc", "9/1/2005")]
    settings = _collection(tmp_path, scans, visits)
    plain = parse_tables(settings)[0]
    newer = ["PTID", "DX", "Month_bl", "Years_bl", "VISCODE", "AGE", "DX_bl", "PTGENDER", "EXAMDATE", "ABETA", "RID"]
    assert sorted(newer) == sorted(ADNIMERGE.split(","))
    write_adnimerge(tmp_path, visits, newer)
    assert parse_tables(settings)[0].equals(plain)
    assert plain["age"].tolist() == [70.5, 71]


def test_numbered_visits_belong_to_the_nearest_examination(tmp_path, caplog):
    visits = [
        visit(ONE, "bl", "CN", date="2010-01-01"),
        visit(ONE, "m06", "CN", date="2010-07-01"),
        visit(ONE, "m12", "Dementia", date="1/1/2011"),
        visit(ONE, "m24", "MCI", date=""),
        visit(ONE, "m36", "MCI", date="Unknown"),
    ]
    scans = [
        (ONE, "3", "2/1/2010"),  # 31 days after bl
        (ONE, "4", "4/1/2010"),  # 90 days after bl, 91 before m06
        (ONE, "v11", "12/1/2010"),  # 31 days before m12
        (ONE, "y1", "6/30/2011"),  # 180 days after m12
        (ONE, "y2", "7/1/2011"),  # 181 days
        (ONE, "m18", "1/2/2011"),  # a code that ADNIMERGE does not have
        (ONE, "m24", "1/1/2012"),  # has no EXAMDATE, and needs none
        ("999_S_0001", "sc", "1/1/2010"),
    ]
    with caplog.at_level(logging.INFO):
        found, dropped, _ = parse_tables(_collection(tmp_path, scans, visits))
    assert dict(zip(found["session"], found["label"], strict=True)) == {
        **{"3": "CN", "4": "CN", "v11": "AD", "y1": "AD", "m18": "AD"}
    }
    assert reasons(dropped) == {
        6: "the visit is not in ADNIMERGE",
        8: "diagnosis MCI is not studied",
        9: "the subject is not in ADNIMERGE",
    }
    assert dropped["detail"].iloc[0] == "visit y2, scan of 2011-07-01: no examination within 180 days"
    assert "ADNIMERGE: 1 scans joined by visit code, 5 by date (at most 180 days), 2 not at all" in caplog.text
    found, dropped, _ = parse_tables(_collection(tmp_path, scans, visits, adnimerge_days=31))
    assert found["session"].tolist() == ["3", "v11", "m18"]
    assert dropped["reason"].tolist().count("the visit is not in ADNIMERGE") == 3


def test_a_visit_code_far_from_its_examination_is_said(tmp_path, caplog):
    visits = [visit(ONE, "bl", "CN", date="2005-09-01"), visit(TWO, "m12", "Dementia", date="2005-09-01")]
    parse_tables(_collection(tmp_path, [(ONE, "sc", "2/28/2006"), (TWO, "m12", "3/1/2006")], visits))
    said = "1 scans were acquired more than 180 days from the examination with their visit code, "
    assert said + "first sub-011S0005_ses-m12_I101" in caplog.text


def test_of_two_examinations_as_near_the_earlier_one(tmp_path):
    visits = [
        visit(ONE, "m12", "Dementia", date="2011-01-11"),
        visit(ONE, "bl", "CN", date="2011-01-01"),
        visit(TWO, "bl", "Dementia"),
    ]
    found = parse_tables(_collection(tmp_path, [(ONE, "7", "1/6/2011"), (TWO, "sc", "9/1/2005")], visits))[0]
    assert found["label"].tolist() == ["CN", "AD"]


def test_a_scan_without_a_date_or_a_diagnosis_is_dropped_with_its_own_reason(tmp_path):
    rows = [
        ("999_S_0001", "CN", "", "101", "", N3, "v03"),
        ("999_S_0002", "CN", "", "102", "2/2/06", N3, "Screening"),
        ("999_S_0003", "CN", "", "103", "2/2/06", N3, "Month 12"),
        ("999_S_0004", "CN", "", "104", "2/2/06", N3, "Baseline"),
        ("999_S_0005", "CN", "", "105", "2/2/06", N3, "5"),
    ]
    visits = [
        visit("999_S_0001", "bl", "CN"),
        visit("999_S_0002", "bl", "Dementia"),
        visit("999_S_0003", "m12", ""),
        visit("999_S_0003", "bl", "CN", date="2006-02-02"),
        visit("999_S_0004", "bl", "CN"),
        visit("999_S_0005", "bl", "-4", date="2006-02-02"),
        visit("999_S_0005", "m06", "CN", date="2006-02-03"),
    ]
    template = {"path_template": "{Image.ID}.nii", "adnimerge": write_adnimerge(tmp_path, visits)}
    settings = write_merged(tmp_path, rows, files=(), **template)
    (tmp_path / "ADNI").mkdir()
    for row in rows:
        (tmp_path / f"ADNI/{row[3]}.nii").touch()
    scans, dropped, _ = parse_tables(settings)
    assert scans["image_id"].tolist() == ["102", "104"]
    assert scans["label"].tolist() == ["AD", "CN"]
    assert reasons(dropped) == {
        2: "the visit is not in ADNIMERGE",
        4: "no diagnosis in ADNIMERGE at the visit",
        6: "no diagnosis in ADNIMERGE at the visit",
    }
    assert dropped["detail"].tolist() == [
        "visit v03, scan without a date: no examination within 180 days",
        "row 4 of ADNIMERGE, visit m12, has DX ''",
        "row 7 of ADNIMERGE, visit bl, has DX '-4'",
    ]


def test_cells_that_say_nothing_never_break(tmp_path, caplog):
    strange = ["-4", ">1700", "Unknown", "", "NA", "nan", "inf", "-1", "<8", "1e9"]
    visits = [visit(f"011_S_{n:04d}", "bl", "CN", age=text, sex=text) for n, text in enumerate(strange)]
    visits += [visit(f"022_S_{n:04d}", "bl", "CN", years=text, months=text) for n, text in enumerate(strange)]
    visits += [visit(f"033_S_{n:04d}", "bl", "Dementia", years=text, months="6") for n, text in enumerate(strange)]
    nothing = [text for text in strange if text not in (">1700", "inf", "<8", "1e9")] + ["?", "N/A", "x", "NaN"]
    visits += [visit(f"044_S_{n:04d}", "bl", "CN", date=text) for n, text in enumerate(nothing)]
    visits += [visit(f"055_S_{n:04d}", "bl", text) for n, text in enumerate(strange)]
    scans = [(row["PTID"], "sc", "9/1/2005") for row in visits]
    settings = _collection(tmp_path, scans, visits)
    with caplog.at_level(logging.INFO):
        found, dropped, _ = parse_tables(settings)
    ages = found["age"].tolist()
    assert ages[:20] == [81] * 20  # the table's own
    assert ages[20:30] == [71] * 10  # AGE + Month_bl / 12
    assert ages[30:] == [70.5] * 10
    assert found["sex"].tolist() == ["M"] * 40
    assert dropped["reason"].tolist() == ["no diagnosis in ADNIMERGE at the visit"] * 10
    assert (
        "age at the scan: 20 AGE + Years_bl, 10 AGE + Month_bl / 12, 20 from the scans' own table, 0 unknown"
        in caplog.text
    )


def test_sex_comes_from_adnimerge_where_the_table_has_none(tmp_path):
    visits = [visit("999_S_0001", "bl", "CN"), visit("999_S_0002", "bl", "Dementia", sex="Male")]
    settings = write_merged(tmp_path, adnimerge=write_adnimerge(tmp_path, visits))
    assert parse_tables(settings)[0]["sex"].tolist() == ["F", "F", "M"]


@pytest.mark.parametrize("source", ["adni_merged", "adni_collection"])
def test_the_default_classes_are_right_with_and_without_it(tmp_path, source):
    visits = [visit(f"999_S_000{n}", "bl", dx) for n, dx in enumerate(["CN", "NL", "MCI", "Dementia"], 1)]
    cohort = {"adnimerge": write_adnimerge(tmp_path, visits)}
    for joined in ({}, cohort):
        if source == "adni_merged":
            dx = ["CN", "CN", "MCI", "Dementia"]
            rows = [(f"999_S_000{n}", d, "", f"10{n}", "9/1/05", N3, "Screening") for n, d in enumerate(dx, 1)]
            settings = write_merged(tmp_path, rows, files=rows, **joined)
        else:
            rows = [image(100 + n, f"999_S_000{n}", g) for n, g in enumerate(["CN", "CN", "EMCI", "AD"], 1)]
            settings = write_collection(tmp_path, rows, **joined)
        scans, dropped, _ = parse_tables(settings)
        assert scans["label"].tolist() == ["CN", "CN", "AD"]
        assert dropped["row"].tolist() == [4]


def test_classes_of_ones_own_in_any_coding(tmp_path):
    visits = [visit(ONE, "bl", "NL to MCI"), visit(TWO, "bl", "MCI to Dementia"), visit("011_S_0007", "bl", "NL")]
    scans = [(row["PTID"], "sc", "9/1/2005") for row in visits]
    classes = {"positive": {"name": "MCI", "values": ["MCI"]}, "negative": {"name": "HC", "values": ["NL"]}}
    settings = _collection(tmp_path, scans, visits, classes=classes | {"drop": ["AD"]})
    found, dropped, _ = parse_tables(settings)
    assert found["label"].tolist() == ["MCI", "HC"]
    assert reasons(dropped) == {3: "diagnosis AD is not studied"}
    settings = _collection(tmp_path, scans, visits, classes=classes | {"drop": []})
    with pytest.raises(InputError, match=r"belongs to no class\n.*ADNIMERGE.csv, row 3, column DX\n.*'Dementia'"):
        parse_tables(settings)


def test_the_merged_table_needs_no_diagnosis_of_its_own_and_differences_are_said(tmp_path, caplog):
    rows = [
        ("999_S_0001", "CN", "", "101", "9/1/05", N3, "Screening"),
        ("999_S_0002", "CN", "", "102", "9/1/05", N3, "Screening"),
        ("999_S_0003", "what?", "", "103", "9/1/05", N3, "Screening"),
    ]
    visits = [visit("999_S_0001", "bl", "CN"), visit("999_S_0002", "bl", "Dementia"), visit("999_S_0003", "bl", "CN")]
    joined = {"adnimerge": write_adnimerge(tmp_path, visits), "path_template": "{Image.ID}.nii"}
    settings = write_merged(tmp_path, rows, files=(), **joined)
    (tmp_path / "ADNI").mkdir()
    for row in rows:
        (tmp_path / f"ADNI/{row[3]}.nii").touch()
    scans = parse_tables(settings)[0]
    assert scans["label"].tolist() == ["CN", "AD", "CN"]
    said = "1 scans: the diagnosis in ADNIMERGE differs from column DX and is used; "
    assert said + "first sub-999S0002_ses-Screening_I102: Dementia, not CN" in caplog.text
    text = (tmp_path / "table.csv").read_text()
    (tmp_path / "table.csv").write_text(text.replace(",DX,", ",").replace(",CN,,", ",,").replace(",what?,,", ",,"))
    assert parse_tables(settings)[0].equals(scans)


def test_a_table_that_is_not_that_of_the_scans(tmp_path):
    scans = [(ONE, "sc", "9/1/2005"), (TWO, "sc", "9/1/2005")]
    settings = _collection(tmp_path, scans, [visit("999_S_0001", "bl", "CN")])
    with pytest.raises(InputError, match=r"none of the 2 scans is in ADNIMERGE(.*\n)+.*visit sc of 011_S_0003"):
        parse_tables(settings)
    with pytest.raises(InputError, match=r"there is no such table\n(.*\n)+.*correct cohort.adnimerge"):
        parse_tables(settings | {"adnimerge": str(tmp_path / "none.csv")})
    visits = [{"PTID": ONE, "VISCODE": "bl", "EXAMDATE": "2005-09-01", "DX_bl": "AD"}]
    write_adnimerge(tmp_path, visits)
    with pytest.raises(InputError, match="no column 'DX'"):
        parse_tables(settings)


def test_a_visit_that_is_there_twice(tmp_path):
    scans = [(ONE, "sc", "9/1/2005"), (TWO, "sc", "9/1/2005")]
    visits = [visit(ONE, "bl", "CN"), visit(TWO, "bl", "Dementia"), visit(ONE, "bl", "MCI to NL", age="60")]
    assert parse_tables(_collection(tmp_path, scans, visits))[0]["age"].tolist() == [70.5, 70.5]
    visits[2] |= {"DX": "MCI"}
    with pytest.raises(InputError, match=r"twice, with two diagnoses\n.*row 4, column DX\n.*'MCI', and 'CN' in row 2"):
        parse_tables(_collection(tmp_path, scans, visits))
