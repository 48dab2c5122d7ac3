"""
Whose scans a split tests: this study's own, or those of another one (evaluate_on). Functions only, no rules.

Of another study its table of registered scans is read, results/<study>/cohort/selected.tsv, and through it the registered
scans; nothing is written there.
"""

from voxelwhy.evaluation.external.cohort import CONFIG_FOLDERS, is_simulated, planted_in_cohort, require_cohort, selected_path
from voxelwhy.io.text import of_cohort

OWN_EXPLAINED = [split for split in EXPLAINED if split not in EXTERNAL]
SPLIT_TITLES = {"all_scans": "all scans"} | {
    name: f"{split['of']}, tested on {split['cohort']}" for name, split in EXTERNAL.items()
}
# Splits whose models are tested on other cohorts as well.
TESTED_ELSEWHERE = list(dict.fromkeys(split["of"] for split in EXTERNAL.values()))
# What is known of the study's own scans alone: how the network learnt, and what was planted in them.
OF_OWN_SCANS = ("learning_curves", "truth_map", "truth_scores", "truth")


def one_of(names):
    """A wildcard that is one of these names."""
    return "|".join(map(re.escape, names))


def cohort_table(cohort):
    """The registered scans of another study; where they are missing, nothing of this study is begun.

    Unless it ends before it needs them (--until): two studies that test each other each register their scans first.
    What needs them all the same waits for check_cohort, which then says what is missing.
    """
    if workflow.dag_settings.until and not selected_path(cohort).exists():
        return []
    try:
        require_cohort(cohort, [CONFIG_FOLDER, *CONFIG_FOLDERS])
    except VoxelwhyError as error:
        sys.exit(f"\n{error}\n")
    return str(selected_path(cohort))


def selected_of(wildcards):
    """The table of the scans that a split tests."""
    split = SPLITS[wildcards.split]
    return cohort_table(split["cohort"]) if "cohort" in split else study("cohort/selected.tsv")


def models_of_folds(wildcards):
    """The models that judge the scans of a split, by fold."""
    trained = SPLITS[wildcards.split].get("of", wildcards.split)
    return [study(f"splits/{trained}/fold-{k}/model.pt") for k in folds_of(wildcards.split)]


@lru_cache
def simulated_cohort(cohort, mtime):
    with open(selected_path(cohort), encoding="utf-8") as table:
        return is_simulated([row["path"] for row in csv.DictReader(table, delimiter="\t")], cohort)


def tested(split):
    """Whose models are tested on which cohort, for sentences."""
    return {"cohort": SPLITS[split]["cohort"], "split": SPLITS[split]["of"], "n_models": len(folds_of(split))}


def made_up(cohort):
    """Whether the scans of another study are simulated."""
    table = cohort_table(cohort)
    return bool(table) and simulated_cohort(cohort, os.stat(table).st_mtime_ns)


def mark_of(cohort):
    """What figures say of the scans of another study: false, true, or which confound was planted in them."""
    return made_up(cohort) and (planted_in_cohort(cohort) or True)


def marked(marks):
    """One mark for a figure that shows several cohorts."""
    words = list(dict.fromkeys(mark for mark in marks if isinstance(mark, str)))
    return "; ".join(words) or any(marks)


def real_cohorts():
    """Cohorts in the report of a simulated study that are not simulated themselves."""
    return [cohort for cohort in config["evaluate_on"] if SIMULATED and not made_up(cohort)]


def about(wildcards):
    """What captions say of the scans of a split."""
    return about_split(wildcards.split)


def about_split(split):
    """Whether the scans of a split, or those behind its models, are simulated; and whose they are."""
    if split not in EXTERNAL:
        return {"simulated": MARK, "of": ""}
    facts = tested(split)
    return {"simulated": marked([MARK, mark_of(facts["cohort"])]), "of": of_cohort(**facts)}


def simulated_anywhere(wildcards):
    """Whether the scans of a split, or of a cohort on which its models are tested, are simulated."""
    return marked([about_split(split)["simulated"] for split in splits_of_models(wildcards)])


def splits_of_models(wildcards):
    """A split, and what its models do on other cohorts."""
    return [wildcards.split, *(name for name, split in EXTERNAL.items() if split["of"] == wildcards.split)]


def metrics_of_cohorts(wildcards):
    return [study(f"splits/{split}/evaluation/metrics.tsv") for split in splits_of_models(wildcards)]


def cohorts_of(wildcards):
    """What a comparison of cohorts says: whose models are tested, on what."""
    return {
        "split": wildcards.split,
        "n_models": len(folds_of(wildcards.split)),
        "cohorts": [f"{config['study']} (test scans)", *config["evaluate_on"]],
        "titles": MODEL_TITLES,
        "bootstrap": config["evaluation"]["bootstrap"],
    }


def of_any_scans(outputs):
    """Those outputs, by name, that can be had of another study's scans too."""
    return {name: files for name, files in outputs.items() if name not in OF_OWN_SCANS}
