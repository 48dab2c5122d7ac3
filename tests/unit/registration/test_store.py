"""Registrations that studies share: the same bytes whichever way they come, and each made once."""

from __future__ import annotations

import errno
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import grimp
import pytest
from filelock import FileLock

from helpers.moved_scans import TRUE_AFFINE, moved_scan
from helpers.paths import ROOT
from helpers.stores import CODE, IMAGES, contents, entries, share
from voxelwhy.io.images import read_json, save_image
from voxelwhy.io.store import Store
from voxelwhy.jobs.code_digest import SILENT, code_digest
from voxelwhy.registration import register
from voxelwhy.registration.store import BOOKKEEPING, hash_scan, registration_key
from voxelwhy.registry import TRANSFORMS


@pytest.fixture(scope="module")
def folder(images_6mm):
    """Template, mask and a scan, scan.nii.gz."""
    save_image(images_6mm / "scan.nii.gz", *moved_scan(TRUE_AFFINE, 5.0))
    return images_6mm


WAYS = [{}, {"transform": "syn_quick", "keep_transforms": True}, {"head": True}]


@pytest.mark.parametrize("settings", WAYS, ids=["rigid", "transforms", "head"])
def test_the_bytes_are_the_same_without_a_store_into_it_and_out_of_it(folder, tmp_path, ants_runs, settings):
    store = tmp_path / "store"
    share(folder, tmp_path / "without", **settings)
    quality = share(folder, tmp_path / "into", store=store, **settings)
    assert len(ants_runs) == 2
    again = share(folder, tmp_path / "out of", store=store, **settings)
    assert len(ants_runs) == 2, "the third comes from the store"
    wanted = contents(tmp_path / "without")
    extra = {"transforms/affine.mat", "transforms/warp.nii.gz", "transforms/inverse_warp.nii.gz"}
    extra = extra if "keep_transforms" in settings else {"brain_mask.nii.gz"} if "head" in settings else set()
    assert set(wanted) == {"t1.nii", "quality.json", "check.png"} | extra
    assert contents(tmp_path / "into") == wanted == contents(tmp_path / "out of")
    assert again == quality == read_json(tmp_path / "out of" / "quality.json")
    assert len(quality["key"]) == 64


def test_what_is_shared_is_one_file_that_nobody_may_write_to(folder, tmp_path, ants_runs):
    for name in "ab":
        share(folder, tmp_path / name, store=tmp_path / "store")
    (entry,) = entries(tmp_path / "store")
    assert {path.name for path in entry.iterdir()} == {"t1.nii", "panels.png", "entry.json"}
    assert {path.stat().st_mode & 0o777 for path in entry.iterdir()} == {0o444}
    files = [place / "t1.nii" for place in (tmp_path / "a", tmp_path / "b", entry)]
    assert len({path.stat().st_ino for path in files}) == 1 and files[0].stat().st_nlink == 3
    assert (tmp_path / "b" / "quality.json").stat().st_nlink == 1


def test_a_study_that_calls_the_scan_otherwise_has_its_own_name(folder, tmp_path, ants_runs):
    store = tmp_path / "store"
    shutil.copy(folder / "scan.nii.gz", tmp_path / "I103.nii.gz")
    share(folder, tmp_path / "first", store=store, scan_id="theirs")
    share(folder, tmp_path / "shared", store=store, scan_id="ours", scan=tmp_path / "I103.nii.gz")
    share(folder, tmp_path / "alone", scan_id="ours")
    assert len(ants_runs) == 2
    assert contents(tmp_path / "shared") == contents(tmp_path / "alone")
    first, ours = contents(tmp_path / "first"), contents(tmp_path / "shared")
    assert {name for name in ours if ours[name] != first[name]} == {"quality.json", "check.png"}
    assert json.loads(ours["quality.json"])["scan_id"] == "ours"
    assert not any(b"theirs" in content for content in contents(store).values())


def key(folder, *, scan="scan.nii.gz", head=None, code=CODE, **changes):
    images = {name: folder / changes.pop(name, file) for name, file in IMAGES.items()}
    return registration_key(
        folder / scan, settings={"transform": "rigid"} | changes, head_path=head, code=code, **images
    )


def test_the_key_is_made_of_content_settings_and_code(folder, tmp_path):
    same = key(folder)
    shutil.copy(folder / "scan.nii.gz", tmp_path / "other.nii.gz")
    assert key(folder, scan=tmp_path / "other.nii.gz") == same
    moved_door = CODE | {"register_scan.py": "z", "voxelwhy.jobs.doors": "z", "voxelwhy.registration.store": "z"}
    assert key(folder, code=moved_door) == same
    (tmp_path / "plain.nii").write_bytes(gzip.decompress((folder / "scan.nii.gz").read_bytes()))
    voxel = bytearray((tmp_path / "plain.nii").read_bytes())
    voxel[-1] ^= 1
    (tmp_path / "voxel.nii").write_bytes(voxel)
    shutil.copy(folder / "template.nii.gz", tmp_path / "template.nii.gz")
    with open(tmp_path / "template.nii.gz", "ab") as template:
        template.write(b"\0")
    others = [
        key(folder, scan=tmp_path / "plain.nii"),
        key(folder, scan=tmp_path / "voxel.nii"),
        key(folder, template_path=tmp_path / "template.nii.gz"),
        key(folder, mask_path=tmp_path / "template.nii.gz"),
        key(folder, head=folder / "template.nii.gz"),
        key(folder, head=folder / "mask.nii.gz"),
        key(folder, transform="affine"),
        key(folder, n4=True),
        key(folder, keep_transforms=True),
        key(folder, code=CODE | {"voxelwhy.registration.ants": "d"}),
    ]
    assert len({same, *others}) == 11


def test_another_version_of_a_library_is_another_key(folder, monkeypatch):
    before = key(folder)
    monkeypatch.setattr("voxelwhy.io.provenance._version", lambda name: "0.0")
    assert key(folder) != before


def test_all_files_of_a_scan_count(tmp_path):
    for name in ("a.hdr", "a.img", "b.img", "series/1.dcm", "series/more/2.dcm"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    seen = {hash_scan(tmp_path / "a.img")}
    assert seen == {hash_scan(tmp_path / "a.hdr")}
    (tmp_path / "a.mat").write_bytes(b"an affine of SPM")
    seen.add(hash_scan(tmp_path / "a.img"))
    (tmp_path / "a.hdr").write_bytes(b"another header")
    seen.add(hash_scan(tmp_path / "a.img"))
    assert len(seen) == 3
    series = {hash_scan(tmp_path / "series")}
    (tmp_path / "series/more/2.dcm").rename(tmp_path / "series/more/3.dcm")
    series.add(hash_scan(tmp_path / "series"))
    (tmp_path / "series/1.dcm").write_bytes(b"another slice")
    series.add(hash_scan(tmp_path / "series"))
    assert len(series) == 3


@pytest.mark.parametrize("module", sorted(set(TRANSFORMS.values())))
def test_what_keeps_and_lists_makes_no_image(module):
    """No registration reaches the modules that no key counts."""
    digest = code_digest(ROOT / "scripts" / "register_scan.py", [module])
    counted = {name for name in digest if name.startswith("voxelwhy.") and name not in BOOKKEEPING}
    graph = grimp.build_graph("voxelwhy", cache_dir=None)
    reached = graph.find_upstream_modules(module)
    assert graph.modules >= BOOKKEEPING and not BOOKKEEPING & reached
    assert {"voxelwhy.registration.quality", "voxelwhy.io.images", "voxelwhy.io.scans"} <= reached
    assert ("voxelwhy.registration.ants" in reached) == (module != TRANSFORMS["none"])
    assert reached - counted <= SILENT | {"voxelwhy", "voxelwhy.registration"}


def test_a_failure_is_not_stored(folder, tmp_path, ants_runs):
    (tmp_path / "bad.nii.gz").write_bytes((folder / "scan.nii.gz").read_bytes()[:2000])
    for name in "ab":
        quality = share(folder, tmp_path / name, scan=tmp_path / "bad.nii.gz", store=tmp_path / "store")
        assert quality["status"] == "failed" and quality["reason"].startswith("the image cannot be read")
        assert set(contents(tmp_path / name)) == {"quality.json", "check.png"}
    assert entries(tmp_path / "store") == [] and not list((tmp_path / "store").rglob("*.lock"))
    quality = share(folder, tmp_path / "c", scan=tmp_path / "missing.nii.gz", store=tmp_path / "store")
    assert quality["reason"].startswith("the image does not exist") and quality["key"] is None


def test_what_an_external_program_had_a_part_in_is_not_stored(folder, tmp_path, ants_runs):
    store = tmp_path / "store"
    for name in "ab":
        share(folder, tmp_path / name, store=store, extract="true {scan} {brain}", skull_stripped="true")
    assert len(ants_runs) == 2 and not store.exists()


def _flip(path):
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


BROKEN = {
    "a bit": lambda entry: _flip(entry / "t1.nii"),
    "truncated": lambda entry: os.truncate(entry / "panels.png", 100),
    "missing": lambda entry: (entry / "panels.png").unlink(),
    "no entry.json": lambda entry: (entry / "entry.json").unlink(),
    "half an entry.json": lambda entry: os.truncate(entry / "entry.json", 50),
    "another entry.json": lambda entry: (entry / "entry.json").write_text("[1]"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_an_entry_that_is_not_whole_is_made_anew(folder, tmp_path, ants_runs, caplog, how):
    store = tmp_path / "store"
    share(folder, tmp_path / "first", store=store)
    wanted = contents(tmp_path / "first")
    shutil.rmtree(tmp_path / "first")
    (entry,) = entries(store)
    for path in entry.iterdir():
        path.chmod(0o644)
    BROKEN[how](entry)
    with caplog.at_level("WARNING"):
        share(folder, tmp_path / "second", store=store)
    assert len(ants_runs) == 2 and "made again" in caplog.text and str(entry) in caplog.text
    share(folder, tmp_path / "third", store=store)
    assert len(ants_runs) == 2, "the entry is whole again"
    assert contents(tmp_path / "second") == wanted == contents(tmp_path / "third")
    assert entries(store) == [entry] and len(list(entry.parent.iterdir())) == 1


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.EMLINK], ids=lambda code: errno.errorcode[code])
def test_without_links_files_are_copied(folder, tmp_path, ants_runs, monkeypatch, code):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    share(folder, tmp_path / "without")
    monkeypatch.setattr("voxelwhy.io.store.os.link", refuse)
    for name in "ab":
        share(folder, tmp_path / name, store=tmp_path / "store")
    assert len(ants_runs) == 2
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(tmp_path / "without")
    assert (tmp_path / "b" / "t1.nii").stat().st_nlink == 1 and os.access(tmp_path / "b" / "t1.nii", os.W_OK)


def test_a_store_that_cannot_be_written_costs_time_and_no_result(folder, tmp_path, ants_runs, caplog, monkeypatch):
    share(folder, tmp_path / "without")
    (tmp_path / "a file").write_text("no folder")
    with caplog.at_level("WARNING"):
        share(folder, tmp_path / "a", store=tmp_path / "a file" / "store")
    assert "cannot be locked" in caplog.text and "cannot be written" in caplog.text
    wanted = contents(tmp_path / "without")
    assert contents(tmp_path / "a") == wanted

    def full(source, place, **_):
        raise OSError(errno.ENOSPC, "No space left on device")

    store = tmp_path / "store"
    with monkeypatch.context() as patched:
        patched.setattr("voxelwhy.io.store.os.link", full)
        patched.setattr("voxelwhy.io.store.shutil.copyfile", full)
        share(folder, tmp_path / "b", store=store)
    assert contents(tmp_path / "b") == wanted and "No space left" in caplog.text
    assert contents(store) == {}
    share(folder, tmp_path / "c", store=store)
    assert len(ants_runs) == 4 and len(entries(store)) == 1


def test_where_nothing_can_be_locked_the_study_goes_on(folder, tmp_path, ants_runs, caplog, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    share(folder, tmp_path / "a", store=tmp_path / "store")
    assert "No locks available" in caplog.text and "without the lock" in caplog.text
    share(folder, tmp_path / "b", store=tmp_path / "store")
    assert len(ants_runs) == 1


def test_who_loses_a_race_uses_what_the_winner_made(folder, tmp_path, ants_runs, monkeypatch):
    """Two jobs without a lock: the other one puts its entry in while this one registers."""
    store, make = tmp_path / "store", register.make_registration

    def overtaken(*arguments, **options):
        monkeypatch.setattr(register, "make_registration", make)
        share(folder, tmp_path / "winner", store=store)
        return make(*arguments, **options)

    monkeypatch.setattr(FileLock, "acquire", lambda *_, **__: None)
    monkeypatch.setattr(register, "make_registration", overtaken)
    share(folder, tmp_path / "loser", store=store)
    assert len(ants_runs) == 2
    (entry,) = entries(store)
    assert (tmp_path / "loser" / "t1.nii").stat().st_ino == (entry / "t1.nii").stat().st_ino
    assert (entry / "t1.nii").stat().st_nlink == 3
    assert contents(tmp_path / "loser") == contents(tmp_path / "winner")
    assert list(entry.parent.iterdir()) == [entry], "the loser's own is gone"


OTHER_JOB = """
import sys, time
from pathlib import Path
sys.path[:0] = {paths}
import ants
from helpers.stores import share
from voxelwhy.registration import ants as ants_scripts
registration = ants.registration
def slow(*arguments):
    Path({started!r}).touch()
    time.sleep({seconds})
    return registration(*arguments)
ants_scripts.ants.registration = slow
share(Path({folder!r}), Path({out!r}), store={store!r})
"""


def start_other(folder, tmp_path, seconds):
    """Another process that has the lock and registers the scan; returned once ANTs has begun."""
    text = OTHER_JOB.format(
        paths=[str(ROOT / "scripts"), str(ROOT / "tests")],
        started=str(tmp_path / "started"),
        seconds=seconds,
        folder=str(folder),
        out=str(tmp_path / "other"),
        store=str(tmp_path / "store"),
    )
    process = subprocess.Popen([sys.executable, "-c", text])
    deadline = time.monotonic() + 120
    while not (tmp_path / "started").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    return process


def test_a_job_waits_for_another_that_registers_the_same_scan_and_says_so(folder, tmp_path, ants_runs, caplog):
    other = start_other(folder, tmp_path, seconds=2)
    with caplog.at_level("INFO"):
        share(folder, tmp_path / "ours", store=tmp_path / "store")
    assert other.wait() == 0
    assert ants_runs == [], "ANTs ran in the other process only"
    assert "another job registers this very scan: waiting for it" in caplog.text
    assert re.search(r"taken from the store: .*/[0-9a-f]{64}", caplog.text)
    assert contents(tmp_path / "ours") == contents(tmp_path / "other")
    assert not list((tmp_path / "store").rglob("*.lock"))


def test_a_killed_registration_leaves_no_entry_and_no_lock(folder, tmp_path, ants_runs):
    other = start_other(folder, tmp_path, seconds=600)
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert entries(tmp_path / "store") == []
    began = time.monotonic()
    share(folder, tmp_path / "ours", store=tmp_path / "store")
    assert time.monotonic() - began < 60 and len(ants_runs) == 1
    assert len(entries(tmp_path / "store")) == 1 and not list((tmp_path / "store").rglob("*.lock"))


def test_what_no_study_uses_is_cleaned_away_by_the_documented_command(folder, tmp_path, ants_runs):
    """What is in use stays; what a killed job left half way into the store goes as well."""
    store = tmp_path / "results" / ".registrations"
    share(folder, tmp_path / "results" / "kept", store=store)
    share(folder, tmp_path / "results" / "gone", store=store, n4=True)
    half = Store(store)._entry("a" * 64).with_name(".partial.x.1")
    half.mkdir(parents=True)
    (half / "t1.nii").write_text("half")
    shutil.rmtree(tmp_path / "results" / "gone")
    kept = next(entry for entry in entries(store) if (entry / "t1.nii").stat().st_nlink == 2)
    page = (ROOT / "docs" / "running" / "large.md").read_text()
    (command,) = re.findall(r"^ +(find results/\.registrations .*)$", page, re.M)
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    assert entries(store) == [kept] and not half.exists()
    share(folder, tmp_path / "results" / "again", store=store)
    assert len(ants_runs) == 2
