"""The viewer's page without a browser: its bytes are the maps, within a step, and it stays small and self-contained."""

import base64
import gzip
import json
import re

import nibabel as nib
import numpy as np
import pytest
from skimage.measure import block_reduce

from helpers import viewer_cases as cases
from voxelwhy.errors import InputError
from voxelwhy.io.images import Grid
from voxelwhy.report.figures.style import HOT
from voxelwhy.report.viewer import page as page_module
from voxelwhy.report.viewer.page import MOST_BYTES, colour_maps, read_library
from voxelwhy.report.viewer.volumes import MapGrid, pack_map


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("viewer")


@pytest.fixture(scope="module")
def written(folder):
    return cases.write_case(folder, folder / "viewer.html").read_text()


def element(text, name):
    return re.search(rf'<script type="[a-z/]+" id="{name}">(.*?)</script>', text, re.S)[1]


def packed(text, name):
    return gzip.decompress(base64.b64decode(element(text, f"packed-{name}")))


def image_of(text, grid, dtype, name):
    """A volume of the page, put together by nibabel: the header of the grid, and the voxels."""
    voxels = np.frombuffer(packed(text, name), dtype).reshape(grid["shape"], order="F")
    header = nib.Nifti1Header(base64.b64decode(grid["header"])[:348])
    assert header["vox_offset"] == 352
    return voxels, header.get_best_affine()


def test_the_maps_on_the_page_are_those_of_the_files_within_a_step(written, folder):
    data = json.loads(element(written, "data"))
    for index, group in enumerate(cases.VALUES):
        codes, affine = image_of(written, data["map_grid"], np.int8, f"map-{index}")
        decoded = codes.astype(float) * np.abs(codes.astype(float)) * data["maps"][index]["unit"]
        # The same places in the file, voxel by voxel through both affines.
        image = nib.load(folder / f"{group}.nii.gz")
        places = nib.affines.apply_affine(affine, np.argwhere(np.ones(codes.shape)))
        own = np.rint(nib.affines.apply_affine(np.linalg.inv(image.affine), places)).astype(int)
        exact = image.get_fdata()[tuple(own.T)].reshape(codes.shape)
        step = 1 / data["steps"] * np.sqrt(np.abs(exact).max())
        assert np.abs(np.sqrt(np.abs(decoded)) - np.sqrt(np.abs(exact))).max() <= step / 2 + 1e-9
        assert np.abs(decoded - exact).max() <= np.abs(exact).max() / data["steps"]
        assert decoded.max() == pytest.approx(exact.max(), rel=0.01)
        # Nothing of the map is outside the box.
        assert np.count_nonzero(exact) == np.count_nonzero(image.get_fdata())


def test_the_atlas_and_the_template_lie_where_their_files_do(written, folder):
    data = json.loads(element(written, "data"))
    labels, affine = image_of(written, data["labels"], np.uint8, "labels")
    for number, block in enumerate(cases.BLOCKS.values(), 1):
        places = nib.affines.apply_affine(affine, np.argwhere(labels == number))
        assert len(places)
        for axis, (low, high) in enumerate(block):
            assert low <= places[:, axis].min() <= low + 4 and high - 4 <= places[:, axis].max() <= high
    assert list(data["regions"].values()) == list(cases.BLOCKS)
    grey, affine = image_of(written, data["background"], np.uint8, "background")
    places = nib.affines.apply_affine(affine, np.argwhere(grey > 0))
    assert set(grey[grey > 0][places[:, 0] < -1]) == {128} and set(grey[grey > 0][places[:, 0] > 1]) == {255}


def test_ranks_and_intervals_come_from_the_table_of_regions(written):
    data = json.loads(element(written, "data"))
    assert data["maps"][0]["regions"] == {"1": [2, 2.5, 2.0, 3.0], "2": [3, None, None, None], "3": [1, 4.25, 3.5, 5.0]}
    assert data["maps"][0]["n"] == "12 subjects, 15 scans"
    assert data["maps"][2]["regions"] == {} and data["maps"][2]["group"] == ""


def test_the_page_holds_all_that_it_needs(written):
    """No address but those inside the library, its licence, and the links of the page to the report."""
    outside = re.sub(r'<script type="text/plain".*?</script>', "", written, flags=re.S)
    outside = re.sub(r"<pre>.*?</pre>", "", outside, flags=re.S)
    assert re.findall(r'(?:src|href)="(?!data:)([^"]*)"', outside) == ["../../report.html"]
    assert "http" not in outside
    assert packed(written, "niivue") == read_library()["module"]
    assert "Redistribution and use" in written
    assert "Simulated data." in written
    assert "rounded to 127 steps" in written and "0.8 % of the largest" in written


def test_a_name_of_a_region_cannot_end_a_script(written):
    assert "Right front </script>" not in written
    assert "Right front </script>" in json.loads(element(written, "data"))["regions"].values()


def test_equal_input_gives_equal_bytes(written, folder):
    assert cases.write_case(folder, folder / "again.html").read_text() == written


def test_small_voxels_are_averaged_over_blocks(tmp_path):
    grid = Grid.icbm(1)
    rng = np.random.default_rng(1)
    brain = cases.brain_of(grid)
    values = rng.normal(size=grid.shape) * brain
    map_grid = MapGrid.of(cases.save(brain, grid, tmp_path / "mask.nii.gz"))
    shown = map_grid.shown(nib.Nifti1Image(values.astype(np.float32), grid.affine))
    sums, counts = (block_reduce(array.astype(float), (2, 2, 2), np.sum) for array in (values, brain))
    expected = (sums / np.maximum(counts, 1))[map_grid.box]
    assert map_grid.block == 2 and shown.shape == tuple(map_grid.facts["shape"])
    np.testing.assert_allclose(shown, expected, atol=1e-6)
    # The first block of the box is centred between its voxels.
    first = np.array([own.start for own in map_grid.box]) * 2
    centre = nib.affines.apply_affine(grid.affine, first + 0.5)
    assert map_grid.facts["origin"] == pytest.approx(centre.tolist()) and map_grid.facts["step"] == [2, 2, 2]
    assert map_grid.facts["n_brain"] == np.count_nonzero(counts)


def test_a_map_of_zeros_stays_one():
    assert pack_map(np.zeros((2, 3, 4)))["unit"] == 0


def test_twenty_maps_of_2_mm_fit_into_12_mb_and_more_are_named(folder, tmp_path):
    """Noise does not compress: real maps are smaller."""
    grid = Grid.icbm(2)
    brain = cases.brain_of(grid)
    rng = np.random.default_rng(3)

    def noisy(name):
        return cases.viewed(
            nib.Nifti1Image((rng.normal(size=grid.shape) * brain).astype(np.float32), grid.affine), name, "g"
        )

    given = {"mask": cases.save(brain, grid, tmp_path / "mask.nii.gz")}
    given |= {"background": cases.save(cases.background_of(Grid.icbm(1)), Grid.icbm(1), tmp_path / "t1.nii.gz")}
    groups = {group: [noisy(f"Method {n}") for n in range(10)] for group in ("AD", "CN")}
    groups |= {"all": [noisy(f"Method {n}") for n in range(40)]}
    path = cases.write_case(folder, tmp_path / "many.html", groups=groups, **given)
    text = path.read_text()
    assert len(json.loads(element(text, "data"))["maps"]) == 20
    assert path.stat().st_size < MOST_BYTES == 12_000_000
    assert re.sub(r"\s+", " ", text).count("Not shown, to keep this page below 12 MB: maps of all.") == 1


def test_the_colours_are_those_of_the_figures_and_their_mirror():
    colours = colour_maps()
    positive, negative = colours["positive"], colours["negative"]
    for at, share in ((1, 0.0), (-1, 1.0)):
        assert [positive[name][at] for name in "RGB"] == list(HOT(share, bytes=True)[:3])
        assert [negative[name][at] for name in "BGR"] == [positive[name][at] for name in "RGB"]
    assert positive["A"][0] == 0 and set(positive["A"][1:]) == {255} and positive["I"][-1] == 255


def test_a_missing_package_and_a_study_without_maps_are_named(folder, monkeypatch):
    with pytest.raises(InputError, match="no relevance map"):
        cases.write_case(folder, folder / "none.html", groups={})
    monkeypatch.setattr(page_module, "LIBRARY", "no-such-package")
    with pytest.raises(InputError, match="not installed"):
        read_library()
