"""cohort.source auto: what gives each source away, what is refused, and that the workflow says it once."""

from __future__ import annotations

import json

import pytest
import yaml

from helpers.bids_dataset import CLASSES, write_bids
from helpers.digests import assert_named
from helpers.folder_scans import NAMED, touch
from helpers.oasis_tables import ONE, TWO
from helpers.paths import SCHEMA
from helpers.workflow import snakemake
from voxelwhy import registry
from voxelwhy.cohort.recognise import COLUMNS, recognise_source, settle_source
from voxelwhy.config.settings import load_settings
from voxelwhy.errors import ConfigError, InputError

MERGED = "RID,PTID,VISCODE,DX,EXAMDATE,Image.ID,Scan.Date,Sequence,Visit"
COLLECTION = "Image Data ID,Subject,Group,Sex,Age,Visit,Modality,Description,Type,Acq Date,Format,Downloaded"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("header", "name", "why"),
    [
        (MERGED, "adni_merged", "the table has the columns PTID, Visit, Image.ID, DX"),
        (MERGED.replace(",", "\t"), "adni_merged", "the table has the columns PTID, Visit, Image.ID, DX"),
        (COLLECTION, "adni_collection", "the table has the columns Image Data ID, Subject, Visit, Group"),
        (
            ",".join(f'"{name}"' for name in COLLECTION.split(",")),
            "adni_collection",
            "the table has the columns Image Data ID, Subject, Visit, Group",
        ),
        (ONE, "oasis", "the table has the columns ID, M/F, Age, CDR"),
        (ONE.replace(",", ";"), "oasis", "the table has the columns ID, M/F, Age, CDR"),
        (TWO.replace("\n", "\r"), "oasis", "the table has the columns Subject ID, MRI ID, M/F, Age, CDR"),
        ("\ufeffsex,label,path\r\nF,AD,a.nii\r\n", "folder", "the table has the columns path, label"),
    ],
)
def test_a_table_by_its_columns(tmp_path, header, name, why):
    (tmp_path / "t.csv").write_bytes(header.encode())
    assert recognise_source({"table": str(tmp_path / "t.csv")}) == (name, why)


def test_where_adnimerge_is_joined_the_diagnosis_may_be_missing(tmp_path):
    table = write(tmp_path / "t.csv", MERGED.replace("DX,", ""))
    with pytest.raises(InputError, match="columns match no source"):
        recognise_source({"table": table})
    name, why = recognise_source({"table": table, "adnimerge": "ADNIMERGE.csv"})
    assert (name, why) == ("adni_merged", "the table has the columns PTID, Visit, Image.ID")


def test_several_tables_and_a_table_below_the_data_folder(tmp_path):
    write(tmp_path / "a.csv", MERGED)
    write(tmp_path / "b.csv", MERGED + ",other")
    cohort = {"table": ["a.csv", "b.csv"], "data_dir": str(tmp_path)}
    assert recognise_source(cohort) == ("adni_merged", "each table has the columns PTID, Visit, Image.ID, DX")
    write(tmp_path / "b.csv", COLLECTION)
    with pytest.raises(InputError, match=r"tables belong to several sources\n.*adni_merged, adni_collection"):
        recognise_source(cohort)


@pytest.mark.parametrize(
    ("header", "match"),
    [
        (
            "a,b,c",
            r"columns match no source\n.*row 1\n.*'a, b, c'\n.*adni_merged: PTID, Visit, Image.ID, DX; adni_coll",
        ),
        (
            "a,b,c",
            r"oasis: ID, M/F, Age, CDR or Subject ID, MRI ID, M/F, Age, CDR; folder: path, label; bids: no table",
        ),
        (MERGED.replace("Image.ID", "ImageID"), r"columns match no source\n(.*\n)+.*rename the columns"),
        ("RID,PTID,VISCODE,DX_bl,DX,AGE", r"no source(.*\n)+.*seems to be ADNIMERGE: set cohort.adnimerge to it"),
        ("participant_id\tage", r"no source(.*\n)+.*remove cohort.table"),
        (
            MERGED + ",path,label",
            r"match several sources(.*\n)+.*adni_merged: PTID.*; folder: path, label\n.*cohort.source",
        ),
        ("", "the table is empty"),
    ],
)
def test_a_table_that_is_none_or_ambiguous(tmp_path, header, match):
    with pytest.raises(InputError, match=match):
        recognise_source({"table": write(tmp_path / "t.csv", header)})


def test_a_folder_by_what_is_in_it(tmp_path):
    write_bids(tmp_path / "bids", "sub-01_T1w.nii")
    assert recognise_source({"data_dir": str(tmp_path / "bids")}) == (
        "bids",
        "the folder has a dataset_description.json",
    )
    (tmp_path / "bids/dataset_description.json").unlink()
    assert recognise_source({"data_dir": str(tmp_path / "bids")}) == ("bids", "the folder has sub-01/")
    touch(tmp_path / "oasis", "disc1/OAS1_0001_MR1/RAW/a.img")
    assert recognise_source({"data_dir": str(tmp_path / "oasis")}) == (
        "oasis",
        "the folder has disc1/OAS1_0001_MR1/",
    )
    touch(tmp_path / "names", "x.nii", "in/a/NC_002.nii.gz", "AD_9.txt")
    assert recognise_source(NAMED | {"data_dir": str(tmp_path / "names")}) == (
        "folder",
        "names contain a value of cohort.classes, such as in/a/NC_002.nii.gz",
    )
    touch(tmp_path / "classes", "AD/sub-01/x.nii", "CN/y.nii")
    assert recognise_source(NAMED | {"data_dir": str(tmp_path / "classes")}) == (
        "folder",
        "the folder has AD/, and AD is a value of cohort.classes",
    )


@pytest.mark.parametrize("classes", [None, [], {"positive": {}}, {"positive": {"values": 3}}])
def test_a_folder_of_nothing_known_or_of_two_sources(tmp_path, classes):
    touch(tmp_path / "a", "011_S_0003/AD_1.nii", ".hidden/x")
    cohort = {"data_dir": str(tmp_path / "a"), "classes": classes}
    with pytest.raises(InputError, match=r"folder matches no source\n.*/a\n.*'011_S_0003'\n.*bids: dataset_desc"):
        recognise_source(cohort)
    touch(tmp_path / "b", "AD/1.nii", "sub-01/anat/x.nii")
    with pytest.raises(
        InputError, match=r"several sources(.*\n)+.*folder: the folder has AD/.*; bids: the folder has sub"
    ):
        recognise_source(NAMED | {"data_dir": str(tmp_path / "b")})
    with pytest.raises(InputError, match="no such folder"):
        recognise_source({"data_dir": str(tmp_path / "none")})


def test_every_source_can_be_recognised():
    assert {*COLUMNS, "bids", "caps"} == set(registry.SOURCES)


def test_only_auto_is_replaced_and_a_simulated_cohort_is_merged(tmp_path):
    for config in ({"study": "x"}, {"cohort": {"source": "folder"}}, {"cohort": 3}, ["x"], None):
        assert settle_source(config) == (config, None)
    config = {"cohort": {"source": "auto"}, "simulation": {}}
    assert settle_source(config) == ({"cohort": {"source": "adni_merged"}, "simulation": {}}, None)
    table = write(tmp_path / "t.csv", "path,label")
    config = {"study": "x", "cohort": {"table": table, "source": "auto", "classes": NAMED["classes"]}}
    settled, sentence = settle_source(config)
    assert config["cohort"]["source"] == "auto"
    assert load_settings(settled, SCHEMA)["cohort"]["source"] == "folder"
    assert sentence == "cohort.source auto: folder, because the table has the columns path, label"
    with pytest.raises(ConfigError, match=r"no setting cohort.label"):
        load_settings(settled | {"cohort": settled["cohort"] | {"label": "dx"}}, SCHEMA)


@pytest.mark.parametrize(
    ("cohort", "match"),
    [
        ({}, "needs a table or a folder"),
        ({"table": 3}, r"must be paths\n.*3"),
        ({"table": None}, r"must be paths\n.*allowed: text"),
        ({"table": ["a", 3]}, r"must be paths\n.*3"),
        ({"data_dir": ["a"]}, r"must be paths\n.*\['a'\]"),
    ],
)
def test_settings_that_name_nothing(cohort, match):
    with pytest.raises(ConfigError, match=match):
        recognise_source(cohort)


def run_study(folder, config, *arguments, **environment):
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    return snakemake(folder, *arguments, "--cores", "1", "--configfile", "study.yaml", **environment)


def test_the_workflow_says_once_what_it_recognised_and_writes_it_down(tmp_path):
    write_bids(tmp_path / "data")
    config = {"study": "x", "cohort": {"source": "auto", "data_dir": "data", "classes": CLASSES}}
    sentence = "cohort.source auto: bids, because the folder has a dataset_description.json"
    code, text = run_study(tmp_path, config, "--dry-run")
    assert code == 0, text[-3000:]
    assert text.count(sentence) == 1
    (tmp_path / "loaded").mkdir()
    record = {"VOXELWHY_RECORD_MODULES": str(tmp_path / "loaded")}
    code, text = run_study(tmp_path, config, "results/x/cohort/scans.tsv", **record)
    assert code == 0, text[-3000:]
    assert text.count(sentence) == 1
    assert sentence in (tmp_path / "results/x/logs/parse_tables.log").read_text()
    assert len((tmp_path / "results/x/cohort/scans.tsv").read_text().splitlines()) == 3
    job = json.loads(next((tmp_path / "loaded").iterdir()).read_text())
    assert_named(job)
    assert "voxelwhy.cohort.readers.bids" in job["loaded"]
    assert "Nothing to be done" in run_study(tmp_path, config, "results/x/cohort/scans.tsv", "--dry-run")[1]
    touch(tmp_path / "data", "sub-03/anat/sub-03_T1w.nii")
    assert "parse_tables" in run_study(tmp_path, config, "results/x/cohort/scans.tsv", "--dry-run")[1]


def test_a_source_that_is_not_recognised_ends_with_a_message(tmp_path):
    write(tmp_path / "t.csv", "a,b\n1,2\n")
    code, text = run_study(tmp_path, {"study": "x", "cohort": {"source": "auto", "table": "t.csv"}}, "--dry-run")
    assert code != 0
    assert "columns match no source" in text
    assert "Traceback" not in text
