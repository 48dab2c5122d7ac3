"""
Jobs that start in a fork of Snakemake's process, which has imported the large packages already.

A job of a small study takes one to three seconds to import them and much less for its own work. In the fork it runs as
a process of its own: its script with fresh output, signals, paths and environment, and the package imported from the
checkout of the study. Studies with `warm = False` and those on a cluster start each job as Snakemake does.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import logging
import os
import runpy
import signal
import subprocess
import sys
import threading
import traceback
from contextlib import nullcontext

import nested_snakemake  # from the folder of this file
from snakemake.benchmark import benchmarked
from snakemake.script import PythonScript

#: What jobs import, apart from the package itself; torch imports the last one with the first step of an optimiser.
PACKAGES = (
    "pandera.pandas", "scipy.stats", "scipy.ndimage", "sklearn.linear_model", "sklearn.svm", "sklearn.metrics",
    "sklearn.model_selection", "nilearn.image", "nilearn.masking", "nilearn.datasets", "matplotlib.figure",
    "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "jinja2", "ants", "torch", "torch.export",
    "torch._dynamo",
)  # fmt: skip
#: As Snakemake sets them to the threads of a job.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def preload():
    """Import what jobs need, in the process that is forked."""
    for name in PACKAGES:
        importlib.import_module(name)
    gc.freeze()  # the pages of these packages stay shared by all forks


def take_over(path, nested):
    """Let Snakemake, in this process, start its scripts in forks.

    `path` is what they find as sys.path, and `nested` the socket to which they send runs of Snakemake.
    """

    def execute_script(script, name, edit=False):
        child = os.fork()
        if not child:
            code = 1
            try:
                code = _run(script, name, list(path), nested)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        record = script.bench_record
        with nullcontext() if record is None else benchmarked(child, record):
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code:
            raise subprocess.CalledProcessError(code, name)

    PythonScript.execute_script = execute_script


def _run(script, name, path, nested):
    """Run a script in this process; returns the exit status."""
    # What Snakemake would do at its end, and its threads, which are not in the fork.
    atexit._clear()
    threading._threading_atexits.clear()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    logging.root.handlers.clear()
    for module in [module for module in sys.modules if module.partition(".")[0] == "voxelwhy"]:
        del sys.modules[module]
    nested_snakemake.Popen.address, subprocess.Popen = nested, nested_snakemake.Popen
    os.environ.update(dict.fromkeys(THREADS, str(script.threads)), TMPDIR=script.resources.tmpdir)
    sys.argv, sys.path = [name], [os.path.dirname(name), *path[1:]]
    try:
        for folder in filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)):
            sys.path.insert(1, folder)
            if os.path.exists(os.path.join(folder, "sitecustomize.py")):
                runpy.run_path(os.path.join(folder, "sitecustomize.py"))
        code = _status(name)
        threading._shutdown()
        atexit._run_exitfuncs()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return code


def _status(name):
    try:
        runpy.run_path(name, run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
