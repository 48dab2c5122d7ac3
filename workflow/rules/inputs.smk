"""
Inputs that are known only after the table is read, and outputs that are marked for Snakemake's report.
"""

from voxelwhy.evaluation.external.cohort import CONFIG_FOLDERS, require_cohort, selected_path


def once_read(function):
    """An input function that waits until parse_tables has run: only then are the scans known."""

    def wait(wildcards):
        checkpoints.parse_tables.get()
        return function(wildcards)

    return wait


def cohort_table(cohort):
    """The registered scans of another study; if they are missing, nothing of this study starts.

    With --until, a run may end before it needs them, so that two studies that test each other can each register
    their scans first; check_cohort then refuses a cohort that is still missing.
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
    split = study.splits[wildcards.split]
    return cohort_table(split["cohort"]) if "cohort" in split else study.path("cohort/selected.tsv")


def covariates_of(wildcards):
    """The covariates of the scans that a split tests, where a config names any (cohort.covariates)."""
    return study.covariates(wildcards.split)


def measured_of(wildcards):
    """The properties that were measured in the images of the scans that a split tests."""
    split = study.splits[wildcards.split]
    return study.path(
        f"external/{split['cohort']}_image_properties.tsv" if "cohort" in split else "cohort/image_properties.tsv"
    )


def figure(stem, category):
    """The files of a figure: the picture, marked for snakemake --report, the drawing, title and caption."""
    labels = {"figure": Path(stem).name.replace("_", " ")}
    picture = report(f"<results>/{stem}.png", category=category, labels=labels)
    return [picture, f"<results>/{stem}.svg", f"<results>/{stem}.json"]


def figures(folder, names, category):
    """Outputs by name, for several figures."""
    return {name: figure(f"{folder}/{name}", category) for name in names}


def tables(folder, names):
    """Outputs by name, for several tables: tsv, md, tex, and json with title and caption."""
    return {name: [f"<results>/{folder}/{name}.{ending}" for ending in ("tsv", "md", "tex", "json")] for name in names}


def kept(output):
    """An intermediate output: removed after use if the config keeps results only."""
    return output if config["keep"] == "all" else temp(output)
