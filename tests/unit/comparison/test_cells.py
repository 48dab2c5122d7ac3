"""What a comparison keeps of each of its studies, and how that is written."""

import numpy as np
import pandas as pd
import pytest

from voxelwhy.comparison.audits import audit_facts, raised_in
from voxelwhy.comparison.cells import gather_study, read_cell, write_cell
from voxelwhy.io.tables import FOLDS, METRICS, PREDICTIONS, REGIONS, TRUTH, TRUTH_DRAWS, write_table
from voxelwhy.io.trust_tables import CLASS_REGIONS, SHORTCUTS


def test_what_is_not_defined_survives_in_a_cell(tmp_path):
    facts = {"auc": {"cnn": {"low": np.nan, "n_subjects": 3}}, "truth": [{"p": float("nan"), "draws": [0.5, np.nan]}]}
    write_cell(tmp_path / "cell.json", facts)
    assert "NaN" not in (tmp_path / "cell.json").read_text()
    kept = read_cell(tmp_path / "cell.json")
    assert np.isnan(kept["auc"]["cnn"]["low"]) and np.isnan(kept["truth"][0]["p"])
    assert kept["auc"]["cnn"]["n_subjects"] == 3
    np.testing.assert_array_equal(kept["truth"][0]["draws"], [0.5, np.nan])


def save(frame, path, schema):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(frame.reindex(columns=list(schema.columns)), path, schema)


@pytest.fixture
def split(tmp_path, monkeypatch):
    """The tables of a study, with a fold of an earlier run."""
    monkeypatch.chdir(tmp_path)
    split = tmp_path / "results/s/splits/kfold"
    folds = [(f, "test", f"s{f}", f"p{f}", "AD") for f in (0, 1)]
    save(pd.DataFrame(folds, columns=["fold", "side", "scan_id", "subject_id", "label"]), split / "folds.tsv", FOLDS)
    for fold in (0, 1, 2):
        facts = {"fold": fold, "scan_id": f"s{fold}", "subject_id": f"p{fold}", "label": "AD"}
        facts |= {"logit_negative": 0.0, "logit_positive": 0.0, "probability": 0.5}
        save(pd.DataFrame([facts]), split / f"fold-{fold}" / "predictions.tsv", PREDICTIONS)
    metrics = [("cnn", "subject", "all", 0.8), ("cnn", "scan", "all", 0.7), ("cnn", "subject", "0", 0.6)]
    rows = [{"model": m, "level": level, "fold": f, "metric": "auc", "value": v} for m, level, f, v in metrics]
    rest = {"low": 0.5, "high": 0.9, "n_scans": 4, "n_subjects": 2}
    save(pd.DataFrame(rows).assign(**rest), split / "evaluation" / "metrics.tsv", METRICS)
    regions = pd.DataFrame({"group": ["AD", "AD", "CN"], "region_id": [1, 2, 1], "region": ["a", "b", "a"]})
    regions = regions.assign(n_subjects=2, n_scans=2, volume_mm3=[8.0, 80, 8], enrichment=[2.0, np.nan, 9], rank=1)
    save(regions.assign(n_shuffled=0), split / "regions" / "grad_cam.tsv", REGIONS)
    audit = [("follows", "age", "AD", 0.5), ("differs", "age", "all", 0.01), ("nuisances_alone", "age", "all", np.nan),
             ("matched", "age", "all", np.nan)]  # fmt: skip
    audit = pd.DataFrame(audit, columns=["check", "property", "group", "p_family"])
    save(audit.assign(measure="AUC", value=0.8, n_subjects=2), split / "trust" / "shortcuts.tsv", SHORTCUTS)
    tested = pd.DataFrame({"region_id": [1, 2, 3], "region": ["a", "b", "c"], "p_family": [0.04, 0.05, np.nan]})
    tested = tested.assign(n_positive=1, n_negative=1)
    save(tested, split / "trust" / "class_regions" / "grad_cam.tsv", CLASS_REGIONS)
    (split / "heatmaps" / "grad_cam").mkdir(parents=True)
    groups = pd.DataFrame({"group": ["AD", "CN"], "share_outside": [0.25, 0.5]})
    groups.to_csv(split / "heatmaps" / "grad_cam" / "groups.tsv", sep="\t", index=False)
    return split


def test_what_is_kept_of_a_study_is_what_its_tables_say(split, classes):
    kept = gather_study("s", split="kfold", methods=["grad_cam"], classes=classes)
    assert kept["auc"] == {"cnn": {"value": 0.8, "low": 0.5, "high": 0.9, "n_subjects": 2, "n_scans": 4}}
    assert kept["predictions"]["scan_id"] == ["s0", "s1"]
    own = kept["methods"]["grad_cam"]
    assert own["share_outside"] == 0.25 and own["volume"] == {"a": 8.0, "b": 80.0}
    assert own["enrichment"]["a"] == 2 and np.isnan(own["enrichment"]["b"])
    assert kept["truth"] == []
    assert own["class_regions"] == {"n_raised": 2, "least_p_family": 0.04}
    assert [(row["check"], row["group"]) for row in kept["audit"]] == [
        ("follows", "AD"),
        ("differs", "all"),
        ("nuisances_alone", "all"),
    ]
    assert raised_in(kept) == ["age"] and raised_in({"cell": "of an earlier version"}) is None
    assert audit_facts(kept) == {"audit_p_family": 0.01, "raised": "age", "auc_properties": 0.8}


def test_each_method_is_kept_with_its_own_draws(split, classes):
    """Also that of the baseline's map, which is scored like a method, and of which there is another number."""
    truth = pd.DataFrame([dict.fromkeys(TRUTH.columns, 0)] * 2)
    truth = truth.assign(method=["grad_cam", "weights"], verdict="detected", region_auprc=0.75)
    save(truth, split / "evaluation" / "truth.tsv", TRUTH)
    draws = {"method": ["weights", "grad_cam", "grad_cam"], "draw": [1, 1, 2], "region_auprc": [0.9, 0.25, np.nan]}
    save(pd.DataFrame(draws), split / "evaluation" / "truth_draws.tsv", TRUTH_DRAWS)
    kept = gather_study("s", split="kfold", methods=["grad_cam"], classes=classes)["truth"]
    assert [(row["method"], row["verdict"]) for row in kept] == [("grad_cam", "detected"), ("weights", "detected")]
    np.testing.assert_array_equal(kept[0]["draws"], [0.25, np.nan])
    assert kept[1]["draws"] == [0.9]
