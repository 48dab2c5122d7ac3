"""
The cells of a comparison: their settings, the code behind them, and what the comparison ends with. Functions only, no rules.
"""

from voxelwhy.io.text import count

CELLS_BY_NAME = {cell.name: cell for cell in CELLS}
CELL_SETTINGS = {cell.name: load_settings(cell.config, SCHEMA) for cell in CELLS}
COMPARED = config.get("compare", {})
COMPARISON = []


def named_profiles(words):
    """The profiles that this Snakemake was called with, in their order: its cells are to have them too."""
    following = zip(words, words[1:], strict=False)
    return [
        word.partition("=")[2] if "=" in word else after
        for word, after in [*following, (words[-1], "")]
        if word == "--profile" or word.startswith("--profile=")
    ]


def cell_inputs(wildcards):
    """The files of others that a cell begins with; scans it looks at itself, whenever it is run."""
    settings = CELL_SETTINGS[wildcards.cell]
    tables = [] if "simulation" in settings else tables_of(settings["cohort"])
    atlas = [settings["atlas"][part] for part in ("image", "table") if part in settings["atlas"]]
    mask, template = settings["training"]["mask"], settings["scans"].get("template")
    own = [*([] if mask in MASKS else [mask]), *([template] if template and os.path.exists(template) else [])]
    return [*tables, *atlas, *own]


def cell_settings(wildcards):
    """What a cell's figures depend on: its settings with their defaults, which may change."""
    cell, settings = CELLS_BY_NAME[wildcards.cell], CELL_SETTINGS[wildcards.cell]
    explained = [split["name"] for split in settings["splits"] if split["heatmaps"]]
    return {
        "study": recorded(settings),
        "choices": cell.choices,
        "repeat": cell.repeat,
        "split": explained[0],
        "methods": list(settings["heatmaps"]["methods"]),
        "classes": CLASSES,
    }


def cell_code(wildcards):
    """All code that a study's numbers depend on: the study itself then finds out what has changed."""
    settings = CELL_SETTINGS[wildcards.cell]
    named = [METHODS[method] for method in settings["heatmaps"]["methods"]]
    network = settings["training"].get("network") or settings["model"]["architecture"]
    named += [NETWORKS.get(network, network.partition(":")[0])]
    named += [SOURCES[settings["cohort"]["source"]]]
    doors = ["run_cell.py", *(f"{name}.py" for name in DOORS_OF_NUMBERS)]
    return {module: digest for script in doors for module, digest in code(script, *named).items()}


DOORS_OF_NUMBERS = (
    "simulate_cohort",
    "parse_tables",
    "prepare_template",
    "prepare_mask",
    "prepare_atlas",
    "check_network",
    "register_scan",
    "register_batch",
    "select_scans",
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

PROFILES = named_profiles(sys.argv)

if CELLS:
    # As the YAML of each: for the script, and in no params, where settings that change no number would run cells again.
    config["cells"] = {cell.name: cell.config for cell in CELLS}
    # A confound that not all cells have is said in the words of the choice.
    MARKS = {
        describe_confounds(settings["simulation"]["confounds"]) for settings in CELL_SETTINGS.values() if SIMULATED
    }
    CELLS_MARK = SIMULATED and ((MARKS.pop() if len(MARKS) == 1 else None) or True)
    if workflow.is_main_process and not (workflow.local_exec or PROFILES or os.environ.get("SNAKEMAKE_PROFILE")):
        sys.exit(
            "\na comparison on a cluster needs a profile, which its cells get too: --profile workflow/profiles/slurm\n"
        )
    QUESTION = COMPARED["question"]
    COMPARISON = [study(f"comparison/figures/{QUESTION}.png"), study(f"comparison/tables/{QUESTION}.md")]
    if workflow.is_main_process:
        n_combinations = len(CELLS) // COMPARED["repeats"]
        print(
            f"{count(n_combinations, 'combination')}, {count(COMPARED['repeats'], 'repeat')} of each", file=sys.stderr
        )
        for refused in REFUSED:
            words = ", ".join(value for key, value in refused.items() if key != "reason")
            print(f"left out: {words} ({refused['reason']})", file=sys.stderr)
