"""`voxelwhy init`: five questions, and a config with comments."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from voxelwhy.cohort.recognise import recognise_source
from voxelwhy.commands.configs import EFFORTS, make_config, study_name, write_config
from voxelwhy.commands.labels import classes_of, label_columns, usual_column
from voxelwhy.errors import InputError, VoxelwhyError

#: Tables that are proposed if the folder has one of them.
TABLES = ("participants.tsv", "scans.csv", "scans.tsv", "oasis_cross-sectional.csv")


def add_arguments(parser):
    """Add the arguments of the command to an argparse parser; every answer can be given in advance."""
    parser.add_argument("config", nargs="?", default="study.yaml", help="file to write (study.yaml by default)")
    parser.add_argument("--data", help="1. the folder with the scans")
    parser.add_argument("--table", help="2. the table with the diagnoses, or - if the folder itself tells")
    parser.add_argument("--label", help="3. the column with the diagnosis")
    parser.add_argument("--positive", action="append", help="values of patients (repeat the option for several)")
    parser.add_argument("--negative", action="append", help="values of controls")
    parser.add_argument("--template", help="4. a whole-head template, or - for the one that is fetched if needed")
    parser.add_argument("--effort", choices=[*EFFORTS], help="5. how much time the study may take")


def run(options):
    """Ask for what the options do not tell, and write the config."""
    if Path(options.config).exists():
        raise InputError("the config file exists", file=options.config, hint="name another file")
    folder = _asked(options.data, "1. Where are the scans? (a folder)", "", _folder)
    table = _asked(
        options.table, "2. Which table has the diagnoses? (- if the folder tells)", _near(folder), _table(folder)
    )
    cohort = {"source": "auto", "data_dir": folder} | ({"table": table} if table else {})
    people = table is not None and os.path.basename(table) == "participants.tsv"
    if people:  # a BIDS dataset is recognised by its folder
        cohort.pop("table")
    cohort["source"], guessed = _source(cohort, options)
    if cohort["source"] in ("bids", "caps"):
        if people and os.path.dirname(table) != folder:
            cohort["participants"] = table
        cohort |= _label(cohort["source"], folder, table, options)
    elif cohort["source"] == "folder":
        cohort |= _label("folder", folder, table, options) if table else {"classes": guessed}
    template = _asked(
        options.template, "4. Which whole-head template? (- for ICBM152, fetched if heads need it)", "-", _template
    )
    choices = "; ".join(f"{name}: {words}" for name, (_, _, words) in EFFORTS.items())
    effort = _asked(options.effort, f"5. How much time? ({choices})", "quick", _effort)
    text = make_config(options.config, study_name(folder), cohort, effort=effort, template=template)
    write_config(options.config, text)
    print(f"wrote {options.config}\nnext: voxelwhy check {options.config}")
    return 0


def _asked(given, question, default, accept):
    """The answer to a question: what an option gives, or what is typed; a wrong answer is explained and asked again."""
    if given is not None:
        return accept(given)
    while True:
        print(question + (f" [{default}]" if default else ""), file=sys.stderr)
        try:
            return accept(input("> ").strip() or default)
        except VoxelwhyError as error:
            print(error, file=sys.stderr)


def _folder(text):
    path = os.path.expandvars(os.path.expanduser(text))
    if not os.path.isdir(path):
        raise InputError("there is no such folder", file=text or "(nothing)")
    return os.path.abspath(path)


def _near(folder):
    return next((name for name in TABLES if os.path.isfile(os.path.join(folder, name))), "-")


def _table(folder):
    def accept(text):
        if text == "-":
            return None
        path = os.path.expandvars(os.path.expanduser(text))
        for place in (os.path.join(folder, path), path):
            if os.path.isfile(place):
                return os.path.abspath(place)
        raise InputError("there is no such table", file=text, allowed="a file, or - if there is none")

    return accept


def _template(text):
    if text == "-":
        return None
    if not os.path.isfile(text):
        raise InputError("there is no such image", file=text, allowed="a NIfTI image, or -")
    return os.path.abspath(text)


def _effort(text):
    if text not in EFFORTS:
        raise InputError("there is no such effort", found=text, allowed=[*EFFORTS])
    return text


def _source(cohort, options):
    """Recognise the source; without a table, names of classes may tell it."""
    known = {"positive": options.positive or ["AD", "Dementia"], "negative": options.negative or ["CN", "NC", "HC"]}
    classes = {side: {"name": values[0], "values": values} for side, values in known.items()}
    name, why = recognise_source(cohort if "table" in cohort else cohort | {"classes": classes})
    print(f"   {name}, because {why}", file=sys.stderr)
    return name, classes


def _label(source, folder, table, options):
    """The label column and the classes of sources that have no fixed ones."""
    columns = label_columns(source, folder, table)
    chosen = {"positive": options.positive, "negative": options.negative}
    if source == "folder":  # its column is always called label
        return {"classes": classes_of(columns, "label", **chosen)}

    def accept(text):
        return text, classes_of(columns, text, **chosen)

    question = f"3. Which column has the diagnosis? ({', '.join(columns)})"
    column, classes = _asked(options.label, question, usual_column(columns) or "", accept)
    return {"label": column, "classes": classes}
