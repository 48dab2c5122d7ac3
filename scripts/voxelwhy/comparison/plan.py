"""Inputs, settings and code on which the rules of a comparison depend."""

from __future__ import annotations

from functools import partial

from voxelwhy.cohort.simulation.confounds import describe_confounds
from voxelwhy.cohort.simulation.constants import load_study
from voxelwhy.io.text import count
from voxelwhy.jobs.code_digest import code_digest
from voxelwhy.jobs.named_files import own_files, tables_of
from voxelwhy.jobs.study import class_names, network_module, recorded
from voxelwhy.registry import METHODS, SOURCES

#: Rules whose scripts compute the numbers that a run keeps.
RULES_OF_NUMBERS = (
    "simulate_cohort",
    "parse_tables",
    "prepare_template",
    "prepare_mask",
    "prepare_atlas",
    "check_network",
    "register_scan",
    "select_scans",
    "read_properties",
    "split_folds",
    "audit_folds",
    "train_fold",
    "train_baseline",
    "compute_heatmaps",
    "merge_heatmaps",
    "aggregate_regions",
    "evaluate_predictions",
    "compare_maps",
    "explain_shuffled",
    "score_truth",
)


class Plan:
    """The runs of a comparison.

    Parameters
    ----------
    config : dict, the settings of the study that compares, complete
    `cells`, refused : the runs, and the combinations that are not possible (of `combinations.make_cells`)
    scripts, schema : path of the folder of scripts, and of the schema of configs
    """

    def __init__(self, config, cells, refused, *, scripts, schema):
        self.config, self.refused, self.scripts = config, refused, scripts
        self.cells = {cell.name: cell for cell in cells}
        load = partial(load_study, schema_path=schema)
        self.settings_of = {cell.name: load(cell.config) for cell in cells}
        self.question = config["compare"]["question"]

    def configs(self):
        """Return the config of each run, for its script; not as params, where settings without effect would count."""
        return {name: cell.config for name, cell in self.cells.items()}

    def inputs(self, wildcards):
        """Return the existing files with which a run begins; scans are tracked by the study itself when it runs."""
        settings = self.settings_of[wildcards.cell]
        tables = [] if "simulation" in settings else tables_of(settings["cohort"])
        return [*tables, *(path for paths in own_files(settings).values() for path in paths)]

    def settings(self, wildcards):
        """Return everything that affects a run's results, including settings at their defaults, which may change."""
        cell, settings = self.cells[wildcards.cell], self.settings_of[wildcards.cell]
        explained = [split["name"] for split in settings["splits"] if split["heatmaps"]]
        return {
            "study": recorded(settings),
            "choices": cell.choices,
            "repeat": cell.repeat,
            "split": explained[0],
            "methods": list(settings["heatmaps"]["methods"]),
            "classes": class_names(self.config),
        }

    def code(self, wildcards):
        """Return the digests of all code that affects a study's results; the study then reruns only what changed."""
        return digest_of_numbers("run_cell", self.settings_of[wildcards.cell], self.scripts)

    def mark(self):
        """Return whether the data are simulated, or the confounds in words if all runs have the same."""
        if "simulation" not in self.config:
            return False
        words = {describe_confounds(settings["simulation"]["confounds"]) for settings in self.settings_of.values()}
        return (words.pop() if len(words) == 1 else None) or True

    def compared(self):
        """Return the part of the settings of compare_cells that follows from the choices."""
        compare = self.config["compare"]
        return {
            "question": self.question,
            "choices": list(compare["choices"]),
            "refused": self.refused,
            "repeated": compare["repeated"],
            "same_scans": not any(name.startswith("simulation.") for name in compare["repeated"]),
            "simulated": self.mark(),
        }

    def lines(self):
        """Yield the lines printed at the start: number of runs, and combinations that are not possible."""
        repeats = self.config["compare"]["repeats"]
        yield f"{count(len(self.cells) // repeats, 'combination')}, {count(repeats, 'repeat')} of each"
        for refused in self.refused:
            words = ", ".join(value for key, value in refused.items() if key != "reason")
            yield f"skipped: {words} ({refused['reason']})"


def digest_of_numbers(rule, settings, scripts):
    """Return the digests of a rule that runs a study with these settings, and of all code that affects its results."""
    named = [METHODS[method] for method in settings["heatmaps"]["methods"]]
    named += [network_module(settings["training"].get("network") or settings["model"]["architecture"])]
    named += [SOURCES[settings["cohort"]["source"]]]
    digests = [code_digest(scripts / f"{name}.py", named) for name in (rule, *RULES_OF_NUMBERS)]
    return {module: digest for digests_of_rule in digests for module, digest in digests_of_rule.items()}
