"""
What the rules read and write where that depends on the cohort or on the config. Functions only, no rules.
"""

import csv
from functools import lru_cache

METHODS_USED = list(config["heatmaps"]["methods"])
# What changes a registration: limits and skipped scans are for select_scans.
REGISTRATION = {key: value for key, value in config["registration"].items() if key not in ("limits", "skip")}
if "extract" in config["scans"]:
    REGISTRATION |= {key: config["scans"][key] for key in ("extract", "skull_stripped")}
# Settings of training that change no number.
TRAINING_ONLY = ("device",)
MODEL_TITLES = {
    "cnn": config["training"]["network"],
    "baseline": config["evaluation"]["baseline"].replace("_", " "),
}
SHOWN = {key: config["figures"][key] for key in ("axis", "slices_mm", "dpi")}
SPLIT_FIGURES = {
    "draw_heatmaps": [f"heatmaps_{group}{kind}" for kind in ("", "_scaled") for group in CLASSES.values()],
    "draw_regions": [f"regions_{group}" for group in CLASSES.values()],
    "draw_performance": ["metrics", "roc", "confusion", "learning_curves"],
    "draw_agreement": ["agreement", "saturation"],
    "draw_truth": ["truth_map", "truth_scores"] if SIMULATED else [],
}
SPLIT_TABLES = [
    "table1",
    "metrics",
    "agreement",
    *[f"regions_{g}" for g in CLASSES.values()],
] + ["truth"] * SIMULATED
COHORT_FIGURES = ["flow", "registration", "quality"]


@lru_cache
def scan_table(path, mtime):
    with open(path, encoding="utf-8") as table:
        return {row["scan_id"]: row["path"] for row in csv.DictReader(table, delimiter="\t")}


def scan_paths():
    """Paths of the scans, known once parse_tables has run."""
    path = checkpoints.parse_tables.get().output.scans
    return scan_table(path, os.stat(path).st_mtime_ns)


def scan_path(wildcards):
    return scan_paths()[wildcards.scan]


def registered_scans(wildcards):
    return [study(f"registered/{scan}") for scan in scan_paths() if scan not in config["registration"]["skip"]]


def head_template(wildcards):
    """The whole-head template, for a study of whole heads; seen in skull.json once, never an input of its own."""
    with open(checkpoints.parse_tables.get().output.skull, encoding="utf-8") as skull:
        brains = json.load(skull)["skull_stripped"] or "extract" in config["scans"]
    return [] if brains else study("template/head.nii.gz")


def head_source(wildcards):
    """The whole-head template's file; where it is missing, the script says what to place where."""
    path = config["scans"].get("template")
    return [path] if path and os.path.exists(path) else []


def heatmap_settings(wildcards):
    heatmaps = config["heatmaps"]
    shared = {key: heatmaps[key] for key in ("target", "output", "scans")}
    return shared | {
        "options": heatmaps["methods"][wildcards.method] or {},
        "classes": CLASSES,
    }


def heatmap_code(wildcards):
    return code(
        "compute_heatmaps.py",
        METHODS[wildcards.method],
        NETWORKS[config["training"]["network"]],
    )


def predictions_of_folds(wildcards):
    return [study(f"splits/{wildcards.split}/fold-{k}/predictions.tsv") for k in folds_of(wildcards.split)]


def truth_of(wildcards):
    return [study(f"splits/{wildcards.split}/evaluation/truth.tsv")] if SIMULATED else []


def figure(stem, category):
    """The files of a figure: the picture, marked for snakemake --report, the drawing, title and caption."""
    picture = report(
        study(f"{stem}.png"),
        category=category,
        labels={"figure": Path(stem).name.replace("_", " ")},
    )
    return [picture, study(f"{stem}.svg"), study(f"{stem}.json")]


def network_mem_mb(wildcards, attempt):
    """Memory of a network at work: that of the paper's, 14 GB at 1 mm with batches of 5, by voxels and batch."""
    share = config["training"]["batch_size"] / 5 / config["registration"]["resolution_mm"] ** 3
    return int((2000 + 14000 * share) * attempt)


def registration_mem_mb(wildcards, attempt):
    """Memory of a registration: seen were 3.8 GB for SyN at 1 mm, and 2.0 GB at 3 mm for N4 of a scan of 1 mm."""
    return int((2300 + 2200 / config["registration"]["resolution_mm"] ** 3) * attempt)


def split_figures(rule_name):
    """The outputs of a rule that draws figures of a split, by name."""
    names = SPLIT_FIGURES[rule_name]
    return {n: figure(f"splits/{{split}}/figures/{n}", rule_name.removeprefix("draw_")) for n in names}


def table_files(stem):
    """The files of a table: full figures, for people, for papers, title and caption."""
    return [study(f"{stem}.{ending}") for ending in ("tsv", "md", "tex", "json")]


def maps_by_method(wildcards):
    return [study(f"splits/{wildcards.split}/heatmaps/{method}/maps") for method in METHODS_USED]


def groups_by_method(wildcards):
    return [study(f"splits/{wildcards.split}/heatmaps/{method}/groups.tsv") for method in METHODS_USED]


def regions_by_method(wildcards):
    return [study(f"splits/{wildcards.split}/regions/{method}.tsv") for method in METHODS_USED]


def report_items():
    """Titles and captions of all that the report shows, in its order within each section."""
    items = [study(f"figures/{name}.json") for name in COHORT_FIGURES] + [study("tables/excluded.json")]
    for split in SPLITS:
        figures = [name for names in SPLIT_FIGURES.values() for name in names]
        items += [study(f"splits/{split}/figures/{name}.json") for name in figures]
        items += [study(f"splits/{split}/tables/{name}.json") for name in SPLIT_TABLES]
    return items
