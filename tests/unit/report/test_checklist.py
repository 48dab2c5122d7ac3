"""The checklist: what the settings answer is stated, and what only the authors can state is named as such."""

from __future__ import annotations

import copy

import pandas as pd
import yaml

from helpers.paths import ROOT, SCHEMA
from voxelwhy.cohort.simulation.constants import load_study
from voxelwhy.report.checklist import AUTHORS, fill_checklist, publish_checklist
from voxelwhy.report.claim import fill_claim

DEMO = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


def checklist(*, simulated=True, dates=(None, None, None), fill=fill_checklist, **changes):
    config = {key: value for key, value in copy.deepcopy(DEMO).items() if simulated or key != "simulation"} | changes
    selected = pd.DataFrame({"scan_id": ["a", "b", "c"], "subject_id": ["p", "p", "q"], "scan_date": dates})
    return fill(load_study(config, SCHEMA), selected, simulated=simulated).set_index("item")


def test_the_settings_answer_what_they_can():
    table = checklist()
    stated = table["stated"]
    assert stated["5a"] == "simulated cohort" and stated["10"].startswith("all eligible scans: 2 subjects, 3 scans")
    assert "3 folds (kfold), subjects never in two of them" in stated["12a"] and "network compact" in stated["12c"]
    assert "AUC within folds" in stated["12e"] and stated["12f"] == "none"
    assert stated["8a"].startswith("AD (") and "against CN (" in stated["8a"]
    assert "syn_quick" in stated["7"] or "SyN" in stated["7"]
    for item in ("1", "2", "3", "6a", "6c", "8b", "17", "18a-e", "19", "25", "26", "27"):
        assert stated[item] == ""
    assert table.index.is_unique and len(table) > 35


def test_real_data_have_their_source_and_dates():
    cohort = {"table": "ADNI.csv", "data_dir": "scans"}
    table = checklist(simulated=False, cohort=cohort, dates=("2006-01-02", None, "2005-09-01"), evaluate_on=["oasis1"])
    assert table.loc["5a", "stated"].endswith(": scans/ADNI.csv")
    assert table.loc["5b", "stated"] == "scans from 2005-09-01 to 2006-01-02"
    assert table.loc["16", "stated"] == "tested on oasis1"


def test_the_table_says_what_is_left_to_the_authors(tmp_path):
    table = checklist().reset_index()
    caption = publish_checklist(table, tmp_path / "checklist")
    open_items = (table["stated"] == "").sum()
    assert f"{open_items} of {len(table)} rows can be stated only by the authors" in caption
    text = (tmp_path / "checklist.md").read_text()
    assert text.count(AUTHORS) == open_items
    assert len(pd.read_csv(tmp_path / "checklist.tsv", sep="\t")) == len(table)


def test_claim_has_the_44_items_of_the_update_and_the_settings_answer_what_they_can():
    table = checklist(fill=fill_claim)
    assert table.index.tolist() == [str(k) for k in range(1, 45)]
    stated = table["stated"]
    assert "network compact" in stated["22"] and "adamw" in stated["25"] and stated["26"] == "the last epoch"
    assert "3 folds (kfold)" in stated["19"] and stated["27"] == "none" and stated["20"].startswith("subjects")
    assert "occlusion" in stated["31"].lower() and "19 draws of shuffled diagnoses" in stated["31"]
    assert stated["21"].startswith("all eligible scans: 2 subjects, 3 scans") and stated["33"] == ""
    for item in ("1", "2", "3", "4", "15", "16", "18", "34", "40", "41", "44"):
        assert stated[item] == "" and AUTHORS not in stated[item]
    assert (table["place"][stated != ""].str.len() > 0).sum() >= 20


def test_claim_of_real_data_leaves_open_what_only_the_authors_know(tmp_path):
    cohort = {"table": "ADNI.csv", "data_dir": "scans"}
    training = DEMO["training"] | {"seeds": 3, "keep": "best_validation"}
    splits = [DEMO["splits"][0] | {"validation_fraction": 0.2}]
    settings = {"cohort": cohort, "evaluate_on": ["oasis1"], "training": training, "splits": splits}
    table = checklist(simulated=False, fill=fill_claim, **settings)
    stated = table["stated"]
    assert stated["5"] == stated["11"] == stated["13"] == "" and stated["33"] == "oasis1"
    assert stated["26"] == "the epoch with the lowest validation loss"
    assert stated["27"] == "mean probability of 3 trainings of each fold"
    caption = publish_checklist(table.reset_index(), tmp_path / "claim", name="claim")
    assert (
        "Tejani et al. 2024" in caption
        and "of 44 rows can be stated only by the authors: items 1, 2, 3, 4, 5, " in caption
    )
