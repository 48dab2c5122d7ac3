"""The sections of the report and their order; the JSON of each figure and table names the section it belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from voxelwhy.errors import InputError
from voxelwhy.io.images import read_json
from voxelwhy.report.alt import describe_figure
from voxelwhy.report.strip import Registration

#: Sections in the order of the report, with title and opening sentence; a section without items is skipped.
SECTIONS = {
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
    "cohort": ("Cohort", "Flow of scans into the study, exclusions with their reasons, and composition of the folds."),
    "registration": (
        "Registration",
        "Every scan was registered to the template. Check these registrations before interpreting any result above.",
    ),
    "training": ("Training", "Learning curves of the networks, fold by fold."),
    "methods": ("Methods", "Generated from the settings of the study."),
    "checklist": ("Checklist", "How this study answers the items that a report of a prediction model needs."),
}
METHODS = "methods"
#: Long tables that are not folded, since they hold the answers.
OPEN = ("trust",)


@dataclass(frozen=True)
class Item:
    """A figure (path of its png), a table (columns and rows of text) or a strip of pictures, with title and caption.

    `open` keeps a long table from being folded.
    """

    kind: str
    title: str
    caption: str
    path: Path | None = None
    dpi: int = 150
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    alt: str = ""
    pictures: tuple[Registration, ...] = ()
    open: bool = False


@dataclass(frozen=True)
class Section:
    """A section of the report: an opening sentence, then items by split ("" for the whole cohort)."""

    name: str
    title: str
    opening: str = ""
    items: dict[str, list[Item]] = field(default_factory=dict)
    paragraphs: tuple[str, ...] = ()


def collect_sections(items, *, methods=(), regions=None, registrations=()):
    """Sort figures and tables into the report's sections.

    Parameters
    ----------
    items : {split name, or "" for the whole cohort: paths without suffix, or of any file of the item}
        Next to each lies a .json, written with the figure or table, that names its section; within a section the order
        is that of `items`.
    methods : sequence of str, paragraphs of the methods text
    regions : {group: {method: names}}, for the alternative texts of maps (`alt.describe_figure`)
    registrations : sequence of strip.Registration, shown in place of the figure "registration"

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
            category, item = _read_item(Path(path), regions)
            if registrations and Path(path).stem == "registration":
                item = replace(item, kind="strip", pictures=tuple(registrations))
            found[category].setdefault(split, []).append(item)
    text = {METHODS: tuple(methods)}
    return [
        Section(name, *SECTIONS[name], by_split, paragraphs=text.get(name, ()))
        for name, by_split in found.items()
        if by_split or text.get(name)
    ]


def read_item(path, regions=None):
    """A figure or table as an Item; `path` is that of any of its files, `regions` as in `collect_sections`.

    Raises
    ------
    InputError
        It has no JSON, or names a section that does not exist.
    """
    return _read_item(Path(path), regions)[1]


def _read_item(path, regions=None):
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
        seen = describe_figure(stem.name, category=content["category"], regions=regions)
        picture = {"path": stem.with_name(stem.name + ".png"), "dpi": content["dpi"]}
        return content["category"], Item("figure", alt=f"{content['title']}. {seen}".strip(), **picture, **words)
    rows = tuple(tuple(row) for row in content["rows"])
    table = {"columns": tuple(content["columns"]), "rows": rows, "open": stem.name in OPEN}
    return content["category"], Item("table", **table, **words)
