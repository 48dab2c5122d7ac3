"""Average heatmaps of others: held against the grid, summed by region, drawn and marked as theirs."""

import hashlib
import json
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from helpers.paths import SCHEMA
from voxelwhy.config.settings import load_settings
from voxelwhy.errors import ConfigError, InputError, ShapeError
from voxelwhy.heatmaps.imported import import_heatmap
from voxelwhy.io.images import save_image
from voxelwhy.io.tables import IMPORTED, write_table
from voxelwhy.report.figures.imported import draw_imported
from voxelwhy.report.relevance_tables import publish_imported

AFFINE = np.array([[4.0, 0, 0, -20], [0, 4, 0, -40], [0, 0, 4, -12], [0, 0, 0, 1]])
SHAPE = (10, 12, 8)


@pytest.fixture
def grid():
    """(labels, regions, mask): two regions in a brain that leaves one voxel of margin."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:-1, 1:-1, 1:-1] = 1
    labels = np.zeros(SHAPE, np.int16)
    labels[1:4, 2:10, 2:6], labels[6:9, 2:10, 2:6] = 3, 7
    regions = pd.DataFrame({"region_id": [3, 7], "region": ["One_L", "One_R"], "voxels": [96, 96]})
    regions["volume_mm3"] = regions["voxels"] * 64.0
    return nib.Nifti1Image(labels, AFFINE), regions, nib.Nifti1Image(mask, AFFINE)


@pytest.fixture
def values(rng):
    return rng.normal(0.3, 1, SHAPE).astype(np.float32)


def entry(path, **more):
    return {"name": "occlusion", "file": str(path), "group": "AD", **more}


def test_a_map_is_summed_as_numpy_sums_it(tmp_path, grid, values):
    labels, regions, mask = grid
    np.savez_compressed(tmp_path / "m.npz", ad=values, cn=-values)
    heatmap, table, card = import_heatmap(entry(tmp_path / "m.npz", array="ad", n_subjects=30), labels, regions, mask)
    write_table(table, tmp_path / "table.tsv", IMPORTED)
    brain, where = np.asarray(mask.dataobj) > 0, np.asarray(labels.dataobj)
    np.testing.assert_array_equal(heatmap, values * brain)
    positive, everything = np.maximum(values, 0), np.abs(values[brain]).sum(dtype=float)
    for row in table.itertuples():
        inside = where == row.region_id
        assert row.total == pytest.approx(values[inside].sum(dtype=float) / everything)
        assert row.share == pytest.approx(positive[inside].sum(dtype=float) / positive[brain].sum(dtype=float))
        assert row.enrichment == pytest.approx(row.share * brain.sum() / inside.sum())
    assert table.sort_values("rank")["enrichment"].is_monotonic_decreasing
    outside = np.abs(values[~brain]).sum(dtype=float) / np.abs(values).sum(dtype=float)
    assert card["share_outside_brain"] == pytest.approx(outside)
    assert card["sha256"] == hashlib.sha256((tmp_path / "m.npz").read_bytes()).hexdigest()
    assert (card["file"], card["array"], card["n_subjects"], card["n_scans"]) == ("m.npz", "ad", 30, None)


def test_the_region_with_the_largest_share_is_not_first_if_it_is_only_larger(tmp_path, grid):
    """By hand: 64 voxels of 2 and 128 of 1.5, in a brain of 480 voxels, of which the others have 1."""
    labels, regions, mask = grid
    sizes = np.asarray(labels.dataobj).copy()
    sizes[1:3], sizes[3:4] = np.where(sizes[1:3], 3, 0), np.where(sizes[3:4], 7, 0)
    values = np.select([sizes == 3, sizes == 7], [2.0, 1.5], 1.0).astype(np.float32)
    np.savez(tmp_path / "m.npz", only=values)
    image = nib.Nifti1Image(sizes, AFFINE)
    _, table, _ = import_heatmap(entry(tmp_path / "m.npz"), image, regions, mask)
    whole = 64 * 2 + 128 * 1.5 + (480 - 192)
    assert table["share"].tolist() == pytest.approx([128 / whole, 192 / whole])
    assert table["enrichment"].tolist() == pytest.approx([2 * 480 / whole, 1.5 * 480 / whole])
    assert table["rank"].tolist() == [1, 2]


def test_a_nifti_is_the_same_map_in_whichever_order_it_is_stored(tmp_path, grid, values):
    labels, regions, mask = grid
    image = nib.Nifti1Image(values, AFFINE)
    codes = nib.orientations.axcodes2ornt("PIR")
    turned = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(AFFINE), codes))
    assert turned.shape != SHAPE
    nib.save(turned, tmp_path / "m.nii.gz")
    np.savez(tmp_path / "m.npz", only=values)
    first, table, _ = import_heatmap(entry(tmp_path / "m.nii.gz"), labels, regions, mask)
    second, same, _ = import_heatmap(entry(tmp_path / "m.npz"), labels, regions, mask)
    np.testing.assert_array_equal(first, second)
    pd.testing.assert_frame_equal(table, same)


def test_another_grid_is_refused_with_both_in_words(tmp_path, grid, values):
    labels, regions, mask = grid
    ours = re.escape("xpected shape (10, 12, 8), origin [-20.0, -40.0, -12.0] mm, voxels [4.0, 4.0, 4.0] mm")
    np.savez(tmp_path / "m.npz", only=values[:-1])
    with pytest.raises(ShapeError, match=rf"array only.*shape \(9, 12, 8\); e{ours}.*no affine.*nothing is resampled"):
        import_heatmap(entry(tmp_path / "m.npz"), labels, regions, mask)
    shifted = AFFINE.copy()
    shifted[1, 3] += 2
    nib.save(nib.Nifti1Image(values, shifted), tmp_path / "m.nii")
    with pytest.raises(
        ShapeError, match=rf"m.nii is not on the study's grid: .*origin \[-20.0, -38.0, -12.0\].*{ours}"
    ):
        import_heatmap(entry(tmp_path / "m.nii"), labels, regions, mask)
    nib.save(nib.Nifti1Image(values[:, :-1], AFFINE), tmp_path / "m.nii")
    with pytest.raises(ShapeError, match=rf"shape \(10, 11, 8\).*{ours}"):
        import_heatmap(entry(tmp_path / "m.nii"), labels, regions, mask)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "m.nii")
    with pytest.raises(ShapeError, match=rf"identity matrix as its affine. E{ours}.*as \.npz"):
        import_heatmap(entry(tmp_path / "m.nii"), labels, regions, mask)


def test_a_map_that_cannot_be_used_is_refused(tmp_path, grid, values):
    labels, regions, mask = grid
    path = tmp_path / "m.npz"
    bad = values.copy()
    bad[0, 0, :3] = np.nan
    outside = np.where(np.asarray(mask.dataobj) > 0, 0, values)
    for arrays, more, match in (
        ({"a": bad}, {}, r"array a contains NaN or infinity(.|\n)*3 voxels"),
        ({"a": outside}, {}, "zero everywhere inside the brain"),
        ({"a": values, "b": values}, {}, r"needs the setting array(.|\n)*2 arrays(.|\n)*a, b"),
        ({"a": values}, {"array": "c"}, r"names no array(.|\n)*'c'(.|\n)*allowed: a"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(InputError, match=match):
            import_heatmap(entry(path, **more), labels, regions, mask)
    nib.save(nib.Nifti1Image(bad, AFFINE), tmp_path / "m.nii")
    with pytest.raises(InputError, match=r"NaN or infinity(.|\n)*3 voxels"):
        import_heatmap(entry(tmp_path / "m.nii"), labels, regions, mask)
    with pytest.raises(InputError, match="does not exist"):
        import_heatmap(entry(tmp_path / "none.npz"), labels, regions, mask)


@pytest.fixture
def imported(tmp_path, grid, values):
    """Two maps of others of one group, as the rule writes them: [(path, card)], [table]."""
    labels, regions, mask = grid
    known = {"n_subjects": 30, "n_scans": 41, "note": "Smith 2018, figure 2"}
    maps, tables = [], []
    for number, (name, more) in enumerate({"occlusion": known, "my_method": {}}.items()):
        np.savez(tmp_path / f"{name}.npz", mean=values + number)
        made = import_heatmap(entry(tmp_path / f"{name}.npz") | {"name": name} | more, labels, regions, mask)
        save_image(tmp_path / f"{name}.nii.gz", made[0], AFFINE, made[2])
        maps.append((tmp_path / f"{name}.nii.gz", made[2]))
        tables.append(made[1])
    template = np.where(np.asarray(mask.dataobj) > 0, 80, 0).astype(np.float32)
    nib.save(nib.Nifti1Image(template, AFFINE), tmp_path / "t1.nii.gz")
    return maps, tables


def test_the_figure_says_whose_maps_these_are_and_of_how_many(imported, tmp_path):
    maps, _ = imported
    draw_imported(maps, tmp_path / "t1.nii.gz", tmp_path / "out", group="AD", slices_mm=(-20, -8))
    words = json.loads((tmp_path / "out.json").read_text())
    assert words["category"] == "heatmaps"
    assert words["title"] == "Imported heatmaps, AD"
    assert "Imported heatmaps of AD scans, not computed by this study: " in words["caption"]
    assert "Occlusion (occlusion.npz; 30 subjects, 41 scans; Smith 2018, figure 2)" in words["caption"]
    assert "My method (my_method.npz; n not given)" in words["caption"]
    drawn = (tmp_path / "out.svg").read_text()
    assert "imported heatmaps, not of this study" in drawn
    assert "y = -20 mm" in drawn and "y = -8 mm" in drawn
    assert (tmp_path / "out.png").stat().st_size > 1000


def test_the_table_has_enrichment_without_intervals(imported, tmp_path):
    maps, tables = imported
    publish_imported(tables, [card for _, card in maps], tmp_path / "regions", group="AD", top=2)
    words = json.loads((tmp_path / "regions.json").read_text())
    assert "has no interval over subjects" in words["caption"]
    assert "n not given" in words["caption"]
    assert words["columns"] == ["Rank", "Occlusion", "My method"]
    best = tables[0].sort_values("rank").iloc[0]
    assert words["rows"][0][1] == f"{best['region']} {best['enrichment']:.1f}"
    full = pd.read_csv(tmp_path / "regions.tsv", sep="\t")
    assert len(full) == 4
    np.testing.assert_allclose(full["total"], np.concatenate([table["total"] for table in tables]), rtol=1e-6)


def settings_of(*others):
    return load_settings({"study": "x", "cohort": {"table": "t"}, "heatmaps": {"others": list(others)}}, SCHEMA)


def test_others_in_the_config():
    assert settings_of()["heatmaps"]["others"] == []
    settings = settings_of(entry("m.npz", array="ad"), entry("m.nii.gz") | {"group": "CN"})
    assert [other["group"] for other in settings["heatmaps"]["others"]] == ["AD", "CN"]
    for others, match in (
        ([entry("m.npz"), entry("n.npz")], r"two maps have the same name and group\n.*occlusion, group AD"),
        ([entry("m.mat")], r"file format is not supported\n.*m.mat(.|\n)*\.npz, \.nii"),
        ([entry("m.nii", array="a")], r"the file is not \.npz\n.*m\.nii"),
        ([entry("m.npz", n_subjects=3, n_scans=2)], r"fewer scans than subjects\n.*2\n.*at least 3"),
        ([entry("m.npz") | {"name": "a/b"}], r"others\[0\].name cannot"),
        ([{"name": "a", "file": "m.npz"}], r"others\[0\].group is missing"),
    ):
        with pytest.raises(ConfigError, match=match):
            settings_of(*others)
