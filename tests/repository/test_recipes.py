"""The benchmark of recipes: its AUC is that of a study, its settings are the recipe, its intervals are Student's."""

import numpy as np
import pandas as pd
import pytest

from bench import recipes
from voxelwhy.config.recipes import RECIPES
from voxelwhy.evaluation.metrics import score_predictions


def test_the_auc_within_folds_is_that_of_the_study():
    rng = np.random.default_rng(4)
    logits = rng.normal(size=60) + np.repeat([0, 3, -2], 20)  # networks with other zeros
    table = pd.DataFrame({"fold": np.repeat([0, 1, 2], 20), "logit_negative": 0.0, "logit_positive": logits})
    table["label"] = np.where(rng.random(60) < 0.4, "AD", "CN")
    table["scan_id"] = table["subject_id"] = [f"s{number}" for number in range(60)]
    table["probability"] = 1 / (1 + np.exp(-logits))
    metrics = score_predictions(table, model="cnn", classes=recipes.CLASSES, n_permutations=2)
    own = metrics[(metrics["level"] == "subject") & (metrics["fold"] == "all")].set_index("metric")["value"]
    assert recipes.auc_within(table) == pytest.approx(own["auc"], abs=1e-12)
    scores = recipes.scores_of(table, 1.0)
    assert scores["auc_pooled"] == pytest.approx(own["auc_pooled"], abs=1e-12)
    assert scores["accuracy"] == pytest.approx(own["accuracy"], abs=1e-12)


def test_a_recipe_differs_from_that_of_the_network_in_what_it_names_alone():
    plain, validation = recipes.settings_of({}, ("t1",))
    assert plain["network"] == "compact" and validation == 0
    assert {key: plain[key] for key in RECIPES["compact"]} == RECIPES["compact"]
    for changes in recipes.RECIPES.values():
        settings, share = recipes.settings_of(changes, ("log_jacobian",))
        assert settings["channels"] == ["log_jacobian"] and share == changes.get("validation", 0)
        named = {key for key in changes if key != "validation"} | {"channels"}
        assert {key for key in settings if settings[key] != plain.get(key)} <= named


def test_an_interval_over_cohorts_is_students():
    assert recipes.interval([0.8, 0.9, 1.0]) == "0.900 (0.652 to 1.148)"
    assert recipes.interval([0.8]) == "0.800"


def test_cohorts_share_no_seed_with_others():
    assert not set(recipes.SEEDS) & {2018, *range(1, 100)} and len(set(recipes.SEEDS)) == 10
