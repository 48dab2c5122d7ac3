"""The example on photos: the notebook equals the script, it runs, and its statements are true."""

import base64
import importlib.util
import json

import nbformat
import pytest
from nbclient import NotebookClient

from helpers.paths import ROOT
from voxelwhy.registry import METHODS

EXAMPLES = ROOT / "docs" / "examples"
#: A last cell that passes the numbers of the notebook to the tests.
ASK = """
import json
print(json.dumps({"ratios": ratios, "says": {name: says(photo, 1) for name, photo in photos.items()}}))
"""


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(EXAMPLES / "photos.ipynb", as_version=4)


@pytest.fixture(scope="module")
def executed(notebook, tmp_path_factory):
    """The notebook with its outputs, run in an empty folder, and what it found."""
    folder = tmp_path_factory.mktemp("photos")
    notebook = nbformat.from_dict(notebook)
    notebook.cells.append(nbformat.v4.new_code_cell(ASK))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT / "scripts"))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads that spin would slow down other jobs
        patch.delenv("MPLBACKEND", raising=False)
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    assert not list(folder.glob("*.png"))
    return notebook, json.loads(notebook.cells[-1].outputs[0].text)


def test_the_notebook_is_that_of_the_script(notebook):
    spec = importlib.util.spec_from_file_location("make_notebook", EXAMPLES / "make_notebook.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    wanted = maker.as_notebook((EXAMPLES / "photos.py").read_text(encoding="utf-8"))
    assert notebook == wanted, "run: python docs/examples/make_notebook.py docs/examples/photos.py"
    assert not any(cell.get("outputs") for cell in notebook.cells)
    assert len(notebook.cells) > 8


@pytest.mark.slow
def test_each_figure_of_the_notebook_is_shown_once(executed):
    notebook, _ = executed
    shown = [
        output["data"]["image/png"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(shown) == 2  # plot_slices, and all methods side by side
    assert all(base64.b64decode(picture)[:4] == b"\x89PNG" for picture in shown)


@pytest.mark.slow
def test_every_method_explains_every_photo(executed):
    _, found = executed
    assert list(found["ratios"]) == ["cat", "cup", "flower"]
    for ratios in found["ratios"].values():
        assert list(ratios) == list(METHODS)


@pytest.mark.slow
def test_the_network_knows_a_cat(executed):
    """Its weights match the way in which the photos are prepared."""
    _, found = executed
    names = {photo: said.rpartition("  ")[0] for photo, said in found["says"].items()}
    assert names == {"cat": "Egyptian cat", "cup": "espresso", "flower": "daisy"}


@pytest.mark.parametrize("method", ["occlusion", "grad_cam"])
@pytest.mark.parametrize("photo", ["cup", "flower"])
@pytest.mark.slow
def test_relevance_lies_on_the_object(executed, method, photo):
    """More than an uninformative map would have there. The cat fills its photo, so its ratio shows nothing."""
    assert executed[1]["ratios"][photo][method] > 1.2


def test_the_figure_of_the_script_lies_in_the_docs():
    assert (ROOT / "docs" / "figures" / "photos.png").stat().st_size > 100_000
