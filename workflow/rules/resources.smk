"""
What jobs ask a scheduler for: memory, time, and how the heatmaps of a split are cut into parts. Functions only, no rules.

The figures behind it are measured (voxelwhy/jobs/costs.py, docs/running/cost.md). Each grows with the study's grid,
with the number of scans where a job holds something of each, and with the attempt: a job that was killed for memory or time asks for more.
"""

import math

from voxelwhy.jobs import costs
from voxelwhy.io.images import Grid

GRID = Grid.named(config["registration"]["grid"], config["registration"]["resolution_mm"])
MEGAVOXELS = math.prod(GRID.shape) / 1e6
# Minutes of a small job: what it takes is seconds, a slow file system can stretch that, and a group adds them up.
SHORT_MINUTES = 5
# The most that a holdout is taken to test: more parts than needed do no harm.
HOLDOUT_SHARE = 1 / 3
# Scans that a subject has at most, as a rule.
VISITS = 4


def n_scans():
    """Scans of the cohort; 0 before the table is read."""
    path = study("cohort/scans.tsv")
    return len(scan_table(path, os.stat(path).st_mtime_ns)) if os.path.exists(path) else 0


def n_tested(split):
    """Scans of the cohort that a split tests: this study's, or another one's."""
    if split not in EXTERNAL:
        return n_scans()
    path = cohort_table(SPLITS[split]["cohort"])
    return len(scan_table(path, os.stat(path).st_mtime_ns)) if path else 0


def n_known(wildcards):
    """Scans that a job has a row of."""
    cohorts = [split for split in EXTERNAL if getattr(wildcards, "cohort", None) == SPLITS[split]["cohort"]]
    cohorts += [wildcards.split] if "split" in wildcards.keys() else []
    return max([n_scans(), *map(n_tested, cohorts)])


def n_at_most(scans):
    """Of so many scans those that are explained at most."""
    most = config["heatmaps"].get("most_subjects")
    return scans if most is None else min(scans, 2 * most * VISITS)


def n_explained(split):
    """About how many maps a split has of each method."""
    if split in EXTERNAL:
        return n_at_most(n_tested(split)) * len(folds_of(split))
    return math.ceil(n_at_most(n_scans()) * (1 if SPLITS[split]["kind"] in ("kfold", "all_scans") else HOLDOUT_SHARE))


def table_mem_mb(wildcards, attempt):
    """Memory of a job that works on tables."""
    return math.ceil((costs.BASE_MB + costs.SCAN_MB * n_known(wildcards)) * attempt)


def short_runtime(wildcards, attempt):
    """Minutes of a job that takes seconds for a small cohort."""
    return (SHORT_MINUTES + math.ceil(n_known(wildcards) * costs.TABLE_SECONDS / 60)) * attempt


def grid_mem_mb(wildcards, attempt):
    """Memory of a job that works on a few volumes and knows no scan."""
    return math.ceil((costs.BASE_MB + costs.MAP_MB * MEGAVOXELS) * attempt)


def grid_runtime(wildcards, attempt):
    """Minutes of such a job."""
    return SHORT_MINUTES * attempt


def cell_runtime(wildcards, attempt):
    """Minutes of a whole study, which runs where the comparison does: no limit of a scheduler."""
    return 60 * 24 * 7


def reading_runtime(wildcards, attempt):
    """Minutes of the reading of a cohort, whose size it is to find out."""
    return 60 * attempt


def simulation_mem_mb(wildcards, attempt):
    return math.ceil(costs.simulation_mb(config["simulation"]) * attempt)


def simulation_runtime(wildcards, attempt):
    return math.ceil(SHORT_MINUTES + 3 * costs.simulation_seconds(config["simulation"]) / 60) * attempt


def map_mem_mb(wildcards, attempt):
    """Memory of a job that works on a few volumes, and on tables."""
    return math.ceil((costs.BASE_MB + costs.MAP_MB * MEGAVOXELS + costs.SCAN_MB * n_known(wildcards)) * attempt)


def registration_mem_mb(wildcards, attempt):
    return math.ceil(costs.registration_mb(REGISTRATION, MEGAVOXELS) * attempt)


def registration_runtime(wildcards, attempt):
    """Twice what it takes, at least two minutes; a group of registrations adds them up."""
    return max(2, math.ceil(2 * costs.registration_seconds(REGISTRATION) / 60)) * attempt


def batch_runtime(wildcards, attempt):
    """Minutes of a batch. A second attempt needs no more: it goes on where the first one ended."""
    scans = batches()[int(wildcards.batch)]
    return SHORT_MINUTES + math.ceil(2 * costs.registration_seconds(REGISTRATION) * len(scans) / 60)


def network_mem_mb(wildcards, attempt):
    """Memory of a training, by the voxels of the grid and the batch."""
    training = config["training"]
    return math.ceil(costs.training_mb(training["network"], training["batch_size"], MEGAVOXELS) * attempt)


def training_runtime(wildcards, attempt):
    """Twice what the epochs take on one processor core, and an hour. A second attempt goes on where the first ended."""
    training = config["training"]
    seconds = costs.step_seconds(training["network"], MEGAVOXELS) * n_scans() * training["epochs"]
    return math.ceil(60 + 2 * seconds / 60)


def shuffled_mem_mb(wildcards, attempt):
    """Memory of a job that first trains and then explains."""
    return max(network_mem_mb(wildcards, attempt), heatmap_mem_mb(wildcards, attempt))


def shuffled_runtime(wildcards, attempt):
    """As for all folds of a training and the heatmaps of a split. A second attempt trains on where the first ended."""
    seconds = sum(map(heatmap_seconds, METHODS_USED)) * n_explained(wildcards.split)
    return len(folds_of(wildcards.split)) * training_runtime(wildcards, attempt) + math.ceil(2 * seconds / 60) * attempt


def predicting_runtime(wildcards, attempt):
    """As for one epoch: each scan is predicted once."""
    seconds = costs.step_seconds(config["training"]["network"], MEGAVOXELS) * n_tested(wildcards.split)
    return math.ceil(60 + 2 * seconds / 60) * attempt


def heatmap_seconds(method):
    """About how long one core takes for the map of one scan."""
    options = config["heatmaps"]["methods"][method] or {}
    return costs.heatmap_seconds(method, options, config["training"]["network"], MEGAVOXELS)


def n_parts(wildcards):
    """Into how many parts the heatmaps of a split by a method are cut."""
    scan_paths()  # known once the table is read
    return costs.n_parts(n_explained(wildcards.split), heatmap_seconds(wildcards.method))


def heatmap_parts(wildcards):
    total = n_parts(wildcards)
    folder = f"splits/{wildcards.split}/heatmaps/{wildcards.method}/parts"
    return [study(f"{folder}/{number}-of-{total}") for number in range(1, total + 1)]


def heatmap_mem_mb(wildcards, attempt):
    training = config["training"]
    return math.ceil(costs.heatmap_mb(training["network"], MEGAVOXELS) * attempt)


def heatmap_runtime(wildcards, attempt):
    return math.ceil(costs.PART_MINUTES * 3) * attempt
