"""Figures: equal bytes twice, slices at the right place, simulated data marked, captions with n and method."""

import json
import re

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import image

from voxelwhy.evaluation.agreement import compare_maps
from voxelwhy.evaluation.metrics import confusion, roc_band, score_predictions
from voxelwhy.evaluation.truth import PlantedRegions, score_truth
from voxelwhy.heatmaps.region_sums import relevance_by_region
from voxelwhy.io.images import save_image
from voxelwhy.io.tables import REGIONS
from voxelwhy.report.figures import agreement, baseline, cohort, external, performance, relevance, style, truth
from voxelwhy.report.figures.style import new_figure, save_figure, styled

CLASSES = {"positive": "AD", "negative": "CN"}
SETTINGS = {
    "target": "positive",
    "output": "probability",
    "methods": {"occlusion": {"size_mm": 40, "stride_mm": 20}, "grad_cam": {}},
}
BASELINE_CARD = {
    "baseline": {"kind": "voxelwise", "smoothing_mm": 8},
    "channels": ["t1"],
    "n_folds": 5,
    "n_subjects": 30,
    "n_scans": 41,
}
MODELS = {"cnn": "CNN", "baseline": "Baseline"}


@pytest.fixture(scope="module")
def predictions():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"fold": np.arange(24) % 3, "scan_id": [f"s{i}" for i in range(24)]})
    frame["subject_id"] = [f"p{i // 2}" for i in range(24)]
    frame["label"] = ["AD" if i % 4 < 2 else "CN" for i in range(24)]
    frame["probability"] = rng.random(24) * 0.6 + 0.4 * (frame["label"] == "AD")
    return frame


@pytest.fixture(scope="module")
def metrics(predictions):
    scored = [score_predictions(predictions, model=m, classes=CLASSES, n_permutations=50, seed=0) for m in MODELS]
    return pd.concat(scored, ignore_index=True)


def region_table(draws=0):
    """12 regions; with draws, the first three of them have more relevance than shuffled diagnoses give."""
    enrichment = 3 * np.sort(np.random.default_rng(2).dirichlet(np.ones(12)))[::-1]
    frame = pd.DataFrame({"group": "AD", "region_id": range(1, 13), "region": [f"Region_{i}" for i in range(1, 13)]})
    frame = frame.assign(n_subjects=6, n_scans=12, volume_mm3=100.0)
    for figure in ("enrichment", "share", "total"):
        limits = {f"{figure}_low": enrichment * 0.8, f"{figure}_high": enrichment * 1.2}
        frame = frame.assign(**{figure: enrichment} | limits)
    frame = frame.assign(rank=range(1, 13), n_shuffled=draws, shuffled_mean=np.nan, shuffled_sd=np.nan)
    frame = frame.assign(z=np.nan, p=np.nan, p_family=np.nan)
    if draws:
        frame = frame.assign(
            shuffled_mean=0.2, shuffled_sd=0.1, z=1.0, p=0.1, p_family=np.where(frame.index < 3, 0.05, 1)
        )
    return frame[list(REGIONS.columns)]


def draw_each(brain, predictions, metrics, folder):
    """Every figure, as {name: function that draws it under `folder`}."""
    maps = {name: brain["paths"][name] for name in ("occlusion", "grad_cam")}
    t1, arrays = brain["paths"]["t1"], brain["arrays"]
    methods = {name: arrays[name] for name in maps}
    scores, distances = truth_and_distances(brain, methods)
    bands = pd.concat([roc_band(predictions, model=name, classes=CLASSES, n_bootstrap=50) for name in MODELS])
    history = pd.DataFrame({"member": [0, 0], "epoch": [1, 2], "train_loss": [1.0, 0.5], "train_accuracy": [0.5, 0.8]})
    history = history.assign(validation_loss=np.nan, validation_accuracy=np.nan)
    quality = predictions.assign(correlation_brain=np.linspace(0.9, 0.5, 24), mask_dice=0.9, check=None)
    flow = {"rows": 30, "dropped": {"MCI": 4}, "scans": 26, "failed": {"truncated": {"AD": 1, "CN": 1}}, "subjects": 12}
    flow["used"] = {"AD": (12, 6), "CN": (12, 6)}
    n = {"n_subjects": 12, "n_scans": 24}
    scan = {"scan_id": "s1", "label": "AD", "probability": 0.9, "classes": CLASSES}
    common = {"simulated": True}
    heat = common | {"settings": SETTINGS}
    return {
        "maps": lambda: relevance.draw_group_maps(maps, t1, folder / "maps", group="AD", n_folds=3, **n, **heat),
        "baseline": lambda: baseline.draw_baseline_map(
            {"weights": maps["grad_cam"], "pattern": maps["occlusion"]},
            t1,
            folder / "baseline",
            card=BASELINE_CARD,
            **common,
        ),
        "scan": lambda: relevance.draw_scan_maps(maps, t1, t1, folder / "scan", **scan, **heat),
        "ranking": lambda: relevance.draw_region_ranking(
            {"occlusion": region_table(), "grad_cam": region_table(19)}, folder / "ranking", group="AD", **heat
        ),
        "saturation": lambda: relevance.draw_saturation(
            {"AD": 0.2, "all": 0.1}, folder / "saturation", n_scans={"AD": 12, "all": 24}, **common
        ),
        "learning": lambda: performance.draw_learning_curves(
            {0: history}, folder / "learning", settings={"network": "small", "epochs": 2}, **common
        ),
        "roc": lambda: performance.draw_roc(
            bands, metrics, folder / "roc", model_titles=MODELS, n_bootstrap=50, **common
        ),
        "confusion": lambda: performance.draw_confusion(
            confusion(predictions, CLASSES), folder / "confusion", model_title="CNN", **n, **common
        ),
        "metrics": lambda: performance.draw_metrics(
            metrics, folder / "metrics", model_titles=MODELS, level="subject", **common
        ),
        "external": lambda: external.draw_external(
            {"here (test scans)": metrics, "there": metrics},
            folder / "external",
            split="kfold",
            n_models=3,
            model_titles=MODELS,
            **common,
        ),
        "flow": lambda: cohort.draw_flow(flow, folder / "flow", **common),
        "quality": lambda: cohort.draw_quality(quality, folder / "quality", classes=CLASSES, **common),
        "agreement": lambda: agreement.draw_agreement(distances, folder / "agreement", group="all", **n, **common),
        "truth_map": lambda: truth.draw_truth_map(
            brain["paths"]["log_jacobian"], t1, folder / "truth_map", threshold=0.02, **common
        ),
        "truth": lambda: truth.draw_truth_scores(scores, folder / "truth", group="AD", **n, **heat),
    }


def truth_and_distances(brain, methods, draws=19):
    """Occlusion marks the planted change and Grad-CAM does not; draws of shuffled diagnoses are noise."""
    inside, planted = brain["inside"], brain["arrays"]["log_jacobian"]
    # Blocks of 24 mm: a slab across the brain would lose little of its volume.
    x, y, z = np.indices(inside.shape) // 4
    labels = np.where(inside, 1 + x + 10 * (y + 10 * z), 0)
    ids = np.unique(labels[inside])
    atlas = pd.DataFrame({"region_id": ids, "region": [f"R{number}" for number in ids]})
    regions = PlantedRegions(planted, labels, inside, atlas)
    enrichment = {n: relevance_by_region(m, labels, regions.regions, inside)["enrichment"] for n, m in methods.items()}
    rng = np.random.default_rng(5)
    shuffled = {name: rng.random((draws, len(regions.regions))) for name in methods} if draws else None
    scores, _ = score_truth(methods, enrichment, regions, inside, n_permutations=50, shuffled=shuffled)
    groups = {name: {"AD": own, "CN": own**2, "all": own} for name, own in methods.items()}
    by_group = {name: dict.fromkeys(groups[name], own) for name, own in enrichment.items()}
    return scores, compare_maps(groups, inside, by_group, classes=CLASSES)


def test_every_figure_twice_gives_equal_bytes_and_says_simulated(brain, predictions, metrics, tmp_path):
    for run in ("first", "second"):
        for name, draw in draw_each(brain, predictions, metrics, tmp_path / run).items():
            caption = draw()
            content = json.loads((tmp_path / run / f"{name}.json").read_text(encoding="utf-8"))
            assert content["caption"] == caption
            assert "scan" in caption or "n = 1 planted map" in caption, name
            assert ">simulated data<" in (tmp_path / run / f"{name}.svg").read_text(encoding="utf-8"), name
    first = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert len(first) == 15 * 3
    for name in first:
        bytes_of = {(tmp_path / run / name).read_bytes() for run in ("first", "second")}
        assert len(bytes_of) == 1, name


def test_real_data_carries_no_mark(tmp_path):
    @styled
    def draw(simulated):
        fig, axes = new_figure(figsize=(2, 2))
        axes.plot([0, 1])
        save_figure(fig, tmp_path / "a", simulated=simulated, title="t", caption="c", category="cohort")
        return (tmp_path / "a.svg").read_text(encoding="utf-8")

    assert "simulated" not in draw(False)
    assert "simulated data" in draw(True)


def test_the_caption_of_a_map_gives_n_method_and_settings(brain, tmp_path):
    maps = {"occlusion": brain["paths"]["occlusion"]}
    caption = relevance.draw_group_maps(
        maps,
        brain["paths"]["t1"],
        tmp_path / "m",
        group="CN",
        n_subjects=20,
        n_scans=31,
        settings=SETTINGS,
        simulated=False,
    )
    for part in ("20 subjects, 31 scans", "40 mm cube, 20 mm stride", "probability of the positive class", "90th"):
        assert part in caption
    assert "mean of maps scaled to a sum of absolute values of 1" in caption and "negative" not in caption
    options = {"group": "CN", "n_subjects": 20, "n_scans": 31, "simulated": False}
    of_paper = SETTINGS | {"target": "predicted"}
    caption = relevance.draw_group_maps(maps, brain["paths"]["t1"], tmp_path / "p", settings=of_paper, **options)
    assert "probability of the predicted class; negative relevance is set to 0 before averaging" in caption


def test_whether_a_loss_in_controls_is_detected_stands_over_the_maps(brain, tmp_path):
    maps, t1 = {"occlusion": brain["paths"]["occlusion"]}, brain["paths"]["t1"]
    options = {"group": "AD", "n_subjects": 20, "n_scans": 31, "settings": SETTINGS, "simulated": False}
    controls = {"occlusion": "controls:\ndetected, p = 0.050", "grad_cam": "controls:\nnot detected"}
    caption = relevance.draw_group_maps(maps, t1, tmp_path / "m", controls=controls, **options)
    assert "whether the method detects a loss of volume planted in the study's own controls" in caption
    plain = relevance.draw_group_maps(maps, t1, tmp_path / "p", **options)
    assert "planted" not in plain
    heights = [image.imread(tmp_path / f"{name}.png").shape[0] for name in "mp"]
    assert heights[0] > heights[1], "with room for two lines"


def test_the_map_of_a_single_scan_explains_the_predicted_class_and_keeps_its_sign(brain, tmp_path):
    """Groups explain the positive class by default; a scan by itself is asked why it was classified so."""
    maps, t1 = {"occlusion": brain["paths"]["occlusion"]}, brain["paths"]["t1"]
    scan = {"scan_id": "s1", "label": "AD", "probability": 0.2, "classes": CLASSES, "simulated": False}
    for target, words in (("positive", "predicted"), ("predicted", "predicted"), ("true", "true")):
        settings = SETTINGS | {"target": target}
        caption = relevance.draw_scan_maps(maps, t1, t1, tmp_path / "s", settings=settings, slices_mm=(0,), **scan)
        assert f"probability of the {words} class" in caption and "set to 0" not in caption


def test_regions_beyond_shuffled_diagnoses_are_filled(tmp_path):
    options = {"group": "AD", "settings": SETTINGS, "simulated": False}
    for draws in (0, 19):
        caption = relevance.draw_region_ranking({"occlusion": region_table(draws)}, tmp_path / f"{draws}", **options)
        assert ("mean of 19 draws of networks trained on shuffled diagnoses; filled points" in caption) == (draws > 0)
        assert "enrichment" in caption and "1 for a map that is the same everywhere" in caption
    # Markers of an svg are drawn once and used for each point: ten points, then as many crosses as there are means.
    colours = [re.findall(r'<use [^>]*style="fill: (#\w+)', (tmp_path / f"{n}.svg").read_text()) for n in (0, 19)]
    white = [sum(colour == "#ffffff" for colour in found) for found in colours]
    assert white == [0, 7], "seven of the ten regions shown are not beyond"


def test_a_verdict_is_drawn_and_told_only_with_enough_draws(brain, tmp_path):
    methods = {name: brain["arrays"][name] for name in ("occlusion", "grad_cam")}
    options = {"settings": SETTINGS, "n_subjects": 12, "n_scans": 24, "group": "AD", "simulated": True}
    for draws, verdict in (
        (19, "(max-T). Filled dots: atrophy detected (Occlusion)."),
        (5, "With fewer than 19 draws, no verdict is given."),
        (0, "There are no networks trained on shuffled diagnoses, so no verdict is given."),
    ):
        scores, _ = truth_and_distances(brain, methods, draws)
        caption = truth.draw_truth_scores(scores, tmp_path / "t", **options)
        assert caption.endswith(verdict)
        assert ("no verdict is given" in caption) == (draws < 19) and ("bars: range" in caption) == (draws > 0)
        text = (tmp_path / "t.svg").read_text(encoding="utf-8")
        assert (">p = 0.050<" in text) == (draws == 19)
    nothing = scores.assign(region_auprc=np.nan, shuffled_auprc=np.nan, verdict="no verdict")
    assert "Filled" not in truth.draw_truth_scores(nothing, tmp_path / "n", **options), "a score that is not defined"
    scores, _ = truth_and_distances(brain, methods)
    caption = truth.draw_truth_scores(scores, tmp_path / "t", planted=False, **options)
    assert "none was planted" in caption and "Filled dots: false detection (Occlusion)" in caption


def test_figures_of_classes_by_the_volume_of_a_structure_name_it(brain, tmp_path):
    methods = {name: brain["arrays"][name] for name in ("occlusion", "grad_cam")}
    scores, _ = truth_and_distances(brain, methods)
    path, t1 = (brain["paths"][name] for name in ("log_jacobian", "t1"))
    how = {"simulated": True, "planted": "temporal_horn", "dpi": 60}
    of = {"group": "AD", "n_subjects": 12, "n_scans": 24, "settings": {"methods": {}}}
    caption = truth.draw_truth_scores(scores, tmp_path / "t", **of, **how)
    assert "the structure whose volume defines the classes, the temporal horn" in caption
    assert "Filled dots: temporal horn detected (Occlusion)" in caption and "planted" not in caption
    caption = truth.draw_truth_map(path, t1, tmp_path / "m", threshold=0.02, slices_mm=(0,), **how)
    assert "Nobody has a disease" in caption and "planted" not in caption
    maps, how = {"occlusion": brain["paths"]["occlusion"]}, how | {"slices_mm": (0,), "truth": scores}
    caption = relevance.draw_group_maps(maps, t1, tmp_path / "g", log_jacobian_path=path, **of, **how)
    assert "First column: the temporal horn, whose volume defines the classes" in caption


def test_agreement_is_over_scaled_maps_and_regions(brain, tmp_path):
    methods = {name: brain["arrays"][name] for name in ("occlusion", "grad_cam")}
    _, distances = truth_and_distances(brain, methods)
    options = {"group": "AD", "n_subjects": 12, "n_scans": 24, "simulated": True}
    caption = agreement.draw_agreement(distances, tmp_path / "a", **options)
    n = distances.groupby("over")["n"].max()
    assert "scaled to a sum of absolute values of 1" in caption and "enrichment by region" in caption
    assert f"{n['voxels']:,} brain voxels and {n['regions']:,} regions" in caption
    pair = distances.query("comparison == 'methods' and group == 'AD'").set_index("scaling")
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert f">{pair.loc['enrichment', 'spearman']:.2f}<" in text
    assert f">{1000 * pair.loc['scaled', 'distance']:.1f}<" in text


def test_the_figure_of_the_baseline_says_what_its_maps_are(brain, tmp_path):
    maps = {"weights": brain["paths"]["occlusion"], "pattern": brain["paths"]["grad_cam"]}
    options = {"simulated": False, "slices_mm": (0,)}
    caption = baseline.draw_baseline_map(maps, brain["paths"]["t1"], tmp_path / "b", card=BASELINE_CARD, **options)
    for part in (
        "voxelwise linear SVM (scans smoothed with 8 mm FWHM)",
        "5 folds (30 subjects, 41 scans)",
        "weight of each smoothed voxel",
        "Haufe et al. 2014",
        "Weights are not patterns",
        "Values in colour over the template",
        "99.8th percentile of values",
    ):
        assert part in caption
    text = (tmp_path / "b.svg").read_text(encoding="utf-8")
    assert text.index(">Weights<") < text.index(">Pattern<")
    several = BASELINE_CARD | {"baseline": {"kind": "linear_svm"}, "channels": ["t1", "log_jacobian"]}
    caption = baseline.draw_baseline_map(maps, brain["paths"]["t1"], tmp_path / "r", card=several, **options)
    assert "linear SVM of regional means" in caption and "Both are summed over channels, scaled" in caption


def test_patients_maps_stand_beside_what_was_planted_with_their_verdicts(brain, tmp_path):
    change = np.zeros(brain["grid"].shape, np.float32)
    change[4:12, 4:12, 4:12], change[15, 15, 15] = -0.3, 0.5
    save_image(tmp_path / "change.nii.gz", change, brain["grid"].affine)
    assert relevance.planted_loss(tmp_path / "change.nii.gz").get_fdata().max() == pytest.approx(0.3)
    verdicts = pd.DataFrame({"method": ["occlusion"], "verdict": ["detected"], "p_family": [0.05]})
    options = {"group": "AD", "n_subjects": 1, "n_scans": 1, "settings": SETTINGS, "simulated": True}
    maps = {"occlusion": tmp_path / "change.nii.gz"}
    caption = relevance.draw_group_maps(
        maps, brain["paths"]["t1"], tmp_path / "m", truth=verdicts, log_jacobian_path=maps["occlusion"], **options
    )
    assert "First column: the planted loss of volume" in caption and "interpolated" not in caption
    drawn = (tmp_path / "m.svg").read_text()
    # A log-Jacobian of -0.3 is a loss of 1 - exp(-0.3) = 25.9 % of the volume.
    words = ("Planted", "detected", "p = 0.050", "26 %", "L", "Mean over AD scans: 1 subject, 1 scan", "simulated data")
    assert [word for word in words if f">{word}<" not in drawn] == []
    none = relevance.draw_group_maps(maps, brain["paths"]["t1"], tmp_path / "n", **options)
    assert "First column" not in none and "detected" not in (tmp_path / "n.svg").read_text()


def test_what_stands_over_a_map_is_no_wider_than_the_map(brain, tmp_path):
    """Otherwise the verdicts of two methods would run into each other."""
    path = brain["paths"]["occlusion"]
    longest = "controls:\nnot detected in 10 of 10\np = 0.050"
    with matplotlib.rc_context(style._RC):
        maps, t1 = dict.fromkeys(("guided_backprop", "occlusion"), path), brain["paths"]["t1"]
        fig = relevance.mosaic(maps, t1, t1, "coronal", (0,), notes=dict.fromkeys(maps, longest))
        fig.draw_without_rendering()
        note = next(text for axes in fig.axes for text in axes.texts if text.get_text() == longest)
        title, box = fig.axes[0].title.get_window_extent(), note.get_window_extent()
        assert max(box.width, title.width) < 1.1 * fig.axes[0].get_window_extent().width
        assert title.y0 > box.y1, "the title stands above all lines"


def test_the_flow_adds_up():
    scans = pd.DataFrame({"scan_id": list("abcd"), "label": ["AD", "AD", "CN", "CN"]})
    dropped = pd.DataFrame({"reason": ["class not used", "file missing", "class not used"]})
    selected = pd.DataFrame({"label": ["AD", "CN", "CN"], "subject_id": ["p", "p", "q"]})
    excluded = pd.DataFrame(
        {
            "stage": ["parse_tables"] * 3 + ["register_scan"],
            "reason": [*dropped["reason"], "truncated"],
            "label": [None, None, None, "AD"],
        }
    )
    flow = cohort.count_flow(scans, dropped, selected, excluded, classes=CLASSES)
    assert flow["rows"] == flow["scans"] + sum(flow["dropped"].values()) == 7
    assert flow["dropped"] == {"class not used": 2, "file missing": 1}
    assert flow["failed"] == {"truncated": {"AD": 1, "CN": 0}}
    assert flow["used"] == {"AD": (1, 1), "CN": (2, 2)} and flow["subjects"] == 2


def test_the_registration_page_shows_the_worst_first(tmp_path):
    quality = pd.DataFrame({"scan_id": ["good", "bad", "fair"], "label": "AD", "mask_dice": 0.9, "status": "ok"})
    quality["correlation_brain"] = [0.9, 0.4, 0.7]
    quality["check"] = str(tmp_path / "check.png")
    fig, _ = new_figure(figsize=(1, 1))
    fig.savefig(tmp_path / "check.png")
    caption = cohort.draw_registration_page(
        quality, tmp_path / "page", settings={"transform": "affine", "resolution_mm": 3}, simulated=False, most=2
    )
    text = (tmp_path / "page.svg").read_text(encoding="utf-8")
    assert text.index("bad (AD)") < text.index("fair (AD)") and "good (AD)" not in text
    assert "2 of 3 scans" in caption and "lowest 0.40" in caption


@pytest.mark.parametrize(
    ("network", "loss"), [("rieke2018", "cross-entropy"), ("small_dataset", "binary cross-entropy")]
)
def test_learning_curves_say_the_loss_and_how_it_was_trained(tmp_path, network, loss):
    history = pd.DataFrame({"member": [0, 0], "epoch": [1, 2], "train_loss": [1.0, 0.5], "train_accuracy": [0.5, 0.8]})
    history = history.assign(validation_loss=np.nan, validation_accuracy=np.nan)
    settings = {"network": network, "optimiser": "rmsprop", "mask": "my_own.nii", "keep": "best_validation"}
    caption = performance.draw_learning_curves({0: history}, tmp_path / "curves", settings=settings, simulated=False)
    assert f">{loss}</text>" in (tmp_path / "curves.svg").read_text(encoding="utf-8")
    for part in (f"network {network}, optimiser rmsprop", "input: the mask my_own.nii", "weights kept best validation"):
        assert part in caption


def test_failed_registrations_come_first_then_the_lowest_correlation(tmp_path):
    """A failed scan has no figures; a scan that was skipped was not registered and is not on the page."""
    fig, _ = new_figure(figsize=(1, 1))
    fig.savefig(tmp_path / "check.png")
    rows = [("fine", 0.9, 0.9), ("broken", None, None), ("poor", -0.02, 0.5)]
    quality = pd.DataFrame([{"scan_id": name, "correlation_brain": r, "mask_dice": d} for name, r, d in rows])
    quality = quality.assign(label="CN", check=str(tmp_path / "check.png"), status=["ok", "failed", "ok"])
    settings = {"transform": "none", "resolution_mm": 3}
    caption = cohort.draw_registration_page(quality, tmp_path / "page", settings=settings, simulated=False)
    text = (tmp_path / "page.svg").read_text(encoding="utf-8")
    assert text.index("broken (CN)") < text.index("poor (CN)") < text.index("fine (CN)")
    assert "lowest -0.02" in caption
    assert "Registered before the study (only the 3 mm grid was checked)." in caption
