"""The door of every script: whole outputs or none, errors for people, the right checkout."""

import errno
import logging
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.jobs import job, write
from helpers.paths import SCRIPTS, TESTS
from voxelwhy.errors import InputError
from voxelwhy.jobs import doors
from voxelwhy.jobs.doors import door


def published(tmp_path):
    return [(tmp_path / name).read_text() for name in ("table.tsv", "maps/a.txt")]


def test_outputs_appear_at_the_end_and_replace_old_ones(tmp_path):
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "old.txt").write_text("old")
    with door(job(tmp_path)) as opened:
        write(opened.output)
        assert not (tmp_path / "table.tsv").exists()
        assert opened.settings == {"a": 1}
    assert (tmp_path / "table.tsv").read_text() == "new"
    assert [p.name for p in (tmp_path / "maps").iterdir()] == ["a.txt"]
    assert not list(tmp_path.glob(".partial*"))


def test_an_error_for_people_leaves_nothing_behind(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop, door(job(tmp_path)) as opened:
        write(opened.output)
        raise InputError("no such diagnosis", file="a.csv", row=7, column="DX", found="XX", allowed=["CN", "AD"])
    assert stop.value.code == 1
    assert {p.name for p in tmp_path.iterdir()} == {"log.txt"}
    for text in (capsys.readouterr().err, (tmp_path / "log.txt").read_text()):
        assert "file a.csv, row 7, column DX" in text
        assert "'XX'" in text
        assert "Traceback" not in text


def test_an_unforeseen_error_leaves_its_traceback_in_the_log(tmp_path):
    with pytest.raises(SystemExit), door(job(tmp_path)) as opened:
        write(opened.output)
        raise ZeroDivisionError("a fault of ours")
    assert {p.name for p in tmp_path.iterdir()} == {"log.txt"}
    text = (tmp_path / "log.txt").read_text()
    assert "Traceback" in text
    assert text.splitlines()[-1].endswith(
        "a_rule failed with an unexpected error (ZeroDivisionError: a fault of ours); "
        "please report it together with this log"
    ), "where the end of the run shows it"


def test_an_output_that_was_not_written_is_a_fault(tmp_path):
    with pytest.raises(SystemExit), door(job(tmp_path)) as opened:
        Path(opened.output[0]).write_text("only one of two")
    assert {p.name for p in tmp_path.iterdir()} == {"log.txt"}
    assert "not written" in (tmp_path / "log.txt").read_text()


def test_what_a_killed_job_left_is_swept_away(tmp_path, monkeypatch):
    with monkeypatch.context() as killed, door(job(tmp_path)) as opened:
        write(opened.output)
        left = Path(opened.output.maps)
        killed.setattr(doors._Outputs, "publish", lambda self: None)  # the folder stays, as after SIGKILL
    assert (left / "a.txt").exists()
    other = left.parent.with_name(left.parent.name.replace("a_rule", "other_rule"))
    other.mkdir()
    with door(job(tmp_path)) as opened:
        assert not left.parent.exists()
        write(opened.output)
    assert [p.name for p in (tmp_path / "maps").iterdir()] == ["a.txt"]
    assert list(tmp_path.glob(".partial*")) == [other], "another rule's is not ours to sweep"


@pytest.mark.parametrize("made_again", [False, True])
@pytest.mark.parametrize("new_ends_first", [False, True])
def test_a_job_whose_controller_died_harms_nothing_of_its_successor(tmp_path, capsys, made_again, new_ends_first):
    """Both write the same outputs; the old one still runs when the new one sweeps up, and ends before or after it."""
    doors_of = {name: door(job(tmp_path)) for name in ("old", "new")}
    old = doors_of["old"].__enter__().output
    Path(old.table).write_text("old")
    new = doors_of["new"].__enter__().output
    if made_again:  # as a library does that makes the folders of the path that it writes to
        Path(old.table).parent.mkdir()
        write(old, "old")
    Path(new.table).write_text("half of the new")

    def end_old():
        with pytest.raises(SystemExit):
            doors_of["old"].__exit__(None, None, None)

    if not new_ends_first:
        end_old()
        assert not (tmp_path / "table.tsv").exists() and not (tmp_path / "maps").exists()
    write(new)
    doors_of["new"].__exit__(None, None, None)
    assert published(tmp_path) == ["new", "new"]
    if new_ends_first:
        end_old()
    assert published(tmp_path) == ["new", "new"]
    assert not list(tmp_path.glob(".partial*"))
    text = capsys.readouterr().err
    assert "vanished while the job ran" in text and "Traceback" not in text


def test_a_sweep_in_the_midst_of_publishing_loses_nothing_that_was_there(tmp_path, monkeypatch):
    """Between the two moves of a folder: what was there is put back."""
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "a.txt").write_text("before")
    replace = os.replace

    def fails(source, target):
        if Path(target) == tmp_path / "maps" and Path(source).name == "maps":
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(source))
        replace(source, target)

    monkeypatch.setattr(doors.os, "replace", fails)
    with pytest.raises(SystemExit), door(job(tmp_path)) as opened:
        write(opened.output)
    assert (tmp_path / "maps" / "a.txt").read_text() == "before"


def test_a_predecessor_that_still_logs_does_not_write_into_the_new_log(tmp_path):
    with door(job(tmp_path)) as opened:
        handler = next(h for h in logging.getLogger().handlers if isinstance(h, logging.FileHandler))
        write(opened.output)
    with door(job(tmp_path)) as opened:
        handler.emit(logging.makeLogRecord({"msg": "of the old one"}))
        logging.getLogger("x").info("of the new one")
        write(opened.output)
    text = (tmp_path / "log.txt").read_text()
    assert "of the new one" in text and "of the old one" not in text


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "quota"),
        (OSError(errno.ESTALE, "Stale file handle"), "vanished from the file server"),
        (OSError(errno.EIO, "Input/output error"), "failed to read or write"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"), "as on a full disk"),
        (MemoryError("Unable to allocate 728. TiB for an array"), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."), "enough memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "the GPU has not enough memory"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_the_machine_refuses_is_told_to_people(tmp_path, capsys, error, words):
    with pytest.raises(SystemExit) as stop, door(job(tmp_path)) as opened:
        write(opened.output)
        raise error
    assert stop.value.code == 1
    assert {p.name for p in tmp_path.iterdir()} == {"log.txt"}
    for text in (capsys.readouterr().err, (tmp_path / "log.txt").read_text()):
        assert words in text
        assert "run the same command again: what is finished is kept" in text
        assert "Traceback" not in text and "unexpected error" not in text


def test_a_full_disk_names_the_place_and_what_is_free_and_a_wrapped_one_too(tmp_path, capsys):
    with pytest.raises(SystemExit), door(job(tmp_path)) as opened:
        try:
            raise OSError(errno.ENOSPC, "No space left on device", opened.output.table)
        except OSError as error:
            raise ValueError("the writer failed") from error
    text = capsys.readouterr().err
    assert f"where:   file {tmp_path}/table.tsv" in text, "and not the hidden folder"
    assert f"GB are free in {tmp_path}" in text


def test_a_disk_that_fills_up_while_outputs_are_moved(tmp_path, capsys, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device", str(source), None, str(target))

    with pytest.raises(SystemExit), door(job(tmp_path)) as opened:
        write(opened.output)
        monkeypatch.setattr(doors.os, "replace", full)
    assert {p.name for p in tmp_path.iterdir()} == {"log.txt"}
    assert "the disk is full" in capsys.readouterr().err


def test_a_log_on_a_full_disk_troubles_nobody(tmp_path, capsys):
    with open("/dev/full", "w") as full, door(job(tmp_path)) as opened:
        handler = next(h for h in logging.getLogger().handlers if isinstance(h, logging.FileHandler))
        log = handler.setStream(full)
        logging.getLogger("x").warning("a line")
        write(opened.output)
        os.dup2(log.fileno(), full.fileno())  # what is left in its buffer has somewhere to go
        handler.setStream(log)
    assert published(tmp_path) == ["new", "new"]
    assert "Logging error" not in capsys.readouterr().err


STOPPED = """
import sys, time
sys.path[:0] = {path!r}
from helpers.jobs import job, write
from voxelwhy.jobs.doors import door
import signal
from pathlib import Path
for number in (signal.SIGINT, signal.SIGHUP):  # a test run in the background hands on that they are ignored
    signal.signal(number, signal.SIG_DFL)
with door(job(Path({folder!r}))) as opened:
    write(opened.output)
    print("begun", flush=True)
    try:
        time.sleep(60)
    except Exception:
        pass
"""


@pytest.mark.parametrize(("number", "name"), [(15, "TERM (scancel"), (2, "INT (Ctrl-C)"), (1, "HUP (its")])
def test_a_job_that_is_stopped_cleans_up_and_says_so(tmp_path, number, name):
    program = STOPPED.format(path=[str(SCRIPTS), str(TESTS)], folder=str(tmp_path))
    running = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout.readline() == "begun\n"
    assert list(tmp_path.glob(".partial*/table.tsv"))
    running.send_signal(number)
    _, told = running.communicate(timeout=30)
    assert running.returncode == 128 + number
    assert {p.name for p in tmp_path.iterdir()} == {"log.txt"}
    for text in (told, (tmp_path / "log.txt").read_text()):
        assert f"a_rule was stopped by signal {name}" in text
        assert "Traceback" not in text


def test_the_handlers_of_signals_are_as_before(tmp_path):
    before = {number: signal.getsignal(number) for number in doors.SIGNALS}
    with door(job(tmp_path)) as opened:
        assert signal.getsignal(signal.SIGTERM) != before[signal.SIGTERM]
        write(opened.output)
    assert {number: signal.getsignal(number) for number in doors.SIGNALS} == before


def test_a_package_from_elsewhere_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit), door(job(tmp_path, scripts=tmp_path)):
        pass
    assert "not from this checkout" in capsys.readouterr().err


def test_the_log_ends_with_what_the_job_took(tmp_path):
    with door(job(tmp_path)) as opened:
        write(opened.output)
        filled = bytearray(os.urandom(1_000_000) * 300)
        started = time.process_time()
        while time.process_time() < started + 0.5:
            hash(filled[0])
    last = (tmp_path / "log.txt").read_text().splitlines()[-1]
    seconds, megabytes = map(float, re.search(r"done: ([\d.]+) s of processor time, (\d+) MB", last).groups())
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    assert 0.5 <= seconds <= sum(own.ru_utime + own.ru_stime for own in used) + 0.1
    assert 300 < megabytes < 20_000
