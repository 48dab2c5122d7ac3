"""The docs: every export has its entry and an example that runs, links lead somewhere, the picture is what it says."""

from __future__ import annotations

import doctest
import importlib.util
import io
import re
import sys

import numpy as np
import pytest

import voxelwhy
from helpers.paths import ROOT
from voxelwhy.registry import METHODS

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
EXPORTS = [name for name in voxelwhy.__all__ if not name.startswith("_")]


def module_of(path):
    spec = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def conf():
    before = list(sys.path)
    yield module_of(DOCS / "conf.py")
    sys.path[:] = before


@pytest.fixture(scope="module")
def picture():
    before = list(sys.path)
    yield module_of(DOCS / "figures" / "incremental_reach.py")
    sys.path[:] = before


def test_every_export_has_one_entry_in_the_api():
    entries = re.findall(r"^\.\. autofunction:: (\w+)$", (DOCS / "api.md").read_text(), re.M)
    assert len(EXPORTS) >= 10
    assert sorted(entries) == sorted(EXPORTS)


def test_the_build_warns_of_an_export_without_an_entry(tmp_path):
    """A page without the API: each export is named, and `make docs` makes errors of warnings."""
    from sphinx.application import Sphinx

    (tmp_path / "index.md").write_text("# Nothing\n")
    told = io.StringIO()
    app = Sphinx(tmp_path, DOCS, tmp_path / "out", tmp_path / "trees", "dummy", status=None, warning=told)
    app.build()
    missing = re.findall(r"voxelwhy\.(\w+) is exported and has no entry", told.getvalue())
    assert sorted(missing) == sorted(EXPORTS)
    assert re.search(r'^docs: .*\n.*build="sphinx-build [^"]*-W ', (ROOT / "Makefile").read_text(), re.M)
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "make docs"


@pytest.mark.parametrize("name", EXPORTS)
def test_the_examples_of_an_export_run_by_themselves(name):
    """Each with names of its own: on the page of all, one example would lend its imports to the next."""
    (example,) = doctest.DocTestFinder(recurse=False).find(getattr(voxelwhy, name), name, globs={})
    told = []
    outcome = doctest.DocTestRunner(verbose=False).run(example, out=told.append)
    assert outcome.failed == 0, "".join(told)
    assert outcome.attempted >= 3
    assert any(line.want for line in example.examples)


def test_docstrings_are_laid_out_with_what_stands_behind_a_name_below_it(conf):
    lines = [
        "Does.",
        "",
        "Parameters",
        "----------",
        "a, b : both, (n, *cells) and `*this`",
        "    more",
        "",
        "Examples",
    ]
    laid_out = conf.lay_out([*lines, "--------", ">>> print(*[1])"])
    assert laid_out[4:8] == ["a/b", r"    both, (n, \*cells) and `*this`", "    more", ""]
    assert laid_out[-1] == ">>> print(*[1])"


@pytest.mark.parametrize("page", ["which_method.md", "what_methods_cannot_tell.md"])
def test_every_method_is_in_the_guidance(page):
    text = (DOCS / page).read_text()
    assert not [name for name in METHODS if f"`{name}`" not in text]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_and_pictures_are_there(page):
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert "://" in link or (DOCS / link).exists(), link


@pytest.mark.parametrize("kernel, stride, padding, dilation", [(3, 1, 0, 1), (3, 2, 1, 1), (2, 2, 0, 1), (3, 3, 2, 2)])
def test_what_the_picture_calls_reached_is_what_changes(picture, kernel, stride, padding, dilation):
    """Against a convolution that runs, and for every box of an image of 11 cells."""
    import torch

    line = torch.rand(1, 1, 11)
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    weights = torch.ones(1, 1, kernel)
    before = torch.nn.functional.conv1d(line, weights, **options)
    layer = picture.Layer("layer", (before.shape[-1],), 0, kernel, stride, padding, dilation)
    for a in range(11):
        for b in range(a + 1, 12):
            other = line.clone()
            other[..., a:b] += 1
            changed = np.flatnonzero(torch.nn.functional.conv1d(other, weights, **options) - before)
            first, end = layer.reached((a, b), 0)
            assert set(changed) <= set(range(first, end))
            if len(changed) and dilation == 1:  # a dilated kernel has holes that a small box may fall into
                assert (changed[0], changed[-1] + 1) == (first, end)


def test_the_picture_and_the_engine_agree_on_what_is_reached(picture):
    from voxelwhy.explain.incremental.boxes import Boxes, Window

    layers = [layer for layer in picture.layers_of("rieke2018", (193, 229, 193)) if layer.cells]
    assert len(layers) == 8
    box = ((80, 120), (0, 20), (170, 193))
    for layer in layers[:6]:  # from there on the box is most of the layer along an axis
        numbers = ([value] * 3 for value in (layer.kernel, layer.stride, layer.padding, layer.dilation))
        lo, hi = np.array(box).T
        changed = Boxes(lo[None], tuple(hi - lo), (), lo[None], hi[None])
        found = Window(*numbers).reached(changed, layer.cells)
        box = tuple(layer.reached(span, axis) for axis, span in enumerate(box))
        assert found.extent == tuple(b - a for a, b in box)
        assert found.lo[0].tolist() == [a for a, _ in box]


def test_work_is_that_of_the_whole_network_where_everything_is_blanked(picture):
    shape = (80, 84, 78)
    layers = picture.layers_of("rieke2018", shape)
    whole = picture.work(layers, tuple((0, length) for length in shape))
    first = 78 * 82 * 76 * 8 * 27
    assert layers[0].multiply_adds == first
    assert whole == sum(layer.multiply_adds for layer in layers)
    corner = picture.work(layers, ((0, 1),) * 3)
    dense = sum(layer.multiply_adds for layer in layers if not layer.cells)
    assert dense < corner < 0.01 * whole


def test_picture_and_table_are_what_the_script_makes(picture, tmp_path):
    picture.write_picture(tmp_path / "made.svg")
    assert (tmp_path / "made.svg").read_text() == (DOCS / "figures" / "incremental_reach.svg").read_text()
    assert picture.table() == (DOCS / "figures" / "incremental_reach.md").read_text()


def test_figures_in_the_text_on_incremental_occlusion_are_those_of_the_layers(picture):
    text = (DOCS / "incremental_occlusion.md").read_text()
    layers = picture.layers_of(picture.NETWORK, picture.SHAPE)
    dense = next(layer for layer in layers if not layer.cells)
    assert f"reads {dense.multiply_adds // 128:,} numbers" in text
    count = np.prod([len(picture.windows(length, picture.SIZE, picture.STRIDE)) for length in picture.SHAPE])
    assert f"{count:,} times for a scan at 1 mm with windows of {picture.SIZE} voxels" in text
