"""A new scan in a finished study: known answers for percentiles, limits, scores and maps, and errors for people."""

from __future__ import annotations

import json
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from scipy.stats import binomtest, percentileofscore
from sklearn.covariance import LedoitWolf

from voxelwhy.errors import ConfigError, InputError
from voxelwhy.evaluation.new_scan import checks, explain, reference
from voxelwhy.evaluation.new_scan.compare import compare_regions, compare_score
from voxelwhy.evaluation.new_scan.study import FinishedStudy, open_study
from voxelwhy.explain.sensitivity_analysis import sensitivity_analysis
from voxelwhy.heatmaps.explain_scans import explain_scans
from voxelwhy.io.images import save_image, save_int16
from voxelwhy.io.tables import ATLAS, PREDICTIONS, RELEVANCE, SELECTED, write_table
from voxelwhy.networks.build import build_network
from voxelwhy.networks.weights import hash_weights, save_model
from voxelwhy.report.new_scan.figure import draw_scores
from voxelwhy.report.new_scan.limits import list_limits

SHAPE, CLASSES = (18, 20, 18), {"positive": "AD", "negative": "CN"}
AFFINE = np.diag([8.0, 8.0, 8.0, 1.0])
MAPS = {"target": "positive", "output": "logit", "options": {}, "scans": ["a"], "judged": False}


# --- Percentiles ---


@pytest.mark.parametrize("value", [-1.0, 0.3, 0.5, 2.0])
def test_a_percentile_is_that_of_scipy_with_an_exact_interval(value):
    known = np.round(np.random.default_rng(1).uniform(size=37), 1)
    found = reference.percentile(value, [*known, np.nan])
    assert found["percentile"] == pytest.approx(percentileofscore(known, value, kind="mean"))
    below = int((known < value).sum())
    if not (known == value).any():
        exact = binomtest(below, 37).proportion_ci()
        assert (found["low"], found["high"]) == pytest.approx((100 * exact.low, 100 * exact.high), abs=1e-6)
    assert found["n"] == 37


def test_too_few_subjects_and_no_value_have_no_percentile():
    assert np.isnan(reference.percentile(0.5, [0.1, 0.2, 0.3, 0.4])["percentile"])
    assert np.isnan(reference.percentile(np.nan, np.arange(20))["percentile"])


def test_each_subject_counts_once_in_each_class():
    rows = [("AD", "a", 0.2), ("AD", "a", 0.4), ("CN", "a", 0.1), ("CN", "b", 0.6)]
    table = pd.DataFrame(rows, columns=["label", "subject_id", "probability"])
    found = reference.by_subject(table, "probability", CLASSES)
    assert found["AD"].to_dict() == pytest.approx({"a": 0.3})
    assert found["CN"].to_dict() == {"a": 0.1, "b": 0.6}


def test_the_score_is_the_mean_over_networks_with_its_spread():
    scores = pd.DataFrame({"fold": [0, 1, 2], "probability": [0.2, 0.5, 0.8]})
    own = SimpleNamespace(scores={"AD": pd.Series(np.linspace(0, 1, 11)), "CN": pd.Series(np.zeros(8))})
    found = compare_score(own, scores)
    assert (found["probability"], found["low"], found["high"]) == pytest.approx((0.5, 0.2, 0.8))
    assert found["sd"] == pytest.approx(0.3)
    assert found["percentiles"]["AD"]["percentile"] == pytest.approx(50)
    assert found["percentiles"]["CN"]["percentile"] == 100


@pytest.mark.parametrize(
    ("maps", "channel"),
    [([], "t1"), (["grey_matter_modulated"], None), (["grey_matter_modulated", "log_jacobian"], "log_jacobian")],
)
def test_volumes_are_the_best_that_the_study_has_one_value_a_subject(maps, channel):
    scans = pd.DataFrame({"scan_id": ["x", "y", "z"], "label": ["AD", "AD", "CN"], "subject_id": ["a", "a", "b"]})
    own = reference.Reference(SimpleNamespace(selected=scans, classes=CLASSES))
    tables = {name: pd.DataFrame({1: [1.0, 2.0, 5.0]}, index=list("xyz")) * factor
              for factor, name in enumerate(["t1", *maps], start=1)}  # fmt: skip
    own.__dict__["means"] = tables
    assert own.volume_channel == (channel or "grey_matter_modulated")
    factor = 1 + len(maps)
    assert own.volumes()["AD"][1].to_dict() == {"a": 1.5 * factor}
    assert own.volumes()["CN"][1].to_dict() == {"b": 5.0 * factor}


# --- Checks ---


def cohort(n=120, regions=30, seed=0):
    """Measures, means by region and subjects of a made-up cohort of independent normal values."""
    rng, scans = np.random.default_rng(seed), [f"s{k}" for k in range(n)]
    names = [name for name in checks.MEASURES if name != "pattern"]
    measures = pd.DataFrame(rng.normal(size=(n, len(names))), index=scans, columns=names)
    mixed = rng.normal(size=(n, regions)) @ rng.normal(size=(regions, regions)) * 0.02 + 1
    return measures, pd.DataFrame(mixed, index=scans), pd.Series(scans, index=scans)


def test_the_distance_is_that_of_scipy():
    means = cohort()[1].to_numpy()
    pattern, new = checks.Pattern(means), means[3] + 0.1
    scaled = (means - means.mean(axis=0)) / means.std(axis=0)
    model = LedoitWolf().fit(scaled)
    own = (new - means.mean(axis=0)) / means.std(axis=0)
    expected = mahalanobis(own, model.location_, np.linalg.inv(model.covariance_)) / np.sqrt(len(new))
    assert pattern.distances(new)[0] == pytest.approx(expected)


def test_the_limit_is_exceeded_as_often_as_it_promises():
    """For 2,000 cohorts of 119 values, a further value exceeds the limit in 2.5 % (SE 0.35 %)."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2000, 120))
    beyond = [row[-1] > checks.conformal_limit(row[:-1]) for row in values]
    assert np.mean(beyond) == pytest.approx(0.025, abs=0.009)
    assert checks.conformal_limit([0.0, 1.0, 2.0]) == pytest.approx(3.0)


def test_few_scans_of_a_cohort_are_flagged_with_limits_from_others():
    """All measures together flag 2.5 % of scans like the cohort's: 600 scans of five cohorts, at most 5 %."""
    flagged = []
    for seed in range(5):
        measures, means, subjects = cohort(seed=seed)
        folds = {k: list(measures.index[k::3]) for k in range(3)}
        flagged += list(checks.count_alarms(measures, means, subjects, folds).any(axis=1))
    assert len(flagged) == 600 and 0.005 < np.mean(flagged) <= 0.05


@pytest.mark.parametrize(
    ("name", "value", "passed"),
    [
        ("correlation_brain", -9, False),
        ("correlation_brain", 9, True),
        ("jacobian_max", 9, False),
        ("jacobian_max", -9, True),
        ("cm3", 9, False),
        ("cm3", -9, False),
        ("image_noise", np.nan, False),
    ],
)
def test_a_value_far_away_on_its_bad_side_is_flagged_and_no_other(name, value, passed):
    measures, means, subjects = cohort()
    new, limits = measures.median().copy(), checks.Limits(measures, means, subjects)
    new[name] = value
    centre = means.mean().to_frame().T
    found = {one["check"]: one for one in limits.describe(new, centre)}
    assert {title for title, one in found.items() if not one["passed"]} == (
        set() if passed else {checks.MEASURES[name].title}
    )
    assert limits.check(new.to_frame().T, centre).any(axis=None) != passed


def test_what_a_study_does_not_measure_is_not_checked():
    measures, means, subjects = cohort()
    measures["jacobian_min"] = np.nan
    limits = checks.Limits(measures, means, subjects)
    assert "jacobian_min" not in limits.names
    assert all(one["passed"] for one in limits.describe(measures.median(), means.mean().to_frame().T))


@pytest.mark.parametrize("head", [None, "head.nii.gz"])
def test_a_brain_is_refused_by_a_study_of_heads_and_a_head_by_one_of_brains(head, monkeypatch, tmp_path):
    study = SimpleNamespace(registration={"transform": "affine"}, head_template=head)
    monkeypatch.setattr(explain, "read_scan", lambda *args, **options: None)
    monkeypatch.setattr(explain, "looks_skull_stripped", lambda scan: (head is not None, 1500.0))
    with pytest.raises(InputError, match="not of the same kind"):
        explain.require_scan(study, tmp_path)
    monkeypatch.setattr(explain, "looks_skull_stripped", lambda scan: (head is None, 1500.0))
    explain.require_scan(study, tmp_path)


def test_a_study_with_a_brain_extraction_takes_whole_heads(study, monkeypatch, tmp_path):
    (tmp_path / "settings.yaml").write_text("scans: {extract: 'strip {scan} {brain}', skull_stripped: auto}\n")
    own = FinishedStudy(tmp_path, "kfold")
    assert own.extraction == {"extract": "strip {scan} {brain}", "skull_stripped": "auto"}
    assert study.extraction == {}
    monkeypatch.setattr(explain, "read_scan", lambda *args, **options: None)
    monkeypatch.setattr(explain, "looks_skull_stripped", lambda scan: (False, 4000.0))
    how = {"transform": "affine"} | own.extraction
    explain.require_scan(SimpleNamespace(registration=how, head_template=None), tmp_path)


# --- Scores and maps by the networks of a study ---


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A finished study with two networks of random weights on a small grid, and a registered scan."""
    folder, rng = tmp_path_factory.mktemp("results") / "mine", np.random.default_rng(2)
    for place in ("cohort", "template", "atlas", "splits/kfold/heatmaps/sensitivity_analysis/maps"):
        (folder / place).mkdir(parents=True)
    brain = np.zeros(SHAPE, np.uint8)
    brain[2:-2, 2:-2, 2:-2] = 1
    for name in ("brain_mask", "network_mask", "t1"):
        save_image(folder / "template" / f"{name}.nii.gz", brain, AFFINE)
    labels = brain * (1 + np.indices(SHAPE)[0] // 6).astype(np.int16)
    save_image(folder / "atlas/labels.nii.gz", labels, AFFINE)
    (folder / "atlas/labels.json").write_text(json.dumps({"atlas": "slabs"}))
    regions = pd.DataFrame({"region_id": [1, 2, 3], "region": list("xyz"), "voxels": 100, "volume_mm3": 1.0})
    write_table(regions, folder / "atlas/regions.tsv", ATLAS)
    write_table(pd.DataFrame(columns=list(SELECTED.columns)), folder / "cohort/selected.tsv", SELECTED)
    (folder / "report.html").touch()
    for fold in (0, 1):
        place = folder / f"splits/kfold/fold-{fold}"
        place.mkdir()
        with torch.random.fork_rng():
            torch.manual_seed(fold)
            model = build_network("compact", SHAPE).eval()
        card = {"network": "compact", "options": {}, "spatial_shape": list(SHAPE), "crop": "none", "channels": ["t1"]}
        card |= {"classes": CLASSES, "normalisation": {"kind": "scan", "mean": None, "scale": None}, "n_train": 9}
        save_model(place / "model.pt", model, card | {"weights_sha256": hash_weights(model)})
        row = {"fold": fold, "scan_id": f"s{fold}", "subject_id": f"p{fold}", "label": "AD", "logit_negative": 0.0,
               "logit_positive": 0.0, "probability": 0.5}  # fmt: skip
        write_table(pd.DataFrame([row]), place / "predictions.tsv", PREDICTIONS)
    heatmaps = folder / "splits/kfold/heatmaps/sensitivity_analysis"
    card = {"output": "logit", "options": {}, "explained_class": "positive"}
    (heatmaps / "maps/mean_all.json").write_text(json.dumps(card))
    write_table(pd.DataFrame(columns=list(RELEVANCE.columns)), heatmaps / "relevance.tsv", RELEVANCE)
    save_int16(folder / "t1.nii", brain * rng.uniform(1, 2, SHAPE), AFFINE)
    return open_study(folder)


def logits_by_hand(study, fold):
    model, _ = study.load(fold)
    values = nib.load(study.path("t1.nii")).get_fdata(dtype=np.float32)
    inside = nib.load(study.path("template/network_mask.nii.gz")).get_fdata() > 0
    standard = np.where(inside, (values - values[inside].mean()) / values[inside].std(), 0)
    with torch.no_grad():
        return model(torch.tensor(standard[None, None].astype(np.float32)))[0].double().numpy()


def test_every_network_classifies_the_scan_as_torch_does_by_hand(study):
    found = explain.classify(study, study.folder, "t1")
    for row in found.itertuples():
        negative, positive = logits_by_hand(study, row.fold)
        assert (row.logit_negative, row.logit_positive) == pytest.approx((negative, positive), abs=1e-5)
        assert row.probability == pytest.approx(1 / (1 + np.exp(negative - positive)), abs=1e-6)
    assert list(found["fold"]) == [0, 1] and found["probability"].nunique() == 2


def test_the_network_of_a_fold_gives_the_map_that_the_study_gives(study, tmp_path):
    scan = pd.DataFrame([{"fold": 1, "scan_id": "a", "subject_id": "p", "label": "AD", "probability": 0.9}])
    atlas = (nib.load(study.path("atlas/labels.nii.gz")), study.regions, nib.load(study.path("template/t1.nii.gz")))
    theirs, _, _ = explain_scans(
        sensitivity_analysis, study.models, scan, {"a": study.path("t1.nii")}, atlas, MAPS, classes=CLASSES,
        maps_dir=tmp_path, device="cpu",
    )  # fmt: skip
    relevance = {"sensitivity_analysis": []}
    ours = explain.explain_folds(study, study.path("t1.nii"), {"sensitivity_analysis": "AD"}, relevance, folds=[1])
    kept = nib.load(tmp_path / "scan_a.nii.gz").get_fdata()
    np.testing.assert_allclose(ours["sensitivity_analysis"], kept / np.abs(kept).sum(), atol=1e-9)
    table = relevance["sensitivity_analysis"][0]
    for figure in ("total", "share", "enrichment"):
        np.testing.assert_allclose(table[figure], theirs[figure], rtol=1e-6)


@pytest.mark.parametrize(
    ("target", "probability", "name"),
    [("positive", 0.1, "AD"), ("predicted", 0.1, "CN"), ("predicted", 0.5, "AD"), ("true", 0.2, "CN")],
)
def test_a_map_explains_the_class_that_the_study_explains(target, probability, name):
    own = SimpleNamespace(classes=CLASSES, methods={"occlusion": {"target": target}})
    assert explain.explained_class(own, "occlusion", probability) == name


def test_maps_and_regions_are_means_over_the_networks(study):
    method, tables = "sensitivity_analysis", {0: [], 1: [], None: []}
    maps = {
        fold: explain.explain_folds(
            study, study.path("t1.nii"), {method: "AD"}, {method: tables[fold]}, folds=None if fold is None else [fold]
        )[method]
        for fold in tables
    }
    np.testing.assert_allclose(maps[None], (maps[0] + maps[1]) / 2, atol=1e-12)
    assert np.abs(maps[0]).sum() == pytest.approx(1)
    own = SimpleNamespace(study=study, relevance=lambda *args: {"AD": pd.DataFrame({1: np.arange(6.0)})})
    found = compare_regions(own, method, tables[None], "AD")
    expected = (tables[0][0]["enrichment"] + tables[1][0]["enrichment"]) / 2
    np.testing.assert_allclose(found["enrichment"], expected)
    assert found["percentile_AD"].iloc[0] == pytest.approx(percentileofscore(np.arange(6), expected[0], kind="mean"))
    assert found["percentile_AD"].iloc[1:].isna().all()  # no region of this number in the reference


# --- Errors for people ---


def test_what_is_not_the_folder_of_a_finished_study_is_refused(study, tmp_path):
    for place, found in ((tmp_path, "no cohort/selected.tsv"), (tmp_path / "nowhere", "no such folder")):
        with pytest.raises(InputError, match="not the folder of a study") as error:
            open_study(place)
        assert found in str(error.value)
    (tmp_path / "splits").mkdir()
    with pytest.raises(InputError, match="not finished") as error:
        open_study(tmp_path)
    assert "report.html" in str(error.value)
    with pytest.raises(ConfigError, match="no such split") as error:
        open_study(study.folder, split="holdout")
    assert "kfold" in str(error.value)


def test_a_method_of_another_study_is_refused(study):
    with pytest.raises(ConfigError, match="no heatmaps by this method") as error:
        explain.choose_methods(study, ["occlusion"])
    assert "sensitivity_analysis" in str(error.value)
    for names in (["best"], ["all"], ["sensitivity_analysis", "best"], None):
        assert explain.choose_methods(study, names) == ["sensitivity_analysis"]


@pytest.mark.parametrize(("mm", "methods"), [(1.0, ["b"]), (2.0, ["b", "a"])])
def test_on_a_fine_grid_the_best_supported_method_alone_is_used(tmp_path, mm, methods):
    (tmp_path / "template").mkdir()
    save_image(tmp_path / "template/brain_mask.nii.gz", np.ones((3, 3, 3), np.uint8), np.diag([mm, mm, mm, 1]))
    own = SimpleNamespace(supports=[SimpleNamespace(method=name) for name in "ba"], path=tmp_path.joinpath)
    assert explain.choose_methods(own) == methods
    assert explain.choose_methods(own, ["all"]) == ["b", "a"]


def test_a_folder_appears_whole_or_not_at_all_and_nothing_else_is_replaced(tmp_path):
    place = tmp_path / "out"
    with pytest.raises(RuntimeError), explain._complete(place) as folder:
        (folder / "half").touch()
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    for text in ("first", "second"):
        with explain._complete(place) as folder:
            (folder / explain.RESULT).write_text(text)
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and (place / explain.RESULT).read_text() == "second"
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="not that of a new scan"), explain._complete(tmp_path / "mine"):
        pass


# --- The page ---


def test_the_limits_name_what_holds_for_this_result():
    own = SimpleNamespace(
        classes=CLASSES, simulated=True, held_out=True, of_split=lambda *parts: SimpleNamespace(exists=lambda: False)
    )
    result = {
        "methods": [{"method": "occlusion", "phrase": "which detects a known loss of volume"}],
        "checks": [{"check": "Noise, share of the brightness", "passed": False}, {"check": "Other", "passed": True}],
        "study": {"temperatures": {"0": [1.5]}, "n_networks": 3},
        "scan": {"age": None},
    }
    said = dict(list_limits(own, result))
    assert "must not be used to diagnose" in said["Not a diagnosis."]
    assert "scans that a program made" in said["Simulated study."]
    assert "(noise)" in said["Outside of the cohort."] and "other" not in said["Outside of the cohort."]
    assert "calibrated on validation scans" in said["Calibration."]
    assert "the new scan by 3" in said["Percentiles."] and "age was not given" in said["Percentiles."]
    own.simulated, result["checks"][0]["passed"], result["scan"]["age"] = False, True, 70
    assert not {"Simulated study.", "Outside of the cohort."} & set(dict(list_limits(own, result)))


def test_the_strip_of_scores_draws_each_subject_at_its_probability():
    drawn = draw_scores({"A<D": [0.0, 1.0], "CN": [0.5]}, 0.25, 0.0, 0.5, words='one "scan"')
    assert drawn.count("<circle") == 3 and "A&lt;D" in drawn and "&#34;scan&#34;" in drawn
    assert 'cx="60.0"' in drawn and 'cx="448.0"' in drawn and 'cx="254.0"' in drawn  # 0, 1 and 0.5
    assert 'class="value" x1="157.0"' in drawn


def test_a_study_is_read_where_it_lies_now(study):
    assert isinstance(study, FinishedStudy) and study.name == "mine" and study.held_out
    assert study.predicting(0) == {"batch_size": 1, "precision": "float32", "threads": 1, "network": "compact",
                                   "channels": ["t1"]}  # fmt: skip
