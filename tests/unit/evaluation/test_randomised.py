"""Reset weights: which layers, statistics estimated again, similarities as by SciPy, networks with known answers."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from skimage.metrics import structural_similarity
from torch import nn

from voxelwhy import input_x_gradient
from voxelwhy.evaluation.randomised import (
    estimate_norms,
    layers_of,
    randomised_models,
    similarity,
    summarise_randomised,
)
from voxelwhy.io.tables import write_table
from voxelwhy.io.trust_tables import RANDOMISED, RANDOMISED_SUMMARY
from voxelwhy.networks.ensemble import Ensemble


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), nn.Conv3d(4, 4, 3), nn.BatchNorm3d(4), nn.ReLU(),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(4, 2),
    ).eval()  # fmt: skip


def batches(n=3):
    torch.manual_seed(1)
    return [torch.randn(4, 1, 8, 8, 8) * 2 + 1 for _ in range(n)]


def test_layers_are_reset_from_the_last_to_the_first_and_the_network_itself_stays():
    model = network()
    before = copy.deepcopy(model.state_dict())
    assert layers_of(model) == [["0", "1"], ["3", "4"], ["9"]]
    changed = []
    for depth, name, found in randomised_models(model, batches(), seed=5):
        assert not found.training
        same = {k for k in ("0.weight", "3.weight", "9.weight") if torch.equal(found.state_dict()[k], before[k])}
        changed.append((depth, name, same))
    assert changed == [(1, "9", {"0.weight", "3.weight"}), (2, "3", {"0.weight"}), (3, "0", set())]
    assert all(torch.equal(model.state_dict()[k], before[k]) for k in before)
    again = [found.state_dict()["0.weight"].clone() for _, _, found in randomised_models(model, batches(), seed=5)]
    first = [found.state_dict()["0.weight"].clone() for _, _, found in randomised_models(model, batches(), seed=6)]
    assert torch.equal(again[0], first[0]) and not torch.equal(again[-1], first[-1])


def test_statistics_of_batch_normalisation_are_those_of_the_training_scans():
    model = network()
    estimate_norms(model, batches(1))
    values = model[0](batches(1)[0])
    mean, var = values.mean(dim=(0, 2, 3, 4)), values.var(dim=(0, 2, 3, 4))
    torch.testing.assert_close(model[1].running_mean, mean)
    torch.testing.assert_close(model[1].running_var, var)
    assert not model[1].training and model[1].momentum == 0.1
    plain = nn.Sequential(nn.Flatten(), nn.Linear(512, 2)).eval()
    estimate_norms(plain, batches(1))  # nothing to estimate


def test_each_member_of_an_ensemble_is_reset():
    model = Ensemble([network(), network()]).eval()
    (_, name, found), *rest = randomised_models(model, batches(), seed=1)
    assert len(rest) == 2 and name == "9"
    weights = [member[9].weight for member in found.members]
    assert not torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], model.members[0][9].weight)


def test_the_weights_of_a_layer_without_initial_ones_are_permuted():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.arange(512.0))

        def forward(self, image):
            return torch.stack([0 * image.flatten(1)[:, 0], image.flatten(1) @ self.weight], dim=1)

    model = nn.Sequential(Own()).eval()
    ((_, name, found),) = randomised_models(model, batches(), seed=1)
    assert name == "0" and torch.equal(found[0].weight.sort().values, model[0].weight)
    assert not torch.equal(found[0].weight, model[0].weight)


def test_similarity_is_that_of_scipy_and_scikit_image(rng):
    counted = np.zeros((10, 11, 12), bool)
    counted[2:8, 2:9, 2:10] = True
    one, other = rng.normal(size=(2, 10, 11, 12))
    found = similarity(one, other, counted)
    assert found["spearman"] == pytest.approx(stats.spearmanr(one[counted], other[counted]).statistic)
    assert found["spearman_absolute"] == pytest.approx(
        stats.spearmanr(abs(one[counted]), abs(other[counted])).statistic
    )
    scaled = [own * counted / np.abs(own * counted).max() for own in (one, other)]
    _, local = structural_similarity(*scaled, data_range=2.0, full=True)
    assert found["ssim"] == pytest.approx(local[counted].mean())
    assert similarity(one, one, counted) == pytest.approx({"spearman": 1, "spearman_absolute": 1, "ssim": 1})
    assert similarity(-one, one, counted)["spearman"] == pytest.approx(-1)
    assert similarity(np.zeros_like(one), one, counted)["spearman"] == 0


def test_a_map_that_shows_what_was_learnt_falls_and_one_of_the_image_stays(rng):
    """A linear network: its gradient is its weights, and the image itself is what an edge detector would show."""
    learnt = nn.Sequential(nn.Flatten(), nn.Linear(512, 2)).eval()
    image = rng.normal(size=(8, 8, 8)).astype(np.float32)
    ((_, _, reset),) = randomised_models(learnt, batches(), seed=3)
    counted = np.ones((8, 8, 8), bool)
    maps = [input_x_gradient(own, image[None], 1) for own in (learnt, reset)]
    assert abs(similarity(*maps, counted)["spearman"]) < 0.2
    assert similarity(np.abs(image), np.abs(image), counted)["spearman"] == pytest.approx(1)


def test_the_summary_is_the_mean_over_subjects(rng, tmp_path):
    table = pd.DataFrame(
        [(k % 2, f"s{k}", f"p{k // 2}", "AD", m, depth, layer, *rng.random(3))
         for k in range(8) for m in ("a", "b") for depth, layer in ((0, None), (1, "dense"), (2, "conv"))],
        columns=list(RANDOMISED.columns),
    )  # fmt: skip
    write_table(table, tmp_path / "rows.tsv", RANDOMISED)
    summary = summarise_randomised(table)
    write_table(summary, tmp_path / "summary.tsv", RANDOMISED_SUMMARY)
    own = table[(table["method"] == "a") & (table["depth"] == 1)].groupby("subject_id")["ssim"].mean()
    row = summary.set_index(["method", "depth", "measure"]).loc[("a", 1, "ssim")]
    low, high = stats.t.interval(0.95, 3, own.mean(), stats.sem(own))
    assert (row["value"], row["low"], row["high"]) == pytest.approx((own.mean(), low, high))
    assert row["n_subjects"] == 4 and len(summary) == 2 * 3 * 3
