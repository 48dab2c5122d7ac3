"""Blanking in the order of a map: by hand on a linear network, and rates where a map says nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn

from voxelwhy.errors import InputError
from voxelwhy.evaluation import faithfulness
from voxelwhy.evaluation.faithfulness import (
    STEPS,
    blank_regions,
    blurred,
    join_faithfulness,
    orders_of,
    scan_rows,
    summarise_faithfulness,
)
from voxelwhy.explain._shared import states
from voxelwhy.io.tables import write_table
from voxelwhy.io.trust_tables import FAITHFULNESS, FAITHFULNESS_SUMMARY

SHAPE = (10, 4, 4)
#: Ten slices, of which the first has the weight 9, the second 8, …
REGIONS = [np.arange(10)[:, None, None] * np.ones(SHAPE) == k for k in range(10)]
WEIGHT = np.arange(9, -1, -1)


class Linear(nn.Module):
    """The score is the sum over slices of the weight times the mean of the slice."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(WEIGHT, dtype=torch.float32))

    def forward(self, image):
        score = (image.mean(dim=(1, 3, 4)) * self.weight).sum(dim=1)
        return torch.stack([-score / 2, score / 2], dim=1)


def test_the_drop_is_that_of_the_blanked_regions_by_hand():
    volume, fill = np.full((1, *SHAPE), 2.0, np.float32), np.full((1, *SHAPE), 0.5, np.float32)
    orders = {"most|m": np.arange(10), "least|m": np.arange(10)[::-1]}
    table = blank_regions(Linear(), volume, {"mean": fill}, REGIONS, orders).set_index(["order", "step"])
    # 5 and 10 % are one slice, 15 and 20 % two, … 50 % five; each blanked slice changes by 1.5.
    for step, n in zip(STEPS, (1, 1, 2, 2, 3, 3, 4, 4, 5, 5), strict=True):
        assert table.loc[("most|m", step), "fraction"] == pytest.approx(n / 10)
        assert table.loc[("most|m", step), "drop"] == pytest.approx(1.5 * WEIGHT[:n].sum(), abs=1e-4)
        assert table.loc[("least|m", step), "drop"] == pytest.approx(1.5 * WEIGHT[-n:].sum(), abs=1e-4)


@pytest.mark.parametrize("engine", ["plain", "incremental"])
def test_the_drops_of_a_network_are_those_of_whole_passes(engine, rng, monkeypatch):
    """By either engine: a pass for each blanked image, made by hand."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv3d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(120, 1))
    volume, fill = rng.normal(size=(2, 1, *SHAPE)).astype(np.float32)
    walks, walk = [], states.Walk.__call__
    monkeypatch.setattr(states.Walk, "__call__", lambda self, route: walks.append(1) or walk(self, route))
    if engine == "incremental":
        monkeypatch.setattr(faithfulness, "LEAST_VOXELS", 0)
        monkeypatch.setattr(states, "WORTH_IT", 0)
        monkeypatch.setattr(states, "BESIDE", 0)
    orders = orders_of({"a": rng.normal(size=10)}, rng)
    table = blank_regions(net.eval(), volume, {"mean": fill, "blur": 0 * fill}, REGIONS, orders)
    assert len(walks) == (2 if engine == "incremental" else 0) and len(table) == 2 * 12 * len(STEPS)

    def score(image):
        with torch.inference_mode():
            return float(net(torch.from_numpy(image[None]))[0, 0])

    for row in table.sample(40, random_state=0).itertuples():
        blank = np.isin(np.arange(10), orders[row.order][: round(10 * row.fraction)])
        where = np.any([region for region, own in zip(REGIONS, blank, strict=True) if own], axis=0)
        replaced = np.where(where, fill if row.fill == "mean" else 0, volume).astype(np.float32)
        assert row.drop == pytest.approx(score(volume) - score(replaced), abs=1e-5)
    assert table["drop"].abs().max() > 0.1


def test_orders_follow_the_enrichment_and_random_ones_are_shared(rng):
    enrichment = {"a": np.array([0.1, 3.0, np.nan, 2.0]), "b": np.zeros(4)}
    orders = orders_of(enrichment, rng)
    assert list(orders["most|a"][:3]) == [1, 3, 0] and list(orders["least|a"]) == list(orders["most|a"][::-1])
    assert {name.split("|")[0] for name in orders} == {"most", "least", "random"} and len(orders) == 4 + 10
    firsts = {orders_of({"b": np.zeros(4)}, rng)["most|b"][0] for _ in range(40)}
    assert firsts == {0, 1, 2, 3}  # ties have no order


def test_a_blurred_scan_keeps_its_mean_and_stays_inside_the_mask(rng):
    mask = np.zeros((20, 20, 20), bool)
    mask[4:16, 4:16, 4:16] = True
    volume = (5 + rng.normal(size=(2, 20, 20, 20)).astype(np.float32)) * mask
    found = blurred(volume, mask, (4, 4, 4))
    assert found.shape == volume.shape and found.dtype == volume.dtype and not found[:, ~mask].any()
    assert found[:, mask].mean() == pytest.approx(5, abs=0.05) and found[:, mask].std() < 0.3


def rows(rng, gains, n=12):
    """Rows of `n` subjects, for which the most relevant regions lower the score by `gains` more than random ones."""
    parts = []
    for k in range(n):
        facts = {"fold": k % 2, "scan_id": f"s{k}", "subject_id": f"p{k}", "label": "AD"}
        base = rng.normal()
        curves = [("random", "", base), *(("most", m, base + gain + rng.normal()) for m, gain in gains.items())]
        for order, method, mean in [*curves, *(("least", m, base - 0.5) for m in gains)]:
            table = pd.DataFrame({"fill": "mean", "method": method, "order": order, "step": STEPS, "fraction": STEPS})
            parts.append(table.assign(drop=mean + np.linspace(-0.1, 0.1, len(STEPS)), **facts))
    return pd.concat(parts, ignore_index=True)[list(FAITHFULNESS.columns)]


def test_the_summary_is_over_subjects_as_by_hand(rng, tmp_path):
    table = rows(rng, {"good": 3.0, "none": 0.0})
    write_table(table, tmp_path / "rows.tsv", FAITHFULNESS)
    summary = summarise_faithfulness(table, n_flips=999).set_index("method")
    write_table(summary.reset_index(), tmp_path / "summary.tsv", FAITHFULNESS_SUMMARY)
    curves, again = join_faithfulness([tmp_path / "rows.tsv"], n_flips=999)
    half = table[(table["method"] == "good") & (table["order"] == "most") & (table["step"] == 0.5)]["drop"]
    band = curves[(curves["method"] == "good") & (curves["order"] == "most") & (curves["step"] == 0.5)].iloc[0]
    limits = stats.t.interval(0.95, 11, half.mean(), stats.sem(half))
    assert (band["mean"], band["low"], band["high"]) == pytest.approx((half.mean(), *limits))
    pd.testing.assert_frame_equal(again.set_index("method"), summary, rtol=1e-8)
    aopc = table.groupby(["method", "order", "subject_id"])["drop"].mean()
    gain = aopc["good"]["most"] - aopc[""]["random"]
    row = summary.loc["good"]
    low, high = stats.t.interval(0.95, 11, gain.mean(), stats.sem(gain))
    assert (row["gain"], row["low"], row["high"]) == pytest.approx((gain.mean(), low, high))
    assert row["contrast"] == pytest.approx((aopc["good"]["most"] - aopc["good"]["least"]).mean())
    exact = stats.permutation_test((gain.to_numpy(),), np.mean, permutation_type="samples", alternative="greater")
    assert row["p"] == pytest.approx(exact.pvalue, abs=0.01) and row["p_family"] <= 0.05
    assert summary.loc["none", "p_family"] > 0.05
    few = summarise_faithfulness(rows(rng, {"good": 3.0}, n=5), n_flips=99)
    assert few[["low", "p"]].isna().all(axis=None)
    with pytest.raises(InputError, match="no scan"):
        summarise_faithfulness(table.iloc[:0])


def test_maps_that_say_nothing_pass_at_most_at_the_nominal_rate(rng):
    """150 studies of three methods whose gains are noise."""
    raised = sum(
        summarise_faithfulness(rows(rng, dict.fromkeys("abc", 0.0), n=10), n_flips=199, seed=k)["p_family"].min()
        <= 0.05
        for k in range(150)
    )
    assert raised <= stats.binom.ppf(0.999, 150, 0.05)


def test_random_orders_are_averaged_and_methods_named():
    table = pd.DataFrame({"fill": "mean", "order": ["most|a", "random|0", "random|1"], "step": 0.05,
                          "fraction": [0.1, 0.1, 0.2], "drop": [3.0, 1.0, 2.0]})  # fmt: skip
    found = scan_rows(table, {"scan_id": "s"}).set_index("order")
    assert found.loc["random", ["drop", "method"]].tolist() == [1.5, ""] and found.loc["most", "method"] == "a"
