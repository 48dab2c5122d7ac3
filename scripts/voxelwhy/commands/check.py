"""`voxelwhy check CONFIG`: what a config would run, what it would drop and what it would cost; nothing is run."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from voxelwhy.cohort.parse import count_cohort, parse_tables
from voxelwhy.cohort.skull_stripping import judge_cohort
from voxelwhy.commands.checkout import read_config
from voxelwhy.commands.expected import Expected
from voxelwhy.config.own_modules import find_module
from voxelwhy.errors import ModelError
from voxelwhy.evaluation.external.cohort import require_cohort
from voxelwhy.io.images import Grid
from voxelwhy.io.tables import SCANS, read_table
from voxelwhy.io.text import count, duration
from voxelwhy.jobs.study import Study
from voxelwhy.networks.build import smallest_grid
from voxelwhy.registration.selection import require_known
from voxelwhy.registry import NETWORKS
from voxelwhy.splits.folds import split_folds

#: Examples that are shown of each reason for which rows are dropped.
SHOWN = 3


def add_arguments(parser):
    """Add the arguments of the command to an argparse parser."""
    parser.add_argument("config", help="config of a study")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="cores that a run would use (all by default)")
    parser.add_argument("--tables-only", action="store_true", help="open no scan: do not detect brains and whole heads")


def run(options):
    """Print what the config would run; see the module."""
    settings, runs, refused, recognised = read_config(options.config)
    if recognised:
        print(recognised)
    if runs:
        studies = [read_study(one) for one in runs]
        report_comparison(settings, studies, refused, cores=options.cores)
    else:
        report_study(settings, cores=options.cores, scans_opened=not options.tables_only)
    print(f"\nTo run it: snakemake --cores {options.cores} --configfile {options.config}")
    print("Snakemake's own list of jobs: the same with -n")
    return 0


def read_study(config):
    """Return the `Study` of a complete config."""
    if "simulation" in config:
        simulated = f"results/{config['study']}/simulation"
        config["cohort"] |= {"table": f"{simulated}/table.csv", "data_dir": f"{simulated}/scans"}
    return Study(config)


def report_study(settings, *, cores, scans_opened=True):
    """Print the cohort of a study, what is dropped of it, its folds, and its steps with their cost.

    Parameters
    ----------
    settings : dict, complete and checked
    cores : int, cores of the run
    scans_opened : bool, whether at most 20 scans are opened to tell brains from whole heads

    Raises
    ------
    InputError, ConfigError, ModelError : what would stop the study once its table is read, or its network is built.
    """
    study = read_study(settings)
    print(f"study {study.name}: {describe_study(study)}")
    require_grid(settings)
    for cohort in settings["evaluate_on"]:
        require_cohort(cohort)
    n_scans, visits = (simulated_scans(settings["simulation"]) if study.simulated else None), 1.2
    table = Path(study.scans_table())
    if study.simulated and not table.exists():
        print(f"\nCohort: {count(n_scans, 'simulated scan')} of the two classes")
    else:
        scans, dropped = read_cohort(study, table)
        n_scans, visits = len(scans), len(scans) / scans["subject_id"].nunique()
        print(f"\n{describe_cohort(scans, dropped, study.classes)}")
        for split in settings["splits"]:
            describe_folds(split_folds(scans, split, classes=study.classes, seed=study.seed), split["name"])
        if scans_opened and settings["registration"]["transform"] != "none":
            paths = dict(zip(scans["scan_id"], scans["path"], strict=True))
            print(judge_cohort(paths, settings["scans"]["skull_stripped"], settings["scans"]["modality"])["why"])
    print(f"\n{describe_cost(Expected(study, n_scans, visits), cores)}")


def report_comparison(settings, studies, refused, *, cores):
    """Print how many studies a comparison has, which combinations are not possible, and the cost of all."""
    print(f"comparison {settings['study']}: {count(len(studies), 'study', 'studies')}")
    for one in refused:
        choices = ", ".join(f"{key}: {value}" for key, value in one.items() if key != "reason")
        print(f"  not possible: {choices} ({one['reason']})")
    expected = []
    for study in studies:
        simulation = study.config.get("simulation")
        n_scans = simulated_scans(simulation) if simulation else len(parse_tables(study.config["cohort"])[0])
        expected.append(Expected(study, n_scans))
    seconds = sum(step.seconds for one in expected for step in one.steps())
    print(f"\nAt most {hours(seconds)} of processor time: studies that share a cohort or registrations make them once.")
    print(f"On {count(cores, 'core')} at best {hours(seconds / cores)}.")


def describe_study(study):
    """Say in one line what a study does: grid, network, splits, methods."""
    settings = study.config
    registration, splits = settings["registration"], [f"{s['name']} ({s['kind']})" for s in study.splits.values()]
    grid = f"{registration['resolution_mm']:g} mm, {registration['transform']}"
    return (
        f"source {settings['cohort']['source']}; {grid}; network {study.network['network']}; "
        f"{'existing weights; ' if study.model else ''}splits {', '.join(splits)}; "
        f"methods {', '.join(study.methods)}"
    )


def require_grid(settings):
    """Refuse a network that does not fit the study's grid, as the step check_network would once it runs.

    Raises
    ------
    ModelError : the grid has fewer voxels along an axis than the network needs.
    """
    name, registration = settings["training"]["network"], settings["registration"]
    if name not in NETWORKS or registration["grid"] == "scans" or find_module(NETWORKS[name]) is None:
        return
    shape, needed = Grid.named(registration["grid"], registration["resolution_mm"]).shape, smallest_grid(name)
    if any(there < least for there, least in zip(shape, needed, strict=True)):
        words = [" x ".join(map(str, grid)) for grid in (shape, needed)]
        raise ModelError(
            f"the network {name} cannot work on a grid of {words[0]} voxels: it needs {words[1]}\n"
            "  to do:   lower registration.resolution_mm, or set training.network to compact"
        )


def simulated_scans(simulation):
    """Count the scans of the two classes that a simulation makes and that can be read."""
    visits = simulation["visits"]
    n_scans = sum(
        2 if group == "converter" else len(visits[number % len(visits)])
        for group in ("CN", "Dementia", "converter")
        for number in range(simulation["subjects"].get(group, 0))
    )
    return n_scans - len(simulation["missing_files"]) - len(simulation["truncated_files"])


def read_cohort(study, table):
    """Read the cohort of a study: from its table of scans for a simulated cohort, else from its source."""
    settings = study.config
    if study.simulated:
        return read_table(table, SCANS), pd.DataFrame(columns=["reason"])
    scans, dropped, _ = parse_tables(settings["cohort"])
    skip = settings["registration"]["skip"]
    require_known(skip, scans, dropped, "registration.skip")
    skipped = scans[scans["scan_id"].isin(skip)]
    left_out = skipped[["scan_id", "subject_id"]].assign(reason="registration.skip")
    return scans.drop(skipped.index).reset_index(drop=True), pd.concat([dropped, left_out], ignore_index=True)


def describe_cohort(scans, dropped, classes):
    """Say which scans are used, by class, and which rows are dropped, by reason with examples."""
    named = {side: {"name": name} for side, name in classes.items()}
    counts = count_cohort(scans, dropped, named, rows=len(scans) + len(dropped))
    lines = [
        f"Cohort: {count(counts['rows'], 'row')}, {count(len(scans), 'scan')} of {count(counts['subjects'], 'subject')}"
    ]
    for name, of_class in counts["classes"].items():
        lines.append(f"  {name}: {count(of_class['scans'], 'scan')} of {count(of_class['subjects'], 'subject')}")
    lines.append("Dropped:" if len(dropped) else "Dropped: nothing")
    for reason, rows in dropped.groupby("reason"):
        given = [next(filter(pd.notna, (row.get("scan_id"), row.get("subject_id"), row.get("detail"))), None)
                 for row in rows.head(SHOWN).to_dict("records")]  # fmt: skip
        examples = ", ".join(str(one) for one in given if one is not None)
        more = ", …" if len(rows) > SHOWN else ""
        lines.append(f"  {len(rows):,} because: {reason}" + (f" ({examples}{more})" if examples else ""))
    return "\n".join(lines)


def describe_folds(folds, name):
    """Print the subjects of a split that are tested and trained on, the smallest fold first."""
    subjects = folds.groupby(["fold", "side"])["subject_id"].nunique().unstack(fill_value=0)
    sides = ", ".join(f"{side} {_range(subjects[side])}" for side in subjects.columns)
    print(f"Split {name}: {count(len(subjects), 'fold')}; subjects of a fold: {sides}")


def _range(values):
    return str(values.min()) if values.min() == values.max() else f"{values.min()} to {values.max()}"


def describe_cost(expected, cores):
    """Write the steps of a study as a table, and the time and disk of all of them."""
    steps = expected.steps()
    rows = [[s.name, f"{s.jobs:,}", f"{s.done:,}", duration(s.seconds), f"{s.mb / 1e3:.1f}"] for s in steps]
    head = ["step", "jobs", "results exist", "one core", "memory, GB"]
    text = tabulate(rows, headers=head, colalign=("left", "right", "right", "right", "right"), disable_numparse=True)
    seconds = sum(step.seconds for step in steps)
    left = sum(step.seconds * (1 - step.done / step.jobs) for step in steps)
    at_best = f"on {count(cores, 'core')} at best {hours(seconds / cores)}"
    return (
        f"{text}\n\nAbout {hours(seconds)} of processor time, {at_best}; without what exists {hours(left)}.\n"
        f"About {expected.disk_gb():.1f} GB on the disk, without simulated scans.\n"
        "Another processor may take half or twice as long; a GPU shortens training and heatmaps."
    )


def hours(seconds):
    """Write a time for a plan: days above two days."""
    return duration(seconds) if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"
