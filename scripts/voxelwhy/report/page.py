"""The report of a study: one self-contained HTML page that answers first."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from voxelwhy.io.text import listing
from voxelwhy.report.cells import BAR_HEIGHT, BAR_WIDTH, shape_table
from voxelwhy.report.images import LARGEST_PAGE, TEXT, embed_all
from voxelwhy.report.opening import Opening
from voxelwhy.report.strip import DPI, EMBEDDED


def write_report(
    sections,
    out_path,
    *,
    title,
    simulated,
    sentences,
    versions,
    citations,
    split_titles=None,
    real=(),
    opening=None,
    largest=LARGEST_PAGE,
    viewers=(),
):
    """Write the report: cards, summary, sections, versions and citations in one self-contained HTML file.

    Parameters
    ----------
    sections : list of voxelwhy.report.sections.Section, in the order of reading
    out_path : path of the HTML file
    title : str, the study's name
    simulated : bool, or str; if true, a banner at the top marks the data as simulated; a str also names the planted
        confound
    sentences : list of str; or {split name: list of str}; the summary of the study
    versions : {software: version}
    citations : list of (text, link or "")
    split_titles : {split name: heading}, used if a section has items of several splits
    real : names of other cohorts whose scans are real although those of the study are simulated
    opening : opening.Opening, optional; what stands before the summary
    largest : int, bytes; pictures are compressed as far as needed
    viewers : paths of the viewers of splits, splits/<split>/viewer.html, relative to the page

    Raises
    ------
    InputError
        A figure of a section does not exist.
    """
    opening = opening or Opening()
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "pictures": embed_all(_pictures(sections, opening), largest - TEXT),
        "shape": lambda item: shape_table(item.columns, item.rows),
        "raw": lambda name: Markup(environment.loader.get_source(environment, name)[0].strip()),
        "embedded": EMBEDDED,
        "bar_width": BAR_WIDTH,
        "bar_height": BAR_HEIGHT,
    }
    page = environment.get_template("page.html.j2").render(
        title=title,
        simulated=simulated,
        real=listing(real),
        opening=opening,
        viewers={path.split("/")[1]: path for path in viewers},
        sentences=sentences if isinstance(sentences, dict) else {"": sentences},
        sections=sections,
        versions=dict(sorted(versions.items())),
        citations=citations,
        split_titles=split_titles or {},
        n_splits=len({split for section in sections for split in section.items if split}),
    )
    Path(out_path).write_text(page, encoding="utf-8")


def _pictures(sections, opening):
    """{path: dpi} of everything that the page embeds."""
    items = [item for section in sections for own in section.items.values() for item in own]
    items += [opening.figure] if opening.figure else []
    found = {item.path: item.dpi for item in items if item.kind == "figure"}
    return found | {one.path: DPI for item in items for one in item.pictures[:EMBEDDED]}
