"""Comparisons: which studies they are made of, and what the cells come to, against scikit-learn and closed forms."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats
from sklearn.metrics import roc_auc_score

from helpers.paths import ROOT, SCHEMA
from helpers.templates import template_on
from voxelwhy.cohort.simulation.constants import load_study
from voxelwhy.comparison.cells import read_cell, write_cell
from voxelwhy.comparison.combinations import make_cells, short_names
from voxelwhy.comparison.report import report_comparison
from voxelwhy.comparison.summary import (
    cell_table,
    claims_table,
    combination_table,
    confound_table,
    false_regions,
    found_table,
    mean_interval,
    method_table,
)
from voxelwhy.errors import ConfigError

CLASSES = {"positive": "AD", "negative": "CN"}
METHODS = ("occlusion", "grad_cam")
COLUMNS = ["transform", "network"]
REGIONS = [f"{name}_{side}" for name in ("Hippocampus", "Amygdala", "Insula", "Cuneus", "Lingual") for side in "LR"]


def load(config):
    return load_study(config, SCHEMA)


def config(**compare):
    choices = {
        "registration.transform": ["affine", "syn_quick"],
        "training.channels": [["t1"], ["t1", "log_jacobian"]],
    }
    return {"study": "c", "seed": 5, "simulation": {"seed": 8}, "compare": {"choices": choices} | compare}


def test_cells_are_the_combinations_that_can_be_had_times_the_repeats():
    cells, refused = make_cells(config(repeats=2, repeated=["seed", "simulation.seed"]), load)
    assert [cell.name for cell in cells] == [
        f"{name}-{k}" for name in ("affine-t1", "syn_quick-t1", "syn_quick-t1_log_jacobian") for k in (1, 2)
    ]
    assert [cell.choices["training.channels"] for cell in cells[::2]] == ["t1", "t1", "t1+log_jacobian"]
    assert [(cell.config["seed"], cell.config["simulation"]["seed"]) for cell in cells] == [(5, 8), (6, 9)] * 3
    (out,) = refused
    assert out["registration.transform"] == "affine" and "does not deform scans" in out["reason"]
    for cell in cells:
        settings = load(cell.config)  # each is a study by itself
        assert settings["study"] == f"c/cells/{cell.name}" and "compare" not in settings
        # Studies of one transform make the same images, so that they share registrations.
        wanted = ["log_jacobian"] if settings["registration"]["transform"] == "syn_quick" else []
        assert settings["registration"]["maps"] == wanted


@pytest.mark.parametrize("name", ["choices", "null", "confounds"])
def test_the_comparisons_that_come_along_can_be_had(name):
    given = yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text())
    cells, refused = make_cells(given, load)
    expected = {"choices": (7 * 2 * 2, 4), "null": (20, 0), "confounds": (10, 0)}[name]
    assert (len(cells), len(refused)) == expected
    assert len({cell.name for cell in cells}) == len(cells)


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"training.netwrok": ["small"]}, r"possible: there is no setting training\.netwrok(.|\n)*training\.network"),
        ({"seed.folds": [1, 2]}, "not a setting"),
        (
            {"training.network": ["small", "resnet81"]},
            r"no combination is possible with training\.network: resnet81(.|\n)*densenet121",
        ),
        ({"study": ["a", "b"]}, "not study"),
        ({"training.network": ["small", "resnet18"], "training": [{"epochs": 3}]}, "would replace it"),
        ({"cohort.classes.positive": [{"name": "X", "values": ["Dementia"]}]}, "no combination"),
        ({"splits": [[{"kind": "kfold", "heatmaps": False}], [{"kind": "kfold"}]]}, "no split has heatmaps"),
        ({"training.mask": ["a b.nii", "a_b.nii"]}, "the same folder, a_b.nii-1"),
        ({"training.network": ["small", "small"]}, "different values"),
        ({"registration.transform": ["affine"], "training.channels": [["log_jacobian"]]}, "no combination"),
    ],
)
def test_choices_that_are_none_are_refused(choices, words):
    with pytest.raises(ConfigError, match=words):
        make_cells(config(choices=choices), load)


def test_values_that_are_settings_themselves_are_told_apart_by_these():
    nested = [{"head_position": {"pitch_deg": 5}}, {"head_position": {"pitch_deg": 10}}]
    cells, _ = make_cells(config(choices={"simulation.confounds": nested}), load)
    assert [cell.name for cell in cells] == ["head_position_pitch_deg_5-1", "head_position_pitch_deg_10-1"]
    strengths = [{"bias_field": 0.1}, {"bias_field": -0.1}, {}]
    cells, _ = make_cells(config(choices={"simulation.confounds": strengths}), load)
    assert [cell.name for cell in cells] == ["bias_field_0.1-1", "bias_field_minus0.1-1", "none-1"]
    assert [load(cell.config)["simulation"]["confounds"]["bias_field"] for cell in cells] == [0.1, -0.1, 0]


def test_images_that_the_config_asks_for_are_made_in_all_combinations():
    asked = config() | {"registration": {"maps": ["grey_matter_modulated"]}}
    asked["compare"] = {"choices": {"training.channels": [["t1"], ["log_jacobian"]]}}
    asked["registration"]["transform"] = "syn_quick"
    cells, _ = make_cells(asked, load)
    assert [cell.config["registration"]["maps"] for cell in cells] == [["grey_matter_modulated", "log_jacobian"]] * 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"splits": [{"kind": "kfold", "heatmaps": False}]}, "no split has heatmaps"),
        ({"model": {"weights": "w.pt"}}, "do not depend on the choices"),
        ({"compare": {"question": "null"}}, "many cohorts without a planted effect"),
        ({"compare": {"question": "null", "repeated": ["seed"]}, "simulation": {"effect": 0}}, "simulation.seed among"),
        ({"compare": {"repeats": 0}}, "at least 1"),
        ({"compare": {"repeats": 3}}, "nothing to compare"),
        ({"compare": {"question": "confounds", "choices": {"atlas.name": ["aal"]}}}, "cannot be compared"),
        ({"keep": "results"}, "share their registrations"),
        ({"compare": {"repeated": ["training.seed"]}}, r"seed, simulation\.seed"),
    ],
)
def test_comparisons_that_make_no_sense_are_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        load(config() | changes)


def test_columns_have_the_last_part_of_a_setting_unless_two_share_it():
    assert list(short_names(["training.network", "seed"]).values()) == ["network", "seed"]
    assert list(short_names(["seed", "simulation.seed"]).values()) == ["seed", "simulation.seed"]
    assert list(short_names(["simulation.subjects"]).values()) == ["simulation.subjects"]  # a table has subjects anyway


def make_cell(choices, repeat, rng, *, shift=1.0, found=False, p=0.3, density=None, folder=""):
    n = 40
    label = np.where(np.arange(n) % 2, "AD", "CN")
    probability = 1 / (1 + np.exp(-(rng.normal(size=n) + shift * (label == "AD"))))
    rows = {"fold": [0] * n, "scan_id": [f"s{k}" for k in range(n)], "subject_id": [f"p{k // 2}" for k in range(n)]}
    auc = roc_auc_score(label == "AD", probability)
    facts = {"value": auc, "low": auc - 0.1, "high": auc + 0.1, "n_subjects": n // 2, "n_scans": n}
    scores = {"region_auprc": 0.6, "region_chance": 0.3, "null_95": 0.42, "p": p, "p_holm": 2 * p, "found": found}
    scores |= {"p_shuffled": 0.8 * p, "shuffled_auprc": 0.5, "shuffled_sd": 0.05, "n_shuffled": 4}
    truth = [scores | {"method": method, "share_inside": 0.2, "share_chance": 0.1} for method in METHODS]
    density = density or {name: float(rng.random()) for name in REGIONS}
    return {
        "cell": f"{'-'.join(choices.values())}-{repeat}",
        "choices": choices,
        "repeat": repeat,
        "folder": folder,
        "auc": {"cnn": facts, "baseline": facts | {"value": 0.7}},
        "predictions": rows | {"label": label.tolist(), "probability": probability.tolist()},
        "truth": truth,
        "methods": {method: {"share_outside": 0.25, "density": density} for method in METHODS},
    }


@pytest.fixture
def cells(rng):
    return [
        make_cell({"registration.transform": t, "training.network": n}, k, rng, found=t == "affine")
        for t in ("affine", "syn_quick")
        for n in ("small", "resnet18")
        for k in (1, 2)
    ]


def test_the_mean_auc_has_the_interval_of_subjects_who_are_the_same_in_all_repeats(cells):
    table = combination_table(cells, same_scans=True, classes=CLASSES)
    assert table[["transform", "network"]].to_numpy().tolist() == [
        [t, n] for t in ("affine", "syn_quick") for n in ("small", "resnet18")
    ]
    own = cells[:2]
    assert table.loc[0, "auc"] == pytest.approx(np.mean([cell["auc"]["cnn"]["value"] for cell in own]))
    assert (table["n_subjects"] == 20).all() and (table["n_repeats"] == 2).all()
    # By a plain loop over resamples of subjects, whose percentiles are near the interval away from an AUC of 1.
    rng, means = np.random.default_rng(0), []
    for _ in range(400):
        drawn = rng.integers(20, size=20)
        take = np.concatenate([[2 * k, 2 * k + 1] for k in drawn])
        frames = [pd.DataFrame(cell["predictions"]).iloc[take] for cell in own]
        means.append(np.mean([roc_auc_score(frame["label"] == "AD", frame["probability"]) for frame in frames]))
    np.testing.assert_allclose(
        table.loc[0, ["auc_low", "auc_high"]].astype(float), np.percentile(means, [2.5, 97.5]), atol=0.04
    )


def test_repeats_with_other_cohorts_have_students_interval(cells):
    values = [cell["auc"]["cnn"]["value"] for cell in cells[:2]]
    expected = stats.t.interval(0.95, 1, loc=np.mean(values), scale=stats.sem(values))
    np.testing.assert_allclose(mean_interval(values), expected)
    table = combination_table(cells, same_scans=False, classes=CLASSES)
    np.testing.assert_allclose(table.loc[0, ["auc_low", "auc_high"]].astype(float), expected)
    assert np.isnan(mean_interval([0.5])).all()


def test_methods_are_summed_up_over_repeats(cells):
    cells[0]["truth"][0] |= {"region_auprc": 0.2, "found": False}
    found = found_table(method_table(cells), COLUMNS, same_scans=True)
    row = found.set_index(["transform", "network", "method"]).loc["affine", "small", METHODS[0]]
    assert (row["region_auprc"], row["least"], row["most"]) == pytest.approx((0.4, 0.2, 0.6))
    assert (row["n_found"], row["n_repeats"]) == (1, 2)
    assert found.loc[found["transform"] == "affine", "n_found"].sum() == 7
    assert found.loc[found["transform"] == "syn_quick", "n_found"].sum() == 0
    assert len(cell_table(cells)) == 8


def with_draws(cells, draws, auprcs):
    """Give the first method of the first cells its AUPRC, and that of its networks trained on shuffled diagnoses."""
    for cell, own, auprc in zip(cells, draws, auprcs, strict=False):
        facts = {"shuffled_auprc": own.mean(), "shuffled_sd": own.std(ddof=1), "n_shuffled": len(own)}
        cell["truth"][0] |= facts | {"region_auprc": auprc}


def first_found(cells, **options):
    found = found_table(method_table(cells), COLUMNS, **options)
    return found.set_index([*COLUMNS, "method"]).loc["affine", "small", METHODS[0]]


def test_repeats_on_the_same_scans_count_as_one_more_draw(cells, rng):
    """Their mean against the draws of all repeats: Student's t test of one value against n, from the values here."""
    draws = rng.normal(0.45, 0.05, (2, 4))
    with_draws(cells, draws, (0.66, 0.74))
    row = first_found(cells, same_scans=True)
    assert row["p_shuffled"] == pytest.approx(stats.ttest_ind([0.70], draws.ravel(), alternative="greater").pvalue)
    assert (row["shuffled_auprc"], row["n_shuffled"]) == (pytest.approx(draws.mean()), 8)
    assert row["found"] and row["p_holm"] >= row["p_shuffled"]


def test_repeats_with_other_cohorts_are_each_held_against_their_own_draws(cells, rng):
    draws = rng.normal(0.45, 0.05, (2, 4))
    with_draws(cells, draws, (0.66, 0.74))
    above = np.array([0.66, 0.74]) - draws.mean(axis=1)
    expected = stats.ttest_1samp(above, 0, alternative="greater").pvalue
    assert first_found(cells, same_scans=False)["p_shuffled"] == pytest.approx(expected)


def test_a_method_that_always_shows_the_same_is_not_found_by_its_last_digits(cells):
    with_draws(cells, np.full((2, 4), 0.6), (0.6 + 1e-9, 0.6))
    assert first_found(cells, same_scans=True)["p_shuffled"] == pytest.approx(0.5, abs=0.01)


def test_what_lies_above_draws_but_not_above_permuted_regions_is_not_found(cells, rng):
    draws = rng.normal(0.1, 0.01, (2, 4))
    with_draws(cells, draws, (0.4, 0.4))  # null_95 is 0.42
    row = first_found(cells, same_scans=True)
    assert row["p_holm"] < 1e-5 and not row["found"]


def test_a_method_that_was_not_measured_takes_no_part_in_the_correction(cells, rng):
    with_draws(cells, rng.normal(0.45, 0.05, (2, 4)), (np.nan, np.nan))
    found = found_table(method_table(cells), COLUMNS, same_scans=True)
    first, second = (found[found["method"] == method].iloc[0] for method in METHODS)
    assert np.isnan(first["p_holm"]) and not first["found"]
    assert second["p_holm"] == second["p_shuffled"]


def test_without_draws_a_combination_is_found_where_most_studies_say_so(cells):
    for cell in cells:
        for row in cell["truth"]:
            row |= {"n_shuffled": 0, "shuffled_auprc": np.nan, "shuffled_sd": np.nan, "p_shuffled": np.nan}
    found = found_table(method_table(cells), COLUMNS, same_scans=True)
    assert (found["found"] == (found["transform"] == "affine")).all()


def test_what_is_not_defined_survives_in_a_cell(tmp_path):
    facts = {"auc": {"cnn": {"low": np.nan, "n_subjects": 3}}, "truth": [{"p": float("nan"), "method": "occlusion"}]}
    write_cell(tmp_path / "cell.json", facts)
    assert "NaN" not in (tmp_path / "cell.json").read_text()
    kept = read_cell(tmp_path / "cell.json")
    assert np.isnan(kept["auc"]["cnn"]["low"]) and np.isnan(kept["truth"][0]["p"])
    assert (kept["auc"]["cnn"]["n_subjects"], kept["truth"][0]["method"]) == (3, "occlusion")


def test_claims_have_exact_intervals_and_the_binomial_test(rng):
    cells = [make_cell({}, k, rng, p=0.06 if k <= 4 else 0.5, found=k <= 2) for k in range(1, 21)]
    claims = claims_table(method_table(cells), []).set_index("method")
    row = claims.loc["occlusion"]
    assert (row["n"], row["n_permuted"], row["n_shuffled"], row["n_claims"]) == (20, 0, 4, 2)
    # Clopper and Pearson, from the beta distribution.
    assert row["shuffled_low"] == pytest.approx(stats.beta.ppf(0.025, 4, 17))
    assert row["shuffled_high"] == pytest.approx(stats.beta.ppf(0.975, 5, 16))
    assert (row["permuted_low"], row["permuted_high"]) == pytest.approx((0, stats.beta.ppf(0.975, 1, 20)))
    assert row["p_shuffled"] == pytest.approx(stats.binomtest(4, 20, 0.05, alternative="greater").pvalue)
    assert claims.loc["any method", "n_claims"] == 2 and np.isnan(claims.loc["any method", "n_shuffled"])


def test_a_region_that_always_stands_first_is_told_from_those_that_change(rng):
    cells = []
    for k in range(20):
        density = {name: float(value) for name, value in zip(REGIONS, rng.random(len(REGIONS)), strict=True)}
        cells.append(make_cell({}, k, rng, density=density | {"Cuneus_L": 2.0}))
    table = false_regions(cells, top=2)
    first = table[table["method"] == "occlusion"].iloc[0]
    assert (first["region"], first["n_top"], first["expected"]) == ("Cuneus_L", 20, 20 * 2 / len(REGIONS))
    assert first["p"] == pytest.approx((2 / len(REGIONS)) ** 20)
    assert (table["p_holm"] < 0.05).sum() == len(METHODS)


def test_regions_without_relevance_are_among_the_first_of_nothing(rng):
    cells = [make_cell({}, k, rng, density=dict.fromkeys(REGIONS, 0.0) | {REGIONS[k]: 1.0}) for k in range(1, 6)]
    counts = false_regions(cells, top=3).groupby("region")["n_top"].max()
    assert (counts[REGIONS[1:6]] == 1).all() and counts.sum() == 5
    assert (false_regions(cells, top=99)["p"] == 1).all()


def test_maps_of_a_confound_are_held_against_those_without(rng):
    same = {name: float(k) for k, name in enumerate(REGIONS)}
    other = {name: -float(k) for k, name in enumerate(REGIONS)}
    cells = [
        make_cell({"simulation.confounds": name}, 1, rng, density=density)
        for name, density in (("none", same), ("age", same), ("noise", other))
    ]
    table = confound_table(cells, method_table(cells), ["confounds"], same_scans=True).set_index(
        ["confounds", "method"]
    )
    assert table.loc[("age", "occlusion"), "like_first"] == pytest.approx(1)
    assert table.loc[("noise", "occlusion"), "like_first"] == pytest.approx(-1)
    assert table.loc[("age", "occlusion"), "first_regions"] == ", ".join(REGIONS[:-4:-1])


SETTINGS = {
    "refused": [{"registration.transform": "affine", "reason": "no"}],
    "repeated": ["seed"],
    "same_scans": True,
    "classes": CLASSES,
    "top": 3,
    "shown": {"axis": "coronal", "slices_mm": [-20], "dpi": 60},
    "simulated": True,
    "atlas": "AAL",
}


def report(cells, folder, **changes):
    out = {name: folder / f"{name}.tsv" for name in ("cells", "methods", "regions")}
    out |= {"table": folder / "table", "figure": folder / "figure"}
    asked = {"question": "choices", "choices": list(cells[0]["choices"])}
    report_comparison(cells, None, out, SETTINGS | asked | changes)
    return pd.read_csv(folder / "table.tsv", sep="\t"), (folder / "table.md").read_text()


def test_the_config_says_which_choice_comes_first(cells, tmp_path):
    """JSON has them by name."""
    table, _ = report(cells, tmp_path, choices=["training.network", "registration.transform"])
    assert list(table.columns[:2]) == ["network", "transform"]


def test_a_method_that_some_combinations_lack_is_a_dash_in_these(cells, tmp_path):
    for cell in cells[:2]:
        del cell["methods"]["grad_cam"]
        cell["truth"] = [row for row in cell["truth"] if row["method"] != "grad_cam"]
    table, text = report(cells, tmp_path)
    assert np.isnan(table.loc[0, "grad_cam_region_auprc"]) and table.loc[1, "grad_cam_region_auprc"] == 0.6
    assert next(line for line in text.splitlines() if line.startswith("| affine")).split("|")[-2].strip() == "–"


def test_where_no_region_counts_as_diseased_there_are_dashes(cells, tmp_path):
    for cell in cells:
        for row in cell["truth"]:
            row |= dict.fromkeys(("region_auprc", "region_chance", "null_95", "p_shuffled", "shuffled_auprc"), np.nan)
    _, text = report(cells, tmp_path)
    assert "nan" not in text


@pytest.mark.parametrize("question", ["choices", "null", "confounds"])
def test_each_question_has_its_table_and_figure(question, cells, rng, tmp_path):
    t1, _ = template_on(6)
    nib.save(t1, tmp_path / "t1.nii.gz")
    if question == "null":
        cells = [make_cell({}, k, rng) for k in range(1, 6)]
    if question == "confounds":
        cells = cells[::2]
    for cell in cells:
        cell["folder"] = str(tmp_path / cell["cell"])
        for method in METHODS:
            place = Path(cell["folder"], "heatmaps", method, "maps")
            place.mkdir(parents=True, exist_ok=True)
            data = rng.random(t1.shape).astype(np.float32)
            nib.save(nib.Nifti1Image(data, t1.affine), place / "mean_AD_scaled.nii.gz")
    out = {name: tmp_path / f"{name}.tsv" for name in ("cells", "methods", "regions")}
    out |= {"table": tmp_path / "tables" / question, "figure": tmp_path / "figures" / question}
    choices = list(cells[0]["choices"])
    report_comparison(cells, tmp_path / "t1.nii.gz", out, SETTINGS | {"question": question, "choices": choices})
    assert out["regions"].exists() == (question == "null")
    assert len(pd.read_csv(out["cells"], sep="\t")) == len(cells)
    assert len(pd.read_csv(out["methods"], sep="\t")) == len(cells) * len(METHODS)
    caption = json.loads(Path(f"{out['figure']}.json").read_text())["caption"]
    assert "95 %" in caption and "20 subjects" in caption if question != "confounds" else "AUC" in caption
    text = Path(f"{out['table']}.md").read_text()
    assert "imulated data" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + {"choices": 4, "null": 3, "confounds": 8}[question]
    assert "simulated data" in Path(f"{out['figure']}.svg").read_text()
