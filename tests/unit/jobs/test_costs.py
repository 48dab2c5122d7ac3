"""What registrations cost, and how many of them make one submission to a cluster."""

import re

import pytest
import yaml

from helpers.demo_studies import DEMO, with_others
from helpers.paths import PROFILE, ROOT
from helpers.workflow import plan
from voxelwhy.jobs import costs
from voxelwhy.jobs.costs import GROUP_SIZES, START_UP_SECONDS, registration_seconds, registrations_per_job
from voxelwhy.registry import NETWORKS

COMPARISON = yaml.safe_load((ROOT / "config" / "choices.yaml").read_text())


def registration(transform="syn_quick", resolution_mm=1, n4=False, **more):
    return {"transform": transform, "resolution_mm": resolution_mm, "n4": n4} | more


@pytest.mark.parametrize(("resolution", "seconds"), [(1, 200), (2, 11), (3, 3), (4, 1)])
def test_measured_resolutions_cost_what_was_measured(resolution, seconds):
    assert registration_seconds(registration(resolution_mm=resolution)) == pytest.approx(START_UP_SECONDS + seconds)


def test_between_and_beyond_the_measured_resolutions_it_follows_a_power_law():
    at = {mm: registration_seconds(registration(resolution_mm=mm)) - START_UP_SECONDS for mm in (0.5, 1.5, 2.5, 6)}
    # Half the voxel again, 200 / 11 times the seconds again.
    assert at[0.5] == pytest.approx(200 * 200 / 11)
    assert at[1.5] == pytest.approx(36.6, abs=0.1)
    assert at[2.5] == pytest.approx(5.4, abs=0.1)
    assert 0 < at[6] < 1


def test_what_comes_before_the_registration_counts():
    plain = registration_seconds(registration("affine"))
    assert registration_seconds(registration("none")) < plain == registration_seconds(registration("rigid", 4))
    assert registration_seconds(registration("affine", n4=True)) == plain + 16
    assert registration_seconds(registration("affine", extract="hd-bet -i {scan} -o {brain}")) == plain + 300


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        (registration(), 8),
        (registration(n4=True), 8),
        (registration(resolution_mm=0.5), 1),
        (registration(resolution_mm=2), 50),
        (registration(resolution_mm=3), 100),
        (registration("affine", 4), 100),
        (registration("none"), 200),
        (registration("affine", extract="hd-bet -i {scan} -o {brain}"), 5),
    ],
)
def test_a_submission_is_about_half_an_hour(settings, size):
    assert registrations_per_job(settings) == size
    assert size * registration_seconds(settings) <= 1800 or size == 1


def test_the_cluster_profile_has_each_size_of_group():
    components = yaml.safe_load(PROFILE.read_text())["group-components"]
    sizes = {name: size for name, size in components.items() if name.startswith("register_")}
    assert sizes == {f"register_{size}": size for size in GROUP_SIZES if size > 1}


SIMULATED = (PROFILE.parents[3] / "docs" / "workflow" / "embedded_cohort.md").read_text()
MEGAVOXELS = 193 * 229 * 193 / 1e6  # the paper's grid


def test_requests_lie_above_what_was_measured():
    """The figures are those of docs/running/cost.md, at 1 mm with batches of 5; MB."""
    page = (PROFILE.parents[3] / "docs" / "running" / "cost.md").read_text()
    peak = {what: 1000 * float(gb) for what, gb in re.findall(r"^\| (.*) \| ([\d.]+) \|$", page, re.M)}
    assert peak["a registration"] < costs.registration_mb(registration(), MEGAVOXELS) < 2 * peak["a registration"]
    training = peak["a training, batches of 5"]
    assert training < costs.training_mb("rieke2018", 5, MEGAVOXELS) < 2 * training
    maps = [mb for what, mb in peak.items() if what.startswith("maps by ")]
    assert len(maps) == 5
    assert max(maps) < costs.heatmap_mb("rieke2018", MEGAVOXELS) < 3 * max(maps)


def simulation(subjects, resolution_mm, working_mm):
    groups = {"CN": subjects, "Dementia": 0, "MCI": 0, "converter": 0}
    return {
        "subjects": groups,
        "visits": [["Screening"]],
        "resolution_mm": resolution_mm,
        "working_mm": working_mm,
    }


@pytest.mark.parametrize("row", re.findall(r"^\| (\d+) \| (\d) \| (\d) \| (\d+) \| (\d+) \|$", SIMULATED, re.M))
def test_a_simulation_asks_for_more_than_was_measured_and_grows_with_its_scans(row):
    """The figures are those of docs/workflow/embedded_cohort.md."""
    *size, seconds, mb = map(int, row)
    assert seconds < costs.simulation_seconds(simulation(*size)) < 5 * seconds
    assert mb < costs.simulation_mb(simulation(*size)) < 4 * mb
    few, many, more = (costs.simulation_seconds(simulation(n, *size[1:])) for n in (100, 200, 400))
    assert more - many == pytest.approx(2 * (many - few))


def test_all_visits_of_a_simulation_count():
    once, twice = (
        costs.simulation_seconds(simulation(10, 3, 2) | {"visits": visits})
        for visits in ([["Screening"]], [["Screening"], ["Screening", "Month 12"]])
    )
    assert twice - once == pytest.approx(5 / 10 * (once - costs.PLANNING_SECONDS))


@pytest.mark.parametrize(
    ("network", "seconds", "peak"), [("sfcn", 9.04, 3418), ("resnet18", 2.95, 2355), ("densenet121", 8.43, 3478)]
)
def test_wide_networks_ask_for_more_than_a_training_step_took(network, seconds, peak):
    """Measured in float32 on 98 x 120 x 100, batches of 5: seconds of a step, MB of the whole process."""
    megavoxels = 98 * 120 * 100 / 1e6
    assert peak < costs.training_mb(network, 5, megavoxels) < 2.5 * peak
    assert seconds < 5 * costs.step_seconds(network, megavoxels) < 2.5 * seconds


@pytest.mark.parametrize(("n_scans", "seconds", "peak"), [(100, 6.4, 504), (1000, 52.9, 399)])
def test_a_voxelwise_baseline_asks_for_more_than_was_measured(n_scans, seconds, peak):
    """97 x 115 x 97 voxels, five folds, eight draws: processor seconds, MB of the whole process."""
    megavoxels = 97 * 115 * 97 / 1e6
    assert seconds < costs.voxelwise_seconds(n_scans, 1, 45, megavoxels) < 5 * seconds
    asked = costs.BASE_MB + costs.MAP_MB * megavoxels + costs.voxelwise_mb(n_scans, 1)
    assert peak < asked < 4 * peak


def test_every_network_has_its_figures():
    assert set(costs.PASS_SECONDS) == set(costs.ACTIVATIONS_MB) == set(NETWORKS)


def test_requests_grow_with_the_grid_and_the_batch():
    assert costs.training_mb("rieke2018", 10, 1) > costs.training_mb("rieke2018", 5, 1)
    for request in (
        lambda voxels: costs.training_mb("rieke2018", 5, voxels),
        lambda voxels: costs.heatmap_mb("small", voxels),
        lambda voxels: costs.registration_mb(registration(), voxels),
        lambda voxels: costs.step_seconds("korolev2017", voxels),
        lambda voxels: costs.heatmap_seconds("occlusion", {}, "mynet:build", voxels),
    ):
        assert request(1) < request(2) < request(8)


@pytest.mark.parametrize(
    ("n_scans", "seconds", "parts"),
    [(0, 3, 1), (1, 3, 1), (500, 3, 1), (501, 3, 2), (969, 1.2, 2), (600, 30, 10), (601, 30, 11), (5, 5000, 14)],
)
def test_a_part_takes_half_an_hour_and_no_more_than_500_scans(n_scans, seconds, parts):
    assert costs.n_parts(n_scans, seconds) == parts


@pytest.mark.parametrize(
    ("draws", "seconds", "parts"),
    [(0, 100, 0), (1, 100, 1), (2, 1, 2), (19, 1, 2), (19, 1800, 2), (19, 3600, 4), (19, 36_000, 19)],
)
def test_draws_of_shuffled_diagnoses_share_jobs_of_six_hours_and_two_cores(draws, seconds, parts):
    assert costs.shuffled_parts(draws, seconds) == parts
    assert draws == 0 or parts == draws or draws / parts * seconds <= 6 * 3600 or parts == 2


def test_steps_of_a_method_count():
    one = costs.heatmap_seconds("integrated_gradients", {"n_steps": 1}, "small", 1)
    many = costs.heatmap_seconds("integrated_gradients", {"n_steps": 64}, "small", 1)
    assert many == costs.heatmap_seconds("integrated_gradients", {}, "small", 1)
    assert (many - costs.MAP_SECONDS) == pytest.approx(64 * (one - costs.MAP_SECONDS))


def test_every_rule_asks_for_memory_and_time_by_what_was_measured(tmp_path):
    """Functions of grid, scans and attempt, and no number typed in; and each has what every rule has."""
    (tmp_path / "weights.pt").touch()
    weights = {
        "model": {"weights": "weights.pt", "normalisation": "theirs", "trained_on": "theirs"},
        "splits": [{"name": "theirs", "kind": "holdout", "test_subjects": 4}],
        "training": {"network": "small"},
        "trust": {"seeds": 0},  # they cannot be trained again
    }
    rules = {}
    for config in (DEMO, with_others(tmp_path, **weights), COMPARISON):
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(config | {"study": "any"}))
        rules |= plan(tmp_path, "--configfile", "study.yaml").rules
    scripts = {name: rule for name, rule in rules.items() if rule["script"]}
    assert len(scripts) >= 48 and set(rules) - set(scripts) == {"all", "numbers"}
    for name, rule in scripts.items():
        asked = {resource: rule["resources"].get(resource, "nothing") for resource in ("mem_mb", "runtime")}
        assert asked == {"mem_mb": None, "runtime": None}, name
        assert rule["params"] == ["code", "settings"], name
        assert rule["environment"].endswith("envs/voxelwhy.yaml"), name
        (log,) = rule["log"]
        assert log.startswith(f"results/any/logs/{name}") and log.endswith(".log"), name
        assert rule["benchmark"].startswith(f"results/any/benchmarks/{name}") and rule["benchmark"].endswith(".tsv"), (
            name
        )


def test_finer_windows_and_extractions_cost_more():
    wide, fine = (costs.heatmap_seconds("occlusion", {"stride_mm": mm}, "rieke2018", 8.5) for mm in (20, 5))
    assert 5 * wide < fine < 20 * wide
    assert costs.heatmap_seconds("occlusion", {"stride_mm": 27}, "rieke2018", 8.5) == wide
    plain = costs.registration_mb(registration(), 1)
    assert costs.registration_mb(registration(extract="hd-bet -i {scan} -o {brain}"), 1) == plain + costs.EXTRACTION_MB


@pytest.mark.parametrize(
    ("network", "megavoxels", "seconds"),
    [
        ("sfcn", 1.176, 21.4),
        ("sfcn", 0.147, 6.0),
        ("resnet18", 1.176, 77.9),
        ("resnet18", 0.147, 11.0),
        ("densenet121", 1.176, 128.8),
        ("densenet121", 0.147, 18.5),
    ],
)
def test_occlusion_of_deep_networks_costs_what_was_measured(network, megavoxels, seconds):
    """98 x 120 x 100 voxels of 2 mm and 49 x 60 x 50 of 3 mm, cubes of 40 mm in steps of 20 mm; processor seconds."""
    assert 0.9 * seconds < costs.heatmap_seconds("occlusion", {}, network, megavoxels) < 2.5 * seconds
    finer = costs.heatmap_seconds("occlusion", {"stride_mm": 10}, network, megavoxels)
    assert finer == pytest.approx(8 * costs.heatmap_seconds("occlusion", {}, network, megavoxels), rel=0.01, abs=1)
