"""The methods text, citations, and what captions say of the class that is explained."""

import pytest

from helpers.report_tables import CONFIG, PEOPLE
from voxelwhy.report.citations import choose_citations
from voxelwhy.report.methods_text import methods_text
from voxelwhy.report.wording import describe_clipping, describe_settings, describe_target


@pytest.mark.parametrize(
    ("target", "of_groups", "of_scans", "clipped"),
    [
        (None, "the positive class", "the predicted class", False),
        ("positive", "the positive class", "the predicted class", False),
        ("predicted", "the predicted class", "the predicted class", True),
        ("true", "the true class", "the true class", True),
    ],
)
def test_captions_name_the_class_that_is_explained_and_what_becomes_of_negative_relevance(
    target, of_groups, of_scans, clipped
):
    settings = {"output": "logit", "methods": {}} | ({"target": target} if target else {})
    assert describe_target(settings) == f"logit of {of_groups}"
    assert describe_target(settings, single=True) == f"logit of {of_scans}"
    assert ("negative relevance is set to 0" in describe_clipping(settings)) == clipped
    words = f"Relevance explains the logit of {of_groups}"
    for text in (describe_settings(settings), " ".join(methods_text({"heatmaps": settings}, **PEOPLE))):
        assert words in text and ("set to 0 before averaging" in text) == clipped


@pytest.mark.parametrize(("draws", "verdict"), [(19, True), (99, True), (5, False), (0, False)])
def test_methods_text_says_what_a_verdict_rests_on(draws, verdict):
    settings = CONFIG | {"evaluation": CONFIG["evaluation"] | {"shuffled": draws}}
    text = " ".join(methods_text(settings, **PEOPLE | {"simulated": True}))
    assert ("A method detected the atrophy if p of its regional AUPRC, corrected over the methods" in text) == verdict
    assert ("No verdict is given" in text and "needs 19 draws" in text) != verdict
    assert (f"shuffled diagnoses ({draws} draws)" in text) == ("strata of age and sex" in text) == (draws > 0)
    works = " ".join(work for work, _ in choose_citations(settings, simulated=True))
    assert all((name in works) == (draws > 0) for name in ("Adebayo", "Westfall", "Winkler"))
    weights = settings | {"model": {"weights": "w.pt", "trained_on": "kfold"}}
    text = " ".join(methods_text(weights, **PEOPLE | {"simulated": True}))
    assert "draws)" not in text and "No verdict is given" in text, "existing weights cannot be trained again"
    assert "Adebayo" not in " ".join(work for work, _ in choose_citations(weights, simulated=True))


def test_methods_text_names_optimiser_schedule_and_first_pool():
    training = {"network": "compact", "optimiser": "adamw", "schedule": "one_cycle", "weight_decay": 0.05}
    training |= {"learning_rate": 0.002, "batch_size": 8, "epochs": 40, "dropout": 0.5, "first_pool": 2}
    text = " ".join(methods_text({"training": training}, **PEOPLE))
    assert "optimiser AdamW, one-cycle schedule, weight decay 0.05 (learning rate 0.002, batch size 8" in text
    assert "dropout 0.5, first pool of 2 voxels) and the loss cross-entropy" in text
    plain = {"network": "small", "optimiser": "adam", "schedule": "constant", "weight_decay": 0, "dropout": 0.8}
    text = " ".join(methods_text({"training": plain}, **PEOPLE))
    assert "optimiser Adam (learning rate" in text and "first pool" not in text


def test_methods_text_and_citations_name_what_goes_beyond_the_paper():
    training = {"network": "compact", "optimiser": "adamw", "schedule": "one_cycle"}
    training |= {"average": "ema", "calibrate": "temperature", "seeds": 5}
    text = " ".join(methods_text({"training": training}, **PEOPLE))
    assert "moving average over the steps (time constant: a tenth of the training)" in text
    assert "temperature that was fitted to the validation scans" in text
    assert "Each fold was trained 5 times" in text and "Training ended early" not in text
    works = " ".join(work for work, _ in choose_citations({"training": training}, simulated=False))
    names = ("Loshchilov", "Smith LN", "Tarvainen", "Guo C", "Lakshminarayanan")
    assert all(name in works for name in names)
    plain = {"network": "compact", "average": "none", "calibrate": "none", "seeds": 1, "patience": 7}
    text = " ".join(methods_text({"training": plain}, **PEOPLE))
    assert "if the validation loss had not fallen for 7 epochs" in text
    assert not any(word in text for word in ("moving average", "temperature", "trained 1 times"))
    works = " ".join(work for work, _ in choose_citations({"training": plain}, simulated=False))
    assert not any(name in works for name in names)


def test_methods_text_and_citations_follow_the_settings():
    text = " ".join(methods_text(CONFIG, simulated=True, n_subjects=20, n_scans=30))
    for part in (
        "affine transform, after N4",
        "3 mm",
        "network small",
        "5 stratified folds",
        "logit of the predicted class",
    ):
        assert part in text
    assert "below -0.03" in text and text.count("2,000 permutations") == 1
    assert "share of positive relevance divided by its share of volume" in text
    for part in ("Wilson 1927", "DeLong et al. (1988)", "McNemar (1947)", "conditional on the trained networks"):
        assert part in text
    holdout = CONFIG | {"splits": [{"kind": "holdout", "test_subjects": 4}]}
    for settings, said in ((CONFIG, True), (holdout, False)):
        text = " ".join(methods_text(settings, simulated=True, n_subjects=20, n_scans=30))
        works = " ".join(work for work, _ in choose_citations(settings, simulated=True))
        assert ("The AUC is within folds" in text) == ("Forman" in works) == ("Fawcett" in works) == said
    unknown = CONFIG | {"model": {"weights": "w.pt"}}
    text = " ".join(methods_text(unknown, simulated=False, n_subjects=20, n_scans=30))
    assert "DeLong" not in text and "Hall 1992" in text
    assert "DeLong" not in " ".join(work for work, _ in choose_citations(unknown, simulated=False))
    works = " ".join(work for work, _ in choose_citations(CONFIG, simulated=True))
    for name in ("Rieke", "Selvaraju", "Zeiler", "Avants", "Tzourio", "Fonov", "N4ITK", "Abraham", "Karaçali"):
        assert name in works
    assert "Springenberg" not in works
    other = " ".join(work for work, _ in choose_citations({"atlas": {"name": "own"}}, simulated=False))
    assert "Tzourio" not in other and "Karaçali" not in other and "N4ITK" not in other


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {},
            (
                "template's brain, the input was set to 0",
                "optimiser Adam",
                "0.8) and the loss cross-entropy",
                "Normalisation: voxelwise, estimated from",
            ),
        ),
        (
            {"network": "small_dataset", "optimiser": "rmsprop", "mask": "grey_white", "normalisation": "voxelwise_sd"},
            (
                "Outside the template's grey and white matter",
                "optimiser RMSprop",
                "0.8) and the loss binary cross-entropy",
            ),
        ),
        (
            {"network": "korolev2017", "mask": "my/mask.nii"},
            ("Outside the mask my/mask.nii, the", "binary cross-entropy"),
        ),
        (
            {"normalisation": "voxelwise_sd"},
            ("voxelwise by the SD, without subtracting the mean, estimated from training scans",),
        ),
    ],
)
def test_methods_text_says_what_the_network_saw_and_how_it_was_trained(changes, words):
    training = {
        "network": "rieke2018",
        "optimiser": "adam",
        "mask": "brain",
        "dropout": 0.8,
        "normalisation": "voxelwise",
    }
    text = " ".join(methods_text({"training": training | changes}, simulated=False, n_subjects=2, n_scans=3))
    for part in words:
        assert part in text
    assert ("binary" in text) == (changes.get("network") is not None)


def test_methods_text_says_the_grid():
    for grid, shape in (("mni", "91 x 109 x 91"), ("icbm", "97 x 115 x 97")):
        registration = {"grid": grid, "resolution_mm": 2}
        text = " ".join(methods_text({"registration": registration}, simulated=False, n_subjects=2, n_scans=3))
        assert f"on a grid of {shape} voxels" in text


@pytest.mark.parametrize(
    ("evaluation", "model", "parts", "absent"),
    [
        (
            {"baseline": "linear_svm", "smoothing_mm": 10, "shuffled": 8},
            {},
            ("linear SVM of regional means, fitted", "Haufe et al. (2014)", "8 baselines fitted on permuted"),
            ("smoothed", "Bron", "cross-validation"),
        ),
        (
            {"baseline": "voxelwise", "smoothing_mm": 6, "shuffled": 0},
            {},
            ("scans smoothed with 6 mm FWHM", "standardised within each scan", "Bron", "Haufe"),
            ("permuted diagnoses",),
        ),
        (
            {"baseline": "voxelwise", "smoothing_mm": 0, "shuffled": 8},
            {"weights": "w.pt", "trained_on": "kfold"},
            ("voxelwise linear SVM (scans not smoothed)", "Bron", "Haufe"),
            ("permuted diagnoses",),
        ),
        ({"baseline": "voxelwise", "shuffled": 8}, {"weights": "w.pt"}, (), ("baseline", "Bron", "Haufe")),
    ],
)
def test_the_baseline_is_described_and_cited_where_there_is_one(evaluation, model, parts, absent):
    settings = CONFIG | {"evaluation": CONFIG["evaluation"] | evaluation, "model": model}
    settings["training"] = CONFIG["training"] | {"channels": ["t1"]}
    text = " ".join(methods_text(settings, simulated=False, n_subjects=20, n_scans=30))
    works = " ".join(work for work, _ in choose_citations(settings, simulated=False))
    assert [part for part in parts if part not in text] == []
    assert [part for part in absent if part in text] == []
    for name in ("Bron", "Haufe"):
        assert (f"{name} " in works) == (name in parts or any(name in part for part in parts))


def test_methods_text_and_citations_name_the_trainings_that_were_compared():
    for seeds, words in ((3, "over subjects and trainings"), (2, "over subjects, given these trainings"), (0, "")):
        settings = CONFIG | {"trust": {"probes": "false", "seeds": seeds, "subjects": 8}}
        text = " ".join(methods_text(settings, **PEOPLE))
        works = " ".join(work for work, _ in choose_citations(settings, simulated=False))
        assert ("Shrout" in works) == ("Efron" in works) == ("ICC(2,1)" in text) == (f"{seeds} times in all" in text)
        assert words in text and ("Shrout" in works) == (seeds > 0)


def test_methods_text_of_classes_by_the_volume_of_a_structure():
    """Nobody is ill, and nothing was planted."""
    evaluation = CONFIG["evaluation"] | {"shuffled": 19}
    settings = CONFIG | {"simulation": {"signal": "temporal_horn", "effect": 0}, "evaluation": evaluation}
    text = " ".join(methods_text(settings, **PEOPLE | {"simulated": True}))
    assert (
        "Nobody has a disease. A subject was classed as small or large by whether the volume of one structure" in text
    )
    assert "(temporal horn), relative to head size and age, lies below the median" in text
    assert "A method detected the temporal horn if p" in text and "counts as part of the structure if" in text
    assert "planted" not in text and "atrophy" not in text
    assert "Siegel" in " ".join(work for work, _ in choose_citations(settings, simulated=True))
    assert "Siegel" not in " ".join(work for work, _ in choose_citations(CONFIG, simulated=True))


def test_methods_text_names_covariates_and_probes_of_shortcuts():
    cohort = {"covariates": {"site": "SITEID", "intracranial_volume": "eTIV"}}
    explained = CONFIG | {"heatmaps": CONFIG.get("heatmaps", {}) | {"target": "positive", "methods": {"grad_cam": {}}}}
    settings = explained | {"cohort": CONFIG.get("cohort", {}) | cohort}
    text = " ".join(methods_text(settings, **PEOPLE))
    assert "related to age, sex, site and intracranial volume and to the quality of the registered scan" in text
    assert "with age, sex, site and fold as covariates" in text and "Kruskal & Wallis 1952" in text
    works = " ".join(work for work, _ in choose_citations(settings, simulated=False))
    assert "Kruskal WH" in works and "Steiger" in works
    plain = " ".join(methods_text(explained, **PEOPLE))
    assert "Kruskal" not in plain and "related to age and sex and to the quality" in plain
    assert "with age, sex and fold as covariates" in plain
    probed = settings | {"trust": {"probes": "true", "subjects": 4, "seeds": 0}}
    assert "everything but the silhouette" in " ".join(methods_text(probed, **PEOPLE))
    assert "everything but the silhouette" not in text


def test_methods_text_of_planted_controls_and_of_a_truth_planted_in_real_scans():
    assert "controls of equal sex" not in " ".join(methods_text(CONFIG, **PEOPLE))
    text = " ".join(methods_text(CONFIG | {"trust": {"planted": 5, "probes": "false", "seeds": 0}}, **PEOPLE))
    assert "with one interpolation" in text and "(5 assignments)" in text
    planted = {"trust": {"planted": 1, "probes": "false", "seeds": 0}}
    works = " ".join(work for work, _ in choose_citations(CONFIG | planted, simulated=False))
    assert "Karaçali" in works and "Adebayo" in works
    classes = {"positive": {"name": "planted"}, "negative": {"name": "sham"}}
    cohort = {"cohort": {"truth": "results/s/planted/1/planting/truth", "classes": classes}}
    text = " ".join(methods_text(CONFIG | cohort, **PEOPLE | {"simulated": False}))
    assert "A known loss of volume was planted in the scans of the class planted (results/s/planted" in text
    assert "A voxel counts as lost if the log-Jacobian of the disease is below" in text and "simulated" not in text
