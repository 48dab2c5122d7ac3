"""The files that a config names: tables of a cohort, and the user's own images."""

from helpers.paths import SCHEMA
from voxelwhy.config.settings import load_settings
from voxelwhy.jobs.named_files import own_files, tables_of

CLASSES = {"positive": {"name": "AD", "values": ["AD"]}, "negative": {"name": "CN", "values": ["CN"]}}
COHORT = {"source": "folder", "table": "scans.csv", "classes": CLASSES}


def settings(**changes):
    return load_settings({"study": "here", "cohort": COHORT, "training": {"network": "small"}} | changes, SCHEMA)


def test_tables_of_a_cohort_by_source(tmp_path):
    for path in ("participants.tsv", "sub-1/sub-1_sessions.tsv", "sub-1/anat/x.nii", ".hidden/y"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert tables_of({"source": "adni_merged", "table": ["a.csv", "b.csv"], "adnimerge": "m.csv"}) == [
        "a.csv", "b.csv", "m.csv"
    ]  # fmt: skip
    bids = tables_of({"source": "bids", "data_dir": str(tmp_path)})
    assert bids == [str(tmp_path / path) for path in ("", "participants.tsv", "sub-1/sub-1_sessions.tsv")]
    assert tables_of({"source": "folder", "data_dir": str(tmp_path)}) == [str(tmp_path), str(tmp_path / "sub-1")]


def test_own_files_are_those_that_the_config_names(tmp_path):
    head = tmp_path / "head.nii"
    config = settings(
        atlas={"name": "mine", "image": "a.nii", "table": "a.tsv"},
        training={"network": "small", "mask": "m.nii"},
        scans={"template": str(head)},
    )
    assert own_files(config) == {"atlas": ["a.nii", "a.tsv"], "mask": ["m.nii"], "head": []}
    head.touch()
    assert own_files(config)["head"] == [str(head)]
    assert own_files(settings()) == {"atlas": [], "mask": [], "head": []}
