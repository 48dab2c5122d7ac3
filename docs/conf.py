"""Configure Sphinx for `make docs`. A warning is an error, and so is an export without an entry in the API."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import voxelwhy  # noqa: E402  (its folder has to be on the path first)

project = "voxelwhy"
author = "The voxelwhy contributors"
release = version = voxelwhy.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.doctest"]
exclude_patterns = ["figures/*.md"]  # tables that a page includes
nitpicky = True
default_role = "code"  # single backticks in docstrings

html_theme = "furo"
html_title = f"voxelwhy {release}"
html_static_path, html_css_files = ["static"], ["wide.css"]
html_copy_source = html_show_sourcelink = html_show_copyright = False

napoleon_google_docstring = False
autodoc_typehints = "none"  # the docstrings describe types
napoleon_use_rtype = False  # a returned value has a name here, which is not a type to link to
python_maximum_signature_line_length = 80  # longer signatures have one argument on each line
myst_heading_anchors = 3

FIELD = re.compile(r"(?P<names>\S.*?) : (?P<text>.*)")
SECTIONS = ("Parameters", "Returns", "Raises", "Yields")
CODE = re.compile(r"(``[^`]*``|`[^`]*`)")


def lay_out(lines):
    """Rearrange a docstring for Napoleon: here the text after `name :` is a sentence, not only a type.

    The text is moved below the name, into the description, and asterisks as in (channels, *spatial) are escaped.
    """
    section, laid_out = "", []
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if below and set(below) == {"-"}:
            section = line
        field = FIELD.fullmatch(line) if section in SECTIONS else None
        if field:
            # Arguments described together stay together: Napoleon would repeat the description for each of them.
            names = field["names"].replace(", ", "/") if section == "Parameters" else field["names"]
            laid_out += [names.replace("*", r"\*"), "    " + plain(field["text"])]
        else:
            laid_out.append(line if section == "Examples" else plain(line))
    return laid_out


def plain(text):
    """Escape the asterisks of `text`, except in code."""
    parts = CODE.split(text)
    return "".join(part if part.startswith("`") else part.replace("*", r"\*") for part in parts)


def undocumented(documented):
    """List the names that voxelwhy exports and that are not among `documented` (full names)."""
    exports = {f"voxelwhy.{name}" for name in voxelwhy.__all__ if not name.startswith("_")}
    return sorted(exports - set(documented))


def setup(app):
    from sphinx.util import logging

    def on_docstring(app, what, name, obj, options, lines):
        lines[:] = lay_out(lines)

    def on_consistency(app, env):
        for name in undocumented(env.get_domain("py").objects):
            logging.getLogger(__name__).warning("%s is exported and has no entry in reference/api.md", name)

    app.connect("autodoc-process-docstring", on_docstring, priority=400)  # before Napoleon, at 500
    app.connect("env-check-consistency", on_consistency)
    return {"parallel_read_safe": True}
