"""The settings of rules: each rule names the facts that change its numbers or words, and gets these in one dict."""

from __future__ import annotations

from voxelwhy.config.probes import why_not_compared
from voxelwhy.config.splits import ALL_SCANS
from voxelwhy.io.text import BASELINE_TITLES, of_cohort
from voxelwhy.jobs.study import UNRECORDED, joined_marks

#: Sections of the settings that the reporting checklists state.
STATED = ("cohort", "scans", "registration", "splits", "training", "model", "heatmaps", "evaluation", "evaluate_on")
#: The space of maps in BIDS names: that of the template, or of scans that others have registered without a name for it.
TEMPLATE_SPACE, OWN_SPACE = "MNI152NLin2009aSym", "template"
TEMPLATE_REFERENCE = "ICBM152 2009a nonlinear symmetric (Fonov 2011), resampled to the grid of the study"


class Facts:
    """Facts of a study by name.

    An instance is called with names (and with fixed values by keyword), and returns the function of wildcards that
    Snakemake expects as `params.settings`.

    Parameters
    ----------
    study : jobs.study.Study

    Examples
    --------
    `settings=facts("classes", "bootstrap", "seed")` in a rule.
    """

    def __init__(self, study):
        self.study, config, evaluation = study, study.config, study.config["evaluation"]
        figures, training = config["figures"], config["training"]
        self.fixed = {
            "study": study.name,
            "classes": study.classes,
            "seed": study.seed,
            "methods": study.methods,
            "heatmaps": study.heatmaps,
            "target": study.heatmaps["target"],
            "training": study.recorded["training"],
            "model": study.model,
            "channels": training["channels"],
            "registration": {k: v for k, v in config["registration"].items() if k not in UNRECORDED["registration"]},
            # Whether groups of right and wrong predictions exist, and whether captions may call a scan unseen.
            "judged": study.accuracy,
            "unseen": study.accuracy,
            "bootstrap": evaluation["bootstrap"],
            "permutations": evaluation["permutations"],
            "prevalence": evaluation.get("prevalence"),
            "threshold": evaluation["truth_threshold"],
            "planted": study.planted,
            "atlas": "bilateral " * config["atlas"]["merge_sides"] + config["atlas"]["name"],
            "shown": {key: figures[key] for key in ("axis", "slices_mm", "dpi")},
            "dpi": figures["dpi"],
            "top": figures["top_regions"],
            "titles": {"cnn": training["network"], "baseline": BASELINE_TITLES[evaluation["baseline"]]},
            "cohorts": [f"{study.name} (test scans)", *config["evaluate_on"]],
            "config": study.recorded,
            # What the checklist states; a figure does not run it again.
            "stated": {name: study.recorded[name] for name in STATED if name in study.recorded},
            "splits": list(study.studied),
            "explained": study.own_explained,
        }

    def __call__(self, *names, **fixed):
        return lambda wildcards: {name: self.fact(name, getattr(wildcards, "split", None)) for name in names} | fixed

    def fact(self, name, split=None):
        """One fact; `split` is the split of the job, where there is one."""
        return self.fixed[name] if name in self.fixed else getattr(self, name)(split)

    # --- Of a split ---

    def split(self, split):
        return {key: value for key, value in self.study.splits[split].items() if key != "heatmaps"}

    def split_name(self, split):
        return split

    def split_title(self, split):
        """The title of the split alone, so that what shows it does not run again when another split is added."""
        return self.split_titles(split).get(split, split)

    def trains(self, split):
        """Whether the split has training scans."""
        return self.study.splits[split]["kind"] != ALL_SCANS

    def n_models(self, split):
        return len(self.study.folds_of(split))

    def n_folds(self, split):
        """Folds of which each explains its own test scans; None if each model explains all scans."""
        return None if self.study.model or split in self.study.external else len(self.study.folds_of(split))

    def simulated(self, split):
        """What figures state: whether the scans are simulated, or which confounds were planted in them."""
        return self.study.mark if split is None else self.study.mark_of(split)

    def simulated_anywhere(self, split):
        """The same for all cohorts on which the models of a split are tested."""
        cohorts = [entry["cohort"] for entry in self.study.external.values() if entry["of"] == split]
        return joined_marks([self.study.mark, *map(self.study.mark_of_cohort, cohorts)])

    def simulated_sides(self, split):
        """Whether the scans of the other cohort and those of this study are simulated."""
        return {"there": self.study.made_up(self.study.splits[split]["cohort"]), "here": self.study.simulated}

    def explained_methods(self, split):
        return self.study.methods_of(split)

    def tested(self, split):
        return self.study.tested(split)

    def of(self, split):
        """The cohort of the scans, for captions; "" for that of the study itself."""
        return of_cohort(**self.study.tested(split)) if split in self.study.external else ""

    # --- Of the whole study ---

    def split_titles(self, split):
        """Titles of splits in the report, where they are not their names."""
        external = self.study.external.items()
        return {ALL_SCANS: "all scans"} | {
            name: f"{entry['of']}, tested on {entry['cohort']}" for name, entry in external
        }

    def derived(self, split):
        """What BIDS derivatives say of the study, and the names of the space of its maps."""
        cohort, none = self.study.config["cohort"], self.study.config["registration"]["transform"] == "none"
        space = cohort.get("entities", {}).get("space", OWN_SPACE) if none else TEMPLATE_SPACE
        reference = TEMPLATE_REFERENCE if space == TEMPLATE_SPACE else f"the space {space} of the scans as they came"
        facts = {"study": self.study.name, "space": space, "reference": reference, "classes": self.study.classes}
        facts |= {"modality": self.study.config["scans"]["modality"], "simulated": self.study.simulated}
        return facts | {"maps": self.study.published()}

    def carded(self, split):
        """What the card of a model says of the study."""
        registration = self.study.config["registration"]
        kept = {key: registration[key] for key in ("transform", "resolution_mm")}
        derived = self.derived(split)
        return kept | {key: derived[key] for key in ("study", "simulated", "modality", "classes", "space")}

    def real(self, split):
        return self.study.real_cohorts()

    def baseline(self, split):
        """The kind of baseline, with the smoothing of a voxelwise one."""
        evaluation = self.study.config["evaluation"]
        kind = evaluation["baseline"]
        return {"kind": kind} | ({"smoothing_mm": evaluation["smoothing_mm"]} if kind == "voxelwise" else {})

    def cam(self, split):
        """What the examination of Grad-CAM needs of the settings; nothing where there is none."""
        if not self.study.examines_cam:
            return {}
        heatmaps, network = self.study.heatmaps, self.study.network["network"]
        kept = {"output": heatmaps["output"], "scans": heatmaps["scans"], "network": network}
        kept |= {"options": heatmaps["methods"]["grad_cam"] or {}}
        return kept | {"most_subjects": heatmaps.get("most_subjects")}

    def n_draws(self, split):
        return len(self.study.draws)

    def shuffled(self, split):
        """Settings of the heatmaps of networks trained on shuffled diagnoses."""
        heatmaps = self.study.heatmaps
        kept = {key: heatmaps[key] for key in ("methods", "target", "output", "scans")}
        return kept | {"most_subjects": heatmaps.get("most_subjects")}

    def not_compared(self, split):
        """Why the trainings of a split are not compared; "" where they are, and where there is nothing to train."""
        return why_not_compared(self.study.config) if split in self.study.own_explained else ""

    def probing(self, split):
        """Settings of the probes of single maps, and of the comparison of trainings."""
        heatmaps, own = self.study.heatmaps, "options" in self.study.network
        kept = {key: heatmaps[key] for key in ("methods", "output")}
        network = self.study.network["network"] if own else None
        return kept | {"subjects": self.study.config["trust"]["subjects"], "network": network}

    def planting(self, split):
        """Settings of the loss that is planted in the study's controls."""
        trust, study = self.study.config["trust"], self.study
        kept = {"negative": study.classes["negative"], "registration": study.registration, "seed": study.seed}
        return kept | {"loss": trust["planted_loss"], "least": trust["planted_least"]}

    def shuffling(self, wildcards):
        """Settings of explain_shuffled for a split and a part of its draws."""
        names = ("training", "classes", "seed", "shuffled")
        return self(*names, draws=self.study.draws_of(wildcards.part))(wildcards)

    def predicting(self, split):
        """Settings of the training that a prediction on another cohort needs."""
        return {key: self.study.adopting[key] for key in ("network", "channels", "batch_size", "precision", "threads")}

    def adopting(self, split):
        return self.study.adopting

    def heatmap(self, wildcards):
        """Settings of compute_heatmaps and merge_heatmaps for a split and a method."""
        study, heatmaps, split = self.study, self.study.heatmaps, wildcards.split
        settings = {key: heatmaps[key] for key in ("target", "output")}
        settings |= {key: self.fixed[key] for key in ("channels", "judged", "classes")}
        settings |= {"scans": [] if split in study.external else heatmaps["scans"]}
        settings |= {"options": heatmaps["methods"][wildcards.method] or {}}
        if "most_subjects" in heatmaps:
            settings |= {"most_subjects": heatmaps["most_subjects"], "seed": study.seed}
        if "options" in study.network:
            settings |= {"network": study.network["network"]}
        return settings
