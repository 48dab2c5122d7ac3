"""A study whose models are tested on the scans of another one, end to end: trained here, evaluated there."""

from __future__ import annotations

import csv
import json
import re
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch

from helpers.digests import assert_named
from helpers.studies import SMALL, Study, small_study
from voxelwhy import sensitivity_analysis
from voxelwhy.networks.weights import load_model

pytestmark = pytest.mark.slow

CLASSES = {"positive": {"name": "AD", "values": ["AD"]}, "negative": {"name": "CN", "values": ["CN"]}}
HERE = small_study(
    "here",
    subjects=3,
    splits=[{"kind": "kfold", "folds": 2}],
    training=SMALL["training"] | {"network": "small"},
    heatmaps={"methods": {"sensitivity_analysis": {}}},
    figures={"slices_mm": [-20], "dpi": 60},
)
MADE = HERE | {"study": "made", "simulation": HERE["simulation"] | {"seed": 5}}
# Simulated subjects are numbered alike in every cohort: the table of a folder gives these other names.
THERE = {
    "study": "there",
    "cohort": {"source": "folder", "table": "there.tsv", "data_dir": ".", "classes": CLASSES},
    "registration": HERE["registration"],
    "training": {"network": "small"},
}
TESTED = HERE | {"evaluate_on": ["there"]}
#: Subject of each scan of the table in its order: two scans are of one person. The last comes later.
SUBJECTS = ("first", "first", "second", "third", "fourth", "fifth")


def write_scans(study, n):
    """The table of the first `n` scans of the cohort MADE, AD and CN by turns but for the pair of one person."""
    scans = sorted((study.folder / "results/made/simulation/scans").rglob("*.nii.gz"))
    of_class = {label: [s for s in scans if f"_{dx}." in s.name] for label, dx in (("AD", "Dementia"), ("CN", "CN"))}
    rows = [("AD", 0), ("AD", 1), ("CN", 0), ("CN", 1), ("AD", 2), ("CN", 2)]
    lines = ["path\tlabel\tsubject\tsession"]
    for number, ((label, place), subject) in enumerate(zip(rows, SUBJECTS, strict=True)):
        lines.append(f"{of_class[label][place].relative_to(study.folder)}\t{label}\t{subject}\t{number}")
    (study.folder / "there.tsv").write_text("\n".join(lines[: n + 1]) + "\n")


def state_of(folder):
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """The study run to its end without the other cohort, then with it."""
    study = Study(tmp_path_factory.mktemp("external"), MADE)
    study.run("--", "results/made/simulation/table.csv")
    write_scans(study, 4)
    study.configure(THERE)
    study.run("--until", "select_scans")
    study.configure(HERE)
    study.run()
    study.there = study.folder / "results/there"
    study.before = state_of(study.there), state_of(study.folder / "results/here")
    study.configure(TESTED)
    study.jobs = study.would_run()
    study.text = study.run_and_record()
    study.after = state_of(study.there), state_of(study.folder / "results/here")
    return study


def selected_there(study):
    with open(study.there / "cohort/selected.tsv", encoding="utf-8") as table:
        return {row["scan_id"]: row for row in csv.DictReader(table, delimiter="\t")}


def normalised(study, fold):
    """The scans of the other cohort, by hand, by what the training scans of a fold of this study give."""
    mask = nib.load(study.result("template/brain_mask.nii.gz")).get_fdata() > 0
    box = tuple(slice(axis.min(), axis.max() + 1) for axis in np.nonzero(mask))

    def read(path):
        return (nib.load(study.folder / path).get_fdata() * mask)[box]

    own = {row["scan_id"]: row["t1"] for row in study.rows("cohort/selected.tsv")}
    sides = [row for row in study.rows("splits/kfold/folds.tsv") if row["fold"] == str(fold)]
    learnt = np.stack([read(own[row["scan_id"]]) for row in sides if row["side"] == "train"])
    mean, sd = learnt.mean(0), learnt.std(0)
    usable = mask[box] & (sd > 0.01 * np.median(sd[mask[box] & (sd > 0)]))
    scans = {scan: read(row["t1"]) for scan, row in selected_there(study).items()}
    return {
        scan: np.divide(values - mean, sd, out=np.zeros(sd.shape), where=usable).astype(np.float32)
        for scan, values in scans.items()
    }, box


def test_only_the_other_cohort_is_worked_on_when_it_is_added(tested):
    assert tested.jobs["predict_external"] == 2
    assert tested.jobs["compute_heatmaps"] == tested.jobs["aggregate_regions"] == 1
    once = {"check_cohort", "split_external", "train_external_baseline", "evaluate_predictions", "compare_maps"}
    once |= {"summarise_external", "draw_cohorts", "publish_cohorts", "draw_external_performance", "draw_heatmaps"}
    once |= {"draw_regions", "draw_agreement", "publish_tables", "publish_external_relevance", "write_report"}
    once |= {"publish_run"}
    once |= {
        "write_viewer",
        "publish_excluded",
    }  # the latter with the checklists, which say on whom the models are tested
    once |= {"measure_external_scans"}
    assert {rule for rule, n in tested.jobs.items() if n == 1} == once | {
        "compute_heatmaps",
        "merge_heatmaps",
        "aggregate_regions",
    }
    assert set(tested.jobs) == once | {"compute_heatmaps", "merge_heatmaps", "aggregate_regions", "predict_external"}
    assert tested.would_run() == {}


def test_nothing_of_either_study_is_touched(tested):
    assert tested.after[0] == tested.before[0]
    changed = {path for path, time in tested.before[1].items() if tested.after[1].get(path) != time}
    once = {
        f"tables/{table}.{kind}"
        for table in ("excluded", "checklist", "claim")
        for kind in ("tsv", "md", "tex", "json")
    }
    for rule in ("write_report", "publish_excluded", "publish_run"):
        once |= {f"logs/{rule}.log", f"benchmarks/{rule}.tsv"}
    assert {path.split("results/here/")[1] for path in changed} == once | {
        "report.html",
        "ro-crate-metadata.json",
        "settings.yaml",
    }


def test_each_model_judges_each_scan_as_by_hand(tested):
    found = []
    for fold in (0, 1):
        model, _ = load_model(tested.result(f"splits/kfold/fold-{fold}/model.pt"))
        images, _ = normalised(tested, fold)
        rows = tested.rows(f"splits/kfold_on_there/fold-{fold}/predictions.tsv")
        assert {row["scan_id"]: row["subject_id"] for row in rows} == {
            scan: row["subject_id"] for scan, row in selected_there(tested).items()
        }
        with torch.no_grad():
            batch = torch.from_numpy(np.stack([images[row["scan_id"]] for row in rows])[:, None])
            expected = model(batch).softmax(1)[:, 1].numpy()
        found.append([float(row["probability"]) for row in rows])
        np.testing.assert_allclose(found[-1], expected, atol=5e-4)
    assert np.std(found[0]) > 0 and not np.allclose(*found, atol=1e-3)


def test_the_heatmaps_are_those_of_the_other_scans_by_these_models(tested):
    maps, box = {"AD": [], "CN": []}, None
    for fold in (0, 1):
        model, _ = load_model(tested.result(f"splits/kfold/fold-{fold}/model.pt"))
        images, box = normalised(tested, fold)
        for scan, row in selected_there(tested).items():
            maps[row["label"]].append(sensitivity_analysis(model, images[scan]))
    mask = nib.load(tested.result("template/brain_mask.nii.gz")).get_fdata()[box] > 0
    folder = tested.result("splits/kfold_on_there/heatmaps/sensitivity_analysis")
    for label, made in maps.items():
        mean = nib.load(folder / f"maps/mean_{label}.nii.gz").get_fdata()
        expected = np.mean(made, axis=0) * mask
        np.testing.assert_allclose(mean[box], expected, atol=2e-3 * expected.max())
        card = json.loads((folder / f"maps/mean_{label}.json").read_text())
        assert (card["n_scans"], card["n_subjects"]) == {"AD": (2, 1), "CN": (2, 2)}[label]
    assert not list((folder / "maps").glob("scan_*"))


def test_every_n_is_that_of_scans_and_people(tested):
    split = "splits/kfold_on_there"
    metrics = tested.rows(f"{split}/evaluation/metrics.tsv")
    assert {(row["n_scans"], row["n_subjects"]) for row in metrics} == {("4", "3")}
    assert {(row["model"], row["fold"]) for row in metrics} == {
        (model, fold) for model in ("cnn", "baseline") for fold in ("all", "0", "1")
    }
    groups = {row["group"]: row for row in tested.rows(f"{split}/heatmaps/sensitivity_analysis/groups.tsv")}
    assert (groups["all"]["n_scans"], groups["all"]["n_subjects"], groups["all"]["n_maps"]) == ("4", "3", "8")
    regions = tested.rows(f"{split}/regions/sensitivity_analysis.tsv")
    assert {(r["n_scans"], r["n_subjects"]) for r in regions if r["group"] == "CN"} == {("2", "2")}
    assert [row["scans"] for row in tested.rows(f"{split}/table1.tsv")] == ["4", "2", "2"]
    whose = "of the cohort there, each classified by each of the 2 models of kfold"
    items = [*tested.result(f"{split}/figures").glob("*.json"), *tested.result(f"{split}/tables").glob("*.json")]
    assert len(items) == 21
    for path in items:
        item = json.loads(path.read_text())
        if path.stem == "trust":  # sentences
            continue
        assert whose in item["caption"], path
        # The unit of the section Trust is the subject.
        assert item["category"] == "trust" or any(f"{n} scans {whose}" in item["caption"] for n in (2, 4)), path


def test_both_figures_stand_side_by_side_in_the_report_and_at_the_end(tested):
    report = tested.result("report.html").read_text()
    assert "kfold, tested on there" in report
    section = report.split('<section id="external">')[1].split("</section>")[0]
    own, other = (
        next(r for r in tested.rows(f"splits/{split}/evaluation/metrics.tsv") if r["metric"] == "auc")
        for split in ("kfold", "kfold_on_there")
    )
    for cohort, row in (("here (test scans)", own), ("there", other)):
        cells = section.split(f"<td>{cohort}</td>")[1].split("</tr>")[0]
        assert f"{float(row['value']):.2f} ({float(row['low']):.2f} to" in cells
        assert re.search(rf">{row['n_subjects']}</td><td[^>]*>{row['n_scans']}</td>", cells)
    assert "img id" in section
    sentences = json.loads(tested.result("splits/kfold_on_there/evaluation/summary.json").read_text())["sentences"]
    assert all(sentence in tested.text and sentence in report for sentence in sentences)
    assert "the 2 models of kfold on there (3 subjects, 4 scans)" in report
    # The study is simulated; that the table of a folder is, nobody knows.
    assert "No scan on this page, except those of there, comes from a person" in report
    assert not tested.result("splits/kfold_on_there/evaluation/truth.tsv").exists()


def test_the_modules_that_a_job_loads_are_those_that_its_digest_names(tested):
    assert {job["rule"] for job in tested.loaded} == set(tested.jobs)
    for job in tested.loaded:
        assert_named(job)


def test_people_of_both_studies_are_refused_before_anything_is_predicted(tested):
    """The same scans, filed under the ids of this study."""
    twin = tested.folder / "results/twin/cohort"
    shutil.copytree(tested.there / "cohort", twin)
    text = (twin / "selected.tsv").read_text()
    (twin / "selected.tsv").write_text(text.replace("\tsecond\t", "\t999_S_0001\t"))
    tested.configure(HERE | {"evaluate_on": ["twin"]})
    try:
        said = tested.run("--", "results/here/splits/kfold_on_twin/fold-0/predictions.tsv", code=1)
    finally:
        tested.configure(TESTED)
    assert "people or images of twin are also in this study" in said and "Traceback" not in said
    assert (
        "1 of 3 subjects, for example of the scans sub-second_ses-2" in said
        and "(other study) and sub-999S0001" in said
    )
    assert "subjects that are in both studies: 999_S_0001" in said
    assert "results/twin/cohort/selected.tsv" in said and "to do:" in said
    assert not tested.result("splits/kfold_on_twin/folds.tsv").exists()


def test_a_study_that_is_not_there_is_said_with_the_command_at_once(tested):
    (tested.folder / "config" / "nowhere.yaml").write_text("study: nowhere\n")
    tested.configure(HERE | {"evaluate_on": ["nowhere"]})
    try:
        said = tested.run("--dry-run", code=1)
        tested.run("--dry-run", "--until", "select_scans")
    finally:
        tested.configure(TESTED)
    assert "results/nowhere/cohort/selected.tsv" in said and "Traceback" not in said
    assert "snakemake --cores all --configfile config/nowhere.yaml --until select_scans" in said


def test_weights_from_elsewhere_are_tested_as_the_models_of_their_split(tested):
    (tested.folder / "weights.pt").touch()
    model = {"weights": "weights.pt", "normalisation": "theirs", "trained_on": "theirs"}
    splits = [*HERE["splits"], {"name": "theirs", "kind": "holdout", "test_subjects": 1}]
    jobs = tested.would_run(TESTED | {"splits": splits, "model": model, "training": {"network": "small"}})
    assert jobs["adopt_weights"] == jobs["predict_external"] == jobs["split_external"] == 1
    assert jobs["evaluate_predictions"] == jobs["compute_heatmaps"] == 2
    assert not {"train_fold", "register_scan", "register_batch"} & set(jobs)


def test_a_new_scan_of_the_other_study_is_all_that_runs_again(tested):
    write_scans(tested, 5)
    tested.configure(THERE)
    tested.run("--until", "select_scans")
    tested.configure(TESTED)
    jobs = tested.would_run()
    assert {"check_cohort", "split_external", "predict_external", "compute_heatmaps", "draw_cohorts"} <= set(jobs)
    assert jobs["compute_heatmaps"] == jobs["evaluate_predictions"] == 1
    assert not {"train_fold", "train_baseline", "split_folds", "summarise", "draw_performance", "score_truth"} & set(
        jobs
    )
