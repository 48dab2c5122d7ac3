"""What all rules share: where logs and benchmarks lie, and the profiles of nested studies."""

import pytest

from voxelwhy.jobs.rules import named_profiles, wildcards_of


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("results/here/report.html", []),
        ("splits/{split}/fold-{fold}/model.pt", ["split", "fold"]),
        (r"splits/{split,kfold|paper}/{part,\d{1,2}-of-\d+}/{split}", ["split", "part"]),
    ],
)
def test_wildcards_of_a_pattern(pattern, names):
    assert wildcards_of(pattern) == names


@pytest.mark.parametrize(
    ("words", "profiles"),
    [
        (["snakemake", "--cores", "2"], []),
        (["snakemake", "--profile", "a", "--profile=b/c"], ["a", "b/c"]),
        (["snakemake", "--profile", "a", "--configfile", "x.yaml", "--profile", "b"], ["a", "b"]),
    ],
)
def test_profiles_of_a_command_line(words, profiles):
    assert named_profiles(words) == profiles
