"""Which sections the report has, in which order, and what goes into each: figures and tables tell by their JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from voxelwhy.errors import InputError
from voxelwhy.io.images import read_json

#: Order and wording of the report; a section without items is left out.
SECTIONS = {
    "cohort": ("Cohort", "Where the scans come from, what was left out and why, and who is in which fold."),
    "registration": (
        "Registration",
        "Every scan was brought onto the template. Look here before believing anything below.",
    ),
    "training": ("Training", "How the networks learned, fold by fold."),
    "performance": (
        "Performance",
        "Out-of-sample figures, with a simple baseline on the same folds beside the network.",
    ),
    "comparison": ("Comparison", "How much accuracy and heatmaps depend on choices made before them, or on chance."),
    "external": (
        "Other cohorts",
        "The same models on the scans of other studies, which share nobody with this one, beside their own test scans.",
    ),
    "heatmaps": (
        "Heatmaps",
        "Mean relevance over groups of scans. What a method marks is where the network's output "
        "depends on the image; that is not yet where the disease is.",
    ),
    "regions": ("Regions", "Relevance summed over the regions of an atlas."),
    "agreement": ("Agreement", "How far the maps of the classes, and of the methods, lie apart."),
    "truth": (
        "Planted truth",
        "In simulated data the changed places are known, and each method can be held against them.",
    ),
    "single_scans": ("Single scans", "Maps of single scans; a mean map need not look like any of them."),
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
    """A section of the report: an opening, then items under the name of their split ("" for the whole cohort)."""

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
        Each has a .json beside it (written with the figure or table) that gives its section; within a section the order
        is that of `items`.
    methods : sequence of str, paragraphs of the methods text; last section

    Returns
    -------
    list of Section, in the order of SECTIONS, none of them empty

    Raises
    ------
    InputError
        An item has no JSON, or names a section that there is not.
    """
    found = {name: {} for name in SECTIONS}
    for split, paths in items.items():
        for path in paths:
            category, item = _read_item(Path(path))
            found[category].setdefault(split, []).append(item)
    sections = [Section(name, *SECTIONS[name], by_split) for name, by_split in found.items() if by_split]
    if methods:
        sections.append(Section(METHODS, "Methods", "Made from the study's settings.", paragraphs=tuple(methods)))
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
