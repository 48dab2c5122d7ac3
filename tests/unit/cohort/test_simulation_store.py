"""Simulated cohorts that studies share: the same bytes whichever way they come, made once, no scan looking too old."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from importlib.metadata import version

import grimp
import pytest

from helpers.paths import ROOT
from helpers.simulated_stores import CODE, FEW, simulate
from helpers.stores import contents, entries
from helpers.studies import SMALL, Study
from voxelwhy.cohort.simulation import cohort
from voxelwhy.cohort.simulation.store import BOOKKEEPING, LIBRARIES, PARTS, simulation_key
from voxelwhy.jobs.code_digest import code_digest

N_SCANS = 5  # without the missing one
LONG_AGO = 1_000_000_000


@pytest.fixture
def rendered(monkeypatch):
    """Paths of the scans that were rendered in this process."""
    seen, make = [], cohort.make_scan

    def counted(world, seed, row):
        seen.append(row["path"])
        return make(world, seed, row)

    monkeypatch.setattr(cohort, "make_scan", counted)
    return seen


def scans_of(folder):
    return sorted((folder / "scans").rglob("*.nii.gz"))


def test_the_bytes_are_the_same_without_a_store_into_it_and_out_of_it(tmp_path, rendered):
    store = tmp_path / "store"
    simulate(tmp_path / "without")
    simulate(tmp_path / "into", store=store)
    assert len(rendered) == 2 * N_SCANS
    simulate(tmp_path / "linked", store=store, linked=True)
    simulate(tmp_path / "copied", store=store)
    assert len(rendered) == 2 * N_SCANS, "nothing is rendered for the others"
    wanted = contents(tmp_path / "without")
    assert len(scans_of(tmp_path / "without")) == N_SCANS
    assert {name.partition("/")[0] for name in wanted} == set(PARTS)
    for name in ("into", "linked", "copied"):
        assert contents(tmp_path / name) == wanted, name


def test_scans_are_one_file_that_nobody_may_write_to_and_tables_are_the_study_s_own(tmp_path):
    store = tmp_path / "store"
    simulate(tmp_path / "a", store=store)
    simulate(tmp_path / "b", store=store, linked=True)
    for name in ("a", "b"):
        states = [scan.stat() for scan in scans_of(tmp_path / name)]
        assert all(state.st_nlink == 3 and state.st_mode & 0o777 == 0o444 for state in states)
        others = [path for path in (tmp_path / name).rglob("*") if path.is_file() and path.parts[-4] != "scans"]
        assert len(others) == 6 and all(path.stat().st_nlink == 1 and path.stat().st_mode & 0o200 for path in others)
    (entry,) = entries(store)
    assert all(path.stat().st_mode & 0o777 == 0o444 for path in entry.rglob("*") if path.is_file())
    # The study goes on to another cohort: the store's scans stay what they were.
    before = contents(entry)
    simulate(tmp_path / "a", chosen=FEW | {"effect": 0.5})
    assert contents(entry) == before
    assert contents(tmp_path / "b")["table.csv"] == contents(tmp_path / "a")["table.csv"]


def test_a_study_that_has_registered_gets_changed_scans_that_are_new_and_keeps_the_others(tmp_path, rendered):
    """Controls are the same in a null cohort: their registrations hold. Patients' scans must look newer than theirs."""
    store, null = tmp_path / "store", FEW | {"effect": 0}
    simulate(tmp_path / "other", store=store)
    for path in (tmp_path / "other").rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    study = tmp_path / "study"
    simulate(study, chosen=null)
    times = {path: path.stat().st_mtime_ns for path in scans_of(study)}
    stale = study / "scans/999_S_0099/Screening/999_S_0099_1-1-06_Screening_1_CN.nii.gz"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"old")
    registered = time.time_ns()
    rendered.clear()
    simulate(study, store=store)
    assert rendered == [] and not stale.parent.parent.exists()
    assert contents(study) == contents(tmp_path / "other")
    for path in scans_of(study):
        if path.name.endswith("_CN.nii.gz"):
            assert path.stat().st_mtime_ns == times[path]
        else:
            assert path.stat().st_mtime_ns >= registered - 1e7, "newer than what was made of the scan before"
    assert (study / "table.csv").stat().st_mtime_ns >= registered - 1e7
    times = {path: path.stat().st_mtime_ns for path in scans_of(study)}
    simulate(study, store=store)
    assert {path: path.stat().st_mtime_ns for path in scans_of(study)} == times


def test_the_key_is_made_of_settings_seed_code_and_libraries(monkeypatch):
    same = simulation_key(FEW, 7, code=CODE)
    moved_door = CODE | {"simulate_cohort.py": "z", "voxelwhy.jobs.doors": "z", "voxelwhy.io.store": "z"}
    assert simulation_key(FEW, 7, code=moved_door) == same
    others = [
        simulation_key(FEW, 8, code=CODE),
        simulation_key(FEW | {"effect": 0.5}, 7, code=CODE),
        simulation_key(FEW, 7, code=CODE | {"voxelwhy.cohort.simulation.deform": "d"}),
    ]
    monkeypatch.setattr("voxelwhy.io.provenance._version", lambda name: "0.0")
    others.append(simulation_key(FEW, 7, code=CODE))
    monkeypatch.setattr("voxelwhy.cohort.simulation.store.zlib.ZLIB_RUNTIME_VERSION", "0.0")
    others.append(simulation_key(FEW, 7, code=CODE))
    assert len({same, *others}) == 6


def test_what_keeps_and_passes_on_makes_no_scan():
    graph = grimp.build_graph("voxelwhy", cache_dir=None)
    reached = graph.find_upstream_modules("voxelwhy.cohort.simulation.cohort") | {"voxelwhy.cohort.simulation.cohort"}
    assert graph.modules >= BOOKKEEPING and BOOKKEEPING & reached == {
        "voxelwhy.io.tables", "voxelwhy.io.columns", "voxelwhy.io.simulation_tables"
    }  # fmt: skip
    counted = set(code_digest(ROOT / "scripts" / "simulate_cohort.py")) - BOOKKEEPING - {"simulate_cohort.py"}
    assert counted <= reached and {"voxelwhy.cohort.simulation.scans", "voxelwhy.io.images"} <= counted
    for library in LIBRARIES:
        assert version(library), "a misspelt one would be left out of the key"


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


BROKEN = {
    "a scan": lambda entry: _flip(scans_of(entry)[0]),
    "half a table": lambda entry: os.truncate(entry / "table.csv", 100),
    "no truth": lambda entry: (entry / "truth/log_jacobian.nii.gz").unlink(),
    "no entry.json": lambda entry: (entry / "entry.json").unlink(),
}


@pytest.mark.parametrize("how", BROKEN)
def test_an_entry_that_is_not_whole_is_made_anew(tmp_path, rendered, caplog, how):
    store = tmp_path / "store"
    simulate(tmp_path / "first", store=store)
    wanted = contents(tmp_path / "first")
    shutil.rmtree(tmp_path / "first")
    (entry,) = entries(store)
    for path in entry.rglob("*"):
        path.chmod(0o755)
    BROKEN[how](entry)
    rendered.clear()
    with caplog.at_level("WARNING"):
        simulate(tmp_path / "second", store=store)
    assert len(rendered) == N_SCANS and "made again" in caplog.text
    simulate(tmp_path / "third", store=store, linked=True)
    assert len(rendered) == N_SCANS, "the entry is whole again"
    assert contents(tmp_path / "second") == wanted == contents(tmp_path / "third")
    assert entries(store) == [entry] and list(entry.parent.iterdir()) == [entry]


def test_a_store_that_cannot_be_written_costs_time_and_no_result(tmp_path, rendered, caplog, monkeypatch):
    simulate(tmp_path / "without")
    (tmp_path / "a file").write_text("no folder")
    with caplog.at_level("WARNING"):
        simulate(tmp_path / "a", store=tmp_path / "a file" / "store")
    assert "cannot be locked" in caplog.text and "cannot be written" in caplog.text

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("voxelwhy.io.store.shutil.copyfile", full)
        simulate(tmp_path / "b", store=tmp_path / "store")
    assert "No space left" in caplog.text and contents(tmp_path / "store") == {}
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(tmp_path / "without")
    assert len(rendered) == 3 * N_SCANS


def test_without_links_scans_are_copied(tmp_path, rendered, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr("voxelwhy.io.store.os.link", refuse)
    for name in "ab":
        simulate(tmp_path / name, store=tmp_path / "store", linked=True)
    assert len(rendered) == N_SCANS and contents(tmp_path / "a") == contents(tmp_path / "b")
    assert all(path.stat().st_nlink == 1 and path.stat().st_mode & 0o200 for path in scans_of(tmp_path / "b"))


OTHER_JOB = """
import sys, time
from pathlib import Path
sys.path[:0] = {paths}
from helpers.simulated_stores import simulate
from voxelwhy.cohort.simulation import cohort
make = cohort.make_scan
def slow(*arguments):
    Path({started!r}).touch()
    time.sleep(0.4)
    return make(*arguments)
cohort.make_scan = slow
simulate(Path({out!r}), store={store!r})
"""


def test_a_study_waits_for_another_that_simulates_the_same_cohort(tmp_path, rendered, caplog):
    text = OTHER_JOB.format(
        paths=[str(ROOT / "scripts"), str(ROOT / "tests")],
        started=str(tmp_path / "started"),
        out=str(tmp_path / "other"),
        store=str(tmp_path / "store"),
    )
    other = subprocess.Popen([sys.executable, "-c", text])
    deadline = time.monotonic() + 120
    while not (tmp_path / "started").exists():
        assert other.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    with caplog.at_level("INFO"):
        simulate(tmp_path / "ours", store=tmp_path / "store", linked=True)
    assert other.wait() == 0 and rendered == []
    assert "another job is simulating the same cohort: waiting for it" in caplog.text
    assert contents(tmp_path / "ours") == contents(tmp_path / "other")
    assert not list((tmp_path / "store").rglob("*.lock"))


def test_cleaning_the_store_takes_nothing_from_a_study(tmp_path, rendered):
    store = tmp_path / "results/.cohorts"
    simulate(tmp_path / "results/a", store=store)
    wanted = contents(tmp_path / "results/a")
    command = "rm -rf results/.cohorts"
    assert f"\n    {command}\n" in (ROOT / "docs" / "running" / "large.md").read_text()
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    assert not store.exists() and contents(tmp_path / "results/a") == wanted


@pytest.mark.slow
def test_a_second_study_in_the_folder_simulates_nothing_and_says_what_was_planted(tmp_path):
    """Through snakemake; where the store lies changes nothing that would run."""
    made = SMALL["simulation"] | {"subjects": 4, "visits": [["Screening"]], "missing_files": [], "truncated_files": []}
    made |= {"confounds": {"noise": 0.5}}
    study = Study(tmp_path, SMALL | {"study": "one", "simulation": made})
    study.run("--until", "parse_tables")
    assert "INFO simulating" in (tmp_path / "results/one/logs/simulate_cohort.log").read_text()
    for store in ("", "elsewhere"):
        study.configure(SMALL | {"study": "one", "simulation": made | {"store": store}})
        assert "simulate_cohort" not in study.would_run(), store
    (tmp_path / "results/two/registered").mkdir(parents=True)
    for name, links in (("two", 1), ("three", 3)):
        study.configure(SMALL | {"study": name, "seed": 5, "simulation": made})
        study.run("--until", "parse_tables")
        log = (tmp_path / f"results/{name}/logs/simulate_cohort.log").read_text()
        assert "taken from the store" in log and "simulating" not in log
        assert {scan.stat().st_nlink for scan in scans_of(tmp_path / f"results/{name}/simulation")} == {links}
    table = contents(tmp_path / "results/one/simulation")
    assert table == contents(tmp_path / "results/two/simulation") == contents(tmp_path / "results/three/simulation")
    study.run("--", "results/three/figures/flow.svg")
    assert "a confound was planted: patients have 50 % more noise" in study.result("figures/flow.svg").read_text()
