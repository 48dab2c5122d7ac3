"""The report of a study: one self-contained HTML page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import matplotlib.image
from jinja2 import Environment, StrictUndefined

from voxelwhy.errors import InputError
from voxelwhy.io.text import listing

#: Figures are saved at a higher resolution than they are shown at, so that they stay sharp.
SHOWN_DPI = 100
_TEMPLATE = Path(__file__).with_name("page.html.j2")


def write_report(sections, out_path, *, title, simulated, sentences, versions, citations, split_titles=None, real=()):
    """Write the report: summary, sections, versions and citations in one self-contained HTML file.

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

    Raises
    ------
    InputError
        A figure of a section does not exist.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals["embed"] = embed_image
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    page = template.render(
        title=title,
        simulated=simulated,
        real=listing(real),
        sentences=sentences if isinstance(sentences, dict) else {"": sentences},
        sections=sections,
        versions=dict(sorted(versions.items())),
        citations=citations,
        split_titles=split_titles or {},
        n_splits=len({split for section in sections for split in section.items if split}),
    )
    Path(out_path).write_text(page, encoding="utf-8")


def embed_image(path, dpi):
    """A png as a data URI with its displayed width and height in CSS pixels: {"src", "width", "height"}.

    Raises
    ------
    InputError
        The file does not exist or is not a png.
    """
    try:
        content = Path(path).read_bytes()
        height, width = matplotlib.image.imread(io.BytesIO(content), format="png").shape[:2]
    except (OSError, SyntaxError) as error:
        raise InputError("a figure of the report cannot be read", file=path, found=str(error)) from error
    source = "data:image/png;base64," + base64.b64encode(content).decode("ascii")
    return {"src": source, "width": round(width * SHOWN_DPI / dpi), "height": round(height * SHOWN_DPI / dpi)}
