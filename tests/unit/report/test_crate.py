"""The description of a run as an RO-Crate: read back by the library, with what the profile asks for."""

from __future__ import annotations

import datetime
import os
from importlib import metadata

import pytest
from rocrate.rocrate import ROCrate

from voxelwhy.io.images import write_json
from voxelwhy.report.crate import PROFILE, describe_run

FACTS = {"study": "test", "classes": {"positive": "AD", "negative": "CN"}, "simulated": True, "splits": ["kfold"]}
ENDED = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


@pytest.fixture
def study(tmp_path):
    """A folder with some of the files of a study, and a split of earlier settings."""
    for path in (
        "report.html",
        "settings.yaml",
        "cohort/selected.tsv",
        "splits/kfold/folds.tsv",
        "splits/old/folds.tsv",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    (tmp_path / "splits/kfold/models").mkdir()
    os.utime(tmp_path / "report.html", (ENDED.timestamp(),) * 2)
    return tmp_path


@pytest.fixture
def crate(study):
    write_json(study / "ro-crate-metadata.json", describe_run(study, "settings.yaml", FACTS))
    return ROCrate(study)


def test_every_file_that_is_described_exists_and_no_other_split_is(crate, study):
    described = {entity.id: entity for entity in crate.data_entities}
    assert set(described) == {
        "report.html", "settings.yaml", "cohort/selected.tsv", "splits/kfold/folds.tsv", "splits/kfold/models/"
    }  # fmt: skip
    assert all((study / path).exists() for path in described)
    assert described["splits/kfold/models/"].type == "Dataset"
    assert described["splits/kfold/folds.tsv"]["encodingFormat"] == "text/tab-separated-values"
    assert described["splits/kfold/folds.tsv"]["name"].endswith("each fold of kfold")
    assert {part.id for part in crate.root_dataset["hasPart"]} == set(described)


def test_the_action_says_what_made_what_from_what_and_when(crate):
    (action,) = crate.get_by_type("CreateAction")
    assert [used.id for used in action["object"]] == ["settings.yaml"]
    assert {made.id for made in action["result"]} == {entity.id for entity in crate.data_entities} - {"settings.yaml"}
    assert datetime.datetime.fromisoformat(action["endTime"]) == ENDED
    assert crate.root_dataset["mentions"] == action or crate.root_dataset["mentions"] == [action]
    software = action["instrument"]
    assert (software.type, software["name"]) == ("SoftwareApplication", "voxelwhy")
    versions = {used["name"]: used["softwareVersion"] for used in software["softwareRequirements"]}
    assert versions == {name: metadata.version(name) for name in ("snakemake", "torch", "antspyx", "nilearn")}


def test_the_root_has_what_the_profile_requires(crate):
    root = crate.root_dataset
    assert root["conformsTo"].id == PROFILE and root["name"] == "test: AD and CN"
    assert root["description"].endswith("All scans are simulated.") and "No licence is given" in root["license"]
    assert crate.datePublished == ENDED


def test_scans_of_people_are_not_called_simulated(study):
    (root,) = [
        e for e in describe_run(study, "settings.yaml", FACTS | {"simulated": False})["@graph"] if e["@id"] == "./"
    ]
    assert root["description"].endswith("The original scans are not part of this folder.")


def test_the_same_study_gives_the_same_description(study):
    assert describe_run(study, "settings.yaml", FACTS) == describe_run(study, "settings.yaml", FACTS)
