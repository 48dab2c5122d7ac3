"""A small study end to end with the real components (ANTs, training, all methods), and what a change runs again."""

from __future__ import annotations

import json
import re

import nibabel as nib
import numpy as np
import pytest
from rocrate.rocrate import ROCrate

from helpers.digests import assert_named
from helpers.studies import METHODS, Study
from helpers.studies import SMALL as PLAIN
from voxelwhy.commands.explain import scan_name
from voxelwhy.commands.main import main
from voxelwhy.io.text import method_title

pytestmark = pytest.mark.slow
COVARIATES = {"site": "Series.ID"}
SMALL = PLAIN | {"cohort": {"source": "adni_merged", "covariates": COVARIATES}}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    study = Study(tmp_path_factory.mktemp("small"), SMALL)
    study.text = study.run_and_record()
    return study


def viewed_maps(page):
    """Method and group of each map of a viewer."""
    maps = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])["maps"]
    return {(one["method"], one["group"]) for one in maps}


def test_the_run_ends_with_the_report_and_its_three_sentences(small):
    report = small.result("report.html").read_text()
    sentences = json.loads(small.result("splits/holdout/evaluation/summary.json").read_text())["sentences"]
    assert len(sentences) == 3
    for sentence in sentences:
        assert sentence in small.text
    assert "results/small/report.html" in small.text
    assert "simulated" in report.lower()


def test_the_report_links_to_a_viewer_with_all_maps(small):
    assert 'href="splits/holdout/viewer.html"' in small.result("report.html").read_text()
    page = small.result("splits/holdout/viewer.html").read_text()
    assert 'href="../../report.html"' in page
    shown = viewed_maps(page)
    for method in METHODS:
        assert {(method_title(method), f"{group} scans") for group in ("AD", "CN")} <= shown
    assert {"Planted truth: planted atrophy", "Baseline: weights", "Baseline: pattern"} <= {name for name, _ in shown}


def test_the_run_is_described_and_its_settings_give_the_same_study(small):
    crate = ROCrate(small.result(""))
    described = {entity.id for entity in crate.data_entities}
    assert {"report.html", "splits/holdout/models/", "splits/holdout/heatmaps/", "derivatives/voxelwhy/"} <= described
    assert all(small.result(path).exists() for path in described)
    settings = small.result("settings.yaml")
    assert "Nothing to be done" in small.run("--dry-run", "--configfile", str(settings))


def test_progress_names_stage_done_total_and_time_left(small):
    assert re.search(r"\[ *\d+/\d+\] register scan \d+/\d+ +\d+ (s|min) left", small.text)


def test_every_row_of_the_table_is_accounted_for(small):
    table = small.result("simulation/table.csv").read_text().splitlines()
    selected, excluded = small.rows("cohort/selected.tsv"), small.rows("cohort/excluded.tsv")
    assert len(selected) + len(excluded) == len(table) - 1
    assert all(row["reason"] for row in excluded)
    reasons = " ".join(row["reason"] for row in excluded)
    assert "file missing" in reasons
    assert "MCI" in reasons
    assert any(row["stage"] == "register_scan" for row in excluded), "the truncated file fails at registration"


def test_each_test_scan_is_explained_by_every_method(small):
    tested = {r["scan_id"] for r in small.rows("splits/holdout/folds.tsv") if r["side"] == "test"}
    regions = small.rows("atlas/regions.tsv")
    assert len(regions) == 116
    for method in METHODS:
        relevance = small.rows(f"splits/holdout/heatmaps/{method}/relevance.tsv")
        of_positive = [row for row in relevance if row["target"] == "AD"]
        assert {row["scan_id"] for row in of_positive} == tested
        assert len(of_positive) == len(tested) * 116
        # A scan that is predicted negative has a second map, for the groups of right and wrong predictions.
        negative = {row["scan_id"] for row in relevance if float(row["probability"]) < 0.5}
        assert {row["scan_id"] for row in relevance if row["target"] == "CN"} == negative


def test_mean_maps_lie_on_the_study_grid_with_their_card(small):
    grid = nib.load(small.result("template/t1.nii.gz"))
    for method in METHODS:
        path = small.result(f"splits/holdout/heatmaps/{method}/maps/mean_all.nii.gz")
        image, card = nib.load(path), json.loads(path.with_name("mean_all.json").read_text())
        assert image.shape == grid.shape
        np.testing.assert_allclose(image.affine, grid.affine)
        assert card["method"] == method
        assert card["n_scans"] == len({r["scan_id"] for r in small.rows("splits/holdout/fold-0/predictions.tsv")})
        assert np.isfinite(image.get_fdata()).all()


def test_region_shares_are_those_of_the_maps(small):
    """The mean share of the hippocampus from the tables, against the maps themselves for a scaled positive map."""
    labels = nib.load(small.result("atlas/labels.nii.gz")).get_fdata()
    names = {row["region"]: int(row["region_id"]) for row in small.rows("atlas/regions.tsv")}
    scaled = nib.load(
        small.result("splits/holdout/heatmaps/sensitivity_analysis/maps/mean_all_scaled.nii.gz")
    ).get_fdata()
    inside = scaled[labels == names["Hippocampus_L"]].sum()
    rows = small.rows("splits/holdout/heatmaps/sensitivity_analysis/relevance.tsv")
    rows = [row for row in rows if row["target"] == "AD"]
    shares = [float(row["share"] or 0) for row in rows if row["region"] == "Hippocampus_L"]
    np.testing.assert_allclose(np.mean(shares), inside, rtol=1e-4)
    assert inside > 1e-4


def test_with_three_draws_of_shuffled_diagnoses_there_are_scores_and_no_verdict(small):
    maps = ("baseline_weights", "baseline_pattern")
    truth = small.rows("splits/holdout/evaluation/truth.tsv")
    assert [row["method"] for row in truth] == [*METHODS, *maps]
    assert {(row["n_shuffled"], row["verdict"]) for row in truth} == {("3", "no verdict")}
    drawn = small.rows("splits/holdout/evaluation/truth_draws.tsv")
    assert {(row["method"], row["draw"]) for row in drawn} == {
        (method, draw) for method in (*METHODS, *maps) for draw in "123"
    }
    lost = {row["region"] for row in small.rows("splits/holdout/evaluation/truth_regions.tsv") if row["loss"] == "True"}
    assert len(lost) == int(truth[0]["n_truth_regions"]) > 0 and "Amygdala_L" in lost
    for method in METHODS:
        regions = small.rows(f"splits/holdout/regions/{method}.tsv")
        assert {(row["group"] == "AD", row["n_shuffled"]) for row in regions} == {(True, "3"), (False, "0")}
    sentences = json.loads(small.result("splits/holdout/evaluation/summary.json").read_text())["sentences"]
    assert "Agreement with the planted loss of volume" in sentences[1] and "baseline" not in sentences[1]
    assert sentences[2].startswith("With fewer than 19 draws of shuffled diagnoses, no verdict is given")


def test_each_method_is_probed_on_test_scans_of_both_classes(small):
    """Two scans of each class: blanked region by region, and explained by the network with reset layers."""
    folder = "splits/holdout/trust/probes/fold-0"
    blanked, reset = small.rows(f"{folder}/faithfulness.tsv"), small.rows(f"{folder}/randomised.tsv")
    tested = {r["scan_id"] for r in small.rows("splits/holdout/folds.tsv") if r["side"] == "test"}
    assert {row["scan_id"] for row in blanked} == {row["scan_id"] for row in reset} <= tested
    assert len({row["subject_id"] for row in blanked}) == 4
    assert {row["method"] for row in blanked} == {"", *METHODS} and {row["method"] for row in reset} == set(METHODS)
    # The whole order is shared by the two fills; half of the brain is gone at the last step.
    assert all(0.5 <= float(row["fraction"]) < 0.65 for row in blanked if row["step"] == "0.5")
    layers = {row["depth"]: row["layer"] for row in reset}
    assert layers["0"] == "" and layers["1"] == "dense" and len(layers) > 4
    sentences = [row["sentence"] for row in small.rows("splits/holdout/tables/trust.tsv")]
    assert sum("with all weights reset" in line for line in sentences) == len(METHODS)
    assert sum("blanking what it marks" in line for line in sentences) == len(METHODS)
    assert small.result("splits/holdout/figures/faithfulness.png").exists()
    shortcuts = small.rows(f"{folder}/shortcuts.tsv")
    assert {row["scan_id"] for row in shortcuts if row["probe"] == "silhouette"} == tested
    assert any(line.startswith("On silhouettes alone, the network") for line in sentences)
    assert "Background: the network sees nothing outside the brain." in sentences
    assert "Not known for these scans, and so not tested: intracranial volume." in sentences
    assert {row["covariate"] for row in small.rows("cohort/covariates.tsv")} == {"site"}
    assert "Do maps depend on what the network has learnt?" in small.result("report.html").read_text()


def test_maps_of_further_trainings_are_compared_with_those_of_the_study(small):
    """Three trainings of the fold on the scans that are probed; with two patients there are no intervals."""
    folder = "splits/holdout/trust/stability/fold-0"
    models = [small.result("splits/holdout/fold-0/model.pt"), *sorted(small.result(folder).glob("again-*/model.pt"))]
    assert len({model.read_bytes() for model in models}) == 3
    of_maps, of_regions = small.rows(f"{folder}/maps.tsv"), small.rows(f"{folder}/regions.tsv")
    probed = {row["scan_id"] for row in small.rows("splits/holdout/trust/probes/fold-0/faithfulness.tsv")}
    assert {row["scan_id"] for row in of_maps} == probed and {row["method"] for row in of_maps} == set(METHODS)
    assert {(row["first"], row["second"]) for row in of_maps} == {("0", "1"), ("0", "2"), ("1", "2")}
    assert len(of_regions) == len(METHODS) * 4 * 3 * 116
    # The map of the study itself has the same relevance in the study's own table.
    own = {
        (row["scan_id"], row["region"]): row["enrichment"]
        for row in small.rows("splits/holdout/heatmaps/lrp/relevance.tsv")
        if row["target"] == "AD"
    }
    for row in of_regions:
        if (row["method"], row["training"]) == ("lrp", "0"):
            assert float(row["enrichment"] or "nan") == pytest.approx(
                float(own[row["scan_id"], row["region"]] or "nan"), rel=1e-5, abs=1e-7, nan_ok=True
            )
    sentences = [row["sentence"] for row in small.rows("splits/holdout/tables/trust.tsv")]
    assert sum("maps of the same scan by two trainings" in line for line in sentences) == len(METHODS)
    summary = small.rows("splits/holdout/tables/stability.tsv")
    assert {(row["comparison"], row["n_trainings"]) for row in summary} == {
        (name, "3") for name in ("trainings", "halves", "methods")
    }
    assert len(small.rows("splits/holdout/tables/stability_regions.tsv")) == len(METHODS) * 116
    report = small.result("report.html").read_text()
    assert "Does another training give the same map?" in report and "trained 3 times in all" in report
    assert not (small.folder / "results/small/checkpoints").is_dir() or not list(
        (small.folder / "results/small/checkpoints").rglob("*.pt")
    )


def test_the_modules_that_a_job_loads_are_those_that_its_digest_names(small):
    assert {job["rule"] for job in small.loaded} >= {"register_scan", "train_fold", "compute_heatmaps", "write_report"}
    for job in small.loaded:
        assert_named(job)


def test_nothing_changed_nothing_to_do(small):
    assert small.would_run() == {}


def test_a_figure_setting_redraws_figures_only(small):
    jobs = small.would_run(SMALL | {"figures": {"dpi": 90}})
    assert jobs
    assert set(jobs) <= {rule for rule in jobs if rule.startswith("draw_")} | {
        "write_viewer",
        "write_report",
        "publish_run",
    }


def test_another_covariate_registers_and_trains_nothing(small):
    jobs = small.would_run(SMALL | {"cohort": {"source": "adni_merged", "covariates": COVARIATES | {"rid": "RID"}}})
    assert {"read_covariates", "evaluate_predictions", "aggregate_regions", "probe_heatmaps"} <= set(jobs)
    assert not {"simulate_cohort", "parse_tables", "register_scan", "train_fold", "compute_heatmaps"} & set(jobs)


def test_the_seed_splits_and_trains_again_and_registers_nothing(small):
    jobs = small.would_run(SMALL | {"seed": 8})
    assert {"split_folds", "train_fold", "train_again", "compare_trainings"} <= set(jobs)
    assert not {"simulate_cohort", "parse_tables", "register_scan", "prepare_atlas"} & set(jobs)


def test_swapped_settings_are_noticed(small):
    """Snakemake compares params as a set of values without names: 100 and 200 would be the same as 200 and 100."""
    assert SMALL["evaluation"] == {"bootstrap": 100, "permutations": 200, "shuffled": 3}
    jobs = small.would_run(SMALL | {"evaluation": {"bootstrap": 200, "permutations": 100, "shuffled": 3}})
    assert jobs["evaluate_predictions"] == jobs["score_truth"] == 1
    assert "compute_heatmaps" not in jobs


def test_a_changed_heatmap_module_runs_that_method_and_what_follows(small):
    module = small.folder / "scripts/voxelwhy/explain/grad_cam.py"
    source = module.read_text()
    try:
        module.write_text(source + "\nCHANGED = 1\n")
        jobs = small.would_run()
        assert jobs["compute_heatmaps"] == jobs["merge_heatmaps"] == 1
        # The draws of shuffled diagnoses hold all methods, and each method's regions are compared with them.
        assert jobs["aggregate_regions"] == len(METHODS)
        assert not {"train_fold", "train_again", "register_scan", "split_folds"} & set(jobs)
        module.write_text("# only a comment\n" + source)
        assert small.would_run() == {}
    finally:
        module.write_text(source)


def test_a_scan_is_explained_as_the_study_explained_it(small):
    """A test scan as if it were new: one job, the same prediction, and by every method the same relevance by region."""
    tested = small.rows("splits/holdout/fold-0/predictions.tsv")[0]
    path = next(row["path"] for row in small.rows("cohort/selected.tsv") if row["scan_id"] == tested["scan_id"])
    name, how = scan_name(path.rsplit("/", 1)[1]), ("--config", f"new={path}", "age=120", "sex=F")
    assert small.plan(None, *how).counts() == {"explain_new": 1}
    small.run(*how)
    (fold,) = small.rows(f"new/{name}/folds.tsv")
    assert float(fold["probability"]) == pytest.approx(float(tested["probability"]), rel=1e-6)
    ours = {(row["method"], row["region"]): row["enrichment"] for row in small.rows(f"new/{name}/regions.tsv")}
    theirs = {
        (method, row["region"]): row["enrichment"]
        for method in METHODS
        for row in small.rows(f"splits/holdout/heatmaps/{method}/relevance.tsv")
        if (row["scan_id"], row["target"]) == (tested["scan_id"], "AD")
    }
    assert ours.keys() == theirs.keys() and len(ours) == 116 * len(METHODS)
    for region, value in theirs.items():
        assert float(ours[region] or "nan") == pytest.approx(float(value or "nan"), rel=1e-3, abs=1e-5, nan_ok=True)
    result = json.loads(small.result(f"new/{name}/result.json").read_text())
    failed = {check["check"]: check["shown"] for check in result["checks"] if not check["passed"]}
    assert failed["Scan of the study"] == tested["scan_id"] and failed["Age, years"] == "120"
    page = small.result(f"new/{name}/page.html").read_text()
    for words in ("does not lie within the cohort", "not a diagnosis", "Simulated study", 'href="viewer.html"'):
        assert words in page
    assert "<script" not in page and 'href="../../report.html"' in page
    shown = viewed_maps(small.result(f"new/{name}/viewer.html").read_text())
    assert {(method_title(method), "this scan") for method in METHODS} <= shown
    assert small.would_run() == {}


def test_a_scan_that_is_added_is_the_only_one_registered(small, tmp_path):
    used = small.rows("cohort/selected.tsv")
    table = tmp_path / "mine.tsv"
    by_class = [[row for row in used if row["label"] == label][:3] for label in ("AD", "CN")]
    rows = [
        f"{row['path']}\t{row['label']}\t{row['subject_id']}" for pair in zip(*by_class, strict=True) for row in pair
    ]
    table.write_text("\n".join(["path\tlabel\tsubject", *rows[:4]]) + "\n")
    config = {
        "study": "mine",
        "cohort": {
            "source": "folder",
            "table": str(table),
            "data_dir": str(small.folder),
            "classes": {"positive": {"name": "AD", "values": ["AD"]}, "negative": {"name": "CN", "values": ["CN"]}},
        },
        "registration": {"resolution_mm": 4, "transform": "rigid"},
        "splits": [{"name": "holdout", "kind": "holdout", "test_subjects": 1}],
        "training": {"network": "small"},
    }
    small.configure(config)
    try:
        small.run("--until", "select_scans")
        table.write_text("\n".join(["path\tlabel\tsubject", *rows[:5]]) + "\n")
        small.run("--until", "parse_tables")
        assert small.plan(None, "--until", "select_scans").counts()["register_scan"] == 1
    finally:
        small.configure(SMALL)


def test_a_misspelt_setting_is_named_without_a_traceback(small):
    small.configure(SMALL | {"registraton": {"n4": True}})
    try:
        text = small.run("--dry-run", code=1)
    finally:
        small.configure(SMALL)
    assert "registraton" in text
    assert "did you mean registration?" in text
    assert "Traceback" not in text


def test_a_study_that_keeps_results_removes_its_images_and_says_so_when_they_are_needed(small, tmp_path):
    """The last test of this file: the images of the small study are gone after it."""
    images = list(small.result("registered").glob("*/t1.nii"))
    config = SMALL | {"keep": "results"}
    assert small.would_run(config) == {"drop_images": 1}
    small.configure(config)
    small.run()
    assert json.loads(small.result("cohort/dropped_images.json").read_text())["images"] == len(images) > 10
    assert not list(small.result("registered").glob("*/t1.nii"))
    assert len(list(small.result("registered").glob("*/check.png"))) >= len(images)
    assert small.would_run() == {}
    # New scans are compared with tables.
    scan, out = small.folder / small.rows("cohort/selected.tsv")[0]["path"], tmp_path / "new"
    assert main(["explain", str(small.result("")), str(scan), "--methods", "best", "--out", str(out)]) == 0
    assert (out / scan_name(scan.name) / "page.html").exists()
    small.configure(config | {"seed": 8})
    text = small.run("--until", "train_fold", code=1)
    assert "registered images no longer exist" in text
    assert "--forcerun register_scan" in text
