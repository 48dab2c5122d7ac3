"""Models on another study's scans: predictions as by hand, n of scans and people, and what captions and tables say."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from voxelwhy.errors import InputError
from voxelwhy.evaluation.external.folds import external_folds
from voxelwhy.evaluation.external.predictions import predict_external
from voxelwhy.evaluation.metrics import by_subject, confusion, score_predictions
from voxelwhy.heatmaps.groups import Groups
from voxelwhy.io.images import save_int16
from voxelwhy.io.tables import METRICS, PREDICTIONS, write_table
from voxelwhy.io.text import of_cohort
from voxelwhy.networks.weights import load_model, save_model
from voxelwhy.regions.aggregate import aggregate_regions
from voxelwhy.report import tables as publish
from voxelwhy.report.figures.performance import draw_confusion
from voxelwhy.report.methods_text import external_text
from voxelwhy.report.sentences import external_sentences
from voxelwhy.report.tables import publish_external
from voxelwhy.training.baseline import predict_baseline
from voxelwhy.training.fold import train_fold
from voxelwhy.training.region_baseline import RegionBaseline

CLASSES = {"positive": "AD", "negative": "CN"}
TESTED = {"cohort": "there", "split": "kfold", "n_models": 2}


# Predictions.

TRAINING = {"network": "small", "channels": ["t1"], "crop": "brain", "normalisation": "voxelwise", "optimiser": "adam"}
TRAINING |= {
    "schedule": "constant",
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "class_weights": "none",
    "augmentation": {},
    "batch_size": 3,
    "epochs": 1,
    "dropout": 0.0,
}
TRAINING |= {"keep": "last", "average": "none", "seeds": 1, "calibrate": "none", "threads": 1, "precision": "float32"}


@pytest.fixture
def trained(small_cohort, classes, tmp_path):
    """The model of fold 0, and eight scans of another cohort that are three times as bright."""
    mask, paths, folds = small_cohort
    how = {"fold": 0, "classes": classes, "seed": 1, "code": {}, "checkpoints": tmp_path / "checkpoints"}
    model, card, _, _ = train_fold(folds, paths, mask, TRAINING, **how)
    save_model(tmp_path / "model.pt", model, card)
    rng, elsewhere, rows = np.random.default_rng(3), {}, []
    for number in range(8):
        scan, label = f"scan{number:02d}", "AD" if number % 2 else "CN"  # the very scan_id of a scan of the study
        path = tmp_path / f"elsewhere{number}.nii"
        save_int16(path, 3 * rng.normal(100, 5, mask.shape), mask.affine)
        elsewhere[scan] = str(path)
        rows.append((scan, f"other{number // 2}", label))
    selected = pd.DataFrame(rows, columns=["scan_id", "subject_id", "label"])
    return tmp_path / "model.pt", mask, (paths, folds), (elsewhere, external_folds(selected, 1))


def test_scans_of_another_study_get_the_normalisation_of_the_training(trained, classes, tmp_path):
    path, mask, (paths, folds), (elsewhere, judged) = trained
    found = predict_external(path, judged, elsewhere, mask, TRAINING, fold=0, classes=classes)
    write_table(found, tmp_path / "predictions.tsv", PREDICTIONS)
    model, _ = load_model(path)
    brain = np.asarray(mask.dataobj) > 0

    def read(file):
        return np.where(brain, nib.load(file).get_fdata(), 0)

    training = folds[(folds["fold"] == 0) & (folds["side"] == "train")]["scan_id"]
    learnt = np.stack([read(paths[scan]) for scan in training])
    mean, sd = learnt.mean(0), learnt.std(0)
    box = tuple(slice(a.min(), a.max() + 1) for a in np.nonzero(brain))
    for row in found.itertuples():
        values = np.divide(read(elsewhere[row.scan_id]) - mean, sd, out=np.zeros(mask.shape), where=brain & (sd > 0))
        with torch.no_grad():
            logits = model(torch.from_numpy(values[box][None, None].astype(np.float32)))[0].double().numpy()
        np.testing.assert_allclose([row.logit_negative, row.logit_positive], logits, rtol=1e-3, atol=1e-3)
    assert found["probability"].std() > 0
    assert list(found["scan_id"]) == sorted(elsewhere) and set(found["fold"]) == {0}


def test_a_model_that_has_seen_a_subject_does_not_judge_it(trained, classes):
    path, mask, (_, folds), (elsewhere, judged) = trained
    seen = folds.loc[(folds["fold"] == 0) & (folds["side"] == "validation"), "subject_id"].iloc[0]
    judged = judged.replace({"subject_id": {"other2": seen}})
    with pytest.raises(InputError, match=f"1 of 4 subjects, such as {seen}"):
        predict_external(path, judged, elsewhere, mask, TRAINING, fold=0, classes=classes)
    tested = folds.loc[(folds["fold"] == 0) & (folds["side"] == "test"), "subject_id"].iloc[0]
    unseen = judged.replace({"subject_id": {seen: tested}})
    assert len(predict_external(path, unseen, elsewhere, mask, TRAINING, fold=0, classes=classes)) == 8


def test_the_baseline_is_fitted_on_this_study_alone(trained, classes, rng):
    _, _, (_, folds), (elsewhere, judged) = trained
    scans = sorted(folds["scan_id"].unique())
    own = pd.DataFrame(rng.normal(size=(len(scans), 3)), index=scans, columns=list("abc"))
    own["a"] += 2 * (np.arange(len(scans)) % 2)
    features = pd.DataFrame(rng.normal(size=(8, 3)), index=[f"other_{s}" for s in elsewhere], columns=list("abc"))
    judged = judged.assign(scan_id="other_" + judged["scan_id"])
    both = pd.concat([judged, judged.assign(fold=1)], ignore_index=True)
    baseline = RegionBaseline(pd.concat([own, features]), "logistic_regression")
    found = predict_baseline(both, baseline, classes=classes, fitted_on=folds)
    for fold in (0, 1):
        known = folds[(folds["fold"] == fold) & (folds["side"] != "test")]
        scaler = StandardScaler().fit(own.loc[known["scan_id"]])
        model = LogisticRegression(max_iter=5000, random_state=1)
        model.fit(scaler.transform(own.loc[known["scan_id"]]), known["label"] == "AD")
        part = found[found["fold"] == fold].set_index("scan_id")
        expected = model.decision_function(scaler.transform(features.loc[part.index]))
        np.testing.assert_allclose(part["logit_positive"], expected, atol=1e-9)


# What is counted.


def judgements(n_models=3):
    """Six scans of five subjects, each classified by each model; all models alike but for an offset."""
    rng, rows = np.random.default_rng(0), []
    base = rng.random(6) * 0.6
    for fold in range(n_models):
        for number in range(6):
            subject, label = f"p{max(number - 1, 0)}", "AD" if number < 3 else "CN"
            rows.append((fold, f"s{number}", subject, label, 0.0, 0.0, base[number] + 0.1 * fold))
    return pd.DataFrame(rows, columns=list(PREDICTIONS.columns))


def test_n_is_that_of_distinct_scans_and_subjects():
    scored = score_predictions(judgements(), model="cnn", classes=CLASSES, n_permutations=40)
    assert set(scored["n_scans"]) == {6} and set(scored["n_subjects"]) == {5}
    assert set(scored["fold"]) == {"all", "0", "1", "2"}
    accuracy = scored.query("level == 'scan' and metric == 'accuracy'").set_index("fold")["value"]
    assert accuracy["all"] == pytest.approx(accuracy[["0", "1", "2"]].mean())


def test_a_mean_by_subject_stays_within_a_model():
    """An ensemble of the models would be held against single models of the study's own folds."""
    frame = judgements()
    means = by_subject(frame)
    assert len(means) == 15
    of_p0 = frame[(frame["subject_id"] == "p0") & (frame["fold"] == 2)]["probability"]
    assert len(of_p0) == 2
    found = means[(means["subject_id"] == "p0") & (means["fold"] == 2)]["probability"].item()
    assert found == pytest.approx(of_p0.mean())


def test_copies_of_a_model_change_no_interval():
    one, many = (judgements(n) for n in (1, 4))
    many["probability"] = np.tile(one["probability"], 4)
    how = {"model": "cnn", "classes": CLASSES, "n_permutations": 200, "seed": 3}
    pooled = [score_predictions(frame, **how).query("fold == 'all'") for frame in (one, many)]
    for column in ("value", "low", "high"):
        np.testing.assert_allclose(pooled[0][column], pooled[1][column], atol=1e-12)


def test_regions_count_scans_and_people_and_copies_of_a_model_change_nothing():
    atlas = pd.DataFrame({"region_id": [1, 2], "region": ["A", "B"], "voxels": [5, 5], "volume_mm3": [40.0, 40.0]})
    rng, rows = np.random.default_rng(2), []
    for scan in judgements(1).itertuples():
        share = rng.random()
        for region, value in ((1, share), (2, 1 - share)):
            facts = {"scan_id": scan.scan_id, "subject_id": scan.subject_id, "label": scan.label, "fold": 0}
            facts |= {"target": "AD", "probability": 0.7, "region_id": region, "region": "AB"[region - 1]}
            rows.append(facts | {"total": value, "share": value, "enrichment": 2 * value})
    one = pd.DataFrame(rows)
    many = pd.concat([one.assign(fold=fold) for fold in range(3)], ignore_index=True)
    single, several = (aggregate_regions(frame, atlas, Groups(CLASSES)) for frame in (one, many))
    assert several.query("group == 'all'")["n_scans"].tolist() == [6, 6]
    assert several.query("group == 'AD'")["n_subjects"].tolist() == [2, 2]
    pd.testing.assert_frame_equal(single, several)


# What is said.


@pytest.fixture(scope="module")
def metrics():
    frames = {"here": judgements(1), "there": judgements(2)}
    how = {"classes": CLASSES, "n_permutations": 30}
    scored = {}
    for cohort, frame in frames.items():
        models = [score_predictions(frame, model=model, **how) for model in ("cnn", "baseline")]
        scored[cohort] = pd.concat(models, ignore_index=True)
    return scored


def test_captions_name_the_cohort_and_who_classified_it(metrics, tmp_path):
    of, titles = of_cohort(**TESTED), {"cnn": "small", "baseline": "logistic regression"}
    said = "5 subjects, 6 scans of the cohort there, each classified by each of the 2 models of kfold"
    assert of_cohort("there", "holdout", 1) == " of the cohort there, each classified by the model of holdout"
    caption = publish.publish_metrics(metrics["there"], tmp_path / "m", model_titles=titles, n_permutations=30, of=of)
    assert said in caption and "of one diagnosis by one model" in caption
    how = {"n_subjects": 5, "n_scans": 6, "model_title": "small", "simulated": True}
    caption = draw_confusion(confusion(by_subject(judgements(2)), CLASSES), tmp_path / "c", of=of, **how)
    assert f"({said}; 10 classifications)" in caption
    caption = draw_confusion(confusion(by_subject(judgements(1)), CLASSES), tmp_path / "c", **how)
    assert "(5 subjects, 6 scans)" in caption


def test_internal_and_external_figures_stand_side_by_side(metrics, tmp_path):
    titles = {"cnn": "small", "baseline": "logistic regression"}
    tables = {"here (test scans)": metrics["here"], "there": metrics["there"]}
    caption = publish_external(tables, tmp_path / "e", split="kfold", n_models=2, model_titles=titles)
    assert "The 2 models of kfold" in caption and "here (test scans) and there" in caption
    shown = json.loads((tmp_path / "e.json").read_text())
    assert shown["category"] == "external" and len(shown["rows"]) == 8
    assert [row[shown["columns"].index("By")] for row in shown["rows"]] == ["subject"] * 4 + ["scan"] * 4
    for row in shown["rows"]:
        cells = dict(zip(shown["columns"], row, strict=True))
        assert (cells["Subjects"], cells["Scans"]) == ("5", "6")
        table = tables[cells["Tested on"]]
        named = {title: name for name, title in titles.items()}[cells["Model"]]
        pooled = table[(table["fold"] == "all") & (table["level"] == cells["By"]) & (table["model"] == named)]
        auc = pooled.set_index("metric").loc["auc"]
        assert cells["AUC"] == f"{auc['value']:.2f} ({auc['low']:.2f} to {auc['high']:.2f})"
    frame = pd.read_csv(tmp_path / "e.tsv", sep="\t")
    assert list(frame.columns) == [*METRICS.columns, "tested_on"]
    assert set(frame.loc[frame["tested_on"] == "there", "fold"]) == {"all", "0", "1"}


def test_the_sentences_hold_both_figures_with_their_n(metrics):
    first, second, third = external_sentences(
        metrics["there"], metrics["here"], {}, tested=TESTED, simulated={"there": False, "here": True}, classes=CLASSES
    )
    said = {}
    for cohort in ("here", "there"):
        rows = metrics[cohort].query("model == 'cnn' and fold == 'all' and level == 'subject'").set_index("metric")
        said[cohort] = [f"{rows.loc[m, 'value']:.2f} ({rows.loc[m, 'low']:.2f} to" for m in ("accuracy", "auc")]
    before, after = first.split("; on the simulated test scans of its own study")
    assert "the cohort there (5 subjects, 6 scans, each classified by each of the 2 models of kfold)" in before
    assert all(figure in before for figure in said["there"]) and all(figure in after for figure in said["here"])
    assert "simulated" not in before and "(5 subjects, 6 scans)" in after
    p = metrics["there"].query("model == 'cnn' and fold == 'all' and level == 'subject' and metric == 'auc'")["p"]
    assert ("not shown to be better than chance" in after) == (p.item() > 0.05)
    assert second.startswith("No heatmaps were computed")
    assert third.startswith("With only 5 subjects, the estimate of accuracy is imprecise")


def test_the_caution_about_few_subjects_counts_those_of_the_other_cohort(metrics):
    how = {"tested": TESTED, "simulated": {"there": False, "here": False}, "classes": CLASSES}
    for there, here, said in ((5, 500, True), (100, 5, False), (99, 99, True)):
        tables = (metrics["there"].assign(n_subjects=there), metrics["here"].assign(n_subjects=here))
        third = external_sentences(*tables, {}, **how)[2]
        assert ("imprecise" in third) == said
        assert third.endswith("whether a difference is due to the scanner, the subjects or their diagnoses.")


def test_the_methods_text_says_that_nothing_was_learnt_from_another_cohort():
    audit = {"tested": TESTED, "counts": {"subjects": 5, "scans": 6}}
    (text,) = external_text([audit, audit | {"tested": {"cohort": "c", "split": "holdout", "n_models": 1}}])
    assert "the 2 models of kfold on there (5 subjects, 6 scans) and the 1 model of holdout on c" in text
    assert "no model was trained on them" in text
    assert external_text([]) == []
