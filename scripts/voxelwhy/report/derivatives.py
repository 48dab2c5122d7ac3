"""The results of a study as BIDS derivatives: names that other tools know, for files that stay where they are."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pandas as pd

import voxelwhy
from voxelwhy.io.images import read_json, sidecar_of, write_json

BIDS_VERSION = "1.10.0"
#: Datatype, entities before the suffix, and suffix of a registered scan, by modality; scans of other kinds have none.
IMAGES = {
    "t1w": ("anat", "desc-preproc", "T1w"),
    "gm": ("anat", "label-GM_desc-preproc", "probseg"),
    "pet": ("pet", "desc-preproc", "pet"),
}
#: What the specification does not name: maps of groups, and relevance.
IGNORED = ("group", "*_relevance.nii.gz", "*_relevance.json")
README = """\
# {title}

Made by voxelwhy {version}; {data}. The files are links to those of the study's folder,
which its workflow reads and writes: copy them before you change them.

- `participants.tsv`: one row for each subject. `subject_id` is the name in the study's own tables.
- `sub-*/[ses-*/]{datatype}/*_desc-preproc_*`: the registered scan. Without these files, the study keeps results only.
- `sub-*/[ses-*/]{datatype}/*_desc-<method>_relevance.nii.gz`: the relevance of each voxel for the class in its JSON,
  for scans that `heatmaps.scans` names. In a split with folds, the network has not seen the subject.
- `group/`: mean and standard deviation of the maps of each group of scans, raw and scaled, and relevance by region.
  BIDS has no names for them yet, so `.bidsignore` lists them.

A heatmap explains a network, not a disease.
"""


def write_derivatives(folder, selected, maps, regions, settings, *, skull_stripped):
    """Write the results of a study as a BIDS dataset of derivatives, by hard links or, across file systems, copies.

    Parameters
    ----------
    folder : path, which must not exist
    selected : DataFrame by tables.SELECTED
    maps : {(split, method): path of the folder of its maps}
    regions : {(split, method): path of its table of regions}
    settings : dict with study, space, reference (what the space is, for the sidecars), modality, classes, simulated
    skull_stripped : bool or None, whether the registered scans are brains

    Returns
    -------
    names : {scan_id: beginning of the names of its files, such as sub-01_ses-M12}
    """
    folder = Path(folder)
    folder.mkdir(parents=True)
    people, names = name_people(selected["subject_id"]), {}
    datatype, entities, suffix = IMAGES.get(settings["modality"], ("anat", "", ""))
    several = len({split for split, _ in maps}) > 1
    for scan, name in name_scans(selected, people).items():
        names[scan.scan_id] = name
        place = folder.joinpath(*re.findall(r"sub-[A-Za-z0-9]+|ses-[A-Za-z0-9]+", name), datatype)
        stem = f"{name}_space-{settings['space']}"
        facts = {"scan_id": scan.scan_id, "SpatialReference": settings["reference"]}
        source = []
        if suffix and Path(scan.t1).exists():  # a study with keep: results has removed it
            target = place / f"{stem}_{entities}_{suffix}.nii"
            link(scan.t1, target)
            write_json(sidecar_of(target), facts | {"SkullStripped": bool(skull_stripped)})
            source = [f"bids::{target.relative_to(folder).as_posix()}"]
        for (split, method), there in maps.items():
            path = Path(there, f"scan_{scan.scan_id}.nii.gz")
            if path.exists():
                target = place / f"{stem}_desc-{describe(method, split if several else '')}_relevance.nii.gz"
                link(path, target)
                write_json(
                    sidecar_of(target), read_json(sidecar_of(path)) | facts | {"Sources": source, "split": split}
                )
    for (split, method), there in maps.items():
        _link_group(folder / "group", split, method, Path(there), settings["space"])
    for (split, method), table in regions.items():
        link(table, folder / "group" / f"split-{label(split)}_desc-{describe(method)}_regions.tsv")
    _describe(folder, selected, people, settings, datatype)
    return names


def remove_images(folder):
    """Remove the registered scans of a dataset of derivatives: as long as a link exists, they take their space."""
    for path in sorted(Path(folder).glob("sub-*/**/*_desc-preproc_*.nii")):
        sidecar_of(path).unlink(missing_ok=True)
        path.unlink()


def link(source, target):
    """Link a file to another place; where that is not possible, as across file systems, copy it."""
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def label(text):
    """Return a text as the value of a BIDS entity, which has letters and digits only.

    >>> label("Month 12"), label("999_S_0001")
    ('Month12', '999S0001')
    """
    return re.sub(r"[^A-Za-z0-9]", "", str(text))


def describe(method, split="", scaled=False):
    """Return the value of the entity desc for a method.

    >>> describe("grad_cam"), describe("occlusion", "kfold", scaled=True)
    ('gradCam', 'kfoldOcclusionScaled')
    """
    words = [*filter(None, [label(split)]), *method.split("_"), *["scaled"] * scaled]
    return words[0] + "".join(word[0].upper() + word[1:] for word in words[1:])


def name_people(subject_ids):
    """Return the BIDS name of each subject, sub-<label>; subjects whose labels would be equal are numbered."""
    names, taken = {}, set()
    for subject in dict.fromkeys(subject_ids):
        name = own = label(str(subject).removeprefix("sub-")) or "x"
        number = 1
        while name.lower() in taken:  # file systems may not tell upper from lower case
            number += 1
            name = f"{own}x{number}"
        taken.add(name.lower())
        names[subject] = f"sub-{name}"
    return names


def name_scans(selected, people):
    """Return the beginning of the file names of each scan, a row of `selected`: subject, session, run if several."""
    named = {}
    for scan in selected.itertuples(index=False):
        session = "" if pd.isna(scan.session) else label(scan.session)
        named[scan] = people[scan.subject_id] + (f"_ses-{session}" if session else "")
    counts, runs = pd.Series(list(named.values()), dtype=object).value_counts(), {}
    for scan, name in named.items():
        if counts[name] > 1:
            runs[name] = runs.get(name, 0) + 1
            named[scan] = f"{name}_run-{runs[name]}"
    return named


def _link_group(place, split, method, maps, space):
    for path in sorted(maps.glob("*.nii.gz")):
        if found := re.fullmatch(r"(mean|sd)_(.+?)(_scaled)?\.nii\.gz", path.name):
            statistic, group, scaled = found.groups()
            stem = f"split-{label(split)}_group-{label(group)}_space-{space}_stat-{statistic}"
            target = place / f"{stem}_desc-{describe(method, scaled=bool(scaled))}_relevance.nii.gz"
            link(path, target)
            link(sidecar_of(path), sidecar_of(target))


def _describe(folder, selected, people, settings, datatype):
    """Write what describes the dataset: its card, its participants, and what the specification does not name."""
    data = "the scans are simulated" if settings["simulated"] else "the scans are real"
    title = f"Relevance maps of the study {settings['study']}" + (" (simulated scans)" if settings["simulated"] else "")
    maker = {"Name": "voxelwhy", "Version": voxelwhy.__version__, "Description": "heatmaps of 3D CNNs on brain scans"}
    card = {"Name": title, "BIDSVersion": BIDS_VERSION, "DatasetType": "derivative", "GeneratedBy": [maker]}
    write_json(folder / "dataset_description.json", card)
    words = {"title": title, "version": voxelwhy.__version__, "data": data, "datatype": datatype}
    (folder / "README.md").write_text(README.format(**words), encoding="utf-8")
    (folder / ".bidsignore").write_text("".join(f"{line}\n" for line in IGNORED), encoding="utf-8")
    positive = settings["classes"]["positive"]
    by_subject = selected.groupby("subject_id", sort=False)
    table = pd.DataFrame(
        {
            "participant_id": [people[subject] for subject in by_subject.groups],
            "subject_id": [*by_subject.groups],
            "age": by_subject["age"].min().to_numpy(),
            "sex": by_subject["sex"].first().to_numpy(),
            "diagnosis": [positive if positive in set(labels) else labels.iloc[0] for _, labels in by_subject["label"]],
            "n_scans": by_subject.size().to_numpy(),
        }
    )
    table.to_csv(folder / "participants.tsv", sep="\t", index=False, na_rep="n/a", lineterminator="\n")
    write_json(folder / "participants.json", _columns(settings["classes"]))


def _columns(classes):
    return {
        "subject_id": {"Description": "Name of the subject in the tables of the study"},
        "age": {"Description": "Age at the first scan that is used", "Units": "year"},
        "sex": {"Description": "Sex as the table of the cohort has it", "Levels": {"F": "female", "M": "male"}},
        "diagnosis": {
            "Description": "Class of the subject; positive if it is that of any of its scans",
            "Levels": {classes["positive"]: "positive class", classes["negative"]: "negative class"},
        },
        "n_scans": {"Description": "Number of scans that the study uses"},
    }
