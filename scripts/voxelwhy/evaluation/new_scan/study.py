"""A finished study, read from its folder: what a new scan is registered, classified, explained and compared with."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
import yaml

from voxelwhy.errors import ConfigError, InputError
from voxelwhy.io.images import read_json
from voxelwhy.io.tables import ATLAS, PREDICTIONS, SELECTED, read_table
from voxelwhy.networks.weights import load_model
from voxelwhy.report.findings import read_findings

#: Files without which there is no study, and those without which it is not finished.
ALWAYS, FINISHED = (
    ("cohort/selected.tsv",),
    ("template/t1.nii.gz", "template/network_mask.nii.gz", "atlas/labels.nii.gz", "atlas/regions.tsv", "report.html"),
)
#: Tables of a split that tell how far its methods are supported.
SUPPORT = {"truth": "evaluation/truth.tsv", "trust": "tables/trust.tsv", "randomised": "tables/randomised.tsv",
           "controls": "trust/planted_controls.tsv"}  # fmt: skip
#: What the weights of others do not bring along, for a prediction.
PREDICTING = {"batch_size": 1, "precision": "float32", "threads": 1}


@dataclass(frozen=True)
class FinishedStudy:
    """The folder of a study whose report is written.

    Attributes
    ----------
    folder : Path
    split : str, the split whose networks and held-out scans are used
    own : `module:factory` of the network, if it is a user's own
    """

    folder: Path
    split: str
    own: str | None = None

    @property
    def name(self):
        """The study's name, that of its folder."""
        return self.folder.resolve().name

    def path(self, *parts):
        """A path within the folder of the study."""
        return self.folder.joinpath(*parts)

    def of_split(self, *parts):
        """A path within the folder of the split."""
        return self.folder.joinpath("splits", self.split, *parts)

    @cached_property
    def selected(self):
        """The registered scans; `t1` is where they lie now, wherever the study was run."""
        scans = read_table(self.path("cohort/selected.tsv"), SELECTED)
        return scans.assign(t1=[str(self.path("registered", scan, "t1.nii")) for scan in scans["scan_id"]])

    @cached_property
    def qualities(self):
        """The quality.json of each registered scan."""
        return {scan: read_json(self.path("registered", scan, "quality.json")) for scan in self.selected["scan_id"]}

    @cached_property
    def registration(self):
        """How the study's scans were registered: the settings of a registration."""
        quality = next(iter(self.qualities.values()))
        settings = {"transform": quality["transform"], "n4": quality["n4"], "maps": sorted(quality["maps"])}
        return settings | ({"modality": quality["modality"]} if "modality" in quality else {}) | self.extraction

    @cached_property
    def extraction(self):
        """The settings of the study's external brain extraction (scans.extract); {} without one."""
        path = self.path("settings.yaml")
        scans = yaml.safe_load(path.read_text(encoding="utf-8"))["scans"] if path.exists() else {}
        return {key: scans[key] for key in ("extract", "skull_stripped")} if scans.get("extract") else {}

    @property
    def head_template(self):
        """The whole-head template, for a study of whole heads; None for one of brains."""
        path = self.path("template/head.nii.gz")
        return path if path.exists() else None

    @cached_property
    def models(self):
        """The model of each fold."""
        return _models(self.folder, self.split)

    def load(self, fold):
        """The network of a fold and its card."""
        return load_model(self.models[fold], own=self.own)

    @cached_property
    def cards(self):
        """The card of each model by fold."""
        return {fold: self.load(fold)[1] for fold in self.models}

    @property
    def classes(self):
        """{"positive": name, "negative": name}."""
        return next(iter(self.cards.values()))["classes"]

    @property
    def held_out(self):
        """Whether the networks are known not to have been trained on the scans that they classified."""
        return all("n_train" in card for card in self.cards.values())

    def predicting(self, fold):
        """The settings of a prediction by the network of a fold: those of its training."""
        card = self.cards[fold]
        known = card.get("settings", {})
        kept = {key: known.get(key, value) for key, value in PREDICTING.items()}
        # More threads than processors would only be slower, and the last bits of a score do not matter here.
        kept["threads"] = min(kept["threads"], os.cpu_count() or 1)
        return kept | {"network": card["network"], "channels": card["channels"]}

    @cached_property
    def predictions(self):
        """The predictions of the test scans, by the network that has not seen them."""
        return pd.concat(
            [read_table(path.with_name("predictions.tsv"), PREDICTIONS) for path in self.models.values()],
            ignore_index=True,
        )

    @cached_property
    def methods(self):
        """{method: {"output", "options", "target"}}, the methods of the study, in the order of their names."""
        cards = sorted(self.of_split("heatmaps").glob("*/maps/mean_all.json"))
        found = {path.parents[1].name: read_json(path) for path in cards}
        return {
            name: {"output": card["output"], "options": card["options"], "target": card["explained_class"]}
            for name, card in found.items()
            if self.relevance_path(name).exists()
        }

    def relevance_path(self, method):
        """The path of a method's relevance by region and scan."""
        return self.of_split("heatmaps", method, "relevance.tsv")

    @cached_property
    def regions(self):
        """The regions of the atlas."""
        return read_table(self.path("atlas/regions.tsv"), ATLAS)

    @property
    def atlas(self):
        """The name of the atlas."""
        return read_json(self.path("atlas/labels.json"))["atlas"]

    @cached_property
    def supports(self):
        """What supports each method (report.badges.Support), the best-supported first."""
        paths = {name: [path] for name, own in SUPPORT.items() if (path := self.of_split(own)).exists()}
        return read_findings(paths, methods=list(self.methods), classes=self.classes).supports

    @property
    def simulated(self):
        """Whether the study's scans were made by the program."""
        return self.path("simulation").is_dir()


def open_study(folder, *, split=None, own=None):
    """Open the folder of a finished study.

    Parameters
    ----------
    folder : path, such as results/adni_1.5t
    split : str, optional; of those with heatmaps, the one with the most held-out subjects by default
    own : `module:factory` of the study's network, if it is a user's own: its code is imported

    Returns
    -------
    FinishedStudy

    Raises
    ------
    InputError : the folder is not that of a study, or the study is not finished; the message names what is missing.
    ConfigError : the study has no such split, or no heatmaps.
    """
    folder = Path(folder)
    if not all((folder / file).exists() for file in ALWAYS) and not (folder / "splits").is_dir():
        raise InputError(
            "this is not the folder of a study",
            file=folder,
            found="a file" if folder.is_file() else "no cohort/selected.tsv" if folder.is_dir() else "no such folder",
            allowed="the folder of a study's results, such as results/demo",
        )
    missing = [file for file in (*ALWAYS, *FINISHED) if not (folder / file).exists()]
    splits = sorted({path.parents[1].name for path in folder.glob("splits/*/fold-*/model.pt")})
    if missing or not splits:
        raise InputError(
            "the study is not finished",
            file=folder,
            found="missing: " + ", ".join(missing or ["splits/*/fold-*/model.pt"]),
            hint="run it to its end: snakemake --cores all --configfile <its config>",
        )
    if split is not None and split not in splits:
        raise ConfigError("the study has no such split with networks", column="--split", found=split, allowed=splits)
    studies = [FinishedStudy(folder, name, own) for name in ([split] if split else splits)]
    # A split may be for accuracy alone (heatmaps: false).
    explained = [study for study in studies if study.methods] or studies
    found = max(explained, key=lambda study: study.predictions["subject_id"].nunique())
    if not found.methods:
        raise ConfigError(
            "the study has no heatmaps that a new scan could be compared with",
            file=found.of_split("heatmaps"),
            hint="set heatmaps.methods in its config and run it again",
        )
    return found


def _models(folder, split):
    paths = Path(folder, "splits", split).glob("fold-*/model.pt")
    return dict(sorted((int(path.parent.name.removeprefix("fold-")), path) for path in paths))
