"""
What all rules share: the checked settings, the study that they describe, and its folders.

Each rule states only what is specific to it. What every rule has is added once, at the end of the Snakefile
(voxelwhy.jobs.rules): a log <logs>/<rule>/<wildcards>.log, a benchmark <benchmarks>/<rule>/<wildcards>.tsv, the conda
environment, and params.code, the digest of the code behind its script. Unless it states otherwise, a rule has one
thread and the memory and time of a job on tables.
"""

import copy
import logging
import os
import sys
from collections import Counter
from functools import partial
from pathlib import Path

from snakemake.jobs import GroupJob, GroupJobFactory

SCRIPTS = Path(workflow.basedir).resolve().parent / "scripts"
sys.path.insert(0, str(SCRIPTS))
# Snakemake appends a script's folder to sys.path: without this an installed copy of the package would win.
# A network of the user's own may lie in a module next to the config.
CONFIG_FOLDER = str(Path(workflow.configfiles[-1]).resolve().parent)
IMPORTED_FROM = [str(SCRIPTS), os.environ.get("PYTHONPATH"), CONFIG_FOLDER]
os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, IMPORTED_FROM)))

# The memory of large arrays is reused instead of being returned to the system and requested again. Otherwise page
# faults take up half the time of a 3-D network's forward pass (glibc; no other C library reads these variables).
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(4 * 1024**3))
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(2 * 1024**3))

from voxelwhy.cohort.recognise import settle_source
from voxelwhy.cohort.simulation.confounds import describe_confounds
from voxelwhy.cohort.simulation.constants import load_study
from voxelwhy.comparison.combinations import make_cells
from voxelwhy.config.config_files import check_files, expand_paths
from voxelwhy.config.model import network_settings
from voxelwhy.errors import VoxelwhyError, require_writable
from voxelwhy.evaluation.external.cohort import planted_in_cohort
from voxelwhy.jobs.code_digest import code_digest
from voxelwhy.jobs.facts import Facts
from voxelwhy.jobs.outputs import COHORT_FIGURES, Outputs
from voxelwhy.jobs.progress import print_end, show_progress
from voxelwhy.jobs.resources import Requests
from voxelwhy.jobs.rules import complete_rules
from voxelwhy.jobs.named_files import tables_of
from voxelwhy.jobs.study import Study, one_of, recorded
from voxelwhy.registry import METHODS, SOURCES

SCHEMA = Path(workflow.basedir, "schemas", "config.schema.yaml")
# A scan that is in no fold, or a folder of them (--config new=PATH age=71 sex=F), is no setting of the study.
NEW = {name: config.pop(name) for name in ("age", "sex", "new") if name in config and "new" in config}
try:
    check_files(workflow.configfiles)
    config, recognised = settle_source(expand_paths(config))
    # A comparison consists of many studies, each with a config of its own: this one, except for a few settings.
    CELLS, REFUSED = make_cells(config, partial(load_study, schema_path=SCHEMA)) if "compare" in config else ([], [])
    config = load_study(config, SCHEMA)
    GIVEN = copy.deepcopy(recorded(config))  # before the workflow adds what follows from the settings
    config["training"] |= network_settings(config, CONFIG_FOLDER)
except VoxelwhyError as error:
    sys.exit(f"\n{error}\n")

if recognised:
    config["cohort"]["recognised"] = recognised  # for the log of parse_tables
    if workflow.is_main_process:
        print(recognised, file=sys.stderr)


pathvars:
    results=f"results/{config['study']}",
    logs=f"results/{config['study']}/logs",
    benchmarks=f"results/{config['study']}/benchmarks",


if "simulation" in config:
    simulated = f"results/{config['study']}/simulation"
    config["cohort"] |= {"table": f"{simulated}/table.csv", "data_dir": f"{simulated}/scans"}

study = Study(
    config,
    confounds=describe_confounds(config.get("simulation", {}).get("confounds", {})),
    confounds_of=planted_in_cohort,
)
ask, facts, shown = Requests(study), Facts(study), Outputs(study)


# On a cluster the steps of a group run one after another, so that a group must request the processors and memory of one
# step and the time of all; Snakemake would add up processors and memory as if they ran side by side. Each step takes
# one in_turn there (workflow/profiles/slurm), and a job has one. It is set here because a job's own Snakemake on a
# compute node reads no profile. `cores: 1` would do the same, but would also reduce the threads of the trainings, which
# are a setting.
resource_scopes:
    in_turn="local",


workflow.global_resources["in_turn"] = 1

# Snakemake 9.27 keeps the groups that it has made, and merges them again whenever the graph of jobs has changed. They
# would grow beyond their size in the profile, and hold jobs that were replaced when the table was read, whose inputs
# would be recorded wrongly. Groups that are made again each time hold only the current jobs.
GroupJobFactory.new = lambda self, groupid, jobs, resources: GroupJob(groupid, frozenset(jobs), resources)


wildcard_constraints:
    scan=r"[A-Za-z0-9_.+-]+",
    batch=r"\d+",
    split=one_of(study.splits),
    fold=r"\d+",
    part=r"\d+-of-\d+",
    repeat=r"\d+",
    method=one_of(study.methods),


FAILED = None
if workflow.is_main_process:
    try:
        # Snakemake keeps its own records here: without them it does nothing at all, not even a dry run.
        require_writable(".snakemake")
        if not workflow.output_settings.dryrun:
            require_writable(study.path(""))
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


onerror:
    if FAILED:
        FAILED.show_end()


onsuccess:
    print_end(
        study.path("report.html"), [study.path(f"splits/{name}/evaluation/summary.json") for name in study.studied]
    )
