"""
What the rules read and write where that depends on the cohort or on the config. Functions only, no rules.
"""

import csv
from functools import lru_cache

from voxelwhy.io.channels import maps_needed
from voxelwhy.config.atlas_names import FETCHED
from voxelwhy.jobs.costs import registrations_per_job
from voxelwhy.jobs.batches import divide_scans
from voxelwhy.report.wording import MASKS

METHODS_USED = list(config["heatmaps"]["methods"])
# Settings of registration that change no number: where results are shared, and how the work is cut into jobs.
REGISTERED_HOW = {key: value for key, value in config["registration"].items() if key not in ("store", "batch")}
# What changes a registration: limits and skipped scans are for select_scans.
REGISTRATION = {key: value for key, value in REGISTERED_HOW.items() if key not in ("limits", "skip")}
# The images beside the intensities: those that the network sees, and those that the config asks for.
REGISTRATION |= {"maps": maps_needed(config["training"]["channels"], REGISTRATION["maps"])}
if "extract" in config["scans"]:
    REGISTRATION |= {key: config["scans"][key] for key in ("extract", "skull_stripped")}
# Where simulated cohorts are shared changes no number either.
SIMULATION = {key: value for key, value in config.get("simulation", {}).items() if key != "store"}
# How many registrations a cluster gets in one submission; the profile knows these groups by name.
REGISTRATION_GROUP = f"register_{registrations_per_job(REGISTRATION)}"


def recorded(settings):
    """The settings as the report has them: without those that change no number."""
    unrecorded = {"training": ("device",), "registration": ("store", "batch"), "simulation": ("store",)}
    kept = {key: value for key, value in settings.items() if key not in ("use_gpu", "keep")}
    for section, names in unrecorded.items():
        if section in kept:
            kept[section] = {key: value for key, value in kept[section].items() if key not in names}
    return kept


RECORDED = recorded(config)
# The user's own mask of the network, if the config names one.
NETWORK_MASK_FILE = [config["training"]["mask"]] if config["training"]["mask"] not in MASKS else []
# What weights that are trained already still take from it.
ADOPTING = NETWORK | {
    key: config["training"][key] for key in ("crop", "normalisation", "batch_size", "precision", "threads")
}
MODEL_TITLES = {
    "cnn": config["training"]["network"],
    "baseline": config["evaluation"]["baseline"].replace("_", " "),
}
HEATMAPS = {key: value for key, value in config["heatmaps"].items() if key != "others"}
# A job that needs the network. An atlas of one's own has a name of its own.
ATLAS_IS_FETCHED = config["atlas"]["name"] in FETCHED
# As captions call it.
ATLAS_TITLE = "bilateral " * config["atlas"]["merge_sides"] + config["atlas"]["name"]
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
DROPPED_IMAGES = [study("cohort/dropped_images.json")] if config["keep"] == "results" else []
COHORT_FIGURES = ["flow", "registration", "quality"]


def cohort_tables(wildcards):
    """What parse_tables depends on."""
    return tables_of(config["cohort"])


def tables_of(cohort):
    """The tables of a cohort, and where the entries are files, the folders that get new ones."""
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


@lru_cache
def batch_table(path, mtime):
    """Scans by batch. Skipped scans count in the number of batches, so that skipping one changes only its own batch."""
    batches = divide_scans(scan_table(path, mtime), config["registration"]["batch"])
    if batches is None:
        return None
    skip = config["registration"]["skip"]
    used = {batch: [scan for scan in scans if scan not in skip] for batch, scans in batches.items()}
    return {batch: scans for batch, scans in used.items() if scans}


def batches():
    """Scans by batch, or None where each is a job of its own; known once parse_tables has run."""
    path = checkpoints.parse_tables.get().output.scans
    return batch_table(path, os.stat(path).st_mtime_ns)


def batch_paths(wildcards):
    paths = scan_paths()
    return [paths[scan] for scan in batches()[int(wildcards.batch)]]


def batch_settings(wildcards):
    return REGISTRATION | {"scans": batches()[int(wildcards.batch)]}


def registered_scans(wildcards):
    """The folders of registered scans, or the manifests of the batches that make them."""
    if batches() is not None:
        return [study(f"batches/{batch}.tsv") for batch in batches()]
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
    shared = {key: heatmaps[key] for key in ("target", "output")}
    shared |= {"channels": config["training"]["channels"]}
    shared |= {"scans": [] if wildcards.split in EXTERNAL else heatmaps["scans"]}
    if "most_subjects" in heatmaps:
        shared |= {"most_subjects": heatmaps["most_subjects"], "seed": SEED}
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
    planted = SIMULATED and wildcards.split in EXPLAINED and wildcards.split not in EXTERNAL
    return [study(f"splits/{wildcards.split}/evaluation/truth.tsv")] if planted else []


def figure(stem, category):
    """The files of a figure: the picture, marked for snakemake --report, the drawing, title and caption."""
    picture = report(
        study(f"{stem}.png"),
        category=category,
        labels={"figure": Path(stem).name.replace("_", " ")},
    )
    return [picture, study(f"{stem}.svg"), study(f"{stem}.json")]


def split_figures(rule_name):
    """The outputs of a rule that draws figures of a split, by name."""
    names = SPLIT_FIGURES[rule_name]
    return {n: figure(f"splits/{{split}}/figures/{n}", rule_name.removeprefix("draw_")) for n in names}


def table_files(stem):
    """The files of a table: full figures, for people, for papers, title and caption."""
    return [study(f"{stem}.{ending}") for ending in ("tsv", "md", "tex", "json")]


def kept(output):
    """An intermediate output: removed once it is used, where the config keeps results only."""
    return output if config["keep"] == "all" else temp(output)


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
        if split in EXTERNAL:
            drawn, tables = ([name for name in names if name not in OF_OWN_SCANS] for names in (drawn, tables))
        elif split in TESTED_ELSEWHERE:
            drawn, tables = [*drawn, "external"], [*tables, "external"]
        items += [study(f"splits/{split}/figures/{name}.json") for name in drawn]
        items += [study(f"splits/{split}/tables/{name}.json") for name in tables]
    for group in OTHERS_GROUPS:
        items += [study(f"others/figures/heatmaps_{group}.json"), study(f"others/tables/regions_{group}.json")]
    return items
