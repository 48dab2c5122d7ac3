"""What a study would run: its steps with their jobs, processor time, memory, and the jobs whose results exist."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

from voxelwhy.config.splits import ALL_SCANS
from voxelwhy.jobs import costs
from voxelwhy.jobs.resources import PROBED_MODELS, Requests

#: Measured time of a training step, as a share of the time that a job requests for it; and the share of the grid's
#: voxels that lie in the box of the brain, which is all that a network with `crop: brain` computes.
STEP_SHARES, STEP_SHARE, CROPPED_SHARE = {"compact": 0.25}, 0.65, 0.45
#: Seconds to start a job that runs a network.
START_SECONDS = 5
#: Seconds of a job on tables, figures or volumes, with its start; measured in the demo (70 jobs).
SMALL_JOB_SECONDS = 4
#: Such jobs of a study, and of each of its splits.
SMALL_JOBS, SMALL_JOBS_OF_SPLIT = 12, 22
#: Maps that a method keeps of a split: mean and SD, raw and scaled, of seven groups; bytes of a voxel of a map, which
#: is compressed, and of a registered scan (int16).
KEPT_MAPS, MAP_BYTES, SCAN_BYTES = 28, 2, 2


@dataclass(frozen=True)
class Step:
    """A step of a study: in words, its number of jobs, seconds on one core, MB of a job, and jobs that are done."""

    name: str
    jobs: int
    seconds: float
    mb: float
    done: int = 0


class Expected(Requests):
    """Requests of a study whose table of scans need not exist yet.

    Parameters
    ----------
    study : jobs.study.Study
    n_scans : int, scans that are registered
    visits : float, scans of a subject
    """

    def __init__(self, study, n_scans, visits=1.2):
        super().__init__(study)
        self.known, self.visits = n_scans, visits

    def n_scans(self, cohort=None):
        return super().n_scans(cohort) if cohort else self.known

    def n_explained(self, split):
        """As for the requests, but with the mean number of visits of this cohort."""
        most = super().n_explained(split)
        subjects = self.config["heatmaps"].get("most_subjects")
        return most if subjects is None else min(most, math.ceil(2 * subjects * self.visits))

    def steps(self):
        """Return the steps of the study that take time, in the order in which they run."""
        networks = [*self._training(), *self._explaining(), *self._trust()]
        started = [replace(step, seconds=step.seconds + step.jobs * START_SECONDS) for step in networks]
        return [step for step in [*self._cohort(), *started, self._tables()] if step.jobs]

    def disk_gb(self):
        """Return the approximate size of what stays on the disk: registered scans, maps of the methods."""
        channels = 1 + len(self.study.registration["maps"])
        scans = self.known * channels * SCAN_BYTES * self.megavoxels
        maps = len(self.study.methods) * len(self.study.explained) * KEPT_MAPS * MAP_BYTES * self.megavoxels
        return (scans + maps) / 1e3

    def _cohort(self):
        settings = self.study.registration
        if self.study.simulated:
            simulation = self.config["simulation"]
            seconds, mb = costs.simulation_seconds(simulation), costs.simulation_mb(simulation)
            yield Step("simulate the cohort", 1, seconds, mb, self._exist("simulation/table.csv"))
        seconds = costs.registration_seconds(settings)
        if isinstance(self.config["registration"]["batch"], int) and settings["transform"] != "none":
            seconds -= costs.START_UP_SECONDS  # a batch starts once
        mb = costs.registration_mb(settings, self.megavoxels)
        done = self._exist("registered/*/quality.json")
        yield Step("register each scan", self.known, self.known * seconds, mb, min(done, self.known))

    def _folds(self, splits):
        return [(name, fold) for name in splits for fold in self.study.folds_of(name)]

    def _fold_seconds(self, split):
        """One training of one fold: of the scans that are not tested."""
        kind, n_folds = self.study.splits[split]["kind"], len(self.study.folds_of(split))
        share = 1 - 1 / n_folds if kind == "kfold" else 1
        return self._step_seconds() * self.known * share * self.epochs()

    def _step_seconds(self):
        """A training step of one scan."""
        training = self.config["training"]
        voxels = self.megavoxels * (CROPPED_SHARE if training["crop"] == "brain" else 1)
        share = STEP_SHARES.get(training["network"], STEP_SHARE)
        return 1.5 * share * costs.PASS_SECONDS.get(training["network"], costs.OWN_PASS_SECONDS) * voxels

    def _training(self):
        own = [name for name in self.study.own_splits if self.study.splits[name]["kind"] != ALL_SCANS]
        if not self.study.model:
            folds = self._folds(own)
            seconds = sum(self._fold_seconds(name) for name, _ in folds)
            done = sum(self._exist(f"splits/{name}/fold-{fold}/model.pt") for name, fold in folds)
            yield Step("train each fold", len(folds), seconds, self.training_mb(None, 1), done)
        for again in range(1, self.study.n_trainings):
            folds = self._folds(self.study.repeated)
            seconds = sum(self._fold_seconds(name) for name, _ in folds)
            place = "splits/{}/trust/stability/fold-{}/again-{}/model.pt"
            done = sum(self._exist(place.format(*fold, again)) for fold in folds)
            yield Step(f"train each fold again ({again})", len(folds), seconds, self.training_mb(None, 1), done)

    def _explaining(self):
        for method in self.study.methods:
            wanted = [SimpleNamespace(split=name, method=method) for name in self.study.explained]
            jobs = sum(len(self.heatmap_parts(one)) for one in wanted)
            maps = sum(self.n_explained(one.split) for one in wanted)
            done = sum(
                len(self.heatmap_parts(one))
                for one in wanted
                if self._exist(f"splits/{one.split}/heatmaps/{method}/groups.tsv")
            )
            seconds, name = maps * self.heatmap_seconds(method), method.replace("_", " ")
            yield Step(f"explain by {name}", jobs, seconds, self.heatmap_mb(None, 1), done)

    def _trust(self):
        study, n = self.study, 2 * self.config["trust"]["subjects"]
        per_map = sum(map(self.heatmap_seconds, study.methods))
        passes = 400 * self._step_seconds()
        for name, splits, seconds, table in (
            (
                "probe single maps",
                study.probed,
                n * (PROBED_MODELS * per_map + passes),
                "probes/fold-{}/faithfulness.tsv",
            ),
            ("compare trainings", study.repeated, n * study.n_trainings * per_map, "stability/fold-{}/maps.tsv"),
        ):
            folds = self._folds(splits)
            done = sum(self._exist(f"splits/{split}/trust/{table.format(fold)}") for split, fold in folds)
            yield Step(name, len(folds), len(folds) * seconds, self.heatmap_mb(None, 1), done)
        parts = {split: self.shuffled_parts(SimpleNamespace(split=split)) for split in study.own_explained}
        seconds = sum(
            len(study.draws) * len(study.folds_of(split)) * self._draw_seconds(split)
            for split, jobs in parts.items()
            if jobs
        )
        paths = [path for jobs in parts.values() for path in jobs]
        done = sum(Path(path).exists() for path in paths)
        yield Step("train on shuffled diagnoses", len(paths), seconds, self.shuffled_mb(None, 1), done)
        if study.assignments:
            n_planted = len(study.assignments)
            seconds = 60 * self.planting_minutes(None, 1)
            yield Step("plant a loss in controls", n_planted, n_planted * seconds, self.planting_mb(None, 1))

    def _draw_seconds(self, split):
        """One draw in one fold: a training, and maps of the patients among the fold's test scans."""
        maps = sum(map(self.heatmap_seconds, self.study.methods)) * self.n_explained(split)
        return self._fold_seconds(split) + maps / len(self.study.folds_of(split)) / 2

    def _tables(self):
        jobs = SMALL_JOBS + SMALL_JOBS_OF_SPLIT * len(self.study.studied)
        seconds = jobs * (SMALL_JOB_SECONDS + costs.TABLE_SECONDS * self.known / 10)
        done = jobs if self._exist("report.html") else 0
        return Step("tables, figures, report", jobs, seconds, self.map_mb(SimpleNamespace(), 1), done)

    def _exist(self, pattern):
        return sum(1 for _ in Path(self.study.path("")).glob(pattern))
