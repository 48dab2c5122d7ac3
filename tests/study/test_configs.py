"""The configs of real studies: one path changed, read against a small download as labs have it, dry-run to the end."""

from __future__ import annotations

import csv
import functools
import re
from collections import Counter

import pytest
import yaml

from helpers.paths import ROOT, SCHEMA
from helpers.trees import ADNI_3T, ADNI_15T, adni_merged, bids, caps, cat12, fmriprep, named_files, oasis1
from helpers.workflow import plan, snakemake
from voxelwhy.cohort.simulation.constants import load_study
from voxelwhy.config.settings import load_settings
from voxelwhy.io.images import Grid
from voxelwhy.jobs.study import recorded
from voxelwhy.networks.build import build_network

TABLE_15T = "DxByImgClean_CompleteAnnual2YearVisitList_1_5T.csv"
TABLE_3T = "DxByImgClean_CompleteAnnual2YearVisitList_3T.csv"
MCI, CORRUPT = "diagnosis MCI is not studied", "listed as corrupt"
FAILED_AT_3T = {
    "Baseline": "037_S_0501 051_S_1123 027_S_1387 005_S_0572 116_S_1232 116_S_0382 018_S_0450 027_S_0404 023_S_0030 "
    "023_S_1247",
    "Month12": "037_S_0501 051_S_1123 027_S_1387 005_S_0572 116_S_0649 027_S_1385 023_S_0376 023_S_1247",
    "Month24": "037_S_0501 051_S_1123 027_S_1387 005_S_0572 116_S_0649 027_S_0404 023_S_0030 027_S_1082",
}


def make_15t(folder):
    adni_merged(folder, ADNI_15T, TABLE_15T, labels=True, missing=(109,))


def make_3t(folder):
    adni_merged(folder, ADNI_3T, TABLE_3T)


def make_both(folder):
    make_15t(folder)
    make_3t(folder)


#: What each config makes of its tree: scans by class, dropped rows by reason.
STUDIES = {
    "adni_1.5t": (make_15t, {"CN": 3, "AD": 4}, {MCI: 1, CORRUPT: 1, "file missing": 1}),
    "adni_3t": (make_3t, {"CN": 1, "AD": 2}, {MCI: 1, CORRUPT: 2}),
    "adni_both": (make_both, {"CN": 4, "AD": 6}, {MCI: 2, CORRUPT: 3, "file missing": 1}),
    "oasis1": (oasis1, {"CN": 1, "AD": 3}, {"no CDR (young or not assessed)": 1}),
    "bids": (bids, {"CN": 2, "AD": 1}, {}),
    "small_dataset": (named_files, {"AD": 2, "CN": 2}, {}),
    "derivatives": (fmriprep, {"CN": 2, "AD": 1}, {"not chosen by cohort.entities": 3, "no T1w image": 2}),
    "cat12": (cat12, {"CN": 2, "AD": 1}, {"not chosen by cohort.pattern": 2, "label MCI is not studied": 1}),
    "clinica_caps": (caps, {"CN": 2, "AD": 1}, {"not chosen by cohort.entities": 4, "diagnosis MCI is not studied": 1}),
}


#: Those that `make test` leaves to `make test-rest`: their readers have unit tests, and the others the same steps.
LATER = ("adni_3t", "oasis1", "small_dataset", "cat12", "clinica_caps")
#: Those whose scans others have registered.
TAKEN_OVER = ("derivatives", "cat12", "clinica_caps")


def settings_of(name):
    return load_settings(yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text()), SCHEMA)


def with_data(name, tree, folder):
    """The config with its one path changed to `tree`, written into `folder`."""
    text = (ROOT / "config" / f"{name}.yaml").read_text()
    path = yaml.safe_load(text)["cohort"]["data_dir"]
    assert text.count(path) == 1
    assert len(re.findall("the one path to change", text)) == 1
    text = text.replace("~/labels.tsv", str(tree.with_name("labels.tsv")))  # of clinica_caps
    (folder / "study.yaml").write_text(text.replace(path, str(tree)))


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """Call with the name of a study: the folder in which it has read its download."""

    @functools.cache
    def read_tables(name):
        folder = tmp_path_factory.mktemp(name)
        download = folder / ("raw/derivatives/fmriprep" if name == "derivatives" else "download")
        STUDIES[name][0](download)
        with_data(name, download, folder)
        code, text = snakemake(folder, "--cores", "1", "--configfile", "study.yaml", "--until", "parse_tables")
        assert code == 0, text[-3000:]
        return folder

    return read_tables


def rows(folder, name, table):
    with open(folder / "results" / name / "cohort" / f"{table}.tsv", encoding="utf-8") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in LATER else ()) for n in STUDIES])
def test_a_study_reads_its_download_and_would_run_to_its_report(name, read):
    _, wanted, reasons = STUDIES[name]
    folder = read(name)
    scans, dropped = rows(folder, name, "scans"), rows(folder, name, "dropped")
    assert Counter(scan["label"] for scan in scans) == wanted
    found = Counter(row["reason"] for row in dropped)
    assert {reason: found[reason] for reason in reasons} == reasons
    jobs = plan(folder, "--configfile", "study.yaml").counts()
    settings = settings_of(name)
    registering = (
        {"find_grid": 1, "register_batch": 1} if name in TAKEN_OVER else {"register_scan": sum(wanted.values())}
    )
    assert {rule: jobs.get(rule) for rule in registering} == registering
    assert jobs["train_fold"] == sum(split.get("folds", 1) for split in settings["splits"])
    explained = [split for split in settings["splits"] if split["heatmaps"]]
    assert jobs["compute_heatmaps"] == len(settings["heatmaps"]["methods"]) * len(explained)
    assert jobs["write_report"] == 1


def test_somebody_scanned_at_both_field_strengths_stays_one_subject_and_keeps_the_other_scan(read):
    scans = rows(read("adni_both"), "adni_both", "scans")
    # 023_S_0030 failed at 3 T at Month 24, and not at 1.5 T.
    assert [s["image_id"] for s in scans if s["subject_id"] == "023_S_0030"] == ["110", "203"]
    assert [s["image_id"] for s in scans if s["subject_id"] == "999_S_0001"] == ["101", "102", "103", "201"]


def test_the_study_of_the_paper_has_the_settings_of_the_paper():
    settings = settings_of("adni_1.5t")
    registration = settings["registration"]
    grid = Grid.icbm(registration["resolution_mm"])
    assert grid.shape == (193, 229, 193)
    assert grid.affine[:3, 3].tolist() == [-96, -132, -78]
    assert (registration["transform"], registration["n4"], registration["grid"]) == ("syn_quick", False, "icbm")
    training = settings["training"]
    wanted = {"network": "rieke2018", "crop": "none", "mask": "brain", "normalisation": "voxelwise", "batch_size": 5}
    wanted |= {"learning_rate": 1e-4, "epochs": 20, "dropout": 0.8, "optimiser": "adam", "precision": "float32"}
    assert {key: training[key] for key in wanted} == wanted
    network = build_network(training["network"], grid.shape)
    assert network.dense_1.in_features == 5120
    assert settings["heatmaps"]["methods"]["occlusion"] == {"size_mm": 40, "stride_mm": 20, "occlusion_value": 0}
    assert (training["schedule"], training["weight_decay"]) == ("constant", 0)
    assert settings["evaluation"]["shuffled"] == 0, "nobody asked for 19 trainings of scans of 1 mm"
    assert [(s["name"], s["kind"], s["heatmaps"]) for s in settings["splits"]] == [
        ("kfold", "kfold", False),
        ("paper_holdout", "paper_holdout", True),
    ]
    assert settings["atlas"]["name"] == "AAL"
    assert settings["cohort"]["corrupt"] == ["067_S_0077/Screening"]
    assert settings["cohort"]["reprocessed"] == "keep"
    assert settings["cohort"]["classes"]["drop"] == ["MCI"]


@pytest.mark.parametrize("name", ["adni_1.5t", "adni_3t", "adni_both"])
def test_the_studies_of_the_paper_explain_the_predicted_class_as_the_paper_does(name):
    assert settings_of(name)["heatmaps"]["target"] == "predicted"


@pytest.mark.parametrize("name", ["adni_3t", "adni_both"])
def test_the_scans_that_failed_at_3t_are_listed(name):
    wanted = {f"{subject}/{visit}" for visit, subjects in FAILED_AT_3T.items() for subject in subjects.split()}
    assert len(wanted) == 26
    cohort = settings_of(name)["cohort"]
    listed = cohort["corrupt_in"][TABLE_3T] if name == "adni_both" else cohort["corrupt"]
    assert {scan.replace(" ", "") for scan in listed} == wanted


def test_the_small_dataset_has_its_grid_network_and_mask():
    settings = settings_of("small_dataset")
    training = settings["training"]
    wanted = {"network": "small_dataset", "optimiser": "rmsprop", "learning_rate": 1e-4, "batch_size": 2}
    wanted |= {"mask": "grey_white", "normalisation": "voxelwise_sd"}
    assert {key: training[key] for key in wanted} == wanted
    assert (settings["registration"]["grid"], settings["registration"]["resolution_mm"]) == ("mni", 2)


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.stem)
def test_all_settings_written_out_are_the_same_settings(path):
    """As the workflow writes them to settings.yaml."""
    written = recorded(load_study(yaml.safe_load(path.read_text(encoding="utf-8")), SCHEMA))
    assert recorded(load_study(yaml.safe_load(yaml.safe_dump(written, sort_keys=False)), SCHEMA)) == written
