"""Model cards: figures with n and interval, the origin of the data, and what the model is not for."""

from __future__ import annotations

import pandas as pd
import pytest
import yaml

from voxelwhy.report.model_cards import write_card

CARD = {
    "network": "compact",
    "fold": 1,
    "channels": ["t1"],
    "spatial_shape": [37, 45, 39],
    "crop": "brain",
    "normalisation": {"kind": "scan"},
    "seed": 7,
    "weights_sha256": "abc",
    "versions": {"torch": "2.13.0"},
}
FACTS = {
    "study": "test",
    "simulated": False,
    "modality": "t1w",
    "classes": {"positive": "AD", "negative": "CN"},
    "space": "MNI152NLin2009aSym",
    "transform": "syn_quick",
    "resolution_mm": 4,
}
TABLE1 = pd.DataFrame(
    [["1", "train", "AD", 35, 40, "72.0 (7.6)", 19, 16], ["0", "train", "AD", 777, 777, "n/a", 0, 0]],
    columns=["fold", "side", "class", "subjects", "scans", "age", "female", "male"],
)
METRICS = pd.DataFrame(
    [
        ["cnn", "subject", "1", "auc", 0.97, 0.84, 0.999, 34],
        ["cnn", "subject", "all", "auc", 0.96, 0.91, 0.99, 102],
        ["cnn", "scan", "all", "auc", 0.11, 0.1, 0.2, 102],
        ["baseline", "subject", "all", "auc", 0.22, 0.1, 0.3, 102],
    ],
    columns=["model", "level", "fold", "metric", "value", "low", "high", "n_subjects"],
)


def card_of(tmp_path, card=CARD, metrics=METRICS, table1=TABLE1, **facts):
    write_card(
        tmp_path / "README.md", card, FACTS | facts, split="kfold", table1=table1, metrics=metrics, grid=(49, 58, 49)
    )
    return (tmp_path / "README.md").read_text()


def test_performance_is_that_of_the_network_by_subject_with_n_and_interval(tmp_path):
    text = card_of(tmp_path)
    (row,) = [line for line in text.splitlines() if line.startswith("| AUC")]
    assert [cell.strip() for cell in row.split("|")[1:4]] == ["AUC", "0.97 (0.84 to 1.00)", "0.96 (0.91 to 0.99)"]
    assert "this fold, 34 subjects" in text and "all folds, 102 subjects" in text
    assert "0.11" not in text and "0.22" not in text


def test_data_are_those_of_the_fold(tmp_path):
    text = card_of(tmp_path)
    assert "| train  | AD      | 35" in text and "777" not in text
    assert "49 x 58 x 49 voxels of 4 mm" in text and "37 x 45 x 39 voxels" in text


def test_front_matter_is_read_by_hubs(tmp_path):
    front = yaml.safe_load(card_of(tmp_path).split("---")[1])
    assert front["library_name"] == "voxelwhy" and front["license"] == "other"
    assert "simulated-data" not in front["tags"]
    assert "simulated-data" in yaml.safe_load(card_of(tmp_path, simulated=True).split("---")[1])["tags"]


@pytest.mark.parametrize("words", ["not a medical device", "No licence is given for the weights", "cnn.prepare"])
def test_use_and_limits_are_stated(tmp_path, words):
    assert words in card_of(tmp_path)


def test_simulated_scans_are_called_so(tmp_path):
    assert "**The scans are simulated**" in card_of(tmp_path, simulated=True)
    assert "simulated" not in card_of(tmp_path)


def test_unknown_training_data_have_no_performance(tmp_path):
    text = card_of(tmp_path, metrics=None, table1=TABLE1.iloc[1:])
    assert text.count("training data of these weights are unknown") == 2 and "AUC" not in text


def test_several_trainings_are_explained_one_by_one(tmp_path):
    assert "mean of 3 trainings" in card_of(tmp_path, card=CARD | {"seeds": 3})
