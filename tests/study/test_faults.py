"""What goes wrong in a run, on the real local run: afterwards the bytes are those of an undisturbed one.

One small study is run; each test copies it with Snakemake's books, deletes what a stage made, disturbs that stage, and
starts the same command again. Faults strike inside the jobs, by an audit hook in a sitecustomize.py on PYTHONPATH: the
code, and with it the digests and the checkpoints' names, is that of the undisturbed study.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter

import pytest

from helpers.studies import SMALL, Study, small_study

pytestmark = pytest.mark.slow

METHODS = ("grad_cam", "sensitivity_analysis")
CONFIG = small_study(
    "faults",
    subjects=5,
    registration=SMALL["registration"] | {"store": ""},  # what is made again is not taken from there
    training=SMALL["training"] | {"network": "small", "epochs": 3},
    heatmaps={"methods": {name: {} for name in METHODS}},
)
CONFIG["simulation"]["store"] = ""
SELECTED = "cohort/selected.tsv"
REGIONS = [f"splits/holdout/regions/{method}.tsv" for method in METHODS]
AGAIN = "run the same command again"

# FAULT is: audit event, pattern of its arguments, the how-manieth time, what to do, with which file.
SITECUSTOMIZE = """
import os, re, signal, struct, sys, time
if "FAULT" in os.environ:
    event, pattern, number, action, path = os.environ["FAULT"].split("|")
    counts = [0]
    def strike():
        while action == "wait" and not os.path.exists(path):
            time.sleep(0.1)
        if action.startswith("spoil"):  # a scale of 1e38 is beyond what float32 holds; size and time stay
            times = os.stat(path)
            with open(path, "r+b") as scan:
                scan.seek(112)
                scan.write(struct.pack("<f", 1e38))
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        if action.endswith("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
    def hook(name, arguments):
        if name == event and re.search(pattern, " ".join(map(str, arguments[:2]))):
            counts[0] += 1
            if counts[0] == int(number):
                strike()
    sys.addaudithook(hook)
"""
SAVED = r"os.rename|checkpoints/.*\.pt$|{n}|{action}|{path}"  # the n-th checkpoint is about to be moved to its place


class Disturbed(Study):
    """A copy of the finished study in a folder of its own."""

    def __init__(self, whole, folder):
        shutil.copytree(whole.folder, folder, symlinks=True)
        self.folder, self.config = folder, whole.config
        self.hook = str(folder / "hook")

    def delete(self, *paths):
        for path in map(self.result, paths):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def run(self, *targets, fault=None, code=0, options=()):
        """Run Snakemake for targets within the study; returns what it printed."""
        wanted = [f"results/faults/{target}" for target in targets]
        environment = {"PYTHONPATH": self.hook, "OMP_NUM_THREADS": "1"} | ({"FAULT": fault} if fault else {})
        self.warm = not fault  # what is disturbed starts as on a user's machine
        return super().run(*options, "--", *wanted, code=code, **environment)

    def start(self, *targets, fault):
        """Start Snakemake and come back while it runs."""
        wanted = [f"results/faults/{target}" for target in targets]
        command = [sys.executable, "-m", "snakemake", *wanted, "--cores", "2", "--configfile", "study.yaml"]
        environment = {**os.environ, "PYTHONPATH": self.hook, "OMP_NUM_THREADS": "1", "FAULT": fault}
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def ran(self):
        """The jobs of the last run by rule, from Snakemake's own log."""
        log = max((self.folder / ".snakemake" / "log").iterdir())
        return Counter(re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):$", log.read_text(), re.M))

    def log(self, path):
        return self.result(f"logs/{path}.log").read_text()

    def files(self):
        """Hashes of everything that the study made; logs and benchmarks tell of the run."""
        folder = self.result("")
        paths = [path for path in folder.rglob("*") if path.is_file()]
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in paths
            if path.relative_to(folder).parts[0] not in ("logs", "benchmarks")
        }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The undisturbed study, as far as the regions' tables, and the hashes of its files."""
    folder = tmp_path_factory.mktemp("whole")
    study = Study(folder, CONFIG)
    (folder / "hook").mkdir()
    (folder / "hook" / "sitecustomize.py").write_text(SITECUSTOMIZE)
    Study.run(study, "--", *(f"results/faults/{path}" for path in REGIONS), OMP_NUM_THREADS="1")
    study.hashes = Disturbed.files(study)
    assert len([name for name in study.hashes if name.endswith("t1.nii")]) == 10
    return study


@pytest.fixture
def study(whole, tmp_path):
    return Disturbed(whole, tmp_path / "study")


@pytest.fixture
def disk(study):
    """Call with the MB that are to be free: puts the results on a small disk of their own; returns a remounter."""
    mounted = []

    def mount(free_mb):
        place, aside = study.folder / "results", study.folder / "aside"
        place.rename(aside)
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", place]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
            place.rmdir()
            aside.rename(place)
            pytest.skip("mounting a small disk is not allowed here")
        mounted.append(place)
        shutil.copytree(aside, place, dirs_exist_ok=True)
        used = (shutil.disk_usage(place).used + 4095) // 4096 * 4

        def remount(options):
            subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)

        remount(f"size={used + int(1024 * free_mb)}k")
        return remount

    yield mount
    for place in mounted:
        subprocess.run(["umount", "--lazy", place], check=True)


def leftovers(study):
    return [path.name for path in study.result("").rglob(".partial*")]


def test_a_training_that_is_killed_goes_on_after_its_last_epoch_to_the_same_weights(study, whole):
    made = ["splits/holdout/fold-0", "splits/holdout/heatmaps", "splits/holdout/regions"]
    study.delete(*made)
    text = study.run(*REGIONS, fault=SAVED.format(n=3, action="kill", path=""), code=1)
    assert "train fold, split holdout, fold 0" in text.split("1 job failed")[1]
    assert "died with SIGKILL" in text and AGAIN in text
    assert "epoch 2/3" in study.log("train_fold/holdout/fold-0"), "killed after the third epoch, before it was kept"
    assert len(leftovers(study)) == 2, "its hidden outputs, and the checkpoint that was being written"
    study.run(*REGIONS)
    log = study.log("train_fold/holdout/fold-0")
    assert "resuming after epoch 2 from results/faults/checkpoints/" in log
    assert "epoch 3/3" in log and "epoch 2/3" not in log
    assert study.ran() == {"train_fold": 1, "compute_heatmaps": 2, "merge_heatmaps": 2, "aggregate_regions": 2}
    assert study.files() == whole.hashes


def test_a_registration_that_is_killed_half_written_is_done_again_and_nothing_else(study, whole):
    scans = sorted(path.name for path in study.result("registered").iterdir())[:2]
    study.delete(SELECTED, f"registered/{scans[0]}")
    text = study.run(SELECTED, fault=rf"open|{re.escape(scans[0])}/quality\.json w|1|kill|", code=1)
    assert f"FAILED: register scan, scan {scans[0]}" in text
    (hidden,) = study.result("registered").glob(".partial.register_scan.*")
    half = {path.name for path in (hidden / scans[0]).iterdir()}
    assert "t1.nii" in half and "quality.json" not in half
    assert not study.result(f"registered/{scans[0]}").exists()
    study.run(SELECTED)
    assert study.ran() == {"register_scan": 1, "select_scans": 1}
    assert study.files() == whole.hashes
    assert "Nothing to be done" in study.run(*REGIONS, options=["--dry-run"])


def test_one_bad_scan_stops_no_other_and_is_the_only_one_done_again(study, whole):
    scans = sorted(path.name for path in study.result("registered").iterdir())[:3]
    study.delete(SELECTED, *(f"registered/{scan}" for scan in scans))
    fault = rf"open|{re.escape(scans[0])}/t1\.nii w|1|kill|"
    text = study.run(SELECTED, fault=fault, options=["--keep-going"], code=1)
    end = text.split("1 job failed. Finished results are kept.")[1]
    assert f"register scan, scan {scans[0]}\n" in end
    assert f"results/faults/logs/register_scan/{scans[0]}.log" in end
    assert re.search(r"it was killed, most likely for lack of memory \(it had requested 2\d\d\d MB\)", end)
    assert AGAIN in end and "Traceback" not in text
    assert study.ran() == {"register_scan": 3}
    assert [study.result(f"registered/{scan}").exists() for scan in scans] == [False, True, True]
    study.run(SELECTED)
    assert study.ran() == {"register_scan": 1, "select_scans": 1}
    assert study.files() == whole.hashes


def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(study, whole, disk):
    study.delete("splits/holdout/fold-0", "splits/holdout/heatmaps", "splits/holdout/regions")
    remount = disk(free_mb=1)  # a checkpoint takes three
    text = study.run(*REGIONS, code=1)
    end = text.split("1 job failed. Finished results are kept.")[1]
    assert "the disk is full" in end and "GB are free in results/faults/" in end
    assert "free space there, then run the same command again: what is finished is kept" in end
    assert "unexpected error" not in text and "Traceback" not in text
    assert not leftovers(study), "what was half-written takes no room"
    remount("size=200m")
    study.run(*REGIONS)
    assert study.ran() == {"train_fold": 1, "compute_heatmaps": 2, "merge_heatmaps": 2, "aggregate_regions": 2}
    assert study.files() == whole.hashes


def test_results_that_cannot_be_written_are_told_before_anything_runs(study, whole, disk):
    study.delete("splits/holdout/regions")
    if os.geteuid():
        study.result("").chmod(0o555)
        words = "you do not have permission"
    else:  # whom no right stops
        remount = disk(free_mb=50)
        remount("ro")
        words = "the disk is read-only"
    text = study.run(*REGIONS, code=1)
    assert f"results/faults cannot be written: {words}" in text and AGAIN in text
    assert "Traceback" not in text and "FAILED" not in text
    assert study.ran() == {}
    remount("rw") if os.geteuid() == 0 else study.result("").chmod(0o755)
    study.run(*REGIONS)
    assert study.ran() == {"aggregate_regions": 2}
    assert study.files() == whole.hashes


def test_a_second_controller_is_refused_and_harms_nothing(study, whole):
    study.delete("splits/holdout/fold-0", "splits/holdout/heatmaps", "splits/holdout/regions")
    gate = study.folder / "gate"
    first = study.start(*REGIONS, fault=SAVED.format(n=2, action="wait", path=gate))
    try:
        until(lambda: list(study.result("checkpoints").rglob("*.pt")))
        text = study.run(*REGIONS, code=1)
        assert "Directory cannot be locked" in text and "no other Snakemake process" in text
        assert "--unlock" in text and "Traceback" not in text
        gate.touch()
        told, _ = first.communicate(timeout=300)
    finally:
        first.kill()
    assert first.returncode == 0, told
    assert "epoch 3/3" in study.log("train_fold/holdout/fold-0")
    assert study.files() == whole.hashes


def until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_training_that_turns_nan_says_where_and_goes_on_once_the_scan_is_well(study, whole):
    """A scan goes bad while the network trains: when it is read again, after the first epoch, its values are infinite.

    Small scans are read once and stay in memory, so the training has to be killed for that.
    """
    study.delete("splits/holdout/fold-0", "splits/holdout/heatmaps", "splits/holdout/regions")
    training = [row["scan_id"] for row in study.rows("splits/holdout/folds.tsv") if row["side"] == "train"]
    scan = study.result(f"registered/{training[0]}/t1.nii")
    content, times = scan.read_bytes(), scan.stat()
    model = "splits/holdout/fold-0/model.pt"
    study.run(model, fault=SAVED.format(n=2, action="spoil and kill", path=scan), code=1)
    for _ in range(2):
        text = study.run(model, code=1)
        end = text.split("1 job failed. Finished results are kept.")[1]
        assert re.search(r"the training loss turned nan in epoch 2, batch \d", end)
        assert re.search(rf"scans: .*{re.escape(training[0])}", end)
        assert f"after normalisation, in {training[0]}" in end
        assert re.search(r"kept:    results/faults/checkpoints/holdout/fold-0/\w+\.pt, after epoch 1", end)
        assert "Traceback" not in text
    assert "resuming after epoch 1" in study.log("train_fold/holdout/fold-0"), "and not the whole training again"
    scan.write_bytes(content)
    os.utime(scan, ns=(times.st_atime_ns, times.st_mtime_ns))
    study.run(*REGIONS)
    assert "resuming after epoch 1" in study.log("train_fold/holdout/fold-0")
    assert study.ran() == {"train_fold": 1, "compute_heatmaps": 2, "merge_heatmaps": 2, "aggregate_regions": 2}
    assert study.files() == whole.hashes
