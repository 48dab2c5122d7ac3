"""The figures and tables of a study: their names, and their order in the report."""

from __future__ import annotations

from types import SimpleNamespace

COHORT_FIGURES = ("flow", "registration", "quality")
#: Figures and tables that exist for the study's own scans only: learning curves, maps of the baseline, and what was
#: planted.
OF_OWN_SCANS = ("learning_curves", "baseline_map", "baseline_regions")
OF_OWN_SCANS += ("truth_map", "truth_scores", "truth_cam", "truth", "truth_regions")
#: What score_truth writes on Grad-CAM, by name of the output.
CAM_FILES = {"cam": "grad_cam.json", "cellwise": "grad_cam_cellwise.nii.gz", "ceiling": "grad_cam_ceiling.nii.gz"}
CAM_FILES |= {"cellwise_card": "grad_cam_cellwise.json", "ceiling_card": "grad_cam_ceiling.json"}


class Outputs:
    """Figures and tables of a study by name.

    Parameters
    ----------
    study : jobs.study.Study

    Attributes
    ----------
    figures : {subject: names}, of a split; one rule draws the figures of one subject
    split_tables, relevance_tables, baseline_tables : lists of names, of a split
    headline : str, the split whose findings stand at the top of the report
    single_maps : {"figures": names, "tables": names} of what rests on single maps, of a split with heatmaps
    """

    def __init__(self, study):
        self.study, groups = study, list(study.classes.values())
        self.figures = {
            "performance": ["metrics", "roc", "confusion"] * study.accuracy
            + ["learning_curves"] * (not study.model)
            + ["clinical", "shortcuts"] * study.accuracy,
            "heatmaps": [f"heatmaps_{group}" for group in groups],
            "baseline": ["baseline_map"] * study.accuracy,
            "regions": [*(f"regions_{group}" for group in groups), "class_regions"],
            "agreement": ["agreement", "saturation"],
            "truth": ["truth_map", "truth_scores"] * bool(study.truth_folder) + ["truth_cam"] * study.examines_cam,
        }
        folder = study.path("splits/{split}/evaluation")
        self.cam = {name: f"{folder}/{file}" for name, file in CAM_FILES.items()} if study.examines_cam else {}
        self.split_tables = ["table1", "trust", *["metrics", "clinical", "shortcuts"] * study.accuracy]
        self.relevance_tables = [
            "agreement",
            *self.figures["regions"],
            *["truth", "truth_regions"] * bool(study.truth_folder),
        ]
        self.baseline_tables = ["baseline_regions"] * study.accuracy
        probes = ["faithfulness", "randomised"] * bool(study.probed)
        # What rests on single maps: figures and tables, of splits that have any.
        self.single_maps = {
            "figures": probes + ["stability"] * bool(study.repeated),
            "tables": probes + ["stability", "stability_regions"] * bool(study.repeated),
        }
        # The split whose findings stand at the top of the report.
        self.headline = (study.own_explained or list(study.studied))[0]
        self.imported_figures = [f"heatmaps_{group}" for group in study.imported_groups]
        self.imported_tables = [f"regions_{group}" for group in study.imported_groups]

    def external_only(self, names):
        """Those names that exist for the scans of another study as well."""
        return [name for name in names if name not in OF_OWN_SCANS]

    def of_split(self, split):
        """Names of the figures and of the tables of a split, in the order of the report."""
        study, explained = self.study, split in self.study.explained
        subjects = self.figures.values() if explained else [self.figures["performance"]]
        figures = [name for names in subjects for name in names]
        tables = self.split_tables + (self.relevance_tables + self.baseline_tables) * explained
        if split in study.external:
            return self.external_only(figures), self.external_only(tables)
        own = self.single_maps if explained else {"figures": [], "tables": []}
        more = ["external"] * (split in study.tested_elsewhere)
        planted = ["planted_controls"] * bool(explained and study.assignments)
        return figures + own["figures"] + more, tables + planted + own["tables"] + more

    def findings(self):
        """The tables of the findings at the top of the report, by name (report.findings.read_findings)."""
        study, of = self.study, SimpleNamespace(split=self.headline)
        tables = study.path(f"splits/{self.headline}/tables/{{}}.tsv")
        return {
            "metrics": study.metrics(of),
            "difference": study.difference(of),
            "truth": study.detections(of),
            "controls": study.planted_controls(of),
            "regions": study.regions(of),
            "class_regions": study.class_regions(of),
            "trust": [tables.format("trust")],
            "randomised": [tables.format("randomised")] * (self.headline in study.probed),
        }

    def report_items(self):
        """Paths of the title and caption of everything that the report shows, in its order within each section."""
        items = [f"figures/{name}" for name in COHORT_FIGURES] + ["tables/excluded", "tables/checklist", "tables/claim"]
        for split in self.study.studied:
            figures, tables = self.of_split(split)
            items.append(f"splits/{split}/tables/trust")  # the answers come before the figures behind them
            items += [f"splits/{split}/figures/{name}" for name in figures]
            items += [f"splits/{split}/tables/{name}" for name in tables if name != "trust"]
        for figure, table in zip(self.imported_figures, self.imported_tables, strict=True):
            items += [f"imported_maps/figures/{figure}", f"imported_maps/tables/{table}"]
        return [self.study.path(f"{item}.json") for item in items]

    def report_pictures(self):
        """Paths of the figures among them."""
        return [item.replace(".json", ".png") for item in self.report_items() if "/figures/" in item]
