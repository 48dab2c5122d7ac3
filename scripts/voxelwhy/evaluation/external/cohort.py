"""The cohort of another study: check that it exists, and that its scans were prepared like those of this study."""

from __future__ import annotations

import csv
import logging
import os
from pathlib import Path

import yaml

from voxelwhy.cohort.simulation.confounds import describe_confounds
from voxelwhy.errors import ConfigError, InputError
from voxelwhy.io.images import Grid, read_json

log = logging.getLogger(__name__)

#: Folders in which configs are searched, in addition to the folder of this study's config.
CONFIG_FOLDERS = ("config", ".")


def selected_path(cohort):
    """Return the path of the table of another study's selected scans."""
    return Path("results", cohort, "cohort", "selected.tsv")


def require_cohort(cohort, folders=CONFIG_FOLDERS):
    """Raise InputError, with the command to run, unless the other study has registered its scans."""
    if not selected_path(cohort).is_file():
        raise InputError(
            f"evaluate_on: the scans of the study {cohort} are not registered yet",
            file=selected_path(cohort),
            found="no such file",
            allowed=f"the results of {cohort} in the folder where snakemake runs",
            hint=f"run it first, with its own config: {register_command(cohort, folders)}",
        )


def register_command(cohort, folders=CONFIG_FOLDERS):
    """Return the command that registers the scans of another study, with its config if one of `folders` has it."""
    paths = [path for folder in folders for path in sorted(Path(folder).glob("*.y*ml"))]
    named = next((os.path.relpath(path) for path in paths if _study_of(path) == cohort), f"<the config of {cohort}>")
    return f"snakemake --cores all --configfile {named} --until select_scans"


def _study_of(path):
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return config.get("study") if isinstance(config, dict) else None


def is_simulated(paths, cohort):
    """Tell whether these scans (`path` of the table of scans) were simulated by the study `cohort`."""
    made = Path("results", cohort, "simulation")
    return any(Path(path).is_relative_to(made) for path in paths)


def planted_in_cohort(cohort):
    """Describe the confounds planted in the simulated scans of another study; "" for none."""
    try:
        with open(Path("results", cohort, "simulation", "confounds.tsv"), encoding="utf-8") as table:
            strengths = {row["confound"]: row["strength"] for row in csv.DictReader(table, delimiter="\t")}
    except FileNotFoundError:  # simulated by a version without confounds
        return ""
    words = describe_confounds(strengths)
    return f"in {cohort} {words}" if words else ""


def check_cohort(cohort, selected, *, classes, registration, whole_heads, grid):
    """Check that the scans of another study were registered and labelled like those of this one.

    Parameters
    ----------
    cohort : str, name of the other study
    selected : DataFrame by tables.SELECTED, of the other study; quality.json is in the folder of each `t1`
    classes : {"positive": name, "negative": name}, of this study
    registration : dict, of this study: transform, n4, maps (images that it needs in addition to the intensities),
        modality (of the scans, "t1w" by default)
    whole_heads : bool, whether this study's scans are registered as whole heads
    grid : Grid, of this study

    Returns
    -------
    card : dict that can be written as JSON: cohort, n_scans, n_subjects, simulated, versions

    Raises
    ------
    ConfigError : the classes have other names.
    InputError : a scan is on another grid; it was registered with another transform or N4 setting, or as a brain while
        this study has whole heads (or vice versa); it lacks an image that the models need; or its files no longer
        exist.

    Notes
    -----
    Another version of ANTs is only logged, as within a study.
    """
    _require_classes(cohort, selected, classes)
    wanted = {"transform": registration["transform"], "n4": bool(registration["n4"])}
    # Whole heads that others have registered are taken over as they came, like brains.
    wanted["whole_heads"] = bool(whole_heads) and registration["transform"] != "none"
    wanted["modality"] = registration.get("modality", "t1w")
    versions = set()
    for scan in selected.itertuples():
        quality = _read_quality(cohort, scan)
        _require_registration(cohort, scan, quality, wanted)
        _require_maps(cohort, scan, quality, registration["maps"])
        if not (found := Grid.of(scan.t1)).same(grid):
            raise InputError(
                f"the scans of {cohort} are not on the grid of this study, and nothing is resampled",
                file=scan.t1,
                found=found.in_words(),
                allowed=grid.in_words(),
                hint="set registration.resolution_mm and registration.grid to the same values in both configs, then "
                + register_command(cohort),
            )
        versions |= set(quality["versions"].values())
    by = f"with antspyx {', '.join(sorted(versions))}" if versions else "by others"
    log.info("the %d scans of %s were registered %s", len(selected), cohort, by)
    return {
        "cohort": cohort,
        "n_scans": len(selected),
        "n_subjects": int(selected["subject_id"].nunique()),
        "simulated": is_simulated(selected["path"], cohort),
        "versions": {"antspyx": sorted(versions)},
    }


def _require_classes(cohort, selected, classes):
    found = sorted(selected["label"].unique())
    if found != sorted(classes.values()):
        raise ConfigError(
            f"the classes of {cohort} have other names than those of this study",
            file=selected_path(cohort),
            column="label",
            found=", ".join(found),
            allowed=", ".join(sorted(classes.values())),
            hint="use the same names in both configs (cohort.classes.positive.name and negative.name), then "
            + register_command(cohort),
        )


def _read_quality(cohort, scan):
    path = Path(scan.t1).with_name("quality.json")
    if not (path.is_file() and Path(scan.t1).is_file()):
        raise InputError(
            f"a registered scan of {cohort} no longer exists",
            file=scan.t1,
            found="no such file",
            allowed=f"each scan of {selected_path(cohort)}",
            hint=register_command(cohort)
            + " --forcerun register_scan register_batch, with `keep: all` in the config of that study",
        )
    return read_json(path)


def _require_registration(cohort, scan, quality, wanted):
    # Only a whole head has a brain mask that was transformed back.
    found = {"transform": quality["transform"], "n4": quality["n4"], "whole_heads": quality["brain_cm3"] is not None}
    found["modality"] = quality.get("modality", "t1w")
    if found != wanted:
        raise InputError(
            f"the scans of {cohort} were not registered like those of this study, which affects the predictions",
            file=Path(scan.t1).with_name("quality.json"),
            found=_in_words(found),
            allowed=_in_words(wanted),
            hint="use the same registration.transform, registration.n4 and section scans in both configs, then "
            + register_command(cohort),
        )


def _require_maps(cohort, scan, quality, maps):
    if missing := [name for name in maps if name not in quality.get("maps", ())]:
        raise InputError(
            f"the scans of {cohort} lack an image that the models of this study need",
            file=Path(scan.t1).with_name(f"{missing[0]}.nii"),
            found="images in addition to the intensities: " + (", ".join(quality.get("maps", ())) or "none"),
            allowed=", ".join(maps),
            hint=f"set registration.maps: [{', '.join(maps)}] in its config, then " + register_command(cohort),
        )


def _in_words(how):
    n4 = "true" if how["n4"] else "false"
    if how["modality"] != "t1w":
        return f"modality: {how['modality']}, transform: {how['transform']}, n4: {n4}"
    kind = "as they came" if how["transform"] == "none" else "whole heads" if how["whole_heads"] else "brains"
    return f"{kind}, transform: {how['transform']}, n4: {n4}"
