"""Configs that the command line writes: few settings, each with a comment, checked before they are written."""

from __future__ import annotations

import os
import re
from pathlib import Path

import yaml

from voxelwhy.cohort.simulation.constants import load_study
from voxelwhy.commands.checkout import schema_path
from voxelwhy.errors import InputError

#: Values of a diagnosis that usually mean patients, controls, and neither, in lower case.
PATIENTS = ("ad", "dementia", "alzheimer", "patient", "patients")
CONTROLS = ("cn", "hc", "nc", "nl", "control", "controls", "healthy", "normal")
NEITHER = ("mci", "emci", "lmci", "smc", "n/a", "")
#: What a study of a given effort is: grid, network and its memory, in words.
EFFORTS = {
    "quick": (4, "compact", "4 mm: minutes to an hour; for a first look"),
    "day": (2, "compact", "2 mm: a day or two for some hundred scans"),
    "full": (1, "rieke2018", "1 mm with the paper's network: days, better on a cluster or with a GPU"),
}

TEMPLATE = """\
# Written by voxelwhy. Settings that are not given here have their defaults (docs/workflow/settings.md).
# To see what it would run, drop and cost: voxelwhy check {file}

study: {study}{pad}# name of the study and of its folder below results/
seed: 2018                    # seed of folds, initial weights, order of scans, bootstrap and permutations

cohort:
{cohort}
scans:
  skull_stripped: auto        # true: brains, false: whole heads, auto: detected; a mixture is refused{template}

registration:
  resolution_mm: {resolution_mm:g}            # {effort}
  transform: syn_quick        # affine is faster, none is for scans that are registered already
  n4: {n4}                    # whether to correct the bias field first (16 s a scan); raw scans need it

splits:
  - name: kfold
    kind: kfold               # every subject is tested once
    folds: {folds}

training:
  network: {network}
  device: auto                # a GPU if there is one

heatmaps:
  methods:
    sensitivity_analysis: {{}}
    guided_backprop: {{}}
    occlusion: {{size_mm: 40, stride_mm: 20}}
    area_occlusion: {{}}
    grad_cam: {{}}

evaluation:
  shuffled: {shuffled}                 # trainings of all folds on shuffled diagnoses; from 19 on, p for each region
"""


def make_config(
    file, study, cohort, *, effort="quick", resolution_mm=None, n4=True, folds=5, template=None, shuffled=0
):
    """Return the text of a config with comments.

    Parameters
    ----------
    file : path of the config, for its first lines
    study : str
    cohort : dict, the section `cohort`
    effort : a key of EFFORTS, the size of the study
    resolution_mm : number, instead of that of `effort`
    template : path of a whole-head template, or None

    Raises
    ------
    ConfigError, InputError : the config would be refused by a run.
    """
    size, network, words = EFFORTS[effort]
    if resolution_mm is not None and resolution_mm != size:
        size, words = resolution_mm, "mm, as asked for"
        network = "rieke2018" if size <= 2 else "compact"
    section = yaml.safe_dump(cohort, sort_keys=False, default_flow_style=None, allow_unicode=True, width=110)
    text = TEMPLATE.format(
        file=file,
        study=study,
        pad=" " * max(1, 23 - len(study)),
        cohort="".join(f"  {line}\n" for line in section.splitlines()),
        template=f"\n  template: {yaml.safe_dump(str(template)).splitlines()[0]}" if template else "",
        resolution_mm=size,
        effort=words,
        n4=str(n4).lower(),
        folds=folds,
        network=network,
        shuffled=shuffled,
    )
    config = yaml.safe_load(text)
    if config["cohort"]["source"] != "auto":  # which is recognised where the config is read
        load_study(config, schema_path())
    return text


def write_config(path, text):
    """Write a config whole or not at all; an existing file is never replaced by another text.

    Raises
    ------
    InputError : the file exists with another text.
    """
    path = Path(path)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise InputError(
            "the config file exists and is another one", file=path, hint="name another file, or remove this one first"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def study_name(text):
    """Return a name that `study` allows, made of any text.

    >>> study_name("/data/My cohort (2020)/")
    'My_cohort_2020'
    """
    words = re.sub(r"[^A-Za-z0-9.-]+", "_", os.path.basename(str(text).rstrip("/"))).strip("_.-")
    return words or "study"


def choose_classes(values, positive=None, negative=None):
    """Divide the values of a label column into the two classes and those that are not studied.

    Parameters
    ----------
    values : the distinct values of the column, as text
    positive, negative : values of the patients and of the controls, as lists; recognised by their names if None

    Returns
    -------
    dict, the section `cohort.classes`

    Raises
    ------
    InputError : the values of a class are not recognised, or a value that was named does not occur.
    """
    values = sorted({str(value).strip() for value in values})
    for named in [*(positive or []), *(negative or [])]:
        if named not in values:
            raise InputError("no subject has this label", found=named, allowed=", ".join(values))
    known = {"positive": (positive, PATIENTS), "negative": (negative, CONTROLS)}
    of = {side: named or [v for v in values if v.lower() in words] for side, (named, words) in known.items()}
    for side, option in (("positive", "patients"), ("negative", "controls")):
        if not of[side]:
            raise InputError(
                f"which labels are the {option} is not clear",
                found=", ".join(values),
                allowed=f"for example {', '.join((PATIENTS if side == 'positive' else CONTROLS)[:3])}",
                hint=f"name them: --{side} VALUE, or in answer to the question",
            )
    rest = [value for value in values if value not in (*of["positive"], *of["negative"]) and value.lower() != "n/a"]
    names = {"positive": "AD" if not positive else positive[0], "negative": "CN" if not negative else negative[0]}
    if names["positive"] == names["negative"]:
        raise InputError("both classes have the same label", found=names["positive"], allowed="different labels")
    return {side: {"name": names[side], "values": of[side]} for side in names} | {"drop": [v for v in rest if v]}
