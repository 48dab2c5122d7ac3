"""What rules read, write and depend on: worked out from configs, without Snakemake."""

import json
import math
from types import SimpleNamespace

import pytest

from helpers.paths import SCHEMA
from voxelwhy.config.model import network_settings
from voxelwhy.config.settings import load_settings
from voxelwhy.jobs import costs
from voxelwhy.jobs.facts import Facts
from voxelwhy.jobs.outputs import Outputs
from voxelwhy.jobs.resources import SHORT_MINUTES, Requests
from voxelwhy.jobs.study import Study, joined_marks, one_of, recorded

CLASSES = {"positive": {"name": "AD", "values": ["AD"]}, "negative": {"name": "CN", "values": ["CN"]}}
SPLITS = [
    {"name": "kfold", "kind": "kfold", "folds": 3},
    {"name": "paper", "kind": "holdout", "test_subjects": 4, "heatmaps": False},
]
CONFIG = {
    "study": "here",
    "cohort": {"source": "folder", "table": "scans.csv", "classes": CLASSES},
    "registration": {"resolution_mm": 3, "skip": {"s3": "motion"}},
    "splits": SPLITS,
    "training": {"network": "small"},
    "heatmaps": {"methods": {"occlusion": {}, "grad_cam": {}}},
}


def settings(**changes):
    filled = load_settings(CONFIG | changes, SCHEMA)
    filled["training"] |= network_settings(filled)
    return filled


def study(**changes):
    return Study(settings(**changes))


def job(**wildcards):
    return SimpleNamespace(**wildcards)


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A folder in which studies lie: returns a function that writes the table of scans of one."""
    monkeypatch.chdir(tmp_path)

    def write(name, scans, table="scans"):
        path = tmp_path / "results" / name / "cohort" / f"{table}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [f"{scan}\tp\t{file}" for scan, file in scans.items()]
        path.write_text("\n".join(["scan_id\tsubject_id\tpath", *rows]) + "\n")

    return write


def test_files_of_a_split_follow_its_folds():
    here, kfold, paper = study(), job(split="kfold"), job(split="paper")
    assert here.predictions(kfold) == [f"results/here/splits/kfold/fold-{k}/predictions.tsv" for k in range(3)]
    assert here.models(paper) == ["results/here/splits/paper/fold-0/model.pt"]
    assert here.histories(kfold)[2] == "results/here/splits/kfold/fold-2/history.tsv"
    assert here.metrics(paper) == ["results/here/splits/paper/evaluation/metrics.tsv"]
    assert here.difference(paper) == ["results/here/splits/paper/evaluation/difference.tsv"]
    assert here.truth(kfold) == [] and not here.simulated
    assert here.regions(kfold) == [f"results/here/splits/kfold/regions/{m}.tsv" for m in ("occlusion", "grad_cam")]
    assert here.regions(paper) == [], "a split without heatmaps has no regions"
    assert (here.explained, here.own_splits) == (["kfold"], ["kfold", "paper"])


def test_models_on_another_cohort_are_those_of_the_trained_split():
    here, kfold = study(evaluate_on=["there"]), job(split="kfold_on_there")
    assert list(here.external) == ["kfold_on_there", "paper_on_there"]
    assert here.models(kfold) == [f"results/here/splits/kfold/fold-{k}/model.pt" for k in range(3)]
    assert here.predictions(kfold)[0] == "results/here/splits/kfold_on_there/fold-0/predictions.tsv"
    assert here.fitted_on(kfold) == ["results/here/cohort/selected.tsv", "results/here/splits/kfold/folds.tsv"]
    assert here.own_metrics(kfold) == "results/here/splits/kfold/evaluation/metrics.tsv"
    assert here.histories(kfold) == [], "nobody trains there"
    assert here.metrics_of_cohorts(job(split="kfold")) == [
        f"results/here/splits/{name}/evaluation/metrics.tsv" for name in ("kfold", "kfold_on_there")
    ]
    assert here.tested("kfold_on_there") == {"cohort": "there", "split": "kfold", "n_models": 3}
    assert (here.tested_elsewhere, here.own_splits) == (["kfold", "paper"], ["kfold", "paper"])
    assert here.own_explained == ["kfold"] and "kfold_on_there" in here.explained


def test_covariates_are_those_of_the_cohort_that_a_split_tests(there, tmp_path):
    named = study(cohort=CONFIG["cohort"] | {"covariates": {"site": "SITE"}}, evaluate_on=["elsewhere"])
    assert named.covariates("kfold") == ["results/here/cohort/covariates.tsv"]
    assert named.covariates("kfold_on_elsewhere") == []  # the other study's config names none
    other = tmp_path / "results" / "elsewhere" / "cohort" / "covariates.tsv"
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_text("scan_id\tcovariate\tvalue\n")
    assert named.covariates("kfold_on_elsewhere") == ["results/elsewhere/cohort/covariates.tsv"]
    assert study(evaluate_on=["elsewhere"]).covariates("kfold") == []


def test_existing_weights_have_one_model_and_accuracy_only_with_their_split():
    weights = {"weights": "w.pt", "normalisation": "n.npz"}
    unknown = study(model=weights)
    assert not unknown.accuracy and list(unknown.studied) == ["all_scans"]
    assert unknown.metrics(job(split="all_scans")) == [] == unknown.histories(job(split="all_scans"))
    assert unknown.difference(job(split="all_scans")) == []
    assert unknown.normalisation_file() == ["n.npz"] and unknown.normalisation_folds() == []
    known = study(model={"weights": "w.pt", "normalisation": "paper", "trained_on": "paper"})
    assert known.accuracy and list(known.studied) == ["paper"] and known.normalisation_file() == []
    assert known.normalisation_folds() == [f"results/here/splits/paper/{n}" for n in ("folds.tsv", "audit.json")]
    drawn = {"evaluation": {"shuffled": 19}}
    known = study(model={"weights": "w.pt", "normalisation": "paper", "trained_on": "paper"}, **drawn)
    assert list(known.draws) == [], "they cannot be trained on shuffled diagnoses"
    assert list(study(**drawn).draws) == list(range(1, 20)) and list(study().draws) == []


def test_skipped_scans_are_not_registered_and_a_batch_keeps_its_scans(there):
    here = study()
    there("here", {f"s{n}": f"{n}.nii" for n in range(1, 6)})
    registered = [f"results/here/registered/s{n}" for n in (1, 2, 4, 5)]
    assert here.registered_scans() == registered
    assert here.scan_path(job(scan="s4")) == "4.nii"
    batched = study(registration=CONFIG["registration"] | {"batch": 2})
    scans = batched.batches()
    assert sorted(scan for batch in scans.values() for scan in batch) == ["s1", "s2", "s4", "s5"]
    assert batched.registered_scans() == [f"results/here/batches/{number}.tsv" for number in scans]
    number, first = next(iter(scans.items()))
    assert batched.batch_paths(job(batch=str(number))) == [f"{scan[1]}.nii" for scan in first]
    assert batched.batch_settings(job(batch=str(number))) == batched.registration | {"scans": first}


def test_a_table_that_grows_is_read_again(there):
    here = study()
    there("here", {"s1": "1.nii"})
    assert len(here.registered_scans()) == 1
    there("here", {"s1": "1.nii", "s2": "2.nii"})
    import os

    os.utime("results/here/cohort/scans.tsv", (1, 1))
    assert len(here.registered_scans()) == 2


@pytest.mark.parametrize(("brains", "expected"), [(True, []), (False, "results/here/template/head.nii.gz")])
def test_whole_heads_need_the_whole_head_template(there, brains, expected):
    there("here", {})
    with open("results/here/cohort/skull.json", "w") as skull:
        json.dump({"skull_stripped": brains}, skull)
    assert study().head_template() == expected


def test_limits_and_stores_are_no_settings_of_a_registration():
    here = study(registration={"resolution_mm": 3, "limits": {"correlation_brain": 0.3}, "store": "s", "batch": 7})
    assert not {"limits", "skip", "store", "batch"} & here.registration.keys()
    assert here.registration["maps"] == []
    jacobian = study(
        registration={"resolution_mm": 3, "transform": "syn_quick"},
        training={"network": "small", "channels": ["t1", "log_jacobian"]},
    )
    assert jacobian.registration["maps"] == ["log_jacobian"], "an image that the network sees"


def test_what_is_recorded_leaves_out_what_changes_no_number():
    kept = recorded(settings(registration={"store": "s"}, keep="results", use_gpu=True))
    assert not {"use_gpu", "keep"} & kept.keys()
    assert "device" not in kept["training"] and not {"store", "batch"} & kept["registration"].keys()
    assert "simulation" not in kept


def test_marks_tell_whether_anything_is_simulated(there):
    demo = {key: value for key, value in CONFIG.items() if key != "cohort"} | {"evaluate_on": ["real", "made"]}
    config = load_settings(demo | {"simulation": {"subjects": 8}}, SCHEMA)
    here = Study(config, confounds="patients are older", confounds_of=lambda cohort: f"noise in {cohort}")
    there("real", {"s1": "data/1.nii"}, "selected")
    there("made", {"s1": "results/made/simulation/scans/1.nii"}, "selected")
    assert here.mark == here.mark_of("kfold") == here.mark_of("kfold_on_real") == "patients are older"
    assert here.mark_of("kfold_on_made") == "patients are older; noise in made"
    assert here.real_cohorts() == ["real"]
    facts = Facts(here)
    assert facts.fact("simulated") == "patients are older"
    assert facts.fact("simulated_anywhere", "kfold") == "patients are older; noise in made"
    assert facts.fact("simulated_sides", "kfold_on_real") == {"there": False, "here": True}
    assert joined_marks([False, True]) is True and joined_marks([False, False]) is False


def test_a_simulated_study_reports_its_planted_truth_and_a_null_cohort_where_a_detection_would_be_false(there):
    demo = {key: value for key, value in CONFIG.items() if key != "cohort"} | {"evaluate_on": ["there"]}
    for effect in (1, 0):
        here = Study(load_settings(demo | {"simulation": {"subjects": 8, "effect": effect}}, SCHEMA))
        assert here.planted == here.examines_cam == bool(effect) and len(here.draws) == 19
        items = [item.removeprefix("results/here/").removesuffix(".json") for item in Outputs(here).report_items()]
        truth = [f"figures/{name}" for name in ("truth_map", "truth_scores", *["truth_cam"] * here.planted)]
        truth += [f"tables/{name}" for name in ("truth", "truth_regions")]
        assert [item for item in items if "truth" in item] == [f"splits/kfold/{name}" for name in truth]
        assert here.truth_regions(job(split="kfold")) == ["results/here/splits/kfold/evaluation/truth_regions.tsv"]
        assert here.truth_regions(job(split="kfold_on_there")) == []


def test_rules_get_the_facts_that_they_name():
    facts = Facts(study(evaluate_on=["there"]))
    assert facts("classes", "n_folds", "of", extra=1)(job(split="kfold")) == {
        "classes": {"positive": "AD", "negative": "CN"}, "n_folds": 3, "of": "", "extra": 1
    }  # fmt: skip
    elsewhere = facts("n_folds", "of", "explained_methods")(job(split="paper_on_there"))
    assert elsewhere["n_folds"] is None and "there" in elsewhere["of"] and elsewhere["explained_methods"] == []
    assert facts("split", "trains")(job(split="paper")) == {
        "split": {key: value for key, value in facts.study.splits["paper"].items() if key != "heatmaps"},
        "trains": True,
    }
    assert facts.fact("titles") == {"cnn": "small", "baseline": "logistic regression"}
    assert facts.fact("split_titles")["kfold_on_there"] == "kfold, tested on there"
    assert facts.fact("split_title", "kfold_on_there") == "kfold, tested on there"
    assert facts.fact("split_title", "kfold") == "kfold"
    with pytest.raises(AttributeError):
        facts.fact("no_such_fact")


def test_the_baseline_depends_on_the_smoothing_only_if_it_is_voxelwise():
    smoothed = {"smoothing_mm": 6, "shuffled": 5}
    voxelwise = Facts(study(evaluation=smoothed | {"baseline": "voxelwise"}))
    assert voxelwise.fact("baseline") == {"kind": "voxelwise", "smoothing_mm": 6}
    assert voxelwise.fact("titles")["baseline"] == "voxelwise linear SVM"
    assert voxelwise.fact("n_draws") == 5
    assert Facts(study(evaluation=smoothed)).fact("baseline") == {"kind": "logistic_regression"}


def test_the_baseline_has_maps_where_it_is_fitted_and_there_is_accuracy():
    here = study(evaluate_on=["there"])
    assert here.baseline_files(".json") == [
        f"results/here/splits/{{split}}/baseline/maps/{name}.json" for name in ("weights", "pattern")
    ]
    for names, of in ((Outputs(here).of_split("kfold"), 1), (Outputs(here).of_split("kfold_on_there"), 0)):
        assert [part.count(name) for part, name in zip(names, ("baseline_map", "baseline_regions"), strict=True)] == [
            of, of
        ]  # fmt: skip
    assert "baseline_map" not in Outputs(here).of_split("paper")[0], "a split without heatmaps"
    unknown = Outputs(study(model={"weights": "w.pt", "normalisation": "scan"}))
    items = " ".join(unknown.report_items())
    assert "baseline" not in items and "heatmaps_AD" in items


def test_a_voxelwise_baseline_asks_for_its_kernel(there):
    there("here", {f"s{n}": f"{n}.nii" for n in range(1000)})
    there("there", {f"s{n}": f"{n}.nii" for n in range(500)}, "selected")
    regional = Requests(study(evaluate_on=["there"]))
    voxelwise = Requests(study(evaluate_on=["there"], evaluation={"baseline": "voxelwise"}))
    own, other = job(split="kfold"), job(split="kfold_on_there")
    assert regional.baseline_mb(own, 1) == regional.map_mb(own, 1)
    assert regional.baseline_minutes(own, 2) == regional.table_minutes(own, 2)
    assert voxelwise.n_fitted("kfold") == 1000 and voxelwise.n_fitted("kfold_on_there") == 1500
    # The kernel has a thousand times a thousand numbers of 8 bytes, the other one 2.25 times as many.
    assert voxelwise.baseline_mb(own, 1) > regional.map_mb(own, 1) + 8
    assert voxelwise.baseline_mb(other, 1) > voxelwise.baseline_mb(own, 1)
    assert voxelwise.baseline_mb(own, 2) > 1.9 * voxelwise.baseline_mb(own, 1)
    assert voxelwise.baseline_minutes(own, 1) > regional.baseline_minutes(own, 1)


def test_draws_of_shuffled_diagnoses_are_shared_out_by_fold_and_part(there):
    """Every draw of every fold is in one part; other cohorts, which nobody trains on, have none."""
    there("here", {f"s{n}": f"{n}.nii" for n in range(100)})
    here = study(evaluation={"shuffled": 19}, evaluate_on=["there"])
    ask = Requests(here)
    parts = ask.shuffled_parts(job(split="kfold"))
    assert parts == [
        f"results/here/splits/kfold/shuffled/fold-{fold}/{n}-of-2.tsv" for fold in range(3) for n in (1, 2)
    ]
    for total in (1, 2, 3, 19):
        drawn = [here.draws_of(f"{number}-of-{total}") for number in range(1, total + 1)]
        assert [draw for part in drawn for draw in part] == list(range(1, 20))
        assert min(map(len, drawn)) >= 19 // total
    assert ask.shuffled_parts(job(split="kfold_on_there")) == []
    assert Requests(study()).shuffled_parts(job(split="kfold")) == []
    few, many = (ask.shuffled_minutes(job(split="kfold", part=part), 1) for part in ("1-of-19", "1-of-1"))
    assert 60 < few < many
    long = Requests(study(evaluation={"shuffled": 19}, training={"network": "small", "epochs": 10_000}))
    assert len(long.shuffled_parts(job(split="kfold"))) > len(parts)


def test_settings_of_a_heatmap():
    heatmaps = {"methods": {"occlusion": {"size_mm": 30}, "grad_cam": {}}, "scans": ["s1"], "most_subjects": 5}
    facts = Facts(study(heatmaps=heatmaps, evaluate_on=["there"]))
    own = facts.heatmap(job(split="kfold", method="occlusion"))
    assert own["options"]["size_mm"] == 30 and own["scans"] == ["s1"] and own["most_subjects"] == 5
    assert own["seed"] == facts.study.seed and "network" not in own
    assert facts.heatmap(job(split="kfold_on_there", method="grad_cam"))["scans"] == []


def test_the_report_has_every_figure_and_table_once():
    others = [{"name": "theirs", "group": "AD", "file": "m.npz"}, {"name": "more", "group": "AD", "file": "n.nii"}]
    here = study(evaluate_on=["there"], heatmaps=CONFIG["heatmaps"] | {"others": others})
    shown = Outputs(here)
    items = [item.removeprefix("results/here/").removesuffix(".json") for item in shown.report_items()]
    assert len(items) == len(set(items))
    assert items[:4] == ["figures/flow", "figures/registration", "figures/quality", "tables/excluded"]
    assert items[-2:] == ["imported_maps/figures/heatmaps_AD", "imported_maps/tables/regions_AD"]
    assert {"splits/kfold/figures/external", "splits/kfold/tables/external"} <= set(items)
    assert "splits/kfold/figures/heatmaps_AD" in items and not any("scaled" in item for item in items)
    assert "splits/kfold/figures/learning_curves" in items
    assert "splits/kfold_on_there/figures/learning_curves" not in items
    assert "splits/paper/figures/heatmaps_AD" not in items and "splits/paper/figures/roc" in items
    assert not any("truth" in item for item in items), "nothing was planted in real scans"
    pictures = shown.report_pictures()
    assert pictures and all(path.endswith(".png") and "/figures/" in path for path in pictures)


def test_requests_grow_with_scans_grid_and_attempt(there):
    coarse = Requests(study())
    fine = Requests(study(registration={"resolution_mm": 1}))
    kfold = job(split="kfold")
    assert coarse.megavoxels == pytest.approx(65 * 77 * 65 / 1e6)
    assert coarse.table_mb(kfold, 1) == costs.BASE_MB and coarse.table_minutes(kfold, 2) == 2 * SHORT_MINUTES
    for name in ("volume_mb", "map_mb", "training_mb", "heatmap_mb", "registration_mb", "registration_minutes"):
        small, large, again = getattr(coarse, name), getattr(fine, name), getattr(coarse, name)
        assert small(kfold, 1) < large(kfold, 1) and small(kfold, 1) < again(kfold, 2), name
    there("here", {f"s{n}": f"{n}.nii" for n in range(4000)})
    assert coarse.n_scans() == 4000
    # Measured: 4 s for 120 scans of 4 mm (0.14 million voxels), and 0.2 s for one of 1 mm (7.1 million).
    assert coarse.measuring_minutes(job(), 1) == SHORT_MINUTES + math.ceil(4000 * 0.325 * 0.1 / 60)
    assert fine.measuring_minutes(job(), 1) > coarse.measuring_minutes(job(), 1) + 40
    assert coarse.table_mb(kfold, 1) == costs.BASE_MB + 4000 * costs.SCAN_MB
    assert coarse.training_minutes(kfold, 1) > 60 == fine.study.config["training"]["epochs"] * 3
    several = Requests(study(training={"network": "small", "seeds": 4}))
    assert several.epochs() == 4 * coarse.epochs() == 4 * coarse.study.config["training"]["epochs"]
    assert several.heatmap_seconds("grad_cam") == 4 * coarse.heatmap_seconds("grad_cam")


def test_further_trainings_of_a_fold_are_jobs_that_ask_for_time_and_memory():
    fold = job(split="kfold", fold="1")
    here = study(trust={"seeds": 3, "subjects": 4})
    folder = "results/here/splits/kfold"
    again = [f"{folder}/trust/stability/fold-1/again-{n}/model.pt" for n in (1, 2)]
    assert here.trainings(fold) == [f"{folder}/fold-1/model.pt", *again]
    assert here.stability("maps")(fold) == [f"{folder}/trust/stability/fold-{k}/maps.tsv" for k in range(3)]
    assert here.repeated == ["kfold"] and here.stability("maps")(job(split="paper")) == []
    items = Outputs(here).report_items()
    for item in ("figures/stability", "tables/stability", "tables/stability_regions"):
        assert f"{folder}/{item}.json" in items and f"results/here/splits/paper/{item}.json" not in items
    assert Facts(here).fact("not_compared", "kfold") == ""
    ask, more = Requests(here), Requests(study(trust={"seeds": 20, "subjects": 400}))
    assert ask.heatmap_mb(fold, 1) < ask.comparison_mb(fold, 1) < more.comparison_mb(fold, 1)
    assert 60 < ask.comparison_minutes(fold, 1) < more.comparison_minutes(fold, 1)


def test_without_further_trainings_the_reason_is_given_for_the_studys_own_maps():
    fine = study(registration={"resolution_mm": 1}, evaluate_on=["there"])
    assert fine.repeated == [] and fine.stability("maps")(job(split="kfold")) == []
    assert "takes hours" in Facts(fine).fact("not_compared", "kfold")
    assert Facts(fine).fact("not_compared", "paper") == Facts(fine).fact("not_compared", "kfold_on_there") == ""
    assert not any("stability" in item or "faithfulness" in item for item in Outputs(fine).report_items())


def test_heatmaps_are_cut_by_scans_that_are_tested(there):
    there("here", {f"s{n}": f"{n}.nii" for n in range(1200)})
    there("there", {f"s{n}": f"{n}.nii" for n in range(600)}, "selected")
    ask = Requests(study(evaluate_on=["there"]))
    assert (ask.n_explained("kfold"), ask.n_explained("paper")) == (1200, 400)
    assert ask.n_explained("kfold_on_there") == 1800, "each scan by each of three models"
    parts = ask.heatmap_parts(job(split="kfold", method="grad_cam"))
    assert parts == [f"results/here/splits/kfold/heatmaps/grad_cam/parts/{n}-of-3" for n in (1, 2, 3)]
    few = Requests(study(heatmaps=CONFIG["heatmaps"] | {"most_subjects": 10}))
    assert few.n_explained("kfold") == 80


def test_names_in_constraints_are_literal():
    assert one_of(["a.b", "c+"]) == r"a\.b|c\+"


def test_a_loss_planted_in_real_scans_is_a_known_truth_but_nothing_is_simulated(tmp_path):
    (tmp_path / "log_jacobian.nii.gz").touch()
    cohort = CONFIG["cohort"] | {"truth": str(tmp_path)}
    here, kfold, paper = study(cohort=cohort), job(split="kfold"), job(split="paper")
    assert here.truth_folder == str(tmp_path) and here.planted is True
    assert (here.simulated, here.mark) == (False, False)
    assert here.truth(kfold) == here.detections(kfold) == ["results/here/splits/kfold/evaluation/truth.tsv"]
    assert here.planted_maps(kfold) == [str(tmp_path)] and here.truth(paper) == []
    assert len(here.draws) == 19, "as for a simulated cohort"
    assert {"truth_map", "truth_scores"} <= set(Outputs(here).of_split("kfold")[0])
    plain = study()
    assert (plain.truth_folder, plain.planted, len(plain.draws)) == ("", False, 0)


def test_planted_controls_are_asked_of_explained_splits_only():
    here, kfold, paper = study(trust={"planted": 2}), job(split="kfold"), job(split="paper")
    assert list(here.assignments) == [1, 2] and list(study().assignments) == []
    assert here.planted_controls(kfold) == ["results/here/splits/kfold/trust/planted_controls.tsv"]
    assert here.planted_controls(paper) == study().planted_controls(kfold) == []
    shown = Outputs(here)
    assert "planted_controls" in shown.of_split("kfold")[1] and "planted_controls" not in shown.of_split("paper")[1]
    planting = Facts(here)("planting")(job())["planting"]
    assert planting["negative"] == "CN" and planting["least"] == 40 and planting["loss"] == {}
    assert planting["registration"]["transform"] == "syn_quick"


def test_planting_asks_for_the_time_of_its_registrations(there):
    there("here", {f"s{number}": f"{number}.nii.gz" for number in range(400)})
    few, many = (Requests(study(trust={"planted": n})).planting_minutes(job(), 1) for n in (1, 5))
    expected = 400 * 2 * costs.registration_seconds(study().registration) / 8 / 60
    assert expected < few < many
