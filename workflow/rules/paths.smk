"""
What the rules read and write where that depends on the cohort or on the config. Functions only, no rules.
"""

import csv
import math
from functools import lru_cache

from voxelwhy.costs import registrations_per_job
from voxelwhy.images import Grid

METHODS_USED = list(config["heatmaps"]["methods"])
# What changes a registration: limits and skipped scans are for select_scans.
REGISTRATION = {key: value for key, value in config["registration"].items() if key not in ("limits", "skip")}
if "extract" in config["scans"]:
    REGISTRATION |= {key: config["scans"][key] for key in ("extract", "skull_stripped")}
# How many registrations a cluster gets in one submission; the profile knows these groups by name.
REGISTRATION_GROUP = f"register_{registrations_per_job(REGISTRATION)}"
# Settings of training that change no number.
TRAINING_ONLY = ("device",)
# The settings as the report has them: without those that change no number.
RECORDED = {key: value for key, value in config.items() if key != "use_gpu"} | {
    "training": {key: value for key, value in config["training"].items() if key not in TRAINING_ONLY}
}
# The user's own mask of the network, if the config names one.
NETWORK_MASK_FILE = [config["training"]["mask"]] if config["training"]["mask"] not in ("brain", "grey_white") else []
# Activations of a training step in float32, MB for each million voxels of each scan of a batch: measured, and a tenth
# more. At work on 193 x 229 x 193 voxels with batches of 5, rieke2018 takes 13.1 GB in all, korolev2017 11.7 GB.
OWN_ACTIVATIONS_MB = 660  # twice that of the paper's network, for one of the user's own
ACTIVATIONS_MB = {"rieke2018": 330, "small": 330, "korolev2017": 300, "small_dataset": 1600}
# What weights that are trained already still take from it.
ADOPTING = NETWORK | {
    key: config["training"][key] for key in ("crop", "normalisation", "batch_size", "precision", "threads")
}
MODEL_TITLES = {
    "cnn": config["training"]["network"],
    "baseline": config["evaluation"]["baseline"].replace("_", " "),
}
HEATMAPS = {key: value for key, value in config["heatmaps"].items() if key != "others"}
OTHERS_GROUPS = list(dict.fromkeys(other["group"] for other in config["heatmaps"]["others"]))
SHOWN = {key: config["figures"][key] for key in ("axis", "slices_mm", "dpi")}
PERFORMANCE_FIGURES = ["metrics", "roc", "confusion"] * ACCURACY + ["learning_curves"] * (not MODEL)
RELEVANCE_FIGURES = {
    "draw_heatmaps": [f"heatmaps_{group}{kind}" for kind in ("", "_scaled") for group in CLASSES.values()],
    "draw_regions": [f"regions_{group}" for group in CLASSES.values()],
    "draw_agreement": ["agreement", "saturation"],
    "draw_truth": ["truth_map", "truth_scores"] if SIMULATED else [],
}
SPLIT_FIGURES = {"draw_performance": PERFORMANCE_FIGURES} | RELEVANCE_FIGURES
SPLIT_TABLES = ["table1", *["metrics"] * ACCURACY]
RELEVANCE_TABLES = ["agreement", *[f"regions_{g}" for g in CLASSES.values()]] + ["truth"] * SIMULATED
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
    own = {"network": NETWORK["network"]} if "options" in NETWORK else {}
    return (
        shared
        | own
        | {
            "options": heatmaps["methods"][wildcards.method] or {},
            "judged": ACCURACY,
            "classes": CLASSES,
        }
    )


def heatmap_code(wildcards):
    return code(
        "compute_heatmaps.py",
        METHODS[wildcards.method],
        NETWORK_MODULE,
    )


def normalisation_file(wildcards):
    """The file that model.normalisation names, if it is one."""
    named = MODEL.get("normalisation", "")
    return [named] if named.endswith(".npz") else []


def normalisation_folds(wildcards):
    """The folds of the split that model.normalisation names, if it is one, and the audit that they passed."""
    named = MODEL.get("normalisation")
    return [study(f"splits/{named}/{file}") for file in ("folds.tsv", "audit.json") if named in SPLITS]


def predictions_of_folds(wildcards):
    return [study(f"splits/{wildcards.split}/fold-{k}/predictions.tsv") for k in folds_of(wildcards.split)]


def histories_of_folds(wildcards):
    """How the folds learned; weights from elsewhere have no history."""
    return [study(f"splits/{wildcards.split}/fold-{k}/history.tsv") for k in folds_of(wildcards.split) if not MODEL]


def metrics_of(wildcards):
    """The accuracy of a split, where there is one."""
    return [study(f"splits/{wildcards.split}/evaluation/metrics.tsv")] if ACCURACY else []


def truth_of(wildcards):
    planted = SIMULATED and wildcards.split in EXPLAINED
    return [study(f"splits/{wildcards.split}/evaluation/truth.tsv")] if planted else []


def figure(stem, category):
    """The files of a figure: the picture, marked for snakemake --report, the drawing, title and caption."""
    picture = report(
        study(f"{stem}.png"),
        category=category,
        labels={"figure": Path(stem).name.replace("_", " ")},
    )
    return [picture, study(f"{stem}.svg"), study(f"{stem}.json")]


def network_mem_mb(wildcards, attempt):
    """Memory of a network at work, by the voxels of the study's grid and the batch."""
    training, registration = config["training"], config["registration"]
    voxels = math.prod(Grid.named(registration["grid"], registration["resolution_mm"]).shape)
    activations = ACTIVATIONS_MB.get(training["network"], OWN_ACTIVATIONS_MB) * training["batch_size"] * voxels / 1e6
    return int((2000 + activations) * attempt)


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


def methods_of(wildcards):
    """The methods that explain a split."""
    return METHODS_USED if wildcards.split in EXPLAINED else []


def regions_by_method(wildcards):
    return [study(f"splits/{wildcards.split}/regions/{method}.tsv") for method in methods_of(wildcards)]


def drawing_rules(split):
    """The rules that draw figures of a split."""
    return SPLIT_FIGURES if split in EXPLAINED else ["draw_performance"]


def report_items():
    """Titles and captions of all that the report shows, in its order within each section."""
    items = [study(f"figures/{name}.json") for name in COHORT_FIGURES] + [study("tables/excluded.json")]
    for split in STUDIED:
        drawn = [name for rule_name in drawing_rules(split) for name in SPLIT_FIGURES[rule_name]]
        tables = SPLIT_TABLES + RELEVANCE_TABLES * (split in EXPLAINED)
        items += [study(f"splits/{split}/figures/{name}.json") for name in drawn]
        items += [study(f"splits/{split}/tables/{name}.json") for name in tables]
    for group in OTHERS_GROUPS:
        items += [study(f"others/figures/heatmaps_{group}.json"), study(f"others/tables/regions_{group}.json")]
    return items
