"""A checkout of the workflow with a small study, run by Snakemake."""

from __future__ import annotations

import csv
import json
import shutil

import yaml

from helpers.paths import ROOT
from helpers.workflow import plan, snakemake
from voxelwhy import registry

METHODS = tuple(registry.METHODS)
SMALL = {
    "study": "small",
    "seed": 7,
    "simulation": {
        "resolution_mm": 4,
        "working_mm": 4,
        "subjects": {"Dementia": 5, "CN": 5, "MCI": 1, "converter": 1},
        "missing_files": ["999_S_0005/Month 12"],
        "truncated_files": ["999_S_0002/Screening"],
    },
    "registration": {"resolution_mm": 4, "transform": "affine"},
    "splits": [{"name": "holdout", "kind": "holdout", "test_subjects": 2}],
    "training": {"network": "compact", "crop": "brain", "learning_rate": 1e-3, "epochs": 2},
    "heatmaps": {
        "methods": {name: {} for name in METHODS}
        | {
            "occlusion": {"size_mm": 48, "stride_mm": 48},
            "integrated_gradients": {"n_steps": 4},
            "smoothgrad": {"n_samples": 2},
        },
    },
    "evaluation": {"bootstrap": 100, "permutations": 200, "shuffled": 3},
    "trust": {"subjects": 2, "seeds": 3},
}


def small_study(name, *, subjects=4, **sections):
    """SMALL with so many subjects of each class, scanned once and registered in one job; every fold is trained once."""
    cohort = {
        "subjects": {"Dementia": subjects, "CN": subjects, "MCI": 0, "converter": 0},
        "visits": [["Screening"]],
        "missing_files": [],
        "truncated_files": [],
    }
    config = SMALL | {"study": name, "simulation": SMALL["simulation"] | cohort}
    config["registration"] = SMALL["registration"] | {"batch": 2 * subjects}
    config["evaluation"] = SMALL["evaluation"] | {"shuffled": 0}
    config["trust"] = {"probes": "false", "seeds": 0}
    return config | sections


class Study:
    """A checkout of the workflow in a folder of its own, and Snakemake in it.

    Attributes
    ----------
    warm : whether jobs start in forks of a process that has imported what they need (helpers/warm_jobs.py)
    """

    warm = True

    def __init__(self, folder, config):
        self.folder = folder
        for part in ("workflow", "scripts", "config", "envs"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        self.configure(config)

    def configure(self, config):
        self.config = config
        (self.folder / "study.yaml").write_text(yaml.safe_dump(config))

    def run(self, *arguments, code=0, **environment):
        """Run Snakemake; returns what it printed."""
        arguments = ("--cores", "2", "--configfile", "study.yaml", *arguments)
        found, text = snakemake(self.folder, *arguments, warm=self.warm, **environment)
        assert found == code, text[-6000:]
        return text

    def run_and_record(self):
        """Run Snakemake; what each job loads is kept in `loaded`, and what it prints is returned."""
        folder = self.folder / "loaded"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        text = self.run(VOXELWHY_RECORD_MODULES=folder)
        self.loaded = [json.loads(path.read_text()) for path in folder.iterdir()]
        return text

    def plan(self, config=None, *arguments):
        """What a dry run finds out for `config`, or else for the study's own."""
        if config is None:
            return plan(self.folder, "--configfile", "study.yaml", *arguments)
        (self.folder / "study.yaml").write_text(yaml.safe_dump(config))
        try:
            return self.plan(None, *arguments)
        finally:
            (self.folder / "study.yaml").write_text(yaml.safe_dump(self.config))

    def would_run(self, config=None):
        """Number of jobs by rule that would run for `config`, or else for the study's own."""
        return self.plan(config).counts()

    def result(self, path):
        return self.folder / "results" / self.config["study"] / path

    def rows(self, path):
        with open(self.result(path), encoding="utf-8") as table:
            return list(csv.DictReader(table, delimiter="\t"))
