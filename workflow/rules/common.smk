"""
What all rules share: the checked settings, paths within the study, and the digest of a rule's code.
"""

import json
import logging
import os
import re
import sys
from collections import Counter
from functools import partial
from pathlib import Path

from snakemake.jobs import GroupJob, GroupJobFactory

SCRIPTS = Path(workflow.basedir).resolve().parent / "scripts"
sys.path.insert(0, str(SCRIPTS))
# Snakemake appends a script's folder to sys.path: without this an installed copy of the package would win.
# A network of the user's own may lie in a module beside the config.
CONFIG_FOLDER = str(Path(workflow.configfiles[-1]).resolve().parent)
IMPORTED_FROM = [str(SCRIPTS), os.environ.get("PYTHONPATH"), CONFIG_FOLDER]
os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, IMPORTED_FROM)))

# Large arrays are kept for the next one instead of being given back and asked for again: page faults take up half the
# time of a 3-D network's forward pass otherwise (glibc; no other C library reads these).
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(4 * 1024**3))
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(2 * 1024**3))

from voxelwhy.jobs.code_digest import code_digest
from voxelwhy.cohort.recognise import settle_source
from voxelwhy.comparison.combinations import make_cells
from voxelwhy.errors import VoxelwhyError, require_writable
from voxelwhy.config.splits import reported_splits
from voxelwhy.config.model import network_settings
from voxelwhy.jobs.progress import show_progress
from voxelwhy.registry import METHODS, NETWORKS, SOURCES
from voxelwhy.config.settings import load_settings
from voxelwhy.cohort.simulation.confounds import describe_confounds

SCHEMA = Path(workflow.basedir, "schemas", "config.schema.yaml")
try:
    config, recognised = settle_source(config)
    # A comparison is made of many studies, each with the config of its own: this one, but for a few settings.
    CELLS, REFUSED = make_cells(config, partial(load_settings, schema_path=SCHEMA)) if "compare" in config else ([], [])
    config = load_settings(config, SCHEMA)
    config["training"] |= network_settings(config, CONFIG_FOLDER)
except VoxelwhyError as error:
    sys.exit(f"\n{error}\n")

if recognised:
    config["cohort"]["recognised"] = recognised  # for the log of parse_tables
    if workflow.is_main_process:
        print(recognised, file=sys.stderr)

SEED = config["seed"]
# GPUs that a job asks the scheduler for where it runs a network; no number depends on it, so that no params hold it.
GPUS = 1 if config["use_gpu"] else 0
STUDIED = reported_splits(config)
# The models of a split on the scans of another study are a split by themselves, that nobody trains.
EXTERNAL = {name: split for name, split in STUDIED.items() if "cohort" in split}
SPLITS = {split["name"]: split for split in config["splits"]} | STUDIED
# A wildcard for the splits of this study's own scans: folds and models are made for these alone.
OWN_SPLITS = "|".join(re.escape(name) for name in SPLITS if name not in EXTERNAL)
# Splits whose test scans get heatmaps; the others are for accuracy alone.
EXPLAINED = [name for name, split in STUDIED.items() if split.get("heatmaps", True)]
# Weights from elsewhere take the place of training; where they were trained is what accuracy depends on.
MODEL = config["model"] if "weights" in config.get("model", {}) else {}
NETWORK = {key: config["training"][key] for key in ("network", "options", "channels") if key in config["training"]}
NETWORK_MODULE = NETWORKS.get(NETWORK["network"], NETWORK["network"].partition(":")[0])
ACCURACY = not MODEL or "trained_on" in MODEL
SIMULATED = "simulation" in config
PLANTED = SIMULATED and config["simulation"]["effect"] > 0
# What figures and the report say of it: true, or the words that tell which confound was planted.
MARK = SIMULATED and (describe_confounds(config["simulation"]["confounds"]) or True)
CLASSES = {side: config["cohort"]["classes"][side]["name"] for side in ("positive", "negative")}


# On a cluster the steps of a group run one after another, so that a group must ask for the processors and memory of one
# step and for the time of all; Snakemake would add up processors and memory as if they ran side by side. Each step takes
# one in_turn there (workflow/profiles/slurm), and a job has one. It is set here because a job's own Snakemake on a
# compute node reads no profile. `cores: 1` would do the same and take threads from the trainings, which are a setting.
resource_scopes:
    in_turn="local",


workflow.global_resources["in_turn"] = 1

# Snakemake 9.27 keeps the groups that it has made, and merges them once more whenever the graph of jobs has changed. They
# would grow beyond the size that the profile gives them, and hold jobs that were replaced when the table was read, whose
# inputs would be written down wrongly. Made anew each time, they hold what is there.
GroupJobFactory.new = lambda self, groupid, jobs, resources: GroupJob(groupid, frozenset(jobs), resources)


wildcard_constraints:
    scan=r"[A-Za-z0-9_.+-]+",
    batch=r"\d+",
    split="|".join(map(re.escape, SPLITS)),
    fold=r"\d+",
    part=r"\d+-of-\d+",
    method="|".join(config["heatmaps"]["methods"]),


def study(path):
    """A path within the study's folder."""
    return f"results/{config['study']}/{path}"


if SIMULATED:
    config["cohort"] |= {
        "table": study("simulation/table.csv"),
        "data_dir": study("simulation/scans"),
    }


def code(script, *named):
    """Hashes of the code behind a rule; `named` are modules that it loads by a name in the config."""
    return code_digest(SCRIPTS / script, named)


def folds_of(split):
    """Numbers of the folds of a split."""
    return range(SPLITS[split]["folds"] if SPLITS[split]["kind"] == "kfold" else 1)


def print_end(report_path, summaries):
    """Say where the report is and what it comes to, once it is there."""
    if all(os.path.exists(path) for path in (report_path, *summaries)):
        lines = [sentence for path in summaries for sentence in json.loads(Path(path).read_text())["sentences"]]
        print("", *lines, f"\nThe report: {report_path}", sep="\n", file=sys.stderr)


FAILED = None
if workflow.is_main_process:
    try:
        # Where Snakemake keeps its own books: without them it does nothing at all, not even a dry run.
        require_writable(".snakemake")
    except VoxelwhyError as error:
        sys.exit(f"\n{error}\n")
    if not workflow.output_settings.dryrun:
        FAILED = show_progress(
            logging.getLogger("snakemake.logging"),
            # Not dag.stats(): it sorts the whole graph, which takes half a second after each of 10,000 jobs.
            totals=lambda: Counter(
                job.rule.name for job in {*workflow.dag.needrun_jobs(), *workflow.dag.finished_jobs}
            ),
            cores=workflow.resource_settings.cores or 1,
            cluster=lambda: not workflow.local_exec,
            job_of=lambda number: next((job for job in workflow.dag.jobs if job.jobid == number), None),
        )


onstart:
    try:
        require_writable(study(""))
    except VoxelwhyError as error:
        sys.exit(f"\n{error}\n")


onerror:
    if FAILED:
        FAILED.show_end()
