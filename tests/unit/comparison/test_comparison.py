"""Comparisons: which studies they are made of, and the tables and figures of the report."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

from helpers.comparison_cells import CLASSES, METHODS, four_combinations, make_cell, with_audit
from helpers.paths import ROOT, SCHEMA
from helpers.templates import template_on
from voxelwhy.cohort.simulation.constants import load_study
from voxelwhy.comparison.combinations import make_cells, short_names
from voxelwhy.comparison.report import report_comparison
from voxelwhy.errors import ConfigError


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


@pytest.mark.parametrize("name", ["choices", "null", "confounds", "sizes", "signals"])
def test_the_comparisons_that_come_along_can_be_had(name):
    given = yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text())
    cells, refused = make_cells(given, load)
    expected = {"choices": (7 * 2 * 2, 4), "null": (7, 0), "confounds": (30, 0), "sizes": (20, 0), "signals": (30, 0)}
    assert (len(cells), len(refused)) == expected[name]
    assert len({cell.name for cell in cells}) == len(cells)
    for cell in cells:
        settings = load(cell.config)
        assert settings["evaluation"]["shuffled"] == 19 and settings["registration"]["batch"] == 40


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
        ({"compare": {"question": "sizes", "choices": {"simulation.subjects": [40]}}}, "many cohorts of each number"),
        ({"compare": {"question": "signals", "choices": {"simulation.subjects": [40]}}}, "many cohorts for each str"),
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


@pytest.fixture
def cells(rng):
    return four_combinations(rng, draws=np.linspace(0.3, 0.5, 19))


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
    out |= {"table": folder / "table", "figure": folder / "figure", "findings": folder / "findings.md"}
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
            names = ("region_auprc", "region_chance", "null_95", "p", "p_family", "shuffled_auprc")
            row |= dict.fromkeys(names, np.nan) | {"draws": [np.nan] * 19}
    _, text = report(cells, tmp_path)
    assert "nan" not in text


def test_a_star_marks_what_the_draws_are_all_below(rng, tmp_path):
    """Each method has 0.6: alone it is above all 19 draws, whose mean is 0.4, and beside one draw of 0.6 it is not."""
    cells = four_combinations(rng, draws=np.linspace(0.3, 0.5, 19))
    for cell in cells[4:]:
        for row in cell["truth"]:
            row["draws"] = [*row["draws"][:-1], 0.6]
    _, text = report(cells, tmp_path)
    stars = [line.count("0.60* (0.60 to 0.60; 0.40)") for line in text.splitlines() if line.startswith("| affine")]
    assert stars == [2, 2]
    assert not any("0.60*" in line for line in text.splitlines() if line.startswith("| syn_quick"))
    assert "needs 19 draws" in text


def test_without_draws_no_verdict_is_shown(rng, tmp_path):
    table, text = report(four_combinations(rng), tmp_path)
    assert "0.60 (0.60 to 0.60)" in text and "0.60*" not in text and "there is no verdict" in text
    assert not table["occlusion_found"].any()
    caption = json.loads((tmp_path / "figure.json").read_text())["caption"]
    assert "there is no verdict" in caption and "bold" not in caption


OVER_COHORTS = {
    "sizes": ("simulation.subjects", ["20", "40"]),
    "signals": ("simulation.signal", ["hippocampus", "insula"]),
}


@pytest.mark.parametrize("audited", [False, True])
@pytest.mark.parametrize("question", ["choices", "null", "confounds", "sizes", "signals"])
def test_each_question_has_its_table_and_figure(question, audited, cells, rng, tmp_path):
    t1, _ = template_on(6)
    nib.save(t1, tmp_path / "t1.nii.gz")
    if question == "null":
        cells = [make_cell({}, k, rng) for k in range(1, 6)]
    if question == "confounds":
        cells = cells[::2]
    if question in OVER_COHORTS:
        setting, values = OVER_COHORTS[question]
        draws = np.linspace(0.3, 0.5, 19)
        cells = [make_cell({setting: value}, k, rng, draws=draws) for value in values for k in (1, 2, 3)]
    if audited:
        cells = [with_audit(cell, ["age"] * (k == 1), regions=k == 0) for k, cell in enumerate(cells)]
    for cell in cells:
        cell["folder"] = str(tmp_path / cell["cell"])
        for method in METHODS:
            place = Path(cell["folder"], "heatmaps", method, "maps")
            place.mkdir(parents=True, exist_ok=True)
            data = rng.random(t1.shape).astype(np.float32)
            nib.save(nib.Nifti1Image(data, t1.affine), place / "mean_AD_scaled.nii.gz")
    out = {name: tmp_path / f"{name}.tsv" for name in ("cells", "methods", "regions")}
    out |= {"table": tmp_path / "tables" / question, "figure": tmp_path / "figures" / question}
    out["findings"] = tmp_path / "findings.md"
    asked = {"question": question, "choices": list(cells[0]["choices"]), "same_scans": question not in OVER_COHORTS}
    report_comparison(cells, tmp_path / "t1.nii.gz", out, SETTINGS | asked)
    sentences = out["findings"].read_text().splitlines()
    assert len(sentences) >= 3 and all(line.startswith("- ") and line.endswith(".") for line in sentences)
    assert "nan" not in out["findings"].read_text()
    assert out["regions"].exists() == (question == "null")
    assert len(pd.read_csv(out["cells"], sep="\t")) == len(cells)
    assert len(pd.read_csv(out["methods"], sep="\t")) == len(cells) * len(METHODS)
    caption = json.loads(Path(f"{out['figure']}.json").read_text())["caption"]
    text = out["table"].with_suffix(".md").read_text() + caption + out["findings"].read_text()
    assert ("audit" in text) == (audited and question in ("null", "confounds")) and "nan" not in text
    if audited and question == "null":
        assert "raises a property in 1 of 5 cohorts, a share of 0.20 (0.01 to 0.72); the nominal rate is 0.05" in text
        assert "By any method, regions are claimed in 1 of 5 cohorts" in text and "audit of shortcuts raises" in caption
    if audited and question == "confounds":
        assert "; the audit of shortcuts raises age (1) in 1 of 1 repeats" in text and "| nothing " in text
        assert "; the audit of shortcuts raises nothing in 1 repeat." in text
    people = {"confounds": "AUC", "sizes": "3 cohorts", "signals": "of 20 healthy"}.get(question, "20 subjects")
    assert people in caption and ("95 %" in caption or question == "confounds")
    text = Path(f"{out['table']}.md").read_text()
    assert "imulated data" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + {"choices": 4, "null": 3 + audited, "confounds": 8, "sizes": 2, "signals": 2}[question]
    assert "simulated data" in Path(f"{out['figure']}.svg").read_text()
