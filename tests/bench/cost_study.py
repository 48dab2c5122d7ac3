"""The small study that the cost page is made of: the paper's settings at 1 mm on a few simulated scans."""

from __future__ import annotations

import copy

import yaml

from bench.results import ROOT

STUDY = "cost"
SUBJECTS = 5  # of each class, one scan each; the paper's batches are of 5
FOLDS = 2


def settings():
    """The config of that study: `config/adni_1.5t.yaml` on simulated scans of 1 mm, one epoch, one thread.

    Times of one thread are core seconds; an epoch more costs what the first does.
    """
    config_of = {
        name: yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text()) for name in ("adni_1.5t", "config")
    }
    study, simulation = copy.deepcopy(config_of["adni_1.5t"]), config_of["config"]["simulation"]
    simulation |= {"resolution_mm": 1, "visits": [["Screening"]], "missing_files": [], "truncated_files": []}
    simulation["subjects"] = {"CN": SUBJECTS, "Dementia": SUBJECTS, "MCI": 0, "converter": 0}
    # Networks on shuffled diagnoses are for simulated cohorts alone, and what ADNI takes is measured.
    study |= {"study": STUDY, "simulation": simulation, "cohort": {"source": "adni_merged"}}
    study["evaluation"] = study.get("evaluation", {}) | {"shuffled": 0}
    study["splits"] = [{"name": "kfold", "kind": "kfold", "folds": FOLDS}]
    study["training"] |= {"epochs": 1, "threads": 1}
    return study


if __name__ == "__main__":
    print(yaml.safe_dump(settings(), sort_keys=False))
