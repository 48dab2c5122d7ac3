"""The network that a config does not name, and the training settings that depend on the network."""

from __future__ import annotations

import json

import pytest
import yaml

from helpers.paths import ROOT
from helpers.settings_cases import MINIMAL, SCHEMA, SCHEMA_PATH, load
from voxelwhy import registry
from voxelwhy.cohort.simulation.constants import load_study
from voxelwhy.config.recipes import RECIPES
from voxelwhy.config.settings import load_settings

RECIPE = {
    "crop": "brain",
    "normalisation": "scan",
    "optimiser": "adamw",
    "schedule": "one_cycle",
    "learning_rate": 0.002,
    "weight_decay": 0.05,
    "batch_size": 8,
    "epochs": 40,
    "dropout": 0.5,
}
PAPERS = {
    "crop": "none",
    "normalisation": "voxelwise",
    "optimiser": "adam",
    "schedule": "constant",
    "learning_rate": 0.0001,
    "weight_decay": 0,
    "batch_size": 5,
    "epochs": 20,
    "dropout": 0.8,
}


@pytest.mark.parametrize(
    ("resolution", "network"),
    [(0.5, "rieke2018"), (1, "rieke2018"), (2, "rieke2018"), (2.1, "compact"), (3, "compact"), (8, "compact")],
)
def test_without_a_name_the_network_follows_the_resolution_and_the_recipe_the_network(resolution, network):
    training = load(f"registration: {{resolution_mm: {resolution}}}")["training"]
    assert training["network"] == network
    recipe = {"compact": RECIPE, "rieke2018": PAPERS}[network]
    assert {key: training[key] for key in recipe} == recipe
    assert ("first_pool" in training) == (network == "compact")


@pytest.mark.parametrize("resolution", [1, 3])
@pytest.mark.parametrize(
    ("network", "dropout"),
    [
        ("rieke2018", 0.8),
        ("small", 0.8),
        ("korolev2017", 0.7),
        ("sfcn", 0.5),
        ("resnet18", 0),
        ("densenet121", 0),
    ],
)
def test_a_network_that_is_named_stays_and_all_but_compact_have_the_papers_recipe(network, dropout, resolution):
    training = load(f"training: {{network: {network}}}\nregistration: {{resolution_mm: {resolution}}}")["training"]
    assert {key: training[key] for key in PAPERS} == PAPERS | {"dropout": dropout}
    assert training["network"] == network


@pytest.mark.parametrize("named", [{}, {"network": "compact"}])
def test_values_that_the_config_states_are_kept_one_by_one(named):
    """Each is given with the paper's value, which is also the schema's default: it must not count as left out."""
    for key, value in PAPERS.items():
        config = MINIMAL | {"registration": {"resolution_mm": 4}, "training": named | {key: value}}
        training = load_settings(config, SCHEMA_PATH)["training"]
        assert {name: training[name] for name in RECIPE} == RECIPE | {key: value}


def test_a_network_of_the_users_own_has_the_papers_settings_on_a_coarse_grid():
    settings = load("model: {architecture: 'my.net:build'}\nregistration: {resolution_mm: 4}")
    training = settings["training"]
    assert not {"network", "dropout", "first_pool"} & training.keys()
    own = {key: value for key, value in PAPERS.items() if key != "dropout"}
    assert {key: training[key] for key in own} == own
    assert json.dumps(load_settings(settings, SCHEMA_PATH)) == json.dumps(settings)


def test_the_embedded_cohort_needs_no_recipe_and_its_short_config_means_what_the_long_one_did():
    """The section training as config/config.yaml had it with every value; the order of settings counts too."""
    demo = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    recipe = {key: value for key, value in RECIPE.items() if key != "dropout"}
    assert not set(recipe) & set(demo["training"])
    wanted = load_study(demo | {"training": {"network": "compact"} | recipe}, SCHEMA_PATH)
    for training in (demo["training"], {"network": "compact"}, {}, None):
        assert json.dumps(load_study(demo | {"training": training}, SCHEMA_PATH)) == json.dumps(wanted)


def test_the_schema_states_each_default_that_depends_on_the_network():
    described = {key: node["description"] for key, node in SCHEMA["properties"]["training"]["properties"].items()}
    for network, recipe in RECIPES.items():
        assert network in registry.NETWORKS
        for key, value in recipe.items():
            (default,) = (part for part in described[key].split(". ") if part.startswith("The default is"))
            assert network in default and str(value) in default.replace(",", "").split(), key
    assert "compact if registration.resolution_mm is above 2" in described["network"]


@pytest.mark.parametrize(
    ("resolution", "voxels"), [(0.5, 14), (1, 7), (1.5, 5), (2, 4), (3, 2), (4, 2), (5, 1), (6, 1), (8, 1)]
)
def test_the_first_pool_of_compact_is_as_many_voxels_as_are_closest_to_7_mm(resolution, voxels):
    """4 at 2 mm: 6 and 8 mm are equally close."""
    text = f"training: {{network: compact}}\nregistration: {{resolution_mm: {resolution}}}"
    training = load(text)["training"]
    assert (training["first_pool"], training["dropout"]) == (voxels, 0.5)
    assert abs(voxels * resolution - 7) <= min(abs(other * resolution - 7) for other in range(1, 17)) + 1e-9
    own = load(text.replace("compact", "compact, first_pool: 3, dropout: 0.1"))["training"]
    assert (own["first_pool"], own["dropout"]) == (3, 0.1)
