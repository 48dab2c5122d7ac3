"""The docs: every export has an entry and an example that runs, links have targets, pictures show what they claim."""

from __future__ import annotations

import doctest
import importlib.util
import io
import re
import struct
import sys
import tomllib

import numpy as np
import pytest
import yaml

import voxelwhy
from helpers.paths import ROOT
from voxelwhy.registry import METHODS

DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if path.parent.name != "figures")
TOP = ("README.md", "CHANGELOG.md", "results/README.md")
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
    entries = re.findall(r"^\.\. autofunction:: (\w+)$", (DOCS / "reference" / "api.md").read_text(), re.M)
    assert len(EXPORTS) >= 10
    assert sorted(entries) == sorted(EXPORTS)


def test_the_build_warns_of_an_export_without_an_entry(tmp_path):
    """On a page without the API each export is named, and `make docs` turns warnings into errors."""
    from sphinx.application import Sphinx

    (tmp_path / "index.md").write_text("# Nothing\n")
    told = io.StringIO()
    app = Sphinx(tmp_path, DOCS, tmp_path / "out", tmp_path / "trees", "dummy", status=None, warning=told)
    app.build()
    missing = re.findall(r"voxelwhy\.(\w+) is exported and has no entry", told.getvalue())
    assert sorted(missing) == sorted(EXPORTS)
    assert re.search(r'^docs: .*\n.*build="sphinx-build [^"]*-W ', (ROOT / "Makefile").read_text(), re.M)
    assert "make check && make docs; }" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("name", EXPORTS)
def test_the_examples_of_an_export_run_by_themselves(name):
    """Each example has its own names: on one page, an example would lend its imports to the next."""
    (example,) = doctest.DocTestFinder(recurse=False).find(getattr(voxelwhy, name), name, globs={})
    told = []
    outcome = doctest.DocTestRunner(verbose=False).run(example, out=told.append)
    assert outcome.failed == 0, "".join(told)
    assert outcome.attempted >= 3
    assert any(line.want for line in example.examples)


def test_docstrings_are_laid_out_with_the_text_after_a_name_below_it(conf):
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
    text = (DOCS / "explaining" / page).read_text()
    assert not [name for name in METHODS if f"`{name}`" not in text]


@pytest.mark.parametrize("page", [*PAGES, *(ROOT / name for name in TOP)], ids=lambda path: path.name)
def test_links_and_pictures_are_there(page):
    """From the folder of the page; a link to a heading needs the heading."""
    for link, heading in re.findall(r"\]\(([^)#\s]*)(#[^)\s]*)?\)", page.read_text()):
        if "://" not in link:
            target = page.parent / link if link else page
            assert target.exists(), link
            assert not heading or heading.removeprefix("#") in anchors(target), link + heading


def anchors(page):
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ +(.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_contents():
    entries = re.findall(r"^[a-z_]+(?:/[a-z_]+)?$", (DOCS / "index.md").read_text(), re.M)
    assert sorted(entries) == sorted(
        path.relative_to(DOCS).with_suffix("").as_posix() for path in PAGES if path.name != "index.md"
    )


def test_the_readme_is_short_and_points_to_every_part():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    for part in ("explaining", "workflow", "trust", "running", "reference"):
        assert f"](docs/{part}/" in text, part


def test_the_first_figure_is_the_demos_and_small():
    """That of `make figure`; its numbers in README are those of the demo's config and of 19 draws by default."""
    assert "cp results/demo/splits/kfold/figures/heatmaps_AD.png docs/figures/" in (ROOT / "Makefile").read_text()
    width, height = struct.unpack(">II", (DOCS / "figures" / "heatmaps_AD.png").read_bytes()[16:24])
    assert (DOCS / "figures" / "heatmaps_AD.png").stat().st_size < 600_000 and width > 1200 and height > 1200
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    text = " ".join((ROOT / "README.md").read_text().split())
    assert f"the mean relevance of {config['heatmaps']['most_subjects']} of these patients" in text
    assert f"compared with {config['evaluation']['shuffled']} draws" in text and "*Simulated data." in text


def test_the_words_of_the_glossary_are_defined_once():
    words = re.findall(r"^(\S.*)\n: ", (DOCS / "glossary.md").read_text(), re.M)
    assert len(words) > 40
    assert len({word.lower() for word in words}) == len(words)


def test_every_paper_that_a_page_cites_is_in_the_references():
    listed = re.split(r"\n(?=- )", (DOCS / "reference" / "references.md").read_text())
    papers = {(entry.split()[1].strip(",."), year) for entry in listed[1:] for year in re.findall(r"\d{4}", entry)}
    cited = set()
    for page in set(PAGES) - {DOCS / "reference" / "references.md"}:
        text = " ".join(page.read_text().split())
        cited |= set(re.findall(r"(?<![-\w])([A-Z][a-zà-ÿ][-\w]+)(?: & [A-Z]\w+| et al\.)? \(?((?:19|20)\d\d)\b", text))
    assert len(cited) > 40
    assert sorted(cited - papers - {("October", "2024")}) == []


def test_the_page_on_the_house_has_every_room_on_its_floor():
    """The rooms, from the top floor down, are those of the contract in pyproject.toml."""
    layers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]["layers"]
    floors = [set(layer.split(" | ")) for layer in layers if layer not in ("registry", "errors")]
    rows = re.findall(r"^\| (\d+) \| `(\w+)/` \|", (DOCS / "reference" / "house.md").read_text(), re.M)
    shown = [{room for floor, room in rows if floor == number} for number in dict.fromkeys(floor for floor, _ in rows)]
    assert shown == floors
    folders = {path.parent.name for path in (ROOT / "scripts" / "voxelwhy").glob("*/__init__.py")}
    assert set().union(*floors) == folders


@pytest.mark.parametrize("kernel, stride, padding, dilation", [(3, 1, 0, 1), (3, 2, 1, 1), (2, 2, 0, 1), (3, 3, 2, 2)])
def test_what_the_picture_calls_reached_is_what_changes(picture, kernel, stride, padding, dilation):
    """Compared with a convolution that runs, for every box of an image of 11 cells."""
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
    text = " ".join((DOCS / "explaining" / "incremental_occlusion.md").read_text().split())
    layers = picture.layers_of(picture.NETWORK, picture.SHAPE)
    dense = next(layer for layer in layers if not layer.cells)
    assert f"reads {dense.multiply_adds // 128:,} numbers" in text
    count = np.prod([len(picture.windows(length, picture.SIZE, picture.STRIDE)) for length in picture.SHAPE])
    assert f"For a scan at 1 mm, with steps of {picture.STRIDE} voxels and windows of {picture.SIZE}" in text
    assert f"are {count:,} runs" in text
