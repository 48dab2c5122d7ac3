"""Tables as they are downloaded: gzipped, in a zip, in a folder; and columns as LONI calls them since 2024."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pytest

from helpers.adni_tables import image, visit, write_adnimerge, write_collection
from voxelwhy.cohort.parse import parse_tables
from voxelwhy.cohort.readers._tables import read_rows
from voxelwhy.cohort.recognise import recognise_source
from voxelwhy.errors import InputError

ROWS = [image(101, "011_S_0003", "AD"), image(102, "011_S_0005", "CN", date="9/13/2005")]
VISITS = [visit("011_S_0003", "bl", "Dementia"), visit("011_S_0005", "bl", "CN")]
NEW = {
    "Image Data ID": "image_id", "Subject": "subject_id", "Visit": "VISCODE2", "Acq Date": "image_date",
    "Type": "image_type", "Description": "image_description",
}  # fmt: skip


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, text in members.items():
            packed.writestr(name, text)


def test_a_gzipped_or_zipped_table_is_the_table(tmp_path):
    settings = write_collection(tmp_path, ROWS)
    plain, table = parse_tables(settings)[0], Path(settings["table"])
    text = table.read_bytes()
    table.write_bytes(gzip.compress(text))
    assert parse_tables(settings)[0].equals(plain)
    zipped(table, {"collection.csv": text, "__MACOSX/x.csv": "no table", "readme.md": "hello"})
    assert parse_tables(settings)[0].equals(plain)


@pytest.mark.parametrize("cut", [40, -4])
def test_a_damaged_table_is_refused(tmp_path, cut):
    packed = gzip.compress(b"a,b\n" + bytes(range(48, 120)) * 20)
    broken = packed[:cut] if cut < 0 else packed[:cut] + bytes([packed[cut] ^ 1]) + packed[cut + 1 :]
    (tmp_path / "t.csv.gz").write_bytes(broken)
    with pytest.raises(InputError, match=r"packed table is damaged\n.*t.csv.gz(.*\n)+.*download it again"):
        read_rows(tmp_path / "t.csv.gz")


@pytest.mark.parametrize(
    ("members", "match"),
    [
        ({"a.csv": "x", "b.csv": "y"}, r"not hold exactly one table\n(.*\n)*.*a.csv, b.csv"),
        ({"a.png": "x"}, r"not hold exactly one table\n(.*\n)*.*a.png"),
        ({"[Content_Types].xml": "", "xl/sheet1.xml": ""}, "a spreadsheet"),
    ],
)
def test_a_zip_without_one_table_is_refused(tmp_path, members, match):
    zipped(tmp_path / "t.zip", members)
    with pytest.raises(InputError, match=match):
        read_rows(tmp_path / "t.zip")


def test_adnimerge_is_found_in_a_folder_and_in_a_zip_of_several_tables(tmp_path):
    settings = write_collection(tmp_path, ROWS, adnimerge=write_adnimerge(tmp_path, VISITS))
    plain, table = parse_tables(settings)[0], Path(settings["adnimerge"])
    text, folder = table.read_text(), tmp_path / "tables"
    folder.mkdir()
    (folder / "ADNIMERGE_09Oct2024.csv").write_text(text)
    (folder / "DXSUM_09Oct2024.csv").write_text("a,b\n1,2\n")
    assert parse_tables(settings | {"adnimerge": str(folder)})[0].equals(plain)
    zipped(tmp_path / "study.zip", {"ADNIMERGE_09Oct2024.csv": text, "DXSUM_09Oct2024.csv": "a,b\n1,2\n"})
    assert parse_tables(settings | {"adnimerge": str(tmp_path / "study.zip")})[0].equals(plain)
    (folder / "ADNIMERGE.csv").write_text(text)
    with pytest.raises(InputError, match=r"several tables called ADNIMERGE\n(.*\n)*.*ADNIMERGE.csv, ADNIMERGE_09Oct"):
        parse_tables(settings | {"adnimerge": str(folder)})


def test_a_table_of_2024_is_read_as_the_one_before(tmp_path):
    old = write_collection(tmp_path, ROWS, adnimerge=write_adnimerge(tmp_path, VISITS))
    plain = parse_tables(old)[0]
    rows = [{NEW.get(k, k): v for k, v in row.items() if k not in ("Group", "Modality", "Sex", "Age")} for row in ROWS]
    for row in rows:
        row["image_type"] = "Pre-processed"
    text = "\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)])
    Path(old["table"]).write_text(text)
    scans = parse_tables(old)[0]
    same = ["scan_id", "subject_id", "session", "label", "scan_date", "image_id", "path"]
    assert scans[same].equals(plain[same])
    assert recognise_source({"table": old["table"], "adnimerge": old["adnimerge"]})[0] == "adni_collection"


def test_a_quote_that_is_not_closed_swallows_no_row(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text('subject,label,note\ns1,AD,"tilted\ns2,CN,fine\ns3,CN,"moved"\ns4,AD,\n')
    with pytest.raises(InputError, match=r"row 2 to 4(.*\n)+.*'tilted\\ns2,CN,fine(.*\n)+.*stray quote|stray quote"):
        read_rows(table)
    table.write_text('subject,label,note\ns1,AD,"tilted\ns2,CN,fine\ns3,CN,moved"\ns4,AD,\n')
    with pytest.raises(InputError, match=r"row 2 to 4(.*\n)+.*stray quote"):
        read_rows(table)


@pytest.mark.parametrize("name", ["None", "NA", "#N/A", "null", "<NA>", "nan", ""])
def test_a_row_without_a_subject_is_refused(tmp_path, name):
    settings = write_collection(tmp_path, ROWS)
    table = Path(settings["table"])
    table.write_text(table.read_text().replace("011_S_0005", name))
    with pytest.raises(InputError, match=r"required cell is empty: the subject\n.*row 3, column Subject"):
        parse_tables(settings)
