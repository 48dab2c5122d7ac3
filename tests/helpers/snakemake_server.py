"""
Snakemake, started once: runs commands in forks of a process that has imported it, one after another.

A command of Snakemake spends most of its time importing itself. Each fork is what the command line would start: a
process with its own folder, environment, output and exit status that ends with the command. Requests and answers are
lines of JSON. Nothing of voxelwhy is imported before the fork: the workflow imports that of its own checkout. Jobs of a
warm request start in forks, too (helpers/warm_jobs.py), and so do the runs of Snakemake that such a job calls
(helpers/nested_snakemake.py).
"""

import functools
import json
import os
import shutil
import signal
import sys
import tempfile

import nested_snakemake  # this and warm_jobs from the folder of this file
import nibabel  # noqa: F401  (the workflow imports these two each time it is parsed)
import pandas  # noqa: F401
import snakemake.executors.dryrun
import snakemake.executors.local  # noqa: F401
import warm_jobs
from snakemake.cli import main as snakemake_main
from snakemake.workflow import Workflow

PATH = tuple(sys.path)


def strings(files):
    return [str(file) for file in files]


def describe_job(dag, job):
    group = dag.get_job_group(job)
    return {
        "rule": job.rule.name,
        "wildcards": dict(job.wildcards_dict),
        "input": strings(job.input),
        "output": strings(job.output),
        "reason": str(dag.reason(job)),
        "mem_mb": job.resources.get("mem_mb"),
        # None, or the name of the group and which of the groups of this name it is.
        "group": group and [group.groupid, id(group)],
    }


def describe_rule(rule):
    """What a rule's block states."""
    return {
        "script": rule.script,
        "params": sorted(name for name, _ in rule.params._allitems()),
        # None: a function of wildcards and attempt.
        "resources": {name: None if r.is_evaluable() else r.value for name, r in rule.resources.items()},
        "log": strings(rule.log),
        "benchmark": rule.benchmark and str(rule.benchmark),
        "environment": rule.conda_env and str(rule.conda_env),
        "local": rule.name in rule.workflow._localrules,
    }


def record_plan(path):
    """Let the dry run of this process write what it would do to `path`, as JSON."""
    execute = Workflow.execute

    def recorded(workflow, *arguments, **options):
        result = execute(workflow, *arguments, **options)
        dag = workflow.dag
        plan = {
            "jobs": [describe_job(dag, job) for job in dag.needrun_jobs(exclude_finished=False)],
            "rules": {rule.name: describe_rule(rule) for rule in workflow.rules},
            "config": workflow.globals["config"],
        }
        with open(path, "w", encoding="utf-8") as out:
            json.dump(plan, out)
        return result

    Workflow.execute = recorded


def run(request, output, messages, *, plan=None, nested=None):
    """What the fork does, up to its end: `python -m snakemake <arguments>` in the folder of the request.

    Parameters
    ----------
    output, messages : int, file descriptors for what is printed
    plan : path or None; what the dry run would do is written there
    nested : path or None; of the socket of nested runs, with which jobs start in forks
    """
    os.dup2(output, 1)
    os.dup2(messages, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.path[0] = request["folder"]
    sys.argv = ["snakemake", *request["arguments"]]
    if plan:
        record_plan(plan)
    if nested:
        warm_jobs.take_over([request["folder"], *PATH[1:]], nested)
    snakemake_main(request["arguments"])


def answer(request):
    folder = tempfile.mkdtemp()
    paths = {name: os.path.join(folder, name) for name in ("stdout", "stderr", "plan")}
    for path in paths.values():
        open(path, "w").close()
    nested = server = None
    if request["warm"]:
        warm_jobs.preload()
        nested = os.path.join(folder, "nested")
        server = nested_snakemake.serve(nested, functools.partial(run, nested=nested))
    child = os.fork()
    if not child:
        output, messages = (os.open(paths[name], os.O_WRONLY) for name in ("stdout", "stderr"))
        run(request, output, messages, plan=request["plan"] and paths["plan"], nested=nested)
        sys.exit()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if server:
        os.kill(server, signal.SIGKILL)
        os.waitpid(server, 0)
    texts = {}
    for name, path in paths.items():
        with open(path, encoding="utf-8", errors="replace") as file:
            texts[name] = file.read()
    shutil.rmtree(folder)
    plan = json.loads(texts["plan"]) if texts["plan"] else None
    return {"code": code, "text": texts["stdout"] + texts["stderr"], "plan": plan}


if __name__ == "__main__":
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what else is printed is not taken for an answer
    for line in sys.stdin:
        replies.write(json.dumps(answer(json.loads(line))) + "\n")
        replies.flush()
