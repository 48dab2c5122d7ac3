"""The command `voxelwhy`: its subcommands, and the BIDS App where the first word is none of them."""

from __future__ import annotations

import argparse
import importlib
import sys

import voxelwhy
from voxelwhy.errors import VoxelwhyError

#: Subcommands and their modules, each with `add_arguments(parser)` and `run(options)`, which returns the exit status.
COMMANDS = {
    "init": ("voxelwhy.commands.init", "ask five questions and write a config with comments"),
    "check": ("voxelwhy.commands.check", "report what a config would run, drop and cost, without running it"),
    "explain": ("voxelwhy.commands.explain", "explain a scan that is in no fold by a finished study"),
}
APP = ("voxelwhy.commands.bids_app", "run a study of a BIDS dataset")
USAGE = """\
usage: voxelwhy BIDS_DIR OUT {participant,group} [options]
       voxelwhy COMMAND [options]

commands:
"""
ENDING = """
A study with a config of its own is run by Snakemake: snakemake --cores all --configfile CONFIG
--version shows the version; each command has --help, and so has the BIDS App: voxelwhy app --help
"""


def main(arguments=None):
    """Run the command line.

    Parameters
    ----------
    arguments : list of str, the words after `voxelwhy`; those of the process by default

    Returns
    -------
    status : int, the exit status; an error that the user can fix is printed without a traceback
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(overview(), end="")
        return 0 if words else 2
    if words[0] == "--version":
        print(f"voxelwhy {voxelwhy.__version__}")
        return 0
    # BIDS Apps are asked with the dataset first. `app` in front is for a dataset that is called like a command.
    name = words.pop(0) if words[0] in (*COMMANDS, "app") else "app"
    try:
        return _run(name, words)
    except VoxelwhyError as error:
        print(f"\n{error}\n", file=sys.stderr)
        return 1
    except (EOFError, KeyboardInterrupt):
        print("\nstopped; nothing was written", file=sys.stderr)
        return 130


def overview():
    """What `voxelwhy --help` prints."""
    lines = [f"  {name:8} {about}\n" for name, (_, about) in COMMANDS.items()]
    return USAGE + "".join(lines) + ENDING


def _run(name, words):
    place, about = COMMANDS.get(name, APP)
    try:
        module = importlib.import_module(place)
    except ModuleNotFoundError as error:
        raise VoxelwhyError(
            f"voxelwhy {name} needs the workflow's packages, and {error.name} is not installed: pip installs the "
            "explanation methods alone\n"
            "  to do:   clone the repository of voxelwhy, run make demo in it once, and use .venv/bin/voxelwhy there"
        ) from error
    program = "voxelwhy" if name == "app" else f"voxelwhy {name}"
    parser = argparse.ArgumentParser(prog=program, description=f"{about[0].upper()}{about[1:]}.", allow_abbrev=False)
    module.add_arguments(parser)
    return module.run(parser.parse_args(words))
