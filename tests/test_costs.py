"""What registrations cost, and how many of them make one submission to a cluster."""

from pathlib import Path

import pytest
import yaml

from voxelwhy.costs import GROUP_SIZES, START_UP_SECONDS, registration_seconds, registrations_per_job

PROFILE = Path(__file__).resolve().parents[1] / "workflow" / "profiles" / "slurm" / "config.yaml"


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
