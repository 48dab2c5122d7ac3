"""Subtypes, asymmetry and contrast of the simulated disease, and what the truth says of them."""

from __future__ import annotations

import dataclasses
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

from helpers.paths import ROOT
from helpers.simulation_settings import SETTINGS, settings
from voxelwhy.cohort.simulation import anatomy, atrophy, cohort, deform, plan, scans
from voxelwhy.cohort.simulation.constants import ASYMMETRY, REGIONS, SEVERITY, SUBTYPES
from voxelwhy.report.methods_text import methods_text

ONE_FIELD = {"typical": {"share": 1, "limbic": 1, "cortical": 1}}
PATIENTS = settings(subjects={"Dementia": 56, "CN": 56}, visits=[["Screening"]], missing_files=[], truncated_files=[])


@pytest.fixture(scope="module")
def world():
    """The default disease on a coarse grid."""
    return scans.make_world(settings(regions=REGIONS))


@pytest.fixture(scope="module")
def coarse():
    """The disease of the test settings, whose regions belong to no system."""
    return scans.make_world(SETTINGS)


def test_systems_and_sides_of_the_default_disease(world):
    wanted = world.disease.wanted
    for name, region in REGIONS.items():
        left, right = (np.log1p(wanted[f"{name}_{side}"]) for side in ("left", "right"))
        assert (left + right) / 2 == pytest.approx(np.log1p(region["change"]))
        assert (left - right) / (left + right) == pytest.approx(ASYMMETRY)
    np.testing.assert_allclose(list(world.disease.achieved.values()), list(wanted.values()), atol=0.002)
    np.testing.assert_allclose(sum(world.disease.parts.values()), world.disease.velocity, atol=1e-5)
    assert set(world.disease.parts) == set(scans.SYSTEMS) == {region["system"] for region in REGIONS.values()}


def test_asymmetry_and_growth_are_those_of_their_sources():
    left, right = np.log1p(-0.242), np.log1p(-0.231)
    assert pytest.approx((left - right) / (left + right), abs=0.001) == ASYMMETRY
    per_year = (np.log1p(-0.0466) - np.log1p(-0.0141)) / np.log1p(REGIONS["hippocampus"]["change"])
    assert SEVERITY["per_year"] == pytest.approx(per_year, abs=0.001)
    assert [subtype["share"] for subtype in SUBTYPES.values()] == [round(n / 889, 2) for n in (665, 127, 97)]


def test_the_page_shows_the_defaults():
    page = (ROOT / "docs" / "workflow" / "embedded_cohort.md").read_text(encoding="utf-8")
    shown = next(block for block in re.findall(r"```yaml\n(.*?)```", page, re.S) if "subtypes" in block)
    assert yaml.safe_load(shown)["simulation"] == {"subtypes": SUBTYPES, "asymmetry": ASYMMETRY, "contrast": 0}


def test_a_subtype_loses_its_multiple_in_each_system(world):
    """Measured from the flow of each subtype, in regions that a single system surrounds."""
    maps = anatomy.region_maps(
        world.brain, {name: REGIONS[name]["labels"] for name in ("hippocampus", "middle_temporal")}
    )
    losses = {}
    for subtype, flow in world.flows.items():
        jacobian = deform.flow_jacobian(flow, world.brain.grid, world.brain.grid, world.brain.inside)
        losses[subtype] = [
            atrophy.log_volume(jacobian, maps[f"{name}_left"]) for name in ("hippocampus", "middle_temporal")
        ]
    for subtype, multiples in SUBTYPES.items():
        found = np.divide(losses[subtype], losses["typical"])
        np.testing.assert_allclose(found, [multiples["limbic"], multiples["cortical"]], atol=0.05)


def test_shares_are_met_by_as_few_as_the_demo_has_and_each_subtype_has_mild_and_severe_patients():
    rows = plan.plan_cohort(PATIENTS, 2018)
    patients, controls = (rows[rows["DX"] == dx].reset_index(drop=True) for dx in ("Dementia", "CN"))
    counts = patients["subtype"].value_counts()
    for name, subtype in SUBTYPES.items():
        assert counts[name] == pytest.approx(56 * subtype["share"], abs=1.5)
        own = patients.loc[patients["subtype"] == name, "draw"]
        assert own.min() < 0.8 and own.max() > 1.2
    assert patients["subtype"].tolist() == controls["subtype"].tolist(), "no draw depends on the diagnosis"
    tenfold = {name: subtype | {"share": subtype["share"] / 10} for name, subtype in SUBTYPES.items()}
    assert plan.plan_cohort(PATIENTS | {"subtypes": tenfold}, 2018)["subtype"].tolist() == rows["subtype"].tolist()


def test_one_field_times_a_severity_is_a_choice():
    chosen = settings(subtypes=ONE_FIELD, asymmetry=0)
    world = scans.make_world(chosen)
    assert world.flows["typical"] is world.disease.velocity
    assert scans.mean_jacobian(world, world.disease) is world.disease.jacobian
    for name, region in chosen["regions"].items():
        assert (
            world.disease.wanted[f"{name}_left"]
            == world.disease.wanted[f"{name}_right"]
            == pytest.approx(region["change"])
        )


def test_a_region_without_a_system_follows_severity_alone(coarse):
    assert all(flow is coarse.disease.velocity for flow in coarse.flows.values())


def test_the_truth_is_the_mean_over_the_subtypes(world, tmp_path):
    cohort.write_truth(world, tmp_path)
    planted = nib.load(tmp_path / "log_jacobian.nii.gz").get_fdata()
    crop = tuple(slice(a, a + n) for a, n in zip(world.brain.offset, world.brain.grid.shape, strict=True))
    mean = 0
    for name, subtype in SUBTYPES.items():
        flow, grid = world.flows[name], world.brain.grid
        mean = mean + subtype["share"] * np.log(deform.flow_jacobian(flow, grid, grid, world.brain.inside))
    assert np.abs(mean).max() > 0.3
    np.testing.assert_allclose(planted[crop], mean, atol=0.03)
    regions = pd.read_csv(tmp_path / "regions.tsv", sep="\t").set_index("region")
    assert regions.loc["hippocampus_left", "wanted"] == pytest.approx(world.disease.wanted["hippocampus_left"])


def test_the_manifest_names_the_subtype_of_whoever_has_the_disease(tmp_path, coarse, monkeypatch):
    monkeypatch.setattr(cohort, "make_world", lambda chosen: coarse)
    paths = [tmp_path / name for name in ("scans", "table.csv", "manifest.tsv", "confounds.tsv", "truth")]
    cohort.simulate_cohort(SETTINGS, 7, *paths)
    manifest = pd.read_csv(tmp_path / "manifest.tsv", sep="\t", keep_default_na=False)
    assert ((manifest["subtype"] == "") == (manifest["severity"] == 0)).all() and (manifest["DX"] == "CN").any()
    assert set(manifest["subtype"]) <= {"", *SUBTYPES}


def test_the_methods_name_subtypes_and_a_change_of_contrast():
    counts = {"simulated": True, "n_subjects": 4, "n_scans": 4}
    plain, changed, one = (
        methods_text({"simulation": settings(**own)}, **counts)[0]
        for own in ({}, {"contrast": -0.1, "effect": 2}, {"subtypes": ONE_FIELD})
    )
    assert (
        "no image intensity was reduced. The disease had 3 subtypes (typical 75 %, limbic 14 % and cortical 11 %)."
        in plain
    )
    assert "the contrast between grey and white matter changed by -20 % at severity 1." in changed
    assert "intensity was reduced" not in changed and "subtypes" not in one


@pytest.mark.parametrize("change", [-0.2, 0.1])
def test_contrast_changes_grey_matter_of_patients_by_the_share_and_nothing_of_controls(coarse, change):
    clean = {"white_matter": 10000, "gain_spread": 0.0, "bias_rms": 0.0, "noise": 0.0}
    plain, changed = (
        dataclasses.replace(coarse, settings=settings(intensity=clean, contrast=own)) for own in (0, change)
    )
    rows = {row["DX"]: row for row in plan.plan_cohort(SETTINGS, 7).to_dict("records")}
    assert (scans.render_scan(plain, 7, rows["CN"]) == scans.render_scan(changed, 7, rows["CN"])).all()
    before, after = (scans.render_scan(one, 7, rows["Dementia"]).astype(float) for one in (plain, changed))
    near, points = scans.template_points(plain, 7, rows["Dementia"])
    share = np.zeros(near.shape)
    share[near] = deform.sample(plain.brain.grey, plain.brain.fine, points, mode="constant") / 255
    grey, white = (share > 0.99) & (before > 0), (share < 0.01) & (before > 9500)
    distance = 10000 - before[grey].mean()
    severity = plan.severity_of(SETTINGS, rows["Dementia"])
    assert (10000 - after[grey].mean()) / distance == pytest.approx(1 + change * severity, abs=0.02)
    assert after[white].mean() == pytest.approx(before[white].mean(), abs=5)
    # Half of it with half an effect, and nothing in a null cohort.
    for effect in (0.5, 0):
        weaker = dataclasses.replace(plain, settings=settings(intensity=clean, contrast=change, effect=effect))
        moved = (scans.render_scan(weaker, 7, rows["Dementia"]) - before)[grey].mean()
        assert moved == pytest.approx(effect * (after - before)[grey].mean(), abs=1)
