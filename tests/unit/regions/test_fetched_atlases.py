"""Atlases by name through nilearn: what each fetcher returns becomes labels and names; offline, people are told."""

from __future__ import annotations

import inspect
import re

import nibabel as nib
import numpy as np
import pytest
import yaml
from nilearn import datasets

from helpers.fetched_files import ORIGIN, write_fetched, write_image
from helpers.paths import PROFILE, ROOT
from helpers.settings_cases import load
from helpers.workflow import plan
from voxelwhy.config.atlas_names import FETCHED, PACKAGED, choices
from voxelwhy.errors import ConfigError, InputError
from voxelwhy.io.images import Grid
from voxelwhy.io.tables import ATLAS, read_table, write_table
from voxelwhy.regions import fetched_atlases
from voxelwhy.regions.atlases import atlas_on_grid, load_atlas, merge_sides
from voxelwhy.regions.fetched_atlases import tidy_name
from voxelwhy.report.atlas_works import WORKS, works_of
from voxelwhy.report.citations import choose_citations
from voxelwhy.report.methods_text import methods_text

PAIRED = [name for name, spec in FETCHED.items() if not spec.unpaired]


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    """nilearn looks below tmp_path alone, and a request fails as it does without a network."""

    def refuse(*_, **__):
        raise ConnectionError("Failed to resolve 'www.nitrc.org'")

    monkeypatch.delenv("NILEARN_SHARED_DATA", raising=False)
    monkeypatch.setenv("NILEARN_DATA", str(tmp_path / "kept"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("requests.Session.send", refuse)
    monkeypatch.setattr("urllib.request.OpenerDirector.open", refuse)


@pytest.mark.parametrize("name", FETCHED)
def test_each_atlas_from_files_as_nilearn_keeps_them(name, tmp_path):
    wanted = write_fetched(tmp_path / "kept", name)
    atlas = load_atlas({"name": name})
    assert dict(zip(atlas.regions["region_id"], atlas.regions["region"], strict=True)) == wanted
    assert list(atlas.regions) == ["region_id", "region"]
    labels = np.asarray(atlas.image.dataobj)
    assert atlas.image.get_data_dtype() == np.int32 and labels.ndim == 3
    # Each name is that of its block of voxels: written in this order along x, and nothing else was written.
    along = labels[1:-1:2, 0, 0]
    assert along.tolist() == list(wanted) and (labels[1:-1] == np.repeat(along, 2)[:, None, None]).all()
    assert atlas.image.affine[:3, 3].tolist() == list(ORIGIN)
    grid = Grid(labels.shape, atlas.image.affine)
    on_grid, table = atlas_on_grid(atlas, grid)
    np.testing.assert_array_equal(on_grid, labels)
    write_table(table, tmp_path / "regions.tsv", ATLAS)
    assert read_table(tmp_path / "regions.tsv", ATLAS)["region"].tolist() == list(wanted.values())
    assert all(re.fullmatch(r"[\w.()'/+-]+", region) for region in wanted.values())


@pytest.mark.parametrize("name", PAIRED)
def test_pairs_of_fetched_atlases_merge(name, tmp_path):
    wanted = write_fetched(tmp_path / "kept", name)
    atlas = load_atlas({"name": name, "merge_sides": True})
    pairs = [region[:-2] for region in wanted.values() if f"{region[:-2]}_R" in wanted.values() and region[-1] == "L"]
    assert pairs
    assert len(atlas.regions) == len(wanted) - len(pairs)
    assert set(pairs) <= set(atlas.regions["region"])


@pytest.mark.parametrize("name", FETCHED)
def test_nilearn_takes_these_arguments(name):
    """Names and values: nilearn looks at them before it asks for the first file."""
    spec = FETCHED[name]
    signature = inspect.signature(getattr(datasets, spec.fetcher))
    signature.bind(**spec.arguments, verbose=0)
    assert set(spec.arguments) <= set(signature.parameters)
    with pytest.raises(InputError, match=r"cannot be fetched[\s\S]*resolve"):
        load_atlas({"name": name})


def test_without_network_people_are_told_what_where_and_what_to_do(tmp_path):
    with pytest.raises(InputError) as error:
        load_atlas({"name": "destrieux_2009"})
    text = str(error.value)
    assert "the atlas destrieux_2009 cannot be fetched" in text
    assert "ConnectionError" in text and "Failed to resolve" in text
    for part in (str(tmp_path / "kept"), "NILEARN_DATA", "~/nilearn_data", *PACKAGED, "atlas.image", "atlas.table"):
        assert part in text
    command = re.search(r"python -c '(.*?)' and", text)[1]
    compile(command, "command", "exec")
    assert "fetch_atlas_destrieux_2009" in command and "lateralized=True" in command


def test_a_damaged_file_is_no_traceback(tmp_path):
    write_fetched(tmp_path / "kept", "pauli_2017")
    path = tmp_path / "kept/pauli_2017/pauli_2017_det.nii.gz"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match=r"pauli_2017 cannot be (fetched|read)[\s\S]*damaged"):
        load_atlas({"name": "pauli_2017"})


def test_labels_without_a_name_are_refused_and_two_regions_of_one_name_are_told_apart(tmp_path):
    write_fetched(tmp_path / "kept", "pauli_2017")
    (tmp_path / "kept/pauli_2017/labels.txt").write_text("0 Pu\n1 Pu\n")
    write_image(tmp_path / "kept/pauli_2017/pauli_2017_det.nii.gz", [1, 2])
    assert load_atlas({"name": "pauli_2017"}).regions["region"].tolist() == ["Pu_1", "Pu_2"]
    write_image(tmp_path / "kept/pauli_2017/pauli_2017_det.nii.gz", [1, 2, 3])
    with pytest.raises(InputError, match=r"1 labels of the atlas have no name[\s\S]*\[3\]"):
        load_atlas({"name": "pauli_2017"})
    assert fetched_atlases._unique(["a_L", "a_L", "b"], [3, 4, 5]) == ["a_3_L", "a_4_L", "b"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("Left Hippocampus", "Hippocampus_L"),
        ("Right Juxtapositional Lobule Cortex (formerly Supplementary Motor Cortex)", None),
        ("L G_and_S_frontomargin", "G_and_S_frontomargin_L"),
        ("GM Visual cortex V1 BA17 R", "GM_Visual_cortex_V1_BA17_R"),
        ("17Networks_RH_DorsAttnA_TempOcc_1", "17Networks_DorsAttnA_TempOcc_1_R"),
        ("Precentral_L", "Precentral_L"),
        ("Lingual Gyrus", "Lingual_Gyrus"),
        ("Rectus", "Rectus"),
        ("Vermis_1_2", "Vermis_1_2"),
        ('tab\tquote"bar|', "tab_quote_bar"),
        ("7", "cluster_7"),
    ],
)
def test_names_end_in_their_side(given, wanted):
    assert tidy_name(given) == (wanted or "Juxtapositional_Lobule_Cortex_(formerly_Supplementary_Motor_Cortex)_R")


def test_every_atlas_has_a_name_of_its_own_and_its_works():
    assert not set(PACKAGED) & set(FETCHED)
    assert len({name.lower() for name in (*PACKAGED, *FETCHED)}) == len(PACKAGED) + len(FETCHED)
    page = (ROOT / "docs" / "workflow" / "atlases.md").read_text()
    for name in (*PACKAGED, *FETCHED):
        assert works_of(name) and set(works_of(name)) <= set(WORKS)
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name)
        assert re.sub(r"(?<=_)\d+$", "", name) in page, name
    assert works_of("mine") == ()
    assert set(WORKS) == {key for name in (*PACKAGED, *FETCHED) for key in works_of(name)}
    for text, _ in WORKS.values():
        surname = text.partition(" ")[0]
        assert surname in (ROOT / "docs" / "reference" / "references.md").read_text(), surname
    assert "yeo_2011_{7,17}" in choices() and "HCPEx" in choices()


def test_the_report_cites_the_atlas_that_is_used():
    def works(name):
        return " ".join(text for text, _ in choose_citations({"atlas": {"name": name}}, simulated=False))

    assert "Huang" in works("HCPEx") and "Tzourio" not in works("HCPEx")
    # Its licence asks for this: whose labels, of whose scans.
    for part in ("Neuromorphometrics, Inc.", "under academic subscription", "OASIS", "Notter"):
        assert part in works("Neuromorphometrics")
    assert "Schaefer" in works("schaefer_2018_400") and "Yeo" in works("schaefer_2018_400")
    assert all(part in works("harvard_oxford_cortical") for part in ("Desikan", "Makris", "Frazier", "Goldstein"))
    settings = load("atlas: {name: HCPEx, merge_sides: true}")
    text = " ".join(methods_text(settings, simulated=False, n_subjects=2, n_scans=2))
    assert "regions of HCPEx, left and right combined, resampled" in text and "AAL" not in text
    text = " ".join(methods_text(load("atlas: {name: juelich}"), simulated=False, n_subjects=2, n_scans=2))
    assert "regions of juelich, resampled" in text and "AAL" not in text


def test_settings_know_the_names():
    for name in (*PACKAGED, *FETCHED):
        assert load(f"atlas: {{name: {name}}}")["atlas"]["merge_sides"] is False
    with pytest.raises(ConfigError, match=r"no atlas of this name(.*\n)+.*did you mean schaefer_2018_400\?"):
        load("atlas: {name: schafer_2018_400}")
    with pytest.raises(ConfigError, match="built-in atlas, but image and table"):
        load("atlas: {name: juelich, image: a.nii, table: a.tsv}")
    for name, why in (("pauli_2017", "both sides"), ("schaefer_2018_100", "separately"), ("basc_2015_7", "numbered")):
        with pytest.raises(ConfigError, match=rf"{name} has no left and right regions to merge: .*{why}"):
            load(f"atlas: {{name: {name}, merge_sides: true}}")
    for name in (*PACKAGED, *PAIRED):
        assert load(f"atlas: {{name: {name}, merge_sides: true}}")["atlas"]["merge_sides"] is True


def test_hcpex_through_a_config_to_a_grid_of_3_mm(caplog):
    """Three nuclei of the thalamus are smaller than a voxel there: what people are told names the way on."""
    settings = load("atlas: {name: HCPEx}\nregistration: {resolution_mm: 3}")["atlas"]
    grid = Grid.icbm(3)
    with pytest.raises(InputError, match=r"3 of 426 regions[\s\S]*372 Thal_Reuniens_L[\s\S]*atlas.vanished to warn"):
        atlas_on_grid(load_atlas(settings), grid, vanished=settings["vanished"])
    with caplog.at_level("WARNING"):
        labels, table = atlas_on_grid(load_atlas(settings), grid, vanished="warn")
    assert len(table) == 423 == len(np.unique(labels)) - 1
    assert "405 Thal_Reuniens_R" in caplog.text


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [("AAL", 116, 62), ("AAL3", 166, 88), ("HCPEx", 426, 213), ("Neuromorphometrics", 136, 72)],
)
def test_merged_sides_have_the_voxels_of_both(name, before, after):
    atlas = load_atlas({"name": name})
    merged = load_atlas({"name": name, "merge_sides": True})
    assert (len(atlas.regions), len(merged.regions)) == (before, after)
    old, new = np.asarray(atlas.image.dataobj), np.asarray(merged.image.dataobj)
    assert new.dtype == np.int32 and np.array_equal(old > 0, new > 0)
    number = dict(zip(atlas.regions["region"], atlas.regions["region_id"], strict=True))
    for region_id, region in merged.regions.itertuples(index=False):
        halves = [number[part] for part in (f"{region}_L", f"{region}_R", region) if part in number]
        assert region_id == halves[0]
        assert (new == region_id).sum() == sum((old == half).sum() for half in halves) > 0
    assert not [region for region in merged.regions["region"] if region.endswith(("_L", "_R"))]


def test_own_atlases_merge_by_their_endings(tmp_path):
    write_image(tmp_path / "own.nii", [5, 2, 9, 7])

    def own(names):
        rows = "".join(f"{number}\t{name}\n" for number, name in zip((5, 2, 9, 7), names, strict=True))
        (tmp_path / "own.tsv").write_text(f"region_id\tregion\n{rows}")
        settings = {"name": "own", "image": str(tmp_path / "own.nii"), "table": str(tmp_path / "own.tsv")}
        return load_atlas(settings | {"merge_sides": True})

    merged = own(["a_L", "a_R", "b_L", "c"])
    # The number of the left one; a side without the other, and what has none, stay.
    assert merged.regions.to_dict("list") == {"region_id": [5, 7, 9], "region": ["a", "c", "b_L"]}
    assert np.asarray(merged.image.dataobj)[:, 0, 0].tolist() == [0, 5, 5, 5, 5, 9, 9, 7, 7, 0]
    with pytest.raises(InputError, match=r"the atlas own has no left and right[\s\S]*merge_sides to false"):
        own(["Left a", "Right a", "b_L", "c"])
    with pytest.raises(InputError, match=r"already has a region with the name of a merged pair[\s\S]*a, a_L, a_R"):
        own(["a_L", "a_R", "a", "c"])


def test_the_hash_follows_voxels_and_place():
    image = nib.Nifti1Image(np.arange(8, dtype=np.int32).reshape(2, 2, 2), np.eye(4))
    atlas = load_atlas({"name": "AAL"})
    assert len(atlas.sha256()) == 64 and atlas.sha256() != merge_sides(atlas).sha256()
    moved = nib.Nifti1Image(image.dataobj, np.diag([2, 2, 2, 1]))
    assert len({type(atlas)("x", place, atlas.regions).sha256() for place in (image, moved)}) == 2


@pytest.mark.parametrize(("name", "merge"), [("HCPEx", True), ("schaefer_2018_100", False)])
def test_a_study_with_another_atlas_would_run_and_what_is_fetched_is_fetched_here(name, merge, tmp_path):
    """Compute nodes are offline: a fetched atlas is in no group, and its job runs where snakemake runs."""
    demo = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    config = demo | {"atlas": {"name": name, "merge_sides": merge, "vanished": "warn"}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(config))
    study = plan(tmp_path, "--configfile", "study.yaml", "--profile", PROFILE.parent)
    (job,) = study.of("prepare_atlas")
    assert bool(job["group"]) == (name in PACKAGED)
    assert study.rules["prepare_atlas"]["local"] == (name in FETCHED)
    assert study.groups() == ["cohort", "prepare", "results_kfold"]
