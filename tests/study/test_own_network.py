"""A small study end to end with the real components: it trains a network of one's own, next to the config."""

from __future__ import annotations

import re

import pytest
import torch
import yaml

from helpers.own_networks import BLOCKS, NET
from helpers.studies import Study, small_study

NAME = "own_net.nets:build"
OWN = small_study(
    "own",
    training={"epochs": 1, "learning_rate": 1e-3},
    model={"architecture": NAME, "options": {"width": 3}},
    heatmaps={"methods": {"sensitivity_analysis": {}}},
    figures={"slices_mm": [-20, 0], "dpi": 60},
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """The workflow and the config, with the network beside it; nothing has run."""
    study = Study(tmp_path_factory.mktemp("own"), OWN)
    (study.folder / "own_net").mkdir()
    (study.folder / "own_net" / "nets.py").write_text(NET)
    (study.folder / "own_net" / "blocks.py").write_text(BLOCKS)
    return study


@pytest.fixture(scope="module")
def own(checkout):
    checkout.run_and_record()
    return checkout


def test_it_is_trained_explained_and_reported(own):
    stored = torch.load(own.result("splits/holdout/fold-0/model.pt"), weights_only=True)
    assert (stored["card"]["network"], stored["card"]["options"]) == (NAME, {"width": 3})
    assert stored["weights"]["0.weight"].shape == (3, 1, 3, 3, 3)
    relevance = own.rows("splits/holdout/heatmaps/sensitivity_analysis/relevance.tsv")
    assert any(float(row["share"] or 0) > 0 for row in relevance)
    assert "own_net.nets:build" in own.result("report.html").read_text()


def test_its_code_is_in_the_digests_of_what_uses_it(own):
    with_it = {job["rule"] for job in own.loaded if "own_net.blocks" in job["named"]}
    assert with_it == {"check_network", "train_fold", "compute_heatmaps"}


def test_a_change_of_its_code_trains_anew_and_registers_nothing(own):
    assert own.would_run() == {}
    blocks = own.folder / "own_net" / "blocks.py"
    blocks.write_text("# another comment\n" + BLOCKS)
    assert own.would_run() == {}
    blocks.write_text(BLOCKS.replace("nn.ReLU", "nn.ELU"))
    try:
        jobs = own.would_run()
    finally:
        blocks.write_text(BLOCKS)
    assert jobs["train_fold"] == jobs["compute_heatmaps"] == 1
    assert not {"register_scan", "register_batch", "split_folds", "prepare_mask"} & set(jobs)
    assert own.would_run(OWN | {"model": {"architecture": NAME, "options": {"width": 4}}})["train_fold"] == 1


@pytest.mark.parametrize(
    ("model", "until", "match"),
    [
        (
            {"architecture": "own_net.other:build"},
            "all",
            r"no module of the name(.|\n)*own_net/other.py next to the config",
        ),
        ({"architecture": "own_net.nets:a_number"}, "check_network", "returns a int; a torch.nn.Module is expected"),
        ({"architecture": NAME, "options": {"logits": 3}}, "check_network", r"of shape \(1, 3\) for one image"),
    ],
)
def test_what_cannot_be_a_network_is_said_without_a_traceback(checkout, model, until, match):
    (checkout.folder / "study.yaml").write_text(yaml.safe_dump(OWN | {"model": model}))
    checkout.warm = False  # the jobs start as on a user's machine
    try:
        text = checkout.run("--until", until, code=1)
    finally:
        checkout.warm = True
        (checkout.folder / "study.yaml").write_text(yaml.safe_dump(OWN))
    assert re.search(match, text)
    assert "Traceback" not in text
