"""Recognise the source of a cohort (`cohort.source: auto`) by its tables or folder, and explain the choice."""

from __future__ import annotations

import os
import re

from voxelwhy.cohort.readers import _class_names as class_names
from voxelwhy.cohort.readers import _files as files
from voxelwhy.cohort.readers._adni import RENAMED
from voxelwhy.cohort.readers._tables import read_columns, rename_columns
from voxelwhy.config.settings import place_tables
from voxelwhy.errors import ConfigError, InputError

#: Sets of columns by source; a table of the source has all columns of at least one set.
COLUMNS = {
    "adni_merged": [("PTID", "Visit", "Image.ID", "DX")],
    "adni_collection": [("Image Data ID", "Subject", "Visit", "Group")],
    "oasis": [("ID", "M/F", "Age", "CDR"), ("Subject ID", "MRI ID", "M/F", "Age", "CDR")],
    "folder": [("path", "label")],
}
# If ADNIMERGE is joined, it provides the diagnosis.
DIAGNOSES = ("DX", "Group")
OASIS_FOLDER = re.compile(r"OAS[12]_\d{4}(_MR\d+)?")


def settle_source(config):
    """Replace the source `auto` by the recognised source.

    Parameters
    ----------
    config : dict, as loaded from YAML, not yet checked

    Returns
    -------
    config : a copy with the name of the source, or `config` itself if the source is not auto
    sentence : what was recognised and why, or None. A simulated cohort is always adni_merged and needs no sentence.

    Raises
    ------
    InputError, ConfigError : as for `recognise_source`.
    """
    cohort = config.get("cohort") if isinstance(config, dict) else None
    if not isinstance(cohort, dict) or cohort.get("source") != "auto":
        return config, None
    name, sentence = "adni_merged", None
    if "simulation" not in config:
        name, why = recognise_source(cohort)
        sentence = f"cohort.source auto: {name}, because {why}"
    return config | {"cohort": cohort | {"source": name}}, sentence


def recognise_source(cohort):
    """Recognise a source by the columns of its tables or, without tables, by the content of its folder.

    Parameters
    ----------
    cohort : the `cohort` section as loaded from YAML: table (a path or a list), data_dir, adnimerge, classes

    Returns
    -------
    name : str, a cohort source
    why : str, what it was recognised by

    Raises
    ------
    InputError : tables or folder match no source or several; the message states what was found and what each needs.
    ConfigError : neither a table nor a folder is given, or one of them is not a path.
    """
    places = {key: cohort[key] for key in ("table", "data_dir") if key in cohort}
    tables = places.get("table", [])
    for path in [*(tables if isinstance(tables, list) else [tables]), places.get("data_dir", "")]:
        if not isinstance(path, str):
            raise ConfigError("cohort.table and cohort.data_dir must be paths", found=path, allowed="text")
    place_tables(places)
    if tables:
        tables = places["table"] if isinstance(places["table"], list) else [places["table"]]
        return _by_columns(tables, bool(cohort.get("adnimerge")), places.get("data_dir"))
    if not places.get("data_dir"):
        raise ConfigError(
            "cohort.source auto needs a table or a folder", allowed="cohort.table, or cohort.data_dir, or both"
        )
    return _by_folder(places["data_dir"], cohort.get("classes"))


def _by_columns(tables, joined, folder):
    fits = {}
    for table in tables:
        columns = read_columns(table)
        columns = list(dict.fromkeys([*columns, *rename_columns(columns, RENAMED)]))
        found = {name: needed for name in COLUMNS for needed in _sets(name, joined) if set(needed) <= set(columns)}
        if len(found) != 1:
            raise InputError(
                "the table's columns match several sources" if found else "the table's columns match no source",
                file=table,
                row=1,
                found=", ".join(columns)[:300],
                allowed=_needs(joined, found or COLUMNS),
                hint=_hint(columns, folder) if not found else "set cohort.source to the one that you mean",
            )
        fits |= found
    if len(fits) > 1:
        raise InputError("the tables belong to several sources", found=", ".join(fits), allowed="tables of one source")
    ((name, needed),) = fits.items()
    return name, f"{'each table' if len(tables) > 1 else 'the table'} has the columns {', '.join(needed)}"


def _sets(name, joined):
    """The sets of columns of a source, one of which it needs; `joined`: ADNIMERGE provides the diagnosis."""
    return [[column for column in needed if not (joined and column in DIAGNOSES)] for needed in COLUMNS[name]]


def _needs(joined, names):
    needs = "; ".join(f"{name}: {' or '.join(', '.join(needed) for needed in _sets(name, joined))}" for name in names)
    return needs if set(names) < set(COLUMNS) else f"{needs}; bids: no table, but data_dir"


def _hint(columns, folder):
    if {"PTID", "VISCODE", "DX_bl"} <= set(columns):
        return "this seems to be ADNIMERGE: set cohort.adnimerge to it, and cohort.table to a table of the images"
    if "participant_id" in columns or (folder and os.path.exists(os.path.join(folder, "dataset_description.json"))):
        return "a BIDS dataset is recognised by its folder: remove cohort.table"
    return "rename the columns, or set cohort.source"


def _by_folder(folder, classes):
    if any(name.startswith("sub-") for name in _names(os.path.join(folder, "subjects"))):
        return "caps", "the folder has subjects/sub-*/"
    if os.path.isfile(os.path.join(folder, "dataset_description.json")):
        return "bids", "the folder has a dataset_description.json"
    found, values = {}, _class_values(classes)
    upper = list(_upper_folders(folder))
    for name in upper:
        if re.fullmatch(r"sub-[A-Za-z0-9]+", name):
            found.setdefault("bids", f"the folder has {name}/")
        if OASIS_FOLDER.fullmatch(os.path.basename(name)):
            found.setdefault("oasis", f"the folder has {name}/")
        if name in values:
            found.setdefault("folder", f"the folder has {name}/, and {name} is a value of cohort.classes")
    # The whole tree is searched only if nothing else identifies the source.
    if not found and (named := _first_of_class(folder, values)):
        found["folder"] = f"names contain a value of cohort.classes, such as {named}"
    if len(found) != 1:
        raise InputError(
            "the folder matches several sources" if found else "the folder matches no source",
            file=folder,
            found="; ".join(f"{name}: {why}" for name, why in found.items()) or ", ".join(upper[:5]) or "no folders",
            allowed="bids: dataset_description.json or sub-*/; caps: subjects/sub-*/; oasis: OAS1_*/ or OAS2_*/ and "
            "cohort.table; folder: file names that begin with a value of cohort.classes, or folders named like one",
            hint="set cohort.source, or provide a table (cohort.table)",
        )
    return next(iter(found.items()))


def _names(folder):
    return os.listdir(folder) if os.path.isdir(folder) else []


def _upper_folders(folder):
    """Names of the folders in the two upper levels of a folder: OASIS-1 has disc1/OAS1_0001_MR1/."""
    if not os.path.isdir(folder):
        raise InputError("there is no such folder", file=folder, hint="correct cohort.data_dir in the config")
    for place, folders, _ in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = "" if place == folder else os.path.relpath(place, folder)
        yield from [os.path.join(below, name) for name in folders]
        if below:
            folders.clear()


def _class_values(classes):
    # The config is not checked yet: an invalid section gives no values here and is refused later.
    try:
        return class_names.class_values(classes | {"drop": classes.get("drop", [])})
    except (TypeError, KeyError, AttributeError):
        return {}


def _first_of_class(folder, values):
    """The first image whose name or folders give a class, or None."""
    for _, entries in files.walk(folder):
        for entry in entries:
            name = os.path.relpath(entry.path, folder)
            if not (ending := files.ENDING.search(name)):
                continue
            for way in ("folders", "names"):
                if class_names.read_name(name[: ending.start()], values, way)["label"]:
                    return name
    return None
