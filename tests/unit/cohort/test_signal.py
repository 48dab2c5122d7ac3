"""Classes by the volume of one structure: measured as by brute force, halved at the median, and nothing planted."""

from __future__ import annotations

import copy
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from helpers.paths import ROOT, SCHEMA
from helpers.simulation_settings import settings
from voxelwhy.cohort.simulation import cohort, plan, scans, signal
from voxelwhy.cohort.simulation.constants import REGIONS, load_study
from voxelwhy.cohort.simulation.deform import exponential_map, grid_points
from voxelwhy.cohort.simulation.variation import ANATOMY_GRID, anatomy_velocity, growth_velocity, random_generator
from voxelwhy.errors import ConfigError

SEED = 3
HEALTHY = {"effect": 0, "visits": [["Screening"]], "missing_files": [], "truncated_files": [], "regions": REGIONS}


def healthy(structure, n=24, **changes):
    return settings(signal=structure, subjects={"CN": n // 2, "Dementia": n // 2}, **HEALTHY | changes)


@pytest.fixture(scope="module")
def worlds():
    return {name: scans.make_world(healthy(name)) for name in ("hippocampus", "ventricles", "precuneus")}


def people(world):
    return plan.plan_cohort(world.settings, SEED).to_dict("records")


def test_the_volume_is_that_of_the_structure_carried_point_by_point(worlds):
    """Brute force: all points of the region and their six neighbours follow both flows; volumes are triple products."""
    world, row = worlds["precuneus"], people(worlds["precuneus"])[5]
    brain, conf = world.brain, world.settings
    anatomy = anatomy_velocity(random_generator(SEED, "anatomy", row["RID"]), conf["anatomy"])
    growth = growth_velocity(brain, world.growth, anatomy, *scans.wanted_volumes(conf, SEED, row))
    region = world.structure["left"] + world.structure["right"]
    points, step = grid_points(brain.grid, region > 0), 0.5 * brain.working_mm

    def carried(start):
        moved = exponential_map(growth, brain.grid, start, steps=8)
        return exponential_map(anatomy, ANATOMY_GRID, moved, steps=8).astype(float)

    edges = []
    for axis in range(3):
        along = np.zeros((3, 1), np.float32)
        along[axis] = step
        edges.append((carried(points + along) - carried(points - along)) / (2 * step))
    volumes = np.einsum("in,in->n", edges[0], np.cross(edges[1], edges[2], axis=0))
    expected = np.log(np.average(volumes, weights=region[region > 0]))
    assert signal.log_volumes(world, SEED, row)["log_volume"] == pytest.approx(expected, abs=0.01)
    assert abs(expected) > 0.02


@pytest.mark.parametrize("name", ["hippocampus", "ventricles"])
def test_volumes_that_the_simulation_sets_are_found_again(worlds, name):
    world = worlds[name]
    rows = people(world)
    found = [signal.log_volumes(world, SEED, row)["log_volume"] for row in rows]
    wanted = [scans.wanted_volumes(world.settings, SEED, row)[1][name] for row in rows]
    assert np.corrcoef(found, wanted)[0, 1] > 0.98
    assert np.abs(np.subtract(found, wanted)).mean() < 0.25 * np.std(wanted)


def test_the_smaller_half_for_their_age_is_small(worlds):
    world = worlds["hippocampus"]
    divided = signal.divide_by_volume(world, SEED, plan.plan_cohort(world.settings, SEED))
    assert divided["DX"].value_counts().to_dict() == {"small": 12, "large": 12}
    fit = stats.linregress(divided["age"], divided["log_volume"])
    beyond = divided["log_volume"] - fit.intercept - fit.slope * divided["age"]
    assert beyond[divided["DX"] == "small"].max() < beyond[divided["DX"] == "large"].min()
    assert (divided["stage"] == 0).all()
    assert [path.rsplit("_", 1)[1] for path in divided["path"]] == [f"{dx}.nii.gz" for dx in divided["DX"]]
    differences = signal.class_differences(divided)
    means = divided.groupby("DX")["log_volume_left"].mean()
    assert differences["left"] == pytest.approx(means["small"] - means["large"])
    assert differences["left"] < -0.05 and differences["right"] < -0.05


def test_a_subject_has_one_class_at_all_visits(worlds):
    world = worlds["hippocampus"]
    often = world.settings | {"visits": [["Screening", "Month 24"], ["Screening", "Screening"]]}
    divided = signal.divide_by_volume(world, SEED, plan.plan_cohort(often, SEED))
    assert len(divided) == 48 and (divided.groupby("RID")["DX"].nunique() == 1).all()


def test_the_scans_are_those_of_a_cohort_without_disease_and_the_truth_is_the_structure(tmp_path):
    """The class follows what a scan shows and changes none of its bytes."""
    chosen = healthy("ventricles", 4)
    paths = [tmp_path / name for name in ("table.csv", "manifest.tsv", "confounds.tsv", "truth")]
    cohort.simulate_cohort(chosen, SEED, tmp_path / "scans", *paths)
    manifest = pd.read_csv(paths[1], sep="\t")
    null = settings(subjects={"CN": 2, "Dementia": 2}, **HEALTHY)
    world, rows = scans.make_world(null), plan.plan_cohort(null, SEED).set_index("RID", drop=False)
    for scan in manifest.itertuples():
        written = (tmp_path / "scans" / scan.path).read_bytes()
        assert written == scans.scan_bytes(world, SEED, rows.loc[scan.RID].to_dict())
    assert (manifest["severity"] == 0).all() and set(manifest["DX"]) == {"small", "large"}
    assert set(pd.read_csv(paths[0])["DX"]) == {"small", "large"}
    by_class = manifest.groupby("DX")["log_volume"].mean()
    truth = nib.load(paths[3] / "log_jacobian.nii.gz").get_fdata()
    assert not (paths[3] / "reference.nii.gz").exists()
    regions = pd.read_csv(paths[3] / "regions.tsv", sep="\t").set_index("region")
    assert list(regions.index) == ["ventricles_left", "ventricles_right"]
    lost = np.log1p(regions["achieved"])
    assert truth.min() == pytest.approx(lost.min(), abs=0.01)
    assert lost.mean() == pytest.approx(by_class["small"] - by_class["large"], abs=0.05)
    # Both ventricles and nothing else.
    volume = -truth.sum() * 4**3
    assert volume == pytest.approx(-(lost * regions["volume_mm3"]).sum(), rel=0.02)
    assert (truth < 0).sum() == (world.brain.ventricles > 0).sum() and not (truth > 0).any()


def load(**changes):
    config = yaml.safe_load((ROOT / "config" / "signals.yaml").read_text())
    config.pop("compare")
    config["simulation"] = config["simulation"] | {"signal": "precuneus"} | changes.pop("simulation", {})
    return load_study(copy.deepcopy(config | changes), SCHEMA)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"simulation": {"signal": "cerebellum"}},
            "names no region .* found: 'cerebellum' allowed: hippocampus, amygdala",
        ),
        ({"simulation": {"effect": 1}}, "found: 'simulation.effect: 1' allowed: simulation.effect: 0"),
        ({"simulation": {"confounds": {"noise": 1}}}, "found: 'simulation.confounds.noise'"),
        (
            {"simulation": {"confounds": {"head_position": {"shift_mm": 2}}}},
            "found: 'simulation.confounds.head_position'",
        ),
        ({"cohort": {}}, "classes small and large .* found: 'positive: Dementia, negative: CN'"),
    ],
)
def test_settings_by_which_the_structure_would_not_define_the_classes_are_refused(changes, words):
    assert load()["simulation"]["signal"] == "precuneus"
    with pytest.raises(ConfigError) as refused:
        load(**changes)
    assert re.search(words, " ".join(str(refused.value).split())), refused.value
