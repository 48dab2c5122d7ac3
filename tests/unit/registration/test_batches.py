"""Registration in batches: who is in which, what a batch skips, and what its manifest is good for."""

from __future__ import annotations

import shutil

import ants
import numpy as np
import pandas as pd
import pytest
import yaml

from helpers.folder_scans import touch
from helpers.moved_scans import TRUE_AFFINE, moved_scan
from helpers.paths import ROOT
from helpers.stores import contents
from voxelwhy.errors import InputError
from voxelwhy.io.images import read_json, save_image, write_json
from voxelwhy.io.tables import REGISTERED, SELECTED, read_table, write_table
from voxelwhy.jobs.batches import divide_scans
from voxelwhy.registration.batch_registration import register_batch
from voxelwhy.registration.manifests import read_registered

NAMES = [f"sub-{number:05d}_ses-1" for number in range(12_000)]


def test_up_to_ten_thousand_scans_each_is_a_job_and_beyond_there_are_batches():
    assert divide_scans(NAMES[:1]) is None and divide_scans(NAMES[:10_000]) is None
    batches = divide_scans(NAMES)
    assert list(batches) == list(range(128)), "12,000 scans by 100, as a power of two"
    assert sorted(scan for scans in batches.values() for scan in scans) == NAMES
    sizes = [len(scans) for scans in batches.values()]
    assert min(sizes) > 60 and max(sizes) < 130
    assert all(scans == sorted(scans) for scans in batches.values()), "in the order of the table"


@pytest.mark.parametrize(("n", "batch", "wanted"), [(16, 4, 4), (17, 4, 8), (32, 4, 8), (33, 4, 16), (3, 4, 1)])
def test_the_number_of_batches_is_a_power_of_two(n, batch, wanted):
    batches = divide_scans(NAMES[:n], batch)
    assert set(batches) <= set(range(wanted))
    assert {scan: number for number, scans in batches.items() for scan in scans} == {
        scan: number % wanted
        for number, scans in divide_scans(NAMES[:1024], 1).items()
        for scan in scans
        if scan in NAMES[:n]
    }


def test_one_scan_more_changes_one_batch_and_twice_as_many_batches_halve_each():
    before, after = divide_scans(NAMES[:200], 30), divide_scans(NAMES[:201], 30)
    assert len(before) == 8
    assert [number for number in after if after[number] != before[number]] == [
        next(number for number, scans in after.items() if NAMES[200] in scans)
    ]
    halves = divide_scans(NAMES[:200], 15)
    assert len(halves) == 16
    for number, scans in before.items():
        assert sorted(halves[number] + halves[number + 8]) == sorted(scans)


def test_tables_of_forty_thousand_scans_are_compared_by_their_content(tmp_path):
    """One that was made again with the same content trains nothing anew: Snakemake must be willing to read it."""
    profile = yaml.safe_load((ROOT / "workflow/profiles/default/config.yaml").read_text())
    texts = {"subject_id": "941_S_1194", "session": "Month 12", "label": "AD", "sex": "F", "image_id": "I32010"}
    texts |= {"scan_date": "2007-02-12", "path": "/data/ADNI/" + 90 * "x", "t1": "results/adni/registered/" + 40 * "x"}
    rows = pd.DataFrame(
        {"scan_id": NAMES[:4000]} | texts | dict.fromkeys(("voxel_hash", "t1_hash", "maps_hash"), 64 * "f")
    )
    figures = {"age": 75.3, "correlation_brain": 0.71234567890123456, "mask_dice": 0.93 + np.pi / 1e3}
    rows = rows.assign(**figures, jacobian_min=0.123456789, jacobian_max=5.4321)
    write_table(rows[list(SELECTED.columns)], tmp_path / "selected.tsv", SELECTED)
    size = 10 * (tmp_path / "selected.tsv").stat().st_size
    assert 1e7 < size < profile["max-checksum-file-size"]


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Five scans: four that can be registered, and one that cannot."""
    folder, paths = tmp_path_factory.mktemp("scans"), {}
    for number in range(4):
        affine = TRUE_AFFINE.copy()
        affine[0, 3] += 3 * number
        paths[f"s{number}"] = folder / f"scan{number}.nii.gz"
        save_image(paths[f"s{number}"], *moved_scan(affine, 6.0))
    paths["bad"] = folder / "bad.nii.gz"
    paths["bad"].write_bytes(paths["s0"].read_bytes()[:500])
    return paths


@pytest.fixture(scope="module")
def register_in(images_6mm):
    settings = {"transform": "rigid", "n4": False, "keep_transforms": False}

    def register(folder, scans, **options):
        images = images_6mm / "template.nii.gz", images_6mm / "mask.nii.gz"
        return register_batch(scans, *images, settings, folder, code={"voxelwhy.io.images": "1"}, **options)

    return register


@pytest.fixture
def register(register_in, tmp_path):
    return lambda scans, out="registered", **options: register_in(tmp_path / out, scans, **options)


@pytest.fixture(scope="module")
def alone(register_in, scans, tmp_path_factory):
    """What a batch without a store writes."""
    folder = tmp_path_factory.mktemp("alone")
    register_in(folder, scans)
    return contents(folder)


def test_a_batch_registers_what_is_not_there(register, scans, tmp_path, ants_runs, caplog):
    scans = {name: shutil.copy(path, tmp_path) for name, path in scans.items()}
    manifest = register(scans)
    assert manifest[["scan_id", "status"]].to_numpy().tolist() == [
        ["s0", "ok"],
        ["s1", "ok"],
        ["s2", "ok"],
        ["s3", "ok"],
        ["bad", "failed"],
    ]
    assert len(ants_runs) == 4
    first = contents(tmp_path / "registered")
    assert {name.split("/")[0] for name in first} == set(scans)
    assert [read_json(tmp_path / "registered" / scan / "quality.json")["key"] for scan in scans] == list(
        manifest["key"]
    )

    with caplog.at_level("INFO"):
        again = register(scans)
    assert len(ants_runs) == 4 and again.equals(manifest)
    assert "[3/5] s2: already registered" in caplog.messages and "[5/5] bad: already registered" in caplog.messages
    assert contents(tmp_path / "registered") == first

    shutil.copy(scans["s1"], scans["s3"])  # it is another scan now
    (tmp_path / "registered" / "s2" / "check.png").unlink()
    register(scans)
    assert len(ants_runs) == 6
    after = contents(tmp_path / "registered")
    assert {name.split("/")[0] for name in first if after[name] != first[name]} == {"s3"}
    assert after["s3/t1.nii"] == first["s1/t1.nii"]


def test_a_batch_asks_the_store(register, scans, alone, tmp_path, ants_runs):
    store = tmp_path / "store"
    register(scans, "first", store=store)
    register(scans, "second", store=store)
    assert len(ants_runs) == 4
    assert contents(tmp_path / "first") == contents(tmp_path / "second") == alone
    assert (tmp_path / "second" / "s0" / "t1.nii").stat().st_nlink == 3


def test_a_batch_that_was_killed_goes_on_where_it_was(register, scans, alone, tmp_path, ants_runs, monkeypatch):
    registration = ants.registration

    def killed(*arguments):
        if len(ants_runs) == 2:
            raise KeyboardInterrupt
        return registration(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr("voxelwhy.registration.ants.ants.registration", killed)
        with pytest.raises(KeyboardInterrupt):
            register(scans)
    registered = tmp_path / "registered"
    (half,) = registered.glob(".partial.*..s2")
    assert {path.name for path in registered.iterdir()} == {"s0", "s1", half.name}
    (half / "t1.nii").write_text("half")
    register(scans)
    assert len(ants_runs) == 4
    assert {path.name for path in registered.iterdir()} == set(scans)
    assert contents(registered) == alone


def test_folders_of_a_batch_look_older_than_any_input(register, scans, tmp_path, ants_runs):
    """So that one job a scan, which has no record of them, does not take them for its own."""
    register({"s0": scans["s0"]})
    assert (tmp_path / "registered" / "s0").stat().st_mtime == 1


def test_folders_and_manifests_give_the_same(register, scans, tmp_path, ants_runs):
    manifest = register(scans, "study/registered")
    study = tmp_path / "study"
    touch(study, "registered/left the table/quality.json", "batches/.keep")
    write_table(manifest.iloc[:2], study / "batches" / "0.tsv", REGISTERED)
    write_table(manifest.iloc[2:], study / "batches" / "7.tsv", REGISTERED)
    listed = read_registered([study / "batches" / "0.tsv", study / "batches" / "7.tsv"])
    assert listed == read_registered([study / "registered" / scan for scan in scans])
    assert listed[0] == {scan: study / "registered" / scan for scan in scans}
    assert listed[1]["bad"]["status"] == "failed" and listed[1]["s0"]["scan_id"] == "s0"

    quality = study / "registered" / "s1" / "quality.json"
    write_json(quality, read_json(quality) | {"key": "another"})
    with pytest.raises(
        InputError, match=r"differs from the one that its batch made\n.*s1\n.*another registration[\s\S]*0\.tsv"
    ):
        read_registered([study / "batches" / "0.tsv"])
    quality.unlink()
    with pytest.raises(InputError, match=r"no quality.json"):
        read_registered([study / "batches" / "0.tsv"])


def test_a_scan_that_cannot_be_read_is_in_the_manifest_without_a_key(register, scans, tmp_path, ants_runs):
    manifest = register({"gone": tmp_path / "gone.nii.gz", "s0": scans["s0"]})
    place = tmp_path / "batches" / "0.tsv"
    place.parent.mkdir()
    write_table(manifest, place, REGISTERED)
    assert read_table(place, REGISTERED)["key"].isna().tolist() == [True, False]
    _, qualities = read_registered([place])
    assert qualities["gone"]["reason"].startswith("the image does not exist")
    assert qualities["s0"]["status"] == "ok"
