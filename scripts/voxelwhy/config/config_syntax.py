"""Config files that Snakemake cannot read, refused with file and line before Snakemake reads them.

Snakemake reads the files of --configfile before the workflow. It refuses one that is empty or not valid YAML without
its name or the line, and answers with a traceback if there is no such file. workflow/profiles/default calls
`refuse_unreadable` first.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from pathlib import Path

import yaml

from voxelwhy.errors import ConfigError

EXAMPLE = "the README shows a config, and config/ has one for each kind of data"


def refuse_unreadable(arguments, default):
    """End the program with a message if a config file on Snakemake's command line cannot be read.

    Parameters
    ----------
    arguments : list of str, the command line of Snakemake without its program
    default : path of the config that is read without --configfile; not checked if it does not exist
    """
    parser = argparse.ArgumentParser(prog="snakemake", usage=argparse.SUPPRESS, allow_abbrev=False, add_help=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", type=Path)
    named = parser.parse_known_args(arguments)[0].configfile
    try:
        for path in named or [path for path in [Path(default)] if path.exists()]:
            check_syntax(path)
    except ConfigError as error:
        sys.exit(f"\n{error}\n")


def check_syntax(path):
    """Refuse a config file that Snakemake cannot read as settings.

    Parameters
    ----------
    path : pathlib.Path of a config in YAML or JSON

    Raises
    ------
    ConfigError : there is no such file, or it is not UTF-8 text; it has no settings; it is not valid YAML (the message
        gives the line), or is a list or a text.
    """
    text = _text_of(path)
    try:
        settings, top = json.loads(text), None
    except ValueError:
        settings, top = _read_yaml(text, path)
    if settings is None:
        raise ConfigError("the config file is empty", file=path, hint=f"write settings into it: {EXAMPLE}")
    if not isinstance(settings, dict):
        raise ConfigError(
            "the config file has no settings",
            file=path,
            row=top,
            found=text.split("\n")[(top or 1) - 1],
            allowed="settings, as 'name: value'",
            hint=EXAMPLE,
        )


def _text_of(path):
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        others = {other.stem: other for other in path.parent.glob("*.y*ml")}  # the ending makes all names alike
        near = difflib.get_close_matches(path.stem, others, n=1)
        hint = f"did you mean {others[near[0]]}?" if near else None
        raise ConfigError("there is no such config file", file=path, hint=hint) from None
    except OSError as error:
        raise ConfigError("the config file cannot be read", file=path, found=error.strerror) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content[: error.start].count(b"\n") + 1
        raise ConfigError(
            "the config file is not UTF-8 text",
            file=path,
            row=row,
            found=content.splitlines()[row - 1].decode("latin-1"),
            hint="save it in the encoding UTF-8",
        ) from error


def _read_yaml(text, path):
    """The settings as Snakemake reads them, and the line on which they start."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        return yaml.load(text, Loader=yaml.FullLoader), root and root.start_mark.line + 1
    except yaml.MarkedYAMLError as error:
        raise _located(error, text, path) from error
    except (yaml.reader.ReaderError, ValueError) as error:  # a control character; a date that does not exist
        row = text[: error.position].count("\n") + 1 if hasattr(error, "position") else None
        raise ConfigError("the config file is not valid YAML", file=path, row=row, found=_first_line(error)) from error


def _located(error, text, path):
    """A ConfigError for an error of YAML: at its own line, or where what was never closed was opened."""
    lines = text.split("\n")
    mark = error.problem_mark or error.context_mark
    if mark.line >= len(lines) or not lines[mark.line].strip():  # at the end of the file
        mark = error.context_mark or mark
    row = min(mark.line + 1, len(lines))
    line = lines[row - 1]
    if "\t" in line[: len(line) - len(line.lstrip())]:
        hint = "replace the tabs at the start of the line by spaces: YAML allows no tabs there"
    else:
        reason = ", ".join(filter(None, (error.context, error.problem)))
        hint = f"correct this line or the one before it; YAML: {reason}"
    return ConfigError("the config file is not valid YAML", file=path, row=row, found=line, hint=hint)


def _first_line(error):
    return str(error).partition("\n")[0]
