"""A study that plants a known loss in its own controls, end to end: the study within it, its table and sentences."""

from __future__ import annotations

import pytest

from helpers.studies import Study, small_study

pytestmark = pytest.mark.slow

CONFIG = small_study(
    "own",
    subjects=6,
    heatmaps={"methods": {"sensitivity_analysis": {}}},
    trust={"probes": "false", "seeds": 0, "planted": 1, "planted_least": 6, "planted_loss": {"hippocampus": -0.25}},
    figures={"slices_mm": [-20], "dpi": 60},
)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    study = Study(tmp_path_factory.mktemp("planted"), CONFIG)
    study.text = study.run()
    return study


def test_each_pair_has_one_loss_and_one_sham_of_equal_strength(planted):
    rows = planted.rows("planted/1/planting/planted.tsv")
    controls = {row["subject_id"] for row in planted.rows("cohort/selected.tsv") if row["label"] == "CN"}
    assert len(rows) == 4 and {row["subject_id"] for row in rows} < controls  # three women and three men: two pairs
    for pair in {row["pair"] for row in rows}:
        own = {row["role"]: row for row in rows if row["pair"] == pair}
        assert set(own) == {"planted", "sham"}
        assert float(own["sham"]["rms_mm"]) == pytest.approx(float(own["planted"]["rms_mm"]), rel=0.01)
        assert float(own["planted"]["largest_change"]) == pytest.approx(0.25, abs=0.02)
        assert float(own["sham"]["largest_change"]) < 0.005


def test_the_answer_is_that_of_the_study_within(planted):
    (row,) = planted.rows("splits/holdout/trust/planted_controls.tsv")
    (truth,) = [
        own
        for own in planted.rows("planted/1/splits/holdout/evaluation/truth.tsv")
        if own["method"] == "sensitivity_analysis"
    ]
    assert (row["n_pairs"], row["n_shuffled"]) == ("2", "19")
    for name in ("region_auprc", "shuffled_low", "shuffled_high", "p", "p_family"):
        assert float(row[name]) == pytest.approx(float(truth[name]), abs=1e-6)
    assert row["verdict"] == truth["verdict"]
    trust = {own["of"]: own for own in planted.rows("splits/holdout/tables/trust.tsv") if "known loss" in own["part"]}
    assert set(trust) == {"network", "Sensitivity analysis"}
    assert "a loss of 25 % in the hippocampus" in trust["Sensitivity analysis"]["sentence"]
    assert trust["Sensitivity analysis"]["sentence"] in planted.result("report.html").read_text()


def test_nothing_runs_again(planted):
    assert planted.would_run() == {}
