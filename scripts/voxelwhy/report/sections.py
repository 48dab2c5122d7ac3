"""The sections of the report and their order; the JSON of each figure and table names the section it belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from voxelwhy.errors import InputError
from voxelwhy.io.images import read_json

#: Sections in the order of the report, with title and opening sentence; a section without items is skipped.
SECTIONS = {
    "cohort": ("Cohort", "Flow of scans into the study, exclusions with their reasons, and composition of the folds."),
    "registration": (
        "Registration",
        "Every scan was registered to the template. Check these registrations before interpreting any result below.",
    ),
    "training": ("Training", "Learning curves of the networks, fold by fold."),
    "performance": (
        "Performance",
        "Out-of-sample performance of the network, compared with a simple baseline on the same folds.",
    ),
    "comparison": (
        "Comparison",
        "How much accuracy and heatmaps depend on earlier choices in the analysis, or on chance.",
    ),
    "external": (
        "Other cohorts",
        "The same models tested on other studies, which share no subject with this one, and on its own test scans.",
    ),
    "heatmaps": (
        "Heatmaps",
        "Mean relevance over groups of scans. A heatmap marks where the network's output depends on the image, which "
        "is not necessarily where the disease is.",
    ),
    "regions": ("Regions", "Relevance summed over the regions of an atlas."),
    "agreement": ("Agreement", "Distances between the mean maps of the classes, and between those of the methods."),
    "trust": (
        "Trust",
        "How far the numbers and heatmaps above can be trusted in these data. Each answer is one number, with its "
        "interval or p, and one sentence.",
    ),
    "truth": (
        "Planted truth",
        "The location of a planted change is known, and each method is compared with it.",
    ),
    "single_scans": (
        "Single scans",
        "Relevance maps of single scans, which may differ from the mean map of their group.",
    ),
    "checklist": ("Checklist", "How this study answers the items that a report of a prediction model needs."),
}
METHODS = "methods"


@dataclass(frozen=True)
class Item:
    """A figure (path of its png) or a table (columns and rows of text) with title and caption."""

    kind: str
    title: str
    caption: str
    path: Path | None = None
    dpi: int = 150
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Section:
    """A section of the report: an opening sentence, then items by split ("" for the whole cohort)."""

    name: str
    title: str
    opening: str = ""
    items: dict[str, list[Item]] = field(default_factory=dict)
    paragraphs: tuple[str, ...] = ()


def collect_sections(items, *, methods=()):
    """Sort figures and tables into the report's sections.

    Parameters
    ----------
    items : {split name, or "" for the whole cohort: paths without suffix, or of any file of the item}
        Next to each lies a .json, written with the figure or table, that names its section; within a section the order
        is that of `items`.
    methods : sequence of str, paragraphs of the methods text, which is the last section

    Returns
    -------
    list of Section, in the order of SECTIONS, none of them empty

    Raises
    ------
    InputError
        An item has no JSON, or names a section that does not exist.
    """
    found = {name: {} for name in SECTIONS}
    for split, paths in items.items():
        for path in paths:
            category, item = _read_item(Path(path))
            found[category].setdefault(split, []).append(item)
    sections = [Section(name, *SECTIONS[name], by_split) for name, by_split in found.items() if by_split]
    if methods:
        sections.append(
            Section(METHODS, "Methods", "Generated from the settings of the study.", paragraphs=tuple(methods))
        )
    return sections


def _read_item(path):
    stem = path.with_suffix("") if path.suffix in {".png", ".svg", ".json", ".tsv", ".md", ".tex"} else path
    sidecar = stem.with_name(stem.name + ".json")
    if not sidecar.exists():
        raise InputError(
            "an item of the report has no caption", file=sidecar, hint="it is written with the figure or table"
        )
    content = read_json(sidecar)
    if content.get("category") not in SECTIONS:
        raise InputError(
            "an item names a section that the report does not have",
            file=sidecar,
            found=content.get("category"),
            allowed=list(SECTIONS),
        )
    words = {"title": content["title"], "caption": content["caption"]}
    if content["kind"] == "figure":
        return content["category"], Item("figure", path=stem.with_name(stem.name + ".png"), dpi=content["dpi"], **words)
    rows = tuple(tuple(row) for row in content["rows"])
    return content["category"], Item("table", columns=tuple(content["columns"]), rows=rows, **words)
