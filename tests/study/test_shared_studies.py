"""Studies of the same scans through snakemake: each scan is registered once, alone or in batches."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

from helpers.digests import assert_named
from helpers.moved_scans import TRUE_AFFINE, moved_scan
from helpers.stores import contents, entries
from helpers.studies import Study
from voxelwhy.io.images import save_image
from voxelwhy.jobs.batches import divide_scans

pytestmark = pytest.mark.slow

CLASSES = {"positive": {"name": "AD", "values": ["AD"]}, "negative": {"name": "CN", "values": ["CN"]}}


def write_scan(folder, number, shift=0.0):
    affine = TRUE_AFFINE.copy()
    affine[1, 3] += 2 * number + shift
    save_image(folder / f"{'AD' if number % 2 else 'CN'}{number}.nii.gz", *moved_scan(affine, 6.0))


def write_table(folder, n):
    rows = [f"{'AD' if number % 2 else 'CN'}{number}.nii.gz\t{'AD' if number % 2 else 'CN'}" for number in range(n)]
    (folder / "scans.tsv").write_text("\n".join(["path\tlabel", *rows]) + "\n")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Eight scans; the table has seven."""
    folder = tmp_path_factory.mktemp("scans")
    for number in range(8):
        write_scan(folder, number)
    write_table(folder, 7)
    return folder


def config_of(data, name, *, seed=0, **registration):
    return {
        "study": name,
        "seed": seed,
        "cohort": {"source": "folder", "table": "scans.tsv", "data_dir": str(data), "classes": CLASSES},
        "scans": {"skull_stripped": "true"},
        "registration": {"resolution_mm": 6, "transform": "rigid", **registration},
        "splits": [{"kind": "holdout", "test_subjects": 1}],
        "training": {"network": "small"},
    }


def start(study, config):
    """Snakemake up to select_scans for a config of its own, in a process group of its own."""
    path = study.folder / f"{config['study']}.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", path.name, "--until", "select_scans"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" and not k.startswith("PYTEST")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
    return subprocess.Popen(command, cwd=study.folder, env=environment, **pipes)


def finish(process):
    text, _ = process.communicate(timeout=600)
    assert process.returncode == 0, text[-4000:]


def registered(study, name):
    """The registered files of a study by path, without the times that Snakemake keeps."""
    files = contents(study.folder / "results" / name / "registered")
    return {path: content for path, content in files.items() if ".snakemake" not in path}


def log_of(study, name):
    return "\n".join(
        path.read_text() for path in sorted((study.folder / "results" / name / "logs").rglob("register_*/*.log"))
    )


def n_registered(study, name):
    """How many scans the last run of each job really registered."""
    return len(re.findall(r"INFO registering$", log_of(study, name), re.M))


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    """A study without a store, one job a scan."""
    study = Study(tmp_path_factory.mktemp("alone"), config_of(data, "one", store=""))
    study.run("--until", "select_scans")
    assert not (study.folder / "results/.registrations").exists()
    assert n_registered(study, "one") == 7 == len(list((study.folder / "results/one/registered").glob("*/t1.nii")))
    return study


@pytest.fixture(scope="module")
def together(data, tmp_path_factory):
    """Two studies that started at the same time in one folder, with another seed and another name, in three batches."""
    study = Study(tmp_path_factory.mktemp("together"), config_of(data, "one", batch=3))
    processes = [start(study, config_of(data, name, seed=seed, batch=3)) for name, seed in (("one", 0), ("two", 5))]
    for process in processes:
        finish(process)
    return study


def test_two_studies_at_once_register_each_scan_once(together, alone):
    assert n_registered(together, "one") + n_registered(together, "two") == 7
    logs = log_of(together, "one") + log_of(together, "two")
    assert len(re.findall("taken from the store", logs)) == 7
    wanted = registered(alone, "one")
    assert len(wanted) == 7 * 3
    assert registered(together, "one") == wanted == registered(together, "two")
    assert len(entries(together.folder / "results/.registrations")) == 7
    for path in together.folder.glob("results/*/registered/*/t1.nii"):
        assert path.stat().st_nlink == 3
    for name in ("selected.tsv", "excluded.tsv"):
        assert (together.folder / f"results/one/cohort/{name}").read_bytes() == alone.result(
            f"cohort/{name}"
        ).read_bytes()


def test_what_a_registration_is_made_of_decides_what_is_registered(together, data):
    """Nothing for another study in batches, one for a changed scan, all for another transform or other code."""

    def run(name, batch=8, **registration):
        together.configure(config_of(data, name, batch=batch, **registration))
        together.run("--until", "select_scans")
        return n_registered(together, name)

    assert run("three", batch=3) == 0
    assert registered(together, "three") == registered(together, "one")
    assert run("affine", transform="affine") == 7
    write_scan(data, 6, shift=1.5)
    try:
        assert run("changed") == 1
    finally:
        write_scan(data, 6)
    module = together.folder / "scripts/voxelwhy/registration/ants.py"
    source = module.read_text()
    try:
        module.write_text("# only a comment\n" + source)
        assert run("comment") == 0
        module.write_text(source + "\nCHANGED = 1\n")
        assert run("code") == 7
    finally:
        module.write_text(source)


def test_no_store_or_another_one_runs_nothing_again(together, data):
    for store in ("", "elsewhere"):
        together.configure(config_of(data, "one", store=store, batch=3))
        assert "Nothing to be done" in together.run("--dry-run", "--until", "select_scans")


@pytest.fixture(scope="module")
def batches(data, tmp_path_factory):
    """The study of `alone` in batches of about two scans, killed when the first scan was there, and run again."""
    study = Study(tmp_path_factory.mktemp("batches"), config_of(data, "one", store="", batch=4))
    process = start(study, study.config)
    deadline = time.monotonic() + 300
    while not list(study.folder.glob("results/one/registered/[!.]*/quality.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    study.survived = {path.parent.name for path in study.folder.glob("results/one/registered/[!.]*/quality.json")}
    study.run("--unlock")
    loaded = tmp_path_factory.mktemp("loaded")
    study.run("--until", "select_scans", VOXELWHY_RECORD_MODULES=str(loaded))
    study.loaded = [json.loads(path.read_text()) for path in loaded.iterdir()]
    return study


def test_batches_give_the_same_files_and_a_killed_one_goes_on(batches, alone):
    assert 0 < len(batches.survived) < 7
    assert n_registered(batches, "one") == 7 - len(batches.survived)
    assert len(re.findall("already registered", log_of(batches, "one"))) == len(batches.survived)
    assert [path.name for path in sorted(batches.result("batches").glob("*.tsv"))] == ["0.tsv", "1.tsv"]
    assert registered(batches, "one") == registered(alone, "one")
    for name in ("selected.tsv", "excluded.tsv"):
        assert batches.result(f"cohort/{name}").read_bytes() == alone.result(f"cohort/{name}").read_bytes()


def test_the_modules_that_a_batch_loads_are_those_that_its_digest_names(batches):
    jobs = [job for job in batches.loaded if job["rule"] == "register_batch"]
    assert jobs
    for job in jobs:
        assert_named(job)
        assert "voxelwhy.registration.ants" in job["named"]


def test_one_scan_more_or_twice_as_many_batches_register_no_other(batches, data):
    """Also: a scan that leaves the table is used by nothing, and one job a scan takes nothing over unseen."""

    def run():
        shutil.rmtree(batches.result("logs/register_batch"))
        batches.run("--until", "select_scans")
        return n_registered(batches, "one")

    before = registered(batches, "one")
    try:
        write_table(data, 8)
        assert run() == 1
        after = registered(batches, "one")
        assert len(after) == 8 * 3 and {path: after[path] for path in before} == before

        batches.configure(config_of(data, "one", store="", batch=2))
        assert run() == 0
        assert len(list(batches.result("batches").glob("*.tsv"))) > 2
        assert registered(batches, "one") == after
        assert len(batches.rows("cohort/selected.tsv")) == 8

        write_table(data, 7)
        assert run() == 0
        assert len(batches.rows("cohort/selected.tsv")) == 7 and registered(batches, "one") == after
    finally:
        write_table(data, 7)
    assert batches.would_run(config_of(data, "one", store=""))["register_scan"] == 7


def test_beyond_ten_thousand_scans_there_are_batches_by_themselves(tmp_path):
    """A dry run after a table that parse_tables is taken to have read."""
    study = Study(tmp_path, config_of(tmp_path, "many"))
    names = [f"{label}{number}" for number in range(5001) for label in ("AD", "CN")]
    (tmp_path / "scans.tsv").write_text("path\tlabel\n" + "".join(f"{n}.nii\t{n[:2]}\n" for n in names))
    for name in names:
        (tmp_path / f"{name}.nii").touch()
    columns = "scan_id\tsubject_id\tsession\tlabel\tage\tsex\tscan_date\timage_id\tpath\n"
    cohort = study.result("cohort")
    cohort.mkdir(parents=True)
    (cohort / "dropped.tsv").touch()
    (cohort / "skull.json").write_text('{"skull_stripped": true}')

    def would_run(n):
        rows = [f"{name}\t{name}\t\t{name[:2]}\t\t\t\t\t{tmp_path / name}.nii\n" for name in names[:n]]
        (cohort / "scans.tsv").write_text(columns + "".join(rows))
        jobs = study.would_run()
        return jobs.get("register_scan"), jobs.get("register_batch"), jobs["select_scans"]

    # A dry run over 10,000 single jobs takes minutes; that these are single jobs is known without it.
    assert divide_scans(names[:10_000]) is None
    assert would_run(10_002) == (None, 128, 1)
