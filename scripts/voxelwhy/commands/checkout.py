"""Where the workflow lies, and what Snakemake does with a config before anything runs."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

import yaml

import voxelwhy
from voxelwhy.cohort.recognise import settle_source
from voxelwhy.cohort.simulation.constants import load_study
from voxelwhy.comparison.combinations import make_cells
from voxelwhy.config.config_files import check_files, expand_paths
from voxelwhy.config.config_syntax import check_syntax
from voxelwhy.config.model import network_settings
from voxelwhy.errors import InputError

#: The environment variable that names a checkout, where the package was installed without one.
HOME = "VOXELWHY_HOME"


def find_checkout():
    """Return the folder of the checkout: the one that VOXELWHY_HOME names, that of this package, or this folder.

    Raises
    ------
    InputError : none of them has a workflow; the message tells what to clone.
    """
    named = os.environ.get(HOME)
    places = [Path(named)] if named else [Path(voxelwhy.__file__).resolve().parents[2], Path.cwd()]
    for place in places:
        if (place / "workflow" / "Snakefile").is_file():
            return place
    raise InputError(
        "the workflow of voxelwhy is not here",
        file=places[0],
        found="no workflow/Snakefile",
        allowed=f"a checkout of voxelwhy, in which the package lies, in which you are, or that {HOME} names",
        hint=f"clone the repository of voxelwhy, then use its .venv/bin/voxelwhy or export {HOME}=<the clone>",
    )


def schema_path():
    """Return the path of the schema of the settings."""
    return find_checkout() / "workflow" / "schemas" / "config.schema.yaml"


def read_config(path):
    """Read and check a config as the Snakefile does.

    Parameters
    ----------
    path : path of a config in YAML or JSON

    Returns
    -------
    settings : dict, complete and checked
    runs : list of dict, the settings of the studies of a comparison; empty for a single study
    refused : list of dict, the combinations of a comparison that are not possible
    recognised : str or None, which source was recognised and why (cohort.source auto)

    Raises
    ------
    ConfigError, InputError : as in a run, with the file, what was found and what is allowed.
    """
    path = Path(path)
    check_syntax(path)
    check_files([path])
    # A network of the user's own may lie in a module next to the config.
    folder = str(path.resolve().parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), folder]))
    config, recognised = settle_source(expand_paths(yaml.safe_load(path.read_text(encoding="utf-8-sig"))))
    load = partial(load_study, schema_path=schema_path())
    runs, refused = make_cells(config, load) if "compare" in config else ([], [])
    settings = load(config)
    settings["training"] |= network_settings(settings, folder)
    return settings, [load(run.config) for run in runs], refused, recognised


def snakemake_command(*arguments):
    """Return the command that runs Snakemake on the workflow, as a list of words."""
    return [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(find_checkout() / "workflow" / "Snakefile"),
        *arguments,
    ]
