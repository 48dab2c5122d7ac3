"""One study as its rules see it: which splits, methods and files follow from the config."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from voxelwhy.config.atlas_names import FETCHED
from voxelwhy.config.probes import probes_maps, trainings_compared
from voxelwhy.config.splits import reported_splits
from voxelwhy.io.channels import maps_needed
from voxelwhy.io.tables import BASELINE_MAPS
from voxelwhy.jobs.batches import divide_scans
from voxelwhy.jobs.named_files import own_files, read_paths
from voxelwhy.registry import METHODS, NETWORKS, TRANSFORMS

#: Settings that change no number: where results are shared, how work is cut into jobs, where it runs.
UNRECORDED = {"training": ("device", "tensorboard"), "registration": ("store", "batch"), "simulation": ("store",)}


def recorded(settings):
    """The settings without those that change no number, as the report shows them."""
    kept = {key: value for key, value in settings.items() if key not in ("use_gpu", "keep")}
    return kept | {
        section: {key: value for key, value in kept[section].items() if key not in names}
        for section, names in UNRECORDED.items()
        if section in kept
    }


def network_module(network):
    """The module that holds a network: one of the registry, or that of `module:factory`."""
    return NETWORKS.get(network, network.partition(":")[0])


def one_of(names):
    """A wildcard constraint: one of these names."""
    return "|".join(map(re.escape, names))


class Study:
    """The facts of one study that its rules need.

    Parameters
    ----------
    config : dict, the settings, complete and checked (`config.settings.load_settings`)
    confounds : str, the confounds planted in this study's simulated scans, in words; "" for none
    confounds_of : function of the name of another study; the same for its scans
    """

    def __init__(self, config, *, confounds="", confounds_of=lambda cohort: ""):
        self.config, self.confounds_of = config, confounds_of
        self.name, self.seed, self.classes = config["study"], config["seed"], class_names(config)
        # GPUs that a job asks the scheduler for where it runs a network; no number depends on it.
        self.gpus = 1 if config["use_gpu"] else 0
        self.studied = reported_splits(config)
        # The models of a split on the scans of another study form a separate, evaluation-only split.
        self.external = {name: split for name, split in self.studied.items() if "cohort" in split}
        self.splits = {split["name"]: split for split in config["splits"]} | self.studied
        self.own_splits = [name for name in self.splits if name not in self.external]
        # Splits whose test scans get heatmaps; the others are evaluated for accuracy only.
        self.explained = [name for name, split in self.studied.items() if split.get("heatmaps", True)]
        self.own_explained = [name for name in self.explained if name not in self.external]
        # Splits whose models are also tested on other cohorts.
        self.tested_elsewhere = list(dict.fromkeys(split["of"] for split in self.external.values()))
        # Existing weights take the place of training. Without their training split there is no accuracy.
        self.model = config["model"] if "weights" in config.get("model", {}) else {}
        self.accuracy = not self.model or "trained_on" in self.model
        self.methods = list(config["heatmaps"]["methods"])
        self.simulated = "simulation" in config
        simulation = config.get("simulation", {})
        # The folder of what distinguishes the classes, where that is known: simulated, or planted in real scans.
        self.truth_folder = self.path("simulation/truth") if self.simulated else config["cohort"].get("truth", "")
        real = bool(self.truth_folder) and not self.simulated
        self.planted = simulation.get("signal") or simulation.get("effect", 0) > 0 or real
        # Choices of the controls in which a loss is planted (trust.planted), each with a study of its own.
        self.assignments = range(1, config["trust"]["planted"] + 1)
        # What figures and the report state: true, or the confounds in words.
        self.mark = self.simulated and (confounds or True)
        self.recorded = recorded(config)
        # Where the study's grid is that of its scans, the file that describes it.
        self.grid_of_scans = [self.path("template/grid.json")] if config["registration"]["grid"] == "scans" else []
        self._choose_settings(config)

    def _choose_settings(self, config):
        """The parts of the settings on which single rules depend."""
        training, registration = config["training"], config["registration"]
        self.network = {
            key: training[key] for key in ("network", "options", "channels", "first_pool") if key in training
        }
        self.network_module = network_module(self.network["network"])
        # What existing weights still take from the section training.
        self.adopting = self.network | {
            key: training[key] for key in ("crop", "normalisation", "batch_size", "precision", "threads")
        }
        self.registration_module = TRANSFORMS[registration["transform"]]
        unregistered = (*UNRECORDED["registration"], "limits", "skip")  # limits and skip belong to select_scans
        self.registration = {key: value for key, value in registration.items() if key not in unregistered}
        # Images in addition to the intensities: those that the network sees, and those that the config asks for.
        self.registration |= {"maps": maps_needed(training["channels"], registration["maps"])}
        if config["scans"]["modality"] != "t1w":
            self.registration |= {"modality": config["scans"]["modality"]}
        if "extract" in config["scans"]:
            self.registration |= {key: config["scans"][key] for key in ("extract", "skull_stripped")}
        self.heatmaps = {key: value for key, value in config["heatmaps"].items() if key != "others"}
        self.imported = {f"{other['name']}_{other['group']}": other for other in config["heatmaps"]["others"]}
        self.imported_groups = list(dict.fromkeys(other["group"] for other in config["heatmaps"]["others"]))
        self.own_files = own_files(config)
        self.atlas_is_fetched = config["atlas"]["name"] in FETCHED
        self.probed = self.own_explained if probes_maps(config) else []
        # Trainings of each fold whose maps are compared, and the splits in which they are.
        self.n_trainings = trainings_compared(config)
        self.repeated = self.own_explained if self.n_trainings else []
        # Draws of networks trained on shuffled diagnoses. Existing weights cannot be trained on other labels.
        self.draws = range(1, 0 if self.model else config["evaluation"]["shuffled"] + 1)

    # --- Paths ---

    def path(self, path):
        """A path within the folder of the study."""
        return f"results/{self.name}/{path}"

    def scans_table(self):
        return self.path("cohort/scans.tsv")

    def scan_path(self, wildcards):
        return read_paths(self.scans_table())[wildcards.scan]

    def batches(self):
        """Scans by batch, or None if each scan is a job of its own; known once parse_tables has run.

        Skipped scans count in the number of batches, so that skipping one changes only its own batch.
        """
        settings = self.config["registration"]
        taken = settings["transform"] == "none"
        batches = divide_scans(read_paths(self.scans_table()), settings["batch"], taken=taken)
        if batches is None:
            return None
        used = {batch: [scan for scan in scans if scan not in settings["skip"]] for batch, scans in batches.items()}
        return {batch: scans for batch, scans in used.items() if scans}

    def batch_paths(self, wildcards):
        paths = read_paths(self.scans_table())
        return [paths[scan] for scan in self.batches()[int(wildcards.batch)]]

    def used_scans(self):
        """The scans that are registered, with their paths, in the order of the table."""
        skip = self.config["registration"]["skip"]
        return {scan: path for scan, path in read_paths(self.scans_table()).items() if scan not in skip}

    def scan_paths(self, wildcards=None):
        return list(self.used_scans().values())

    def grid_settings(self, wildcards):
        return {"resolution_mm": self.config["registration"]["resolution_mm"], "scans": list(self.used_scans())}

    def batch_settings(self, wildcards):
        return self.registration | {"scans": self.batches()[int(wildcards.batch)]}

    def head_template(self, wildcards=None):
        """The whole-head template, if whole heads are registered to it; known once parse_tables has run."""
        if self.config["registration"]["transform"] == "none":
            return []
        with open(self.path("cohort/skull.json"), encoding="utf-8") as skull:
            brains = json.load(skull)["skull_stripped"] or "extract" in self.config["scans"]
        return [] if brains else self.path("template/head.nii.gz")

    def registered_scans(self, wildcards=None):
        """The folders of registered scans, or the manifests of the batches that make them."""
        batches = self.batches()
        if batches is not None:
            return [self.path(f"batches/{batch}.tsv") for batch in batches]
        return [self.path(f"registered/{scan}") for scan in self.used_scans()]

    def folds_of(self, split):
        """Numbers of the folds of a split."""
        return range(self.splits[split]["folds"] if self.splits[split]["kind"] == "kfold" else 1)

    def of_folds(self, split, file):
        """The same file of each fold of a split."""
        return [self.path(f"splits/{split}/fold-{fold}/{file}") for fold in self.folds_of(split)]

    def predictions(self, wildcards):
        return self.of_folds(wildcards.split, "predictions.tsv")

    def histories(self, wildcards):
        """The training history of each fold; existing weights and external cohorts have none."""
        trained = not self.model and wildcards.split not in self.external
        return self.of_folds(wildcards.split, "history.tsv") if trained else []

    def models(self, wildcards):
        """The models that classify the scans of a split, by fold."""
        return self.of_folds(self.trained_split(wildcards), "model.pt")

    def trained_split(self, wildcards):
        """The split whose models classify the scans of a split: itself, or the one that is tested on another cohort."""
        return self.splits[wildcards.split].get("of", wildcards.split)

    def fitted_on(self, wildcards):
        """The scans and folds of this study on which the baseline of an external split is fitted."""
        folds = f"splits/{self.trained_split(wildcards)}/folds.tsv"
        return [self.path("cohort/selected.tsv"), self.path(folds)]

    def own_metrics(self, wildcards):
        """The accuracy of the models of an external split on the study's own test scans."""
        return self.path(f"splits/{self.trained_split(wildcards)}/evaluation/metrics.tsv")

    def metrics(self, wildcards):
        """The accuracy of a split, where there is one."""
        return [self.path(f"splits/{wildcards.split}/evaluation/metrics.tsv")] if self.accuracy else []

    def of_trust(self, name):
        """A table of the section Trust that rests on accuracy, as a function of wildcards; none without accuracy."""
        return lambda wildcards: [self.path(f"splits/{wildcards.split}/trust/{name}.tsv")] if self.accuracy else []

    def probes(self, name):
        """The probes of the folds of a split, as a function of wildcards; none where maps are not probed."""

        def paths(wildcards):
            split = wildcards.split
            folds = self.folds_of(split) if split in self.probed else []
            return [self.path(f"splits/{split}/trust/probes/fold-{fold}/{name}.tsv") for fold in folds]

        return paths

    def trainings(self, wildcards):
        """The models of all trainings of a fold, that of the study first."""
        folder = self.path(f"splits/{wildcards.split}")
        again = f"{folder}/trust/stability/fold-{wildcards.fold}/again-{{}}/model.pt"
        return [f"{folder}/fold-{wildcards.fold}/model.pt", *map(again.format, range(1, self.n_trainings))]

    def stability(self, name):
        """The comparisons of trainings of the folds of a split, as a function of wildcards; none without any."""

        def paths(wildcards):
            split = wildcards.split
            folds = self.folds_of(split) if split in self.repeated else []
            return [self.path(f"splits/{split}/trust/stability/fold-{fold}/{name}.tsv") for fold in folds]

        return paths

    def class_regions(self, wildcards):
        """Regions whose relevance differs between the classes, by method."""
        return [
            self.path(f"splits/{wildcards.split}/trust/class_regions/{method}.tsv")
            for method in self.methods_of(wildcards.split)
        ]

    def covariates(self, split):
        """The covariates of the scans that a split tests; none where no config names any."""
        if split in self.external:
            path = self.selected_of(self.splits[split]["cohort"]).replace("selected.tsv", "covariates.tsv")
            return [path] if os.path.exists(path) else []
        return [self.path("cohort/covariates.tsv")] if self.config["cohort"].get("covariates") else []

    def difference(self, wildcards):
        """The comparison of the network with the baseline, where there is an accuracy."""
        return [self.path(f"splits/{wildcards.split}/evaluation/difference.tsv")] if self.accuracy else []

    def metrics_of_cohorts(self, wildcards):
        """The accuracy of the models of a split on each cohort, that of the study's own test scans first."""
        return [self.path(f"splits/{split}/evaluation/metrics.tsv") for split in self.with_external(wildcards.split)]

    def truth(self, wildcards):
        known = self.truth_folder and wildcards.split in self.own_explained
        return [self.path(f"splits/{wildcards.split}/evaluation/truth.tsv")] if known else []

    def detections(self, wildcards):
        """The verdicts that stand over the maps of patients; none where nothing is planted."""
        return self.truth(wildcards) if self.planted else []

    def planted_maps(self, wildcards):
        """The folder of the planted disease that is drawn next to the maps of patients."""
        return [self.truth_folder] if self.detections(wildcards) else []

    def planted_controls(self, wildcards):
        """Which methods detect a loss planted in the study's own controls; none where it is not planted."""
        planted = self.assignments and wildcards.split in self.own_explained
        return [self.path(f"splits/{wildcards.split}/trust/planted_controls.tsv")] if planted else []

    @property
    def examines_cam(self):
        """Whether the report tells what Grad-CAM's cells can show of the planted disease."""
        options = self.config["heatmaps"]["methods"].get("grad_cam", {"cellwise": True})
        return self.planted and not (options or {}).get("cellwise")

    def of_cam(self, inputs):
        """Inputs of score_truth that only the examination of Grad-CAM needs: a function of wildcards, or a path."""
        return inputs if self.examines_cam else []

    def cam_modules(self):
        """The modules that score_truth loads by name."""
        return self.of_cam(["voxelwhy.evaluation.cam", self.network_module])

    def truth_regions(self, wildcards):
        return [path.replace("truth.tsv", "truth_regions.tsv") for path in self.truth(wildcards)]

    def draws_of(self, part):
        """Numbers of the draws of shuffled diagnoses in a part, such as the second of three: "2-of-3"."""
        number, total = map(int, part.split("-of-"))
        first, last = (len(self.draws) * n // total for n in (number - 1, number))
        return list(self.draws[first:last])

    def methods_of(self, split):
        """The methods that explain a split."""
        return self.methods if split in self.explained else []

    def published(self):
        """The maps that BIDS derivatives hold, as pairs of split and method."""
        return [[split, method] for split in self.own_explained for method in self.methods]

    def published_files(self, pattern):
        """One file of each of them; `pattern` is its path below the study, with {split} and {method}."""
        return [self.path(pattern.format(split=split, method=method)) for split, method in self.published()]

    def method_modules(self):
        """The modules that hold the methods of the study."""
        return [METHODS[method] for method in self.methods]

    def maps(self, wildcards):
        return [self.path(f"splits/{wildcards.split}/heatmaps/{method}/maps") for method in self.methods]

    def groups(self, wildcards):
        return [self.path(f"splits/{wildcards.split}/heatmaps/{method}/groups.tsv") for method in self.methods]

    def regions(self, wildcards):
        split = wildcards.split
        return [self.path(f"splits/{split}/regions/{method}.tsv") for method in self.methods_of(split)]

    def baseline_files(self, ending):
        """One file of each map of the baseline, for any split."""
        return [self.path(f"splits/{{split}}/baseline/maps/{name}{ending}") for name in BASELINE_MAPS]

    def baseline_scored(self, wildcards):
        """Maps and relevance of the baseline, which are compared with the planted truth, where there is a baseline."""
        if not self.accuracy:
            return []
        files = [*self.baseline_files(".nii.gz"), self.path("splits/{split}/baseline/relevance.tsv")]
        return [file.format(split=wildcards.split) for file in files]

    def normalisation_file(self, wildcards=None):
        """The file that model.normalisation names, if it is one."""
        named = self.model.get("normalisation", "")
        return [named] if named.endswith(".npz") else []

    def normalisation_folds(self, wildcards=None):
        """The folds of the split that model.normalisation names, if it is one, and the audit that they passed."""
        named = self.model.get("normalisation")
        return [self.path(f"splits/{named}/{file}") for file in ("folds.tsv", "audit.json") if named in self.splits]

    def imported_files(self, ending):
        """One file of each imported map."""
        return [self.path(f"imported_maps/maps/{name}{ending}") for name in self.imported]

    # --- Other cohorts ---

    def with_external(self, split):
        """A split, followed by its models on other cohorts."""
        return [split, *(name for name, entry in self.external.items() if entry["of"] == split)]

    def tested(self, split):
        """The split whose models are tested, the cohort on which they are tested, and the number of models."""
        entry = self.splits[split]
        return {"cohort": entry["cohort"], "split": entry["of"], "n_models": len(self.folds_of(split))}

    def selected_of(self, cohort):
        """Path of the table of registered scans of another study."""
        return f"results/{cohort}/cohort/selected.tsv"

    def made_up(self, cohort):
        """Whether the scans of another study are simulated; False while they are not registered."""
        table, made = self.selected_of(cohort), Path("results", cohort, "simulation")
        return os.path.exists(table) and any(Path(path).is_relative_to(made) for path in read_paths(table).values())

    def mark_of(self, split):
        """Whether scans of a split, or those behind its models, are simulated; in words if with confounds."""
        cohorts = [self.splits[split]["cohort"]] if split in self.external else []
        return joined_marks([self.mark, *map(self.mark_of_cohort, cohorts)])

    def mark_of_cohort(self, cohort):
        """The same of the scans of another study."""
        return self.made_up(cohort) and (self.confounds_of(cohort) or True)

    def real_cohorts(self):
        """Cohorts in the report of a simulated study that are not simulated themselves."""
        return [cohort for cohort in self.config["evaluate_on"] if self.simulated and not self.made_up(cohort)]


def class_names(config):
    """Names of the positive and the negative class."""
    return {side: config["cohort"]["classes"][side]["name"] for side in ("positive", "negative")}


def joined_marks(marks):
    """One mark for a figure that shows several cohorts: the confounds in words, or whether any is simulated."""
    words = list(dict.fromkeys(mark for mark in marks if isinstance(mark, str)))
    return "; ".join(words) or any(marks)
