"""
What the rules read and write where that depends on the cohort or on the config. Functions only, no rules.
"""

import csv
from functools import lru_cache

METHODS_USED = list(config["heatmaps"]["methods"])
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


def cohort_tables(wildcards):
    """What parse_tables depends on: tables, and where the entries are files, the folders that get new ones."""
    cohort = config["cohort"]
    named = [cohort[key] for key in ("table", "adnimerge") if key in cohort]
    folder = Path(cohort.get("data_dir", "."))
    if cohort["source"] == "bids":
        named = [folder, *folder.glob("participants.tsv"), *folder.glob("sub-*/sub-*_sessions.tsv")]
    elif not named:
        named = [folder, *(place for place in folder.glob("[!.]*") if place.is_dir())]
    return [str(path) for entry in named for path in (entry if isinstance(entry, list) else [entry])]


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
    return [study(f"registered/{scan}") for scan in scan_paths()]


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
