"""Covariates: columns of the table of every reader, what is unknown, and a column that does not exist."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.adni_tables import image, visit, write_adnimerge, write_collection, write_merged
from helpers.bids_dataset import write_bids, write_tsv
from helpers.folder_scans import write_named, write_plain
from helpers.oasis_tables import ONE
from helpers.paths import SCHEMA
from voxelwhy.cohort.covariates import read_covariates
from voxelwhy.cohort.parse import parse_tables
from voxelwhy.config.settings import load_settings
from voxelwhy.errors import ConfigError, InputError
from voxelwhy.io.tables import COVARIATES, read_table, write_table
from voxelwhy.splits.covariates import design_columns, mean_by, wide_covariates


def values(table, name):
    own = table[table["covariate"] == name]
    return dict(zip(own["scan_id"], own["value"], strict=True))


def test_a_plain_table_keeps_its_further_columns(tmp_path):
    text = "path,label,SITE,eTIV\na/1.nii,F,2,1400.5\nb/1.nii,M,10,\nc_T1w.nii.gz,?,3,1500\n"
    settings = write_plain(tmp_path, text) | {"covariates": {"site": "SITE", "intracranial_volume": "eTIV"}}
    table = read_covariates(settings)
    assert values(table, "site") == {"a-1": "2", "b-1": "10"}  # the third is not studied
    assert values(table, "intracranial_volume") == {"a-1": "1400.5", "b-1": None}
    write_table(table, tmp_path / "c.tsv", COVARIATES)
    wide = wide_covariates(read_table(tmp_path / "c.tsv", COVARIATES))
    assert wide["site"].tolist() == ["2", "10"]  # numbers of sites are names
    assert wide.loc["a-1", "intracranial_volume"] == 1400.5 and np.isnan(wide.loc["b-1", "intracranial_volume"])
    assert set(parse_tables(settings)[0]["scan_id"]) == {"a-1", "b-1"}


def test_a_session_comes_before_its_participant(tmp_path):
    people = ("participant_id diagnosis scanner hand", "sub-01 AD Trio left", "sub-02 CN Prisma n/a")
    settings = write_bids(tmp_path, "sub-01_ses-1_T1w.nii", "sub-02_ses-1_T1w.nii", participants=people)
    write_tsv(Path(tmp_path, "sub-01", "sub-01_sessions.tsv"), "session_id scanner", "ses-1 Skyra")
    table = read_covariates(settings | {"covariates": {"scanner": "scanner", "hand": "hand"}})
    assert values(table, "scanner") == {"sub-01_ses-1_T1w": "Skyra", "sub-02_ses-1_T1w": "Prisma"}
    assert values(table, "hand") == {"sub-01_ses-1_T1w": "left", "sub-02_ses-1_T1w": None}


def test_columns_of_the_adni_table_and_of_adnimerge(tmp_path):
    table = read_covariates(write_merged(tmp_path, covariates={"month": "Month_bl"}))
    assert set(table["value"]) == {"0"} and len(table) == 7
    rows = [image(100, group="AD"), image(101, "011_S_0005", "CN")]
    visits = [visit("011_S_0003", "bl", "Dementia"), visit("011_S_0005", "bl", "CN")]
    visits = [row | {"SITE": site} for row, site in zip(visits, ("11", "-4"), strict=True)]
    joined = {"adnimerge": write_adnimerge(tmp_path, visits), "covariates": {"site": "SITE", "kind": "Type"}}
    table = read_covariates(write_collection(tmp_path, rows, **joined))
    assert [*values(table, "site").values()] == ["11", None] and set(values(table, "kind").values()) == {
        rows[0]["Type"]
    }


def test_oasis_with_decimal_commas(tmp_path):
    lines = [line.split(",") for line in ONE.splitlines()]
    text = "\n".join(";".join(cell.replace(".", ",") for cell in line) for line in lines) + "\n"
    (tmp_path / "t.csv").write_text(text)
    for line in lines[1:]:
        (tmp_path / f"{line[0]}_mpr_n4_anon_111_t88_masked_gfc.nii").touch()
    cohort = {"source": "oasis", "table": str(tmp_path / "t.csv"), "covariates": {"brain": "nWBV"}}
    table = read_covariates(load_settings({"study": "s", "cohort": cohort}, SCHEMA)["cohort"])
    assert values(table, "brain")["sub-OAS10003_ses-MR1"] == "0.708"


def test_a_column_that_does_not_exist_names_those_that_do(tmp_path):
    settings = write_plain(tmp_path, "path,label,SITEID\na/1.nii,F,2\nb/1.nii,M,10\n") | {
        "covariates": {"site": "siteid"}
    }
    with pytest.raises(InputError, match=r"has the column 'siteid'(.|\n)*SITEID(.|\n)*did you mean 'SITEID'"):
        read_covariates(settings)
    named = write_named(tmp_path / "n", "AD/1.nii", "CN/2.nii") | {"covariates": {"site": "SITE"}}
    with pytest.raises(InputError, match="no table: the classes are those of the file names"):
        read_covariates(named)


@pytest.mark.parametrize("name", ["age", "sex", "Site", "fold", "1st"])
def test_names_that_the_study_uses_itself_are_refused(name):
    cohort = {"source": "folder", "table": "t.csv", "classes": {"positive": {"name": "A", "values": ["a"]},
              "negative": {"name": "B", "values": ["b"]}}, "covariates": {name: "column"}}  # fmt: skip
    with pytest.raises(ConfigError, match=r"cohort\.covariates cannot be used(.|\n)*Age and sex are read anyway"):
        load_settings({"study": "s", "cohort": cohort}, SCHEMA)


def test_a_subject_has_the_mean_of_its_scans_and_only_a_category_that_they_share():
    rows = pd.DataFrame({"subject_id": ["a", "a", "b", "b"], "volume": [1.0, 3.0, np.nan, 4.0]})
    rows["site"] = pd.Series(["x", "y", None, "z"], dtype=object)
    found = mean_by(rows, ["subject_id"], ["volume", "site"])
    assert found["volume"].tolist() == [2.0, 4.0] and found["site"].tolist() == [None, "z"]
    # Nothing may be known of anybody: a table of paths and labels alone.
    assert mean_by(rows[::-1], ["subject_id"], []).to_dict("list") == {"subject_id": ["a", "b"]}


def test_categories_become_columns_and_rare_ones_are_joined():
    site = pd.Series(["a"] * 6 + ["b"] * 5 + ["c", "d"], dtype=object)
    found = design_columns(pd.DataFrame({"site": site, "age": np.arange(13.0), "same": 1.0}))
    assert list(found.columns) == ["site b", "site other", "age"]
    assert found["site other"].tolist() == [0] * 11 + [1, 1] and found["site b"].sum() == 5
