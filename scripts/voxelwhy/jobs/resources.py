"""What jobs request from a scheduler: memory, time, and into how many parts the heatmaps of a split are divided.

The estimates rest on measurements (`jobs.costs`). They grow with the grid of the study, with the number of scans where
a job holds something of each, and with the attempt: a job that was killed for memory or time requests more.
"""

from __future__ import annotations

import math
import os

from voxelwhy.io.images import Grid
from voxelwhy.jobs import costs
from voxelwhy.jobs.named_files import read_paths

#: Networks whose maps a probe compares, at most: the trained one, and those with some of its layers reset.
PROBED_MODELS = 9

#: Processes of the job that plants a loss in controls; and, of each, the seconds to deform a scan of 1 mm, and memory.
PLANTING_PROCESSES, PLANTING_SECONDS, PLANTING_MB = 8, 20, 1500
#: Minutes of a small job: it takes seconds, but a slow file system can stretch them, and a group adds them up.
SHORT_MINUTES = 5
#: The largest share of scans that a holdout is assumed to test: more parts than needed do no harm.
HOLDOUT_SHARE = 1 / 3
#: The largest usual number of scans of a subject.
VISITS = 4
#: Minutes of a whole study, which runs in the process of the comparison: no scheduler limits it.
UNLIMITED_MINUTES = 60 * 24 * 7


class Requests:
    """Memory (MB) and time (minutes) of the jobs of a study, as functions of wildcards and attempt.

    Parameters
    ----------
    study : jobs.study.Study
    """

    def __init__(self, study):
        self.study, self.config = study, study.config
        registration = self.config["registration"]
        # The grid of the scans is known only once they are read; it is hardly larger than the template's.
        grid = "icbm" if registration["grid"] == "scans" else registration["grid"]
        self.megavoxels = math.prod(Grid.named(grid, registration["resolution_mm"]).shape) / 1e6
        self.voxelwise = self.config["evaluation"]["baseline"] == "voxelwise"
        self.n_channels = len(self.config["training"]["channels"])
        # Registrations in one submission to a cluster; workflow/profiles/slurm names these groups.
        self.registration_group = f"register_{costs.registrations_per_job(study.registration)}"
        self.tables = {"mem_mb": self.table_mb, "runtime": self.table_minutes}
        self.volumes = {"mem_mb": self.volume_mb, "runtime": self.short_minutes}
        self.maps = {"mem_mb": self.map_mb, "runtime": self.table_minutes}
        # The comparison with the planted disease explains the patients once more if Grad-CAM is among the methods.
        self.truth = {"mem_mb": self.heatmap_mb, "runtime": self.table_minutes} if study.examines_cam else self.maps
        self.baseline = {"mem_mb": self.baseline_mb, "runtime": self.baseline_minutes}
        self.registration = {"mem_mb": self.registration_mb, "runtime": self.registration_minutes}

    # --- How many scans ---

    def n_scans(self, cohort=None):
        """Scans of the study's cohort, or of another one's; 0 before its table is there."""
        table = self.study.selected_of(cohort) if cohort else self.study.scans_table()
        return len(read_paths(table)) if os.path.exists(table) else 0

    def n_tested(self, split):
        """Scans of the cohort that a split tests."""
        return self.n_scans(self.study.splits[split].get("cohort"))

    def n_known(self, wildcards):
        """Scans of which a job has a row each."""
        cohorts = [getattr(wildcards, "cohort", None)]
        if (split := getattr(wildcards, "split", None)) is not None:
            cohorts.append(self.study.splits[split].get("cohort"))
        return max(self.n_scans(), *map(self.n_scans, cohorts))

    def n_explained(self, split):
        """The approximate number of maps of a split by each method."""
        most, tested = self.config["heatmaps"].get("most_subjects"), self.n_tested(split)
        scans = tested if most is None else min(tested, 2 * most * VISITS)
        if split in self.study.external:
            return scans * len(self.study.folds_of(split))
        return math.ceil(scans * (1 if self.study.splits[split]["kind"] in ("kfold", "all_scans") else HOLDOUT_SHARE))

    # --- Jobs on tables and volumes ---

    def table_mb(self, wildcards, attempt):
        """A job on tables."""
        return math.ceil((costs.BASE_MB + costs.SCAN_MB * self.n_known(wildcards)) * attempt)

    def table_minutes(self, wildcards, attempt):
        """A job that takes seconds for a small cohort."""
        return (SHORT_MINUTES + math.ceil(self.n_known(wildcards) * costs.TABLE_SECONDS / 60)) * attempt

    def volume_mb(self, wildcards, attempt):
        """A job on a few volumes that reads no table of scans."""
        return math.ceil((costs.BASE_MB + costs.MAP_MB * self.megavoxels) * attempt)

    def short_minutes(self, wildcards, attempt):
        return SHORT_MINUTES * attempt

    def map_mb(self, wildcards, attempt):
        """A job on a few volumes and on tables."""
        scans = costs.SCAN_MB * self.n_known(wildcards)
        return math.ceil((costs.BASE_MB + costs.MAP_MB * self.megavoxels + scans) * attempt)

    # --- The baseline ---

    def baseline_mb(self, wildcards, attempt):
        """A job on volumes; a voxelwise baseline also holds the kernel of all scans."""
        extra = costs.voxelwise_mb(self.n_fitted(wildcards.split), self.n_channels) if self.voxelwise else 0
        return self.map_mb(wildcards, attempt) + math.ceil(extra * attempt)

    def baseline_minutes(self, wildcards, attempt):
        """Twice the expected time of a voxelwise baseline, in addition to that of a job on volumes."""
        fits = len(self.study.folds_of(wildcards.split)) * (1 + len(self.study.draws))
        n = self.n_fitted(wildcards.split)
        seconds = costs.voxelwise_seconds(n, self.n_channels, fits, self.megavoxels) if self.voxelwise else 0
        return self.table_minutes(wildcards, attempt) + math.ceil(2 * seconds / 60) * attempt

    def n_fitted(self, split):
        """Scans that the baseline of a split is fitted on or predicts."""
        return self.n_scans() + (self.n_tested(split) if split in self.study.external else 0)

    # --- Cohort and registration ---

    def reading_minutes(self, wildcards, attempt):
        """Reading a cohort whose size is not known yet."""
        return 60 * attempt

    def measuring_minutes(self, wildcards, attempt):
        """Reading and measuring the registered image of each scan."""
        seconds = self.n_known(wildcards) * self.megavoxels * costs.MEASURING_SECONDS
        return (SHORT_MINUTES + math.ceil(2 * seconds / 60)) * attempt

    def unlimited_minutes(self, wildcards, attempt):
        return UNLIMITED_MINUTES

    def simulation_mb(self, wildcards, attempt):
        return math.ceil(costs.simulation_mb(self.config["simulation"]) * attempt)

    def simulation_minutes(self, wildcards, attempt):
        return math.ceil(SHORT_MINUTES + 3 * costs.simulation_seconds(self.config["simulation"]) / 60) * attempt

    def registration_mb(self, wildcards, attempt):
        return math.ceil(costs.registration_mb(self.study.registration, self.megavoxels) * attempt)

    def registration_minutes(self, wildcards, attempt):
        """Twice the expected time, at least two minutes; a group of registrations adds them up."""
        return max(2, math.ceil(2 * costs.registration_seconds(self.study.registration) / 60)) * attempt

    def batch_minutes(self, wildcards, attempt):
        """A batch of registrations. A second attempt needs no more: it continues where the first one ended."""
        scans = self.study.batches()[int(wildcards.batch)]
        return SHORT_MINUTES + math.ceil(2 * costs.registration_seconds(self.study.registration) * len(scans) / 60)

    def planting_mb(self, wildcards, attempt):
        """As many registrations side by side as the job has processes, each with the flows next to it."""
        return PLANTING_PROCESSES * (self.registration_mb(wildcards, attempt) + PLANTING_MB)

    def planting_minutes(self, wildcards, attempt):
        """Twice the expected time of registering every control once, and deforming it for each assignment."""
        deformed = PLANTING_SECONDS * len(self.study.assignments)
        seconds = costs.registration_seconds(self.study.registration) + deformed
        return SHORT_MINUTES + math.ceil(2 * seconds * self.n_scans() / PLANTING_PROCESSES / 60) * attempt

    # --- Networks ---

    def epochs(self):
        """Epochs of all trainings of a fold."""
        return self.config["training"]["epochs"] * self.config["training"]["seeds"]

    def training_mb(self, wildcards, attempt):
        """A training, by the voxels of the grid and the size of a batch."""
        training = self.config["training"]
        return math.ceil(costs.training_mb(training["network"], training["batch_size"], self.megavoxels) * attempt)

    def training_minutes(self, wildcards, attempt):
        """Twice the epochs on one core, and an hour. A second attempt continues where the first one ended."""
        network = self.config["training"]["network"]
        seconds = costs.step_seconds(network, self.megavoxels) * self.n_scans() * self.epochs()
        return math.ceil(60 + 2 * seconds / 60)

    def prediction_minutes(self, wildcards, attempt):
        """As for one epoch: each scan is predicted once."""
        seconds = costs.step_seconds(self.config["training"]["network"], self.megavoxels)
        return math.ceil(60 + 2 * seconds * self.n_tested(wildcards.split) / 60) * attempt

    def shuffled_mb(self, wildcards, attempt):
        """A job that trains and then explains."""
        return max(self.training_mb(wildcards, attempt), self.heatmap_mb(wildcards, attempt))

    def shuffled_seconds(self, split):
        """One draw of shuffled diagnoses in one fold: a training, and maps of the fold's patients."""
        network, n_folds = self.config["training"]["network"], len(self.study.folds_of(split))
        epochs = costs.step_seconds(network, self.megavoxels) * self.n_scans() * self.epochs()
        return epochs + sum(map(self.heatmap_seconds, self.study.methods)) * self.n_explained(split) / n_folds

    def shuffled_minutes(self, wildcards, attempt):
        """Twice the expected time, and an hour. A second attempt continues the training."""
        n_draws = len(self.study.draws_of(wildcards.part))
        return math.ceil(60 + 2 * n_draws * self.shuffled_seconds(wildcards.split) / 60) * attempt

    def shuffled_parts(self, wildcards):
        """The draws of shuffled diagnoses of a split, by fold and part; known once the table of scans is read."""
        split = wildcards.split
        if not len(self.study.draws) or split in self.study.external:
            return []
        total = costs.shuffled_parts(len(self.study.draws), self.shuffled_seconds(split))
        names = [f"fold-{fold}/{n}-of-{total}" for fold in self.study.folds_of(split) for n in range(1, total + 1)]
        return [self.study.path(f"splits/{split}/shuffled/{name}.tsv") for name in names]

    def probe_minutes(self, wildcards, attempt):
        """Twice the expected time, and an hour: maps at each depth of reset weights, and some 400 passes a scan."""
        n_scans, network = 2 * self.config["trust"]["subjects"], self.config["training"]["network"]
        maps = PROBED_MODELS * sum(map(self.heatmap_seconds, self.study.methods))
        passes = 400 * costs.step_seconds(network, self.megavoxels)
        return math.ceil(60 + 2 * n_scans * (maps + passes) / 60) * attempt

    def comparison_mb(self, wildcards, attempt):
        """A job that explains a scan by each training, and holds the maps of all and of means over some of them."""
        maps = 2 * self.study.n_trainings * costs.MAP_MB * self.megavoxels
        return self.heatmap_mb(wildcards, attempt) + math.ceil(maps * attempt)

    def comparison_minutes(self, wildcards, attempt):
        """Twice the expected time of the maps by all trainings, and an hour."""
        n_maps = 2 * self.config["trust"]["subjects"] * self.study.n_trainings
        return math.ceil(60 + 2 * n_maps * sum(map(self.heatmap_seconds, self.study.methods)) / 60) * attempt

    # --- Heatmaps ---

    def heatmap_seconds(self, method):
        """The approximate time of one core for the map of one scan, of all trainings of its fold."""
        options, training = self.config["heatmaps"]["methods"][method] or {}, self.config["training"]
        return training["seeds"] * costs.heatmap_seconds(method, options, training["network"], self.megavoxels)

    def heatmap_parts(self, wildcards):
        """The folders of the parts of a split's heatmaps by a method; known once the table of scans is read."""
        total = costs.n_parts(self.n_explained(wildcards.split), self.heatmap_seconds(wildcards.method))
        folder = f"splits/{wildcards.split}/heatmaps/{wildcards.method}/parts"
        return [self.study.path(f"{folder}/{number}-of-{total}") for number in range(1, total + 1)]

    def heatmap_mb(self, wildcards, attempt):
        return math.ceil(costs.heatmap_mb(self.config["training"]["network"], self.megavoxels) * attempt)

    def heatmap_minutes(self, wildcards, attempt):
        return math.ceil(costs.PART_MINUTES * 3) * attempt
